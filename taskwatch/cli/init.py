"""`taskwatch init`: a configuration to start with, and with a login at hand one for every project it can see."""

import os
import shlex
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from taskwatch.errors import CloudError, TaskwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskwatch.config.starter import Starter, StarterLogin, StarterProject

_EXAMPLE: "Final[StarterLogin]" = {
    "type": "password",
    "auth_url": "https://iam.eu-de.otc.t-systems.com/v3",
    "username": "USER",
    "user_domain_name": "OTC00000000001000000000",
    "password": {"file": "password"},
}
_FILE: Final = "taskwatch.yaml"
_SHOWN: Final = 10  # names in a line
_NAME: Final = "cloud"  # of the credential, where nothing has a name


@click.command(epilog="Example: taskwatch init --cloud otc")
@click.option("--cloud", metavar="NAME", help="An entry of clouds.yaml; needs taskwatch[openstack].")
@click.option(
    "--config", "-c",
    type=click.Path(path_type=Path, readable=False), default=_FILE, show_default=True,
    metavar="FILE", help="What to write; it must not be there yet.",
)  # fmt: skip
def init(cloud: str | None, config: Path) -> None:
    """Write a commented configuration to start with.

    With --cloud, or where the environment describes a login (OS_CLOUD, OS_PASSWORD, OS_ACCESS_KEY or OS_TOKEN, in
    this order, and what belongs to it), it logs in and writes one entry for each project that it can see. Secrets
    are not written: the file says where they are kept.
    """
    import asyncio

    from taskwatch.config.environment import login_from, passed_over
    from taskwatch.config.starter import Starter
    from taskwatch.telemetry import printable

    _require_room(config)
    login: StarterLogin | None = {"type": "cloud", "cloud": cloud} if cloud else login_from(os.environ)
    if login is None:
        _write(config, Starter(credential=_NAME, login=_EXAMPLE, projects=[]))
        click.echo(
            f"{printable(str(config))}: an example, for the environment describes no login;"
            f" fill in login, endpoint and a project, then: {_check(config)}"
        )
        return
    if remark := passed_over(os.environ, login):
        click.echo(remark, err=True)
    name = cloud or os.environ.get("OS_CLOUD") or _NAME
    ca = os.environ.get("OS_CACERT")  # seen from here; the configuration may lie elsewhere
    asked = Starter(credential=name, login=login, projects=[], ca=ca and str(Path(ca).absolute()))
    try:
        starter = asyncio.run(_discovered(asked))
    except CloudError as error:
        raise TaskwatchError(error.message) from None  # without its next try: there is none
    starter = replace(starter, projects=_with_asked_endpoints(starter.projects))
    _write(config, starter)
    _report(config, starter)


def _require_room(config: Path) -> None:
    """Refuse at once what could not be written in the end: by then somebody may have answered questions."""
    if config.exists():
        raise TaskwatchError(f"{config} is there already; name another file with --config, or move it away")
    directory = config.absolute().parent
    if not (directory.is_dir() and os.access(directory, os.W_OK)):
        raise TaskwatchError(
            f"cannot write {config}: {directory} is no directory that you may write; name another file with --config"
        )


async def _discovered(starter: "Starter") -> "Starter":
    from taskwatch import telemetry
    from taskwatch.app.discovery import discover
    from taskwatch.clock import SystemClock
    from taskwatch.report.words import counted

    telemetry.configure(format_="auto", level="error")  # what goes wrong is this command's to say
    discovery = await discover(starter, clock=SystemClock(), log=telemetry.logger())
    seen = counted(len(discovery.starter.projects), "project")
    click.echo(f"logged in at {telemetry.printable(discovery.host)} by {starter.login['type']}: {seen}")
    return discovery.starter


def _with_asked_endpoints(projects: "Sequence[StarterProject]") -> "Sequence[StarterProject]":
    """Ask whoever sits at the terminal where the service is, for regions in which nothing else says so."""
    import sys

    from taskwatch.cloud.regions import region_of

    unknown = defaultdict(list)
    for project in projects:
        if project.endpoint is None:
            unknown[region_of(project.name) or project.name].append(project.name)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return projects
    answers = {
        region: click.prompt(
            f"Endpoint of the database service in {region}, as https://HOST (empty: leave it out)",
            default="", show_default=False, err=True, value_proc=_endpoint,
        )
        for region in unknown
    }  # fmt: skip
    return [
        replace(project, endpoint=answers.get(region_of(project.name) or project.name) or None)
        if project.endpoint is None
        else project
        for project in projects
    ]


def _endpoint(answer: str) -> str:
    """Return what was answered, as the configuration takes it; click asks again after a refusal."""
    from taskwatch.app.discovery import endpoint_of
    from taskwatch.errors import ConfigError

    try:
        return endpoint_of(answer.strip()) if answer.strip() else ""
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _write(config: Path, starter: "Starter") -> None:
    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(starter.text())
    except OSError as error:
        raise TaskwatchError(
            f"cannot write {config}: {error.strerror}; name another file with --config"
        ) from error


def _report(config: Path, starter: "Starter") -> None:
    from taskwatch.cli.output import few
    from taskwatch.report.words import counted
    from taskwatch.telemetry import printable

    watched = [project for project in starter.projects if project.endpoint is not None]
    left_out = [project.name for project in starter.projects if project.endpoint is None]
    said = f"{printable(str(config))}: {counted(len(watched), 'project')}"
    click.echo(f"{said}; next: {_check(config, '--online')}" if watched else said)
    if left_out:
        names = few(left_out, shown=_SHOWN)
        text = f"only as a comment, for nothing says where the service is: {names}; write endpoint there"
        click.echo(printable(text), err=True)
    if not starter.projects:
        text = "this login sees no project; see to its permissions, or write project_id from the console"
        click.echo(text, err=True)


def _check(config: Path, *options: str) -> str:
    """Return the command that goes on from here."""
    from taskwatch.telemetry import printable

    named = () if config == Path(_FILE) else ("-c", str(config))
    return printable(shlex.join(["taskwatch", "check", *options, *named]))
