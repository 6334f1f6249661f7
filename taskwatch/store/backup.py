"""A copy of the store, made while its daemon works.

It is of one moment, one file, checked, and durable under its name: a file of that name is whole, or
not there.
"""

import os
from contextlib import closing
from pathlib import Path

import apsw

from taskwatch.errors import StoreFailedError
from taskwatch.store.beside import connect, readable
from taskwatch.store.files import replace_durably, sibling
from taskwatch.store.opening import SIDECARS
from taskwatch.store.schema import copy_to
from taskwatch.store.upkeep import require_sound

_ITS_OWN = (*SIDECARS, ".id", ".lock", ".new", ".reserve")


def backup(path: Path, target: Path) -> int:
    """Copy the store to a new file for its owner alone; return the size in bytes.

    Raises StoreFailedError where the file cannot be made, StoreUnusableError where the store is
    damaged; in both cases there is no such file.
    """
    path, target = path.resolve(), target.absolute()
    _require_free(path, target)
    # Of this process alone: two backups at once to one name do not write one file.
    fresh = sibling(target, f".{os.getpid()}.new")
    try:
        with readable(path), closing(connect(path, takes_older=True)) as connection:
            copy_to(connection, fresh)
        with readable(path), closing(apsw.Connection(str(fresh), apsw.SQLITE_OPEN_READONLY)) as copy:
            require_sound(copy)
        _require_free(path, target)
        replace_durably(fresh, target)
    except OSError as error:
        raise StoreFailedError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        for suffix in ("", *SIDECARS):
            sibling(fresh, suffix).unlink(missing_ok=True)
    return target.stat().st_size


def _require_free(path: Path, target: Path) -> None:
    if target.is_dir():
        raise StoreFailedError(f"{target} is a directory; name a file in it")
    if not target.parent.is_dir():
        raise StoreFailedError(f"{target.parent} is no directory; make it, or name another")
    if target.parent.resolve() / target.name in {path, *(sibling(path, suffix) for suffix in _ITS_OWN)}:
        raise StoreFailedError(f"{target} belongs to the store itself; name another file")
    if os.path.lexists(target):
        raise StoreFailedError(f"{target} is there already; name another file, or move that one away")
