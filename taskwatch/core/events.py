"""Events about tasks, about the baseline of a project, and the one by which a receiver is tried."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final, assert_never
from urllib.parse import quote

from taskwatch.core.cloudevents import (
    content_id,
    cut,
    event_id,
    event_of_project,
    frozen,
    project_data,
    utc,
)
from taskwatch.model.alert import Ended, Why
from taskwatch.model.event import Event, EventType, Loss, Reading, Severity, Transition
from taskwatch.model.project import Identity, Project
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING, Instance, Task

_SAMPLE_PROJECT: Final = Project(
    identity=Identity(service="gaussdb", host="gaussdb.example", project_id="0" * 32), name="sample"
)
_SAMPLE: Final = Transition(
    task=Task(
        job_id="00000000-0000-0000-0000-000000000000",
        name="RestoreGaussDBV5InInstance",
        status=FAILED,
        fail_reason="This is a test: no task has failed.",
        created_at=datetime(2026, 1, 1, 3, 0, tzinfo=UTC),
        ended_at=datetime(2026, 1, 1, 3, 42, tzinfo=UTC),
        instance=Instance(id="0" * 32 + "in14", name="sample-instance", status="active"),
    ),
    from_status=RUNNING,
    to_status=FAILED,
    revision=2,
)

_ENDINGS: Final[Mapping[str, EventType]] = {
    COMPLETED: EventType.TASK_COMPLETED,
    FAILED: EventType.TASK_FAILED,
    CANCELED: EventType.TASK_CANCELED,
}


def task_event(
    transition: Transition,
    *,
    project: Project,
    sequence: int,
    reading: Reading,
    failure_severities: Sequence[tuple[str, Severity]],
) -> Event:
    """Make the event of a transition. `failure_severities` maps task names, first match, to a severity."""
    task = transition.task
    kind = _task_event_type(transition)
    return event_of_project(
        id_=event_id(
            project.identity, task.job_id, kind, transition.revision,
            transition.from_status, transition.to_status, utc(task.ended_at),
        ),
        type_=kind,
        project=project,
        subject=task.job_id,
        sequence=sequence,
        severity=severity_of(
            kind,
            task=task.name,
            change=(transition.from_status, transition.to_status),
            failure_severities=failure_severities,
        ),
        summary=_summary(transition, kind),
        time=reading.observed_at,
        data={"task": _task_data(task), "transition": _transition_data(transition, reading)},
        attributes=_task_attributes(task) | _change_attributes(transition),
    )  # fmt: skip


def loss_event(loss: Loss, *, project: Project, sequence: int, observed_at: datetime) -> Event:
    """Make the event that says of a task that it is on no list any more. It has no transition."""
    task = loss.task
    kind = EventType.TASK_LEFT_WINDOW if loss.has_left_window else EventType.TASK_VANISHED
    return event_of_project(
        id_=event_id(project.identity, task.job_id, kind, loss.revision, loss.number),
        type_=kind,
        project=project,
        subject=task.job_id,
        sequence=sequence,
        severity=Severity.WARNING,
        summary=_summary_of_loss(loss),
        time=observed_at,
        data={"task": _task_data(task)},
        attributes=_task_attributes(task),
    )


def resolved_event(ended: Ended, *, task: Task, project: Project, sequence: int, at: datetime) -> Event:
    """Make the event that says that an alert of a task is over. `task` is what is known of it now."""
    data: dict[str, Any] = {
        "task": _task_data(task),
        "resolves": ended.alert.event_id,
        "why": ended.why,
        "by": ended.by,
    }
    if ended.comment is not None:
        data["comment"] = ended.comment
    return event_of_project(
        id_=event_id(project.identity, task.job_id, EventType.TASK_RESOLVED, ended.alert.event_id),
        type_=EventType.TASK_RESOLVED,
        project=project,
        subject=task.job_id,
        sequence=sequence,
        severity=Severity.INFO,
        summary=cut(_summary_of_end(ended, task)),
        time=at,
        data=data,
        attributes=_task_attributes(task),
    )


def severity_of(
    kind: EventType,
    *,
    task: str,
    change: tuple[str | None, str],
    failure_severities: Sequence[tuple[str, Severity]],
) -> Severity:
    """Return how much an event of this kind, about a task of this name, matters."""
    match kind:
        case EventType.TASK_FAILED:
            return next((s for glob, s in failure_severities if fnmatchcase(task, glob)), Severity.CRITICAL)
        case EventType.TASK_CANCELED | EventType.TASK_VANISHED | EventType.TASK_LEFT_WINDOW:
            return Severity.WARNING
        case EventType.PROJECT_DEGRADED | EventType.RECEIVER_DOWN:
            return Severity.WARNING
        case EventType.TASK_CHANGED:
            return Severity.INFO if change == (PENDING, RUNNING) else Severity.WARNING
        case _:
            return Severity.INFO


def baseline_event(
    *, project: Project, sequence: int, counts: Mapping[str, int], observed_at: datetime
) -> Event:
    """Make the one event that says from where on a project is watched."""
    total = sum(counts.values())
    per_status = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return event_of_project(
        id_=event_id(project.identity, None, EventType.PROJECT_BASELINE, sequence),
        type_=EventType.PROJECT_BASELINE,
        project=project,
        subject=project.identity.project_id,
        sequence=sequence,
        severity=Severity.INFO,
        summary=cut(
            f"Watching {project.name} from here on: {total} tasks{': ' + per_status if per_status else ''}."
        ),
        time=observed_at,
        data={"counts": dict(sorted(counts.items()))},
        attributes={},
    )


def receiver_test_event(receiver: str, *, at: datetime, sample: bool = False) -> Event:
    """Make the event by which an operator tries a receiver. Its type is one of its own: it is about nothing.

    With a `sample` it has what the event of a failed task has, made up: for templates, which ask for it.
    """
    data: dict[str, Any] = {"receiver": {"name": receiver}}
    if sample:
        data |= {
            "project": project_data(_SAMPLE_PROJECT),
            "task": _task_data(_SAMPLE.task),
            "transition": _transition_data(
                _SAMPLE, Reading(observed_at=at, previous_observed_at=at, gap_seconds=0.0, late=False)
            ),
        }
    return frozen(
        id_=content_id("receiver", receiver, EventType.RECEIVER_TEST, utc(at, timespec="microseconds")),
        type_=EventType.RECEIVER_TEST,
        source=f"/taskwatch/receiver/{quote(receiver, safe='')}",
        subject=receiver,
        sequence=1,
        severity=Severity.INFO,
        summary=cut(f"This is a test of the receiver {receiver} by taskwatch. Nothing has happened."),
        time=at,
        data=data,
        attributes={},
    )


def _task_event_type(transition: Transition) -> EventType:
    ending = _ENDINGS.get(transition.to_status)
    if ending is not None:
        return ending
    return EventType.TASK_STARTED if transition.from_status is None else EventType.TASK_CHANGED


def _work(task: Task) -> str:
    name = task.name or f"The task {task.job_id}"
    return f"{name} of {task.instance.name}" if task.instance.name else name


def _summary_of_loss(loss: Loss) -> str:
    why = "is too old for the task list by now" if loss.has_left_window else "is gone from the task list"
    return cut(f"{_work(loss.task)} {why}; it was {loss.task.status} when it was last seen.")


def _summary_of_end(ended: Ended, task: Task) -> str:
    work = _work(task)
    match ended.why:
        case Why.SUCCEEDED:
            return f"{work} is resolved: the later task {ended.by} completed."
        case Why.SUPERSEDED:
            return f"{work} is superseded: the later task {ended.by} failed too, and stands for it."
        case Why.RESTARTED:
            return f"{work} is resolved: it went on, and is {task.status}."
        case Why.DELETED:
            return f"{work} is resolved: its instance was deleted by the task {ended.by}."
        case Why.RETURNED:
            return f"{work} is resolved: it is on the task list again, and is {task.status}."
        case Why.OPERATOR:
            comment = "" if ended.comment is None else f": {ended.comment}"
            return f"{work} was resolved by {ended.by}{comment}."
        case _:
            assert_never(ended.why)


def _summary(transition: Transition, kind: EventType) -> str:
    task = transition.task
    work = _work(task)
    match kind:
        case EventType.TASK_STARTED:
            said = f"{work} started." if task.status == RUNNING else f"{work} is {task.status}."
        case EventType.TASK_COMPLETED:
            said = f"{work} completed."
        case EventType.TASK_FAILED:
            said = (
                f"{work} failed: {task.fail_reason}"
                if task.fail_reason
                else f"{work} failed; the cloud gives no reason."
            )
        case EventType.TASK_CANCELED:
            said = f"{work} was canceled."
        case _:
            said = f"{work} went from {transition.from_status} to {transition.to_status}."
    return cut(said)


def _task_data(task: Task) -> dict[str, Any]:
    return {
        "job_id": task.job_id,
        "name": task.name,
        "status": task.status,
        "progress": task.progress,
        "fail_reason": task.fail_reason,
        "created_at": utc(task.created_at),
        "ended_at": utc(task.ended_at),
        "duration_seconds": _duration(task),
        "instance": {"id": task.instance.id, "name": task.instance.name, "status": task.instance.status},
    }


def _duration(task: Task) -> int | None:
    if not task.has_ended or task.created_at is None or task.ended_at is None:
        return None
    seconds = int((task.ended_at - task.created_at).total_seconds())
    return seconds if seconds >= 0 else None


def _transition_data(transition: Transition, reading: Reading) -> dict[str, Any]:
    gap = reading.gap_seconds
    return {
        "from": transition.from_status,
        "to": transition.to_status,
        "revision": transition.revision,
        "observed_at": utc(reading.observed_at, timespec="milliseconds"),
        "previous_observed_at": utc(reading.previous_observed_at, timespec="milliseconds"),
        "gap_seconds": None if gap is None else round(gap, 1),
        "late": reading.late,
    }


def _change_attributes(transition: Transition) -> dict[str, str]:
    return {"from": transition.from_status or "", "to": transition.to_status}


def _task_attributes(task: Task) -> dict[str, str]:
    return {
        "task": task.name,
        "job_id": task.job_id,
        "instance_name": task.instance.name or "",
        "instance_id": task.instance.id or "",
        "fail_reason": task.fail_reason or "",
    }
