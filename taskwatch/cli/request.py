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
SILENT_SECONDS = 2.0  # after which whoever waits is told what for


def ask(store: Path, action: Action, argument: Mapping[str, Any], *, within: float = 0.0) -> dict[str, Any]:
    """Ask the daemon that holds the store, and wait for what becomes of it; `within` seconds for the work itself.

    A wait that is not short is said on standard error, once: for whom, and how long at most.
    Raises TaskwatchError where the daemon says that it could not, says nothing, or ends.
    """
    from datetime import UTC, datetime

    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator
    from taskwatch.store.waiting import done

    with Desk(store, by=operator()) as desk:
        request = desk.ask(action, argument, at=datetime.now(UTC))
        return done(_outcome(desk, request, store, limit=NOTICE_SECONDS + within))


def freshen(store: Path) -> list[str]:
    """Let the daemon that holds the store record now how fresh all is; return what it does not heed of its configuration.

    Raises RequestError where it does not answer.
    """
    from datetime import UTC, datetime

    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator

    with Desk(store, by=operator()) as desk:
        request = desk.ask(Action.FRESHEN, {}, at=datetime.now(UTC))
        try:
            outcome = _outcome(desk, request, store, limit=FRESH_SECONDS)
        finally:
            desk.withdraw(request)
    return list(outcome.get("unheeded", ()))  # one of an earlier taskwatch says nothing of it


def _outcome(desk: "Desk", request: int, store: Path, *, limit: float) -> dict[str, Any]:
    import time

    from taskwatch.store.lock import is_watched
    from taskwatch.store.waiting import LOOK_SECONDS, Waiting

    waiting = Waiting(request, limit=limit, is_watched=lambda: is_watched(store))
    is_told = limit <= FRESH_SECONDS  # by then its end is near, and that is told
    while (outcome := waiting.look(desk.outcome)) is None:
        if not is_told and waiting.seconds >= SILENT_SECONDS:
            _say_for_whom(store, left=limit - waiting.seconds)
            is_told = True
        time.sleep(LOOK_SECONDS)
    return outcome


def _say_for_whom(store: Path, *, left: float) -> None:
    import click

    from taskwatch.store.lock import watcher
    from taskwatch.telemetry import printable

    daemon = watcher(store) or "which has just ended"
    click.echo(printable(f"Waiting for the daemon, {daemon}; {left:.0f} s more at most"), err=True)
