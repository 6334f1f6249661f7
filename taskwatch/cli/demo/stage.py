"""Sets the demo up, lets it run, and says what came of it."""

import asyncio
import base64
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from taskwatch import telemetry
from taskwatch.app import build, kinds, opened_store
from taskwatch.cli.demo.account import Heard, account
from taskwatch.cli.demo.directory import new_directory
from taskwatch.cli.demo.ending import Ending
from taskwatch.cli.demo.scene import Onlooker
from taskwatch.cli.demo.show import Show
from taskwatch.cli.demo.story import Story
from taskwatch.cli.demo.summary import conclude, introduction, say_next
from taskwatch.cli.demo.view import Moment
from taskwatch.config.load import load
from taskwatch.simulator.cloud import Cloud
from taskwatch.simulator.receiver import WebhookReceiver
from taskwatch.simulator.server import SimulatedCloud

PROJECTS: Final = 3
TASKS_PER_DAY: Final = 80  # of each project: with the default speed something happens every second
CONFIGURATION: Final = """\
# Written by `taskwatch demo`: what taskwatch ran with. Only the cloud is simulated.
store:
  path: taskwatch.db
log: {{format: json, level: info}}
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
    retry: {{initial: 500ms, max: 2s}}   # so that the demo shows it recovered; leave this out: 1s to 5m, for 72h
route:
  receivers: [journal]
  routes:
    - {{matchers: ['type =~ ".*"'], receivers: [journal, pipeline]}}
"""


async def play(ending: Ending, show: Show, *, seconds: float, seed: int, speed: float) -> None:
    """Run until the time is over or the end is asked for."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    ending.sets(stop, loop)
    began = loop.time()
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

        def moment() -> Moment:
            return Moment(
                elapsed=loop.time() - began,
                seconds=seconds,
                speed=speed,
                now=datetime.now(UTC),
                cloud_now=cloud.now(),
                received=receiver.received,
                copies=receiver.copies,
                url=receiver.url,
                configuration=str(path),
            )

        show.introduce(introduction(path, projects=len(cloud.projects), speed=speed, url=receiver.url))
        story = Story(cloud=cloud, receiver=receiver, speed=speed, seconds=seconds, says=show.act)
        with (path.parent / "taskwatch.log").open("w") as stream:
            telemetry.configure(format_=config.log.format, level=config.log.level, stream=stream)
            async with (
                opened_store(config) as store,
                build(config, store=store) as app,
                asyncio.TaskGroup() as group,
            ):
                companions = [
                    group.create_task(show.run(config.store.path, moment)),
                    group.create_task(story.play()),
                    group.create_task(_limit(stop, seconds)),
                ]
                await app.run(stop)
                for companion in companions:
                    companion.cancel()
        show.close()
        _conclude(config.store.path, cloud, receiver, heard, seconds=loop.time() - began, speed=speed)
    say_next(path)


def _conclude(
    store: Path, cloud: Cloud, receiver: WebhookReceiver, heard: Heard, *, seconds: float, speed: float
) -> None:
    with Onlooker(store) as onlooker:
        scene = onlooker.look()
        watched, waiting = onlooker.watched(), onlooker.waiting()
    conclude(
        seconds=seconds,
        tasks=sum(row.tasks for row in scene.projects),
        queue=scene.queue,
        heard=heard,
        receiver=receiver,
        result=None
        if receiver.is_full
        else account(cloud, watched, speed=speed, heard=heard.facts, waiting=waiting),
    )


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
