"""A copy of the package and its tests, in which something may be broken; the checkout stays as it is."""

import compileall
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

ROOT: Final = Path(__file__).parents[2]

# A test that imports the installed package would judge what nobody changed.
_GUARD: Final = """\
import pathlib

import taskwatch

here = pathlib.Path(__file__).parent
assert pathlib.Path(taskwatch.__file__).is_relative_to(here), f"{taskwatch.__file__} is not the copy in {here}"
"""


def copy_tree(to: Path) -> Path:
    """Copy what tests need into this directory, which must be empty."""
    left_out = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("taskwatch", "tests"):
        shutil.copytree(ROOT / name, to / name, ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", to)
    (to / "conftest.py").write_text(_GUARD)
    # Told apart by content: a file that is changed twice within a second, to the same length, is read anew.
    compileall.compile_dir(to / "taskwatch", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return to


def run_tests(tree: Path, tests: Sequence[str], *, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run these tests upon the copy, up to the first that fails. Raises subprocess.TimeoutExpired."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests],
        cwd=tree,
        env=_environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def _environment(tree: Path) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TASKWATCH_"))
    }
    return inherited | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
