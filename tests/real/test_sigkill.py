"""SIGKILL at random under load, with receivers that fail, time out after accepting and lose acknowledgements."""

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

import taskwatch
from tests.fakes.commands import until
from tests.fakes.daemon import Daemon
from tests.fakes.oracle import violations
from tests.fakes.tasks_endpoint import Row, TasksEndpoint, row
from tests.fakes.watched import pid_of, watched
from tests.fakes.webhook_sink import Behaviour, WebhookSink, accept, answer, hang, hang_up

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("TASKWATCH_KILLS", "30"))
SEED = int(os.environ.get("TASKWATCH_SEED", "1"))
TROUBLE = 0.2  # of the requests to a receiver; ten in a row would be poison
SETTLE_SECONDS = 60.0

CONFIGURATION = """\
store: {{path: {directory}/taskwatch.db}}
credentials:
  c: {{type: token, token: t, rate: 1000/s}}
projects:
  - {{name: p, endpoint: "{cloud}", project_id: 0611f1bd8b00d5d32f17c017f15b599f, interval: 200ms}}
receivers:
{receivers}
route:
  receivers: [{names}]
"""
RECEIVER = (
    '  - {{name: {name}, type: webhook, url: "{url}", timeout: 500ms, retry: {{initial: 100ms, max: 1s}}}}'
)


@dataclass
class Scene:
    """A cloud where tasks come and go, and four receivers, three of them bad."""

    directory: Path
    rng: random.Random
    cloud: TasksEndpoint = field(default_factory=lambda: TasksEndpoint(token="t"))
    sinks: dict[str, WebhookSink] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    has_trouble: bool = True

    async def open(self, stack: AsyncExitStack) -> Path:
        bad: dict[str, Behaviour] = {
            "good": accept,
            "failing": answer(500),
            "deaf": hang,
            "forgetful": hang_up,
        }
        await stack.enter_async_context(self.cloud)
        for name, trouble in bad.items():
            sink = WebhookSink(choose=self._choice(trouble))
            self.sinks[name] = await stack.enter_async_context(sink)
        for number in range(5):
            self.cloud.rows.append(_row(f"old-{number}", self.rng.choice(["Running", "Completed", "Failed"])))
        self.silent = {one["job_id"]: one["status"] for one in self.cloud.rows}
        path = self.directory / "taskwatch.yaml"
        path.write_text(
            CONFIGURATION.format(
                directory=self.directory,
                cloud=self.cloud.url,
                receivers="\n".join(RECEIVER.format(name=n, url=s.url) for n, s in self.sinks.items()),
                names=", ".join(self.sinks),
            )
        )
        return path

    def _choice(self, trouble: Behaviour) -> Callable[[], Behaviour]:
        return lambda: trouble if self.has_trouble and self.rng.random() < TROUBLE else accept

    async def live(self) -> None:
        """Let tasks begin and end, and now and then begin anew, until cancelled."""
        for number in range(1_000_000):
            await asyncio.sleep(0.05)
            self.step(number)

    def step(self, number: int) -> None:
        choice = self.rng.random()
        running = [one for one in self.cloud.rows if one["status"] == "Running"]
        if choice < 0.3 and len(self.cloud.rows) < 250:
            self.cloud.rows.insert(
                0, _row(f"new-{number}", self.rng.choice(["Running", "Running", "Completed", "Failed"]))
            )
        elif choice < 0.6 and running:
            _end(self.rng.choice(running), self.rng.choice(["Completed", "Failed"]))
        elif choice < 0.62:
            failed = [one for one in self.cloud.rows if one["status"] == "Failed"]
            if failed:
                self.rng.choice(failed).update(status="Running", ended_at=None, fail_reason=None)

    def violations(self) -> list[str]:
        return violations(
            {name: [(post.id, post.body) for post in sink.accepted] for name, sink in self.sinks.items()},
            last={one["job_id"]: one["status"] for one in self.cloud.rows},
            served=self.cloud.served,
            silent=self.silent,
        )

    async def settled(self) -> list[str]:
        """Wait until nothing is broken any more; return what still is."""
        until = time.monotonic() + SETTLE_SECONDS
        while (found := self.violations()) and time.monotonic() < until:
            await asyncio.sleep(0.2)
        return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _row(job_id: str, status: str) -> Row:
    return row(job_id, status=status, created_at=_now(), ended_at=None if status == "Running" else _now())


def _end(one: Row, status: str) -> None:
    one.update(status=status, ended_at=_now(), fail_reason="no space" if status == "Failed" else None)


async def _until(claim: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until, f"waited {seconds:g} s in vain: {what}"
        await asyncio.sleep(0.05)


async def _chaos(scene: Scene, stack: AsyncExitStack, *, kills: int, package: Path | None = None) -> Daemon:
    """Kill the daemon so many times while tasks come and go; leave it running, with no trouble any more."""
    config = await scene.open(stack)
    daemon = Daemon(config, scene.directory / "log", package=package)
    await stack.enter_async_context(daemon)
    await _until(
        lambda: any(post.event["type"] == "taskwatch.project.baseline" for post in scene.sinks["good"].posts),
        f"the baseline\n{daemon.said()}",
    )
    life = asyncio.create_task(scene.live())
    try:
        for _ in range(kills):
            await asyncio.sleep(scene.rng.uniform(0.4, 1.6))
            await daemon.kill()
            await daemon.start()
    finally:
        life.cancel()
    scene.has_trouble = False
    return daemon


async def test_after_random_kills_under_load_nothing_is_lost_nothing_false_and_order_is_kept(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        scene = Scene(tmp_path, random.Random(SEED))
        daemon = await _chaos(scene, stack, kills=KILLS)

        assert await scene.settled() == [], (
            f"TASKWATCH_SEED={SEED} TASKWATCH_KILLS={KILLS}\n{daemon.said()[-3000:]}"
        )
        assert len(scene.sinks["good"].accepted) > 3 * KILLS, (
            "too little happened for this test to mean anything"
        )

        # And the daemon still works: a fresh change arrives everywhere.
        scene.cloud.rows.insert(0, _row("fresh", "Failed"))
        await _until(
            lambda: all(
                any(post.event["subject"] == "fresh" for post in sink.accepted)
                for sink in scene.sinks.values()
            ),
            "a fresh change at every receiver",
            seconds=10.0,
        )


async def test_a_kill_between_a_2xx_and_its_record_makes_one_copy_of_the_same_id_and_bytes(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as place:
        place.begin("job")
        place.configure()
        async with place.daemon() as daemon:
            await place.baseline(daemon)

            async def take_and_kill(_: web.Request) -> web.StreamResponse:
                os.kill(pid_of(daemon), signal.SIGSTOP)  # what it is answered from now on it never reads
                return web.Response(status=204)

            place.sink.choose = lambda: take_and_kill
            place.end("job")
            await until(lambda: len(place.sink.posts) == 2, "the failure", said=daemon.said)
            await asyncio.sleep(0.2)  # the answer is on its way
            await daemon.kill()
        place.sink.choose = lambda: accept
        async with place.daemon() as daemon:
            await place.told(daemon)
            await asyncio.sleep(1.0)
        _, first, second = place.sink.posts
        assert (first.id, first.body) == (second.id, second.body)


ACKNOWLEDGE_FIRST = (
    "        failure = await self._send(item, body)\n",
    """\
        from taskwatch.model.delivery import Delivered as _Delivered
        await self._outbox.record(item.id, _Delivered(), self._clock.now())
        failure = await self._send(item, body)
""",
)


async def test_the_oracle_goes_red_when_the_acknowledgement_is_written_before_the_send(
    tmp_path: Path,
) -> None:
    package = tmp_path / "planted"
    shutil.copytree(Path(taskwatch.__file__).parent, package / "taskwatch")
    lane = package / "taskwatch" / "engine" / "lane.py"
    right, wrong = ACKNOWLEDGE_FIRST
    source = lane.read_text()
    assert source.count(right) == 1, "the planted bug no longer fits the code"
    lane.write_text(source.replace(right, wrong))

    async with AsyncExitStack() as stack:
        scene = Scene(tmp_path, random.Random(SEED))
        await _chaos(scene, stack, kills=4, package=package)
        await asyncio.sleep(3)  # more than any retry takes

        assert any("lost" in violation or "last told" in violation for violation in scene.violations())
