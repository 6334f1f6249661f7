"""`taskwatch simulate`: the simulated cloud alone, to try a configuration against."""

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from taskwatch.errors import TaskwatchError

if TYPE_CHECKING:
    from taskwatch.simulator.server import SimulatedCloud

_SHOWN_PROJECTS = 20


@click.command(epilog="Example: taskwatch simulate --speed 60 --verbose")
@click.option(
    "--listen", default="127.0.0.1:9799", show_default=True, metavar="ADDR", help="Port 0: a free one."
)
@click.option("--seed", default=0, show_default=True, help="The same seed, the same life.")
@click.option("--projects", default=3, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 10_000, min_open=True),
    help="Simulated seconds per second.",
)
@click.option(
    "--token", default="simulated-token", show_default=True, metavar="TEXT", help="Empty: none is asked for."
)
@click.option(
    "--faults",
    default=0.0,
    type=click.FloatRange(0, 1),
    metavar="PROBABILITY",
    help="How many requests go wrong, in every way.",
)
@click.option(
    "--tasks-per-day", default=40, show_default=True, type=click.IntRange(0, 10_000), help="In each project."
)
@click.option("--verbose", is_flag=True, help="One line per transition.")
def simulate(
    *,
    listen: str,
    seed: int,
    projects: int,
    speed: float,
    token: str,
    faults: float,
    tasks_per_day: int,
    verbose: bool,
) -> None:
    """Serve a simulated cloud, to try a configuration against."""
    from taskwatch.simulator.server import SimulatedCloud

    cloud = SimulatedCloud(
        seed=seed,
        projects=projects,
        speed=speed,
        token=token or None,
        tasks_per_day=tasks_per_day,
        listen=_address(listen),
    )
    if faults:
        cloud.faults.add("any", probability=faults)
    asyncio.run(_serve(cloud, listen=listen, verbose=verbose))


def _address(listen: str) -> tuple[str, int]:
    host, separator, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (separator and host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise click.BadParameter(f"{listen!r} is not HOST:PORT, as 127.0.0.1:9799", param_hint="--listen")
    return host, int(port)


async def _serve(cloud: "SimulatedCloud", *, listen: str, verbose: bool) -> None:
    stop = _stop_on_signals()
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(cloud)
        except OSError as error:
            raise TaskwatchError(f"cannot listen on {listen}: {_reason(error)}") from error
        click.echo(_greeting(cloud))
        if verbose:
            await _tell(cloud, stop)
        await stop.wait()


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _tell(cloud: "SimulatedCloud", stop: asyncio.Event) -> None:
    names = {project.project_id: project.name for project in cloud.projects}
    async for happened in cloud.follow(stop):
        reason = f": {happened.fail_reason}" if happened.fail_reason else ""
        click.echo(
            f"{happened.at:%Y-%m-%dT%H:%M:%SZ} {names[happened.project_id]} {happened.name} "
            f"of {happened.instance_name}: {happened.before or 'new'} -> {happened.after}{reason}"
        )


def _greeting(cloud: "SimulatedCloud") -> str:
    """Return where it listens (the first line, for programs), then what a person can paste."""
    credential = f"{{type: token, token: {json.dumps(cloud.token)}}}" if cloud.token else "{type: none}"
    projects = "\n".join(
        f'  - {{name: {project.name}, endpoint: "{cloud.url}", project_id: "{project.project_id}"}}'
        for project in cloud.projects[:_SHOWN_PROJECTS]
    )
    if (more := len(cloud.projects) - _SHOWN_PROJECTS) > 0:
        projects += f"\n  # and {more} more: {cloud.url}/_simulator/projects lists them all"
    return f"""simulated cloud listening on {cloud.url}
token: {cloud.token or "none is asked for"}
projects: {len(cloud.projects)}, see {cloud.url}/_simulator/projects

# taskwatch.yaml
credentials:
  simulated: {credential}
projects:
{projects}
receivers:
  - {{name: log, type: log}}

# make a task fail, and watch it being told:
# curl -d '{{"outcome": "Failed", "seconds": 20}}' {cloud.url}/_simulator/tasks
"""
