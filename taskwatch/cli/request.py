"""What commands ask of a running daemon, by way of its store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskwatch.model.operation import Action

LOOK_SECONDS = 0.1  # from look to look
NOTICE_SECONDS = 30.0  # for the daemon to answer, beside what the work itself may take


def ask(store: Path, action: Action, argument: Mapping[str, Any], *, within: float = 0.0) -> dict[str, Any]:
    """Ask the daemon that holds the store, and wait for what becomes of it; `within` seconds for the work itself.

    Raises TaskwatchError where the daemon says that it could not, or says nothing.
    """
    import time
    from datetime import UTC, datetime

    from taskwatch.errors import RequestError
    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator

    limit = NOTICE_SECONDS + within
    with Desk(store, by=operator()) as desk:
        request = desk.ask(action, argument, at=datetime.now(UTC))
        until = time.monotonic() + limit
        while (outcome := desk.outcome(request)) is None:
            if time.monotonic() > until:
                raise RequestError(
                    f"the daemon has not answered within {limit:g} s; its log says more, and it may still do it"
                )
            time.sleep(LOOK_SECONDS)
    if "error" in outcome:
        raise RequestError(str(outcome["error"]))
    return outcome
