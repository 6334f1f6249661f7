"""The poller's statements: projects, tasks, and the one commit that joins them with their events.

Each function is the body of one transaction; the writer begins and commits it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import apsw

from taskwatch.core.route import TOLD_BEFORE
from taskwatch.engine.ports import PollRecord, ProjectState, Routed, StaleStateError
from taskwatch.model.project import Condition, Identity, Trouble
from taskwatch.model.task import Known
from taskwatch.store import alerts
from taskwatch.store.instants import from_stored, to_stored
from taskwatch.store.rows import task_of

_ENROL: Final = """
INSERT INTO projects (service, host, project_id, name) VALUES (?, ?, ?, ?)
ON CONFLICT (service, host, project_id) DO UPDATE SET name = excluded.name WHERE name <> excluded.name
"""

_STATE: Final = """
SELECT id, revision, sequence, baseline_at, observed_at
FROM projects WHERE service = ? AND host = ? AND project_id = ?
"""

_OPEN_TASKS: Final = "SELECT job_id FROM tasks WHERE project = ? AND open = 1 AND gone = 0"

_KNOWN: Final = """
SELECT job_id, name, status, progress, fail_reason, created_at, ended_at,
       instance_id, instance_name, instance_status,
       revision, sequence, pending_status, pending_count, gone, losses
FROM tasks WHERE project = ? AND job_id = ?
"""

_EXPECTED: Final = """
SELECT job_id, created_at FROM tasks WHERE project = ? AND gone = 0 AND (open = 1 OR created_at >= ?)
"""

# A baseline stands once it is set: nothing may move it silently.
_ADVANCE: Final = """
UPDATE projects
SET revision = revision + 1, sequence = coalesce(:sequence, sequence),
    observed_at = coalesce(:observed_at, observed_at),
    baseline_at = coalesce(baseline_at, :baseline_at)
WHERE id = :project AND revision = :revision AND (:sequence IS NULL OR sequence = :sequence - 1)
"""

_PUT_TASK: Final = """
INSERT INTO tasks (
    project, job_id, name, status, open, progress, fail_reason, created_at, ended_at,
    instance_id, instance_name, instance_status,
    revision, sequence, pending_status, pending_count, gone, losses, changed_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (project, job_id) DO UPDATE SET
    name = excluded.name, status = excluded.status, open = excluded.open,
    progress = excluded.progress, fail_reason = excluded.fail_reason,
    created_at = excluded.created_at, ended_at = excluded.ended_at,
    instance_id = excluded.instance_id, instance_name = excluded.instance_name,
    instance_status = excluded.instance_status,
    revision = excluded.revision, sequence = excluded.sequence,
    pending_status = excluded.pending_status, pending_count = excluded.pending_count,
    gone = excluded.gone, losses = excluded.losses, changed_at = excluded.changed_at
"""

_ADD_EVENT: Final = """
INSERT INTO events (id, project, subject, job_id, type, severity, summary, sequence, time, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_ADD_DELIVERY: Final = """
INSERT INTO deliveries (event, receiver, path, group_key, held_by, state)
VALUES (?1, ?2, ?3, ?4, ?5, CASE WHEN ?5 IS NULL THEN 'pending' ELSE 'held' END)
"""

_FRESHNESS: Final = "SELECT observed FROM freshness WHERE id = 1"

# Merged, not replaced: a project that was not read since the start keeps its last reading.
_KEEP_FRESHNESS: Final = """
INSERT INTO freshness (id, observed, conditions) VALUES (1, ?, ?)
ON CONFLICT (id) DO UPDATE
SET observed = json_patch(observed, excluded.observed), conditions = excluded.conditions
"""

_CONDITIONS: Final = "SELECT conditions FROM freshness WHERE id = 1"


def enrol(connection: apsw.Connection, identity: Identity, name: str) -> ProjectState:
    """Return the state of the project, made now if it is new."""
    connection.execute(_ENROL, (identity.service, identity.host, identity.project_id, name))
    state = state_of(connection, identity)
    if state is None:
        raise apsw.CorruptError("a project that was just written is not there")
    return state


def state_of(connection: apsw.Connection, identity: Identity) -> ProjectState | None:
    """Return the state of the project; None if it was never enrolled."""
    row: tuple[Any, ...] | None = connection.execute(
        _STATE, (identity.service, identity.host, identity.project_id)
    ).fetchone()
    if row is None:
        return None
    key, revision, sequence, baseline_at, observed_at = row
    open_tasks = frozenset(job_id for (job_id,) in connection.execute(_OPEN_TASKS, (key,)))
    return ProjectState(
        key=key,
        revision=revision,
        sequence=sequence,
        baseline_at=from_stored(baseline_at),
        observed_at=latest(from_stored(observed_at), freshness(connection).get(key)),
        open_tasks=open_tasks,
    )


def known(connection: apsw.Connection, project: int, job_ids: Iterable[str]) -> dict[str, Known]:
    """Return what is remembered of these tasks; unknown ids are left out."""
    rows = connection.executemany(_KNOWN, ((project, job_id) for job_id in job_ids))
    return {row[0]: _known(row) for row in rows}


def expected(connection: apsw.Connection, project: int, since: datetime) -> dict[str, datetime | None]:
    """Return when each task began that should be on the list, of those that began since then or had not ended."""
    rows = connection.execute(_EXPECTED, (project, to_stored(since)))
    return {job_id: from_stored(created_at) for job_id, created_at in rows}


def commit(connection: apsw.Connection, record: PollRecord, *, at: datetime) -> None:
    """Record a poll. Raises StaleStateError if it is built upon another state than the store's."""
    connection.execute(
        _ADVANCE,
        {
            "project": record.project,
            "revision": record.revision,
            "sequence": record.sequence,
            "observed_at": to_stored(record.observed_at),
            "baseline_at": to_stored(record.baseline_at),
        },
    )
    if connection.changes() == 0:
        raise StaleStateError(f"revision {record.revision} of project {record.project} is not the latest")
    changed_at = to_stored(at)
    connection.executemany(_PUT_TASK, (_task_row(record.project, task, changed_at) for task in record.tasks))
    add_events(connection, record.project, record.events)


def keep_freshness(
    connection: apsw.Connection, observed: Mapping[int, datetime], conditions: Mapping[int, Condition]
) -> None:
    """Remember when these projects were last read, and how the watching of all of them goes."""
    read = json.dumps({project: to_stored(instant) for project, instant in observed.items()})
    going = json.dumps({project: _condition_row(condition) for project, condition in conditions.items()})
    connection.execute(_KEEP_FRESHNESS, (read, going))


def conditions(connection: apsw.Connection) -> dict[int, Condition]:
    """Return how the watching of each project went when its daemon spoke last."""
    text = connection.execute(_CONDITIONS).get
    return {int(project): _condition(row) for project, row in json.loads(text or "{}").items()}


def _condition_row(condition: Condition) -> dict[str, object]:
    row: dict[str, object] = {
        "interval": condition.interval,
        "next_poll_at": to_stored(condition.next_poll_at),
    }
    if (trouble := condition.trouble) is not None:
        row["trouble"] = [trouble.cause, trouble.error, to_stored(trouble.since)]
    return row


def _condition(row: dict[str, Any]) -> Condition:
    trouble = None
    if "trouble" in row:
        cause, error, since = row["trouble"]
        trouble = Trouble(cause=cause, error=error, since=from_stored(since))
    return Condition(interval=row["interval"], next_poll_at=from_stored(row["next_poll_at"]), trouble=trouble)


def freshness(connection: apsw.Connection) -> dict[int, datetime]:
    """Return when each project was last read without anything to record."""
    text = connection.execute(_FRESHNESS).get
    return {int(project): from_stored(instant) for project, instant in json.loads(text or "{}").items()}


def latest(*instants: datetime | None) -> datetime | None:
    return max((instant for instant in instants if instant is not None), default=None)


def add_events(connection: apsw.Connection, project: int | None, routed: Iterable[Routed]) -> None:
    """Insert the events in their order, with a delivery for each hop and the alerts that they open and end."""
    connection.executemany(_ADD_DELIVERY, _inserted(connection, project, routed))


def _inserted(
    connection: apsw.Connection, project: int | None, routed: Iterable[Routed]
) -> Iterator[tuple[int, str, str, str | None, str | None]]:
    """Insert the events in their order; yield the delivery of each hop.

    An id that the store holds already is refused: each id is recorded once, and a second one would
    mean that the state it was derived from was recorded without it.
    """
    for item in routed:
        event = item.event
        connection.execute(
            _ADD_EVENT,
            (
                event.id,
                project,
                event.subject,
                item.job_id,
                event.type,
                event.severity,
                event.summary,
                event.sequence,
                to_stored(event.time),
                event.body,
            ),
        )
        seq = connection.last_insert_rowid()
        alerts.opened(connection, seq, project, item)
        if item.ends is not None:
            for receiver, group in alerts.end(connection, item.ends, at=event.time):
                yield seq, receiver, TOLD_BEFORE, group, None
        told = alerts.told(connection, item.follows)
        if told is not None:
            for receiver, group in told.items():
                yield seq, receiver, TOLD_BEFORE, group, None
            continue
        for hop in item.hops:
            yield seq, hop.receiver, hop.path, hop.group, hop.held_by


def _task_row(project: int, known: Known, changed_at: int) -> tuple[str | int | None, ...]:
    task = known.task
    return (
        project,
        task.job_id,
        task.name,
        task.status,
        0 if task.has_ended else 1,
        task.progress,
        task.fail_reason,
        to_stored(task.created_at),
        to_stored(task.ended_at),
        task.instance.id,
        task.instance.name,
        task.instance.status,
        known.revision,
        known.sequence,
        known.pending_status,
        known.pending_count,
        int(known.is_gone),
        known.losses,
        changed_at,
    )


def _known(row: tuple[Any, ...]) -> Known:
    revision, sequence, pending_status, pending_count, gone, losses = row[10:]
    return Known(
        task=task_of(row[:10]),
        revision=revision,
        sequence=sequence,
        pending_status=pending_status,
        pending_count=pending_count,
        is_gone=bool(gone),
        losses=losses,
    )
