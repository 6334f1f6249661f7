"""Opens a store beside its daemon, or without one, over a second connection.

The write-ahead log lets it read while the daemon commits; neither waits for the other.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from taskwatch.errors import StoreFailedError, StoreUnusableError
from taskwatch.store.opening import BUSY_MILLISECONDS, require_first_run, translated
from taskwatch.store.schema import (
    load_migrations,
    require_not_newer,
    require_ours,
    require_whole,
    version_of,
)

# Where systemd puts it for the unit that is shipped.
SERVICE_STORE: Final = Path("/var/lib/taskwatch/taskwatch.db")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """As `translated`; what a reader may not do beside a store says so."""
    with translated(path):
        try:
            yield
        except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
            raise StoreFailedError(
                f"{path} cannot be read by uid {os.geteuid()}: without a running daemon SQLite has to write "
                f"{path.name}-shm beside it; run this as uid {path.stat().st_uid}"
            ) from error


def connect(path: Path, *, takes_older: bool = False, writes: bool = False) -> apsw.Connection:
    """Open the store beside its daemon; one of an older version only where the caller takes that."""
    if not path.exists():
        require_first_run(path)
        raise StoreFailedError(f"no store at {path} yet: start taskwatch run once{_another(path)}")
    way, need, flags = (
        ("written", os.R_OK | os.W_OK, apsw.SQLITE_OPEN_READWRITE)
        if writes
        else ("read", os.R_OK, apsw.SQLITE_OPEN_READONLY)
    )
    if not os.access(path, need, effective_ids=os.access in os.supports_effective_ids):
        # Not tried by opening it: closing any descriptor of the file would drop all locks that this process has on it.
        raise StoreFailedError(
            f"{path} cannot be {way} by uid {os.geteuid()}: run this as uid {path.stat().st_uid}"
        )
    connection = apsw.Connection(str(path), flags)
    try:
        if not writes:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # it may not, so it need not try
        connection.pragma("foreign_keys", "on")
        connection.set_busy_timeout(BUSY_MILLISECONDS)
        connection.pragma("trusted_schema", "off")
        _check(connection, path, takes_older=takes_older)
    except BaseException:
        connection.close()
        raise
    return connection


def _another(path: Path) -> str:
    """Say where the service's store is, to somebody who looks elsewhere: the unit alone knows by itself."""
    if path == SERVICE_STORE.resolve() or not SERVICE_STORE.exists():
        return ""
    return f"; the service's is {SERVICE_STORE}: name it in the configuration as store.path"


def _check(connection: apsw.Connection, path: Path, *, takes_older: bool) -> None:
    newest = load_migrations()[-1].number
    require_ours(connection, path)
    require_not_newer(connection, path, known=newest)
    require_whole(connection)
    if version_of(connection) < newest and not takes_older:
        raise StoreUnusableError(f"{path} is of an older taskwatch; taskwatch run brings it up to date")
