"""`taskwatch projects`, `tasks`, `events`: what is known."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from taskwatch.cli.options import Footing, config_option, footing
from taskwatch.cli.output import few, print_json, print_table
from taskwatch.report.words import age

if TYPE_CHECKING:
    from taskwatch.report.standing import Daemon, Standing
    from taskwatch.store.reader import StoreReader
    from taskwatch.store.rows import EventRow, TaskRow

Command = Callable[..., Any]
Row = TypeVar("Row")

# Each project may have heard another time.
_NEXT_TRY: Final = re.compile(r" \([^()]*next try in [^()]*\)$")
SHORT_ID: Final = 10  # characters of an event id in a table: enough to find it again


class _Since(click.ParamType[datetime]):
    """A duration back from now (2h, 3d), or an ISO date or time."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from taskwatch.report.since import parse_since

        if isinstance(value, datetime):
            return value
        try:
            return parse_since(value, now=datetime.now(UTC), zone=None)
        except ValueError as error:
            self.fail(f"{value!r} is {error}", param, ctx)


def filters(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Declare the options of a query, in this order, with those that every query has."""

    def declare(function: Command) -> Command:
        everywhere: tuple[Callable[[Command], Command], ...] = (
            click.option(
                "--limit",
                type=click.IntRange(1, 100_000),
                default=100,
                show_default=True,
                help="At most so many.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print JSON Lines."),
        )
        declared: list[Callable[[Command], Command]] = [
            config_option,
            _project,
            *options,
            _since,
            *everywhere,
        ]
        for option in reversed(declared):
            function = option(function)
        return function

    return declare


_project = click.option("--project", metavar="NAME", help="Of this project.")
_since = click.option("--since", type=_Since(), metavar="TIME", help="Since then: 2h, 7d, 2026-11-23.")
name_option = click.option("--name", metavar="GLOB", help="Tasks of this name, as Backup*.")
instance_option = click.option("--instance", metavar="NAME", help="Of this instance, by name or id.")
type_option = click.option("--type", "event_type", metavar="TYPE", help="Of this type, as task.failed.")


@click.command(epilog="Example: taskwatch tasks --status Running")
@filters(click.option("--status", help="In this status."), name_option, instance_option)
def tasks(config: Path | None, as_json: bool, **chosen: Any) -> None:
    """List the tasks that are known, the newest first."""
    now = datetime.now(UTC)
    with found(footing(config), lambda reader: reader.tasks, **chosen) as rows:
        _print_tasks(rows, now, as_json=as_json)


def _print_tasks(rows: "Sequence[TaskRow]", now: datetime, *, as_json: bool) -> None:
    if as_json:
        from taskwatch.report.rows import Task

        print_json(Task.of(row).shown() for row in rows)
        return
    print_table(
        ("STATUS", "PROGRESS", "TASK", "INSTANCE", "PROJECT", "AGO", "TOOK", "JOB ID", "REASON"),
        [
            (
                f"{row.task.status} (gone)" if row.is_gone and not row.task.has_ended else row.task.status,
                None if row.task.progress is None else f"{row.task.progress} %",
                row.task.name,
                row.task.instance.name,
                row.project,
                None if row.task.created_at is None else age(row.task.created_at, now),
                _took(row.task.created_at, row.task.ended_at if row.task.has_ended else now),
                row.task.job_id,
                row.task.fail_reason or None,
            )
            for row in rows
        ],
        empty="No tasks are known that match.",
        spare=("JOB ID", "PROGRESS", "AGO", "PROJECT"),
    )


@click.command(epilog="Example: taskwatch events --type task.failed --since 24h")
@filters(type_option, name_option, instance_option)
def events(config: Path | None, as_json: bool, **chosen: Any) -> None:
    """List the events that were recorded, the newest first. With --json, as they were told."""
    with found(footing(config), lambda reader: reader.events, **chosen) as rows:
        _print_events(rows, as_json=as_json)


def _print_events(rows: "Sequence[EventRow]", *, as_json: bool) -> None:
    if as_json:
        import json

        print_json(json.loads(row.body) for row in rows)
        return
    print_table(
        ("TIME", "TYPE", "SEVERITY", "PROJECT", "SUMMARY", "EVENT ID"),
        [
            (
                row.time,
                row.type.removeprefix("taskwatch."),
                row.severity,
                row.project,
                row.summary,
                row.id[:SHORT_ID],
            )
            for row in rows
        ],
        empty="No events were recorded that match.",
        spare=("SEVERITY", "PROJECT", "EVENT ID"),
    )


@click.command(epilog="Example: taskwatch projects")
@config_option
@click.option("--project", metavar="NAME", help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
def projects(config: Path | None, project: str | None, as_json: bool) -> None:
    """List the projects: how fresh what is known of each is, when it is polled next, and what is in the way."""
    from taskwatch.report.standing import standings
    from taskwatch.store.reader import StoreReader
    from taskwatch.telemetry import printable

    where = footing(config)
    daemon, remarks = _heard_of(where.store.path)
    now = datetime.now(UTC)
    with StoreReader(where.store.path) as reader:
        rows = standings(where.config, reader.projects(limit=100_000), now=now, daemon=daemon)
    rows = [row for row in rows if project in (None, row.name)]
    for remark in remarks:
        click.echo(printable(remark), err=True)
    if as_json:
        from taskwatch.report.rows import Project

        print_json(Project.of(row).shown() for row in rows)
        return
    print_table(
        ("PROJECT", "STATE", "READ", "EVERY", "NEXT", "RUNNING", "TASKS", "HOST", "TROUBLE"),
        [
            (
                row.name,
                row.state,
                None if row.read_at is None else f"{age(row.read_at, now)} ago",
                None if row.interval_seconds is None else f"{row.interval_seconds:g} s",
                None if row.next_poll_at is None else f"in {age(now, row.next_poll_at)}",
                row.running,
                row.tasks,
                row.host,
                _trouble(row, now),
            )
            for row in rows
        ],
        empty="No such project is configured or known.",
        spare=("HOST", "TASKS", "RUNNING", "NEXT"),
    )
    for line in _errors(rows):
        click.echo(printable(line))


@contextmanager
def found(
    where: Footing,
    method: "Callable[[StoreReader], Callable[..., list[Row]]]",
    *,
    limit: int,
    **chosen: Any,
) -> Iterator[list[Row]]:
    """Yield what a method of the reader finds; say in the end that there is more, if the limit hides it.

    Where nothing is found, a filter that names what is not there is wrong usage: a typo would look like peace.
    """
    from taskwatch.store.reader import StoreReader

    with StoreReader(where.store.path) as reader:
        rows = method(reader)(**chosen, limit=limit + 1)
        if not rows:
            require_known(where, reader, **chosen)
    yield rows[:limit]
    if len(rows) > limit:
        click.echo("… and more: --limit N shows them", err=True)


def require_known(
    where: Footing,
    reader: "StoreReader",
    *,
    project: str | None = None,
    event_type: str | None = None,
    receiver: str | None = None,
    status: str | None = None,
    **_: object,
) -> None:
    """Refuse a filter that names what is neither configured nor on record."""
    if event_type is not None:
        from taskwatch.cli.route import event_type_of

        event_type_of(event_type)
    from taskwatch.report.known import unknown
    from taskwatch.telemetry import printable

    found = unknown(reader, where.config, project=project, receiver=receiver, status=status)
    if found is not None:
        raise click.BadParameter(
            printable(f"no {found.what} {found.written!r} is known; {found.remedy}"),
            param_hint=f"--{found.what}",
        )


def _heard_of(store: Path) -> "tuple[Daemon, Sequence[str]]":
    """Ask the daemon how things stand; return what is known of it, and what is to be said of that. Not printable yet."""
    from taskwatch.cli.request import freshen
    from taskwatch.errors import RequestError, StoreFailedError
    from taskwatch.report.standing import Daemon
    from taskwatch.store.lock import is_watched

    if not is_watched(store):
        return Daemon.NONE, ["No daemon is running: this is what the last one knew."]
    try:
        unheeded = freshen(store)
    except RequestError:
        return Daemon.SILENT, ["The daemon does not answer: this is what it said last. Its log may say more."]
    except StoreFailedError as error:
        return Daemon.ANSWERS, [f"This may be half a minute old: {error}"]
    return Daemon.ANSWERS, [f"{line[:1].upper()}{line[1:]}" for line in unheeded]


def _trouble(row: "Standing", now: datetime) -> str | None:
    return None if row.since is None else f"{row.cause} for {age(row.since, now)}"


def _errors(rows: "Sequence[Standing]") -> Iterator[str]:
    """Say what is in the way, once for all that it is in the way of."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    texts: dict[str, str] = {}
    for row in rows:
        if row.error is not None:
            what = _NEXT_TRY.sub("", row.error)
            names[what].append(row.name)
            texts.setdefault(what, row.error)
    for what, text in texts.items():
        yield f"{few(names[what])}: {text}"


def _took(since: datetime | None, until: datetime | None) -> str | None:
    return None if since is None or until is None else age(since, until)
