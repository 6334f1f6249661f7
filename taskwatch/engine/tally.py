"""What has happened since this process began, in numbers: counted where it happens, read by whoever shows it.

Keys come from bounded sets: configured names and closed choices, never ids or what a cloud says.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from taskwatch.errors import CloudCause
from taskwatch.model.delivery import DeliveryState, Reason
from taskwatch.model.event import EventType

POLL_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)
DETECTION_SECONDS: Final = (1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)


class PollResult(StrEnum):
    """What came of a poll that got an answer, or met a mistake of ours; a CloudCause says why there was no answer."""

    OK = "ok"
    INCOMPLETE = "incomplete"  # a page failed, or the list moved while it was read
    SHRUNK = "shrunk"  # so much of the list is missing that it is not believed
    NOT_RECORDED = "not_recorded"  # the cloud was read, the store took nothing
    UNREADABLE = "unreadable"  # something on this side was in the way, as a certificate
    BROKEN = "broken"  # a bug


Result = PollResult | CloudCause


class Histogram:
    """How many values were at most so great, and their sum. Its size does not depend on how many there are."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (
            len(bounds) + 1
        )  # one for each bound, not cumulated; the last for what is greater
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(slots=True)
class Tally:
    """The counts of one daemon. Its parts add to them; a reload resets none."""

    polls: Counter[tuple[str, Result]] = field(default_factory=Counter)  # by project
    poll_seconds: Histogram = field(default_factory=lambda: Histogram(POLL_SECONDS))
    detection_seconds: Histogram = field(default_factory=lambda: Histogram(DETECTION_SECONDS))
    events: Counter[EventType] = field(default_factory=Counter)  # that were recorded
    deliveries: Counter[tuple[str, DeliveryState]] = field(default_factory=Counter)  # by receiver
    failures: Counter[tuple[str, Reason]] = field(default_factory=Counter)  # of attempts, by receiver


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginState:
    """How a credential stands."""

    expires_in_seconds: (
        float | None
    )  # its first token that is in use; None: it has none, or nobody knows its end
    is_refused: bool  # it was refused since it was accepted last
