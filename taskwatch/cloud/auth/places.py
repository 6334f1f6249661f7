"""The files that openstacksdk reads: where it looks for them, and what is wrong with them."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import yaml

_MAX_FILE: Final = 1024 * 1024


def fingerprint() -> str:
    """Return what changes when anything changes that openstacksdk would read: files and variables."""
    digest = hashlib.sha256()
    for name in sorted(name for name in os.environ if name.startswith("OS_")):
        digest.update(f"{name}={os.environ[name]}\n".encode("utf-8", "surrogateescape"))
    for file in _files():
        with suppress(OSError), file.open("rb") as stream:
            digest.update(f"{file}\n".encode("utf-8", "surrogateescape") + stream.read(_MAX_FILE))
    return digest.hexdigest()


def _files() -> Iterator[Path]:
    """Name the places where openstacksdk looks, without importing it."""
    for name in ("OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    home = Path(os.environ.get("HOME", "/"))
    places = (Path(), Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "openstack",
              home / ".config" / "openstack", Path("/etc/xdg/openstack"), Path("/etc/openstack"))  # fmt: skip
    for place in places:
        for kind in ("clouds", "secure"):
            for ending in ("yaml", "yml", "json"):
                yield place / f"{kind}.{ending}"


def problem_of(error: Exception) -> str:
    """Say what is wrong with the files, without a word of what they hold."""
    for file in _files():
        try:
            yaml.safe_load(file.read_bytes()[:_MAX_FILE])
        except OSError:
            continue  # there is none, or none for us
        except (yaml.YAMLError, RecursionError) as problem:
            mark = problem.problem_mark if isinstance(problem, yaml.MarkedYAMLError) else None
            return f"{file} is no YAML" + ("" if mark is None else f": look at line {mark.line + 1}")
    if "was not found" in str(error):
        return "it was not found; check its name, and that the daemon's user can read the file"
    return f"it cannot be read ({type(error).__name__})"
