"""How often a cloud is asked, in virtual time: within the rate, evenly, and no more when it fails."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest
from yarl import URL

from taskwatch.clock import Clock
from taskwatch.cloud.auth.login import NoLogin
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.connection import unanswered
from taskwatch.cloud.errors import Asked, refusal, too_late
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Answer, Request, Transport
from taskwatch.core.cadence import Cadence, next_due
from taskwatch.engine.budget import Budget
from taskwatch.engine.poller import Poll, Poller
from taskwatch.engine.watch import Watch
from taskwatch.model.project import Identity, Listing, Project
from tests.fakes.builders import quiet_log
from tests.fakes.virtual_time import VirtualClock, in_virtual_time, virtual_clock

INTERVAL, DEADLINE, HOUR = 10.0, 20.0, 3600.0
DATE = {"Date": "Mon, 23 Nov 2026 10:00:00 GMT"}

Fault = Callable[[Asked, float], None]  # raises what the cloud does at this second


@dataclass
class Cloud:
    """A host as the caller sees it: it counts what it is asked, and fails as it is told."""

    clock: VirtualClock
    fault: Fault | None = None
    hangs: str | None = None  # on this path
    asked: list[tuple[float, str]] = field(default_factory=list)
    read: list[tuple[float, str]] = field(default_factory=list)  # whole lists

    async def send(self, request: Request, _: Mapping[str, str], asked: Asked) -> Answer:
        self.asked.append((self.clock.elapsed, request.url.path))
        if request.url.path == self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0.05)
        if self.fault is not None:
            self.fault(asked, self.clock.elapsed)
        return Answer(body=b"", headers={})

    def between(self, begin: float, end: float) -> int:
        return sum(begin <= at < end for at, _ in self.asked)

    def gaps(self, *, after: float) -> dict[str, list[float]]:
        """Return the times between the requests of each project."""
        times: dict[str, list[float]] = {}
        for at, path in self.asked:
            if at >= after:
                times.setdefault(path, []).append(at)
        return {path: [b - a for a, b in pairwise(at)] for path, at in times.items()}


class _Reads:
    """The poller of one project, whose list has so many pages."""

    def __init__(
        self, name: str, caller: Caller, pages: int, clock: Clock, done: Callable[[str], None]
    ) -> None:
        identity = Identity(service="gaussdb", host="h", project_id=name)
        self.project = Project(identity=identity, name=name)
        self.is_active = True
        self.reads_whole_lists = False
        self.rules = cast("Any", type("Rules", (), {"cadence": Cadence(active=INTERVAL, idle=INTERVAL)}))
        self._caller = caller
        self._pages = pages
        self._clock = clock
        self._done = done

    async def poll(self) -> Poll:
        await self._caller.turn()
        try:
            async with asyncio.timeout(DEADLINE):
                for _ in range(self._pages):
                    await self._caller.get(URL(f"https://h/{self.project.name}"))
        except TimeoutError:
            raise too_late(self._caller.asked, DEADLINE) from None
        self._done(f"/{self.project.name}")
        listing = Listing(
            rows=0, changed=(), digests=cast("Any", None), complete=True, clean=True,
            requests=self._pages, pages=self._pages,
        )  # fmt: skip
        return Poll(listing=listing)


async def _watch(watch: Watch, *, begin: float, until: float, clock: VirtualClock) -> None:
    """Poll as the scheduler does: on the grid of the first start."""
    due = begin
    while due < until:
        await asyncio.sleep(max(0.0, due - clock.elapsed))
        interval = await watch.tick()
        due = next_due(due=due, interval=interval, now=clock.elapsed)


async def _run(
    cloud: Cloud,
    *,
    projects: int,
    seconds: float,
    rate: float = 20.0,
    pages: int = 1,
    spread: float = INTERVAL,
) -> list[Watch]:
    clock = cloud.clock
    limiter, budget = Limiter(rate, clock, quiet_log()), Budget(rate, log=quiet_log())
    watches = []
    for number in range(projects):
        caller = Caller(
            transport=cast("Transport", cloud), endpoint="https://h", login=NoLogin(), limiter=limiter
        )
        poller = _Reads(
            f"p{number}", caller, pages, clock, lambda path: cloud.read.append((clock.elapsed, path))
        )
        watch = Watch(poller=cast("Poller", poller), credential="c", clock=clock, log=quiet_log())
        watch.share(budget)
        watches.append(watch)
    rng = random.Random(projects)
    async with asyncio.TaskGroup() as group:
        for watch in watches:
            begin = rng.uniform(0, spread)
            group.create_task(_watch(watch, begin=begin, until=seconds, clock=clock))
    return watches


def _throttling(headers: Mapping[str, str]) -> Fault:
    def fault(asked: Asked, _: float) -> None:
        raise refusal(asked, 429, headers, b"")

    return fault


def _server_error(asked: Asked, _: float) -> None:
    raise refusal(asked, 503, DATE, b"")


def _reset(asked: Asked, _: float) -> None:
    raise unanswered(asked, ConnectionResetError(104, "reset"))


def _in_turn(asked: Asked, now: float) -> None:
    """Fail for a minute in one way, for the next in another, and answer in the third."""
    (_server_error, _reset, lambda *_: None)[int(now // 60) % 3](asked, now)


RETRY_AFTER = {
    "in the past": {**DATE, "Retry-After": "Mon, 23 Nov 2026 09:00:00 GMT"},
    "negative": {"Retry-After": "-5"},
    "thirty years": {"Retry-After": "1000000000"},
    "garbage": {"Retry-After": "soon"},
    "zero": {"Retry-After": "0"},
    "empty": {"Retry-After": ""},
    "an hour": {"Retry-After": "3600"},
    "none": {},
}
FAULTS: dict[str, Fault] = {
    "5xx": _server_error,
    "resets": _reset,
    "in turn": _in_turn,
    **{f"429, Retry-After {name}": _throttling(headers) for name, headers in RETRY_AFTER.items()},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@in_virtual_time
async def test_a_cloud_that_fails_is_asked_no_oftener_than_one_that_works(fault: Fault) -> None:
    cloud = Cloud(virtual_clock(), fault)
    await _run(cloud, projects=100, seconds=2 * HOUR)
    normal = 100 * 2 * HOUR / INTERVAL
    assert 0 < len(cloud.asked) <= 1.2 * normal
    busiest = max(Counter(int(at // 60) for at, _ in cloud.asked).values())
    assert busiest <= 1.2 * 100 * 60 / INTERVAL


@pytest.mark.parametrize("name", ["none", "garbage", "negative", "empty"])
@in_virtual_time
async def test_after_a_429_that_says_nothing_usable_there_is_silence_for_a_minute(name: str) -> None:
    cloud = Cloud(virtual_clock(), _throttling(RETRY_AFTER[name]))
    await _run(cloud, projects=100, seconds=0.5 * HOUR)
    times = [at for at, _ in cloud.asked]
    # What was on its way when the cloud said it is there; nothing else for a minute.
    silences = [later - sooner for sooner, later in pairwise(times) if later - sooner > 1]
    assert len(silences) >= 20
    assert min(silences) >= 59.9


def _at_most(requests: int, clock: VirtualClock, headers: Mapping[str, str]) -> Fault:
    """Let so many requests pass within a second; those that are refused count like the others."""
    times: deque[float] = deque(maxlen=requests + 1)

    def fault(asked: Asked, now: float) -> None:
        times.append(now)
        if len(times) > requests and now - times[0] < 1.0:
            raise refusal(asked, 429, headers, b"")

    return fault


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "2"}], ids=str)
@pytest.mark.parametrize("rate", [14.0, 20.0, 100.0])
@in_virtual_time
async def test_a_cloud_that_lets_fewer_requests_pass_than_the_rate_is_still_read_by_every_project(
    rate: float, headers: Mapping[str, str]
) -> None:
    # The trap: all that were refused begin again at once, the cloud refuses the last of them, and the pages of
    # all the others are given up with it; so for ever.
    cloud = Cloud(virtual_clock())
    cloud.fault = _at_most(15, cloud.clock, headers)
    await _run(cloud, projects=20, seconds=2 * HOUR, rate=rate, pages=6, spread=0.0)
    for begin in range(int(0.5 * HOUR), int(2 * HOUR), 1200):
        read = {path for at, path in cloud.read if begin <= at < begin + 1200}
        assert len(read) == 20, begin


@in_virtual_time
async def test_no_pause_is_longer_than_an_hour_whatever_the_cloud_says() -> None:
    cloud = Cloud(virtual_clock(), _throttling(RETRY_AFTER["thirty years"]))
    await _run(cloud, projects=10, seconds=3 * HOUR)
    assert cloud.between(1 * HOUR, 1.1 * HOUR) > 0


@in_virtual_time
async def test_a_project_that_hangs_delays_no_other() -> None:
    cloud = Cloud(virtual_clock(), hangs="/p7")
    await _run(cloud, projects=100, seconds=HOUR)
    gaps = cloud.gaps(after=60)
    hanging = gaps.pop("/p7")
    assert min(hanging) >= DEADLINE
    assert len(gaps) == 99
    assert max(max(between) for between in gaps.values()) <= 1.1 * INTERVAL


@in_virtual_time
async def test_intervals_that_the_rate_cannot_carry_are_stretched_evenly_for_all() -> None:
    cloud = Cloud(virtual_clock())
    watches = await _run(cloud, projects=100, seconds=HOUR, rate=4.0)
    effective = 100 / (0.9 * 4.0)  # seconds
    assert {round(watch.condition.interval, 3) for watch in watches} == {round(effective, 3)}
    between = [gap for gaps in cloud.gaps(after=600).values() for gap in gaps]
    assert len(between) > 100
    assert 0.9 * effective <= min(between) <= max(between) <= 1.1 * effective


@in_virtual_time
async def test_lists_of_several_pages_count_by_their_requests() -> None:
    cloud = Cloud(virtual_clock())
    watches = await _run(cloud, projects=20, seconds=HOUR, rate=4.0, pages=4)
    assert watches[0].condition.interval == pytest.approx(80 / (0.9 * 4.0))
    assert cloud.between(600, HOUR) <= 4.0 * (HOUR - 600)


@in_virtual_time
async def test_the_others_get_what_those_no_longer_watched_have_left() -> None:
    cloud = Cloud(virtual_clock())
    watches = await _run(cloud, projects=20, seconds=HOUR, rate=1.0)
    assert watches[0].condition.interval == pytest.approx(20 / 0.9)
    for watch in watches[10:]:
        watch.share(None)
    assert watches[0].condition.interval == pytest.approx(10 / 0.9)
    assert watches[-1].condition.interval == INTERVAL


@in_virtual_time
async def test_a_rate_that_carries_the_intervals_leaves_them_alone() -> None:
    cloud = Cloud(virtual_clock())
    watches = await _run(cloud, projects=100, seconds=HOUR, rate=20.0)
    assert {watch.condition.interval for watch in watches} == {INTERVAL}
    assert abs(len(cloud.asked) - 100 * HOUR / INTERVAL) <= 100
