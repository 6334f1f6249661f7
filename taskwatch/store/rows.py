"""What the commands read of a store, and how a task stands in its rows."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskwatch.engine.ports import WaitingGroup
from taskwatch.model.delivery import DeliveryId, DeliveryState
from taskwatch.model.event import EventId
from taskwatch.model.project import Condition, Identity
from taskwatch.model.task import Instance, Task
from taskwatch.store.instants import from_stored


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


# The place of a task among all: when it was created, the number of its project, its job id. It stays.
PlaceOfTask = tuple[int | None, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event as it is told, by the number of its recording."""

    number: int
    id: str
    type: str
    body: bytes


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
class AlertRow:
    """An alert that has not ended, with the event that opened it."""

    event_id: EventId
    type: str
    severity: str
    summary: str
    since: datetime
    project: str | None  # its name; None: it is about none, or about several
    subject: str
    task: Task | None  # as it is now
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_until: datetime | None
    acknowledgement: str | None
    held_by: str | None  # the silence or window that holds a delivery of it back
    is_told: bool  # a delivery of it is pending or delivered, or none is on record any more
    body: bytes  # of the event


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedAlertRow:
    """An alert, over or not, by the event that opened it."""

    event_id: EventId
    since: datetime
    ended_at: datetime | None
    why: str | None
    by: str | None  # the job id of the task that ended it, the event that did, or the operator
    comment: str | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_until: datetime | None
    acknowledgement: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A delivery, with what it delivers. What was tried of one that a message tells, is the message's."""

    id: DeliveryId
    receiver: str
    path: str  # of the route that named the receiver
    state: str
    attempts: int
    replay: bool  # an operator sent it again
    last_reason: str | None
    last_detail: str | None
    why: str | None  # it is dead, or put away, or was delivered in part
    first_attempt_at: datetime | None
    last_attempt_at: datetime | None
    done_at: datetime | None
    event_id: EventId
    type: str
    project: str | None  # its name; None: it is about none, or about several
    subject: str
    summary: str
    time: datetime  # of the event
    number: int  # of the event, in the order of recording
    group: str | None  # the key of the group in which it is told; None: it is told alone
    message: int | None  # the number of the message that tells it
    held_by: str | None  # the silence or window that holds it back, or did

    def waits_for_its_group(self, people: Collection[str]) -> bool:
        """Tell whether it waits for a message to tell it; `people` are the receivers that are told in groups."""
        return self.state == DeliveryState.PENDING and self.message is None and self.receiver in people


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """An attempt that failed."""

    at: datetime
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingRow:
    """What is in the way at a receiver, as the deliveries that wait for it know it."""

    since: datetime  # the first attempt at any of them
    last: AttemptRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldIn:
    """What messages of one id tell."""

    event_id: EventId  # the messages'
    receivers: tuple[str, ...]
    events: tuple[EventId, ...]  # that they tell or remind of, as far as they are on record


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message to people."""

    number: int
    event_id: EventId  # under which it is told
    group: str  # its key
    at: datetime  # when it was composed
    events: int  # that it tells, as far as they are on record
    state: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldRow:
    """A delivery, with all that is on record of how it went."""

    delivery: DeliveryRow
    failed: tuple[AttemptRow, ...]  # the last few attempts that did, in their order
    message: MessageRow | None  # that tells it
    waiting: WaitingGroup | None  # for whose next message it waits
    last_messages: tuple[datetime, ...] = ()  # then: when the last few were composed
    behind: EventId | None = None  # an earlier event of the same task, which is pending at the receiver too
    failing: FailingRow | None = (
        None  # why the receiver is told one event at a time: of one that was never tried
    )


def task_of(row: tuple[Any, ...]) -> Task:
    """Read a task from the columns job_id to instance_status, in the order of the table."""
    job_id, name, status, progress, fail_reason, created_at, ended_at, *instance = row
    return Task(
        job_id=job_id,
        name=name,
        status=status,
        progress=progress,
        fail_reason=fail_reason,
        created_at=from_stored(created_at),
        ended_at=from_stored(ended_at),
        instance=Instance(id=instance[0], name=instance[1], status=instance[2]),
    )
