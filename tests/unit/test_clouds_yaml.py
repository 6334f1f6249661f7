"""clouds.yaml is looked at beside the loop, once a second at most, and a file system that hangs takes nothing away."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import structlog

from taskwatch.cloud.auth import beside, clouds, places
from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.auth.clouds import OpenstackCloud
from taskwatch.errors import CloudCause, CloudError
from tests.fakes.records import StillClock

# openstacksdk warns of itself wherever it is used.
pytestmark = pytest.mark.filterwarnings("ignore:Support for InfluxDB")

ENTRY: Final = "clouds: {mine: {region_name: %s, auth: {auth_url: 'https://iam.example/v3'}}}"


class CloudsYaml:
    """The file, as its owner changes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> None:
        self._path.write_text(text)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Have whoever opens it wait, as for a file server that is gone."""
        self._path.unlink()
        os.mkfifo(self._path)
        try:
            yield
        finally:
            os.close(os.open(self._path, os.O_RDWR | os.O_NONBLOCK))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CloudsYaml:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    file = CloudsYaml(tmp_path / "clouds.yaml")
    file.write(ENTRY % "eu-de")
    return file


def _cloud(clock: StillClock) -> OpenstackCloud:
    log = structlog.get_logger()
    return OpenstackCloud("mine", account=Account(name="otc", clock=clock, log=log), clock=clock, log=log)


def _counted(monkeypatch: pytest.MonkeyPatch, look: Callable[[], str]) -> list[threading.Thread]:
    threads: list[threading.Thread] = []

    def fingerprint() -> str:
        threads.append(threading.current_thread())
        return look()

    monkeypatch.setattr(clouds, "fingerprint", fingerprint)
    return threads


@pytest.mark.usefixtures("file")
async def test_however_many_ask_the_files_are_looked_at_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = _counted(monkeypatch, places.fingerprint)
    clock = StillClock()
    cloud = _cloud(clock)
    for seconds in (0.0, 0.9, 1.0, 1.9, 2.0):
        clock.seconds = seconds
        await asyncio.gather(*(cloud.entry() for _ in range(20)))
    assert len(looks) == 3


@pytest.mark.usefixtures("file")
async def test_the_loop_opens_none_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = _counted(monkeypatch, places.fingerprint)
    cloud = _cloud(StillClock())
    login = cloud.login("0611f1bd")
    with pytest.raises(CloudError):  # the entry says no user
        await login.token()
    await login.close()
    assert len(looks) == 1
    assert threading.current_thread() not in looks


async def test_a_changed_entry_counts_a_second_later(file: CloudsYaml) -> None:
    clock = StillClock()
    cloud = _cloud(clock)
    before, state = await cloud.entry(), cloud.state
    file.write(ENTRY % "eu-nl")
    clock.seconds += 1
    after = await cloud.entry()
    assert (before.region, after.region) == ("eu-de", "eu-nl")
    assert cloud.state != state


async def test_an_entry_that_was_wrong_is_read_again_when_it_changes(file: CloudsYaml) -> None:
    file.write("clouds: {other: {}}")
    clock = StillClock()
    cloud = _cloud(clock)
    for _ in range(2):
        with pytest.raises(CloudError, match=r"^credential otc: cloud mine of clouds\.yaml.*was not found"):
            await cloud.entry()
        clock.seconds += 1
    file.write(ENTRY % "eu-de")
    assert (await cloud.entry()).region == "eu-de"


async def test_while_the_file_system_hangs_what_was_read_before_goes_on(
    file: CloudsYaml, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StillClock()
    cloud = _cloud(clock)
    known = await cloud.entry()
    monkeypatch.setattr(beside, "LOGIN_SECONDS", 0.01)
    with file.hanging():
        for _ in range(3):
            clock.seconds += 1
            assert await cloud.entry() == known


async def test_a_file_system_that_hangs_from_the_start_is_told(
    file: CloudsYaml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LOGIN_SECONDS", 0.01)
    hanging, told = file.hanging(), pytest.raises(CloudError, match=r"^credential otc: clouds\.yaml: ")
    with hanging, told as error:
        await _cloud(StillClock()).entry()
    assert error.value.cause is CloudCause.TIMEOUT
