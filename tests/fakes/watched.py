"""One watched project: a cloud, a receiver, the real daemon between them, and the oracle over all of it."""

import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.fakes.commands import SECONDS, until
from tests.fakes.daemon import Daemon
from tests.fakes.oracle import violations
from tests.fakes.tasks_endpoint import Row, TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink

CONFIGURATION: Final = """\
store: {{path: {store}}}
log: {{format: json, level: {level}}}
credentials: {{c: {{type: none, rate: 1000/s}}}}
projects:
  - {{name: prod, endpoint: "{cloud}", project_id: "0611f1bd8b00d5d32f17c017f15b599f", interval: 100ms}}
{projects}
receivers:
  - {{name: hook, type: webhook, url: "{sink}", timeout: 5s, retry: {{initial: 50ms, max: 200ms}}}}
{receivers}
"""
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Watched:
    """Tasks that begin and end in `cloud`; `sink` is to be told of each step, in order, and of nothing else."""

    directory: Path
    cloud: TasksEndpoint = field(default_factory=TasksEndpoint)
    sink: WebhookSink = field(default_factory=WebhookSink)
    silent: dict[str, str] = field(default_factory=dict)  # what the baseline holds

    def begin(self, *job_ids: str) -> None:
        now = _now()
        self.cloud.rows += [
            row(job_id, status="Running", created_at=now, ended_at=None) for job_id in job_ids
        ]

    def end(self, *job_ids: str, status: str = "Failed", fail_reason: str = "no space") -> None:
        for one in self.cloud.rows:
            if one["job_id"] in job_ids:
                one.update(_ended(status, fail_reason))

    def configure(
        self,
        *,
        store: Path | str = "taskwatch.db",
        projects: str = "",
        receivers: str = "",
        level: str = "info",
    ) -> Path:
        """Write the configuration, with more entries if any; what is listed now is the baseline's."""
        self.silent = {one["job_id"]: one["status"] for one in self.cloud.rows}
        file = self.directory / "taskwatch.yaml"
        file.write_text(
            CONFIGURATION.format(
                store=store,
                cloud=self.cloud.url,
                sink=self.sink.url,
                projects=projects,
                receivers=receivers,
                level=level,
            )
        )
        return file

    def daemon(self, *under: str) -> Daemon:
        return Daemon(self.directory / "taskwatch.yaml", self.directory / "log", under=under)

    def violations(self) -> list[str]:
        return violations(
            {"hook": [(post.id, post.body) for post in self.sink.accepted]},
            last={one["job_id"]: one["status"] for one in self.cloud.rows},
            served=self.cloud.served,
            silent=self.silent,
        )

    async def baseline(self, daemon: Daemon) -> None:
        await until(lambda: len(self.sink.accepted) > 0, "the baseline", said=daemon.said)

    async def told(self, daemon: Daemon, *, seconds: float = SECONDS) -> None:
        """Wait until all is told; fail with what is wrong if it never is."""
        await until(
            lambda: not self.violations(),
            "all told",
            said=lambda: f"{daemon.said()}{self.violations()}",
            seconds=seconds,
        )

    def told_twice(self) -> list[str]:
        counts = Counter(post.id for post in self.sink.accepted)
        return [id_ for id_, count in counts.items() if count > 1]

    def told_besides(self) -> list[str]:
        """Return the types of the events that are about no task, in the order in which they were told first."""
        types = {post.id: post.event["type"] for post in self.sink.accepted}
        return [name.removeprefix("taskwatch.") for name in types.values() if ".task." not in name]


@asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[Watched]:
    """Serve a cloud and a receiver on loopback."""
    async with AsyncExitStack() as stack:
        place = Watched(directory)
        await stack.enter_async_context(place.cloud)
        await stack.enter_async_context(place.sink)
        yield place


def lines(daemon: Daemon) -> Iterator[dict[str, Any]]:
    """Yield what the daemon logged; not what other programs said on its standard error."""
    for line in daemon.said().splitlines():
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)


def pid_of(daemon: Daemon) -> int:
    assert daemon.process is not None
    return daemon.process.pid


def cpu_seconds(daemon: Daemon) -> float:
    fields = Path(f"/proc/{pid_of(daemon)}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _ended(status: str, fail_reason: str) -> Row:
    reason = fail_reason if status == "Failed" else None
    return {"status": status, "ended_at": _now(), "fail_reason": reason}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
