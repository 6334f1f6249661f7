"""What is wrong, and what the daemon says of it: health, readiness, heartbeat, metrics and page, in one table.

The daemon is a process of its own. Each row breaks one thing, waits until every one of the five says what the row
says, mends it, and waits until they say again that all is well.
"""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.fakes.commands import until
from tests.fakes.daemon import Daemon
from tests.fakes.small_disk import SmallDisk
from tests.fakes.tasks_endpoint import TasksEndpoint, silence
from tests.fakes.watched import Watched, lines
from tests.fakes.webhook_sink import WebhookSink, accept, hang

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

A_WHILE: Final = 3.0  # seconds, in which nothing must happen: several heartbeats
ASKING_SECONDS: Final = 2.0  # for one answer; a process that stands still gives none
CONFIGURATION: Final = """\
store: {{path: {directory}/small/taskwatch.db}}
log: {{format: json}}
server: {{listen: "127.0.0.1:0"}}
heartbeat: {{url: "{sink}/beat", every: 1s}}
credentials: {{otc: {{type: token, token: first, rate: 1000/s}}}}
defaults: {{interval: 200ms, timeout: 500ms}}
projects: [{{name: prod, endpoint: "{cloud}", project_id: "0611f1bd8b00d5d32f17c017f15b599f"}}]
receivers:
  - {{name: pager, type: webhook, url: "{sink}/pager", timeout: 500ms, retry: {{initial: 100ms, max: 200ms}}}}
  - {{name: chat, type: webhook, url: "{sink}/chat", timeout: 500ms, retry: {{initial: 100ms, max: 200ms}}}}
"""
NOBODY: Final = "no answer"


@dataclass
class Stage:
    """The daemon, what it talks to, and its small disk."""

    place: Watched
    disk: SmallDisk
    daemon: Daemon
    session: aiohttp.ClientSession
    deaf: set[str] = field(default_factory=set)  # receivers that hang
    url: str = ""

    async def ask(self, path: str) -> str:
        try:
            async with self.session.get(self.url + path) as response:
                return await response.text()
        except (TimeoutError, aiohttp.ClientError):
            return NOBODY

    def beats(self) -> int:
        return sum(post.path.endswith("/beat") for post in self.place.sink.posts)

    def told(self) -> None:
        """Let there be something to tell."""
        self.place.begin(f"job-{len(self.place.cloud.rows)}")


@dataclass(frozen=True)
class Fault:
    """A row of the table. `metric` is a line of /metrics; `page` stands in the page."""

    breaks: Callable[[Stage], None]
    mends: Callable[[Stage], None]
    page: str
    metric: str
    healthy: str = "healthy\n"
    ready: str = "ready\n"
    beats: bool = True


def hung_project(stage: Stage) -> None:
    stage.place.cloud.always = silence()


def refused_login(stage: Stage) -> None:
    stage.place.cloud.token = "second"


def working_cloud(stage: Stage) -> None:
    stage.place.cloud.always = None
    stage.place.cloud.token = "first"


def hung_receiver(stage: Stage) -> None:
    stage.deaf = {"/pager"}
    stage.told()


def hung_receivers(stage: Stage) -> None:
    stage.deaf = {"/pager", "/chat"}
    stage.told()


def working_receivers(stage: Stage) -> None:
    stage.deaf = set()


def full_disk(stage: Stage) -> None:
    stage.disk.seen_by(stage.daemon, "taskwatch.db.reserve").unlink()
    stage.disk.fill(stage.daemon)
    stage.told()


def free_disk(stage: Stage) -> None:
    stage.disk.free(stage.daemon)


def standing_still(stage: Stage) -> None:
    assert stage.daemon.process is not None
    stage.daemon.process.send_signal(signal.SIGSTOP)


def going_on(stage: Stage) -> None:
    assert stage.daemon.process is not None
    if stage.daemon.process.returncode is None:
        stage.daemon.process.send_signal(signal.SIGCONT)


FAULTS: Final = {
    "a project hangs": Fault(
        hung_project, working_cloud, "Project prod cannot be read", 'taskwatch_project_up{project="prod"} 0.0'
    ),
    "its login is refused": Fault(
        refused_login,
        working_cloud,
        "Project prod cannot be read",
        'taskwatch_credential_refused{credential="otc"} 1.0',
    ),
    "one receiver hangs": Fault(
        hung_receiver,
        working_receivers,
        "Receiver pager takes nothing",
        'taskwatch_receiver_up{receiver="pager"} 0.0',
    ),
    "all receivers hang": Fault(
        hung_receivers,
        working_receivers,
        "No receiver takes anything",
        'taskwatch_receiver_up{receiver="chat"} 0.0',
        beats=False,
    ),
    "the disk is full": Fault(
        full_disk,
        free_disk,
        "Nothing new can be recorded",
        "taskwatch_store_writable 0.0",
        ready="unready\n",
        beats=False,
    ),
    "the loop stands still": Fault(
        standing_still, going_on, NOBODY, NOBODY, healthy=NOBODY, ready=NOBODY, beats=False
    ),
}
WELL: Final = Fault(
    lambda _: None,
    lambda _: None,
    "The one project is watched",
    'taskwatch_project_up{project="prod"} 1.0',
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    timeout = aiohttp.ClientTimeout(total=ASKING_SECONDS)
    place = Watched(tmp_path, cloud=TasksEndpoint(token="first"), sink=WebhookSink())
    async with place.cloud, place.sink, aiohttp.ClientSession(timeout=timeout) as session:
        disk = SmallDisk(place)
        config = CONFIGURATION.format(directory=tmp_path, sink=place.sink.url, cloud=place.cloud.url)
        (tmp_path / "taskwatch.yaml").write_text(config)
        async with place.daemon(*disk.under) as daemon:
            stage = Stage(place, disk, daemon, session)
            place.sink.choose_for = lambda request: (
                hang if any(map(request.path.endswith, stage.deaf)) else accept
            )
            await until(lambda: bool(listening(daemon)), "that it listens", said=daemon.said)
            stage.url = listening(daemon)[0]
            yield stage
            going_on(stage)


def withheld(stage: Stage) -> bool:
    said = [line["event"] for line in lines(stage.daemon) if line["event"].startswith("heartbeat_")]
    return said[-1:] == ["heartbeat_withheld"]


def listening(daemon: Daemon) -> list[str]:
    return [line["url"] for line in lines(daemon) if line["event"] == "server_listening"]


@pytest.mark.parametrize("name", FAULTS)
async def test_all_that_people_and_programs_are_told_says_what_is_wrong(stage: Stage, name: str) -> None:
    fault = FAULTS[name]
    await says(stage, WELL)
    fault.breaks(stage)
    await says(stage, fault)
    fault.mends(stage)
    await says(stage, WELL)


async def says(stage: Stage, fault: Fault) -> None:
    """Wait until everybody is told what the row says."""
    found = ""
    for path, wanted in {
        "/metrics": fault.metric,
        "/": fault.page,
        "/-/healthy": fault.healthy,
        "/-/ready": fault.ready,
    }.items():
        pattern = re.compile(rf"(^|[>\s]){re.escape(wanted)}")
        async with asyncio.timeout(60):
            while not pattern.search(found := await stage.ask(path)):
                await asyncio.sleep(0.1)
    if fault.beats:
        before = stage.beats()
        await until(lambda: stage.beats() > before + 1, "heartbeats", said=stage.daemon.said)
    else:
        if fault.ready != NOBODY:
            await until(lambda: withheld(stage), "that it is withheld", said=stage.daemon.said)
        await asyncio.sleep(1.0)  # one may be on its way
        before = stage.beats()
        await asyncio.sleep(A_WHILE)
        assert stage.beats() == before, found


async def test_a_loop_that_stood_still_says_so_afterwards(stage: Stage) -> None:
    await says(stage, WELL)
    standing_still(stage)
    await asyncio.sleep(A_WHILE)
    going_on(stage)
    await says(stage, WELL)
    async with asyncio.timeout(60):
        while not re.search(
            r"^taskwatch_event_loop_lag_seconds [1-9]", await stage.ask("/metrics"), re.MULTILINE
        ):
            await asyncio.sleep(0.1)


async def test_a_second_daemon_that_waits_for_the_store_is_healthy_and_not_ready(
    stage: Stage, tmp_path: Path
) -> None:
    second = Daemon(
        tmp_path / "taskwatch.yaml", tmp_path / "second", arguments=("run", "--wait"), under=stage_of(stage)
    )
    async with second:
        await until(lambda: bool(listening(second)), "that the second listens", said=second.said)
        other = Stage(stage.place, stage.disk, second, stage.session, url=listening(second)[0])
        assert await other.ask("/-/healthy") == "healthy\n"
        assert await other.ask("/-/ready") == "unready\n"
        assert "the daemon has no open store now" in await other.ask("/api/v1/tasks")
        assert "taskwatch_watching 0.0" in await other.ask("/metrics")
        await stage.daemon.kill(signal.SIGTERM)
        await says(other, WELL)


def stage_of(stage: Stage) -> tuple[str, ...]:
    """Return how to run beside the daemon, with its disk."""
    assert stage.daemon.process is not None
    return ("nsenter", "-m", "-t", str(stage.daemon.process.pid))
