"""What a silence would hold back: told before it is set."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from taskwatch.cli.options import Footing
from taskwatch.cli.output import print_json, print_table
from taskwatch.cli.page import moment
from taskwatch.cli.query import SHORT_ID
from taskwatch.report.words import age
from taskwatch.telemetry import printable

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config, WatchedProject
    from taskwatch.core.quiet import Silence
    from taskwatch.model.event import Event
    from taskwatch.store.reader import StoreReader
    from taskwatch.store.rows import AlertRow, EventRow, TaskRow

DAY: Final = timedelta(hours=24)  # of which a dry run looks at the events
EVENTS_LOOKED_AT: Final = 20_000
TASKS_LOOKED_AT: Final = 10_000
ALERTS_LOOKED_AT: Final = 100
SHOWN: Final = 20  # rows of each kind
MISSPELT: Final = (
    "No event of {looked_at} matches, no running task and no open alert: is a matcher misspelt? "
    "What matchers see shows taskwatch events --json, and with values of your own taskwatch route test."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What is known that a silence would take, or would have taken, the newest first."""

    looked_at: int  # events of the last day, the newest ones
    are_all: bool  # of that day
    events: "Sequence[EventRow]"
    # With the event of their failure; None: its labels and severity are the configuration's, which has mistakes.
    running: "Sequence[tuple[TaskRow, Event]] | None"
    alerts: "Sequence[AlertRow]"
    are_all_alerts: bool

    @property
    def types(self) -> dict[str, int]:
        found = Counter(row.type.removeprefix("taskwatch.") for row in self.events)
        return dict(found.most_common())


def preview(where: Footing, wanted: "Silence", now: datetime, *, as_json: bool) -> None:
    from taskwatch.store.reader import StoreReader

    with StoreReader(where.store.path) as reader:
        taken = _taken(reader, where.config, wanted, now)
    if as_json:
        print_json([_preview_row(wanted, taken)])
    else:
        _show(wanted, taken, now)
    if taken.running is not None and not (taken.events or taken.running or taken.alerts):
        looked_at = "the last 24 h" if taken.are_all else f"the newest {taken.looked_at:,}"
        click.echo(MISSPELT.format(looked_at=looked_at), err=True)


def _taken(reader: "StoreReader", config: "Config | None", wanted: "Silence", now: datetime) -> _Taken:
    alerts = reader.alerts(limit=ALERTS_LOOKED_AT + 1)
    events, looked_at = [], 0
    for row in reader.each_event(since=now - DAY, limit=EVENTS_LOOKED_AT + 1):
        looked_at += 1
        if looked_at <= EVENTS_LOOKED_AT and _would_hold(wanted, row.body):
            events.append(row)
    return _Taken(
        looked_at=min(looked_at, EVENTS_LOOKED_AT),
        are_all=looked_at <= EVENTS_LOOKED_AT,
        events=events,
        running=None if config is None else list(_running(reader, config, wanted, now)),
        alerts=[row for row in alerts[:ALERTS_LOOKED_AT] if _is_taken(wanted, row.body)],
        are_all_alerts=len(alerts) <= ALERTS_LOOKED_AT,
    )


def _would_hold(wanted: "Silence", body: bytes) -> bool:
    import json

    is_end = bool(json.loads(body)["data"].get("resolves"))  # never held: whoever was told hears it
    return not is_end and _is_taken(wanted, body)


def _is_taken(wanted: "Silence", body: bytes) -> bool:
    from taskwatch.core.attributes import attributes_of

    return wanted.covers(attributes_of(body), wanted.begins_at)


def _running(
    reader: "StoreReader", config: "Config", wanted: "Silence", now: datetime
) -> "Iterator[tuple[TaskRow, Event]]":
    """Yield the tasks that have not ended and whose failure it would take. Of projects that are watched no more none can fail."""
    watched = _watched(reader, config)
    for row in reader.tasks(limit=TASKS_LOOKED_AT):
        if row.task.has_ended or row.is_gone or row.project not in watched:
            continue
        failure = _failure(row, watched[row.project], now)
        if wanted.covers(failure.attributes, now):
            yield row, failure


def _watched(reader: "StoreReader", config: "Config") -> "dict[str, WatchedProject]":
    """Return the projects by name; those that are configured by their names in the cloud as the store knows them."""
    ids = {row.name: row.identity.project_id for row in reversed(reader.projects(limit=100_000))}
    named = [one.identified(ids[one.name]) for one in config.named if one.name in ids]
    return {watched.name: watched for watched in (*config.projects, *named)}


def _failure(row: "TaskRow", watched: "WatchedProject", now: datetime) -> "Event":
    """Make the event that would say that the task failed now. Its reason is what nobody knows."""
    from taskwatch.core.events import task_event
    from taskwatch.model.event import Reading, Transition
    from taskwatch.model.task import FAILED

    return task_event(
        Transition(
            task=replace(row.task, status=FAILED),
            from_status=row.task.status,
            to_status=FAILED,
            revision=row.revision + 1,
        ),
        project=watched.project,
        sequence=1,
        reading=Reading(observed_at=now, previous_observed_at=None, gap_seconds=None, late=False),
        failure_severities=watched.severity,
    )


def _preview_row(wanted: "Silence", taken: _Taken) -> dict[str, object]:
    return {
        "dry_run": True,
        "matchers": [str(matcher) for matcher in wanted.matchers],
        "ends_at": wanted.ends_at,
        "events_looked_at": taken.looked_at,
        "events": len(taken.events),
        "events_by_type": taken.types,
        "newest_event_ids": [row.id for row in taken.events[:SHOWN]],
        "running_job_ids": None if taken.running is None else [row.task.job_id for row, _ in taken.running],
        "open_alert_event_ids": [row.event_id for row in taken.alerts],
        "held_alert_event_ids": [row.event_id for row in taken.alerts if row.held_by and not row.is_told],
    }


def _show(wanted: "Silence", taken: _Taken, now: datetime) -> None:
    click.echo(f"Nothing was added. Until {moment(wanted.ends_at)} it would hold back what matches")
    for matcher in wanted.matchers:
        click.echo(f"  {printable(str(matcher))}")
    _show_events(taken)
    _show_running(wanted, taken)
    _show_alerts(taken, now)


def _show_events(taken: _Taken) -> None:
    types = ", ".join(f"{number} {name}" for name, number in taken.types.items())
    looked_at = f"{'' if taken.are_all else 'the newest '}{taken.looked_at}"
    click.echo(f"\nEvents of the last 24 h that it takes: {len(taken.events)} of {looked_at}", nl=False)
    click.echo(f": {types}" if types else "")
    _print_newest(
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
            for row in taken.events
        ],
        spare=("SEVERITY", "PROJECT", "EVENT ID"),
    )


def _show_running(wanted: "Silence", taken: _Taken) -> None:
    if taken.running is None:
        click.echo("\nRunning tasks whose failure it takes: not known while the configuration has mistakes.")
        return
    click.echo(f"\nRunning tasks whose failure it takes: {len(taken.running)}")
    if any(matcher.name == "fail_reason" for matcher in wanted.matchers):
        click.echo("Their fail_reason nobody knows yet: here it is empty.")
    _print_newest(
        ("STATUS", "TASK", "INSTANCE", "PROJECT", "SEVERITY", "JOB ID"),
        [
            (
                row.task.status,
                row.task.name,
                row.task.instance.name,
                row.project,
                failure.severity,
                row.task.job_id,
            )
            for row, failure in taken.running
        ],
        spare=("JOB ID", "SEVERITY", "PROJECT"),
    )


def _show_alerts(taken: _Taken, now: datetime) -> None:
    looked_at = "" if taken.are_all_alerts else f" of the newest {ALERTS_LOOKED_AT}"
    click.echo(f"\nOpen alerts that match: {len(taken.alerts)}{looked_at}")
    if taken.alerts:
        click.echo(f"{_told(taken.alerts)} stay open: a silence ends none, only what comes after is held.")
    _print_newest(
        ("FOR", "SEVERITY", "ALERT", "PROJECT", "SUMMARY", "JOB ID"),
        [
            (
                age(row.since, now),
                row.severity,
                row.type.removeprefix("taskwatch."),
                row.project,
                row.summary,
                None if row.task is None else row.task.job_id,
            )
            for row in taken.alerts
        ],
        spare=("SEVERITY", "PROJECT", "ALERT"),
        whole=("JOB ID",),
    )


def _told(alerts: "Sequence[AlertRow]") -> str:
    """Say how many of them somebody was told of, and what keeps the others back."""
    told = sum(row.is_told for row in alerts)
    if told == len(alerts):
        return "They were told already and"
    held = Counter(row.held_by for row in alerts if not row.is_told)
    others = [
        f"{number} told to nobody" if by is None else f"{number} held back by {printable(by)}"
        for by, number in held.most_common()
    ]
    return f"{', '.join([f'{told} told already', *others])}. They"


def _print_newest(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    spare: Sequence[str],
    whole: Sequence[str] = (),
) -> None:
    if rows:
        print_table(headings, rows[:SHOWN], empty="", spare=spare, whole=whole)
    if len(rows) > SHOWN:
        click.echo(f"… and {len(rows) - SHOWN} more")
