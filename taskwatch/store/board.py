"""The statements of what the status page shows: of each table the first rows, and how many there are.

Each function is a part of one reading. What is counted here has an index, but for what is dead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import apsw

from taskwatch.model.event import EventId
from taskwatch.model.project import Identity
from taskwatch.model.task import Task
from taskwatch.store.alerts import HAS
from taskwatch.store.instants import from_stored, to_stored
from taskwatch.store.rows import EventRow, OpenedAlertRow, ProjectRow, TaskRow, ToldRow, task_of

_OPEN_ALERTS: Final = f"""
SELECT e.id, e.type, e.severity, e.summary, e.time, p.name, a.job_id, t.fail_reason,
       a.acknowledged_by, a.acknowledgement,
       {HAS} AS has,
       (SELECT d.held_by FROM deliveries d WHERE d.event = a.event AND d.state = 'held' ORDER BY d.id LIMIT 1),
       EXISTS (SELECT 1 FROM deliveries d WHERE d.event = a.event AND d.state IN ('pending', 'delivered'))
FROM alerts a
JOIN events e ON e.seq = a.event
LEFT JOIN projects p ON p.id = a.project
LEFT JOIN tasks t ON t.project = a.project AND t.job_id = a.job_id
WHERE a.ended_at IS NULL
ORDER BY has, CASE e.severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, a.event DESC
LIMIT :limit
"""  # noqa: S608 - our own text
_ALERT_COUNTS: Final = f"""
SELECT count(*), coalesce(sum(has), 0), coalesce(sum(is_critical AND NOT has), 0)
FROM (
    SELECT {HAS} AS has,
           e.severity = 'critical' AS is_critical
    FROM alerts a JOIN events e ON e.seq = a.event WHERE a.ended_at IS NULL
)
"""  # noqa: S608 - our own text

# Those that run longest come first.
_RUNNING: Final = """
SELECT p.service, p.host, p.project_id, p.name, t.revision, t.changed_at, t.gone,
       t.job_id, t.name, t.status, t.progress, t.fail_reason, t.created_at, t.ended_at,
       t.instance_id, t.instance_name, t.instance_status
FROM tasks t JOIN projects p ON p.id = t.project
WHERE t.open = 1 AND t.gone = 0
ORDER BY coalesce(t.created_at, t.changed_at), t.job_id LIMIT ?
"""
_RUNNING_COUNT: Final = "SELECT count(*) FROM tasks WHERE open = 1 AND gone = 0"

_QUEUES: Final = """
SELECT receiver, 'pending', count(*) FROM deliveries WHERE state = 'pending' GROUP BY receiver
UNION ALL
SELECT receiver, 'held', count(*) FROM deliveries WHERE state = 'held' GROUP BY receiver
UNION ALL
SELECT receiver, 'dead', count(*) FROM deliveries WHERE state = 'dead' GROUP BY receiver
"""
_DEAD: Final = """
SELECT e.id, e.job_id, e.summary, e.time, d.receiver, coalesce(m.attempts, d.attempts),
       d.why, coalesce(m.last_reason, d.last_reason), coalesce(m.last_detail, d.last_detail), d.done_at
FROM deliveries d
JOIN events e ON e.seq = d.event
LEFT JOIN messages m ON m.id = d.message
WHERE d.id IN (SELECT id FROM deliveries WHERE state = 'dead' ORDER BY id DESC LIMIT ?)
ORDER BY d.id DESC
"""

# The two orders of a task: its place among the tasks of a project, and the index over its events.
_TASKS_OF_JOB: Final = """
SELECT p.service, p.host, p.project_id, p.name, t.revision, t.changed_at, t.gone,
       t.job_id, t.name, t.status, t.progress, t.fail_reason, t.created_at, t.ended_at,
       t.instance_id, t.instance_name, t.instance_status
FROM projects p CROSS JOIN tasks t ON t.project = p.id AND t.job_id = ?
ORDER BY p.id DESC LIMIT ?
"""
_EVENTS_OF_JOB: Final = """
SELECT e.id, p.name, e.subject, e.job_id, e.type, e.severity, e.summary, e.sequence, e.time, e.body
FROM projects p CROSS JOIN events e ON e.project = p.id AND e.job_id = ?
ORDER BY e.seq DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAlert:
    """An alert that has not ended."""

    event_id: EventId
    type: str
    severity: str
    summary: str
    since: datetime
    project: str | None
    job_id: str | None
    fail_reason: str | None
    acknowledged_by: str | None  # who has it now
    acknowledgement: str | None
    held_by: str | None  # why nobody was told of it


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertCounts:
    open: int
    acknowledged: int
    critical: int  # that nobody has


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadDelivery:
    event_id: EventId
    job_id: str | None
    summary: str
    time: datetime  # of the event
    receiver: str
    attempts: int
    why: str | None
    reason: str | None
    detail: str | None
    done_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTask:
    """A task, and whose it is beyond the name."""

    identity: Identity
    row: TaskRow

    @property
    def task(self) -> Task:
        return self.row.task


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One moment of the store."""

    projects: tuple[ProjectRow, ...]
    alerts: tuple[OpenAlert, ...]  # the worst first, those that somebody has last
    alert_counts: AlertCounts
    running: tuple[PlacedTask, ...]
    running_count: int
    events: tuple[EventRow, ...]
    queues: Mapping[tuple[str, str], int]  # receiver, state → deliveries that are pending, held or dead
    dead: tuple[DeadDelivery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """All that is on record of the tasks of one id: more than one where clouds chose the same."""

    projects: tuple[ProjectRow, ...]
    tasks: tuple[PlacedTask, ...]
    events: tuple[EventRow, ...]  # the latest first
    told: Mapping[EventId, Sequence[ToldRow]]
    alerts: tuple[OpenedAlertRow, ...]  # that the events opened


def open_alerts(connection: apsw.Connection, *, now: datetime, limit: int) -> tuple[OpenAlert, ...]:
    rows = connection.execute(_OPEN_ALERTS, {"now": to_stored(now), "limit": limit})
    return tuple(_open_alert(row) for row in rows)


def alert_counts(connection: apsw.Connection, *, now: datetime) -> AlertCounts:
    ((found, acknowledged, critical),) = connection.execute(_ALERT_COUNTS, {"now": to_stored(now)})
    return AlertCounts(open=found, acknowledged=acknowledged, critical=critical)


def running(connection: apsw.Connection, *, limit: int) -> tuple[PlacedTask, ...]:
    return tuple(_placed(row) for row in connection.execute(_RUNNING, (limit,)))


def running_count(connection: apsw.Connection) -> int:
    count: int = connection.execute(_RUNNING_COUNT).get
    return count


def queues(connection: apsw.Connection) -> dict[tuple[str, str], int]:
    return {(receiver, state): count for receiver, state, count in connection.execute(_QUEUES)}


def dead(connection: apsw.Connection, *, limit: int) -> tuple[DeadDelivery, ...]:
    return tuple(_dead(row) for row in connection.execute(_DEAD, (limit,)))


def tasks_of_job(connection: apsw.Connection, job_id: str, *, limit: int) -> tuple[PlacedTask, ...]:
    return tuple(_placed(row) for row in connection.execute(_TASKS_OF_JOB, (job_id, limit)))


def events_of_job(connection: apsw.Connection, job_id: str, *, limit: int) -> list[tuple[Any, ...]]:
    """Return rows as the reader makes events of them."""
    return connection.execute(_EVENTS_OF_JOB, (job_id, limit)).fetchall()


def _open_alert(row: tuple[Any, ...]) -> OpenAlert:
    event_id, type_, severity, summary, time, project, job_id, fail_reason, by, said, has, *silence = row
    held_by, is_told = silence
    return OpenAlert(
        event_id=EventId(event_id),
        type=type_,
        severity=severity,
        summary=summary,
        since=from_stored(time),
        project=project,
        job_id=job_id,
        fail_reason=fail_reason,
        acknowledged_by=by if has else None,
        acknowledgement=said if has else None,
        held_by=None if is_told else held_by,
    )


def _placed(row: tuple[Any, ...]) -> PlacedTask:
    service, host, project_id, project, revision, changed_at, gone, *columns = row
    return PlacedTask(
        identity=Identity(service=service, host=host, project_id=project_id),
        row=TaskRow(
            project=project,
            task=task_of(tuple(columns)),
            revision=revision,
            changed_at=from_stored(changed_at),
            is_gone=bool(gone),
        ),
    )


def _dead(row: tuple[Any, ...]) -> DeadDelivery:
    event_id, job_id, summary, time, receiver, attempts, why, reason, detail, done_at = row
    return DeadDelivery(
        event_id=EventId(event_id),
        job_id=job_id,
        summary=summary,
        time=from_stored(time),
        receiver=receiver,
        attempts=attempts,
        why=why,
        reason=reason,
        detail=detail,
        done_at=from_stored(done_at),
    )
