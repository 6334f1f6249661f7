"""`taskwatch alerts`, `ack`, `resolve`: what needs attention, who has it, and that it is over."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskwatch.cli.options import DurationType, config_option, loaded
from taskwatch.cli.output import age, counted, few, print_json, print_table
from taskwatch.cli.query import filters, found, instance_option, name_option, type_option

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.store.rows import AlertRow

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
    with found(config, lambda reader: reader.alerts, **chosen) as rows:
        _print(rows, now, as_json=as_json)


def _print(rows: "Sequence[AlertRow]", now: datetime, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "event_id": row.event_id,
                "type": row.type,
                "severity": row.severity,
                "summary": row.summary,
                "since": row.since,
                "project": row.project,
                "subject": row.subject,
                "job_id": None if row.task is None else row.task.job_id,
                "name": None if row.task is None else row.task.name,
                "instance_id": None if row.task is None else row.task.instance.id,
                "instance_name": None if row.task is None else row.task.instance.name,
                "status": None if row.task is None else row.task.status,
                "acknowledged": _holder(row, now) is not None,
                "acknowledged_at": row.acknowledged_at,
                "acknowledged_by": row.acknowledged_by,
                "acknowledged_until": row.acknowledged_until,
                "comment": row.acknowledgement,
            }
            for row in rows
        )
        return
    print_table(
        ("FOR", "SEVERITY", "ALERT", "PROJECT", "HAS IT", "SUMMARY", "JOB ID"),
        [
            (
                age(row.since, now),
                row.severity,
                row.type.removeprefix("taskwatch."),
                row.project,
                _holder(row, now),
                row.summary,
                None if row.task is None else row.task.job_id,
            )
            for row in rows
        ],
        empty="Nothing needs attention.",
        spare=("SEVERITY", "PROJECT", "ALERT"),
    )


def _holder(row: "AlertRow", now: datetime) -> str | None:
    """Return who has said to have it, unless that was for a time which is over."""
    is_over = row.acknowledged_until is not None and row.acknowledged_until <= now
    return None if is_over or row.acknowledged_by is None else row.acknowledged_by.split(" (")[0]


@click.command(epilog='Example: taskwatch ack 03bc055a-135c-4245-8bd8-b0bc6d3350b3 --comment "on it"')
@_jobs
@_comment
@click.option("--for", "seconds", type=DurationType(), metavar="DURATION", help="Only for so long, as 4h.")
@config_option
def ack(job_ids: tuple[str, ...], comment: str | None, seconds: float | None, config: Path | None) -> None:
    """Say that you have the alerts of these tasks: they stay open, and `taskwatch alerts` shows who has them.

    Nobody is told of it, and nothing else changes.
    """
    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator

    store = loaded(config).store.path
    now = datetime.now(UTC)
    until = None if seconds is None else now + timedelta(seconds=seconds)
    with Desk(store, by=operator()) as desk:
        taken = desk.acknowledge(job_ids, until=until, comment=comment, at=now)
    _tell(taken, job_ids, "acknowledged")


@click.command(epilog='Example: taskwatch resolve 03bc055a-135c-4245-8bd8-b0bc6d3350b3 --comment "by hand"')
@_jobs
@_comment
@config_option
def resolve(job_ids: tuple[str, ...], comment: str | None, config: Path | None) -> None:
    """End the alerts of these tasks, and tell that to those who were told of them.

    For what was mended in a way that no task shows. Without a daemon it is told when one runs.
    """
    import asyncio

    from taskwatch.cli.request import ask
    from taskwatch.model.operation import Action
    from taskwatch.store.lock import is_watched

    configuration = loaded(config)
    if is_watched(configuration.store.path):
        argument = {"jobs": list(job_ids), "comment": comment}
        resolved = ask(configuration.store.path, Action.RESOLVE, argument)["resolved"]
    else:
        resolved = asyncio.run(_resolve(configuration, job_ids, comment))
    _tell(resolved, job_ids, "resolved")


async def _resolve(config: "Config", job_ids: Sequence[str], comment: str | None) -> list[str]:
    from taskwatch.app import opened_store
    from taskwatch.engine.operate import resolve as resolved_in
    from taskwatch.model.operation import Action
    from taskwatch.model.project import Project
    from taskwatch.store.lock import Role
    from taskwatch.store.operations import operator
    from taskwatch.store.reader import StoreReader

    with StoreReader(config.store.path):
        pass  # nothing is begun where there is no store yet
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


def _tell(done: Sequence[str], asked: Sequence[str], what: str) -> None:
    """Say of how many tasks the alerts were changed. Raises TaskwatchError where a task has none."""
    from taskwatch.errors import TaskwatchError
    from taskwatch.telemetry import printable

    if done:
        click.echo(f"{counted(len(set(done)), 'task')} {what}", err=True)
    if missing := [job_id for job_id in dict.fromkeys(asked) if job_id not in done]:
        raise TaskwatchError(
            printable(f"no open alert of {few(missing)}; taskwatch alerts shows those there are")
        )
