"""Projects that are configured by their name in the cloud, in a daemon as `run` builds it, upon a simulated IAM."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.typing import EventDict

from taskwatch import telemetry
from taskwatch.app import build, opened_store
from taskwatch.config.load import load
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime.daemon import Daemon
from taskwatch.simulator.faults import IAM
from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.builders import captured_log
from tests.fakes.commands import until


@dataclass
class Scene:
    """A configuration whose projects can be written anew: by label, their names in the cloud or their ids."""

    file: Path
    cloud: SimulatedCloud

    def write(self, **projects: Mapping[str, str]) -> None:
        user = self.cloud.identity.user
        login = {"username": user.name, "user_domain_name": user.domain.name, "rate": "1000/s"}
        login |= {
            "type": "password",
            "auth_url": self.cloud.auth_url,
            "password": self.cloud.identity.password(user),
        }
        document = {
            "store": {"path": "taskwatch.db"},
            "credentials": {"otc": login},
            "defaults": {"interval": "100ms", "endpoint": self.cloud.url},
            "projects": [{"name": label, **how} for label, how in projects.items()],
        }
        self.file.write_text(json.dumps(document))

    def named(self, number: int) -> dict[str, str]:
        return {"project": self.cloud.projects[number].iam_name}

    def by_id(self, number: int) -> dict[str, str]:
        return {"project_id": self.cloud.projects[number].project_id}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with SimulatedCloud(seed=1, projects=3, token="t", accounts=Accounts(), tasks_per_day=0) as cloud:
        yield Scene(tmp_path / "taskwatch.yaml", cloud)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    log, lines = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)
    return lines


@asynccontextmanager
async def watching(scene: Scene) -> AsyncIterator[Daemon]:
    config = load(scene.file, kinds())
    stop = asyncio.Event()
    async with opened_store(config) as store, build(config, store=store) as daemon:
        run = asyncio.create_task(daemon.run(stop))
        try:
            yield daemon
        finally:
            stop.set()
            await asyncio.wait_for(run, 20)


def watched(daemon: Daemon) -> set[str]:
    """Return the labels of the projects that were read."""
    return {watch.poller.project.name for watch in daemon.watches if watch.poller.freshness}


def warnings(lines: list[EventDict], event: str) -> list[EventDict]:
    return [line for line in lines if line["event"] == event and line["log_level"] == "warning"]


async def test_a_project_by_name_is_learnt_and_watched_beside_one_by_id(scene: Scene) -> None:
    scene.write(shop=scene.named(0), other=scene.by_id(1))
    async with watching(scene) as daemon:
        await until(lambda: watched(daemon) == {"shop", "other"}, "both projects")
        assert daemon.config.named == ()


async def test_while_iam_is_down_the_login_is_told_of_once_and_the_name_learnt_when_it_is_back(
    scene: Scene, lines: list[EventDict]
) -> None:
    scene.write(shop=scene.named(0))
    scene.cloud.faults.add("503", project_id=IAM, count=1000)
    async with watching(scene) as daemon:
        await until(lambda: warnings(lines, "login_failed") != [], "the trouble")
        for _ in range(3):
            assert set(await daemon.learn_names()) == {"shop"}
        assert watched(daemon) == set()
        assert len(warnings(lines, "login_failed")) == 1
        assert warnings(lines, "project_not_found") == []  # the login has told it, for however many names
        scene.cloud.faults.clear()

        async def learnt() -> None:
            while await daemon.learn_names():  # the pause of the login has to pass first: 5 s
                await asyncio.sleep(0.2)

        await asyncio.wait_for(learnt(), 30)
        await until(lambda: watched(daemon) == {"shop"}, "the project")


async def test_a_reload_keeps_adds_and_removes_projects_by_name(scene: Scene) -> None:
    scene.write(shop=scene.named(0), gone=scene.named(1))
    async with watching(scene) as daemon:
        await until(lambda: watched(daemon) == {"shop", "gone"}, "the first two")
        kept = next(watch for watch in daemon.watches if watch.poller.project.name == "shop")
        scene.write(renamed=scene.named(0), new=scene.named(2))
        await daemon.reload()
        await until(lambda: watched(daemon) == {"renamed", "new"}, "the other two")
        assert kept in daemon.watches, "what was known of it went with its watch"


async def test_two_names_of_one_project_are_watched_once_and_told(
    scene: Scene, lines: list[EventDict]
) -> None:
    scene.write(first=scene.by_id(0), second=scene.named(0))
    async with watching(scene) as daemon:
        await until(lambda: watched(daemon) == {"first"}, "the project")
        await until(lambda: warnings(lines, "project_not_watched") != [], "the other name")
        assert len(daemon.watches) == 1
    (told,) = warnings(lines, "project_not_watched")
    assert "second" in told["problem"]
