"""So many requests of one credential and no more; those that are refused count like the others."""

from collections import deque
from typing import Final

from taskwatch.clock import Clock

_MAX_KNOWN: Final = 1_000  # credentials


class Throttle:
    """Remembers when each credential asked last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: dict[str, deque[float]] = {}

    def exceeds(self, who: str, *, requests: int, seconds: float) -> bool:
        """Count a request and return whether it is one too many within so many (real) seconds."""
        now = self._clock.monotonic()
        if len(self._asked) >= _MAX_KNOWN and who not in self._asked:
            self._asked.clear()
        asked = self._asked.setdefault(who, deque())
        while asked and (now - asked[0] >= seconds or len(asked) > requests):
            asked.popleft()
        asked.append(now)
        return len(asked) > requests
