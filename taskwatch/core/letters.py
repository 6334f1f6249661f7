"""What people are written of events: the built-in words.

Invariants:
- Every event of a message is named or counted, and what is only counted comes with the way to all of it.
- What is foreign is escaped: no line, no mark-up and no control character is begun by it.
"""

import html
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from taskwatch.core.cloudevents import content_id
from taskwatch.core.grouping import Group
from taskwatch.model.alert import OPENING
from taskwatch.model.event import LABEL_PREFIX, WORST_FIRST, EventId, EventType, Severity
from taskwatch.model.letter import Letter
from taskwatch.telemetry.text import printable

REMINDER: Final = "This is still open, and nobody has it now:"
OVER: Final = "over by now"
LISTED: Final = 50  # events that a message names; the others it counts
_SUBJECT: Final = 120  # characters
_PLACES: Final = 2  # projects in a subject
_PLACE: Final = 24  # characters of the name of one of several
_REASON: Final = 300
_WIDTH: Final = 10  # of the words before what they speak of
_TOGETHER: Final = 10  # tasks in one command
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
    since: datetime | None = None  # when the first of all was recorded; None: those that are named say it
    over: frozenset[str] = frozenset()  # ids of events whose alert has ended by now
    is_reminder: bool = False  # nothing new: these alerts are open, and nobody has them

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
        return Severity(_weight(self.events[0], self.over))

    @property
    def thread(self) -> str:
        """Name what it is about: one task, where that is so, else the group."""
        subjects = {(event["source"], event["subject"]) for event in self.events}
        if len(subjects) == 1 and not self.left_out:
            return content_id("thread", *subjects.pop())
        return content_id(
            "thread", self.group.route, *(part for pair in self.group.by.items() for part in pair)
        )


def worst_first(
    bodies: Iterable[bytes], *, over: Collection[str] = frozenset()
) -> tuple[Mapping[str, Any], ...]:
    """Decode events, and order them as people want to read them: what is worst first, else as they were recorded.

    What is `over` by now is nothing to be alarmed by.
    """
    events = [msgspec.json.decode(body) for body in bodies]
    return tuple(sorted(events, key=lambda event: WORST_FIRST.index(_weight(event, over))))


def _weight(event: Mapping[str, Any], over: Collection[str]) -> Severity:
    return Severity.INFO if event["id"] in over else Severity(event["data"]["severity"])


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


def reminder_id(receiver: str, events: Sequence[EventId], *, after: int) -> EventId:
    """Return the id of a reminder of these alerts; `after` is the number of the message before it."""
    return content_id("reminder", receiver, after, *events)


def page_of(event: Mapping[str, Any], status_page: str) -> str:
    """Return the address of the page of the task that the event is about, else that of all."""
    task = event["data"].get("task")
    if task is None or event["type"] == EventType.RECEIVER_TEST:  # whose task is none
        return f"{status_page}/"
    return f"{status_page}/tasks/{quote(task['job_id'], safe='')}"


def letter_of(contents: Contents, *, status_page: str | None = None) -> Letter:
    """Write it in the built-in words. It ends with a link where there is a page to look at."""
    link = None if status_page is None else _link(contents, status_page)
    return Letter(
        subject=_subject(contents),
        text="\n".join([*_text(contents), *(() if link is None else ("", link))]) + "\n",
        html="".join(_html(contents, link)),
        severity=contents.severity,
        at=contents.at,
        thread=contents.thread,
    )


def _link(contents: Contents, status_page: str) -> str:
    return page_of(contents.events[0], status_page) if contents.total == 1 else f"{status_page}/"


def _subject(contents: Contents) -> str:
    place = _place(contents) or _places(contents)
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


def _places(contents: Contents) -> str:
    """Name the projects of the worst that is told, and say whether there are others, or may be."""
    names = list(dict.fromkeys(name for event in contents.events if (name := _project(event))))
    more = ", …" if len(names) > _PLACES or contents.left_out else ""
    return f"{', '.join(printable(name, _PLACE) for name in names[:_PLACES])}{more}" if names else ""


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
        yield REMINDER
        yield ""
    if contents.total == 1:
        yield from _page(contents.events[0])
        return
    yield f"{_counted(contents.counts)}{_of_group(contents.group)}"
    is_of_one = bool(_place(contents))
    for event in contents.events:
        yield ""
        yield from _entry(event, contents, is_of_one=is_of_one)
    yield ""
    if contents.left_out:
        yield f"and {sum(contents.left_out.values())} more: {_counted(contents.left_out)}"
    for word, command in _next_of_all(contents):
        yield f"{word + ':':{_COMMANDS}} {command}"


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
    if _opens_alert_of_task(event):
        yield "you have it", f"taskwatch ack {_quoted(event['subject'])}"
        yield "it is mended", f"taskwatch resolve {_quoted(event['subject'])}"
    if event["type"] != EventType.RECEIVER_TEST:  # which is on no record
        yield "why, and to whom", f"taskwatch explain {event['id']}"


def _next_of_all(contents: Contents) -> Iterator[tuple[str, str]]:
    jobs = [
        _quoted(event["subject"])
        for event in contents.events
        if _opens_alert_of_task(event) and event["id"] not in contents.over
    ]
    if 0 < len(jobs) <= _TOGETHER and not contents.left_out:
        yield "you have them", f"taskwatch ack {' '.join(dict.fromkeys(jobs))}"
    yield "all of them", _command(contents)


def _opens_alert_of_task(event: Mapping[str, Any]) -> bool:
    return event["type"] in OPENING and "task" in event["data"]


def _entry(event: Mapping[str, Any], contents: Contents, *, is_of_one: bool) -> Iterator[str]:
    yield f"{_mark(event, contents)}{printable(event['data']['summary'], _REASON)}"
    yield f"    {_brief(event, is_of_one=is_of_one)}"


def _brief(event: Mapping[str, Any], *, is_of_one: bool) -> str:
    shown = ("ended", "seen") if is_of_one else ("project", "ended", "seen")
    said = [f"{word} {text}" for word, text in _particulars(event) if word in shown]
    return f"{printable(event['subject'])}, {', '.join(said)}"


def _mark(event: Mapping[str, Any], contents: Contents) -> str:
    if event["id"] in contents.over:
        return f"{OVER}: "
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
    first = contents.since or min(datetime.fromisoformat(event["time"]) for event in contents.events)
    # More than it tells: what comes later, or is told elsewhere, is listed too.
    limit = min(max(10 * contents.total, 1_000), 100_000)
    return f"taskwatch events{project} --since {_moment(first)} --limit {limit}"


def _quoted(text: str) -> str:
    """Return the text as a shell takes it for one word; what is no plain word is escaped, too."""
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    return (
        text
        if plain.isascii() and plain.isalnum() and not text.startswith("-")
        else "'" + printable(text).replace("'", "'\\''") + "'"
    )


def _html(contents: Contents, link: str | None) -> Iterator[str]:
    yield f'<div style="{_FONT}">'
    if contents.is_reminder:
        yield f"<p>{REMINDER}</p>"
    if contents.total > 1:
        yield f"<p><b>{_escaped(_counted(contents.counts))}</b>{_escaped(_of_group(contents.group))}</p>"
    is_of_one = bool(_place(contents))
    for event in contents.events:
        colour = _COLOURS[_weight(event, contents.over)]
        yield f'<div style="border-left:4px solid {colour};padding:2px 0 2px 10px;margin:0 0 10px">'
        mark = f"{OVER}: " if event["id"] in contents.over else ""
        yield f"<b>{mark}{_escaped(event['data']['summary'])}</b>"
        if contents.total > 1:
            yield f'<br><span style="opacity:.7">{_escaped(_brief(event, is_of_one=is_of_one))}</span>'
        else:
            yield _table(_particulars(event))
        yield "</div>"
    if contents.left_out:
        yield f"<p>and {sum(contents.left_out.values())} more: {_escaped(_counted(contents.left_out))}</p>"
    if contents.total > 1:
        commands = ((word, f"<code>{_escaped(command)}</code>") for word, command in _next_of_all(contents))
        yield _table(commands, is_html=True)
    else:
        commands = (
            (word, f"<code>{_escaped(command)}</code>") for word, command in _next(contents.events[0])
        )
        yield _table(commands, is_html=True)
    if link is not None:
        yield f'<p><a href="{html.escape(link)}">{html.escape(link)}</a></p>'
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
