"""`taskwatch explain`: why an event exists, and what became of it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from taskwatch.cli.options import config_option, loaded

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.core.route import Route
    from taskwatch.store.reader import StoreReader
    from taskwatch.store.rows import DeliveryRow, EventRow, TaskRow

WIDTH: Final = 80
INDENT: Final = 12  # of what stands beside a word
CANDIDATES: Final = 5  # shown of an ambiguous prefix

# By Reason: what a person can do about it. What the receiver said stands before it.
REMEDIES: Final[Mapping[str, str]] = {
    "network": "see that this host can reach the receiver's",
    "timeout": "see why the receiver is slow, or give it a longer timeout",
    "tls": "see to the receiver's certificate: its name, its dates, and who signed it",
    "server_error": "the receiver itself is in trouble: see its log",
    "throttled": "the receiver takes no more for now: it is tried again when it asked to be",
    "unauthorized": "see to the receiver's secret, bearer or basic, and its rights there",
    "not_found": "see to the receiver's url",
    "gone": "the receiver says it is gone for good: give it another url, or remove it",
    "redirected": "redirects are not followed: write the url that it names",
    "rejected": "see in the receiver's log what it has against this event",
    "local": "see to the file or the program that the receiver names: is it there, may the daemon use it, is there room",
    "broken": "a bug of the notifier: the daemon's log says where",
}
ENDS: Final[Mapping[str, str]] = {
    "horizon": "it was tried for as long as its receiver's retry.horizon says",
    "poison": "it failed again and again while other events passed",
    "operator": "an operator dropped it",
    "receiver_removed": "its receiver was removed from the configuration",
}


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

    configuration = loaded(config)
    with StoreReader(configuration.store.path) as reader:
        event = find_event(reader, event_id)
        deliveries = reader.deliveries(event_id=event.id, limit=1000)[::-1]
        task = _task_now(reader, event)
    told = json.loads(event.body)
    if as_json:
        print_json([_object(told, task, deliveries, configuration.route)])
        return
    for line in _page(event, told, task):
        click.echo(line)
    for line in _deliveries(deliveries, configuration):
        click.echo(line)


def find_event(reader: "StoreReader", written: str) -> "EventRow":
    """Return the event of this id, or of the one id that begins so."""
    from taskwatch.cli.query import SHORT_ID
    from taskwatch.errors import TaskwatchError
    from taskwatch.telemetry import printable

    prefix = written.strip().removesuffix("…")
    if not re.fullmatch(r"[A-Za-z0-9_]+", prefix):
        raise click.UsageError(printable(f"{written!r} is no id of an event; `taskwatch events` shows them"))
    ids = reader.event_ids(prefix, limit=CANDIDATES + 1)
    exact = [event_id for event_id in ids if event_id == prefix] or ids
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
    (event,) = reader.events(event_id=exact[0])
    return event


def _task_now(reader: "StoreReader", event: "EventRow") -> "TaskRow | None":
    if event.job_id is None:
        return None
    return next(iter(reader.tasks(project=event.project, job_id=event.job_id)), None)


def _object(
    told: dict[str, Any], task: "TaskRow | None", deliveries: Sequence["DeliveryRow"], route: "Route"
) -> dict[str, object]:
    return {
        "event": told,
        "task_now": None
        if task is None
        else {
            "status": task.task.status,
            "progress": task.task.progress,
            "revision": task.revision,
            "changed_at": task.changed_at,
            "gone": task.is_gone,
        },
        "deliveries": [
            {
                "receiver": row.receiver,
                "route": row.path,
                "matchers": _matchers(route, row.path),
                "state": row.state,
                "attempts": row.attempts,
                "first_attempt_at": row.first_attempt_at,
                "last_attempt_at": row.last_attempt_at,
                "done_at": row.done_at,
                "reason": row.last_reason,
                "detail": row.last_detail,
                "remedy": REMEDIES.get(row.last_reason or ""),
                "why": row.why,
            }
            for row in deliveries
        ],
    }


def _page(event: "EventRow", told: dict[str, Any], task: "TaskRow | None") -> Iterator[str]:
    from taskwatch.cli.output import coloured

    short = event.type.removeprefix("taskwatch.")
    yield f"{coloured(short, event.severity)}, {event.severity}, recorded {_moment(event.time)}"
    yield event.id
    yield from _beside("", event.summary, indent=0)
    yield ""
    yield from _why(event, told.get("data", {}))
    yield from _what(told.get("data", {}).get("task"))
    if task is not None:
        yield from _now(told, task)
    yield from _beside("project", event.project)
    yield ""


def _why(event: "EventRow", data: Mapping[str, Any]) -> Iterator[str]:
    transition = data.get("transition")
    if transition is None:
        yield from _beside("why", _occasion(event, data))
    else:
        yield from _beside("why", _change(transition))
        yield from _beside("read", _readings(transition))
        if transition.get("late"):
            yield from _beside(
                "late",
                "the reading before was made by an earlier run, or lies far back: when exactly it happened "
                "between the two is not known",
            )
    yield from _beside("event", f"number {event.sequence} about {event.subject}")


def _occasion(event: "EventRow", data: Mapping[str, Any]) -> str:
    counts = data.get("counts")
    if counts is None:
        return event.summary
    read = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no tasks"
    return f"the first complete reading of the project: {read}"


def _change(transition: Mapping[str, Any]) -> str:
    before, after = transition.get("from"), transition.get("to")
    change = f"seen first, {after}" if before is None else f"went from {before} to {after}"
    return f"{change} (revision {transition.get('revision')})"


def _readings(transition: Mapping[str, Any]) -> str:
    earlier = transition.get("previous_observed_at")
    now = f"{transition.get('to')} at {_cloud_moment(transition.get('observed_at'))}"
    if earlier is None:
        before = (
            "when it was read before is not known"
            if transition.get("late")
            else "the list was not read before"
        )
        return f"{now}; {before}"
    gap = transition.get("gap_seconds")
    apart = "" if gap is None else f"; {gap:g} s apart"
    return f"{transition.get('from') or 'unknown'} at {_cloud_moment(earlier)}, {now}{apart}"


def _what(task: Mapping[str, Any] | None) -> Iterator[str]:
    if task is None:
        return
    instance = task.get("instance") or {}
    yield from _beside("task", f"{task.get('name')} {task.get('job_id')}")
    if instance.get("name") or instance.get("id"):
        known = [str(instance[key]) for key in ("name", "id", "status") if instance.get(key)]
        yield from _beside("instance", ", ".join(known))
    progress = "" if task.get("progress") is None else f", {task['progress']} %"
    yield from _beside("status", f"{task.get('status')}{progress}")
    if task.get("fail_reason"):
        yield from _beside("reason", task["fail_reason"])
    yield from _beside("life", _life(task))


def _life(task: Mapping[str, Any]) -> str:
    ended, seconds = task.get("ended_at"), task.get("duration_seconds")
    end = "not ended then" if ended is None else f"ended {_cloud_moment(ended)}"
    took = "" if seconds is None else f", took {timedelta(seconds=seconds)}"
    return f"created {_cloud_moment(task.get('created_at'))}, {end}{took}"


def _now(told: dict[str, Any], task: "TaskRow") -> Iterator[str]:
    revision = told.get("data", {}).get("transition", {}).get("revision")
    if revision is not None and task.revision > revision:
        yield from _beside("since then", f"it is {task.task.status} now (revision {task.revision})")


def _deliveries(rows: Sequence["DeliveryRow"], config: "Config") -> Iterator[str]:
    if not rows:
        yield "No delivery is on record: retention forgot them, or no receiver was named."
    served = {receiver.name for receiver in config.receivers}
    for row in rows:
        yield from _delivery(row, config.route, is_served=row.receiver in served)


def _delivery(row: "DeliveryRow", route: "Route", *, is_served: bool) -> Iterator[str]:
    from shlex import quote

    from taskwatch.cli.output import coloured, counted
    from taskwatch.cli.query import SHORT_ID
    from taskwatch.telemetry import printable

    tries = f" after {counted(row.attempts, 'attempt')}" if row.attempts else ""
    yield f"{printable(row.receiver)}: {coloured(row.state)}{tries}"
    yield from _beside("  by", _by(row, route))
    if row.first_attempt_at is not None:
        yield from _beside("  tried", _tried(row))
    if row.done_at is not None:
        yield from _beside("  ended", _moment(row.done_at))
    if row.last_detail:
        remedy = REMEDIES.get(row.last_reason or "")
        is_over = row.state == "delivered" or remedy is None
        yield from _beside("  trouble", row.last_detail if is_over else f"{row.last_detail}; {remedy}")
    if row.why:
        yield from _beside("  why", ENDS.get(row.why, row.why))
    if row.state == "dead":
        again = f"taskwatch deliveries replay {row.event_id[:SHORT_ID]} --receiver {quote(row.receiver)}"
        yield from _beside("  again", again)
    if row.state == "pending" and not is_served:
        yield from _beside("  waits", "no receiver has this name now; configure one again, and it gets it")


def _tried(row: "DeliveryRow") -> str:
    assert row.first_attempt_at is not None  # noqa: S101 - the caller has looked
    if row.last_attempt_at is None or row.attempts <= 1:
        return _moment(row.first_attempt_at)
    return f"first {_moment(row.first_attempt_at)}, last {_moment(row.last_attempt_at)}"


def _by(row: "DeliveryRow", route: "Route") -> str:
    if not row.path.startswith("route"):
        return row.path  # no route: it says itself why
    matchers = _matchers(route, row.path)
    if matchers is None:
        return f"{row.path}, which is not in the configuration any more"
    if not matchers:
        return f"{row.path}, which takes everything"
    return f"{row.path}: {', '.join(matchers)}"


def _matchers(route: "Route", path: str) -> list[str] | None:
    """Return the matchers on the way to the route; None if the configuration has no such route now."""
    found = [str(matcher) for matcher in route.matchers]
    for number in re.findall(r"\.routes\[(\d+)\]", path):
        if int(number) >= len(route.routes):
            return None
        route = route.routes[int(number)]
        found += [str(matcher) for matcher in route.matchers]
    return found


def _moment(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


def _cloud_moment(text: Any) -> str:
    """Return an instant of an event's body, as `2026-11-23T10:00:00.123Z`, as the tables write it."""
    return "at an unknown time" if text is None else str(text).replace("T", " ")


def _beside(word: str, text: object, *, indent: int = INDENT) -> Iterator[str]:
    """Yield the text in lines that fit, beside the word."""
    import textwrap

    from taskwatch.telemetry import printable

    lines = textwrap.wrap(printable(str(text)), WIDTH - indent, break_on_hyphens=False) or [""]
    yield word.ljust(indent) + lines[0]
    for line in lines[1:]:
        yield " " * indent + line
