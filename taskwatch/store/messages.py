"""The statements of messages to people: what waits to be told in one, the messages themselves, and what became of them.

A delivery that is told by a message follows it: it is delivered, or dead, when the message is. It is delivered in part as
soon as some of those it is for have the message: that waits for the others, and nothing waits for it.
"""

import json
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

import apsw

from taskwatch.engine.ports import Bound, Open, StaleStateError, UnderWay, WaitingGroup, WaitingPart
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, Outcome, Queued, Retry
from taskwatch.model.event import WORST_FIRST, EventId
from taskwatch.store import attempts, outcomes
from taskwatch.store.instants import from_stored, to_stored

LEFT_KEPT: Final = timedelta(days=7)  # for a removed receiver, as whatever waits for one

# 'pending' stands in the text of most of these: else the partial indexes do not serve.
# A message that is refused for what it says must not keep the receiver from being told anything else; nor must one that
# some have keep those from anything else.
_UNDER_WAY: Final = """
m.receiver = ? AND m.state = 'pending' AND m.replay = 0 AND NOT (m.last_reason IS 'rejected' AND m.attempts >= 3)
  AND m.why IS NOT 'in_part'
"""
_PENDING_NOW: Final = f"SELECT count(*) FROM messages m WHERE {_UNDER_WAY}"  # noqa: S608 - our own text
_UNDELIVERED: Final = f"""
SELECT DISTINCT g.group_key FROM messages m JOIN message_groups g ON g.message = m.id WHERE {_UNDER_WAY}
"""  # noqa: S608 - the same
# Of all that waits only the rows of deliveries are read, which are short; of each group one event.
_GROUPS: Final = """
SELECT w.key, e.time,
       (
           SELECT coalesce(m.done_at, m.at) FROM message_groups g JOIN messages m ON m.id = g.message
           WHERE g.receiver = :receiver AND g.group_key = w.key AND m.state <> 'dropped'
           ORDER BY g.message DESC LIMIT 1
       )
FROM (
    SELECT coalesce(group_key, '') AS key, min(id) AS first FROM deliveries
    WHERE receiver = :receiver AND state = 'pending' AND message IS NULL
      AND (:key IS NULL OR coalesce(group_key, '') = :key)
    GROUP BY coalesce(group_key, '')
) w JOIN deliveries d ON d.id = w.first JOIN events e ON e.seq = d.event
ORDER BY w.first
"""

# What is told of a task, or of anything else, is told in the order of recording: what comes after something that
# another group has to tell first, or that a message tells which is not delivered yet, waits for that.
# CROSS JOIN keeps SQLite from looking at all that waits for each that waits: it begins with the events of the task.
_WAITING: Final = """
SELECT d.id, e.id, e.type, e.seq, e.severity, a.ended_at IS NOT NULL, e.time, coalesce(d.group_key, '')
FROM deliveries d JOIN events e ON e.seq = d.event LEFT JOIN alerts a ON a.event = e.seq
WHERE d.receiver = :receiver AND d.state = 'pending' AND d.message IS NULL
  AND coalesce(d.group_key, '') IN (SELECT value FROM json_each(:groups))
  AND NOT EXISTS (
      SELECT 1 FROM events o CROSS JOIN deliveries w ON w.event = o.seq AND w.receiver = d.receiver
      WHERE o.project = e.project AND o.job_id = e.job_id AND w.id < d.id AND w.state = 'pending' AND w.replay = 0
        AND (w.message IS NOT NULL OR coalesce(w.group_key, '') NOT IN (SELECT value FROM json_each(:groups)))
  )
  AND NOT EXISTS (
      SELECT 1 FROM events o CROSS JOIN deliveries w ON w.event = o.seq AND w.receiver = d.receiver
      WHERE e.job_id IS NULL AND o.job_id IS NULL AND o.subject = e.subject
        AND w.id < d.id AND w.state = 'pending' AND w.replay = 0
        AND (w.message IS NOT NULL OR coalesce(w.group_key, '') NOT IN (SELECT value FROM json_each(:groups)))
  )
ORDER BY d.id
"""
_BODIES: Final = "SELECT seq, body FROM events WHERE seq IN (SELECT value FROM json_each(?))"

_ADD: Final = "INSERT INTO messages (event_id, receiver, reminds, at, body) VALUES (?, ?, ?, ?, ?)"
_OF_GROUP: Final = "INSERT INTO message_groups (receiver, group_key, message) VALUES (?, ?, ?)"
_TELL: Final = """
UPDATE deliveries SET message = ?
WHERE id IN (SELECT value FROM json_each(?)) AND receiver = ? AND state = 'pending' AND message IS NULL
"""

# CROSS JOIN: it begins with the alerts that are open, which are few of many.
_OPEN: Final = """
WITH reminded AS MATERIALIZED (
    SELECT r.value FROM messages m CROSS JOIN json_each(m.reminds) r
    WHERE m.receiver = :receiver AND m.state = 'pending' AND m.replay = 0 AND m.reminds IS NOT NULL
      AND m.why IS NOT 'in_part'
)
SELECT coalesce(h.group_key, ''), e.id, e.body, coalesce(h.reminded_at, d.done_at, e.time),
       e.id IN (SELECT value FROM reminded)
FROM alerts a
CROSS JOIN hearers h ON h.alert = a.event AND h.receiver = :receiver
JOIN events e ON e.seq = a.event
LEFT JOIN deliveries d ON d.event = a.event AND d.receiver = h.receiver
WHERE a.ended_at IS NULL AND (a.acknowledged_at IS NULL OR a.acknowledged_until <= :now)
  AND coalesce(d.state, 'delivered') = 'delivered'
ORDER BY a.event
"""
_COMPOSED: Final = "SELECT at FROM messages WHERE receiver = ? AND replay = 0 ORDER BY id DESC LIMIT ?"
_LAST: Final = "SELECT coalesce(max(id), 0) FROM messages"
_STILL_OPEN: Final = """
SELECT count(*) FROM alerts a JOIN events e ON e.seq = a.event
WHERE e.id IN (SELECT value FROM json_each(?)) AND a.ended_at IS NULL
  AND (a.acknowledged_at IS NULL OR a.acknowledged_until <= ?)
"""
_REMINDED: Final = """
UPDATE hearers SET reminded_at = :at
WHERE receiver = (SELECT receiver FROM messages WHERE id = :id) AND alert IN (
    SELECT e.seq FROM messages m JOIN json_each(m.reminds) r JOIN events e ON e.id = r.value WHERE m.id = :id
)
"""

_PENDING: Final = """
SELECT id, event_id, attempts, poisoned, tried_seconds, replay, why IS 'in_part'
FROM messages WHERE receiver = ? AND state = 'pending' AND id > ? ORDER BY id LIMIT ?
"""
# A reminder that is outdated by the time it could go is not sent: it would say that something is open which is over.
_OUTDATED: Final = """
SELECT 1 FROM json_each(messages.reminds) r JOIN events e ON e.id = r.value JOIN alerts a ON a.event = e.seq
WHERE a.ended_at IS NOT NULL OR a.acknowledged_at >= messages.at
   OR (a.acknowledged_at IS NOT NULL AND a.acknowledged_until IS NULL)
"""
_BODY: Final = f"""
SELECT body FROM messages
WHERE id = ? AND state = 'pending' AND (reminds IS NULL OR replay = 1 OR NOT EXISTS ({_OUTDATED}))
"""  # noqa: S608 - our own text
_DROP_OUTDATED: Final = f"""
UPDATE messages SET state = 'dropped', why = 'over', done_at = ?
WHERE receiver = ? AND state = 'pending' AND reminds IS NOT NULL AND replay = 0 AND EXISTS ({_OUTDATED})
"""  # noqa: S608 - the same
_OUTDATED_OF: Final = f"""
SELECT DISTINCT r.value FROM messages CROSS JOIN json_each(messages.reminds) r
WHERE receiver = ? AND state = 'pending' AND reminds IS NOT NULL AND replay = 0 AND EXISTS ({_OUTDATED})
"""  # noqa: S608 - the same

# What some have is delivered, since the first of them has it.
_FOLLOW: Final = """
UPDATE deliveries
SET (state, why, attempts, last_reason, last_detail, first_attempt_at, last_attempt_at, done_at) = (
    SELECT iif(m.state = 'pending', 'delivered', m.state), m.why, m.attempts, m.last_reason, m.last_detail,
           m.first_attempt_at, m.last_attempt_at, coalesce(deliveries.done_at, m.done_at, :at)
    FROM messages m WHERE m.id = deliveries.message
)
WHERE message = :id AND (state = 'pending' OR (state = 'delivered' AND why = 'in_part'))
  AND EXISTS (SELECT 1 FROM messages m WHERE m.id = :id AND (m.state <> 'pending' OR m.why = 'in_part'))
"""
_IS_IN_PART: Final = "SELECT why IS 'in_part' FROM messages WHERE id = ?"

_DISSOLVE: Final = "UPDATE deliveries SET message = NULL WHERE state IN ('pending', 'dead') AND message = ?"
_DROP: Final = "UPDATE messages SET state = 'dropped', why = ?, done_at = ? WHERE id = ? AND state IN ('pending', 'dead')"
_DROP_REMINDERS: Final = """
UPDATE messages SET state = 'dropped', why = 'receiver_removed', done_at = :at
WHERE state = 'pending' AND (reminds IS NOT NULL OR (why IS 'in_part' AND at <= :old))
  AND receiver NOT IN (SELECT value FROM json_each(:served))
"""
_WAS_TRIED: Final = "SELECT attempts > 0 FROM messages WHERE id = ?"
_TO_OTHERS: Final = """
SELECT DISTINCT m.id FROM message_groups g JOIN messages m ON m.id = g.message
WHERE g.receiver IN (SELECT value FROM json_each(?)) AND m.state IN ('pending', 'dead')
"""

_COPIED: Final = (
    "event_id, receiver, reminds, at, body, first_attempt_at, last_attempt_at, last_reason, last_detail"
)
_COPY: Final = f"INSERT INTO messages ({_COPIED}, replay) SELECT {_COPIED}, 1 FROM messages WHERE id = ?"  # noqa: S608 - our own columns
_COPY_GROUPS: Final = """
INSERT INTO message_groups (receiver, group_key, message)
SELECT receiver, group_key, ? FROM message_groups WHERE message = ?
"""
_IS_WHOLE: Final = "SELECT NOT EXISTS (SELECT 1 FROM deliveries WHERE message = ? AND state <> 'dead')"
_FREE: Final = """
UPDATE deliveries SET message = NULL, state = 'pending', why = NULL, done_at = NULL, attempts = 0
WHERE message = ? AND state = 'dead'
"""
_MOVE: Final = """
UPDATE deliveries SET message = ?, state = 'pending', why = NULL, done_at = NULL, attempts = 0, replay = 1
WHERE message = ? AND state = 'dead'
"""
_HAND_OVER: Final = "UPDATE messages SET receiver = ? WHERE receiver = ?"
_HAND_OVER_GROUPS: Final = "UPDATE OR REPLACE message_groups SET receiver = ? WHERE receiver = ?"


def under_way(connection: apsw.Connection, receiver: str) -> UnderWay:
    """Return what is not delivered yet: how many messages, and of which groups."""
    count: int = connection.execute(_PENDING_NOW, (receiver,)).get
    return UnderWay(messages=count, groups=_undelivered(connection, receiver))


def _undelivered(connection: apsw.Connection, receiver: str) -> frozenset[str]:
    return frozenset(key for (key,) in connection.execute(_UNDELIVERED, (receiver,)))


def groups(connection: apsw.Connection, receiver: str) -> list[WaitingGroup]:
    """Return the groups in which something waits to be told, in the order of their first events."""
    return _groups(connection, receiver, key=None)


def group(connection: apsw.Connection, receiver: str, key: str) -> WaitingGroup | None:
    """Return this one of them, if anything waits in it."""
    return next(iter(_groups(connection, receiver, key=key)), None)


def _groups(connection: apsw.Connection, receiver: str, *, key: str | None) -> list[WaitingGroup]:
    still_to_come = _undelivered(connection, receiver)
    return [
        WaitingGroup(
            key=found,
            since=from_stored(since),
            is_open=found in still_to_come,
            last_at=from_stored(last_at),
        )
        for found, since, last_at in connection.execute(_GROUPS, {"receiver": receiver, "key": key})
    ]


def composed(connection: apsw.Connection, receiver: str, *, limit: int) -> tuple[datetime, ...]:
    """Return when the last messages to the receiver were composed, the newest first."""
    return tuple(from_stored(at) for (at,) in connection.execute(_COMPOSED, (receiver, limit)))


def waiting(
    connection: apsw.Connection, receiver: str, keys: Collection[str], *, limit: int
) -> list[WaitingPart]:
    """Return what of these groups may be told now, in the order of recording; the worst of it with bodies."""
    rows: list[tuple[Any, ...]] = connection.execute(
        _WAITING, {"receiver": receiver, "groups": json.dumps(list(keys))}
    ).fetchall()
    worst = sorted(rows, key=lambda row: (row[5], WORST_FIRST.index(row[4])))[:limit]
    bodies = dict(connection.execute(_BODIES, (json.dumps([row[3] for row in worst]),)))
    return [
        WaitingPart(
            delivery=DeliveryId(delivery),
            event_id=EventId(event_id),
            type=type_,
            time=from_stored(time),
            body=bodies.get(seq),
            is_over=bool(is_over),
        )
        for delivery, event_id, type_, seq, _, is_over, time, _ in rows
    ]


def free(connection: apsw.Connection, receiver: str, keys: Collection[str]) -> list[str]:
    """Return those of these groups in which something may be told, if all are told; the first of them may in any case."""
    rows = connection.execute(_WAITING, {"receiver": receiver, "groups": json.dumps(list(keys))})
    return list(dict.fromkeys(row[-1] for row in rows))


def open_alerts(connection: apsw.Connection, receiver: str, *, now: datetime) -> list[Open]:
    """Return the open alerts that the receiver was told of and that nobody has acknowledged."""
    return [
        Open(
            group=group,
            event_id=EventId(event_id),
            body=body,
            last_at=from_stored(last_at),
            is_reminded=bool(is_reminded),
        )
        for group, event_id, body, last_at, is_reminded in connection.execute(
            _OPEN, {"receiver": receiver, "now": to_stored(now)}
        )
    ]


def last_number(connection: apsw.Connection) -> int:
    """Return the number of the last message; 0: there was none."""
    number: int = connection.execute(_LAST).get
    return number


def bind(connection: apsw.Connection, message: Bound) -> None:
    """Record a message. Raises StaleStateError where what it tells is not to be told like this any more."""
    reminds = json.dumps(list(message.reminds)) if message.reminds else None
    at = to_stored(message.at)
    if reminds is not None and connection.execute(_STILL_OPEN, (reminds, at)).get != len(message.reminds):
        raise StaleStateError("an alert is over, or acknowledged, that was to be reminded of")
    connection.execute(_ADD, (message.event_id, message.receiver, reminds, at, message.body))
    number = connection.last_insert_rowid()
    connection.executemany(_OF_GROUP, [(message.receiver, group, number) for group in message.groups])
    connection.execute(_TELL, (number, json.dumps(list(message.deliveries)), message.receiver))
    if connection.changes() != len(message.deliveries) and message.deliveries:
        raise StaleStateError("a delivery has gone that was to be told")


def outdated(connection: apsw.Connection, receiver: str) -> list[EventId]:
    """Return what reminders that are to be put away remind of: most often nothing, and then nothing is written."""
    return [EventId(event_id) for (event_id,) in connection.execute(_OUTDATED_OF, (receiver,))]


def drop_outdated(connection: apsw.Connection, receiver: str, *, at: datetime) -> None:
    """Put away reminders of what is over, or acknowledged."""
    connection.execute(_DROP_OUTDATED, (to_stored(at), receiver))


def drop_reminders(connection: apsw.Connection, *, served: Collection[str], at: datetime) -> None:
    """Put away reminders to receivers that nobody serves: one that comes back is reminded anew of what is open then.

    And, once it is old, what is left of messages that some have: no delivery waits for that.
    """
    moments = {"at": to_stored(at), "old": to_stored(at - LEFT_KEPT)}
    connection.execute(_DROP_REMINDERS, {"served": json.dumps(sorted(served)), **moments})


def pending(connection: apsw.Connection, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
    """Return pending messages with numbers above `after`. None waits for another: what has to, is in none yet."""
    return [
        Queued(
            id=DeliveryId(number),
            event_id=EventId(event_id),
            task=f"message/{number}",
            attempts=tried,
            poisoned=poisoned,
            tried_seconds=tried_seconds,
            replay=bool(replay),
            in_part=bool(in_part),
        )
        for number, event_id, tried, poisoned, tried_seconds, replay, in_part in connection.execute(
            _PENDING, (receiver, after, limit)
        )
    ]


def body(connection: apsw.Connection, number: DeliveryId) -> bytes | None:
    """Return the frozen bytes of a message that is still to be sent."""
    found: bytes | None = connection.execute(_BODY, (number,)).get
    return found


def record(connection: apsw.Connection, number: DeliveryId, outcome: Outcome, at: datetime) -> None:
    """Write the outcome of one attempt; with its last one, and once some have it, go the deliveries that it tells."""
    some_had_it = connection.execute(_IS_IN_PART, (number,)).get
    outcomes.record(connection, "messages", number, outcome, at)
    some_have_it = isinstance(outcome, Delivered) or (isinstance(outcome, Retry) and outcome.in_part)
    if some_have_it and not some_had_it:
        connection.execute(_REMINDED, {"id": number, "at": to_stored(at)})
    if some_have_it or isinstance(outcome, Dead):
        connection.execute(_FOLLOW, {"id": number, "at": to_stored(at)})


def dissolve(connection: apsw.Connection, number: int, *, why: str, at: datetime) -> None:
    """Put a message away; what it told waits again, or is dead, by itself."""
    connection.execute(_DISSOLVE, (number,))
    connection.execute(_DROP, (why, to_stored(at), number))


def dissolve_untried(connection: apsw.Connection, number: int, *, why: str, at: datetime) -> None:
    """Dissolve it, unless it may have arrived: then it goes as it stands, and tells nothing twice."""
    if not connection.execute(_WAS_TRIED, (number,)).get:
        dissolve(connection, number, why=why, at=at)


def to_others(connection: apsw.Connection, others: Collection[str]) -> list[int]:
    """Return the messages that wait for these receivers, or could be replayed to them."""
    rows: list[tuple[Any, ...]] = connection.execute(_TO_OTHERS, (json.dumps(list(others)),)).fetchall()
    return [number for (number,) in rows]


def dissolve_all(connection: apsw.Connection, receivers: Collection[str], *, why: str, at: datetime) -> None:
    """Dissolve the messages to these receivers: what they are told is told otherwise, or not at all."""
    for number in to_others(connection, receivers):
        dissolve(connection, number, why=why, at=at)


def replay(connection: apsw.Connection, number: int, *, at: datetime) -> None:
    """Send a dead message again, under a number of its own at the end of the queue, with all that it tells.

    Where some of that was dropped meanwhile, the rest is composed anew.
    """
    if not connection.execute(_IS_WHOLE, (number,)).get:
        connection.execute(_FREE, (number,))
        connection.execute(_DROP, ("operator", to_stored(at), number))
        return
    connection.execute(_COPY, (number,))
    fresh = connection.last_insert_rowid()
    connection.execute(_COPY_GROUPS, (fresh, number))
    attempts.move_message(connection, number, fresh)
    connection.execute(_MOVE, (fresh, number))
    connection.execute("DELETE FROM messages WHERE id = ?", (number,))


def hand_over(connection: apsw.Connection, old: str, new: str) -> None:
    """Give the messages of a receiver to the one of the new name, those that it had too: it has heard what the old one had."""
    connection.execute(_HAND_OVER, (new, old))
    connection.execute(_HAND_OVER_GROUPS, (new, old))
