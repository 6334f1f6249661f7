"""Random SIGKILLs under load: a cloud where tasks come and go, the real daemon, and receivers that fail in every way."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.fakes.commands import until
from tests.fakes.daemon import Daemon
from tests.fakes.oracle import violations
from tests.fakes.tasks_endpoint import Row, TasksEndpoint, row
from tests.fakes.webhook_sink import Behaviour, WebhookSink, accept, answer, hang, hang_up

TROUBLE: Final = 0.2  # of the requests to a receiver; ten in a row would be poison
SETTLE_SECONDS: Final = 60.0

CONFIGURATION: Final = """\
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
RECEIVER: Final = (
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
            self.cloud.rows.append(
                a_row(f"old-{number}", self.rng.choice(["Running", "Completed", "Failed"]))
            )
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
                0, a_row(f"new-{number}", self.rng.choice(["Running", "Running", "Completed", "Failed"]))
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


def a_row(job_id: str, status: str) -> Row:
    return row(job_id, status=status, created_at=_now(), ended_at=None if status == "Running" else _now())


def _end(one: Row, status: str) -> None:
    one.update(status=status, ended_at=_now(), fail_reason="no space" if status == "Failed" else None)


async def chaos(scene: Scene, stack: AsyncExitStack, *, kills: int, package: Path | None = None) -> Daemon:
    """Kill the daemon so many times while tasks come and go; leave it running, with no trouble any more."""
    config = await scene.open(stack)
    daemon = Daemon(config, scene.directory / "log", package=package)
    await stack.enter_async_context(daemon)
    await until(
        lambda: any(post.event["type"] == "taskwatch.project.baseline" for post in scene.sinks["good"].posts),
        "the baseline",
        said=daemon.said,
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
