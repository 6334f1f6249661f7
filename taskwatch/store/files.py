"""The files around a store: private, durable, and owned by whoever owns their directory."""

import os
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600


def sibling(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to the store, as `taskwatch.db.lock`."""
    return path.with_name(path.name + suffix)


def make_directory(directory: Path) -> None:
    """Make the directory with its parents, each durable before the next."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    adopt(directory)
    sync_directory(directory.parent)


def create_empty(path: Path) -> None:
    """Create a private empty file in place of whatever an interrupted run left there."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    adopt(path)


def replace_durably(source: Path, target: Path) -> None:
    """Rename; when this returns, a power cut leaves the whole new file or, before that, the old one."""
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    source.replace(target)
    sync_directory(target.parent)


def write_durably(path: Path, text: str) -> None:
    """Write a small private file, whole or not at all."""
    fresh = sibling(path, ".new")
    create_empty(fresh)
    fresh.write_text(text, encoding="utf-8")
    replace_durably(fresh, path)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def adopt(path: Path) -> None:
    """Give what root made to the owner of its directory: the daemon may run as that user later."""
    if os.geteuid() != 0:
        return
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)
