"""`taskwatch wait`: for pipelines, until tasks have ended."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from taskwatch.cli.options import DurationType, Footing, config_option, footing

if TYPE_CHECKING:
    from taskwatch.cli.vigil import CloudView, Sight, View, Vigil
    from taskwatch.config.configuration import Config

NOT_COMPLETED: Final = 1  # the exit code
UNKNOWN_PATIENCE: Final = 600.0  # seconds, where no interval is known


@click.command(epilog="Example: taskwatch wait 03bc055a-135c-4245-8bd8-b0bc6d3350b3 --timeout 2h")
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@config_option
@click.option(
    "--timeout", type=DurationType(), metavar="DURATION", help="Give up after so long, as 30m. Exit 1."
)
@click.option("--json", "as_json", is_flag=True, help="Print each change as a JSON Line.")
def wait(job_ids: tuple[str, ...], config: Path | None, timeout: float | None, as_json: bool) -> int:
    """Wait until these tasks have ended.

    Exit 0 if all of them completed, 1 if one failed or was canceled. Each change is told on standard
    error. While the daemon runs, its store is looked at; else the cloud itself is asked, and nothing is
    recorded.
    """
    import asyncio

    from taskwatch import telemetry
    from taskwatch.cli.vigil import Vigil

    where = footing(config)
    if where.config is not None:
        telemetry.configure(format_=where.config.log.format, level=where.config.log.level)
    vigil = Vigil(job_ids, tell=_tell_json if as_json else _tell)
    asyncio.run(_wait(vigil, where, timeout))
    return 0 if vigil.is_success else NOT_COMPLETED


async def _wait(vigil: "Vigil", where: Footing, seconds: float | None) -> None:
    import asyncio

    from taskwatch.config.fields import spell_duration
    from taskwatch.errors import TaskwatchError

    try:
        async with asyncio.timeout(seconds), AsyncExitStack() as stack:
            await _follow(vigil, where, stack)
    except TimeoutError as error:
        raise TaskwatchError(f"not over after {spell_duration(seconds or 0)}: {vigil.rest()}") from error


async def _follow(vigil: "Vigil", where: Footing, stack: AsyncExitStack) -> None:
    """Look where there is something to see, daemon or cloud, until all is over."""
    import asyncio

    from taskwatch.cli.vigil import StoreView
    from taskwatch.store.lock import is_watched

    store = StoreView(where.store.path, patience=_patience(where.config))
    cloud: CloudView | None = None
    while not vigil.is_over:
        view: View = store
        if not is_watched(where.store.path):
            cloud = cloud or await _open_cloud(where.whole(), stack)
            view = cloud
        pause = await view.look(vigil)
        if not vigil.is_over:
            await asyncio.sleep(pause)


def _patience(config: "Config | None") -> float:
    """Return in which time a daemon has certainly read every project twice, if it can be read."""
    if config is None:
        return UNKNOWN_PATIENCE
    return 2 * max(watched.interval.idle + watched.timeout for watched in config.configured)


async def _open_cloud(config: "Config", stack: AsyncExitStack) -> "CloudView":
    from taskwatch import telemetry
    from taskwatch.app import pollers
    from taskwatch.cli.vigil import CloudView
    from taskwatch.clock import SystemClock
    from taskwatch.store.glance import ReadOnlyLedger
    from taskwatch.telemetry import printable

    ledger = stack.enter_context(ReadOnlyLedger(config.store.path))
    opened = pollers(
        config,
        ledger=ledger,
        told=lambda events: None,  # noqa: ARG005  (nobody is to hear of it)
        clock=SystemClock(),
        log=telemetry.logger(),
    )
    watches, troubles = await stack.enter_async_context(opened)
    for name, trouble in troubles.items():
        click.echo(f"{printable(name)}: {printable(str(trouble))}", err=True)
    return CloudView(watches, store=config.store.path)


def _tell(sight: "Sight") -> None:
    from taskwatch.cli.output import coloured
    from taskwatch.cli.vigil import status_of
    from taskwatch.telemetry import printable

    task = sight.task
    work = f"{task.name} of {task.instance.name}" if task.instance.name else task.name
    why = f": {task.fail_reason}" if task.has_ended and task.fail_reason else ""
    status = coloured(printable(status_of(task)), task.status)
    click.echo(
        f"{datetime.now(UTC):%H:%M:%SZ}  {printable(task.job_id)}  {status}{printable(why)}  "
        f"({printable(work)} in {printable(sight.project)})",
        err=True,
    )


def _tell_json(sight: "Sight") -> None:
    from taskwatch.cli.output import print_json

    task = sight.task
    print_json(
        [
            {
                "time": datetime.now(UTC),
                "project": sight.project,
                "job_id": task.job_id,
                "name": task.name,
                "status": task.status,
                "progress": task.progress,
                "fail_reason": task.fail_reason,
                "ended": task.has_ended,
            }
        ]
    )
