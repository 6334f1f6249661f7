"""The rate of requests to one endpoint with one credential, shared by all projects that use both."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

from taskwatch.clock import Clock
from taskwatch.errors import CloudCause, CloudError

_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 3600.0
_ROUNDING: Final = 1e-6  # sums of spacings are a little off
_USUAL_PAUSE: Final = 60.0  # people are told "wait up to one minute" when they are throttled


class Limiter:
    """Lets requests pass first come, first served: evenly spaced, after a burst of one second's worth.

    One that gives up waiting takes no turn away from those behind it. While it is paused nobody
    waits: everyone is refused at once, so that the rate of requests falls to nothing.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        self._clock = clock
        self.change(rate)
        self._due = clock.monotonic()  # when the next request would be due at even spacing
        self._paused_until = self._due
        self._line: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def change(self, rate: float) -> None:
        """Let so many requests a second pass from now on. A pause stays."""
        self._spacing = 1.0 / rate
        # How far ahead of even spacing requests may run.
        self._slack = max(0.0, 1.0 - self._spacing) + _ROUNDING

    async def acquire(self, *, first: bool = False) -> None:
        """Return when the next request may be sent. Raises CloudError (throttled) during a pause.

        `first` is for the later pages of a listing: at the end of a long line they would never be done.
        """
        now = self._clock.monotonic()
        if now < self._paused_until:
            raise self._refused(now)
        if self._is_free(now) and (first or not self._line):
            self._spend(now)
            return
        await self._stand_in_line(now, first=first)

    def pause(self, seconds: float | None) -> None:
        """Refuse all requests for as long as the cloud asked, within reason; a minute if it did not say."""
        wanted = _USUAL_PAUSE if seconds is None else min(max(seconds, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        now = self._clock.monotonic()
        self._paused_until = max(self._paused_until, now + wanted)
        self._due = max(self._due, self._paused_until + self._slack)  # no burst right after
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_exception(self._refused(now))
        self._disarm()

    def _refused(self, now: float) -> CloudError:
        left = self._paused_until - now
        return CloudError(
            CloudCause.THROTTLED,
            f"no requests for another {left:.0f} s: the cloud answered 429 (too many requests)",
            retry_after=left,
        )

    def _is_free(self, now: float) -> bool:
        return now >= self._due - self._slack

    def _spend(self, now: float) -> None:
        self._due = max(self._due, now) + self._spacing

    async def _stand_in_line(self, now: float, *, first: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            self._line.appendleft(turn)
        else:
            self._line.append(turn)
        self._arm(now)
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def _leave(self, turn: "asyncio.Future[None]") -> None:
        with suppress(ValueError):
            self._line.remove(turn)
        if not turn.cancelled() and turn.exception() is None:
            self._due -= self._spacing  # it was this one's turn already: it goes to the next
        self._disarm()
        if self._line:
            self._arm(self._clock.monotonic())

    def _arm(self, now: float) -> None:
        if self._timer is None:
            wait = max(0.0, self._due - self._slack - now)
            self._timer = asyncio.get_running_loop().call_later(wait, self._serve)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _serve(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._line and self._is_free(now):
            turn = self._line.popleft()
            if not turn.done():  # cancelled, and its waiter has not run yet
                turn.set_result(None)
                self._spend(now)
        if self._line:
            self._arm(now)
