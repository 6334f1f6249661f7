"""What commands ask of a running daemon, by way of its store."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskwatch.model.operation import Action

if TYPE_CHECKING:
    from taskwatch.store.desk import Desk

# A daemon looks once a second: one that does not answer in this time does nothing else either.
FRESH_SECONDS = 3.0
NOTICE_SECONDS = 30.0  # for the daemon to answer, beside what the work itself may take


def ask(store: Path, action: Action, argument: Mapping[str, Any], *, within: float = 0.0) -> dict[str, Any]:
    """Ask the daemon that holds the store, and wait for what becomes of it; `within` seconds for the work itself.

    Raises TaskwatchError where the daemon says that it could not, says nothing, or ends.
    """
    from datetime import UTC, datetime

    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator
    from taskwatch.store.waiting import done

    with Desk(store, by=operator()) as desk:
        request = desk.ask(action, argument, at=datetime.now(UTC))
        return done(_outcome(desk, request, store, limit=NOTICE_SECONDS + within))


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

    from taskwatch.store.lock import is_watched
    from taskwatch.store.waiting import LOOK_SECONDS, Waiting

    waiting = Waiting(request, limit=limit, is_watched=lambda: is_watched(store))
    while (outcome := waiting.look(desk.outcome)) is None:
        time.sleep(LOOK_SECONDS)
    return outcome
