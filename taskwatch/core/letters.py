"""What people are written of events: the built-in words.

Invariants:
- Every event of a message is named or counted, and what is only counted comes with the way to all of it.
- What is foreign is escaped: no line, no mark-up and no control character is begun by it.
"""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from taskwatch.core.cloudevents import content_id
from taskwatch.core.grouping import Group
from taskwatch.model.alert import OPENING
from taskwatch.model.event import LABEL_PREFIX, WORST_FIRST, EventId, EventType, Severity
from taskwatch.model.letter import Letter
from taskwatch.telemetry.text import printable

LISTED: Final = 50  # events that a message names; the others it counts
_SUBJECT: Final = 120  # characters
_REASON: Final = 300
_WIDTH: Final = 10  # of the words before what they speak of
_COMMANDS: Final = 17  # of those before commands
_FONT: Final = "font-family:sans-serif;font-size:14px;line-height:1.4"
_COLOURS: Final = {Severity.CRITICAL: "#c5221f", Severity.WARNING: "#b06000", Severity.INFO: "#5f6368"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What one message tells. The events are CloudEvents, decoded, the worst first; at most LISTED of all."""

    events: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, int]  # of all, by type
    group: Group
    at: datetime
    is_reminder: bool = False  # nothing new: of these alerts nobody has said to have them, and they are open

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def left_out(self) -> dict[str, int]:
        """Count, by type, those that are not named."""
        left = dict(self.counts)
        for event in self.events:
            left[event["type"]] -= 1
        return {type_: count for type_, count in left.items() if count > 0}

    @property
    def severity(self) -> Severity:
        return Severity(self.events[0]["data"]["severity"])

    @property
    def thread(self) -> str:
        """Name what it is about: one task, where that is so, else the group."""
        subjects = {(event["source"], event["subject"]) for event in self.events}
        if len(subjects) == 1 and not self.left_out:
            return content_id("thread", *subjects.pop())
        return content_id(
            "thread", self.group.route, *(part for pair in self.group.by.items() for part in pair)
        )


def worst_first(bodies: Iterable[bytes]) -> tuple[Mapping[str, Any], ...]:
    """Decode events, and order them as people want to read them: what is worst first, else as they were recorded."""
    events = [msgspec.json.decode(body) for body in bodies]
    return tuple(sorted(events, key=lambda event: WORST_FIRST.index(event["data"]["severity"])))


def contents_of(body: bytes) -> Contents:
    """Return what is told by one event alone."""
    event = msgspec.json.decode(body)
    return Contents(
        events=(event,), counts={event["type"]: 1}, group=Group(), at=datetime.fromisoformat(event["time"])
    )


def facts(contents: Contents) -> bytes:
    """Return what templates see, as JSON."""
    return msgspec.json.encode(
        {
            "event": contents.events[0],
            "events": contents.events,
            "count": contents.total,
            "left_out": contents.left_out,
            "group": contents.group.by,
            "severity": contents.severity,
            "is_reminder": contents.is_reminder,
            "at": _moment(contents.at),
        }
    )


def message_id(receiver: str, events: Sequence[EventId]) -> EventId:
    """Return the id of a message that tells these events: that of the event, where it is one."""
    return events[0] if len(events) == 1 else content_id("message", receiver, *events)


def reminder_id(receiver: str, group: str, events: Sequence[EventId], *, after: int) -> EventId:
    """Return the id of a reminder; `after` is the number of the last message of its group."""
    return content_id("reminder", receiver, group, after, *events)


def letter_of(contents: Contents) -> Letter:
    """Write it in the built-in words."""
    return Letter(
        subject=_subject(contents),
        text="\n".join(_text(contents)) + "\n",
        html="".join(_html(contents)),
        severity=contents.severity,
        at=contents.at,
        thread=contents.thread,
    )


def _subject(contents: Contents) -> str:
    place = _place(contents)
    before = "" if contents.severity is Severity.INFO else f"{contents.severity.upper()} "
    if contents.is_reminder:
        said = (
            f"{contents.total} still open"
            if contents.total > 1
            else f"still open: {_title(contents.events[0])}"
        )
    elif contents.total == 1:
        said = _title(contents.events[0])
    else:
        said = _counted(contents.counts)
    return printable(f"{before}{place}{': ' if place else ''}{said}", _SUBJECT)


def _place(contents: Contents) -> str:
    """Return the project of all that is told; nothing where it is of several, or may be."""
    if "project" in contents.group.by:
        return contents.group.by["project"]
    names = {_project(event) for event in contents.events}
    return names.pop() if len(names) == 1 and not contents.left_out else ""


def _project(event: Mapping[str, Any]) -> str:
    return str(event["data"].get("project", {}).get("name", ""))


def _title(event: Mapping[str, Any]) -> str:
    """Say in a few words what happened: the work and what became of it, without the reason."""
    task = event["data"].get("task")
    if task is None or event["type"] == EventType.RECEIVER_TEST:
        return str(event["data"]["summary"])
    name = task["instance"]["name"]
    return f"{task['name']}{f' of {name}' if name else ''} {_word(event['type'])}"


def _word(type_: str) -> str:
    short = type_.rpartition(".")[2].replace("_", " ")
    return {"left window": "left the list"}.get(short, short)


def _counted(counts: Mapping[str, int]) -> str:
    order: dict[str, int] = {type_: number for number, type_ in enumerate(_LOUDEST)}
    return ", ".join(
        f"{counts[type_]} {_word(type_)}"
        for type_ in sorted(counts, key=lambda one: order.get(one, len(order)))
    )


_LOUDEST: Final = (
    EventType.TASK_FAILED, EventType.PROJECT_DEGRADED, EventType.RECEIVER_DOWN, EventType.TASK_VANISHED,
    EventType.TASK_LEFT_WINDOW, EventType.TASK_CANCELED, EventType.TASK_CHANGED, EventType.TASK_RESOLVED,
)  # fmt: skip


def _text(contents: Contents) -> Iterator[str]:
    if contents.is_reminder:
        yield "Nobody has acknowledged this yet, and nothing has ended it:"
        yield ""
    if contents.total == 1:
        yield from _page(contents.events[0])
        return
    yield f"{_counted(contents.counts)}{_of_group(contents.group)}"
    is_of_one = bool(_place(contents))
    for event in contents.events:
        yield ""
        yield from _entry(event, is_of_one=is_of_one)
    yield ""
    if contents.left_out:
        yield f"and {sum(contents.left_out.values())} more: {_counted(contents.left_out)}"
    yield f"all of them:  {_command(contents)}"


def _of_group(group: Group) -> str:
    by = {name.removeprefix(LABEL_PREFIX): value for name, value in group.by.items() if value}
    return (
        f" ({', '.join(f'{name} {printable(value, _REASON)}' for name, value in by.items())})" if by else ""
    )


def _page(event: Mapping[str, Any]) -> Iterator[str]:
    yield printable(event["data"]["summary"], 2 * _REASON)
    yield ""
    for word, said in _particulars(event):
        yield f"{word:{_WIDTH}} {said}"
    yield ""
    for word, command in _next(event):
        yield f"{word + ':':{_COMMANDS}} {command}"


def _next(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the commands for what comes next, and what each says or asks."""
    if event["type"] in OPENING and "task" in event["data"]:
        yield "you have it", f"taskwatch ack {event['subject']}"
        yield "it is mended", f"taskwatch resolve {event['subject']}"
    yield "why, and to whom", f"taskwatch explain {event['id']}"


def _entry(event: Mapping[str, Any], *, is_of_one: bool) -> Iterator[str]:
    yield f"{_mark(event)}{printable(event['data']['summary'], _REASON)}"
    yield f"    {_brief(event, is_of_one=is_of_one)}"


def _brief(event: Mapping[str, Any], *, is_of_one: bool) -> str:
    shown = ("ended", "seen") if is_of_one else ("project", "ended", "seen")
    said = [f"{word} {text}" for word, text in _particulars(event) if word in shown]
    return f"{printable(event['subject'])}, {', '.join(said)}"


def _mark(event: Mapping[str, Any]) -> str:
    severity = event["data"]["severity"]
    return "" if severity == Severity.INFO else f"{severity.upper()} "


def _particulars(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data = event["data"]
    task, transition = data.get("task"), data.get("transition")
    yield (
        "project",
        printable(_project(event) or ", ".join(one["name"] for one in data.get("projects", [])) or "-"),
    )
    if task is not None:
        instance = task["instance"]
        named = [text for text in (instance["name"], instance["id"]) if text]
        if named:
            yield "instance", printable(", ".join(named))
        yield "task", printable(task["job_id"])
        yield (
            "status",
            printable(task["status"]) + ("" if task["progress"] is None else f", {task['progress']} %"),
        )
        if task["fail_reason"] and " ".join(task["fail_reason"].split()) not in data["summary"]:
            yield "reason", printable(task["fail_reason"])
        if task["created_at"]:
            yield "created", _spoken(task["created_at"])
        if task["ended_at"]:
            yield "ended", _spoken(task["ended_at"])
    if data.get("error") and data["error"] not in data["summary"]:
        yield "error", printable(data["error"])
    if data.get("why"):
        yield "why", printable(f"{data['why']}, by {data.get('by')}")
    if data.get("comment"):
        yield "comment", printable(data["comment"])
    late = ", late: taskwatch had not looked before" if transition is not None and transition["late"] else ""
    yield "seen", _spoken(event["time"]) + late


def _command(contents: Contents) -> str:
    """Return the command that lists what a message may have left out."""
    place = _place(contents)
    project = f" --project {_quoted(place)}" if place else ""
    if contents.is_reminder:
        return f"taskwatch alerts{project}"
    first = min(str(event["time"]) for event in contents.events)
    return f"taskwatch events{project} --since {first[:19]}Z --limit {max(contents.total, LISTED)}"


def _quoted(text: str) -> str:
    plain = text.replace("-", "").replace("_", "").replace(".", "").isalnum()
    return text if plain else "'" + printable(text).replace("'", "'\\''") + "'"


def _html(contents: Contents) -> Iterator[str]:
    yield f'<div style="{_FONT}">'
    if contents.is_reminder:
        yield "<p>Nobody has acknowledged this yet, and nothing has ended it:</p>"
    if contents.total > 1:
        yield f"<p><b>{_escaped(_counted(contents.counts))}</b>{_escaped(_of_group(contents.group))}</p>"
    is_of_one = bool(_place(contents))
    for event in contents.events:
        colour = _COLOURS[Severity(event["data"]["severity"])]
        yield f'<div style="border-left:4px solid {colour};padding:2px 0 2px 10px;margin:0 0 10px">'
        yield f"<b>{_escaped(event['data']['summary'])}</b>"
        if contents.total > 1:
            yield f'<br><span style="opacity:.7">{_escaped(_brief(event, is_of_one=is_of_one))}</span>'
        else:
            yield _table(_particulars(event))
        yield "</div>"
    if contents.left_out:
        yield f"<p>and {sum(contents.left_out.values())} more: {_escaped(_counted(contents.left_out))}</p>"
    if contents.total > 1:
        yield _table([("all of them", f"<code>{_escaped(_command(contents))}</code>")], is_html=True)
    else:
        commands = (
            (word, f"<code>{_escaped(command)}</code>") for word, command in _next(contents.events[0])
        )
        yield _table(commands, is_html=True)
    yield "</div>"


def _table(rows: Iterable[tuple[str, str]], *, is_html: bool = False) -> str:
    lines = (
        f'<tr><td style="opacity:.7;padding-right:12px;white-space:nowrap;vertical-align:top">{word}</td>'
        f"<td>{text if is_html else _escaped(text)}</td></tr>"
        for word, text in rows
    )
    return f'<table style="{_FONT};margin-top:4px">{"".join(lines)}</table>'


def _escaped(text: str) -> str:
    return html.escape(printable(text, 2 * _REASON))


def _spoken(instant: str) -> str:
    return instant[:19].replace("T", " ") + " UTC"


def _moment(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
