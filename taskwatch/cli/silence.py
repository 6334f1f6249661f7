"""`taskwatch silence`: for a time nobody is told of some events; what still needs attention is told at its end."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from taskwatch.cli.guide import GuidingGroup
from taskwatch.cli.options import DurationType, config_option, footing
from taskwatch.cli.output import few, print_json, print_table
from taskwatch.cli.page import moment
from taskwatch.report.words import counted

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.core.matchers import Matcher
    from taskwatch.core.quiet import Mute, Silence

LAST_NUMBER: Final = 2**63 - 1  # that SQLite knows
ADD_EXAMPLE: Final = """taskwatch silence add 'project = "prod"' --for 2h --comment upgrade"""


class _Ahead(click.ParamType[datetime]):
    """A duration from now (2h, 3d), or an ISO date or time."""

    name = "until"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from taskwatch.config.fields import parse_duration
        from taskwatch.core.quiet import LONGEST

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
    where = footing(config)
    wanted = Silence(
        id=0, matchers=parsed, begins_at=now, ends_at=ends_at, by=operator(), comment=comment
    )  # its number is the store's to give
    if dry_run:
        from taskwatch.cli.foreseen import preview

        preview(where, wanted, now, as_json=as_json)
    else:
        _add(where.store.path, wanted, matchers, as_json=as_json)
    _warn_of_nothing(parsed, where.config)


def _add(store: Path, wanted: "Silence", matchers: Sequence[str], *, as_json: bool) -> None:
    added = _added(store, wanted, matchers)
    if as_json:
        from taskwatch.report.rows import Hush

        print_json([Hush.of(added, wanted.begins_at).shown()])
    else:
        click.echo(f"{added} holds back what matches until {moment(wanted.ends_at)}")


def _warn_of_nothing(matchers: "Sequence[Matcher]", config: "Config | None") -> None:
    """Say of which matchers it is known that they match nothing: most likely they are misspelt."""
    from taskwatch.config.advice import nothing_matches
    from taskwatch.telemetry import printable

    for matcher in matchers:
        if (why := nothing_matches(matcher, None if config is None else config.configured)) is not None:
            click.echo(printable(f"No event to come meets {matcher}: {why}"), err=True)


def _parsed(texts: Sequence[str]) -> "tuple[Matcher, ...]":
    from taskwatch.core.matchers import MatcherError, Operator
    from taskwatch.core.quiet import SilenceError, matchers_of

    for text in texts:
        _require_utf8(text, "MATCHER")
    try:
        return matchers_of(texts)
    except MatcherError as error:
        taken_apart = set(texts) & set(Operator)
        hint = "; the shell took it apart: put each matcher in single quotes" if taken_apart else ""
        raise click.UsageError(f"{error}{hint}") from None
    except SilenceError as error:
        raise click.UsageError(str(error)) from None


def _require_utf8(text: str, what: str) -> None:
    """Refuse what the shell handed over in another encoding: neither the store nor a pattern takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{text!r} is not UTF-8 text", param_hint=what) from None


def _end(now: datetime, seconds: float | None, until: datetime | None) -> datetime:
    from taskwatch.core.quiet import LONGEST, SilenceError, require_end

    if seconds is not None and until is not None:
        raise click.UsageError("--for and --until both say when it ends; give one of them")
    if seconds is not None:
        until = now + min(timedelta(seconds=seconds), 2 * LONGEST)
    if until is None:
        raise click.UsageError("say when it ends: --for 4h, or --until 2026-11-24T06:00Z")
    try:
        require_end(until, now=now)
    except SilenceError as error:
        raise click.UsageError(str(error)) from None
    return until


def _added(store: Path, wanted: "Silence", matchers: Sequence[str]) -> "Silence":
    from taskwatch.store.desk import Desk

    with Desk(store, by=wanted.by) as desk:
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

    where = footing(config)
    now = datetime.now(UTC)
    since = now - timedelta(seconds=where.store.retention) if everything else now
    with StoreReader(where.store.path) as reader:
        hushes: list[Silence | Mute] = [*reader.silences(since=since)]
    if where.config is not None:
        hushes += where.config.mutes
    if as_json:
        from taskwatch.report.rows import Hush

        print_json(Hush.of(hush, now).shown() for hush in hushes)
        return
    print_table(
        ("NUMBER", "STATE", "ENDS", "MATCHERS", "BY", "COMMENT"),
        [_cells(hush, now) for hush in hushes],
        empty="No silence is in force"
        + ("." if where.config is None else ", and the configuration has no mute window."),
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

    store = footing(config).store.path
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
