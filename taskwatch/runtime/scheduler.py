"""When polls start: APScheduler's edge.

APScheduler reads the wall clock and pays for each job, so it is given one: re-armed at the next due
instant, it empties a heap that lives on the monotonic clock. A guard looks at both clocks once a
second, re-arms when the wall clock has jumped, and whenever no job stands. So no jump of the wall
clock makes a poll late by more than that.
"""

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from taskwatch.clock import Clock
from taskwatch.core.cadence import next_due

GRAIN: Final = 0.1  # polls that are due within it start together: fewer wake-ups
AHEAD: Final = 0.02  # re-armed at "now" from inside itself, the job falls silent for ever
GUARD_SECONDS: Final = 1.0
JUMP_SECONDS: Final = 0.5
_JOB: Final = "polls"


class Scheduler:
    """Starts `poll(key)` for each key when it is due; never two of one key at once.

    `poll` returns the seconds of the key's interval as it now is. What it raises ends `run`.
    """

    def __init__(
        self,
        *,
        keys: int,
        poll: Callable[[int], Awaitable[float]],
        housekeeping: Sequence[tuple[float, Callable[[], Awaitable[None]]]],
        clock: Clock,
    ) -> None:
        """`housekeeping` is work by its period in seconds; none of it may raise."""
        self._poll = poll
        self._housekeeping = housekeeping
        self._clock = clock
        now = clock.monotonic()
        self._due: list[tuple[float, int]] = [(now, key) for key in range(keys)]
        heapq.heapify(self._due)
        self._polls: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] | None = None
        self._jobs = AsyncIOScheduler(timezone="UTC")

    async def run(self) -> None:
        """Schedule until cancelled; then cancel the polls that are under way: nothing of them was committed."""
        for number, (seconds, work) in enumerate(self._housekeeping):
            self._jobs.add_job(
                work,
                "interval",
                seconds=seconds,
                id=f"housekeeping {number}",
                coalesce=True,
                misfire_grace_time=None,
                max_instances=1,
            )
        self._broken = asyncio.get_running_loop().create_future()
        self._jobs.start()
        try:
            self._arm()
            await self._guard(self._broken)
        finally:
            self._jobs.shutdown(wait=False)
            for poll in self._polls:
                poll.cancel()
            self._broken.cancel()
            await asyncio.gather(*self._polls, return_exceptions=True)

    async def _guard(self, broken: asyncio.Future[None]) -> None:
        offset = self._offset()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(GUARD_SECONDS):
                    await asyncio.shield(broken)
            drift = self._offset() - offset
            if abs(drift) > JUMP_SECONDS or (self._due and self._jobs.get_job(_JOB) is None):
                offset = self._offset()
                self._arm()

    def _offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _arm(self) -> None:
        """Let the one job run at the next due instant, or let it stand aside while nothing is due."""
        if not self._due:
            with suppress(JobLookupError):
                self._jobs.remove_job(_JOB)
            return
        self._jobs.add_job(
            self._fire,
            "date",
            run_date=self._instant(self._due[0][0]),
            id=_JOB,
            replace_existing=True,
            coalesce=True,
            misfire_grace_time=None,  # the default drops a run that is a second late
            max_instances=2,  # it re-arms itself while it still counts as running
        )

    def _instant(self, due: float) -> datetime:
        grid = math.ceil(due / GRAIN) * GRAIN
        return self._clock.now() + timedelta(seconds=max(grid - self._clock.monotonic(), AHEAD))

    async def _fire(self) -> None:
        now = self._clock.monotonic()
        while self._due and self._due[0][0] <= now + AHEAD:
            due, key = heapq.heappop(self._due)
            poll = asyncio.create_task(self._one(due, key), name=f"poll {key}")
            self._polls.add(poll)
            poll.add_done_callback(self._ended)
        self._arm()

    def _ended(self, poll: asyncio.Task[None]) -> None:
        self._polls.discard(poll)
        if poll.cancelled() or (error := poll.exception()) is None:
            return
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _one(self, due: float, key: int) -> None:
        interval = await self._poll(key)
        first = self._due[0][0] if self._due else math.inf
        at = next_due(due=due, interval=interval, now=self._clock.monotonic())
        heapq.heappush(self._due, (at, key))
        if at < first:
            self._arm()
