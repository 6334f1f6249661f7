"""One Alertmanager, told one thing after the other, by its own clock.

Invariants:
- What a post says of time is reckoned by the clock of the replica, as its answers tell it in their Date. It is asked
  before it is told anything, and told again at once where its answer shows that its clock was another.
- This host's wall clock counts only as long as a replica has told no time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from taskwatch.clock import Clock
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason
from taskwatch.model.event import EventId
from taskwatch.telemetry import Logger

if TYPE_CHECKING:
    from taskwatch.notifiers.endpoint import Endpoint

APART: Final = timedelta(minutes=5)  # clocks that differ by more are told of

Alerts = Sequence[Mapping[str, Any]]


class Replica:
    """One of the replicas, by its number in the configuration."""

    def __init__(self, number: int, endpoint: "Endpoint", *, clock: Clock, log: Logger) -> None:
        self.name = f"urls[{number}]"  # the error names the host, where there is one
        self.endpoint = endpoint
        self.waiting = 0
        self.taken: set[EventId] = set()  # of the alerts that are over, those that it knows to be
        self.is_missing = False
        self._clock = clock
        self._log = log
        self._lock = asyncio.Lock()
        self._is_asked = False
        self._told: tuple[datetime, float] | None = (
            None  # its time, and when by the monotonic clock it told it
        )
        self._is_apart = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.waiting += 1
        try:
            async with self._lock:
                yield
        finally:
            self.waiting -= 1

    def now(self) -> datetime:
        """Return the time by its clock, never ahead of it; by this host's while it has not told its own."""
        if self._told is None:
            return self._clock.now()
        date, at = self._told
        return date + timedelta(seconds=self._clock.monotonic() - at)

    async def post(self, alerts: Callable[[datetime], Alerts]) -> None:
        """Post what `alerts` makes of the time there. Raises DeliveryError."""
        if not self._is_asked:
            await self._ask()
        now = self.now()
        await self._send(alerts(now))
        # What was reckoned by another clock may have lain in its past: it was taken, and ended what is open.
        if abs(self.now() - now) > APART:
            await self._send(alerts(self.now()))

    async def _ask(self) -> None:
        """Learn its time by posting no alert, which needs no other path, method or right than the alerts do."""
        try:
            await self._send([])
        except DeliveryError as error:
            if error.reason is not Reason.REJECTED:
                raise
            # It may not like that there is none.
        self._is_asked = True

    async def _send(self, alerts: Alerts) -> None:
        date = await self.endpoint.post(msgspec.json.encode(alerts), {"Content-Type": "application/json"})
        if date is not None:
            self._told = date, self._clock.monotonic()
            self._compare()

    def _compare(self) -> None:
        """Warn once when the clocks differ; the half of it ends that, lest clocks at the edge warn each minute."""
        ahead = self._clock.now() - self.now()
        if abs(ahead) < APART / 2:
            self._is_apart = False
        elif abs(ahead) > APART and not self._is_apart:
            self._is_apart = True
            side = "ahead of" if ahead > timedelta(0) else "behind"
            self._log.warning(
                "clock_found_wrong",
                replica=self.name,
                error=f"this host's clock is {abs(ahead).total_seconds():.0f} s {side} Alertmanager's;"
                " set it (timedatectl, NTP), or that one's",
            )
