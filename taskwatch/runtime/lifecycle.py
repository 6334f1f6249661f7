"""The life of the process: signals ask, the lanes drain, the store closes last."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from taskwatch.runtime.lanes import Lanes
from taskwatch.runtime.scheduler import Scheduler


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT set `stop`, as long as the block lasts. A second SIGINT is Python's own."""
    loop = asyncio.get_running_loop()

    def ask(number: signal.Signals) -> None:
        stop.set()
        if number is signal.SIGINT:
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextmanager
def reloaded_by_signal(hang_up: asyncio.Event) -> Iterator[None]:
    """Let SIGHUP set `hang_up`, as long as the block lasts: also one that was held back before it.

    After it the process ignores the signal: it must not end a daemon that stops.
    """
    loop = asyncio.get_running_loop()
    # Not the loop's own handler: while that is taken away, the signal is deadly for an instant.
    signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(hang_up.set))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def serve(
    *,
    scheduler: Scheduler,
    lanes: Lanes,
    doing: Mapping[str, Coroutine[Any, Any, None]],
    watching: Mapping[str, Coroutine[Any, Any, None]],
    stop: asyncio.Event,
    stopping: Callable[[], None],
) -> None:
    """Poll and deliver until `stop` is set; then end in order. Raises what ends the daemon.

    The scheduler goes first: polls in flight are cancelled, nothing of them was committed; and with it
    what is `doing` something that could begin a lane anew. Then the lanes finish the sends in flight,
    for a bounded time. What is `watching` over all that goes last.
    """
    active = [
        asyncio.create_task(scheduler.run(), name="scheduler"),
        *(asyncio.create_task(work, name=name) for name, work in doing.items()),
    ]
    passive = [
        asyncio.create_task(lanes.run(), name="lanes"),
        *(asyncio.create_task(work, name=name) for name, work in watching.items()),
    ]
    asked = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([*active, *passive, asked], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping()
        await _cancelled(*active)
        await lanes.stop()
        await _cancelled(*passive, asked)
    for ended in done - {asked}:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            raise error
        raise RuntimeError(f"{ended.get_name()} ended by itself")


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
