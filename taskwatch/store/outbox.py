"""The lane's statements: what is pending, its bytes, and what became of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import apsw

from taskwatch.model.delivery import (
    DeliveryId,
    Queued,
    RemovedReceiver,
)
from taskwatch.model.event import EventId
from taskwatch.store import alerts, messages, outages
from taskwatch.store.instants import from_stored, to_stored

# 'pending' stands in the text, not in a parameter: else the partial index does not serve.
_PENDING: Final = """
SELECT d.id, e.id, e.project, e.subject, d.attempts, d.poisoned, d.tried_seconds, d.replay
FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.receiver = ? AND d.state = 'pending' AND d.message IS NULL AND d.id > ?
ORDER BY d.id LIMIT ?
"""

# A delivery's own body is for those that ask for it: where it is told otherwise now, the event goes.
_BODY: Final = """
SELECT e.body
FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.id = ? AND d.state = 'pending'
"""

_FROZEN: Final = "SELECT body FROM deliveries WHERE id = ?"
_FREEZE: Final = "UPDATE deliveries SET body = ? WHERE id = ? AND body IS NULL"

# What is dead goes along: it may be replayed. What has been delivered keeps the name it was delivered under.
_HAND_OVER: Final = """
UPDATE OR IGNORE deliveries SET receiver = ? WHERE receiver = ? AND state IN ('pending', 'held', 'dead')
"""

_WAITING: Final = """
SELECT d.receiver, count(*), (SELECT r.since FROM removed_receivers r WHERE r.receiver = d.receiver)
FROM deliveries d WHERE d.state = 'pending' GROUP BY d.receiver ORDER BY d.receiver
"""

# A bounded batch of what waits for a receiver that was removed long ago.
_DROP: Final = """
UPDATE deliveries SET state = 'dropped', why = 'receiver_removed', done_at = :at
WHERE id IN (SELECT id FROM deliveries WHERE receiver = :receiver AND state = 'pending' LIMIT :limit)
"""


def pending(connection: apsw.Connection, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
    """Return pending deliveries with ids above `after`, in the order of recording."""
    return [
        Queued(
            id=DeliveryId(delivery),
            event_id=EventId(event),
            # A replay stands outside the order: it waits for nothing, and nothing for it.
            task=f"replay/{delivery}" if replay else f"{project}/{subject}",
            attempts=attempts,
            poisoned=poisoned,
            tried_seconds=tried_seconds,
            replay=bool(replay),
        )
        for delivery, event, project, subject, attempts, poisoned, tried_seconds, replay in connection.execute(
            _PENDING, (receiver, after, limit)
        )
    ]


def body(connection: apsw.Connection, delivery: DeliveryId) -> bytes | None:
    """Return the frozen bytes of a delivery that is still pending."""
    found: bytes | None = connection.execute(_BODY, (delivery,)).get
    return found


def frozen(connection: apsw.Connection, delivery: DeliveryId) -> bytes | None:
    """Return the body of its own that a delivery has, if a template made one."""
    found: bytes | None = connection.execute(_FROZEN, (delivery,)).get
    return found


def freeze(connection: apsw.Connection, delivery: DeliveryId, own: bytes) -> None:
    """Let this be the body of a delivery from now on."""
    connection.execute(_FREEZE, (own, delivery))


def hand_over(connection: apsw.Connection, renamed: Mapping[str, str]) -> None:
    """Give what waits for these receivers to those that go by the new names."""
    connection.executemany(_HAND_OVER, [(new, old) for old, new in renamed.items()])
    for old, new in renamed.items():
        messages.hand_over(connection, old, new)
    alerts.rename(connection, renamed)
    outages.rename(connection, renamed)


def removed(connection: apsw.Connection, served: frozenset[str]) -> list[RemovedReceiver]:
    """Return the receivers for which deliveries wait, and which nobody serves."""
    return [
        RemovedReceiver(name=receiver, since=from_stored(since), pending=pending)
        for receiver, pending, since in connection.execute(_WAITING)
        if receiver not in served
    ]


def note_removed(connection: apsw.Connection, served: frozenset[str], *, at: datetime) -> None:
    """Note since when these receivers are removed, of those not noted yet; forget those that came back.

    What waits for them is kept, for they may come back; but for reminders, which are made again.
    """
    gone = {receiver.name for receiver in removed(connection, served)}
    noted = {receiver for (receiver,) in connection.execute("SELECT receiver FROM removed_receivers")}
    connection.executemany(
        "INSERT INTO removed_receivers (receiver, since) VALUES (?, ?)",
        [(receiver, to_stored(at)) for receiver in sorted(gone - noted)],
    )
    connection.executemany(
        "DELETE FROM removed_receivers WHERE receiver = ?", [(receiver,) for receiver in noted - gone]
    )
    messages.drop_reminders(connection, served=served, at=at)


def drop_removed(connection: apsw.Connection, receiver: str, *, at: datetime, limit: int) -> int:
    """Put away a batch of what waits for a receiver; return how many."""
    messages.dissolve_all(connection, [receiver], why="receiver_removed", at=at)
    connection.execute(_DROP, {"receiver": receiver, "at": to_stored(at), "limit": limit})
    return connection.changes()
