import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from taskwatch import telemetry
from taskwatch.runtime.systemd import Systemd, feed
from tests.fakes.virtual_time import in_virtual_time, virtual_clock


class Manager:
    """The socket of a service manager, at a path or in the abstract namespace (@…)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def told(self) -> list[list[str]]:
        """Return the lines of each datagram since the last time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65_536).decode().split("\n"))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    opened = Manager(str(tmp_path / "notify"))
    yield opened
    opened.close()


def test_ready_comes_with_a_status_in_one_datagram(manager: Manager) -> None:
    Systemd(address=manager.address).ready("watching 3 projects")
    assert manager.told() == [["READY=1", "STATUS=watching 3 projects"]]


def test_each_message_is_what_the_manual_says(manager: Manager) -> None:
    systemd = Systemd(address=manager.address)
    systemd.status("all is well")
    systemd.stopping()
    systemd.alive()
    assert manager.told() == [["STATUS=all is well"], ["STOPPING=1"], ["WATCHDOG=1"]]


def test_a_reload_is_told_with_the_monotonic_clock_in_microseconds(manager: Manager) -> None:
    before = time.monotonic_ns() // 1000
    Systemd(address=manager.address).reloading()
    [[reloading, monotonic]] = manager.told()
    assert reloading == "RELOADING=1"
    name, _, value = monotonic.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_an_abstract_name_is_reached() -> None:
    manager = Manager(f"@taskwatch/{os.getpid()}/notify")
    try:
        Systemd(address=manager.address).stopping()
        assert manager.told() == [["STOPPING=1"]]
    finally:
        manager.close()


@pytest.mark.parametrize("text", ["one\nREADY=1", "one\u2028two", "red \x1b[31m", "\ud800", "x" * 100_000])
def test_a_status_is_one_short_harmless_line(manager: Manager, text: str) -> None:
    Systemd(address=manager.address).status(text)
    [[status]] = manager.told()
    assert status.startswith("STATUS=")
    assert status.isprintable()
    assert len(status) < 300


def test_without_a_manager_nothing_is_told() -> None:
    systemd = Systemd.from_environment({})
    systemd.ready("ready")
    systemd.alive()
    assert systemd.watchdog_seconds is None


@pytest.mark.parametrize(
    "address", ["", "@", "/nowhere/notify", "/dev/null", "relative", "/x" * 200, "vsock:2:3"]
)
def test_a_manager_that_cannot_be_reached_is_no_error(address: str) -> None:
    Systemd(address=address).ready("ready")


def test_a_manager_that_does_not_read_blocks_nothing_and_learns_the_rest_when_it_does(
    manager: Manager,
) -> None:
    systemd = Systemd(address=manager.address)
    for _ in range(1_000):
        systemd.status("waiting for the disk")
    systemd.ready("watching")
    systemd.alive()
    manager.told()

    systemd.alive()
    assert manager.told() == [["READY=1", "STATUS=watching", "WATCHDOG=1"]]


def test_of_what_could_not_be_told_the_last_word_stands_last(tmp_path: Path) -> None:
    systemd = Systemd(address=str(tmp_path / "notify"))
    systemd.ready("watching")
    systemd.reloading()
    systemd.ready("watching anew")
    manager = Manager(str(tmp_path / "notify"))
    systemd.alive()
    [lines] = manager.told()
    manager.close()
    assert [line.partition("=")[0] for line in lines] == [
        "RELOADING", "MONOTONIC_USEC", "READY", "STATUS", "WATCHDOG",
    ]  # fmt: skip
    assert "STATUS=watching anew" in lines


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_the_watchdog_time_counts_when_it_is_meant_for_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert Systemd.from_environment(environ).watchdog_seconds == seconds


class Progress:
    """Something that can be made to hang, and the seconds at which it was asked."""

    def __init__(self) -> None:
        self.hangs: str | None = None
        self.asked: list[float] = []
        self._clock = virtual_clock()

    def __call__(self) -> str | None:
        self.asked.append(self._clock.elapsed)
        return self.hangs


class CountingSystemd(Systemd):
    """A manager that counts its feedings: virtual time has no sockets."""

    fed = 0

    def alive(self) -> None:
        self.fed += 1


@in_virtual_time
async def test_while_all_makes_progress_the_watchdog_is_fed_each_third_of_its_time() -> None:
    systemd, progress = CountingSystemd(watchdog_seconds=60.0), Progress()
    feeding = asyncio.create_task(feed(systemd, progress, log=telemetry.logger()))
    await asyncio.sleep(61)
    feeding.cancel()
    assert progress.asked == [0.0, 20.0, 40.0, 60.0]
    assert systemd.fed == 4


@in_virtual_time
async def test_what_hangs_is_not_fed_and_named_once_until_it_goes_on() -> None:
    systemd, progress = CountingSystemd(watchdog_seconds=60.0), Progress()
    with capture_logs() as logs:
        feeding = asyncio.create_task(feed(systemd, progress, log=telemetry.logger()))
        await asyncio.sleep(10)
        progress.hangs = "the poll of prod"
        await asyncio.sleep(60)
        fed_while_hanging = systemd.fed
        progress.hangs = None
        await asyncio.sleep(40)
        feeding.cancel()
    assert (fed_while_hanging, systemd.fed) == (1, 3)
    assert logs == [
        {"event": "watchdog_not_fed", "log_level": "error", "hangs": "the poll of prod"},
        {"event": "watchdog_fed_again", "log_level": "info"},
    ]


@in_virtual_time
async def test_without_a_watchdog_nothing_is_asked_and_the_feeding_never_ends() -> None:
    systemd, progress = CountingSystemd(), Progress()
    feeding = asyncio.create_task(feed(systemd, progress, log=telemetry.logger()))
    await asyncio.sleep(86_400)
    assert not feeding.done()
    feeding.cancel()
    assert (progress.asked, systemd.fed) == ([], 0)
