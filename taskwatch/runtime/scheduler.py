"""When polls and housekeeping start: APScheduler's edge.

APScheduler reads the wall clock and pays for each job, so it is given one: re-armed at the next due
instant, it empties a heap that lives on the monotonic clock. A guard looks at both clocks once a
second, re-arms when the wall clock has jumped, and whenever no job stands. So no jump of the wall
clock makes anything late by more than that.
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

GRAIN: Final = 0.1  # works that are due within it start together: fewer wake-ups
AHEAD: Final = 0.02  # re-armed at "now" from inside itself, the job falls silent for ever
GUARD_SECONDS: Final = 1.0
JUMP_SECONDS: Final = 0.5
_JOB: Final = "works"


Work = Callable[[], Awaitable[float]]


class Scheduler:
    """Does each work again and again, when it is due; never twice at once.

    A work returns the seconds from this start of it to the next. What it raises ends `run`.
    """

    def __init__(self, works: Sequence[Work], *, clock: Clock) -> None:
        self._works = works
        self._clock = clock
        now = clock.monotonic()
        self._due: list[tuple[float, int]] = [(now, key) for key in range(len(works))]
        heapq.heapify(self._due)
        self._begun: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] | None = None
        self._jobs = AsyncIOScheduler(timezone="UTC")

    async def run(self) -> None:
        """Schedule until cancelled; then cancel the works that are under way: nothing of a poll was committed."""
        self._broken = asyncio.get_running_loop().create_future()
        self._jobs.start()
        try:
            self._arm()
            await self._guard(self._broken)
        finally:
            self._jobs.shutdown(wait=False)
            for work in self._begun:
                work.cancel()
            self._broken.cancel()
            await asyncio.gather(*self._begun, return_exceptions=True)

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
            work = asyncio.create_task(self._do(due, key), name=f"work {key}")
            self._begun.add(work)
            work.add_done_callback(self._ended)
        self._arm()

    def _ended(self, work: asyncio.Task[None]) -> None:
        self._begun.discard(work)
        if work.cancelled() or (error := work.exception()) is None:
            return
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _do(self, due: float, key: int) -> None:
        interval = await self._works[key]()
        first = self._due[0][0] if self._due else math.inf
        at = next_due(due=due, interval=interval, now=self._clock.monotonic())
        heapq.heappush(self._due, (at, key))
        if at < first:
            self._arm()
