"""The rate of requests, on a clock that only the test moves."""

import asyncio
from datetime import UTC, datetime

import pytest
import structlog
from structlog.testing import capture_logs

from taskwatch.cloud.limiter import Limiter
from taskwatch.errors import CloudCause, CloudError
from tests.fakes.builders import quiet_log
from tests.fakes.virtual_time import in_virtual_time, virtual_clock


class _Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 8, 5, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def _throttled(asked_for: float | None) -> CloudError:
    return CloudError(CloudCause.THROTTLED, "the cloud answered 429", retry_after=asked_for)


async def _passes_now(limiter: Limiter) -> bool:
    turn = asyncio.create_task(limiter.acquire())
    for _ in range(3):
        await asyncio.sleep(0)
    if not turn.done():
        turn.cancel()
        await asyncio.wait([turn])
        return False
    turn.result()
    return True


async def test_one_second_of_requests_may_pass_at_once_and_no_more() -> None:
    limiter = Limiter(5, _Clock(), quiet_log())
    assert [await _passes_now(limiter) for _ in range(7)] == [True] * 5 + [False] * 2


async def test_after_the_burst_requests_are_evenly_spaced() -> None:
    clock = _Clock()
    limiter = Limiter(4, clock, quiet_log())
    for _ in range(4):
        await limiter.acquire()
    passed = []
    for _ in range(8):
        clock.seconds += 0.125
        passed.append(await _passes_now(limiter))
    assert passed == [False, True] * 4


async def test_a_rate_below_one_a_second_has_no_burst() -> None:
    clock = _Clock()
    limiter = Limiter(0.5, clock, quiet_log())
    assert await _passes_now(limiter)
    clock.seconds += 1.5
    assert not await _passes_now(limiter)
    clock.seconds += 0.5
    assert await _passes_now(limiter)


async def test_those_who_wait_pass_in_the_order_in_which_they_came() -> None:
    clock = _Clock()
    limiter = Limiter(1000, clock, quiet_log())
    order: list[int] = []

    async def pass_as(number: int) -> None:
        await limiter.acquire()
        order.append(number)

    for _ in range(1000):
        await limiter.acquire()
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(pass_as(number))
        await asyncio.sleep(0)
        assert order == []
        clock.seconds += 1.0
    assert order == [0, 1, 2, 3, 4]


async def test_the_later_pages_of_a_listing_go_before_those_who_wait_for_their_first() -> None:
    clock = _Clock()
    limiter = Limiter(1000, clock, quiet_log())
    order: list[str] = []

    async def pass_as(name: str, *, first: bool = False) -> None:
        await limiter.acquire(first=first)
        order.append(name)

    for _ in range(1000):
        await limiter.acquire()
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(pass_as(f"poll {number}"))
        await asyncio.sleep(0)
        group.create_task(pass_as("page 2", first=True))
        await asyncio.sleep(0)
        assert order == []
        clock.seconds += 1.0
    assert order == ["page 2", "poll 0", "poll 1", "poll 2"]


async def test_the_later_pages_of_a_listing_are_within_the_rate_as_well() -> None:
    clock = _Clock()
    limiter = Limiter(2, clock, quiet_log())
    for _ in range(2):
        await limiter.acquire(first=True)
    assert not await _passes_now(limiter)
    waiting = asyncio.create_task(limiter.acquire(first=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


@in_virtual_time
async def test_long_lists_are_read_in_time_although_more_is_asked_than_the_rate_allows() -> None:
    # 45 s × 10/s = 450 requests; 450 short polls and 5 long ones of 10 pages make 500.
    limiter, interval, deadline = Limiter(10, virtual_clock(), quiet_log()), 45.0, 20.0
    took: dict[int, list[float]] = {pages: [] for pages in (1, 10)}
    loop = asyncio.get_running_loop()

    async def poll_for_ever(pages: int) -> None:
        while True:
            due = loop.time() + interval
            await limiter.acquire()
            began = loop.time()
            for _ in range(pages - 1):
                await limiter.acquire(first=True)
            took[pages].append(loop.time() - began)
            await asyncio.sleep(due - loop.time())

    polls = [asyncio.create_task(poll_for_ever(1)) for _ in range(450)]
    polls += [asyncio.create_task(poll_for_ever(10)) for _ in range(5)]
    await asyncio.sleep(6 * interval)
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)
    assert len(took[10]) >= 4 * 5
    assert max(took[10]) < deadline / 2
    assert len(took[1]) >= 4 * 450, "nor do the long ones starve the short ones"


async def test_one_that_gives_up_takes_no_turn_from_the_next() -> None:
    clock = _Clock()
    limiter = Limiter(1, clock, quiet_log())
    await limiter.acquire()
    for _ in range(100):
        assert not await _passes_now(limiter)  # gives up
    clock.seconds += 1.0
    assert await _passes_now(limiter)


async def test_a_turn_given_to_one_that_was_just_canceled_goes_to_the_next() -> None:
    clock = _Clock()
    limiter = Limiter(1000, clock, quiet_log())
    for _ in range(1000):
        await limiter.acquire()
    first, second = asyncio.create_task(limiter.acquire()), asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    clock.seconds += 0.001  # due for one of them
    limiter._serve()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    await asyncio.wait_for(second, 5)


async def test_a_pause_refuses_at_once_those_who_come_and_those_who_wait() -> None:
    clock = _Clock()
    limiter = Limiter(1, clock, quiet_log())
    await limiter.acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    limiter.throttle(_throttled(120))
    with pytest.raises(CloudError, match="another 120 s") as refused:
        await waiting
    assert (refused.value.cause, refused.value.retry_after) == (CloudCause.THROTTLED, 120)
    clock.seconds += 119
    with pytest.raises(CloudError, match="another 1 s"):
        await limiter.acquire()
    clock.seconds += 1
    await limiter.acquire()


async def test_no_burst_follows_a_pause() -> None:
    clock = _Clock()
    limiter = Limiter(10, clock, quiet_log())
    limiter.throttle(_throttled(60))
    clock.seconds += 60
    assert await _passes_now(limiter)
    assert not await _passes_now(limiter)


@pytest.mark.parametrize(
    ("asked", "paused"), [(None, 60), (0, 1), (-5, 1), (7, 7), (10**9, 3600), (float("inf"), 3600)]
)
async def test_a_pause_is_a_minute_if_nothing_is_asked_and_else_within_reason(
    asked: float | None, paused: float
) -> None:
    clock = _Clock()
    limiter = Limiter(10, clock, quiet_log())
    limiter.throttle(_throttled(asked))
    clock.seconds += paused - 0.5
    with pytest.raises(CloudError):
        await limiter.acquire()
    clock.seconds += 0.5
    await limiter.acquire()


async def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    clock = _Clock()
    limiter = Limiter(10, clock, quiet_log())
    limiter.throttle(_throttled(600))
    limiter.throttle(_throttled(1))
    clock.seconds += 599
    with pytest.raises(CloudError):
        await limiter.acquire()


async def test_throttling_is_told_once_and_its_end_when_it_has_not_come_back_for_minutes() -> None:
    clock = _Clock()
    with capture_logs() as lines:
        limiter = Limiter(10, clock, structlog.get_logger())
        for _ in range(3):
            error = _throttled(60)
            limiter.throttle(error)
            assert error.is_told
            with pytest.raises(CloudError) as refused:
                await limiter.acquire()
            assert refused.value.is_told
            clock.seconds += 61
            limiter.answered()
        for _ in range(5):
            clock.seconds += 300
            limiter.answered()
        limiter.throttle(_throttled(60))
    told = [(line["event"], line["log_level"]) for line in lines if line["log_level"] != "debug"]
    assert told == [("throttled", "warning"), ("throttled_no_more", "info"), ("throttled", "warning")]


async def test_after_each_pause_half_as_many_pass_in_no_burst_until_the_cloud_has_borne_that() -> None:
    clock = _Clock()
    limiter = Limiter(16, clock, quiet_log())

    async def passing() -> int:
        """Tell how many pass at once, and how many in the second after."""
        clock.seconds += 60
        passed = [await _passes_now(limiter) for _ in range(20)].count(True)
        for _ in range(32):
            clock.seconds += 1 / 32
            passed += await _passes_now(limiter)
        return passed

    assert await passing() == 32
    for halved in (9, 5):
        limiter.throttle(_throttled(1))
        limiter.throttle(_throttled(1))  # of a request that was sent before
        assert await passing() == halved
    for grown in (9, 32):
        clock.seconds += 300
        limiter.answered()
        assert await passing() == grown
