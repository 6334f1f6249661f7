"""Virtual hours for the whole daemon, its sockets on loopback included.

The clock of the loop leaps to the next timer when nothing is ready, nobody has said anything, and no thread works for
it. What is sent on loopback is there at once, so that a silence is one. For foreign threads that stay, as those of
plug-ins, this is no clock: they work while it leaps.
"""

import asyncio
import functools
import selectors
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, ParamSpec, Self, TypeVar, TypeVarTuple, cast

import pytest

from taskwatch.app import build
from taskwatch.config.load import load
from taskwatch.engine import holding
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime import attendant, health, scheduler
from taskwatch.runtime.daemon import Daemon
from taskwatch.server.server import Server
from tests.fakes.inline_writer import Disk, Life, open_inline
from tests.fakes.scene import Scene
from tests.fakes.virtual_time import VirtualClock

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LOOK_SECONDS: Final = 15.0  # the daemon looks about itself so often here: by itself it does so each second
_GRACE_SECONDS: Final = 0.0003  # real ones, for what is on its way
_THREAD_SECONDS: Final = 0.05
_LIMIT_SECONDS: Final = 7 * 86_400.0


class _Leaping(selectors.SelectSelector):
    """Moves the clock instead of waiting, once it is quiet."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_000.0
        self.calls = 0  # in threads, that have not ended

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.calls or _names_are_looked_up():
            return super().select(_THREAD_SECONDS)
        ready = super().select(_GRACE_SECONDS)
        if not ready:
            self.time += timeout
        return ready


def _names_are_looked_up() -> bool:
    return any(thread.name.startswith("look up") for thread in threading.enumerate())


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop with sockets and threads whose time leaps. Its wall clock begins with that of the host."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)
        self._clock_resolution = 1e-6
        self.clock = VirtualClock(self, start=datetime.now(UTC))

    def time(self) -> float:
        return self._leaping.time

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._leaping.calls += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: asyncio.Future[Any]) -> None:
        self._leaping.calls -= 1


class _LeapingDatetime(datetime):
    """The wall clock as APScheduler reads it, which asks the system itself."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cast("Self", leaping_clock().now())


def leaping_clock() -> VirtualClock:
    """Return the clock of the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    return loop.clock


def in_leaping_time(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Let pytest run an asynchronous test in time that leaps."""

    @functools.wraps(scenario)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("apscheduler.schedulers.base.datetime", _LeapingDatetime)
            patch.setattr(attendant, "LOOK_SECONDS", LOOK_SECONDS)
            patch.setattr(health, "LOOK_SECONDS", LOOK_SECONDS)
            patch.setattr(holding, "LOOK_SECONDS", LOOK_SECONDS)
            patch.setattr(scheduler, "GUARD_SECONDS", LOOK_SECONDS)
            with asyncio.Runner(loop_factory=LeapingLoop) as runner:
                runner.run(_limited(scenario(*args, **kwargs)))

    return test


async def _limited(scenario: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        await scenario


@asynccontextmanager
async def living(
    scene: Scene, disk: Disk, *, is_killed: bool = False, server: Server | None = None
) -> AsyncIterator[Daemon]:
    """Run the daemon of the scene upon this disk until the block ends, in order or killed.

    The first poll of each project is over when it begins.
    """
    config = load(scene.file, kinds())
    clock, life, stop = leaping_clock(), Life(), asyncio.Event()
    store = open_inline(disk, life, clock=clock)
    async with build(config, store=store, clock=clock, server=server) as daemon:
        run = asyncio.create_task(daemon.run(stop))
        try:
            async with asyncio.timeout(60):
                while not all(watch.poller.freshness for watch in daemon.watches):
                    await asyncio.sleep(0.1)
            yield daemon
            assert not run.done(), run
        finally:
            if is_killed:
                life.kill()
                run.cancel()
            stop.set()
            await asyncio.wait({run}, timeout=0 if is_killed else 60)  # the dead are not waited for
    if not is_killed:
        run.result()
