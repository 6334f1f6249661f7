"""A daemon as `run` builds it, upon a configuration that a test writes, a cloud and a webhook receiver on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskwatch.app import build, opened_store
from taskwatch.config.load import load
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime.daemon import Daemon
from tests.fakes.commands import until
from tests.fakes.tasks_endpoint import TasksEndpoint
from tests.fakes.webhook_sink import WebhookSink


@dataclass
class Scene:
    """A configuration that can be written anew, and where it stands."""

    directory: Path
    cloud: TasksEndpoint
    sink: WebhookSink
    receivers: dict[str, str] = field(default_factory=dict)  # name → path at the sink
    others: list[dict[str, Any]] = field(default_factory=list)  # receivers of other kinds
    projects: dict[str, str] = field(default_factory=lambda: {"prod": "1"})  # name → id
    interval: str = "100ms"
    tasks: str = "{}"
    horizon: str = "72h"
    secret: list[str] = field(default_factory=list)  # with which each receiver's messages are signed

    @property
    def file(self) -> Path:
        return self.directory / "taskwatch.yaml"

    @property
    def store(self) -> Path:
        return self.directory / "taskwatch.db"

    def write(self) -> None:
        receivers = [
            {
                "name": name,
                "type": "webhook",
                "url": self.sink.url + path,
                "retry": {"initial": "50ms", "max": "100ms", "horizon": self.horizon},
                **({"secret": self.secret} if self.secret else {}),
            }
            for name, path in self.receivers.items()
        ]
        projects = [
            {"name": name, "endpoint": self.cloud.url, "project_id": id_}
            for name, id_ in self.projects.items()
        ]
        self.file.write_text(
            f"store: {{path: taskwatch.db}}\n"
            f"credentials: {{c: {{type: none, rate: 1000/s}}}}\n"
            f"defaults: {{interval: {self.interval}, tasks: {self.tasks}}}\n"
            f"projects: {json.dumps(projects)}\n"
            f"receivers: {json.dumps([*receivers, *self.others])}\n"
        )


@asynccontextmanager
async def watching(scene: Scene) -> AsyncIterator[Daemon]:
    """Run the daemon until the block ends; the first poll of each project is over when it begins."""
    config = load(scene.file, kinds())
    stop = asyncio.Event()
    async with opened_store(config) as store, build(config, store=store) as daemon:
        run = asyncio.create_task(daemon.run(stop))
        try:
            await until(
                lambda: run.done() or all(watch.poller.freshness for watch in daemon.watches), "polls"
            )
            yield daemon
        finally:
            stop.set()
            await asyncio.wait_for(run, 20)


def posted(sink: WebhookSink, path: str) -> list[dict[str, Any]]:
    return [post.event for post in sink.accepted if post.path.endswith(path)]


def subjects(events: list[dict[str, Any]]) -> list[str]:
    return [event["subject"] for event in events if "task" in event["data"]]
