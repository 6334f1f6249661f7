"""When a project is polled next."""

from dataclasses import dataclass
from typing import Final

LATE_INTERVALS = 3
LATE_SECONDS = 300.0
CARRIED: Final = 0.9  # of a rate: what is left carries logins, later pages and what was delayed


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """The seconds between the starts of two polls: while a task is running, and while none is."""

    active: float
    idle: float

    def interval(self, *, is_active: bool) -> float:
        return self.active if is_active else self.idle

    def lateness(self, *, is_active: bool, stretched: float = 1.0) -> float:
        """Return the gap in seconds beyond which a reading counts as late; intervals are so many times longer."""
        return max(LATE_INTERVALS * self.interval(is_active=is_active) * stretched, LATE_SECONDS)


def stretch(demand: float, rate: float) -> float:
    """Return the factor, 1 at least, by which all intervals grow where they ask for more than the rate carries.

    Both in requests a second.
    """
    return max(1.0, demand / (CARRIED * rate))


def next_due(*, due: float, interval: float, now: float) -> float:
    """Return the next start on the grid of the last one, or `now` where that has passed.

    The grid keeps the period true however long polls take; what was missed is not made up for.
    """
    return max(due + interval, now)
