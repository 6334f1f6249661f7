"""Locks what is tried and refused too often: accounts and key pairs, so that a client that hammers is caught."""

from collections import deque


class Lock:
    """Locks a name for so many seconds at the `limit`th refusal within `within` seconds.

    Success forgets the refusals before it. What is locked is refused without being looked at, which
    does not prolong the lock. Moments are simulated seconds. Only names that exist may be brought here: their number is the bound.
    """

    def __init__(self, *, limit: int, within: float, seconds: float) -> None:
        self._limit = limit
        self._within = within
        self._seconds = seconds
        self._refusals: dict[str, deque[float]] = {}
        self._until: dict[str, float] = {}

    def is_locked(self, name: str, moment: float) -> bool:
        return moment < self._until.get(name, -1.0)

    def refuse(self, name: str, moment: float) -> bool:
        """Count a refusal and return whether it locked the name."""
        recent = self._refusals.setdefault(name, deque(maxlen=self._limit))
        recent.append(moment)
        if len(recent) < self._limit or moment - recent[0] > self._within:
            return False
        self._until[name] = moment + self._seconds
        recent.clear()
        return True

    def succeed(self, name: str) -> None:
        self._refusals.pop(name, None)
