"""`taskwatch demo`: the daemon's own code, a written configuration, a simulated cloud, a real webhook."""

from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from pathlib import Path

PROJECTS: Final = 3
TASKS_PER_DAY: Final = 80  # of each project: with the default speed something happens every second
FIRST_FAILURE: Final = 4.0  # seconds after the start; a demo of alerts shows one
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
  - {{name: pipeline, type: webhook, url: "{url}", secret: "{secret}"}}
route:
  receivers: [journal]
  routes:
    - {{matchers: ['type =~ ".*"'], receivers: [journal, pipeline]}}
"""


@click.command(epilog="Example: taskwatch demo --seconds 20 --seed 7")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=30.0, show_default=True, help="0: until Ctrl-C."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which life the simulated cloud leads.")
@click.option(
    "--speed", type=click.FloatRange(min=0.1, max=3600), default=300.0, show_default=True,
    help="How much faster than real time the cloud lives.",
)  # fmt: skip
def demo(seconds: float, seed: int, speed: float) -> None:
    """Show the whole system on this machine: no account, nothing to configure.

    A simulated cloud, taskwatch as `run` runs it, and a webhook receiver that prints what it is told.
    """
    import asyncio
    import tempfile
    from pathlib import Path

    # Kept after the end: the configuration can be opened, the store be asked.
    directory = Path(tempfile.mkdtemp(prefix="taskwatch-demo-"))
    asyncio.run(_demo(directory, seconds=seconds, seed=seed, speed=speed))


async def _demo(directory: "Path", *, seconds: float, seed: int, speed: float) -> None:
    import asyncio
    import base64
    import secrets

    from taskwatch import telemetry
    from taskwatch.app import build, kinds, opened_store
    from taskwatch.config.load import load
    from taskwatch.runtime.lifecycle import stopped_by_signals
    from taskwatch.simulator.receiver import WebhookReceiver
    from taskwatch.simulator.server import SimulatedCloud

    key = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")
    token = secrets.token_hex(16)
    told = _Told()
    stop = asyncio.Event()
    async with (
        SimulatedCloud(
            seed=seed, projects=PROJECTS, speed=speed, token=token, tasks_per_day=TASKS_PER_DAY
        ) as cloud,
        WebhookReceiver(secret=key, told=told.hear) as receiver,
    ):
        path = directory / "taskwatch.yaml"
        path.touch(mode=0o600)
        path.write_text(
            CONFIGURATION.format(
                token=token,
                url=receiver.url,
                secret=key,
                projects="\n".join(
                    f'  - {{name: {project.name}, endpoint: "{cloud.url}", project_id: {project.project_id}}}'
                    for project in cloud.projects
                ),
            )
        )
        config = load(path, kinds())
        _introduce(path, speed=speed, url=receiver.url)
        with (directory / "taskwatch.log").open("w") as stream, stopped_by_signals(stop):
            telemetry.configure(format_=config.log.format, level=config.log.level, stream=stream)
            async with (
                opened_store(config) as store,
                build(config, store=store) as app,
                asyncio.TaskGroup() as group,
            ):
                limit = group.create_task(_limit(stop, seconds))
                failure = group.create_task(_provoke(cloud, min(FIRST_FAILURE, seconds / 3)))
                await app.run(stop)
                limit.cancel()
                failure.cancel()
        _conclude(path, told, copies=receiver.copies)


async def _limit(stop: Any, seconds: float) -> None:
    import asyncio

    if seconds:
        await asyncio.sleep(seconds)
        stop.set()


async def _provoke(cloud: Any, after: float) -> None:
    """Let one restore fail soon: by chance it might take longer than anybody watches."""
    import asyncio

    await asyncio.sleep(after)
    cloud.provoke(
        cloud.projects[0].project_id,
        name="RestoreGaussDBV5InInstance",
        seconds=600.0,
        fail_reason="The backup file is damaged: checksum mismatch in block 48211.",
    )


class _Told:
    """Prints what the receiver hears, and counts it."""

    def __init__(self) -> None:
        self.events = 0
        self.failures = 0

    def hear(self, event: dict[str, Any]) -> None:
        from datetime import datetime

        from taskwatch.cli.output import coloured
        from taskwatch.telemetry import printable

        self.events += 1
        kind = event["type"].removeprefix("taskwatch.").rpartition(".")[2]
        self.failures += kind == "failed"
        data = event["data"]
        local = datetime.fromisoformat(event["time"]).astimezone().strftime("%H:%M:%S")
        shown = coloured(kind.upper().ljust(9) if kind == "failed" else kind.ljust(9), data["severity"])
        click.echo(
            f"{local}  {shown}  {printable(data['project']['name']).ljust(17)}  {printable(data['summary'])}"
        )


def _introduce(path: "Path", *, speed: float, url: str) -> None:
    click.echo(
        f"A simulated cloud ({PROJECTS} projects, {speed:g} times as fast as real time), taskwatch, and a webhook\n"
        f"receiver at {url} that verifies each signature and prints what it is told.\n"
        f"taskwatch runs with {path}; Ctrl-C ends it.\n"
    )


def _conclude(path: "Path", told: _Told, *, copies: int) -> None:
    import shutil
    import sys

    from taskwatch.cli.output import counted

    me = "taskwatch" if shutil.which("taskwatch") else sys.argv[0]
    click.echo(
        f"\n{counted(told.events, 'event')} told, {counted(told.failures, 'failure')} among them; every signature was right, {copies} came twice.\n"
        f"Look at what is kept:   {me} events -c {path}\n"
        f"                        {me} tasks -c {path} --status Failed\n"
        "Watch a real cloud:     copy the ten lines from the README, then `taskwatch check` and `taskwatch run`."
    )
