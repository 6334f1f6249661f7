"""Opens a store, or creates it; never takes a damaged or a lost one for a new one.

Beside each store lies a marker with the store's id. It tells a first run (neither is there) from a
store that is gone (the marker alone). A store without a marker says itself who it is, as a restored
backup does: it gets its marker.

Creating goes in this order: the whole store under another name, its rename, the marker. A crash
before the rename leaves nothing that counts; one after it leaves an empty store without a marker,
which the next start takes up. The marker first would leave, after the same crash, what looks like a
lost store and needs a person. Nothing is recorded before both are durable.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from taskwatch.errors import StoreFailedError, StoreUnusableError
from taskwatch.store.files import create_empty, replace_durably, sibling, write_durably
from taskwatch.store.schema import (
    APPLICATION_ID,
    load_migrations,
    migrate,
    require_not_newer,
    require_ours,
    require_whole,
)

BUSY_MILLISECONDS: Final = 5_000  # how long a command's short transaction is waited for

SIDECARS: Final = ("-wal", "-shm", "-journal")
# Errors of the system that time does not mend. Any other may pass: a full disk, too many files.
_LASTING: Final = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EEXIST,
    }
)
_REMEDY: Final = (
    "restore it from a backup, or begin anew with `taskwatch state init`: "
    "the first poll of each project is then a new baseline, and what changed before it is not told"
)
_DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of the system and of SQLite into errors of the store that say what to do."""
    try:
        yield
    except OSError as error:
        told = f"{error.filename or path} cannot be used: {error.strerror}"
        if error.errno in _LASTING:
            raise StoreUnusableError(
                f"{told}; let uid {os.geteuid()} write there, or change store.path"
            ) from error
        raise StoreFailedError(told) from error
    except _DAMAGE as error:
        raise StoreUnusableError(f"{path} is damaged ({error}); {_REMEDY}") from error
    except apsw.ReadOnlyError as error:
        raise StoreUnusableError(f"{path} cannot be written: {error}; change store.path") from error
    except apsw.Error as error:
        raise StoreFailedError(f"{path} could not be opened: {error}") from error


def open_connection(path: Path) -> apsw.Connection:
    """Return a connection to the store, created or checked, migrated, and marked as in use.

    The caller holds the lock. Raises StoreUnusableError where waiting cannot mend it.
    """
    marker = read_marker(path)
    if not path.exists():
        require_first_run(path)
        _create(path)
    _require_writable(path)
    unclean = _has_content(sibling(path, "-wal"))
    connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)
    try:
        _configure(connection)
        _check(connection, path, marker, unclean=unclean)
        migrate(connection, path, load_migrations())
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'clean'")
    except BaseException:
        # What cannot be used is left as it was found, for whoever wants to save something of it.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.close()
        raise
    return connection


def mark_clean(connection: apsw.Connection) -> None:
    """Note that the store was closed in order: the next start need not check all of it."""
    connection.execute("UPDATE meta SET value = '1' WHERE key = 'clean'")


def require_first_run(path: Path) -> None:
    """Raise StoreUnusableError where there is no store, and something beside its place says that there was one."""
    if read_marker(path) is not None:
        raise StoreUnusableError(
            f"{path} is gone, and {path.name}.id beside it says that it was there; {_REMEDY}"
        )
    orphans = [sibling(path, suffix) for suffix in SIDECARS if _has_content(sibling(path, suffix))]
    if orphans:
        # SQLite would play the remains of another database into the new one.
        raise StoreUnusableError(f"{path} is gone, and {orphans[0].name} beside it belongs to it; {_REMEDY}")


def _create(path: Path) -> None:
    fresh = sibling(path, ".new")
    for suffix in SIDECARS:
        sibling(fresh, suffix).unlink(missing_ok=True)
    create_empty(fresh)
    connection = apsw.Connection(str(fresh), apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.pragma("auto_vacuum", "incremental")  # has to come before the first table
        connection.pragma("application_id", APPLICATION_ID)
        migrate(connection, fresh, load_migrations())
        with connection:
            connection.executemany(
                "INSERT INTO meta (key, value) VALUES (?, ?)", [("id", uuid.uuid4().hex), ("clean", "1")]
            )
        _enter_wal(connection)
    finally:
        connection.close()
    replace_durably(fresh, path)


def _require_writable(path: Path) -> None:
    """Raise the error of the system, which says more than SQLite's."""
    os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    for file in (path.parent, *(sibling(path, suffix) for suffix in SIDECARS)):
        if file.exists() and not os.access(file, os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    connection.pragma("synchronous", "full")  # each commit is on the disk before it is answered
    connection.pragma("foreign_keys", "on")
    connection.pragma("trusted_schema", "off")
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)  # a burst gives its space back


def _enter_wal(connection: apsw.Connection) -> None:
    mode = connection.pragma("journal_mode", "wal")
    if mode != "wal":
        raise apsw.ReadOnlyError(f"this file system lets SQLite have no write-ahead log (mode {mode})")


def _check(connection: apsw.Connection, path: Path, marker: str | None, *, unclean: bool) -> None:
    require_ours(connection, path)
    require_not_newer(connection, path, known=load_migrations()[-1].number)
    require_whole(connection)
    meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta"))
    identity = meta.get("id")
    if not identity:
        raise apsw.CorruptError("it has no id")
    require_marked(path, marker, identity)
    _enter_wal(connection)
    if unclean or meta.get("clean") != "1":
        _check_pages(connection)
    if marker is None:
        write_durably(_marker(path), identity + "\n")


def require_marked(path: Path, marker: str | None, identity: str) -> None:
    """Raise StoreUnusableError unless the marker, where there is one, speaks of the store with this id."""
    if marker == "":
        raise StoreUnusableError(
            f"{path.name}.id beside {path} is empty; if that is the right store, move {path.name}.id away and start again"
        )
    if marker is not None and marker != identity:
        raise StoreUnusableError(
            f"{path} is another store than {path.name}.id beside it speaks of; {_REMEDY}"
        )


def _check_pages(connection: apsw.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").get
    if found != "ok":
        raise apsw.CorruptError(" ".join(str(found).split()))


def _marker(path: Path) -> Path:
    return sibling(path, ".id")


def read_marker(path: Path) -> str | None:
    """Return the id that the marker beside the store speaks of; None if there is no marker."""
    try:
        return _marker(path).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
