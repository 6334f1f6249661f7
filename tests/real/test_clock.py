"""The wall clock of the host jumps, under the real daemon: it makes, loses and delays nothing.

What is not tested because there is nothing to test: a change between summer and winter time moves no
clock of the host, only how local time is spelt; all that taskwatch reads, stores and tells is UTC.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.commands import until
from tests.fakes.daemon import Daemon
from tests.fakes.host import libfaketime
from tests.fakes.watched import Watched, watched

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

HOUR: Final = 3600
YEARS: Final = 10 * 365 * 24 * HOUR
INTERVAL: Final = 0.1  # seconds from poll to poll, as configured
REQUESTS: Final = 2  # of one poll at most: it may ask for two lists
SOME: Final = 20  # requests, after which polling is seen to go on


class WallClock:
    """The wall clock of the daemons that run `under` it, by how many seconds it is wrong. Monotonic time stays true."""

    def __init__(self, library: Path, file: Path) -> None:
        self.under: Final = (
            "env",
            f"LD_PRELOAD={library}",
            f"FAKETIME_TIMESTAMP_FILE={file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "FAKETIME_DISABLE_SHM=1",
        )
        self._file = file
        self.jump(0)

    def jump(self, seconds: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._file)  # it is read at each look at the clock: never half of it


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(libfaketime(), tmp_path / "faketime")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as place:
        yield place


@pytest.fixture
def names() -> Iterator[str]:
    return (f"job-{number}" for number in count())


async def keeps_polling(place: Watched, daemon: Daemon) -> bool:
    """Wait until it has polled on; say whether it did so no more often than it may."""
    now, before = asyncio.get_running_loop().time, len(place.cloud.requests)
    began = now()
    await until(lambda: len(place.cloud.requests) >= before + SOME, "polls that go on", said=daemon.said)
    due = (now() - began) / INTERVAL + 2  # with one in flight, and one that was late
    return len(place.cloud.requests) - before <= due * REQUESTS


def told_at(place: Watched) -> datetime:
    """Return what the daemon took the time to be when it saw what it told last."""
    return datetime.fromisoformat(place.sink.accepted[-1].event["time"])


async def test_no_jump_of_the_wall_clock_makes_loses_or_delays_anything(
    place: Watched, clock: WallClock, names: Iterator[str]
) -> None:
    going = next(names)
    place.begin(going)
    place.configure()
    async with place.daemon(*clock.under) as daemon:
        await place.baseline(daemon)
        for jump in (HOUR, -HOUR, YEARS, 0, -YEARS, 0):
            before, going = going, next(names)
            clock.jump(jump)
            place.end(before)
            place.begin(going)
            assert await keeps_polling(place, daemon), f"after a jump to {jump:+} s"
            await place.told(daemon)
            assert abs(told_at(place) - datetime.now(UTC) - timedelta(seconds=jump)) < timedelta(minutes=1)
        assert place.told_twice() == []
