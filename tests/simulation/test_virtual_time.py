"""The loop that all simulations trust."""

import asyncio

import pytest

from tests.fakes.virtual_time import (
    EPOCH,
    BusyLoopError,
    DeadlockError,
    VirtualTimeLoop,
    run_virtual,
    virtual_clock,
)


def test_a_year_passes_at_once_and_both_clocks_show_it() -> None:
    async def scenario() -> float:
        clock = virtual_clock()
        await asyncio.sleep(365 * 86_400)
        assert (clock.now() - EPOCH).total_seconds() == clock.elapsed
        return clock.elapsed

    assert run_virtual(scenario(), limit_seconds=1e9) == 365 * 86_400


def test_timers_run_in_the_order_of_their_time() -> None:
    async def scenario() -> list[int]:
        woken: list[int] = []

        async def sleeper(seconds: int) -> None:
            await asyncio.sleep(seconds)
            woken.append(seconds)

        await asyncio.gather(*map(sleeper, (3, 1, 2)))
        return woken

    assert run_virtual(scenario()) == [1, 2, 3]


def test_the_wall_clock_jumps_alone() -> None:
    async def scenario() -> None:
        clock = virtual_clock()
        clock.jump(-3600)
        assert (EPOCH - clock.now()).total_seconds() == 3600
        assert clock.elapsed == 0

    run_virtual(scenario())


def test_waiting_for_ever_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        run_virtual(asyncio.Event().wait(), limit_seconds=3600)


def test_a_deadlock_is_an_error() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError), asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())


def test_a_loop_that_stays_busy_while_no_time_passes_is_an_error() -> None:
    async def scenario() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(BusyLoopError):
        run_virtual(scenario())
