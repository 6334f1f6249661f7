"""The statements of silences, and of what they and the windows hold back.

Each function is the body of one transaction, or a part of one.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import apsw

from taskwatch.core.matchers import MatcherError, parse_matcher
from taskwatch.core.quiet import Silence
from taskwatch.engine.ports import Held
from taskwatch.model.delivery import DeliveryId
from taskwatch.store.instants import from_stored, to_stored

_COLUMNS: Final = "id, matchers, begins_at, ends_at, by, comment"
_EVERY: Final = f"SELECT {_COLUMNS} FROM silences WHERE ends_at > ? ORDER BY id"  # noqa: S608 - our own columns
_ADD: Final = "INSERT INTO silences (matchers, begins_at, ends_at, by, comment) VALUES (?, ?, ?, ?, ?)"
_EXPIRE: Final = "UPDATE silences SET ends_at = max(begins_at, ?) WHERE id = ? AND ends_at > ?"

# 'held' stands in the text: else the partial index does not serve.
_HELD: Final = """
SELECT d.id, d.held_by, e.body FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.state = 'held' AND d.id > ? ORDER BY d.id LIMIT ?
"""
_HOLD: Final = "UPDATE deliveries SET held_by = ? WHERE id = ? AND state = 'held'"
_NEEDS_ATTENTION: Final = """
SELECT EXISTS (
    SELECT 1 FROM deliveries d JOIN alerts a ON a.event = d.event WHERE d.id = ? AND a.ended_at IS NULL
)
"""
_SUPPRESS: Final = """
UPDATE deliveries SET state = 'suppressed', why = 'over', done_at = ? WHERE id = ? AND state = 'held'
"""
# Lanes load by number, upwards: what is told now gets a new one, at the end of its queue.
_TAKE: Final = """
DELETE FROM deliveries WHERE id = ? AND state = 'held' RETURNING event, receiver, path, group_key, held_by
"""
_QUEUE: Final = "INSERT INTO deliveries (event, receiver, path, group_key, held_by) VALUES (?, ?, ?, ?, ?)"


def since(connection: apsw.Connection, instant: datetime) -> list[Silence]:
    """Return the silences that end after this; what a newer taskwatch wrote and this one cannot read is left out."""
    rows = [_silence(row) for row in connection.execute(_EVERY, (to_stored(instant),))]
    return [silence for silence in rows if silence is not None]


def add(
    connection: apsw.Connection,
    matchers: Sequence[str],
    *,
    by: str,
    begins_at: datetime,
    ends_at: datetime,
    comment: str | None,
) -> int:
    """Add a silence; return its number."""
    told = (json.dumps(list(matchers)), to_stored(begins_at), to_stored(ends_at), by, comment)
    connection.execute(_ADD, told)
    return connection.last_insert_rowid()


def expire(connection: apsw.Connection, silences: Sequence[int], *, at: datetime) -> list[int]:
    """End these silences now; return those that had not ended."""
    ended = []
    for number in silences:
        connection.execute(_EXPIRE, (to_stored(at), number, to_stored(at)))
        if connection.changes():
            ended.append(number)
    return ended


def held(connection: apsw.Connection, *, after: DeliveryId, limit: int) -> list[Held]:
    """Return what is held back, in the order of recording."""
    return [
        Held(delivery=DeliveryId(delivery), by=by, body=body)
        for delivery, by, body in connection.execute(_HELD, (after, limit))
    ]


def settle(connection: apsw.Connection, found: Mapping[DeliveryId, str | None], *, at: datetime) -> int:
    """Hold these on, by what is named, or end it: what needs attention is queued, the rest is not told.

    Returns how many were queued.
    """
    queued = 0
    for delivery, by in found.items():
        if by is not None:
            connection.execute(_HOLD, (by, delivery))
        elif connection.execute(_NEEDS_ATTENTION, (delivery,)).get:
            queued += queue(connection, delivery)
        else:
            connection.execute(_SUPPRESS, (to_stored(at), delivery))
    return queued


def queue(connection: apsw.Connection, delivery: DeliveryId) -> int:
    """Let a delivery that is held be told now, at the end of its queue; 0 if it was held no more, else 1."""
    rows = connection.execute(_TAKE, (delivery,)).fetchall()
    for row in rows:
        connection.execute(_QUEUE, row)
    return len(rows)


def _silence(row: tuple[Any, ...]) -> Silence | None:
    number, matchers, begins_at, ends_at, by, comment = row
    try:
        parsed = tuple(parse_matcher(text) for text in json.loads(matchers))
    except MatcherError:
        return None
    return Silence(
        id=number,
        matchers=parsed,
        begins_at=from_stored(begins_at),
        ends_at=from_stored(ends_at),
        by=by,
        comment=comment,
    )
