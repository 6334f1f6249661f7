"""Alerts: what needs attention, from the event that opened it until something ends it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from taskwatch.model.event import EventId, EventType
from taskwatch.model.task import Task

SHORTEST_HOLD: Final = 60.0  # seconds for which one says to have an alert
LONGEST_HOLD: Final = 365 * 86400.0

OPENING: Final = frozenset(
    {
        EventType.TASK_FAILED,
        EventType.TASK_CANCELED,
        EventType.TASK_VANISHED,
        EventType.TASK_LEFT_WINDOW,
        EventType.PROJECT_DEGRADED,
        EventType.RECEIVER_DOWN,
    }
)


class Why(StrEnum):
    """What ended an alert. The first cause wins."""

    SUCCEEDED = "succeeded"  # a later task of the same work completed
    SUPERSEDED = "superseded"  # a later task of the same work failed, which then stands
    RESTARTED = "restarted"  # the task left its failure itself
    DELETED = "deleted"  # its instance was deleted
    RETURNED = "returned"  # what was gone is there again
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert of a task that has not ended."""

    event_id: EventId  # that opened it
    type: EventType
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """That an alert is over."""

    alert: Alert
    why: Why
    by: str  # the job id of the task that ended it, or the operator
    comment: str | None = None
