"""Sets the demo up, lets it run, and says what came of it."""

import asyncio
import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from taskwatch import telemetry
from taskwatch.app import build, opened_store, serving
from taskwatch.cli.demo.account import Heard, account
from taskwatch.cli.demo.directory import new_directory
from taskwatch.cli.demo.ending import Ending
from taskwatch.cli.demo.scene import Onlooker
from taskwatch.cli.demo.show import Show
from taskwatch.cli.demo.story import Story
from taskwatch.cli.demo.summary import conclude, introduction, say_next
from taskwatch.cli.demo.view import Moment
from taskwatch.config.configuration import Config
from taskwatch.config.load import load
from taskwatch.notifiers.registry import kinds
from taskwatch.server.server import Server
from taskwatch.simulator.receiver import WebhookReceiver
from taskwatch.simulator.server import SimulatedCloud

PROJECTS: Final = 3
OPENING_SECONDS: Final = 5.0  # for the page; without it the demo goes on
TASKS_PER_DAY: Final = 80  # of each project: with the default speed something happens every second
CONFIGURATION: Final = """\
# Written by `taskwatch demo`: what taskwatch ran with. Only the cloud is simulated.
store:
  path: taskwatch.db
log: {{format: json, level: info}}
server: {{listen: "127.0.0.1:0"}}   # any port that is free; leave this out: http://127.0.0.1:9720
credentials:
  simulated: {{type: token, token: {token}, rate: 200/s}}
defaults:
  interval: 1s           # for a real cloud leave this out: 15s while a task is running, 60s otherwise
  baseline: quiet        # what had happened before the first poll is remembered, not told
  severity: {{"Backup*": warning}}
projects:
{projects}
receivers:
  - {{name: journal, type: log}}
  - name: pipeline
    type: webhook
    url: "{url}"
    secret: "{secret}"
    retry: {{initial: 500ms, max: 2s}}   # so that the demo shows it recovered; leave this out: 5s to 1h, for 72h
route:
  receivers: [journal]
  routes:
    - {{matchers: ['type =~ ".*"'], receivers: [journal, pipeline]}}
"""


async def play(ending: Ending, show: Show, *, seconds: float, seed: int, speed: float) -> None:
    """Run until the time is over or the end is asked for; then say what came of it."""
    stop = asyncio.Event()
    ending.sets(stop, asyncio.get_running_loop())
    heard = Heard()
    key, token = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii"), secrets.token_hex(16)

    def told(event: Mapping[str, Any]) -> None:
        heard.hear(event)
        show.told(event)

    async with (
        SimulatedCloud(
            seed=seed, projects=PROJECTS, speed=speed, token=token, tasks_per_day=TASKS_PER_DAY
        ) as cloud,
        WebhookReceiver(secret=key, told=told) as receiver,
    ):
        path = _written(new_directory(), cloud, url=receiver.url, key=key)
        config = load(path, kinds())
        with (config.path.parent / "taskwatch.log").open("w") as stream:
            telemetry.configure(format_=config.log.format, level=config.log.level, stream=stream)
            async with serving(config) as server:
                await server.opened(seconds=OPENING_SECONDS)
                show.introduce(
                    introduction(
                        path, projects=len(cloud.projects), speed=speed, url=receiver.url, page=server.url
                    )
                )
                stage = Stage(
                    cloud=cloud,
                    receiver=receiver,
                    server=server,
                    config=config,
                    seconds=seconds,
                    speed=speed,
                    began=asyncio.get_running_loop().time(),
                )
                await stage.run(show, stop)
        show.close()
        stage.conclude(heard)
    say_next(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that plays: the cloud and the receiver, and taskwatch between them."""

    cloud: SimulatedCloud
    receiver: WebhookReceiver
    server: Server
    config: Config
    seconds: float
    speed: float
    began: float  # by the loop's clock

    async def run(self, show: Show, stop: asyncio.Event) -> None:
        """Let taskwatch watch, as `run` does, while the story is played and shown."""
        config = self.config
        story = Story(
            cloud=self.cloud, receiver=self.receiver, speed=self.speed, seconds=self.seconds, says=show.act
        )
        async with (
            opened_store(config) as store,
            build(config, store=store, server=self.server) as app,
            asyncio.TaskGroup() as group,
        ):
            companions = [
                group.create_task(show.run(config.store.path, self.moment)),
                group.create_task(story.play()),
                group.create_task(_limit(stop, self.seconds)),
            ]
            await app.run(stop)
            for companion in companions:
                companion.cancel()

    def moment(self) -> Moment:
        return Moment(
            elapsed=self._elapsed(),
            seconds=self.seconds,
            speed=self.speed,
            now=datetime.now(UTC),
            cloud_now=self.cloud.now(),
            received=self.receiver.received,
            copies=self.receiver.copies,
            url=self.receiver.url,
            page=self.server.url,
            configuration=str(self.config.path),
        )

    def conclude(self, heard: Heard) -> None:
        """Hold what the receiver heard against what happened in the cloud, and say so."""
        with Onlooker(self.config.store.path) as onlooker:
            left = onlooker.left()
        is_complete = not self.receiver.is_full
        conclude(
            seconds=self._elapsed(),
            heard=heard,
            receiver=self.receiver,
            left=left,
            result=account(self.cloud, left, speed=self.speed, heard=heard.facts) if is_complete else None,
        )

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self.began


async def _limit(stop: asyncio.Event, seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)
        stop.set()


def _written(directory: Path, cloud: SimulatedCloud, *, url: str, key: str) -> Path:
    """Write the configuration, for its owner alone: it holds the secrets of this run."""
    path = directory / "taskwatch.yaml"
    path.touch(mode=0o600)
    path.write_text(
        CONFIGURATION.format(
            token=cloud.token,
            url=url,
            secret=key,
            projects="\n".join(
                f'  - {{name: {project.name}, endpoint: "{cloud.url}", project_id: {project.project_id}}}'
                for project in cloud.projects
            ),
        )
    )
    return path
