"""`taskwatch silence`: for a time nobody is told of some events; what still needs attention is told at its end."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from taskwatch.cli.guide import GuidingGroup
from taskwatch.cli.options import DurationType, config_option, loaded
from taskwatch.cli.output import age, counted, few, print_json, print_table
from taskwatch.cli.query import SHORT_ID

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config, WatchedProject
    from taskwatch.core.matchers import Matcher
    from taskwatch.core.quiet import Mute, Silence
    from taskwatch.model.event import Event
    from taskwatch.store.reader import StoreReader
    from taskwatch.store.rows import AlertRow, EventRow, TaskRow

LONGEST: Final = timedelta(days=365)
DAY: Final = timedelta(hours=24)  # of which a dry run looks at the events
EVENTS_LOOKED_AT: Final = 1_000
TASKS_LOOKED_AT: Final = 10_000
ALERTS_LOOKED_AT: Final = 100
SHOWN: Final = 20  # rows of each kind
LAST_NUMBER: Final = 2**63 - 1  # that SQLite knows
MISSPELT: Final = (
    "No event of the last 24 h matches, no running task and no open alert: is a matcher misspelt? "
    "What matchers see shows taskwatch events --json, and with values of your own taskwatch route test."
)
ADD_EXAMPLE: Final = """taskwatch silence add 'project = "prod"' --for 2h --comment upgrade"""


class _Ahead(click.ParamType[datetime]):
    """A duration from now (2h, 3d), or an ISO date or time."""

    name = "until"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from taskwatch.config.fields import parse_duration

        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) + min(timedelta(seconds=parse_duration(value)), 2 * LONGEST)
        except (ValueError, OverflowError):
            pass
        try:
            return datetime.fromisoformat(value).astimezone(UTC)  # without a zone it is this machine's
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither a duration (30m, 4h, 2d) nor a time to come (2026-11-23T10:00Z)",
                param,
                ctx,
            )


@click.group(cls=GuidingGroup, epilog=f"Example: {ADD_EXAMPLE}")
def silence() -> None:
    """Tell nobody of some events for a time; what still needs attention is told at its end."""


@silence.command(short_help="Tell nobody of what matches, for a time.", epilog=f"Example: {ADD_EXAMPLE}")
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
@click.option("--for", "seconds", type=DurationType(), metavar="DURATION", help="For so long, as 4h.")
@click.option("--until", type=_Ahead(), metavar="TIME", help="Until then: 4h, 2026-11-24, 2026-11-24T06:00Z.")
@click.option("--comment", metavar="TEXT", help="What others should know of it.")
@click.option("--dry-run", is_flag=True, help="Add nothing; show what it would hold back.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
def add(
    *,
    matchers: tuple[str, ...],
    seconds: float | None,
    until: datetime | None,
    comment: str | None,
    dry_run: bool,
    as_json: bool,
    config: Path | None,
) -> None:
    """Tell nobody of the events that all of these matchers match, from now to the end that is given.

    A MATCHER is written as in the configuration, each in quotes of its own: 'project = "prod"', =, !=, =~ or !~.

    What happens is recorded and held back. At the end, what still needs attention is told, once; what was
    over by then is not. A silence ends no alert, and that an alert is over is told to those who know of it.
    """
    from taskwatch.core.quiet import Silence
    from taskwatch.store.operations import operator

    now = datetime.now(UTC)
    parsed = _parsed(matchers)
    _require_utf8(comment or "", "--comment")
    ends_at = _end(now, seconds, until)
    configuration = loaded(config)
    wanted = Silence(
        id=0, matchers=parsed, begins_at=now, ends_at=ends_at, by=operator(), comment=comment
    )  # its number is the store's to give
    if dry_run:
        _preview(configuration, wanted, now, as_json=as_json)
        return
    added = _added(configuration, wanted, matchers)
    if as_json:
        print_json([_row(added, now)])
    else:
        click.echo(f"{added} holds back what matches until {_spelt(ends_at)}")


def _parsed(texts: Sequence[str]) -> "tuple[Matcher, ...]":
    from taskwatch.core.matchers import MatcherError, Operator, parse_matcher
    from taskwatch.core.quiet import takes_everything

    for text in texts:
        _require_utf8(text, "MATCHER")
    try:
        matchers = tuple(parse_matcher(text) for text in texts)
    except MatcherError as error:
        taken_apart = set(texts) & set(Operator)
        hint = "; the shell took it apart: put each matcher in single quotes" if taken_apart else ""
        raise click.UsageError(f"{error}{hint}") from None
    if takes_everything(matchers):
        raise click.UsageError(
            "these matchers match also an event of which nothing is known, so most likely too much; add one that "
            """does not, as 'project = "prod"', or 'type =~ ".+"' if you mean it"""
        )
    return matchers


def _require_utf8(text: str, what: str) -> None:
    """Refuse what the shell handed over in another encoding: neither the store nor a pattern takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{text!r} is not UTF-8 text", param_hint=what) from None


def _end(now: datetime, seconds: float | None, until: datetime | None) -> datetime:
    if seconds is not None and until is not None:
        raise click.UsageError("--for and --until both say when it ends; give one of them")
    if seconds is not None:
        until = now + min(timedelta(seconds=seconds), 2 * LONGEST)
    if until is None:
        raise click.UsageError("say when it ends: --for 4h, or --until 2026-11-24T06:00Z")
    if until <= now:
        raise click.UsageError(f"a silence that ends at {_spelt(until)} is over; write a time to come")
    if until - now > LONGEST:
        raise click.UsageError(
            "a silence lasts 365d at most; what nobody is ever to be told of, leave out of the routes of the configuration"
        )
    return until


def _added(config: "Config", wanted: "Silence", matchers: Sequence[str]) -> "Silence":
    from taskwatch.store.desk import Desk

    with Desk(config.store.path, by=wanted.by) as desk:
        number = desk.silence(matchers, ends_at=wanted.ends_at, comment=wanted.comment, at=wanted.begins_at)
    return replace(wanted, id=number)


@silence.command(
    "list", short_help="List silences and mute windows.", epilog="Example: taskwatch silence list"
)
@click.option("--all", "everything", is_flag=True, help="Those too that have ended.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@config_option
def list_(everything: bool, as_json: bool, config: Path | None) -> None:
    """List the silences, and the mute windows of the configuration, in force now or not.

    What they hold back shows `taskwatch deliveries --state held`.
    """
    from taskwatch.store.reader import StoreReader

    configuration = loaded(config)
    now = datetime.now(UTC)
    since = now - timedelta(seconds=configuration.store.retention) if everything else now
    with StoreReader(configuration.store.path) as reader:
        hushes: list[Silence | Mute] = [*reader.silences(since=since), *configuration.mutes]
    if as_json:
        print_json(_row(hush, now) for hush in hushes)
        return
    print_table(
        ("NUMBER", "STATE", "ENDS", "MATCHERS", "BY", "COMMENT"),
        [_cells(hush, now) for hush in hushes],
        empty="No silence is in force, and the configuration has no mute window.",
        spare=("BY",),
    )


def _cells(hush: "Silence | Mute", now: datetime) -> tuple[object, ...]:
    from taskwatch.core.quiet import Silence

    matchers = ", ".join(map(str, hush.matchers)) or "(every event)"
    if isinstance(hush, Silence):
        by = hush.by.split(" (")[0]
        return hush.id, _state(hush, now), hush.ends_at, matchers, by, hush.comment
    weekly = ", ".join(map(str, hush.weekly))
    return None, _state(hush, now), f"{weekly} {hush.zone}", matchers, "configuration", str(hush)


def _state(hush: "Silence | Mute", now: datetime) -> str:
    from taskwatch.core.quiet import Silence

    if hush.is_in_force(now):
        return "in force"
    if not isinstance(hush, Silence):
        return "not now"
    return "ended" if hush.ends_at <= now else "to come"  # the clock was set back


def _row(hush: "Silence | Mute", now: datetime) -> dict[str, object]:
    from taskwatch.core.quiet import Silence

    said: dict[str, object] = {
        "silence": None,
        "mute": None,
        "in_force": hush.is_in_force(now),
        "matchers": [str(matcher) for matcher in hush.matchers],
        "begins_at": None,
        "ends_at": None,
        "weekly": None,
        "timezone": None,
        "by": "the configuration",
        "comment": None,
    }
    if isinstance(hush, Silence):
        return said | {
            "silence": hush.id,
            "begins_at": hush.begins_at,
            "ends_at": hush.ends_at,
            "by": hush.by,
            "comment": hush.comment,
        }
    weekly = [str(span) for span in hush.weekly]
    return said | {"mute": hush.name, "weekly": weekly, "timezone": str(hush.zone)}


@silence.command(short_help="End silences now.", epilog="Example: taskwatch silence expire 3")
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...", type=click.IntRange(1, LAST_NUMBER))
@config_option
def expire(numbers: tuple[int, ...], config: Path | None) -> None:
    """End silences now: what they held back and still needs attention is told, once.

    Mute windows are the configuration's: they end when they do, or with it.
    """
    from taskwatch.errors import TaskwatchError
    from taskwatch.store.desk import Desk
    from taskwatch.store.lock import is_watched
    from taskwatch.store.operations import operator

    store = loaded(config).store.path
    with Desk(store, by=operator()) as desk:
        ended = desk.expire(numbers, at=datetime.now(UTC))
    if ended:
        click.echo(f"{counted(len(ended), 'silence')} ended", err=True)
        if not is_watched(store):
            click.echo("No daemon is running: the next taskwatch run tells what was held back.", err=True)
    if missing := [str(number) for number in dict.fromkeys(numbers) if number not in ended]:
        raise TaskwatchError(
            f"no silence in force has the number {few(missing)}; taskwatch silence list shows those there are"
        )


# What a silence would hold back


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What is known that a silence would take, or would have taken, the newest first."""

    looked_at: int  # events of the last day, the newest ones
    are_all: bool  # of that day
    events: "Sequence[EventRow]"
    running: "Sequence[tuple[TaskRow, Event]]"  # with the event of their failure
    alerts: "Sequence[AlertRow]"
    are_all_alerts: bool

    @property
    def types(self) -> dict[str, int]:
        found = Counter(row.type.removeprefix("taskwatch.") for row in self.events)
        return dict(found.most_common())


def _preview(config: "Config", wanted: "Silence", now: datetime, *, as_json: bool) -> None:
    from taskwatch.store.reader import StoreReader

    with StoreReader(config.store.path) as reader:
        taken = _taken(reader, config, wanted, now)
    if as_json:
        print_json([_preview_row(wanted, taken)])
    else:
        _show(wanted, taken, now)
    if not (taken.events or taken.running or taken.alerts):
        click.echo(MISSPELT, err=True)


def _taken(reader: "StoreReader", config: "Config", wanted: "Silence", now: datetime) -> _Taken:
    events = reader.events(since=now - DAY, limit=EVENTS_LOOKED_AT + 1)
    alerts = reader.alerts(limit=ALERTS_LOOKED_AT + 1)
    bodies = {row.id: row.body for row in events}
    return _Taken(
        looked_at=len(events[:EVENTS_LOOKED_AT]),
        are_all=len(events) <= EVENTS_LOOKED_AT,
        events=[row for row in events[:EVENTS_LOOKED_AT] if _would_hold(wanted, row.body)],
        running=list(_running(reader, config, wanted, now)),
        alerts=[
            row
            for row in alerts[:ALERTS_LOOKED_AT]
            if _is_taken(wanted, bodies.get(row.event_id) or _body(reader, row))
        ],
        are_all_alerts=len(alerts) <= ALERTS_LOOKED_AT,
    )


def _would_hold(wanted: "Silence", body: bytes) -> bool:
    import json

    is_end = bool(json.loads(body)["data"].get("resolves"))  # never held: whoever was told hears it
    return not is_end and _is_taken(wanted, body)


def _is_taken(wanted: "Silence", body: bytes) -> bool:
    from taskwatch.core.attributes import attributes_of

    return wanted.covers(attributes_of(body), wanted.begins_at)


def _body(reader: "StoreReader", alert: "AlertRow") -> bytes:
    (event,) = reader.events(event_id=alert.event_id, limit=1)
    return event.body


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
        "running_job_ids": [row.task.job_id for row, _ in taken.running],
        "open_alert_event_ids": [row.event_id for row in taken.alerts],
    }


def _show(wanted: "Silence", taken: _Taken, now: datetime) -> None:
    from taskwatch.telemetry import printable

    click.echo(f"Nothing was added. Until {_spelt(wanted.ends_at)} it would hold back what matches")
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
        click.echo(
            "They were told already and stay open: a silence ends none, only what comes after is held."
        )
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
    )


def _print_newest(headings: Sequence[str], rows: Sequence[Sequence[object]], *, spare: Sequence[str]) -> None:
    if rows:
        print_table(headings, rows[:SHOWN], empty="", spare=spare)
    if len(rows) > SHOWN:
        click.echo(f"… and {len(rows) - SHOWN} more")


def _spelt(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
