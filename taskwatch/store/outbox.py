"""The lane's statements: what is pending, its bytes, and what became of it."""

from datetime import datetime
from typing import Any, Final, assert_never

import apsw

from taskwatch.model.delivery import Dead, Delivered, DeliveryId, DeliveryState, Outcome, Queued, Retry
from taskwatch.model.event import EventId
from taskwatch.store.instants import to_stored

DETAIL_BOUND: Final = 500  # characters of a failure that are kept

# 'pending' stands in the text, not in a parameter: else the partial index does not serve.
_PENDING: Final = """
SELECT d.id, e.id, e.project, e.subject, d.attempts, d.poisoned, d.tried_seconds
FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.receiver = ? AND d.state = 'pending' AND d.id > ?
ORDER BY d.id LIMIT ?
"""

_BACKLOG: Final = "SELECT receiver, count(*) FROM deliveries WHERE state = 'pending' GROUP BY receiver"

_BODY: Final = """
SELECT coalesce(d.body, e.body)
FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.id = ? AND d.state = 'pending'
"""

# Only a pending delivery takes an outcome: what somebody dropped meanwhile stays dropped, and an
# outcome that is recorded twice counts once.
_DELIVERED: Final = """
UPDATE deliveries
SET state = 'delivered', attempts = attempts + 1, done_at = :at,
    first_attempt_at = coalesce(first_attempt_at, :at), last_attempt_at = :at
WHERE id = :id AND state = 'pending'
"""

_FAILED: Final = """
UPDATE deliveries
SET state = :state, why = :why, attempts = attempts + 1, done_at = :done_at,
    poisoned = :poisoned, tried_seconds = :tried_seconds,
    last_reason = :reason, last_detail = :detail,
    first_attempt_at = coalesce(first_attempt_at, :at), last_attempt_at = :at
WHERE id = :id AND state = 'pending'
"""


def pending(connection: apsw.Connection, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
    """Return pending deliveries with ids above `after`, in the order of recording."""
    return [
        Queued(
            id=DeliveryId(delivery),
            event_id=EventId(event),
            task=f"{project}/{subject}",
            attempts=attempts,
            poisoned=poisoned,
            tried_seconds=tried_seconds,
        )
        for delivery, event, project, subject, attempts, poisoned, tried_seconds in connection.execute(
            _PENDING, (receiver, after, limit)
        )
    ]


def body(connection: apsw.Connection, delivery: DeliveryId) -> bytes | None:
    """Return the frozen bytes of a delivery that is still pending."""
    found: bytes | None = connection.execute(_BODY, (delivery,)).get
    return found


def record(connection: apsw.Connection, delivery: DeliveryId, outcome: Outcome, at: datetime) -> None:
    """Write the outcome of one attempt."""
    instant = to_stored(at)
    match outcome:
        case Delivered():
            connection.execute(_DELIVERED, {"id": delivery, "at": instant})
        case Retry():
            _record_failure(connection, delivery, outcome, instant, state=DeliveryState.PENDING)
        case Dead():
            _record_failure(connection, delivery, outcome, instant, state=DeliveryState.DEAD)
        case _:
            assert_never(outcome)


def _record_failure(
    connection: apsw.Connection,
    delivery: DeliveryId,
    outcome: Retry | Dead,
    instant: int,
    *,
    state: DeliveryState,
) -> None:
    dead = isinstance(outcome, Dead)
    connection.execute(
        _FAILED,
        {
            "id": delivery,
            "at": instant,
            "state": state,
            "why": outcome.why if isinstance(outcome, Dead) else None,
            "done_at": instant if dead else None,
            "poisoned": outcome.poisoned,
            "tried_seconds": outcome.tried_seconds,
            "reason": outcome.reason,
            "detail": outcome.detail[:DETAIL_BOUND],
        },
    )


def backlog(connection: apsw.Connection) -> dict[str, int]:
    """Return how many deliveries are pending, by receiver."""
    rows: list[tuple[Any, ...]] = connection.execute(_BACKLOG).fetchall()
    return {receiver: count for receiver, count in rows}  # noqa: C416  (dict() does not see that they are pairs)
