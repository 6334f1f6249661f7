"""What the commands read of a store."""

from dataclasses import dataclass
from datetime import datetime

from taskwatch.model.delivery import DeliveryId
from taskwatch.model.event import EventId
from taskwatch.model.project import Condition, Identity
from taskwatch.model.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRow:
    identity: Identity
    name: str
    baseline_at: datetime | None
    observed_at: datetime | None  # the last complete reading on record
    tasks: int
    open_tasks: int
    condition: Condition | None  # as a daemon said last; None: none spoke of it since the last start


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    project: str  # its name
    task: Task
    revision: int
    changed_at: datetime  # when it was recorded last
    is_gone: bool = False  # the list does not show it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    id: EventId
    project: str | None  # its name; None: it is about none, or about several
    subject: str
    job_id: str | None
    type: str
    severity: str
    summary: str
    sequence: int
    time: datetime
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A delivery, with what it delivers."""

    id: DeliveryId
    receiver: str
    path: str  # of the route that named the receiver
    state: str
    attempts: int
    replay: bool  # an operator sent it again
    last_reason: str | None
    last_detail: str | None
    why: str | None  # it is dead: horizon or poison
    first_attempt_at: datetime | None
    last_attempt_at: datetime | None
    done_at: datetime | None
    event_id: EventId
    type: str
    project: str | None  # its name; None: it is about none, or about several
    subject: str
    summary: str
    time: datetime  # of the event
