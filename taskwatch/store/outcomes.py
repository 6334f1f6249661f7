"""What became of an attempt: recorded alike of a delivery and of a message.

Only what is pending takes an outcome: what somebody dropped meanwhile stays dropped, and an outcome that is recorded
twice counts once.
"""

from datetime import datetime
from typing import Final, Literal, assert_never

import apsw

from taskwatch.model.delivery import Dead, Delivered, DeliveryId, DeliveryState, Outcome, Retry
from taskwatch.store import attempts
from taskwatch.store.instants import to_stored

DETAIL_BOUND: Final = 500  # characters of a failure that are kept

Table = Literal["deliveries", "messages"]

_DELIVERED: Final = """
UPDATE {table}
SET state = 'delivered', attempts = attempts + 1, done_at = :at, why = NULL,
    first_attempt_at = coalesce(first_attempt_at, :at), last_attempt_at = :at
WHERE id = :id AND state = 'pending'
"""
IN_PART: Final = "in_part"  # why: some have it, and others have not, or not yet
# No failed attempt: what was not taken of it stands where the last trouble does.
_IN_PART: Final = "UPDATE {table} SET why = 'in_part', last_reason = NULL, last_detail = ? WHERE id = ?"

_FAILED: Final = """
UPDATE {table}
SET state = :state, why = :why, attempts = attempts + 1, done_at = :done_at,
    poisoned = :poisoned, tried_seconds = :tried_seconds,
    last_reason = :reason, last_detail = :detail,
    first_attempt_at = coalesce(first_attempt_at, :at), last_attempt_at = :at
WHERE id = :id AND state = 'pending'
"""


def record(
    connection: apsw.Connection, table: Table, number: DeliveryId, outcome: Outcome, at: datetime
) -> None:
    """Write the outcome of one attempt."""
    instant = to_stored(at)
    match outcome:
        case Delivered():
            connection.execute(_DELIVERED.format(table=table), {"id": number, "at": instant})
            if outcome.remark is not None and connection.changes():
                connection.execute(_IN_PART.format(table=table), (outcome.remark[:DETAIL_BOUND], number))
        case Retry():
            _fail(connection, table, number, outcome, instant, state=DeliveryState.PENDING)
        case Dead():
            _fail(connection, table, number, outcome, instant, state=DeliveryState.DEAD)
        case _:
            assert_never(outcome)


def _fail(
    connection: apsw.Connection,
    table: Table,
    number: DeliveryId,
    outcome: Retry | Dead,
    instant: int,
    *,
    state: DeliveryState,
) -> None:
    dead = isinstance(outcome, Dead)
    why = outcome.why if isinstance(outcome, Dead) else IN_PART if outcome.in_part else None
    detail = outcome.detail[:DETAIL_BOUND]
    connection.execute(
        _FAILED.format(table=table),
        {
            "id": number,
            "at": instant,
            "state": state,
            "why": why,
            "done_at": instant if dead else None,
            "poisoned": outcome.poisoned,
            "tried_seconds": outcome.tried_seconds,
            "reason": outcome.reason,
            "detail": detail,
        },
    )
    if connection.changes():
        owner = {"delivery" if table == "deliveries" else "message": number}
        attempts.add(connection, **owner, at=instant, reason=outcome.reason, detail=detail)
