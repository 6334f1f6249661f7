"""What a test needs of the host beyond Python.

Where it is missing the test is skipped with the remedy; in CI, which installs everything, it fails.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import pytest

PACKAGES: Final[Mapping[str, str]] = {
    "strace": "strace",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
}


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            _lacks(f"no {program} here: apt install {PACKAGES[program]}")


def need_root() -> None:
    if os.geteuid() != 0:
        _lacks("only root may mount")


def libfaketime() -> Path:
    """Return the library that fakes the wall clock of whatever preloads it."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return found[0] if found else _lacks("no libfaketime here: apt install libfaketime")


def _lacks(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
