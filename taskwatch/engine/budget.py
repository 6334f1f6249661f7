"""What the projects that share a rate ask of it, and how far their intervals stretch to fit.

Without it the last in the limiter's line would wait for ever while the first keep their intervals.
"""

from collections.abc import Hashable
from typing import Final

from taskwatch.core.cadence import CARRIED, stretch
from taskwatch.telemetry import Logger

_WEIGHT: Final = 0.25  # of the last poll in the mean of a project: a full poll now and then is no demand
_RELIEF: Final = 0.9  # of what begins the stretching ends it: an edge, not a flutter


class Budget:
    """The rate of one credential at one endpoint, and what is asked of it."""

    def __init__(self, rate: float, *, log: Logger) -> None:
        self._rate = rate
        self._log = log
        self._shares: dict[
            Hashable, tuple[float, float]
        ] = {}  # requests of a poll, in the mean; their interval
        self._demand = 0.0  # requests a second, if every interval were kept
        self._is_stretched = False

    @property
    def factor(self) -> float:
        """By how much all intervals are longer than they are configured; 1 at least."""
        return stretch(self._demand, self._rate)

    def change(self, rate: float) -> None:
        """Let so many requests a second pass from now on."""
        self._rate = rate
        self._tell()

    def spend(self, who: Hashable, *, requests: int, interval: float) -> None:
        """Note what a poll has cost; `interval` is the configured one, in seconds."""
        mean, before = self._shares.get(who, (float(requests), 0.0))
        mean += _WEIGHT * (requests - mean)
        self._demand += mean / interval - (self._shares[who][0] / before if before else 0.0)
        self._shares[who] = (mean, interval)
        self._tell()

    def leave(self, who: Hashable) -> None:
        """Forget one that is polled no more, or at another's expense."""
        self._shares.pop(who, None)
        self._demand = sum(
            mean / interval for mean, interval in self._shares.values()
        )  # what rounding has left goes
        self._tell()

    def _tell(self) -> None:
        asked = self._demand / (CARRIED * self._rate)
        if not self._is_stretched and asked > 1.0:
            self._is_stretched = True
            self._log.warning(
                "intervals_stretched",
                factor=round(asked, 2),
                rate=self._rate,
                wanted=round(self._demand, 2),
                projects=len(self._shares),
                remedy="raise the rate of the credential, or the intervals",
            )
        elif self._is_stretched and asked <= _RELIEF:
            self._is_stretched = False
            self._log.info("intervals_kept", rate=self._rate, wanted=round(self._demand, 2))
