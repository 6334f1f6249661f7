"""The rate of requests to one endpoint with one credential, shared by all projects that use both."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

from taskwatch.clock import Clock
from taskwatch.errors import CloudCause, CloudError
from taskwatch.telemetry import Logger

_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 3600.0
_ROUNDING: Final = 1e-6  # sums of spacings are a little off
_USUAL_PAUSE: Final = 60.0  # people are told "wait up to one minute" when they are throttled
_CALM: Final = 300.0  # seconds without a 429: then twice as many requests are tried, or the trouble is over
_MOST_HALVINGS: Final = 6  # of the rate: to less than a request a second, from what anybody configures


class Limiter:
    """Lets requests pass first come, first served: evenly spaced, after a burst of one second's worth.

    One that gives up waiting takes no turn away from those behind it. While it is paused nobody
    waits: everyone is refused at once, so that the rate of requests falls to nothing. That the cloud
    throttles is logged here, once, however many projects hear of it.

    After each pause half as many requests pass, in no burst, until the cloud has borne that for a while.
    At the old rate all that were refused would begin anew at once, be refused again, and never end a list.
    """

    def __init__(self, rate: float, clock: Clock, log: Logger) -> None:
        self._clock = clock
        self._log = log
        self._halvings = 0
        self.change(rate)
        self._due = clock.monotonic()  # when the next request would be due at even spacing
        self._paused_until = self._calm_since = self._due
        self._throttled_from: float | None = None  # what has been logged
        self._line: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def change(self, rate: float) -> None:
        """Let so many requests a second pass from now on. A pause stays."""
        self._rate = rate
        self._space()

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

    def throttle(self, error: CloudError) -> None:
        """Refuse all requests for as long as the cloud asked, within reason; a minute if it did not say.

        `error` is what it said. From now on it is told, as are the errors of those that are refused.
        """
        asked_for = error.retry_after
        wanted = _USUAL_PAUSE if asked_for is None else min(max(asked_for, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        now = self._clock.monotonic()
        if now >= self._paused_until:  # else it was sent before the pause
            self._halvings = min(self._halvings + 1, _MOST_HALVINGS)
            self._space()
        self._paused_until = self._calm_since = max(self._paused_until, now + wanted)
        self._due = max(self._due, self._paused_until + self._slack)  # no burst right after
        is_first = self._throttled_from is None
        if self._throttled_from is None:
            self._throttled_from = now
        log = self._log.warning if is_first else self._log.debug
        log("throttled", error=str(error), retry_in_seconds=round(self._paused_until - now))
        error.is_told = True
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_exception(self._refused(now))
        self._disarm()

    def answered(self) -> None:
        """Take it that a request was answered, and not with a 429."""
        if self._throttled_from is None:
            return
        now = self._clock.monotonic()
        if now < self._calm_since + _CALM:
            return
        if self._halvings:
            self._halvings -= 1
            self._space()
            self._calm_since = now
        else:
            self._log.info(
                "throttled_no_more", after_seconds=round(self._paused_until - self._throttled_from)
            )
            self._throttled_from = None

    def _space(self) -> None:
        self._spacing = 2.0**self._halvings / self._rate
        # How far ahead of even spacing requests may run.
        self._slack = (0.0 if self._halvings else max(0.0, 1.0 - self._spacing)) + _ROUNDING

    def _refused(self, now: float) -> CloudError:
        left = self._paused_until - now
        return CloudError(
            CloudCause.THROTTLED,
            f"no requests for another {left:.0f} s: the cloud answered 429 (too many requests)",
            retry_after=left,
            is_told=True,
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
