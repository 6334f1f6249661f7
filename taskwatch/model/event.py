"""Events: transitions made durable."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType

from taskwatch.model.task import Task

EventId = NewType("EventId", str)

LABEL_PREFIX: Final = "label_"  # of a project's labels among the attributes of an event


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


WORST_FIRST: Final = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


class EventType(StrEnum):
    """The types of events, as the contract names them."""

    TASK_STARTED = "taskwatch.task.started"
    TASK_COMPLETED = "taskwatch.task.completed"
    TASK_FAILED = "taskwatch.task.failed"
    TASK_CANCELED = "taskwatch.task.canceled"
    TASK_CHANGED = "taskwatch.task.changed"
    TASK_VANISHED = "taskwatch.task.vanished"
    TASK_LEFT_WINDOW = "taskwatch.task.left_window"
    TASK_RESOLVED = "taskwatch.task.resolved"
    PROJECT_BASELINE = "taskwatch.project.baseline"
    PROJECT_DEGRADED = "taskwatch.project.degraded"
    PROJECT_RECOVERED = "taskwatch.project.recovered"
    RECEIVER_DOWN = "taskwatch.receiver.down"
    RECEIVER_RECOVERED = "taskwatch.receiver.recovered"
    RECEIVER_TEST = "taskwatch.receiver.test"  # an operator tries a receiver: sent, never recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """When a poll read its project, and when it had read it before."""

    observed_at: datetime
    previous_observed_at: datetime | None
    gap_seconds: float | None
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One difference between what was known of a task and what a poll read."""

    task: Task
    from_status: str | None
    to_status: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A task that whole lists do not show any more, and that had not ended. That is no status."""

    task: Task  # as it was read last
    revision: int
    number: int  # how often it was lost, this time included
    has_left_window: bool  # it is older than the list reaches back


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact that is told. `body` is the CloudEvent, frozen: its bytes never change again."""

    id: EventId
    type: EventType
    subject: str  # job id, or project id
    sequence: int  # of the events about this subject, from 1, without a gap
    severity: Severity
    summary: str
    time: datetime
    body: bytes
    attributes: dict[str, str]  # what matchers see
