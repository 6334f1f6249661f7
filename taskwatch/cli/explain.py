"""`taskwatch explain`: why an event exists, and what became of it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from taskwatch.cli.options import Footing, config_option, footing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskwatch.cli.tree import Step
    from taskwatch.config.configuration import Config
    from taskwatch.core.quiet import Mute, Silence
    from taskwatch.model.event import EventId
    from taskwatch.store.reader import StoreReader
    from taskwatch.store.rows import EventRow, OpenedAlertRow, TaskRow, ToldIn, ToldRow

CANDIDATES: Final = 5  # shown of an ambiguous prefix
AMONG: Final = 3  # events of a message that are named


@click.command(epilog="Example: taskwatch explain tw_3v5kq2m7x4ab")
@click.argument("event_id")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(event_id: str, config: Path | None, as_json: bool) -> None:
    """Say why an event exists, and what became of it.

    EVENT_ID may be cut, as tables show it, while no other event begins so.
    """
    from taskwatch.cli.output import print_json
    from taskwatch.store.reader import StoreReader

    where = footing(config)
    with StoreReader(where.store.path) as reader:
        story = _story(reader, find_event(reader, event_id), where)
    if as_json:
        print_json([_object(story)])
        return
    for line in _page(story):
        click.echo(line)


def find_event(reader: "StoreReader", written: str) -> "EventRow":
    """Return the event of this id, or of the one id that begins so."""
    from taskwatch.errors import TaskwatchError
    from taskwatch.telemetry import printable

    found = _meant(reader, written)
    if not isinstance(found, str):
        raise TaskwatchError(printable(_told_of(found)))
    (event,) = reader.events(event_id=found)
    return event


def find_events(reader: "StoreReader", written: str) -> "Sequence[EventId]":
    """Return the id of the event that `find_event` finds; of a message, those of all that it tells."""
    from taskwatch.errors import TaskwatchError
    from taskwatch.telemetry import printable

    found = _meant(reader, written)
    if isinstance(found, str):
        return [found]
    if not found.events:
        raise TaskwatchError(printable(_told_of(found)))
    return found.events


def _meant(reader: "StoreReader", written: str) -> "EventId | ToldIn":
    """Return the event, or where none begins so the message: logs and mail have the ids of both."""
    from taskwatch.cli.query import SHORT_ID
    from taskwatch.errors import TaskwatchError
    from taskwatch.telemetry import printable

    given = written.strip().removesuffix("…")
    prefix = given.removeprefix("<").partition("@")[0].partition(".")[0]  # of a mail: <ID.RECEIVER@DOMAIN>
    if not re.fullmatch(r"[A-Za-z0-9_]+", prefix):
        raise click.UsageError(printable(f"{written!r} is no id of an event; `taskwatch events` shows them"))
    known: dict[str, EventId | ToldIn] = {
        message.event_id: message for message in reader.messages(prefix, limit=CANDIDATES + 1)
    }
    known |= {event_id: event_id for event_id in reader.event_ids(prefix, limit=CANDIDATES + 1)}
    exact = [prefix] if prefix in known else sorted(known)
    if not exact:
        raise TaskwatchError(
            f"no event is known whose id begins with {prefix}; it may be older than the store keeps"
        )
    if len(exact) > 1:
        shown = [event_id[: max(SHORT_ID, len(prefix) + 4)] for event_id in exact[:CANDIDATES]]
        more = ", …" if len(exact) > CANDIDATES else ""
        raise TaskwatchError(
            f"several events begin with {prefix}, write more of it: {', '.join(shown)}{more}"
        )
    return known[exact[0]]


def _told_of(message: "ToldIn") -> str:
    """Say what a message is, to somebody who took it for an event. Not printable yet."""
    from taskwatch.cli.output import few
    from taskwatch.cli.query import SHORT_ID
    from taskwatch.report.words import counted

    to = few(message.receivers)
    if not message.events:
        return f"{message.event_id} is a message to {to} whose events are not on record any more"
    among = ", ".join(event_id[:SHORT_ID] for event_id in message.events[:AMONG])
    return (
        f"{message.event_id} is a message to {to} that tells {counted(len(message.events), 'event')}, "
        f"{'among them ' if len(message.events) > AMONG else ''}{among}: explain one of them"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """An event, and all that is known about it."""

    event: "EventRow"
    body: dict[str, Any]
    attributes: "Mapping[str, str]"  # what matchers see of it
    task: "TaskRow | None"  # as it is now
    told: "Sequence[ToldRow]"
    resolves: "Sequence[str]"  # the events whose alerts are over by it
    alerts: "Mapping[str, OpenedAlertRow]"  # that it and those opened
    hushes: "Sequence[Silence | Mute]"  # that ended after it
    config: "Config | None"  # None: it has mistakes

    @property
    def is_told_as_an_end(self) -> bool:
        """Whoever was told of the beginning hears it; nothing else decides that."""
        from taskwatch.core.route import ROOT

        return bool(self.resolves) and not any(row.delivery.path.startswith(ROOT) for row in self.told)

    @property
    def about(self) -> str | None:
        """The receiver that it is about: that is never told of it."""
        name: str | None = self.body["data"].get("receiver", {}).get("name")
        return name

    @property
    def steps(self) -> "list[Step]":
        """Its way through the tree of today."""
        from taskwatch.cli.tree import walk

        if self.config is None:
            return []
        return list(walk(self.config.route, self.attributes))

    @property
    def agrees(self) -> bool | None:
        """Tell whether it went where it would go today; None: there is nothing to compare."""
        from taskwatch.core.route import ROOT

        if self.is_told_as_an_end or not self.told or self.config is None:
            return None
        today = {hop.receiver: hop.path for hop in self.config.routing.reached(self.attributes)}
        today.pop(self.about or "", None)
        rows = [told.delivery for told in self.told]
        return today == {row.receiver: row.path for row in rows if row.path.startswith(ROOT)}


def _story(reader: "StoreReader", event: "EventRow", where: Footing) -> _Story:
    from taskwatch.core.attributes import attributes_of

    body = json.loads(event.body)
    resolves = body["data"].get("resolves") or []
    resolves = [resolves] if isinstance(resolves, str) else resolves
    config = where.config
    if config is None:
        deliveries = reader.deliveries(event_id=event.id, limit=1000)
        people = frozenset(row.receiver for row in deliveries if row.group is not None)
    else:
        people = config.routing.people
    return _Story(
        event=event,
        body=body,
        attributes=attributes_of(event.body),
        task=None
        if event.job_id is None
        else next(iter(reader.tasks(project=event.project, job_id=event.job_id)), None),
        told=reader.told(event.id, people=people),
        resolves=resolves,
        alerts={alert.event_id: alert for alert in reader.opened_alerts([event.id, *resolves])},
        hushes=[*reader.silences(since=event.time), *(() if config is None else config.mutes)],
        config=config,
    )


def _object(story: _Story) -> dict[str, object]:
    from taskwatch.cli import happened, hush, told

    held_by = {row.delivery.held_by or "" for row in story.told}
    is_end = story.is_told_as_an_end
    return {
        "event": story.body,
        "task_now": happened.task_now(story.task),
        "alert": happened.alert(story.event.id, story.alerts),
        "ends": [
            happened.alert(event_id, story.alerts) or {"event_id": event_id} for event_id in story.resolves
        ],
        "deliveries": told.rows(story.told, None if story.config is None else story.config.route),
        "routes": None if is_end or story.config is None else [step.row() for step in story.steps],
        "routes_agree": story.agrees,
        "silences": [] if is_end else hush.rows(story.event, story.attributes, story.hushes, holding=held_by),
    }


def _page(story: _Story) -> Iterator[str]:
    from taskwatch.cli import happened, told

    yield from happened.lines(story.event, story.body["data"], story.task)
    yield from happened.alert_lines(story.event.id, story.resolves, story.alerts)
    yield ""
    yield from told.lines(story.told, story.config, story.hushes)
    yield ""
    yield from _decided(story)


def _decided(story: _Story) -> Iterator[str]:
    """Say what decides who is told."""
    from taskwatch.cli import hush
    from taskwatch.cli.page import hanging
    from taskwatch.cli.tree import pictured

    if story.is_told_as_an_end:
        yield from hanging(
            "It says that something is over: those hear it who were told of the beginning, whatever routes and "
            "silences there are.",
            indent=0,
        )
        return
    if story.config is None:
        yield "The configuration cannot be read as it is, so no routes and no windows are shown."
    else:
        yield "The routes that the configuration has now:"
        yield from pictured(story.steps, story.attributes)
    if story.about is not None:
        yield from hanging(f"{story.about} is not told of itself.", indent=0)
    if story.agrees is False:
        yield "The deliveries on record differ: the configuration has changed since."
    yield from hush.lines(story.event, story.attributes, story.hushes)
