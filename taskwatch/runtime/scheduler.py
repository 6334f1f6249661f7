"""When polls and housekeeping start: APScheduler's edge.

APScheduler reads the wall clock and pays for each job, so it is given one: re-armed at the next due
instant, it empties a heap that lives on the monotonic clock. A guard looks at both clocks once a
second, re-arms when the wall clock has jumped, and whenever no job stands. So no jump of the wall
clock makes anything late by more than that.
"""

import asyncio
import heapq
import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
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
LAG_SECONDS: Final = 60.0  # for so long it is remembered how late the guard was
_JOB: Final = "works"


Work = Callable[[], Awaitable[float]]


class Scheduler:
    """Does each work again and again, when it is due; never twice at once.

    A work returns the seconds from this start of it to the next. What it raises ends `run`. Works
    come and go while it runs.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._works: dict[Hashable, Work] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._entry: dict[Hashable, tuple[float, int, Hashable]] = {}  # the one of the heap that counts
        self._numbers = itertools.count()  # no two entries are compared by their keys
        self._begun: dict[Hashable, asyncio.Task[None]] = {}
        self._hastened: set[Hashable] = set()  # of those that are under way
        self._broken: asyncio.Future[None] | None = None
        self._jobs = AsyncIOScheduler(timezone="UTC")
        self.looked_at = clock.monotonic()  # when the guard last looked at the clocks
        self._lags: deque[float] = deque(maxlen=round(LAG_SECONDS / GUARD_SECONDS))

    @property
    def lag_seconds(self) -> float:
        """By how much the loop woke the guard too late, at worst, in the last minute."""
        return max(self._lags, default=0.0)

    def add(self, key: Hashable, work: Work) -> None:
        """Do this work from now on, at once for the first time; in the place of another with this key.

        Where that one is under way, as soon as it has ended.
        """
        self._works[key] = work
        if key in self._begun:
            self._hastened.add(key)
        else:
            self._push(key, self._clock.monotonic())

    def hasten(self, key: Hashable) -> None:
        """Let a work be due now; if it is under way, as soon as that has ended."""
        if key in self._begun:
            self._hastened.add(key)
        elif key in self._entry:
            self._push(key, self._clock.monotonic())

    def remove(self, key: Hashable) -> None:
        """Begin this work no more. If it is under way, it may end."""
        del self._works[key]
        self._entry.pop(key, None)

    async def run(self) -> None:
        """Schedule until cancelled; then cancel the works that are under way: nothing of a poll was committed."""
        self._broken = asyncio.get_running_loop().create_future()
        self._jobs.start()
        try:
            self._arm()
            await self._guard(self._broken)
        finally:
            self._jobs.shutdown(wait=False)
            begun = tuple(self._begun.values())
            for work in begun:
                work.cancel()
            self._broken.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _guard(self, broken: asyncio.Future[None]) -> None:
        offset = self._offset()
        while True:
            due = self._clock.monotonic() + GUARD_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(GUARD_SECONDS):
                    await asyncio.shield(broken)
            self.looked_at = self._clock.monotonic()
            self._lags.append(max(self.looked_at - due, 0.0))
            drift = self._offset() - offset
            if abs(drift) > JUMP_SECONDS or (self._entry and self._jobs.get_job(_JOB) is None):
                offset = self._offset()
                self._arm()

    def _offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _push(self, key: Hashable, due: float) -> None:
        """Let this be the next time of the work. An earlier entry of it stays in the heap and counts no more."""
        before = self._first()
        entry = (due, next(self._numbers), key)
        self._entry[key] = entry
        heapq.heappush(self._heap, entry)
        if due < before and self._broken is not None:
            self._arm()

    def _first(self) -> float:
        """Return when the first work is due."""
        while self._heap and self._entry.get(self._heap[0][2]) != self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def _arm(self) -> None:
        """Let the one job run at the next due instant, or let it stand aside while nothing is due."""
        due = self._first()
        if due == math.inf:
            with suppress(JobLookupError):
                self._jobs.remove_job(_JOB)
            return
        self._jobs.add_job(
            self._fire,
            "date",
            run_date=self._instant(due),
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
        while self._first() <= now + AHEAD:
            due, _, key = heapq.heappop(self._heap)
            del self._entry[key]
            work = asyncio.create_task(self._do(due, key, self._works[key]), name=f"work {key}")
            self._begun[key] = work
            work.add_done_callback(self._ended)
        self._arm()

    def _ended(self, work: asyncio.Task[None]) -> None:
        if work.cancelled() or (error := work.exception()) is None:
            return
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _do(self, due: float, key: Hashable, work: Work) -> None:
        try:
            interval = await work()
        finally:
            del self._begun[key]
        now = self._clock.monotonic()
        is_hastened = key in self._hastened
        self._hastened.discard(key)
        if key in self._works:
            self._push(key, now if is_hastened else next_due(due=due, interval=interval, now=now))
