"""The life of the process: signals ask, the lanes drain, the store closes last."""

import asyncio
import signal
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from taskwatch.engine.lane import Lane
from taskwatch.runtime.scheduler import Scheduler

DRAIN_SECONDS: Final = 10.0


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


async def serve(
    *, scheduler: Scheduler, lanes: Sequence[Lane], lost: Awaitable[None], stop: asyncio.Event
) -> None:
    """Poll and deliver until `stop` is set; then end in order. Raises what ends the daemon.

    The scheduler goes first: polls in flight are cancelled, nothing of them was committed. Then the
    lanes finish the sends in flight, for at most DRAIN_SECONDS. `lost` raises when the store is lost.
    """
    polling = asyncio.create_task(scheduler.run(), name="scheduler")
    delivering = [
        asyncio.create_task(lane.run(drain=DRAIN_SECONDS), name=f"lane {lane.receiver}") for lane in lanes
    ]
    losing = asyncio.ensure_future(lost)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    eternal = [polling, *delivering, losing]
    try:
        done, _ = await asyncio.wait([*eternal, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        for lane in lanes:
            lane.stop()
        await asyncio.gather(*delivering, return_exceptions=True)
        losing.cancel()
        stopping.cancel()
    for ended in done - {stopping}:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            raise error
        raise RuntimeError(f"{ended.get_name()} ended by itself")
