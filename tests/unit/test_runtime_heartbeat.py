"""The dead man's switch: told while all is well, silent otherwise, and it says why, once."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from taskwatch.config.serving import Heartbeat as Section
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason
from taskwatch.runtime.heartbeat import Heartbeat
from tests.fakes.builders import captured_log
from tests.fakes.records import StillClock
from tests.fakes.simulator_client import BEGAN

EVERY = 60.0
REFUSED = DeliveryError(Reason.NETWORK, "cannot reach hc.example: Connection refused")


@dataclass
class Far:
    """The other end, and what is known here."""

    section: Section | None = field(
        default_factory=lambda: Section.model_validate({"url": "https://hc.example/canary", "every": "1m"})
    )
    fault: str | None = None
    failure: Exception | None = None
    pings: int = 0

    def __post_init__(self) -> None:
        self.clock = StillClock(BEGAN)
        log, self.lines = captured_log()
        self.heartbeat = Heartbeat(
            ping=self.ping, section=lambda: self.section, fault=lambda: self.fault, clock=self.clock, log=log
        )
        self.clock.seconds += EVERY  # it has run for a while

    async def ping(self, _: Section) -> None:
        if self.failure is not None:
            raise self.failure
        self.pings += 1

    @property
    def said(self) -> list[tuple[Any, Any]]:
        return [(line["log_level"], line["event"]) for line in self.lines]


async def test_it_is_told_at_its_interval_while_all_is_well() -> None:
    far = Far()
    assert [await far.heartbeat.beat() for _ in range(3)] == [EVERY] * 3
    assert (far.pings, far.heartbeat.failure, far.said) == (3, None, [])
    assert far.heartbeat.sent_at == far.clock.monotonic()


async def test_a_daemon_that_dies_again_and_again_never_says_that_all_is_well() -> None:
    for _ in range(10):
        far = Far()
        far.clock.seconds -= 55  # five seconds after its start
        assert await far.heartbeat.beat() == 55
        assert far.pings == 0


async def test_nobody_is_told_where_nobody_is_to_be() -> None:
    far = Far(section=None)
    assert await far.heartbeat.beat() > EVERY
    assert far.pings == 0


async def test_it_is_withheld_while_something_is_wrong_and_that_is_said_once() -> None:
    far = Far(fault="no receiver takes anything")
    for _ in range(3):
        assert await far.heartbeat.beat() == EVERY
    assert (far.pings, far.heartbeat.failure) == (0, "no receiver takes anything")
    far.fault = None
    await far.heartbeat.beat()

    assert far.pings == 1
    assert far.said == [
        ("warning", "heartbeat_withheld"),
        *[("debug", "heartbeat_withheld")] * 2,
        ("info", "heartbeat_sent_again"),
    ]


@pytest.mark.parametrize("failure", [REFUSED, RuntimeError("canary")])
async def test_a_ping_that_fails_is_said_once_and_ends_nothing(failure: Exception) -> None:
    far = Far(failure=failure)
    for _ in range(2):
        assert await far.heartbeat.beat() == EVERY
    assert far.said == [("warning", "heartbeat_failed"), ("debug", "heartbeat_failed")]
    assert far.heartbeat.sent_at is None
    assert "canary" not in str([line["error"] for line in far.lines])


async def test_a_reload_that_takes_it_away_forgets_its_trouble() -> None:
    far = Far(failure=REFUSED)
    await far.heartbeat.beat()
    far.section = None
    await far.heartbeat.beat()
    assert (far.heartbeat.failure, far.heartbeat.sent_at) == (None, None)
