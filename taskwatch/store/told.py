"""The statements of what was told: deliveries, the messages that tell them, what was tried, and the alerts of events.

Each function is a part of one reading.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import apsw

from taskwatch.model.delivery import DeliveryId, DeliveryState
from taskwatch.model.event import EventId
from taskwatch.store import messages
from taskwatch.store.instants import from_stored
from taskwatch.store.rows import (
    AttemptRow,
    DeliveryRow,
    FailingRow,
    MessageRow,
    OpenedAlertRow,
    ToldIn,
    ToldRow,
)

MOST: Final = 1_000  # deliveries of one event that are looked at
LAST_MESSAGES: Final = 10

# A delivery hears of the attempts at its message once they are over; of the message they are known before.
_SELECT: Final = """
SELECT d.id, d.receiver, d.path, d.state, coalesce(m.attempts, d.attempts), d.replay,
       coalesce(m.last_reason, d.last_reason), coalesce(m.last_detail, d.last_detail), d.why,
       coalesce(m.first_attempt_at, d.first_attempt_at), coalesce(m.last_attempt_at, d.last_attempt_at), d.done_at,
       e.id, e.type, p.name, e.subject, e.summary, e.time, d.group_key, d.message, d.held_by, d.event
FROM deliveries d
JOIN events e ON e.seq = d.event
LEFT JOIN messages m ON m.id = d.message
LEFT JOIN projects p ON p.id = e.project
"""
_CHOSEN: Final = f"""{_SELECT}
WHERE (:project IS NULL OR p.name = :project)
  AND (:event_id IS NULL OR e.id = :event_id)
  AND (:event_type IS NULL OR e.type IN (:event_type, 'taskwatch.' || :event_type))
  AND (:receiver IS NULL OR d.receiver = :receiver)
  AND (:state IS NULL OR d.state = :state)
  AND (:since IS NULL OR e.time >= :since)
"""
_DELIVERIES: Final = f"{_CHOSEN} ORDER BY d.id DESC LIMIT :limit"
# Not by the delivery's own number: one that is queued again gets another.
_PAGE: Final = f"""{_CHOSEN}
  AND (:event IS NULL OR (d.event, d.receiver) < (:event, :after))
ORDER BY d.event DESC, d.receiver DESC LIMIT :limit
"""
_OF_EVENT: Final = f"{_SELECT} WHERE e.id = ? ORDER BY d.id LIMIT {MOST}"

_FAILED: Final = """
SELECT d.id, a.at, a.reason, a.detail, a.id
FROM events e JOIN deliveries d ON d.event = e.seq JOIN attempts a ON a.delivery = d.id WHERE e.id = :event
UNION ALL
SELECT d.id, a.at, a.reason, a.detail, a.id
FROM events e JOIN deliveries d ON d.event = e.seq JOIN attempts a ON a.message = d.message WHERE e.id = :event
ORDER BY 5
"""

_MESSAGES: Final = """
SELECT DISTINCT m.id, m.event_id, d.group_key, m.at,
       (SELECT count(*) FROM deliveries o WHERE o.message = m.id), m.state, m.attempts
FROM events e JOIN deliveries d ON d.event = e.seq JOIN messages m ON m.id = d.message
WHERE e.id = :event
"""

# 'pending' stands in the text: else the partial indexes do not serve.
_FAILING: Final = """
SELECT min(first) OVER (), last, reason, detail FROM (
    SELECT first_attempt_at AS first, last_attempt_at AS last, last_reason AS reason, last_detail AS detail
    FROM deliveries WHERE receiver = :receiver AND state = 'pending' AND message IS NULL
    UNION ALL
    SELECT first_attempt_at, last_attempt_at, last_reason, last_detail
    FROM messages WHERE receiver = :receiver AND state = 'pending' AND why IS NOT 'in_part'
) WHERE first IS NOT NULL AND last IS NOT NULL AND reason IS NOT NULL ORDER BY last DESC LIMIT 1
"""
# A replay stands outside the order.
_BEHIND: Final = """
SELECT o.id
FROM deliveries d
JOIN events e ON e.seq = d.event
CROSS JOIN events o ON o.project = e.project AND o.job_id = e.job_id
CROSS JOIN deliveries w ON w.event = o.seq AND w.receiver = d.receiver
WHERE d.id = ? AND d.replay = 0 AND w.id < d.id AND w.state = 'pending' AND w.replay = 0
  AND (w.message IS NULL OR w.message IS NOT d.message)
ORDER BY w.id LIMIT 1
"""
_TOLD_IN: Final = """
SELECT id, event_id, receiver, coalesce(reminds, '[]') FROM messages
WHERE event_id IN (
    SELECT DISTINCT event_id FROM messages WHERE event_id >= :prefix AND event_id < :prefix || '~'
    ORDER BY event_id LIMIT :limit
)
ORDER BY event_id, id
"""
_TELLS: Final = """
SELECT e.id FROM deliveries d JOIN events e ON e.seq = d.event WHERE d.message = :message
UNION
SELECT id FROM events WHERE id IN (SELECT value FROM json_each(:reminds))
"""

_OPENED_ALERTS: Final = """
SELECT e.id, e.time, a.ended_at, a.why, a.by, a.comment,
       a.acknowledged_at, a.acknowledged_by, a.acknowledged_until, a.acknowledgement
FROM events e JOIN alerts a ON a.event = e.seq
WHERE e.id IN (SELECT value FROM json_each(?)) ORDER BY a.event
"""


def deliveries(connection: apsw.Connection, filters: Mapping[str, object]) -> list[DeliveryRow]:
    """Return deliveries in the reverse order of their recording."""
    return [_delivery(row) for row in connection.execute(_DELIVERIES, filters)]


def page_of_deliveries(connection: apsw.Connection, filters: Mapping[str, object]) -> list[DeliveryRow]:
    """Return deliveries in an order that stays, whatever becomes of them: the last events first, of each by receiver."""
    return [_delivery(row) for row in connection.execute(_PAGE, filters)]


def of_event(connection: apsw.Connection, event: EventId, *, people: Collection[str]) -> list[ToldRow]:
    """Return what became of each delivery of an event, in the order of recording."""
    rows = [_delivery(row) for row in connection.execute(_OF_EVENT, (event,))]
    of_message = {
        message.number: message for message in map(_message, connection.execute(_MESSAGES, {"event": event}))
    }
    failed: defaultdict[int, list[AttemptRow]] = defaultdict(list)
    for delivery, at, reason, detail, _ in connection.execute(_FAILED, {"event": event}):
        failed[delivery].append(AttemptRow(at=from_stored(at), reason=reason, detail=detail))
    return [
        ToldRow(
            delivery=row,
            failed=tuple(failed[row.id]),
            message=None if row.message is None else of_message.get(row.message),
            waiting=messages.group(connection, row.receiver, row.group or "")
            if row.waits_for_its_group(people)
            else None,
            last_messages=messages.composed(connection, row.receiver, limit=LAST_MESSAGES)
            if row.waits_for_its_group(people)
            else (),
            behind=_behind(connection, row) if _waits_its_turn(row, people) else None,
            failing=_failing(connection, row) if _waits_its_turn(row, people) else None,
        )
        for row in rows
    ]


def messages_of(connection: apsw.Connection, prefix: str, *, limit: int) -> list[ToldIn]:
    """Return what the messages tell whose ids begin so, in the order of letters."""
    receivers: defaultdict[str, list[str]] = defaultdict(list)
    events: defaultdict[str, list[EventId]] = defaultdict(list)
    rows: list[tuple[Any, ...]] = connection.execute(_TOLD_IN, {"prefix": prefix, "limit": limit}).fetchall()
    for number, event_id, receiver, reminds in rows:
        receivers[event_id].append(receiver)
        tells = connection.execute(_TELLS, {"message": number, "reminds": reminds})
        events[event_id] += [EventId(told) for (told,) in tells]
    return [
        ToldIn(
            event_id=EventId(event_id),
            receivers=tuple(dict.fromkeys(names)),
            events=tuple(dict.fromkeys(events[event_id])),
        )
        for event_id, names in receivers.items()
    ]


def _waits_its_turn(row: DeliveryRow, people: Collection[str]) -> bool:
    return row.state == DeliveryState.PENDING and not row.attempts and not row.waits_for_its_group(people)


def _behind(connection: apsw.Connection, row: DeliveryRow) -> EventId | None:
    found: str | None = connection.execute(_BEHIND, (row.id,)).get
    return None if found is None else EventId(found)


def _failing(connection: apsw.Connection, row: DeliveryRow) -> FailingRow | None:
    for since, last, reason, detail in connection.execute(_FAILING, {"receiver": row.receiver}):
        attempt = AttemptRow(at=from_stored(last), reason=reason, detail=detail)
        return FailingRow(since=from_stored(since), last=attempt)
    return None


def opened_alerts(connection: apsw.Connection, events: Sequence[EventId]) -> list[OpenedAlertRow]:
    """Return the alerts that these events opened, over or not."""
    return [_opened_alert(row) for row in connection.execute(_OPENED_ALERTS, (json.dumps(list(events)),))]


def _delivery(row: tuple[Any, ...]) -> DeliveryRow:
    delivery, receiver, path, state, attempts, replay, reason, detail, why, *rest = row
    (
        first_attempt_at,
        last_attempt_at,
        done_at,
        event_id,
        event_type,
        project,
        subject,
        summary,
        time,
        *how,
    ) = rest
    group, message, held_by, number = how
    return DeliveryRow(
        id=DeliveryId(delivery),
        receiver=receiver,
        path=path,
        state=state,
        attempts=attempts,
        replay=bool(replay),
        last_reason=reason,
        last_detail=detail,
        why=why,
        first_attempt_at=from_stored(first_attempt_at),
        last_attempt_at=from_stored(last_attempt_at),
        done_at=from_stored(done_at),
        event_id=EventId(event_id),
        type=event_type,
        project=project,
        subject=subject,
        summary=summary,
        time=from_stored(time),
        number=number,
        group=group,
        message=message,
        held_by=held_by,
    )


def _message(row: tuple[Any, ...]) -> MessageRow:
    number, event_id, group, at, events, state, attempts = row
    return MessageRow(
        number=number,
        event_id=EventId(event_id),
        group=group,
        at=from_stored(at),
        events=events,
        state=state,
        attempts=attempts,
    )


def _opened_alert(row: tuple[Any, ...]) -> OpenedAlertRow:
    event_id, time, ended_at, why, by, comment, acknowledged_at, acknowledged_by, until, said = row
    return OpenedAlertRow(
        event_id=EventId(event_id),
        since=from_stored(time),
        ended_at=from_stored(ended_at),
        why=why,
        by=by,
        comment=comment,
        acknowledged_at=from_stored(acknowledged_at),
        acknowledged_by=acknowledged_by,
        acknowledged_until=from_stored(until),
        acknowledgement=said,
    )
