"""`taskwatch check`: what the configuration says, every mistake in it, and with `--online` whether it works."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskwatch.cli.options import config_option, loaded

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.config.serving import Server
    from taskwatch.core.cadence import Cadence

NOT_WORKING = 3  # the exit code


@click.command(epilog="Example: taskwatch check --online")
@config_option
@click.option(
    "--online", is_flag=True, help="Also log in, read a page of each project, connect to each receiver."
)
def check(config: Path | None, online: bool) -> int:
    """Validate the configuration; every error at once.

    Each error is one line, FILE:LINE:COLUMN: path.to.key: what is wrong; what to write. Secrets are
    read where they are kept, and not shown. Exit 78 if anything is wrong.

    With --online each project and receiver is one line: ok, or what does not work and what to change; equal trouble
    of many is one line that names a few of them. Nothing is recorded and no event is sent. Exit 3 if anything does
    not work.
    """
    from taskwatch.errors import ConfigError
    from taskwatch.notifiers.registry import shadowed

    configuration = loaded(config)
    inspection = configuration.inspect()
    for line in (*configuration.warnings, *shadowed(configuration.receivers)):
        click.echo(f"{line} (warning)", err=True)
    for line in inspection.notes:
        click.echo(f"{line} (note)", err=True)
    if problems := [*inspection.exposed, *inspection.unreadable]:
        raise ConfigError(problems)
    _describe(configuration)
    if online:
        import asyncio

        return asyncio.run(_examine(configuration))
    return 0


async def _examine(config: "Config") -> int:
    from collections import defaultdict

    from taskwatch import telemetry
    from taskwatch.app.online import examine
    from taskwatch.cli.output import few
    from taskwatch.clock import SystemClock

    telemetry.configure(format_="auto", level="error")  # what goes wrong is this command's to say
    troubles: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    async for finding in examine(config, clock=SystemClock(), log=telemetry.logger()):
        if finding.problem is None:
            click.echo(telemetry.printable(f"{finding.kind} {finding.name}: {finding.said}"))
        else:
            troubles[finding.kind, finding.problem].append(finding.name)
    for (kind, problem), names in troubles.items():
        who = f"{kind}s" if len(names) > 1 else kind
        click.echo(telemetry.printable(f"{' '.join([who, few(names)]).strip()}: {problem}"), err=True)
    return NOT_WORKING if troubles else 0


def _describe(config: "Config") -> None:
    from taskwatch.cli.output import print_table
    from taskwatch.report.words import counted
    from taskwatch.telemetry import printable

    projects, receivers = (
        counted(len(config.configured), "project"),
        counted(len(config.receivers), "receiver"),
    )
    included = len(config.files) - 1
    files = f" and {counted(included, 'included file')}" if included else ""
    click.echo(f"{printable(str(config.path))}{files}: ok, {projects}, {receivers}")
    print_table(
        ("PROJECT", "HOST", "POLLED EVERY"),
        [(project.name, project.endpoint.host, _every(project.interval)) for project in config.configured],
        empty="",
    )
    told = ", ".join(f"{receiver.name} ({receiver.type})" for receiver in config.receivers)
    click.echo(f"told: {printable(told)}")
    click.echo(f"kept in: {printable(str(config.store.path))}")
    click.echo(f"shown at: {printable(_where(config.server))}")


def _where(server: "Server") -> str:
    if server.listen is None:
        return "nowhere"
    return f"{server.listen}, to all who have the token" if server.token is not None else str(server.listen)


def _every(interval: "Cadence") -> str:
    from taskwatch.config.fields import spell_duration

    if interval.active == interval.idle:
        return spell_duration(interval.idle)
    return f"{spell_duration(interval.active)} while a task is running, else {spell_duration(interval.idle)}"
