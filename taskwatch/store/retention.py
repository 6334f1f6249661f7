"""Retention: what may be forgotten, a bounded batch a transaction.

An event stays while any of its deliveries is pending or held, however old, and for 90
days more while the alert that it opened is open. A task stays while it is open and on the list, while any event of it remains (its return would otherwise repeat a recorded id), and for 30
days after it left the month that the cloud lists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import apsw

BATCH: Final = 500  # rows, or pages, a transaction
ALERTS_KEPT: Final = 90 * 86_400_000_000  # microseconds: beyond what holds for events, while they are open
TASKS_KEPT: Final = timedelta(days=31 + 30)

_DELIVERIES: Final = """
DELETE FROM deliveries WHERE id IN (
    SELECT d.id FROM events e JOIN deliveries d ON d.event = e.seq
    WHERE e.time < :before AND NOT EXISTS (
        SELECT 1 FROM deliveries w WHERE w.event = e.seq AND w.state IN ('pending', 'held')
    )
    LIMIT :limit
)
"""

_HEARERS: Final = """
DELETE FROM hearers WHERE (alert, receiver) IN (
    SELECT h.alert, h.receiver FROM events e JOIN alerts a ON a.event = e.seq JOIN hearers h ON h.alert = a.event
    WHERE e.time < :before AND (a.ended_at IS NOT NULL OR e.time < :forgotten)
    LIMIT :limit
)
"""

# Without its delivery it would look as if it had been told.
_UNTOLD: Final = """
DELETE FROM hearers WHERE (alert, receiver) IN (
    SELECT d.event, d.receiver FROM events e JOIN deliveries d ON d.event = e.seq
    JOIN hearers h ON h.alert = d.event AND h.receiver = d.receiver
    WHERE e.time < :before AND d.state IN ('dead', 'dropped', 'suppressed')
    LIMIT :limit
)
"""

_ALERTS: Final = """
DELETE FROM alerts WHERE event IN (
    SELECT a.event FROM events e JOIN alerts a ON a.event = e.seq
    WHERE e.time < :before AND (a.ended_at IS NOT NULL OR e.time < :forgotten)
      AND NOT EXISTS (SELECT 1 FROM hearers h WHERE h.alert = a.event)
    LIMIT :limit
)
"""

_EVENTS: Final = """
DELETE FROM events WHERE seq IN (
    SELECT e.seq FROM events e
    WHERE e.time < :before
      AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = e.seq)
      AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.event = e.seq)
    LIMIT :limit
)
"""

# By the latest instant that anything is known to have happened to it. It is not documented which of
# them the cloud's month counts from.
_TASKS: Final = """
DELETE FROM tasks WHERE (project, job_id) IN (
    SELECT t.project, t.job_id FROM tasks t
    WHERE (t.open = 0 OR t.gone = 1)
      AND t.changed_at < :before
      AND coalesce(t.created_at, 0) < :before
      AND coalesce(t.ended_at, 0) < :before
      AND NOT EXISTS (SELECT 1 FROM events e WHERE e.project = t.project AND e.job_id = t.job_id)
    LIMIT :limit
)
"""

_MESSAGES: Final = """
DELETE FROM messages WHERE id IN (
    SELECT m.id FROM messages m
    WHERE m.at < :before AND m.state <> 'pending' AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.id)
    LIMIT :limit
)
"""

_SILENCES: Final = (
    "DELETE FROM silences WHERE id IN (SELECT id FROM silences WHERE ends_at < :before LIMIT :limit)"
)

_OPERATIONS: Final = """
DELETE FROM operations WHERE id IN (
    SELECT id FROM operations WHERE at < :before AND logged = 1 AND outcome IS NOT NULL LIMIT :limit
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many rows were forgotten."""

    events: int
    deliveries: int
    tasks: int


Batch = Callable[[apsw.Connection], int]


def deliveries(before: int) -> Batch:
    """Forget deliveries of events older than this, of which none is pending or held."""
    return _deletion(_DELIVERIES, before)


def hearers(before: int) -> Batch:
    """Forget who was told of alerts that are over and older than this, or that nobody cared for in 90 days more."""
    return _deletion(_HEARERS, before, forgotten=before - ALERTS_KEPT)


def untold(before: int) -> Batch:
    """Forget of alerts older than this who was to be told of them, and was not in the end."""
    return _deletion(_UNTOLD, before)


def alerts(before: int) -> Batch:
    """Forget these alerts, once it is forgotten who was told of them."""
    return _deletion(_ALERTS, before, forgotten=before - ALERTS_KEPT)


def events(before: int) -> Batch:
    """Forget events older than this that have no deliveries and no alert, or none any more."""
    return _deletion(_EVENTS, before)


def tasks(before: int) -> Batch:
    """Forget tasks that have ended or are gone, and that nothing has happened to since."""
    return _deletion(_TASKS, before)


def messages(before: int) -> Batch:
    """Forget messages older than this of which nothing that they told is left."""
    return _deletion(_MESSAGES, before)


def silences(before: int) -> Batch:
    """Forget silences that ended before this."""
    return _deletion(_SILENCES, before)


def operations(before: int) -> Batch:
    """Forget what operators did before this, and the daemon has logged."""
    return _deletion(_OPERATIONS, before)


def pages(connection: apsw.Connection) -> int:
    """Give free pages of the file back; return how many."""
    free: int = connection.pragma("freelist_count")
    connection.execute(f"PRAGMA incremental_vacuum({BATCH})").fetchall()
    left: int = connection.pragma("freelist_count")
    return free - left


def _deletion(statement: str, before: int, **more: int) -> Batch:
    def delete(connection: apsw.Connection) -> int:
        connection.execute(statement, {"before": before, "limit": BATCH, **more})
        return connection.changes()

    return delete
