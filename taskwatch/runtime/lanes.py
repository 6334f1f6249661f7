"""The lanes that run, each in a task of its own: receivers come and go with reloads."""

import asyncio
from collections.abc import Iterable
from typing import Final

from taskwatch.engine.lane import RELOAD_SECONDS, Lane

DRAIN_SECONDS: Final = 10.0
HANGING_SECONDS: Final = 2 * RELOAD_SECONDS  # without having looked for work


class Lanes:
    """Runs lanes from their beginning to their end. What one raises ends `run`."""

    def __init__(self) -> None:
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}  # by receiver: of retired lanes
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None

    def begin(self, lane: Lane, *, after: asyncio.Task[None] | None = None) -> None:
        """Let the lane deliver, once what is `after` has ended, and any lane of its name that is still leaving.

        Two lanes with the same deliveries would send the same twice.
        """
        before = {task for task in (after, self._leaving.get(lane.receiver)) if task is not None}
        task = asyncio.create_task(_live(lane, before), name=f"lane {lane.receiver}")
        self._tasks[lane] = task
        task.add_done_callback(self._ended)

    def retire(self, lane: Lane) -> asyncio.Task[None]:
        """Let the lane finish what is in flight, and begin nothing new. What waits stays in the store."""
        lane.stop(gently=True)
        name = lane.receiver
        leaving = self._leaving[name] = self._tasks.pop(lane)
        leaving.add_done_callback(lambda ended: self._left(name, ended))
        return leaving

    async def run(self) -> None:
        """Wait until a lane fails, and raise what it raised."""
        await self._failed.wait()
        assert self._failure is not None  # noqa: S101 - it is set before the event
        raise self._failure

    async def stop(self) -> None:
        """Stop all lanes; return when they have drained. What still takes longer is cut short."""
        for lane in self._tasks:
            lane.stop()
        tasks = {*self._tasks.values(), *self._leaving.values()}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS + 1)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hanging(self, now: float) -> str | None:
        """Name a lane that makes no progress."""
        for lane in self._tasks:
            if now - lane.passed_at > HANGING_SECONDS and lane.receiver not in self._leaving:
                return f"lane {lane.receiver}"
        return None

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._failed.set()

    def _left(self, name: str, task: asyncio.Task[None]) -> None:
        if self._leaving.get(name) is task:
            del self._leaving[name]


async def _live(lane: Lane, before: Iterable[asyncio.Task[None]]) -> None:
    try:
        for task in before:
            await asyncio.wait({task})
        await lane.run(drain=DRAIN_SECONDS)
    finally:
        await lane.close()
