"""A simulated cloud in this process whose clock stands still, and whoever asks it.

class Client(SimulatorClient): ...          # what a test asks, in the test's own words

async with asking(Client, projects=2) as client:
    client.clock.seconds = 60.0
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import aiohttp

from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.records import StillClock

BEGAN: Final = datetime(2026, 11, 23, 13, 30, tzinfo=UTC)
_LONGEST_HEADER: Final = 64 * 1024  # of tokens


class SimulatorClient:
    """Asks one cloud, as anybody could."""

    def __init__(self, session: aiohttp.ClientSession, cloud: SimulatedCloud, clock: StillClock) -> None:
        self.session = session
        self.cloud = cloud
        self.clock = clock


Kind = TypeVar("Kind", bound=SimulatorClient)


@asynccontextmanager
async def asking(
    kind: type[Kind], *, headers: dict[str, str] | None = None, **how: Any
) -> AsyncIterator[Kind]:
    """Open a client of this kind, which sends these headers; `how` goes to SimulatedCloud."""
    clock = StillClock(BEGAN)
    async with (
        SimulatedCloud(seed=7, clock=clock, began=BEGAN, **how) as cloud,
        aiohttp.ClientSession(headers=headers, max_field_size=_LONGEST_HEADER) as session,
    ):
        yield kind(session, cloud, clock)
