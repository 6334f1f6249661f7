"""The edge to APScheduler, which reads the real clock: so these tests wait for real, shortly, and judge order and count."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from taskwatch.clock import SystemClock
from taskwatch.runtime import scheduler
from taskwatch.runtime.scheduler import Scheduler
from tests.fakes.jumping_clock import JumpingClock, apscheduler_under


@pytest.fixture(autouse=True)
def _wakeful_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "GUARD_SECONDS", 0.05)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    clock = JumpingClock()
    apscheduler_under(clock, monkeypatch)
    return clock


@asynccontextmanager
async def running(
    poll: Callable[[int], Awaitable[float]],
    *,
    keys: int,
    clock: SystemClock | None = None,
) -> AsyncIterator[asyncio.Task[None]]:
    edge = Scheduler(clock or SystemClock())
    for key in range(keys):
        edge.add(key, partial(poll, key))
    run = asyncio.create_task(edge.run())
    try:
        yield run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def until(claim: Callable[[], bool], run: asyncio.Task[None]) -> None:
    async with asyncio.timeout(10):
        while not claim():
            if run.done():
                run.result()
            await asyncio.sleep(0.005)


async def test_polls_of_several_projects_keep_coming() -> None:
    polls: Counter[int] = Counter()

    async def poll(key: int) -> float:
        polls[key] += 1
        return 0.1

    async with running(poll, keys=3) as run:
        await until(lambda: len(polls) == 3 and min(polls.values()) >= 3, run)


async def test_a_shorter_interval_comes_more_often() -> None:
    polls: Counter[str] = Counter()

    async def poll(key: int) -> float:
        polls["often" if key == 0 else "seldom"] += 1
        return 0.1 if key == 0 else 60.0

    async with running(poll, keys=2) as run:
        await until(lambda: polls["often"] >= 4, run)

    assert polls["seldom"] == 1


async def test_a_poll_that_hangs_delays_no_other_and_is_never_doubled() -> None:
    polls: Counter[int] = Counter()
    at_once: Counter[int] = Counter()
    most: Counter[int] = Counter()

    async def poll(key: int) -> float:
        polls[key] += 1
        at_once[key] += 1
        most[key] = max(most[key], at_once[key])
        try:
            if key == 0:
                await asyncio.Event().wait()
            await asyncio.sleep(0.15)  # longer than its interval
        finally:
            at_once[key] -= 1
        return 0.1

    async with running(poll, keys=3) as run:
        await until(lambda: min(polls[1], polls[2]) >= 3, run)

    assert polls[0] == 1
    assert set(most.values()) == {1}
    assert set(at_once.values()) == {0}, "a poll outlived the scheduler"


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=3650)], ids=str)
async def test_a_jump_of_the_wall_clock_neither_stops_nor_floods_the_polls(
    jump: timedelta, wall: JumpingClock
) -> None:
    polls = 0

    async def poll(_: int) -> float:
        nonlocal polls
        polls += 1
        return 0.1

    async with running(poll, keys=1, clock=wall) as run:
        await until(lambda: polls >= 2, run)
        before, began = polls, wall.monotonic()
        wall.offset = jump
        await until(lambda: polls >= before + 3, run)
        intervals = (wall.monotonic() - began) / 0.1

    assert polls - before <= intervals + 2, "a jump made more polls than there were intervals"


async def test_what_a_poll_raises_ends_the_scheduler() -> None:
    others: list[str] = []

    async def poll(key: int) -> float:
        if key == 0:
            raise RuntimeError("a mistake of ours")
        try:
            await asyncio.Event().wait()
        finally:
            others.append("cancelled")
        return 1.0

    async with running(poll, keys=2) as run:
        async with asyncio.timeout(10):
            with pytest.raises(RuntimeError, match="a mistake of ours"):
                await run

    assert others == ["cancelled"]


async def test_with_nothing_to_poll_it_waits_until_it_is_cancelled() -> None:
    async def poll(_: int) -> float:
        return 1.0

    async with running(poll, keys=0) as run:
        await asyncio.sleep(0.1)
        assert not run.done()


async def test_works_come_and_go_while_it_runs_and_one_that_is_hastened_does_not_wait_for_its_time() -> None:
    polls: Counter[str] = Counter()

    def work(key: str) -> Callable[[], Awaitable[float]]:
        async def poll() -> float:
            polls[key] += 1
            return 3600.0

        return poll

    edge = Scheduler(SystemClock())
    edge.add("first", work("first"))
    run = asyncio.create_task(edge.run())
    try:
        await until(lambda: polls["first"] == 1, run)
        edge.add("second", work("second"))
        await until(lambda: polls["second"] == 1, run)
        edge.hasten("first")
        await until(lambda: polls["first"] == 2, run)
        edge.remove("first")
        edge.add("first", work("first anew"))
        await until(lambda: polls["first anew"] == 1, run)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    assert polls == {"first": 2, "second": 1, "first anew": 1}


async def test_a_work_that_is_removed_hastened_or_added_again_while_under_way_is_not_done_twice_at_once() -> (
    None
):
    begun, at_once, go = 0, 0, asyncio.Event()

    async def poll() -> float:
        nonlocal begun, at_once
        begun += 1
        at_once += 1
        assert at_once == 1, "twice at once"
        await go.wait()
        at_once -= 1
        return 3600.0

    edge = Scheduler(SystemClock())
    edge.add("a", poll)
    run = asyncio.create_task(edge.run())
    try:
        await until(lambda: begun == 1, run)
        edge.remove("a")
        edge.add("a", poll)
        edge.hasten("a")
        await asyncio.sleep(0.2)
        go.set()
        await until(lambda: begun == 2, run)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_a_work_that_is_added_anew_while_the_old_one_is_under_way_does_not_wait_for_the_old_interval() -> (
    None
):
    begun: list[str] = []
    go = asyncio.Event()

    async def old() -> float:
        begun.append("old")
        await go.wait()
        return 3600.0

    async def new() -> float:
        begun.append("new")
        return 3600.0

    edge = Scheduler(SystemClock())
    edge.add("a", old)
    run = asyncio.create_task(edge.run())
    try:
        await until(lambda: begun == ["old"], run)
        edge.remove("a")
        edge.add("a", new)
        go.set()
        await until(lambda: begun == ["old", "new"], run)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
