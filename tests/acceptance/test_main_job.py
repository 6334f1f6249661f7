"""What taskwatch is for, with three processes: a cloud, the daemon with ten lines of configuration, a receiver."""

import asyncio
import json
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.fakes.commands import listening, until
from tests.fakes.daemon import Daemon

pytestmark = pytest.mark.real

CONFIGURATION: Final = """\
store: {{path: taskwatch.db}}
credentials:
  simulated: {{type: token, token: simulated-token, rate: 200/s}}
projects:
  - {{name: {names[0]}, endpoint: "{cloud}", project_id: {ids[0]}, interval: 400ms}}
  - {{name: {names[1]}, endpoint: "{cloud}", project_id: {ids[1]}, interval: 400ms}}
receivers:
  - {{name: pipeline, type: webhook, url: "{receiver}"}}
"""
SPEED: Final = 1800  # simulated seconds a second: an hour of the cloud passes in two
ENDED: Final = ("Completed", "Failed", "Canceled")


@dataclass
class Scene:
    """The three of them, and what each says happened."""

    cloud: str
    session: aiohttp.ClientSession
    file: Path  # what the receiver heard
    daemon: Daemon

    async def until(self, claim: Callable[[], bool], what: str) -> None:
        await until(claim, what, said=self.daemon.said)

    async def truth(self) -> dict[str, Any]:
        async with self.session.get(f"{self.cloud}/_simulator/truth") as answer:
            told: dict[str, Any] = await answer.json()
        return told

    async def now(self) -> str:
        return str((await self.truth())["now"])

    async def provoke(self, **wanted: object) -> str:
        async with self.session.post(f"{self.cloud}/_simulator/tasks", json=wanted) as answer:
            return str((await answer.json())["task"]["job_id"])

    async def has_ended(self, job_id: str) -> bool:
        return any(
            one["job_id"] == job_id and one["to"] in ENDED for one in (await self.truth())["transitions"]
        )

    async def ended(self, *, since: str) -> dict[str, str]:
        """Return how the tasks ended that did so after that moment of the cloud."""
        happened = (await self.truth())["transitions"]
        return {one["job_id"]: one["to"] for one in happened if one["at"] > since and one["to"] in ENDED}

    async def have_ended(self, count: int, *, since: str) -> bool:
        return len(await self.ended(since=since)) >= count

    def heard(self) -> list[dict[str, Any]]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [json.loads(line) for line in lines]

    def transitions(self, job_id: str) -> list[dict[str, Any]]:
        told = [line["event"] for line in self.heard() if line["event"]["subject"] == job_id]
        return [event["data"]["transition"] for event in told if "transition" in event["data"]]

    def ends(self) -> dict[str, list[str]]:
        """Return what was told of the end of each task."""
        ends = defaultdict(list)
        for line in self.heard():
            step = line["event"]["data"].get("transition")
            if step is not None and step["to"] in ENDED:
                ends[line["event"]["subject"]].append(step["to"])
        return ends

    def baselines(self) -> int:
        return sum(line["event"]["type"] == "taskwatch.project.baseline" for line in self.heard())


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        file = tmp_path / "heard.jsonl"
        cloud = await stack.enter_async_context(
            listening(
                "-m", "taskwatch", "simulate", "--listen", "127.0.0.1:0", "--seed", "5", "--projects", "2",
                "--speed", str(SPEED), "--tasks-per-day", "30",
                cwd=tmp_path,
            )
        )  # fmt: skip
        receiver = await stack.enter_async_context(
            listening("-m", "tests.fakes.webhook_file", str(file), cwd=tmp_path)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        async with session.get(f"{cloud}/_simulator/projects") as answer:
            projects = (await answer.json())["projects"]
        config = tmp_path / "taskwatch.yaml"
        config.write_text(
            CONFIGURATION.format(
                cloud=cloud,
                receiver=receiver,
                names=[project["name"] for project in projects],
                ids=[project["project_id"] for project in projects],
            )
        )
        daemon = Daemon(config, tmp_path / "log")
        scene = Scene(cloud, session, file, daemon)
        yield scene
        if daemon.process is not None:
            await daemon.kill()


async def test_every_task_that_ends_is_told_once_and_rightly_and_nothing_else_is(scene: Scene) -> None:
    before = await scene.now()
    await scene.daemon.start()
    await scene.until(lambda: scene.baselines() == 2, "two baselines")
    after = await scene.now()

    failing = await scene.provoke(outcome="Failed", seconds=2 * SPEED, fail_reason="damaged: block 7")
    passing = await scene.provoke(seconds=2 * SPEED)
    await scene.until(lambda: {failing, passing} <= scene.ends().keys(), "the end of what was provoked")
    async for _ in _until_it(lambda: scene.have_ended(5, since=after)):
        pass
    due = await scene.ended(since=after)
    await scene.until(lambda: due.keys() <= scene.ends().keys(), "the end of all that ended")

    assert await scene.daemon.kill(signal.SIGTERM) == 0

    ends = scene.ends()
    assert {job_id: ends[job_id] for job_id in due} == {job_id: [to] for job_id, to in due.items()}
    assert {failing, passing} < due.keys()
    lived = {
        (one["job_id"], one["to"]) for one in (await scene.truth())["transitions"] if one["at"] >= before
    }
    told = {
        (line["event"]["subject"], step["to"]) for line in scene.heard() if (step := _step(line)) is not None
    }
    assert told - lived == set(), "told of what had ended before the first poll, or never was"
    assert [step["from"] for step in scene.transitions(failing)] == [None, "Running"]
    assert [step["to"] for step in scene.transitions(failing)] == ["Running", "Failed"]
    assert [step["to"] for step in scene.transitions(passing)] == ["Running", "Completed"]
    _assert_sound(scene)


async def test_what_happened_while_it_was_stopped_is_told_late_by_the_next_start_and_nothing_twice(
    scene: Scene,
) -> None:
    await scene.daemon.start()
    await scene.until(lambda: scene.baselines() == 2, "two baselines")
    running = await scene.provoke(outcome="Failed", seconds=3 * SPEED)
    await scene.until(lambda: bool(scene.transitions(running)), "the start of what was provoked")
    assert await scene.daemon.kill(signal.SIGTERM) == 0
    told = len(scene.heard())

    unseen = await scene.provoke(seconds=0.2 * SPEED)
    async for _ in _until_it(lambda: scene.has_ended(running)):
        assert len(scene.heard()) == told, "told while it was stopped"
    await scene.daemon.start()
    await scene.until(lambda: {running, unseen} <= scene.ends().keys(), "the end of both")
    assert await scene.daemon.kill(signal.SIGTERM) == 0

    started, ended = scene.transitions(running)
    assert (started["late"], ended["late"]) == (False, True)
    assert (ended["from"], ended["to"]) == ("Running", "Failed")
    (net,) = scene.transitions(unseen)
    assert (net["from"], net["to"], net["late"]) == (None, "Completed", True)
    assert scene.baselines() == 2
    _assert_sound(scene)


def _assert_sound(scene: Scene) -> None:
    """No id twice, and each chain without a gap."""
    ids = Counter(line["id"] for line in scene.heard())
    assert [id_ for id_, copies in ids.items() if copies > 1] == []
    chains = defaultdict(list)
    for line in scene.heard():
        if (step := _step(line)) is not None:
            chains[line["event"]["subject"]].append(step)
    for job_id, chain in chains.items():
        for one, next_ in pairwise(chain):
            assert (next_["from"], next_["revision"]) == (one["to"], one["revision"] + 1), job_id


def _step(line: dict[str, Any]) -> dict[str, Any] | None:
    step: dict[str, Any] | None = line["event"]["data"].get("transition")
    return step


async def _until_it(claim: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Yield until the claim holds, within a bound."""
    async with asyncio.timeout(30):
        while not await claim():
            yield
            await asyncio.sleep(0.05)
