"""Looks after a store as a whole: is it sound, and how to begin a new one when it is not.

Nothing is ever deleted, and a store that can be used is never put aside.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw

from taskwatch.errors import StoreFailedError, StoreUnusableError
from taskwatch.model.operation import Action
from taskwatch.store import operations
from taskwatch.store.beside import connect, readable
from taskwatch.store.files import make_directory, sibling, sync_directory
from taskwatch.store.instants import to_stored
from taskwatch.store.lock import Role, acquire
from taskwatch.store.opening import (
    SIDECARS,
    mark_clean,
    open_connection,
    read_marker,
    require_marked,
    translated,
)
from taskwatch.store.schema import APPLICATION_ID, load_migrations, version_of

_COUNTS: Final = {
    "projects": "SELECT count(*) FROM projects",
    "tasks": "SELECT count(*) FROM tasks",
    "open tasks": "SELECT count(*) FROM tasks WHERE open = 1",
    "events": "SELECT count(*) FROM events",
    "deliveries": "SELECT count(*) FROM deliveries",
    "pending": "SELECT count(*) FROM deliveries WHERE state = 'pending'",
    "dead": "SELECT count(*) FROM deliveries WHERE state = 'dead'",
}

_SHOWN: Final = 20  # gaps of each kind

# Retention takes old events as soon as they are told: behind one that waits for its receiver the
# next may be gone already. So a gap is one only where the event before it is younger than that.
_SEQUENCE_GAPS: Final = """
SELECT p.name || '/' || c.subject || ': after event ' || c.sequence || ' comes ' || c.following
FROM (
    SELECT e.project, e.subject, e.sequence, e.time,
           lead(e.sequence) OVER (PARTITION BY e.project, e.subject ORDER BY e.seq) AS following
    FROM events e
) c JOIN projects p ON p.id = c.project
WHERE c.following <= c.sequence OR (c.following > c.sequence + 1 AND c.time >= :kept_since)
LIMIT :limit
"""

_LOST_ENDS: Final = """
SELECT p.name || '/' || e.subject || ': the last event is ' || e.last || ', and '
       || coalesce(e.counted, 0) || ' are counted'
FROM (
    SELECT e.project, e.subject, e.time, max(e.sequence) AS last,
           (SELECT t.sequence FROM tasks t WHERE t.project = e.project AND t.job_id = e.job_id) AS counted
    FROM events e WHERE e.job_id IS NOT NULL GROUP BY e.project, e.job_id
) e JOIN projects p ON p.id = e.project
WHERE coalesce(e.counted, 0) < e.last OR (e.counted > e.last AND e.time >= :kept_since)
LIMIT :limit
"""

_REVISION_GAPS: Final = """
WITH body AS (
    SELECT project, subject, seq, time, CAST(body AS TEXT) AS text FROM events WHERE job_id IS NOT NULL
), told AS (
    SELECT project, subject, seq, time, text ->> '$.data.transition.revision' AS revision,
           text ->> '$.data.transition.from' AS came_from, text ->> '$.data.transition.to' AS went_to
    FROM body WHERE json_valid(text) AND text ->> '$.data.transition.revision' IS NOT NULL
), chain AS (
    SELECT project, subject, revision, came_from, lag(time) OVER task AS time,
           lag(revision) OVER task AS before, lag(went_to) OVER task AS left_at
    FROM told WINDOW task AS (PARTITION BY project, subject ORDER BY seq)
)
SELECT p.name || '/' || c.subject || ': after revision ' || c.before || ', ' || c.left_at
       || ', comes ' || c.revision || ', from ' || coalesce(c.came_from, 'nothing')
FROM chain c JOIN projects p ON p.id = c.project
WHERE c.revision <= c.before
   OR (c.revision = c.before + 1 AND c.came_from IS NOT c.left_at)
   OR (c.revision > c.before + 1 AND c.time >= :kept_since)
LIMIT :limit
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a look at the whole store found."""

    identity: str
    is_marked: bool  # the marker beside it says the same
    version: int
    newest: int  # the version that this program makes of it
    size: int  # bytes
    counts: dict[str, int]
    gaps: tuple[str, ...]  # in the chains of events; none, if every promise was held


def inspect(path: Path, *, kept_since: datetime) -> Inspection:
    """Look at all of the store, beside its daemon or without one.

    Events before `kept_since` may have been forgotten. Raises StoreUnusableError where the store is
    damaged, or not what its marker speaks of.
    """
    path = path.resolve()
    with readable(path), closing(connect(path, takes_older=True)) as connection:
        connection.execute("BEGIN")  # one moment of it; closing ends that
        require_sound(connection)
        identity = _identity(connection)
        marker = read_marker(path)
        require_marked(path, marker, identity)
        return Inspection(
            identity=identity,
            is_marked=marker is not None,
            version=version_of(connection),
            newest=load_migrations()[-1].number,
            size=connection.pragma("page_count") * connection.pragma("page_size"),
            counts={name: connection.execute(count).get for name, count in _COUNTS.items()},
            gaps=_gaps(connection, kept_since),
        )


def require_sound(connection: apsw.Connection) -> None:
    """Raise CorruptError unless every page, index and reference holds."""
    found = connection.execute("PRAGMA integrity_check(1)").get
    if found != "ok":
        raise apsw.CorruptError(" ".join(str(found).split()))
    broken = connection.execute('SELECT "table", rowid, parent FROM pragma_foreign_key_check').fetchone()
    if broken is not None:
        table, row, parent = broken
        raise apsw.CorruptError(f"row {row} of {table} speaks of a row of {parent} that is not there")


def _identity(connection: apsw.Connection) -> str:
    identity: str | None = connection.execute("SELECT value FROM meta WHERE key = 'id'").get
    if not identity:
        raise apsw.CorruptError("it has no id")
    return identity


def _gaps(connection: apsw.Connection, kept_since: datetime) -> tuple[str, ...]:
    bounds = {"kept_since": to_stored(kept_since), "limit": _SHOWN}
    return tuple(
        text
        for query in (_SEQUENCE_GAPS, _LOST_ENDS, _REVISION_GAPS)
        for (text,) in connection.execute(query, bounds)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A new store in the place of a lost one."""

    identity: str
    moved: dict[str, str]  # names of files: what they were, what they are


def begin_anew(path: Path, *, by: str, at: datetime) -> Renewal:
    """Put what is left of a lost store aside and create a new one, which records who did that.

    What is moved keeps together: under its new name it is to SQLite what it was under the old one.
    Raises StoreHeldError while a daemon holds the store, StoreFailedError where it can be used.
    """
    with translated(path):
        path = path.resolve()
        make_directory(path.parent)
        lock = acquire(path, since=at, role=Role.COMMAND)
        try:
            with readable(path):
                _require_lost(path)
            moved = _move_aside(path, at)
            return Renewal(identity=_create(path, by=by, at=at, moved=moved), moved=moved)
        finally:
            lock.release()


def _require_lost(path: Path) -> None:
    """Raise unless the store is gone, damaged, or not the one that its marker speaks of."""
    if not path.exists() or path.stat().st_size == 0:
        return
    marker = read_marker(path)
    if marker is None and not _is_ours(path):
        raise StoreUnusableError(
            f"nothing says that {path} was a store of taskwatch; move it away, or point store.path elsewhere"
        )
    if marker is not None and not _is_ours(path):
        return
    try:
        with closing(connect(path, takes_older=True)) as connection:
            require_sound(connection)
            identity = _identity(connection)
    except (apsw.CorruptError, apsw.NotADBError):
        return
    if marker in (None, "", identity):
        told = f"; {path.name}.id alone is empty: move that away" if marker == "" else ""
        raise StoreFailedError(
            f"{path} is whole{told}, and nothing was moved; taskwatch run goes on with it. To leave it "
            f"all the same, move it and what is named {path.name}… out of {path.parent}"
        )


def _is_ours(path: Path) -> bool:
    try:
        with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as connection:
            found: int = connection.pragma("application_id")
    except (apsw.CorruptError, apsw.NotADBError):
        return False
    return found == APPLICATION_ID


def _move_aside(path: Path, at: datetime) -> dict[str, str]:
    """Rename what is left: the store first, since without its log it could look whole, its marker last."""
    aside = sibling(path, f".lost-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    pairs = [
        (sibling(path, suffix), sibling(aside, suffix))
        for suffix in ("", *SIDECARS, ".id")
        if sibling(path, suffix).exists()
    ]
    taken = next((target for _, target in pairs if target.exists()), None)
    if taken is not None:
        raise StoreFailedError(f"{taken} is there already; nothing was moved, try again in a second")
    for source, target in pairs:
        source.rename(target)
        sync_directory(path.parent)
    return {source.name: target.name for source, target in pairs}


def _create(path: Path, *, by: str, at: datetime, moved: dict[str, str]) -> str:
    with closing(open_connection(path)) as connection:
        identity = _identity(connection)
        outcome = {"id": identity, "moved": moved}
        with connection:
            operations.record(
                connection,
                action=Action.STATE_INIT,
                by=by,
                at=at,
                argument={"store": str(path)},
                outcome=outcome,
            )
        mark_clean(connection)
    return identity
