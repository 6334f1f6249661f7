"""Credentials over a reload: those that stay keep their tokens, those that go or change are let go of."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import structlog

from taskwatch.app.clouds import Clouds, opened_clouds
from taskwatch.clock import SystemClock
from taskwatch.config.configuration import Config
from taskwatch.config.load import load
from taskwatch.engine.ports import Ask
from taskwatch.errors import CloudError
from taskwatch.notifiers.registry import kinds
from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.iam_server import IamServer

PASSWORD: Final = "a-right-password"


@pytest.fixture
async def cloud() -> AsyncIterator[SimulatedCloud]:
    async with SimulatedCloud(seed=1, projects=2, accounts=Accounts(password=PASSWORD)) as opened:
        yield opened


@pytest.fixture
async def clouds() -> AsyncIterator[Clouds]:
    async with opened_clouds(SystemClock(), structlog.get_logger()) as opened:
        yield opened


def configured(
    directory: Path,
    cloud: SimulatedCloud,
    *,
    name: str = "otc",
    rate: str = "20/s",
    auth_url: str | None = None,
) -> Config:
    path = directory / "taskwatch.yaml"
    path.write_text(f"""
credentials:
  {name}: {{type: password, auth_url: "{auth_url or cloud.auth_url}", username: taskwatch,
    user_domain_name: {cloud.identity.home.name}, password: {PASSWORD}, rate: {rate}}}
projects:
  - {{name: prod, endpoint: "{cloud.url}", project_id: {cloud.projects[0].project_id}}}
""")
    return load(path, kinds())


async def polled(clouds: Clouds, config: Config) -> int:
    await clouds.settle(config)
    return (await clouds.source(config.projects[0], config).fetch(Ask())).rows


async def test_a_reload_that_changes_nothing_of_a_credential_but_its_rate_needs_no_login(
    cloud: SimulatedCloud, clouds: Clouds, tmp_path: Path
) -> None:
    for rate in ("20/s", "20/s", "10/s"):
        assert await polled(clouds, configured(tmp_path, cloud, rate=rate))
    assert sum(cloud.counters.logins_granted.values()) == 1


async def test_a_credential_that_is_renamed_logs_in_anew_and_one_that_is_spelt_otherwise_does_not(
    cloud: SimulatedCloud, clouds: Clouds, tmp_path: Path
) -> None:
    for name, auth_url in (
        ("otc", cloud.auth_url),
        ("other", cloud.auth_url),
        ("other", f"{cloud.auth_url}/"),
    ):
        assert await polled(clouds, configured(tmp_path, cloud, name=name, auth_url=auth_url))
    assert sum(cloud.counters.logins_granted.values()) == 2


async def test_a_login_under_way_ends_when_its_credential_goes(
    cloud: SimulatedCloud, clouds: Clouds, tmp_path: Path
) -> None:
    async with IamServer() as silent:
        silent.answer = silent.silence
        config = configured(tmp_path, cloud, auth_url=silent.auth_url)
        poll = asyncio.create_task(polled(clouds, config))
        while not silent.asked:
            await asyncio.sleep(0.01)
        await clouds.settle(configured(tmp_path, cloud, name="other"))
        with pytest.raises(CloudError, match="not in use any more"):
            await poll
