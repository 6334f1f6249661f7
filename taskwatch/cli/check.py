"""`taskwatch check`: what the configuration says, and every mistake in it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskwatch.cli.options import config_option, loaded

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.core.cadence import Cadence


@click.command(epilog="Example: taskwatch check -c taskwatch.yaml")
@config_option
def check(config: Path | None) -> None:
    """Validate the configuration; every error at once.

    Each error is one line, FILE:LINE:COLUMN: path.to.key: what is wrong; what to write. Secrets are
    read where they are kept, and not shown. Exit 78 if anything is wrong.
    """
    from taskwatch.config.inspection import inspect_secrets
    from taskwatch.errors import ConfigError

    configuration = loaded(config)
    inspection = inspect_secrets(configuration.secrets)
    for line in configuration.warnings:
        click.echo(f"{line} (warning)", err=True)
    for line in inspection.notes:
        click.echo(f"{line} (note)", err=True)
    if problems := [*inspection.exposed, *inspection.unreadable]:
        raise ConfigError(problems)
    _describe(configuration)


def _describe(config: "Config") -> None:
    from taskwatch.cli.output import counted, print_table
    from taskwatch.telemetry import printable

    projects, receivers = counted(len(config.projects), "project"), counted(len(config.receivers), "receiver")
    included = len(config.files) - 1
    files = f" and {counted(included, 'included file')}" if included else ""
    click.echo(f"{printable(str(config.path))}{files}: ok, {projects}, {receivers}")
    print_table(
        ("PROJECT", "HOST", "POLLED EVERY"),
        [
            (watched.project.name, watched.project.identity.host, _every(watched.interval))
            for watched in config.projects
        ],
        empty="",
    )
    told = ", ".join(f"{receiver.name} ({receiver.type})" for receiver in config.receivers)
    click.echo(f"told: {printable(told)}")
    click.echo(f"kept in: {printable(str(config.store.path))}")


def _every(interval: "Cadence") -> str:
    from taskwatch.config.fields import spell_duration

    if interval.active == interval.idle:
        return spell_duration(interval.idle)
    return f"{spell_duration(interval.active)} while a task is running, else {spell_duration(interval.idle)}"
