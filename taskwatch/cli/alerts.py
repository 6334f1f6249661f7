"""`taskwatch alerts`, `ack`, `resolve`: what needs attention, who has it, and that it is over."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from taskwatch.cli.options import DurationType, config_option, footing
from taskwatch.cli.output import few, print_json, print_table
from taskwatch.cli.page import moment
from taskwatch.cli.query import filters, found, instance_option, name_option, type_option
from taskwatch.report.words import age, counted

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.store.reader import StoreReader
    from taskwatch.store.rows import AlertRow

CANDIDATES: Final = 5  # shown of an ambiguous beginning

_jobs = click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
_comment = click.option("--comment", metavar="TEXT", help="What others should know of it.")


@click.command(epilog="Example: taskwatch alerts")
@filters(type_option, name_option, instance_option)
def alerts(config: Path | None, as_json: bool, **chosen: Any) -> None:
    """List what needs attention now, since when, and who has it; the newest first.

    An alert ends by itself when the same work succeeds later, when its instance is deleted, when what was
    gone is there again, or with `taskwatch resolve`.
    """
    now = datetime.now(UTC)
    with found(footing(config), lambda reader: reader.alerts, **chosen) as rows:
        _print(rows, now, as_json=as_json)


def _print(rows: "Sequence[AlertRow]", now: datetime, *, as_json: bool) -> None:
    from taskwatch.report.rows import Alert, holder

    if as_json:
        print_json(Alert.of(row, now).shown() for row in rows)
        return
    print_table(
        ("FOR", "SEVERITY", "ALERT", "PROJECT", "HAS IT", "SUMMARY", "JOB ID"),
        [
            (
                age(row.since, now),
                row.severity,
                row.type.removeprefix("taskwatch."),
                row.project,
                holder(row, now) or _silence(row),
                row.summary,
                None if row.task is None else row.task.job_id,
            )
            for row in rows
        ],
        empty="Nothing needs attention.",
        spare=("SEVERITY", "PROJECT", "ALERT"),
        whole=("JOB ID",),
    )


def _silence(row: "AlertRow") -> str | None:
    """Say why nobody can have it: nobody was told."""
    return None if row.held_by is None or row.is_told else f"nobody: {row.held_by}"


@click.command(epilog='Example: taskwatch ack 03bc055a-135c-4245-8bd8-b0bc6d3350b3 --comment "on it"')
@_jobs
@_comment
@click.option("--for", "seconds", type=DurationType(), metavar="DURATION", help="Only for so long, as 4h.")
@config_option
def ack(job_ids: tuple[str, ...], comment: str | None, seconds: float | None, config: Path | None) -> None:
    """Say that you have the alerts of these tasks: they stay open, and `taskwatch alerts` shows who has them.

    JOB_ID may be cut while the alerts of no other task begin so.
    Nobody is told of it, and nothing else changes.
    """
    from taskwatch.model.alert import LONGEST_HOLD, SHORTEST_HOLD
    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator

    if seconds is not None and not SHORTEST_HOLD <= seconds <= LONGEST_HOLD:
        raise click.BadParameter("write 1m to 365d, as 4h, or leave it out", param_hint="--for")
    store = footing(config).store.path
    wanted = _meant(store, job_ids)
    now = datetime.now(UTC)
    until = None if seconds is None else now + timedelta(seconds=seconds)
    with Desk(store, by=operator()) as desk:
        taken = desk.acknowledge(list(wanted), until=until, comment=comment, at=now)
    _tell(taken, wanted, "acknowledged" if until is None else f"acknowledged until {moment(until)}")


@click.command(epilog='Example: taskwatch resolve 03bc055a-135c-4245-8bd8-b0bc6d3350b3 --comment "by hand"')
@_jobs
@_comment
@config_option
def resolve(job_ids: tuple[str, ...], comment: str | None, config: Path | None) -> None:
    """End the alerts of these tasks, and tell that to those who were told of them.

    For what was mended in a way that no task shows. Without a daemon it is told when one runs. JOB_ID may be
    cut while the alerts of no other task begin so.
    """
    import asyncio

    from taskwatch.cli.request import ask
    from taskwatch.model.operation import Action
    from taskwatch.store.lock import is_watched

    where = footing(config)
    wanted = _meant(where.store.path, job_ids)
    if is_watched(where.store.path):
        argument = {"jobs": list(wanted), "comment": comment}
        resolved = ask(where.store.path, Action.RESOLVE, argument)["resolved"]
    else:
        resolved = asyncio.run(_resolve(where.whole(), list(wanted), comment))
    _tell(resolved, wanted, "resolved")


def _meant(store: Path, written: Sequence[str]) -> dict[str, str | None]:
    """Return the ids of the tasks that are meant, and what is open of them; None: nothing, and the id is as it was written."""
    from taskwatch.store.reader import StoreReader

    with StoreReader(store) as reader:
        return dict(_task_meant(reader, one) for one in written)


def _task_meant(reader: "StoreReader", written: str) -> tuple[str, str | None]:
    from taskwatch.errors import TaskwatchError
    from taskwatch.telemetry import printable

    beginning = written.strip().removesuffix("…")
    if not beginning:
        raise click.BadParameter("write the id of a task, or its beginning", param_hint="JOB_ID")
    found = reader.alerted_jobs(beginning, limit=CANDIDATES + 1)
    if not found or beginning in found:
        return beginning, found.get(beginning)
    if len(found) > 1:
        told = f"open alerts of several tasks begin with {beginning}, write more of it: {few(list(found), shown=CANDIDATES)}"
        raise TaskwatchError(printable(told))
    return next(iter(found.items()))


async def _resolve(config: "Config", job_ids: Sequence[str], comment: str | None) -> list[str]:
    from taskwatch.app import opened_store
    from taskwatch.engine.operate import resolve as resolved_in
    from taskwatch.model.operation import Action
    from taskwatch.model.project import Project
    from taskwatch.store.lock import Role
    from taskwatch.store.operations import operator

    configured = {watched.project.identity: watched.project for watched in config.projects}
    resolved: list[str] = []
    by, now = operator(), datetime.now(UTC)
    async with opened_store(config, role=Role.COMMAND) as store:
        for identity, (name, jobs) in (await store.projects_of(job_ids)).items():
            project = configured.get(identity, Project(identity=identity, name=name))
            await resolved_in(store, project, jobs, by=by, comment=comment, at=now)
            resolved += jobs
        if resolved:
            await store.note(Action.RESOLVE, by=by, argument={"jobs": resolved, "comment": comment})
    return resolved


def _tell(done: Sequence[str], asked: Mapping[str, str | None], what: str) -> None:
    """Say of which tasks the alerts were changed. Raises TaskwatchError where a task has none."""
    from taskwatch.errors import TaskwatchError
    from taskwatch.telemetry import printable

    for job_id, summary in asked.items():
        if job_id in done:
            click.echo(printable(f"{job_id}  {summary or ''}".rstrip()))
    if done:
        click.echo(f"{counted(len(set(done)), 'task')} {what}", err=True)
    if missing := [job_id for job_id in asked if job_id not in done]:
        raise TaskwatchError(
            printable(f"no open alert of {few(missing)}; taskwatch alerts shows those there are")
        )
