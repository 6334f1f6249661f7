"""The statements of messages to people: what waits to be told in one, the messages themselves, and what became of them.

A delivery that is told by a message follows it: it is delivered, or dead, when the message is.
"""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import apsw

from taskwatch.engine.ports import Bound, Open, StaleStateError, WaitingGroup, WaitingPart
from taskwatch.model.delivery import DeliveryId, Outcome, Queued, Retry
from taskwatch.model.event import WORST_FIRST, EventId
from taskwatch.store import attempts, outcomes
from taskwatch.store.instants import from_stored, to_stored

# 'pending' stands in the text of all of these: else the partial indexes do not serve.
_GROUPS: Final = """
SELECT coalesce(d.group_key, ''), min(e.time),
       EXISTS (
           SELECT 1 FROM messages m
           WHERE m.receiver = :receiver AND m.group_key = coalesce(d.group_key, '') AND m.state = 'pending'
       ),
       (
           SELECT m.at FROM messages m
           WHERE m.receiver = :receiver AND m.group_key = coalesce(d.group_key, '') ORDER BY m.id DESC LIMIT 1
       )
FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.receiver = :receiver AND d.state = 'pending' AND d.message IS NULL
GROUP BY coalesce(d.group_key, '')
ORDER BY min(d.id)
"""

# What is told of a task is told in the order of recording: what comes after something that another group has to tell
# first, or that a message tells which is not delivered yet, waits for that. CROSS JOIN: the few events of the task are
# looked at, and not each delivery that waits.
_WAITING: Final = """
SELECT d.id, e.id, e.type, e.seq, e.severity
FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.receiver = :receiver AND d.state = 'pending' AND d.message IS NULL
  AND coalesce(d.group_key, '') IN (SELECT value FROM json_each(:groups))
  AND NOT EXISTS (
      SELECT 1 FROM events o CROSS JOIN deliveries w ON w.event = o.seq AND w.receiver = d.receiver
      WHERE o.project = e.project AND o.job_id = e.job_id AND w.id < d.id AND w.state = 'pending'
        AND (w.message IS NOT NULL OR coalesce(w.group_key, '') NOT IN (SELECT value FROM json_each(:groups)))
  )
ORDER BY d.id
"""
_BODIES: Final = "SELECT seq, body FROM events WHERE seq IN (SELECT value FROM json_each(?))"

_ADD: Final = """
INSERT INTO messages (event_id, receiver, group_key, reminds, at, body) VALUES (?, ?, ?, ?, ?, ?)
"""
_TELL: Final = """
UPDATE deliveries SET message = ?
WHERE id IN (SELECT value FROM json_each(?)) AND receiver = ? AND state = 'pending' AND message IS NULL
"""

_OPEN: Final = """
SELECT coalesce(h.group_key, ''), e.id, e.body,
       (SELECT max(m.id) FROM messages m WHERE m.receiver = h.receiver AND m.group_key = coalesce(h.group_key, '')),
       (
           SELECT m.at FROM messages m
           WHERE m.receiver = h.receiver AND m.group_key = coalesce(h.group_key, '') ORDER BY m.id DESC LIMIT 1
       )
FROM hearers h
JOIN alerts a ON a.event = h.alert
JOIN events e ON e.seq = h.alert
LEFT JOIN deliveries d ON d.event = h.alert AND d.receiver = h.receiver
WHERE h.receiver = :receiver AND a.ended_at IS NULL
  AND (a.acknowledged_at IS NULL OR a.acknowledged_until <= :now)
  AND coalesce(d.state, 'delivered') = 'delivered'
  AND NOT EXISTS (
      SELECT 1 FROM messages m
      WHERE m.receiver = h.receiver AND m.group_key = coalesce(h.group_key, '') AND m.state = 'pending'
  )
ORDER BY h.alert
"""
_STILL_OPEN: Final = """
SELECT count(*) FROM alerts a JOIN events e ON e.seq = a.event
WHERE e.id IN (SELECT value FROM json_each(?)) AND a.ended_at IS NULL
  AND (a.acknowledged_at IS NULL OR a.acknowledged_until <= ?)
"""

_PENDING: Final = """
SELECT id, event_id, group_key, attempts, poisoned, tried_seconds, replay
FROM messages WHERE receiver = ? AND state = 'pending' AND id > ? ORDER BY id LIMIT ?
"""
# A reminder that is outdated by the time it could go is not sent: it would say that something is open which is over.
_OUTDATED: Final = """
SELECT 1 FROM json_each(messages.reminds) r JOIN events e ON e.id = r.value JOIN alerts a ON a.event = e.seq
WHERE a.ended_at IS NOT NULL OR a.acknowledged_at >= messages.at
"""
_BODY: Final = f"""
SELECT body FROM messages
WHERE id = ? AND state = 'pending' AND (reminds IS NULL OR replay = 1 OR NOT EXISTS ({_OUTDATED}))
"""  # noqa: S608 - our own text
_DROP_OUTDATED: Final = f"""
UPDATE messages SET state = 'dropped', why = 'over', done_at = ?
WHERE receiver = ? AND state = 'pending' AND reminds IS NOT NULL AND replay = 0 AND EXISTS ({_OUTDATED})
"""  # noqa: S608 - the same

_HAS_OUTDATED: Final = f"""
SELECT EXISTS (
    SELECT 1 FROM messages WHERE receiver = ? AND state = 'pending' AND reminds IS NOT NULL AND replay = 0
      AND EXISTS ({_OUTDATED})
)
"""  # noqa: S608 - the same

_FOLLOW: Final = """
UPDATE deliveries
SET (state, why, attempts, last_reason, last_detail, first_attempt_at, last_attempt_at, done_at) = (
    SELECT m.state, m.why, m.attempts, m.last_reason, m.last_detail, m.first_attempt_at, m.last_attempt_at, m.done_at
    FROM messages m WHERE m.id = deliveries.message
)
WHERE message = ? AND state = 'pending'
"""

_DISSOLVE: Final = """
UPDATE deliveries SET message = NULL WHERE state = 'pending' AND message = ?
"""
_DROP: Final = (
    "UPDATE messages SET state = 'dropped', why = ?, done_at = ? WHERE id = ? AND state = 'pending'"
)
_OF_OTHERS: Final = """
SELECT id FROM messages WHERE state = 'pending' AND receiver NOT IN (SELECT value FROM json_each(?))
"""

_COPIED: Final = "event_id, receiver, group_key, reminds, at, body, first_attempt_at, last_attempt_at, last_reason, last_detail"
_COPY: Final = f"INSERT INTO messages ({_COPIED}, replay) SELECT {_COPIED}, 1 FROM messages WHERE id = ?"  # noqa: S608 - our own columns
_MOVE: Final = """
UPDATE deliveries SET message = ?, state = 'pending', why = NULL, done_at = NULL, attempts = 0, replay = 1
WHERE message = ? AND state = 'dead'
"""
_FOLLOW_ON: Final = "UPDATE deliveries SET message = ? WHERE message = ?"
_HAND_OVER: Final = "UPDATE messages SET receiver = ? WHERE receiver = ? AND state IN ('pending', 'dead')"


def groups(connection: apsw.Connection, receiver: str) -> list[WaitingGroup]:
    """Return the groups in which something waits to be told, in the order of their first events."""
    return [
        WaitingGroup(
            key=key,
            since=from_stored(since),
            is_open=bool(is_open),
            last_at=from_stored(last_at),
        )
        for key, since, is_open, last_at in connection.execute(_GROUPS, {"receiver": receiver})
    ]


def waiting(
    connection: apsw.Connection, receiver: str, keys: Collection[str], *, limit: int
) -> list[WaitingPart]:
    """Return what of these groups may be told now, in the order of recording; the worst of it with bodies."""
    rows: list[tuple[Any, ...]] = connection.execute(
        _WAITING, {"receiver": receiver, "groups": json.dumps(list(keys))}
    ).fetchall()
    worst = sorted(rows, key=lambda row: WORST_FIRST.index(row[4]))[:limit]
    bodies = dict(connection.execute(_BODIES, (json.dumps([row[3] for row in worst]),)))
    return [
        WaitingPart(
            delivery=DeliveryId(delivery), event_id=EventId(event_id), type=type_, body=bodies.get(seq)
        )
        for delivery, event_id, type_, seq, _ in rows
    ]


def open_alerts(connection: apsw.Connection, receiver: str, *, now: datetime) -> list[Open]:
    """Return the open alerts that the receiver was told of and that nobody has acknowledged.

    Those are left out whose group has a message that is not delivered yet.
    """
    return [
        Open(group=group, event_id=EventId(event_id), body=body, last=last or 0, last_at=from_stored(last_at))
        for group, event_id, body, last, last_at in connection.execute(
            _OPEN, {"receiver": receiver, "now": to_stored(now)}
        )
    ]


def bind(connection: apsw.Connection, message: Bound) -> None:
    """Record a message. Raises StaleStateError where what it tells is not to be told like this any more."""
    reminds = json.dumps(list(message.reminds)) if message.reminds else None
    at = to_stored(message.at)
    if reminds is not None and connection.execute(_STILL_OPEN, (reminds, at)).get != len(message.reminds):
        raise StaleStateError("an alert is over, or acknowledged, that was to be reminded of")
    row = (message.event_id, message.receiver, message.group, reminds, at, message.body)
    connection.execute(_ADD, row)
    number = connection.last_insert_rowid()
    connection.execute(_TELL, (number, json.dumps(list(message.deliveries)), message.receiver))
    if connection.changes() != len(message.deliveries) and message.deliveries:
        raise StaleStateError("a delivery has gone that was to be told")


def has_outdated(connection: apsw.Connection, receiver: str) -> bool:
    """Tell whether there are reminders to put away: most often not, and then nothing is written."""
    return bool(connection.execute(_HAS_OUTDATED, (receiver,)).get)


def drop_outdated(connection: apsw.Connection, receiver: str, *, at: datetime) -> None:
    """Put away reminders of what is over, or acknowledged."""
    connection.execute(_DROP_OUTDATED, (to_stored(at), receiver))


def pending(connection: apsw.Connection, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
    """Return pending messages with numbers above `after`. Those of one group are sent one after the other."""
    return [
        Queued(
            id=DeliveryId(number),
            event_id=EventId(event_id),
            task=f"replay/{number}" if replay else group,
            attempts=tried,
            poisoned=poisoned,
            tried_seconds=tried_seconds,
            replay=bool(replay),
        )
        for number, event_id, group, tried, poisoned, tried_seconds, replay in connection.execute(
            _PENDING, (receiver, after, limit)
        )
    ]


def body(connection: apsw.Connection, number: DeliveryId) -> bytes | None:
    """Return the frozen bytes of a message that is still to be sent."""
    found: bytes | None = connection.execute(_BODY, (number,)).get
    return found


def record(connection: apsw.Connection, number: DeliveryId, outcome: Outcome, at: datetime) -> None:
    """Write the outcome of one attempt; with its last one go the deliveries that it tells."""
    outcomes.record(connection, "messages", number, outcome, at)
    if not isinstance(outcome, Retry):
        connection.execute(_FOLLOW, (number,))


def dissolve(connection: apsw.Connection, number: int, *, why: str, at: datetime) -> None:
    """Put a pending message away; what it told waits again."""
    connection.execute(_DISSOLVE, (number,))
    connection.execute(_DROP, (why, to_stored(at), number))


def of_others(connection: apsw.Connection, people: Collection[str]) -> list[int]:
    """Return the messages that wait for receivers which are not among those that write to people."""
    rows: list[tuple[Any, ...]] = connection.execute(_OF_OTHERS, (json.dumps(list(people)),)).fetchall()
    return [number for (number,) in rows]


def dissolve_others(connection: apsw.Connection, people: Collection[str], *, at: datetime) -> None:
    """Dissolve those: their receivers are told event by event."""
    for number in of_others(connection, people):
        dissolve(connection, number, why="regrouped", at=at)


def replay(connection: apsw.Connection, number: int) -> None:
    """Send a dead message again, under a number of its own at the end of the queue, with all that it tells."""
    connection.execute(_COPY, (number,))
    fresh = connection.last_insert_rowid()
    attempts.move_message(connection, number, fresh)
    connection.execute(_MOVE, (fresh, number))
    connection.execute(_FOLLOW_ON, (fresh, number))
    connection.execute("DELETE FROM messages WHERE id = ?", (number,))


def hand_over(connection: apsw.Connection, old: str, new: str) -> None:
    """Give what waits for a receiver to the one of the new name."""
    connection.execute(_HAND_OVER, (new, old))


def drop_all(connection: apsw.Connection, receiver: str, *, why: str, at: datetime) -> None:
    """Put away the pending messages of a receiver of which nothing is left to be told."""
    for queued in pending(connection, receiver, after=DeliveryId(0), limit=1000):
        connection.execute(_DROP, (why, to_stored(at), queued.id))
