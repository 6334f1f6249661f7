"""`taskwatch poll`: one poll of each project, now."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskwatch.cli.options import Footing, config_option, footing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskwatch.config.configuration import Config
    from taskwatch.engine.watch import Watch
    from taskwatch.errors import CloudError
    from taskwatch.model.event import Event
    from taskwatch.store.rows import EventRow

NOT_POLLED = 3  # the exit code
UNKNOWN_TIMEOUT = 60.0  # seconds for one poll, where none is known
DELIVERY_SECONDS = 60.0  # for what is due now; what is left is pending, and the next run's

_Troubles = dict[str, list[str]]
"""What is wrong, and with which projects: one thing may stop them all."""


@click.command(epilog="Example: taskwatch poll --project prod --dry-run")
@config_option
@click.option("--project", "names", multiple=True, metavar="NAME", help="Only this project; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Show what would be told; record and deliver nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON Lines.")
def poll(config: Path | None, names: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Poll each project once, now; print, record and deliver what changed.

    The running daemon does it, if there is one; --dry-run looks at the cloud from the side.
    """
    import asyncio
    from dataclasses import replace

    from taskwatch import telemetry
    from taskwatch.app import require_secret
    from taskwatch.store.lock import is_watched

    where = footing(config)
    if where.config is None and not dry_run and is_watched(where.store.path):
        return _ask(where, names, as_json)
    configuration = where.whole()
    require_secret(configuration)
    # As configured: what a receiver of type log is given here counts as delivered.
    telemetry.configure(format_=configuration.log.format, level=configuration.log.level)
    unknown = sorted(set(names) - {project.name for project in configuration.configured})
    if unknown:
        raise click.BadParameter(f"no project {unknown[0]!r} in {configuration.path}", param_hint="--project")
    if names:
        configuration = replace(
            configuration,
            projects=tuple(project for project in configuration.projects if project.name in names),
            named=tuple(project for project in configuration.named if project.name in names),
        )
    if dry_run:
        telemetry.configure(format_=configuration.log.format, level="error")  # what goes wrong is printed
        return asyncio.run(_glance(configuration, as_json))
    if is_watched(configuration.store.path):
        return _ask(where, [project.name for project in configuration.configured], as_json)
    return asyncio.run(_poll(configuration, as_json))


def _ask(where: Footing, names: "Sequence[str]", as_json: bool) -> int:
    """Let the running daemon poll, and tell what came of it."""
    from taskwatch.cli.request import ask
    from taskwatch.model.operation import Action
    from taskwatch.report.words import counted
    from taskwatch.store.reader import StoreReader
    from taskwatch.telemetry import printable

    configured = () if where.config is None else where.config.configured
    longest = max((one.timeout for one in configured if one.name in names), default=UNKNOWN_TIMEOUT)
    troubles: _Troubles = {}
    with StoreReader(where.store.path) as reader:
        names = names or [row.name for row in reader.projects(limit=100_000)]
        # A poll that is under way when the daemon is asked comes first.
        polls = ask(where.store.path, Action.POLL, {"projects": list(names)}, within=2 * longest)["polls"]
        for poll in polls:
            events = [row for event_id in poll["events"] for row in reader.events(event_id=event_id)]
            _print(events, as_json, project=poll["project"], width=_width(names))
            if poll["error"] is not None:
                troubles.setdefault(poll["error"], []).append(poll["project"])
            elif not as_json:
                read, told = counted(poll["rows"], "task"), counted(len(events), "event")
                click.echo(f"{printable(poll['project'])}: {read} read, {told}", err=True)
    silent = [name for name in names if name not in {poll["project"] for poll in polls}]
    if silent:
        troubles["the running daemon does not watch it; taskwatch reload, or its log says why"] = silent
    return _tell(troubles)


async def _poll(config: "Config", as_json: bool) -> int:
    import asyncio

    from taskwatch.app import build, opened_store
    from taskwatch.store.lock import Role

    async with opened_store(config, role=Role.COMMAND) as store, build(config, store=store) as app:
        code = _tell_unknown(await app.learn_names())
        code = await _each(app.watches, as_json, commits=True) or code
        await app.housekeeper.keep_freshness()
        ends = await asyncio.gather(
            *(lane.drained(patience=DELIVERY_SECONDS) for lane in app.lanes), return_exceptions=True
        )
    for end in ends:
        if end is not None:
            raise end
    return code


async def _glance(config: "Config", as_json: bool) -> int:
    from taskwatch import telemetry
    from taskwatch.app import pollers
    from taskwatch.clock import SystemClock
    from taskwatch.store.glance import ReadOnlyLedger

    with ReadOnlyLedger(config.store.path) as ledger:
        async with pollers(
            config,
            ledger=ledger,
            told=lambda events: None,  # noqa: ARG005  (nobody is to hear of it)
            clock=SystemClock(),
            log=telemetry.logger(),
        ) as (watches, troubles):
            code = _tell_unknown(troubles)
            return await _each(watches, as_json, commits=False) or code


def _tell_unknown(troubles: "Mapping[str, CloudError]") -> int:
    """Print why projects that are given by their name cannot be polled; return the exit code."""
    alike: _Troubles = {}
    for name, trouble in troubles.items():
        alike.setdefault(trouble.message, []).append(name)  # without its next try: there is none
    return _tell(alike)


def _tell(troubles: _Troubles) -> int:
    """Print each trouble once, with the first few of those that have it; return the exit code."""
    from taskwatch.cli.output import few
    from taskwatch.telemetry import printable

    for text, names in troubles.items():
        click.echo(printable(f"{few(names)}: {text}"), err=True)
    return NOT_POLLED if troubles else 0


async def _each(watches: "Sequence[Watch]", as_json: bool, *, commits: bool) -> int:
    """Poll all at once, print in the order of the configuration; return the exit code."""
    import asyncio

    from taskwatch.errors import CloudError
    from taskwatch.report.words import counted
    from taskwatch.telemetry import printable

    results = await asyncio.gather(
        *(watch.poller.poll(commits=commits) for watch in watches), return_exceptions=True
    )
    names = [watch.poller.project.name for watch in watches]
    troubles: _Troubles = {}
    broken: BaseException | None = None
    for name, result in zip(names, results, strict=True):
        if isinstance(result, CloudError):
            troubles.setdefault(result.message, []).append(name)
            continue
        if isinstance(result, BaseException):
            broken = result  # the store, or a mistake of ours: no matter of this project
            continue
        if result.listing.failure is not None:
            said = f"read in part only: {result.listing.failure}"
            troubles.setdefault(said, []).append(name)
        _print(result.events, as_json, project=name, width=_width(names))
        if not as_json:
            read, told = counted(result.listing.rows, "task"), counted(len(result.events), "event")
            click.echo(f"{printable(name)}: {read} read, {told}", err=True)
    code = _tell(troubles)
    if broken is not None:
        raise broken
    return code


def _width(names: "Sequence[str]") -> int:
    """Return how wide the column of projects is."""
    from taskwatch.telemetry import printable

    return max((len(printable(name)) for name in names), default=0)


def _print(events: "Sequence[Event | EventRow]", as_json: bool, *, project: str, width: int) -> None:
    import json

    from taskwatch.cli.output import coloured, print_json
    from taskwatch.telemetry import printable

    if as_json:
        print_json(json.loads(event.body) for event in events)
        return
    for event in events:
        kind = event.type.removeprefix("taskwatch.").ljust(18)
        click.echo(
            f"{coloured(kind, event.severity)} {printable(project):<{width}}  {printable(event.summary)}"
        )
