"""Deliveries that were named to be sent again or put away, and are in no state for that: what they are, and what can be done."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, assert_never

from taskwatch.cli.page import moment
from taskwatch.cli.query import SHORT_ID
from taskwatch.model.delivery import DeliveryState
from taskwatch.report.words import counted
from taskwatch.telemetry import printable

if TYPE_CHECKING:
    from taskwatch.model.event import EventId
    from taskwatch.store.reader import StoreReader
    from taskwatch.store.rows import DeliveryRow

LOOKED_AT: Final = 20  # events; a message may tell thousands
SHOWN: Final = 10  # lines


def lines(
    reader: "StoreReader", events: "Sequence[EventId]", *, receiver: str | None, state: DeliveryState
) -> list[str]:
    """Say what became of those of these events of which no delivery, to this receiver if one is given, is in that state."""
    found = [line for event in events[:LOOKED_AT] for line in _of_event(reader, event, receiver, state)]
    more = len(found) - SHOWN
    return found[:SHOWN] + ([f"… and {more} more"] if more > 0 else [])


def _of_event(
    reader: "StoreReader", event: "EventId", receiver: str | None, state: DeliveryState
) -> Iterator[str]:
    rows = [told.delivery for told in reader.told(event, people=frozenset())]
    if receiver is not None:
        rows = [row for row in rows if row.receiver == receiver]
    if not rows:
        to_whom = "" if receiver is None else f" to {receiver}"
        yield printable(
            f"{event[:SHORT_ID]}: no delivery{to_whom} is on record; taskwatch explain {event} says why"
        )
    elif all(row.state != state for row in rows):
        for row in rows:
            yield printable(f"{event[:SHORT_ID]} to {row.receiver}: {_said(row)}")


def _said(row: "DeliveryRow") -> str:
    since = "" if row.done_at is None else f" {moment(row.done_at)}"
    state = DeliveryState(row.state)
    match state:
        case DeliveryState.DELIVERED:
            return f"delivered{since} already, and not sent again; taskwatch events --json has what was told"
        case DeliveryState.PENDING:
            tries = f" after {counted(row.attempts, 'attempt')}" if row.attempts else ""
            return f"pending{tries}; it goes by itself, and drop --state pending puts it away"
        case DeliveryState.HELD:
            return f"held by {row.held_by}, to whose end it waits; drop --state held puts it away"
        case DeliveryState.DEAD:
            return f"dead{since}; replay sends it again, and drop puts it away"
        case DeliveryState.DROPPED | DeliveryState.SUPPRESSED:
            return f"{state}{since}; that is for good, and taskwatch explain {row.event_id} says why"
        case _:
            assert_never(state)
