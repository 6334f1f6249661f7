"""The wait for what becomes of a request to the daemon, look by look."""

from collections.abc import Callable
from typing import Any, Final

from taskwatch.errors import RequestError

LOOK_SECONDS: Final = 0.1  # from look to look
PROBE_LOOKS: Final = 10  # from one look whether there still is a daemon to the next

Outcome = dict[str, Any]


class Waiting:
    """Looks for what became of a request; whoever waits sleeps LOOK_SECONDS between two looks."""

    def __init__(self, request: int, *, limit: float, is_watched: Callable[[], bool] = lambda: True) -> None:
        """`is_watched` tells whether there still is a daemon: it need not be given by the daemon itself."""
        self._request = request
        self._limit = limit
        self._is_watched = is_watched
        self._looks = 0

    @property
    def seconds(self) -> float:
        """For how long it has been looked, as the looks count it."""
        return self._looks * LOOK_SECONDS

    def look(self, outcome_of: Callable[[int], Outcome | None]) -> Outcome | None:
        """Return what became of it; None: look again. Raises RequestError once there is nothing to wait for."""
        if self._looks >= int(self._limit / LOOK_SECONDS):
            raise RequestError(
                f"the daemon has not answered within {self._limit:g} s; its log says more, and it may still do it"
            )
        # Before the outcome is looked at: a daemon may answer, and then end.
        has_ended = self._looks % PROBE_LOOKS == 0 and not self._is_watched()
        self._looks += 1
        outcome = outcome_of(self._request)
        if outcome is None and has_ended:
            raise RequestError("the daemon ended before it answered; nothing is known of what it did")
        return outcome


def done(outcome: Outcome) -> Outcome:
    """Return the outcome of what the daemon did. Raises RequestError where it says that it could not."""
    if "error" in outcome:
        raise RequestError(str(outcome["error"]))
    return outcome
