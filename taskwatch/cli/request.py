"""What commands ask of a running daemon, by way of its store."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskwatch.model.operation import Action

if TYPE_CHECKING:
    from taskwatch.store.desk import Desk

LOOK_SECONDS = 0.1  # from look to look
PROBE_LOOKS = 10  # from one look whether there still is a daemon to the next
# A daemon looks once a second: one that does not answer in this time does nothing else either.
FRESH_SECONDS = 3.0
NOTICE_SECONDS = 30.0  # for the daemon to answer, beside what the work itself may take


def ask(store: Path, action: Action, argument: Mapping[str, Any], *, within: float = 0.0) -> dict[str, Any]:
    """Ask the daemon that holds the store, and wait for what becomes of it; `within` seconds for the work itself.

    Raises TaskwatchError where the daemon says that it could not, says nothing, or ends.
    """
    from datetime import UTC, datetime

    from taskwatch.errors import RequestError
    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator

    with Desk(store, by=operator()) as desk:
        request = desk.ask(action, argument, at=datetime.now(UTC))
        outcome = _outcome(desk, request, store, limit=NOTICE_SECONDS + within)
    if "error" in outcome:
        raise RequestError(str(outcome["error"]))
    return outcome


def freshen(store: Path) -> None:
    """Let the daemon that holds the store record now how fresh all is. Raises RequestError where it does not answer."""
    from datetime import UTC, datetime

    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator

    with Desk(store, by=operator()) as desk:
        request = desk.ask(Action.FRESHEN, {}, at=datetime.now(UTC))
        try:
            _outcome(desk, request, store, limit=FRESH_SECONDS)
        finally:
            desk.withdraw(request)


def _outcome(desk: "Desk", request: int, store: Path, *, limit: float) -> dict[str, Any]:
    import time

    from taskwatch.errors import RequestError
    from taskwatch.store.lock import is_watched

    for look in range(int(limit / LOOK_SECONDS)):
        # Before the outcome is looked at: a daemon may answer, and then end.
        has_ended = look % PROBE_LOOKS == 0 and not is_watched(store)
        if (outcome := desk.outcome(request)) is not None:
            return outcome
        if has_ended:
            raise RequestError("the daemon ended before it answered; nothing is known of what it did")
        time.sleep(LOOK_SECONDS)
    raise RequestError(
        f"the daemon has not answered within {limit:g} s; its log says more, and it may still do it"
    )
