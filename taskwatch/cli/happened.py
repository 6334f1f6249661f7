"""What an event says happened: both readings, the task, and the alerts that it opened or ended."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from taskwatch.cli.output import coloured
from taskwatch.cli.page import beside, moment
from taskwatch.core.cloudevents import ID_PREFIX
from taskwatch.model.alert import Why
from taskwatch.store.rows import EventRow, OpenedAlertRow, TaskRow

CONFIGURATION: Final = "the configuration"  # by which an outage is over that is watched no more
MOST_ENDED: Final = 5  # alerts that are named


def lines(event: EventRow, data: Mapping[str, Any], task: TaskRow | None) -> Iterator[str]:
    """Say what happened. `task` is what is known of it now."""
    short = event.type.removeprefix("taskwatch.")
    yield f"{coloured(short, event.severity)}, {event.severity}, recorded {moment(event.time)}"
    yield event.id
    yield from beside("", event.summary, indent=0)
    yield ""
    yield from _why(event, data)
    yield from _what(data.get("task"))
    if task is not None:
        yield from _now(data, task)
    yield from beside("project", event.project)


def task_now(task: TaskRow | None) -> dict[str, object] | None:
    """Return what is known of the task now, as values."""
    if task is None:
        return None
    return {
        "status": task.task.status,
        "progress": task.task.progress,
        "revision": task.revision,
        "changed_at": task.changed_at,
        "gone": task.is_gone,
    }


def alert_lines(
    event_id: str, resolves: Sequence[str], alerts: Mapping[str, OpenedAlertRow]
) -> Iterator[str]:
    """Say of the alert that the event opened how it stands, and which alerts are over by it."""
    if (opened := alerts.get(event_id)) is not None:
        yield from beside("alert", _standing(opened))
    for ended in resolves[:MOST_ENDED]:
        of = alerts.get(ended)
        since = "which is not on record any more" if of is None else f"open since {moment(of.since)}"
        yield from beside("ends", f"the alert of {ended}, {since}")
    if (more := len(resolves) - MOST_ENDED) > 0:
        yield from beside("", f"and {more} more")


def alert(event_id: str, alerts: Mapping[str, OpenedAlertRow]) -> dict[str, object] | None:
    """Return the alert that the event opened, as values."""
    opened = alerts.get(event_id)
    return None if opened is None else asdict(opened)


def _standing(opened: OpenedAlertRow) -> str:
    taken = "nobody has acknowledged it" if opened.ended_at is None else ""
    if opened.acknowledged_at is not None:
        until = "" if opened.acknowledged_until is None else f" until {moment(opened.acknowledged_until)}"
        said = "" if opened.acknowledgement is None else f": {opened.acknowledgement}"
        taken = f"acknowledged {moment(opened.acknowledged_at)} by {opened.acknowledged_by}{until}{said}"
    if opened.ended_at is None:
        return f"open since {moment(opened.since)}; {taken}"
    life = f"opened {moment(opened.since)}, ended {moment(opened.ended_at)}: {_cause(opened)}"
    return f"{life}; {taken}" if taken else life


def _cause(opened: OpenedAlertRow) -> str:
    by = opened.by or "somebody"
    comment = "" if opened.comment is None else f": {opened.comment}"
    match opened.why:
        case Why.SUCCEEDED:
            return f"the later task {by} completed"
        case Why.SUPERSEDED:
            return f"the later task {by} failed too, and stands for it"
        case Why.RESTARTED:
            return "the task went on"
        case Why.DELETED:
            return f"its instance was deleted by the task {by}"
        case Why.RETURNED if by.startswith(ID_PREFIX):
            return f"what was gone is there again, as {by} tells"
        case Why.RETURNED if opened.by == CONFIGURATION:
            return "what it is about is not configured any more"
        case Why.RETURNED:
            return "what was gone is there again"
        case Why.OPERATOR:
            return f"{by} resolved it{comment}"
        case _:
            return f"{opened.why}, by {by}{comment}"


def _why(event: "EventRow", data: Mapping[str, Any]) -> Iterator[str]:
    transition = data.get("transition")
    if transition is None:
        yield from beside("why", _occasion(event, data))
    else:
        yield from beside("why", _change(transition))
        yield from beside("read", _readings(transition))
        if transition.get("late"):
            yield from beside(
                "late",
                "the reading before was made by an earlier run, or lies far back: when exactly it happened "
                "between the two is not known",
            )
    yield from beside("event", f"number {event.sequence} about {event.subject}")


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
    now = f"{transition.get('to')} at {_instant(transition.get('observed_at'))}"
    if earlier is None:
        before = (
            "when it was read before is not known"
            if transition.get("late")
            else "the list was not read before"
        )
        return f"{now}; {before}"
    gap = transition.get("gap_seconds")
    apart = "" if gap is None else f"; {gap:g} s apart"
    return f"{transition.get('from') or 'unknown'} at {_instant(earlier)}, {now}{apart}"


def _what(task: Mapping[str, Any] | None) -> Iterator[str]:
    if task is None:
        return
    instance = task.get("instance") or {}
    yield from beside("task", f"{task.get('name')} {task.get('job_id')}")
    if instance.get("name") or instance.get("id"):
        known = [str(instance[key]) for key in ("name", "id", "status") if instance.get(key)]
        yield from beside("instance", ", ".join(known))
    progress = "" if task.get("progress") is None else f", {task['progress']} %"
    yield from beside("status", f"{task.get('status')}{progress}")
    if task.get("fail_reason"):
        yield from beside("reason", task["fail_reason"])
    yield from beside("life", _life(task))


def _life(task: Mapping[str, Any]) -> str:
    ended, seconds = task.get("ended_at"), task.get("duration_seconds")
    end = "not ended then" if ended is None else f"ended {_instant(ended)}"
    took = "" if seconds is None else f", took {timedelta(seconds=seconds)}"
    return f"created {_instant(task.get('created_at'))}, {end}{took}"


def _now(data: Mapping[str, Any], task: "TaskRow") -> Iterator[str]:
    revision = data.get("transition", {}).get("revision")
    if revision is not None and task.revision > revision:
        yield from beside("since then", f"it is {task.task.status} now (revision {task.revision})")


def _instant(text: Any) -> str:
    """Return an instant of an event's body, as `2026-11-23T10:00:00.123Z`, as the tables write it."""
    return "at an unknown time" if text is None else str(text).replace("T", " ")
