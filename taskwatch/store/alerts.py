"""Alerts: the statements that open and end them, and those by which they are found.

Each function is a part of a transaction; the writer begins and commits it.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import apsw

from taskwatch.engine.ports import Routed, StaleStateError, Standing
from taskwatch.model.alert import OPENING, Alert, Ended, Why
from taskwatch.model.event import EventId, EventType
from taskwatch.model.project import Identity
from taskwatch.store import silences
from taskwatch.store.instants import from_stored, to_stored
from taskwatch.store.rows import task_of

# Somebody has it now: what was said then holds at `:now`.
HAS: Final = "a.acknowledged_at IS NOT NULL AND (a.acknowledged_until IS NULL OR a.acknowledged_until > :now)"

_OPEN: Final = "INSERT INTO alerts (event, project, job_id) VALUES (?, ?, ?)"
_HEARS: Final = "INSERT INTO hearers (alert, receiver, group_key, hears_end) VALUES (?, ?, ?, ?)"
_END: Final = """
UPDATE alerts SET ended_at = ?, why = ?, by = ?, comment = ?
WHERE event = (SELECT seq FROM events WHERE id = ?) AND ended_at IS NULL
"""

# Whoever did not get the event in the end was not told, nor who is to get it later.
_TOLD: Final = """
SELECT h.receiver, h.group_key
FROM hearers h LEFT JOIN deliveries d ON d.event = h.alert AND d.receiver = h.receiver
WHERE h.alert = (SELECT seq FROM events WHERE id = ?) AND h.hears_end = 1
  AND coalesce(d.state, 'delivered') IN ('pending', 'delivered')
ORDER BY h.receiver
"""
# Who does not want to hear the end is not asked about any more.
_SETTLE_DEAF: Final = """
UPDATE hearers SET settled = 1 WHERE alert = (SELECT seq FROM events WHERE id = ?) AND hears_end = 0
"""
_ANY: Final = """
SELECT EXISTS (SELECT 1 FROM events e JOIN alerts a ON a.event = e.seq WHERE e.id IN (SELECT value FROM json_each(?)))
"""

# Nobody is told later of what is over by then.
_SUPPRESS: Final = """
UPDATE deliveries SET state = 'suppressed', why = 'over', done_at = ?
WHERE event = (SELECT seq FROM events WHERE id = ?) AND state = 'held'
"""

_OF_PROJECT: Final = """
SELECT e.id, e.type,
       t.job_id, t.name, t.status, t.progress, t.fail_reason, t.created_at, t.ended_at,
       t.instance_id, t.instance_name, t.instance_status
FROM alerts a
JOIN events e ON e.seq = a.event
JOIN tasks t ON t.project = a.project AND t.job_id = a.job_id
WHERE a.project = ? AND a.ended_at IS NULL
ORDER BY a.event
"""

_PROJECTS_OF: Final = """
SELECT p.service, p.host, p.project_id, p.name, a.job_id
FROM alerts a JOIN projects p ON p.id = a.project
WHERE a.ended_at IS NULL AND a.job_id IN (SELECT value FROM json_each(?))
ORDER BY p.id, a.event
"""

# A delivery that is dead or dropped told nothing; one that was pruned or renamed did.
_STANDING: Final = """
SELECT e.id, e.body, a.ended_at, h.labels, h.fired_seconds, a.acknowledged_by
FROM hearers h
JOIN alerts a ON a.event = h.alert
JOIN events e ON e.seq = h.alert
LEFT JOIN deliveries d ON d.event = h.alert AND d.receiver = h.receiver
WHERE h.receiver = :receiver AND h.settled = 0
  AND coalesce(d.state, 'delivered') IN ('pending', 'delivered')
  AND (:events IS NULL OR e.id IN (SELECT value FROM json_each(:events)))
ORDER BY h.alert
"""

_FREEZE: Final = """
UPDATE hearers SET labels = ?
WHERE alert = (SELECT seq FROM events WHERE id = ?) AND receiver = ? AND labels IS NULL
"""
_FIRED: Final = """
UPDATE hearers SET fired_seconds = fired_seconds + ?
WHERE receiver = ? AND settled = 0 AND labels IS NOT NULL
  AND alert IN (SELECT event FROM alerts WHERE ended_at IS NULL)
"""
_SETTLE: Final = """
UPDATE hearers SET settled = 1 WHERE alert = (SELECT seq FROM events WHERE id = ?) AND receiver = ?
"""

_ACKNOWLEDGE: Final = """
UPDATE alerts
SET acknowledged_at = :at, acknowledged_by = :by, acknowledged_until = :until, acknowledgement = :comment
WHERE job_id = :job_id AND ended_at IS NULL
"""

_RENAME: Final = "UPDATE OR IGNORE hearers SET receiver = ? WHERE receiver = ?"

# What ends an alert may open another: a later task that failed too, or the task itself, canceled where it had failed.
# That goes to whoever was told of the first, silence or not: its end alone would be a false all-clear.
_TAKES_ITS_PLACE: Final = """
SELECT d.id FROM alerts earlier
JOIN alerts later ON later.project = earlier.project AND later.job_id = :by AND later.ended_at IS NULL
JOIN deliveries d ON d.event = later.event
WHERE earlier.event = (SELECT seq FROM events WHERE id = :ended)
  AND d.state = 'held' AND d.receiver IN (SELECT value FROM json_each(:receivers))
"""


def opened(connection: apsw.Connection, seq: int, project: int | None, routed: Routed) -> None:
    """Open the alert of an event that was just recorded, if it is one of those that do."""
    if routed.event.type not in OPENING:
        return
    connection.execute(_OPEN, (seq, project, routed.job_id))
    connection.executemany(
        _HEARS, [(seq, hop.receiver, hop.group, int(hop.hears_end)) for hop in routed.hops]
    )


def end(connection: apsw.Connection, ended: Ended, *, at: datetime) -> list[tuple[str, str | None]]:
    """End an alert; return the receivers that were told of it, and in which groups. Raises StaleStateError where it has ended already.

    They are asked for here, in the transaction: a reload may have renamed them a moment ago.
    """
    end = (to_stored(at), ended.why, ended.by, ended.comment, ended.alert.event_id)
    connection.execute(_END, end)
    if connection.changes() == 0:
        raise StaleStateError(f"the alert of {ended.alert.event_id} has ended already")
    connection.execute(_SUPPRESS, (to_stored(at), ended.alert.event_id))
    connection.execute(_SETTLE_DEAF, (ended.alert.event_id,))
    rows: list[tuple[Any, ...]] = connection.execute(_TOLD, (ended.alert.event_id,)).fetchall()
    told = dict(rows)
    place = {"receivers": json.dumps(list(told)), "by": ended.by, "ended": ended.alert.event_id}
    held: list[tuple[Any, ...]] = connection.execute(_TAKES_ITS_PLACE, place).fetchall()
    for (delivery,) in held:
        silences.queue(connection, delivery)
    return list(told.items())


def told(connection: apsw.Connection, events: Sequence[EventId]) -> dict[str, str | None] | None:
    """Return the receivers that were told of any of these alerts and hear their end, and in which groups.

    None: no alert of these is on record, as of what began before alerts were.
    """
    if not connection.execute(_ANY, (json.dumps(list(events)),)).get:
        return None
    rows: list[tuple[Any, ...]] = []
    for event_id in events:
        rows += connection.execute(_TOLD, (event_id,)).fetchall()
    return dict(rows)


def returned(connection: apsw.Connection, events: Iterable[EventId], *, by: str, at: datetime) -> None:
    """End the alerts of an outage that is over."""
    instant = to_stored(at)
    for event_id in events:
        connection.execute(_END, (instant, Why.RETURNED, by, None, event_id))
        connection.execute(_SUPPRESS, (instant, event_id))
        connection.execute(_SETTLE_DEAF, (event_id,))


def of_project(connection: apsw.Connection, project: int) -> list[Alert]:
    """Return the open alerts of the project's tasks, in the order in which they were opened."""
    return [_alert(row) for row in connection.execute(_OF_PROJECT, (project,))]


def projects_of(connection: apsw.Connection, jobs: Collection[str]) -> dict[Identity, tuple[str, list[str]]]:
    """Return the projects in which these tasks have open alerts: the name of each, and which tasks."""
    found: dict[Identity, tuple[str, list[str]]] = {}
    for service, host, project_id, name, job_id in connection.execute(
        _PROJECTS_OF, (json.dumps(list(jobs)),)
    ):
        identity = Identity(service=service, host=host, project_id=project_id)
        _, of_project = found.setdefault(identity, (name, []))
        if job_id not in of_project:
            of_project.append(job_id)
    return found


def acknowledge(
    connection: apsw.Connection,
    jobs: Sequence[str],
    *,
    by: str,
    at: datetime,
    until: datetime | None,
    comment: str | None,
) -> list[str]:
    """Note that somebody has the open alerts of these tasks; return those that have any."""
    told = {"at": to_stored(at), "by": by, "until": to_stored(until), "comment": comment}
    found = []
    for job_id in jobs:
        connection.execute(_ACKNOWLEDGE, told | {"job_id": job_id})
        if connection.changes():
            found.append(job_id)
    return found


def standing(
    connection: apsw.Connection, receiver: str, events: Collection[EventId] | None
) -> list[Standing]:
    """Return the alerts that the receiver was told of and is to keep, or those of them that these events opened."""
    chosen = None if events is None else json.dumps(list(events))
    return [
        Standing(
            event_id=event_id,
            body=body,
            ended_at=from_stored(ended_at),
            labels=None if labels is None else json.loads(labels),
            fired_seconds=fired_seconds,
            acknowledged_by=acknowledged_by,
        )
        for event_id, body, ended_at, labels, fired_seconds, acknowledged_by in connection.execute(
            _STANDING, {"receiver": receiver, "events": chosen}
        )
    ]


def freeze(connection: apsw.Connection, receiver: str, labels: Mapping[EventId, Mapping[str, str]]) -> None:
    """Keep the labels under which the receiver is told of alerts; those it has heard of keep theirs."""
    rows = [(json.dumps(dict(kept)), event_id, receiver) for event_id, kept in labels.items()]
    connection.executemany(_FREEZE, rows)


def fired(connection: apsw.Connection, receiver: str, seconds: float) -> None:
    """Count for how long the open alerts were repeated to the receiver."""
    connection.execute(_FIRED, (seconds, receiver))


def settle(connection: apsw.Connection, receiver: str, events: Collection[EventId]) -> None:
    """Note that the receiver need not hear of these any more."""
    connection.executemany(_SETTLE, [(event_id, receiver) for event_id in events])


def rename(connection: apsw.Connection, renamed: Mapping[str, str]) -> None:
    """Let what these receivers were told be what those of the new names were."""
    connection.executemany(_RENAME, [(new, old) for old, new in renamed.items()])


def _alert(row: tuple[Any, ...]) -> Alert:
    event_id, type_ = row[:2]
    return Alert(event_id=event_id, type=EventType(type_), task=task_of(row[2:]))
