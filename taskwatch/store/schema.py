"""The schema of a store and its versions.

Each migration is a numbered `.sql` file; `user_version` of the database is the number of the last one
applied. All that are due run in one transaction, after a copy of the store was put beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import apsw

from taskwatch.errors import StoreFailedError, StoreUnusableError
from taskwatch.store.files import create_empty, replace_durably, sibling

APPLICATION_ID: Final = 0x74776368  # "twch": tells a store from any other SQLite database
# By the version that brought them.
TABLES: Final = {
    1: frozenset({"meta", "projects", "tasks", "events", "deliveries", "freshness"}),
    2: frozenset({"operations", "removed_receivers"}),
    3: frozenset({"outages", "subjects"}),
    4: frozenset({"alerts", "hearers"}),
    5: frozenset({"silences", "messages", "message_groups", "attempts"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    number: int
    sql: str


def load_migrations() -> tuple[Migration, ...]:
    """Return the program's migrations in their order. The last one's number is its version."""
    files = [
        entry
        for entry in resources.files("taskwatch.store").joinpath("migrations").iterdir()
        if entry.name.endswith(".sql")
    ]
    migrations = [
        Migration(number=int(entry.name.partition("_")[0]), sql=entry.read_text(encoding="utf-8"))
        for entry in files
    ]
    return tuple(sorted(migrations, key=lambda migration: migration.number))


def version_of(connection: apsw.Connection) -> int:
    version: int = connection.pragma("user_version")
    return version


def require_ours(connection: apsw.Connection, path: Path) -> None:
    """Raise unless the database says that it is a store."""
    if connection.pragma("application_id") != APPLICATION_ID:
        raise StoreUnusableError(
            f"{path} is no store of taskwatch; point store.path elsewhere, or restore the store from a backup"
        )


def require_not_newer(connection: apsw.Connection, path: Path, *, known: int) -> None:
    """Raise where a newer program made the store: what it means by its tables is not known here."""
    found = version_of(connection)
    if found > known:
        copies = [path.with_name(f"{path.name}.before-{number}") for number in range(known + 1, found + 1)]
        copy = next((f"the copy {one.name} that it made" for one in copies if one.exists()), "a backup")
        raise StoreUnusableError(
            f"{path} has version {found}, this taskwatch knows up to {known}; run the newer taskwatch, "
            f"or restore {copy} from before it changed the store"
        )


def require_whole(connection: apsw.Connection) -> None:
    """Raise CorruptError unless the store has a version and all its tables."""
    version = version_of(connection)
    if version < 1:
        raise apsw.CorruptError("it has no version")
    due = {table for since, tables in TABLES.items() if since <= version for table in tables}
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if missing := sorted(due - found):
        raise apsw.CorruptError(f"it has no table {', '.join(missing)}")


def migrate(connection: apsw.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Bring the store to the last of the migrations, wholly or not at all."""
    version = version_of(connection)
    due = [migration for migration in migrations if migration.number > version]
    if not due:
        return
    if version > 0:
        _copy(connection, sibling(path, f".before-{due[-1].number}"))
    with connection:
        for migration in due:
            connection.execute(migration.sql)
        connection.pragma("user_version", due[-1].number)


def _copy(connection: apsw.Connection, target: Path) -> None:
    """Copy the store; a copy of that name is always whole."""
    fresh = sibling(target, ".new")
    copy_to(connection, fresh)
    replace_durably(fresh, target)


def copy_to(connection: apsw.Connection, fresh: Path) -> None:
    """Make a private copy of one moment of the store; what stood at its place goes.

    Raises StoreFailedError, and leaves nothing there, where there is no room for it.
    """
    create_empty(fresh)
    copy = apsw.Connection(str(fresh), apsw.SQLITE_OPEN_READWRITE)
    try:
        # Written straight: a log beside the copy would need the room once more, and be left behind by a failure.
        copy.pragma("journal_mode", "off")
        with copy.backup("main", connection, "main") as backup:
            backup.step()
        copy.pragma("journal_mode", "delete")  # a copy is one file: nothing beside it can be forgotten
    except (apsw.CorruptError, apsw.NotADBError):
        raise  # of the store itself
    except apsw.Error as error:
        copy.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            sibling(fresh, suffix).unlink(missing_ok=True)
        size = connection.pragma("page_count") * connection.pragma("page_size") // 1_000_000 + 1
        # SQLite's own words are of no use here: where the copy's last page has no room it calls that "not an error".
        raise StoreFailedError(
            f"{fresh.parent} did not take a copy of the store: make room for {size} MB there"
        ) from error
    finally:
        copy.close()
