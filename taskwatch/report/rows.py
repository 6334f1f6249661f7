"""What programs are shown of a project, a task, a delivery, an alert and a silence: by `--json`, and by the API.

Invariants:
- There is one place for it: whoever reads one of them can read the other.
- Keys may be added; none goes, and none changes its meaning.
- What is not known is null; no key is ever left out.
"""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from taskwatch.core.quiet import Mute, Silence
from taskwatch.report.standing import Standing
from taskwatch.store.rows import AlertRow, DeliveryRow, TaskRow


class Row(BaseModel):
    """One of them, as it is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def shown(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return self.model_dump(mode="json")


class Project(Row):
    """How a project stands."""

    name: str
    state: Annotated[
        str, Field(description="watched, in trouble, no baseline yet, no id yet, not configured, …")
    ]
    host: Annotated[str, Field(description="of the endpoint that is asked")]
    project_id: Annotated[str | None, Field(description="null: the login service has not said it yet")]
    baseline_at: Annotated[datetime | None, Field(description="the first complete poll")]
    read_at: Annotated[datetime | None, Field(description="the last complete poll")]
    interval_seconds: Annotated[float | None, Field(description="that is kept")]
    configured_interval_seconds: Annotated[float | None, Field(description="null: it is configured no more")]
    next_poll_at: Annotated[datetime | None, Field(description="null: nobody polls it")]
    tasks: Annotated[int, Field(description="that are known")]
    running: Annotated[int, Field(description="that have not ended")]
    cause: Annotated[str | None, Field(description="of the trouble, in a word")]
    error: Annotated[str | None, Field(description="the same, in a line")]
    since: Annotated[datetime | None, Field(description="when the trouble began")]

    @classmethod
    def of(cls, standing: Standing) -> Self:
        return cls.model_validate(standing, from_attributes=True)


class Task(Row):
    """A task, as it was read last."""

    project: Annotated[str, Field(description="its name")]
    job_id: str
    name: str
    status: Annotated[
        str, Field(description="Pending, Running, Completed, Failed, Canceled, or another word of the cloud")
    ]
    progress: Annotated[int | None, Field(description="percent")]
    fail_reason: str | None
    created_at: datetime | None
    ended_at: datetime | None
    instance_id: str | None
    instance_name: str | None
    instance_status: str | None
    revision: Annotated[int, Field(description="counts its statuses, from 1")]
    gone: Annotated[bool, Field(description="whole lists do not show it any more")]

    @classmethod
    def of(cls, row: TaskRow) -> Self:
        task = row.task
        return cls(
            project=row.project,
            job_id=task.job_id,
            name=task.name,
            status=task.status,
            progress=task.progress,
            fail_reason=task.fail_reason,
            created_at=task.created_at,
            ended_at=task.ended_at,
            instance_id=task.instance.id,
            instance_name=task.instance.name,
            instance_status=task.instance.status,
            revision=row.revision,
            gone=row.is_gone,
        )


class Delivery(Row):
    """What became of telling an event to a receiver."""

    event_id: str
    type: Annotated[str, Field(description="of the event")]
    project: Annotated[str | None, Field(description="its name; null: it is about none, or about several")]
    subject: str
    receiver: str
    route: Annotated[str, Field(description="by which the receiver was named")]
    state: Annotated[str, Field(description="pending, held, delivered, dead, dropped or suppressed")]
    attempts: int
    replay: Annotated[bool, Field(description="an operator sent it again")]
    first_attempt_at: datetime | None
    last_attempt_at: datetime | None
    done_at: datetime | None
    reason: Annotated[str | None, Field(description="of the last failure, in a word")]
    detail: Annotated[str | None, Field(description="the same, in a line")]
    why: Annotated[str | None, Field(description="it is dead, dropped or suppressed")]
    held_by: Annotated[str | None, Field(description="the silence or window that holds it back, or did")]
    message: Annotated[int | None, Field(description="the number of the message that tells it to people")]

    @classmethod
    def of(cls, row: DeliveryRow) -> Self:
        return cls(
            event_id=row.event_id,
            type=row.type,
            project=row.project,
            subject=row.subject,
            receiver=row.receiver,
            route=row.path,
            state=row.state,
            attempts=row.attempts,
            replay=row.replay,
            first_attempt_at=row.first_attempt_at,
            last_attempt_at=row.last_attempt_at,
            done_at=row.done_at,
            reason=row.last_reason,
            detail=row.last_detail,
            why=row.why,
            held_by=row.held_by,
            message=row.message,
        )


class Alert(Row):
    """What needs attention: an alert that has not ended, with the event that opened it."""

    event_id: str
    type: Annotated[str, Field(description="of the event")]
    severity: str
    summary: str
    since: datetime
    project: Annotated[str | None, Field(description="its name; null: it is about none, or about several")]
    subject: str
    job_id: str | None
    name: Annotated[str | None, Field(description="of the task")]
    instance_id: str | None
    instance_name: str | None
    status: Annotated[str | None, Field(description="of the task, as it is now")]
    acknowledged: Annotated[bool, Field(description="somebody has it, now")]
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_until: Annotated[
        datetime | None, Field(description="null: for as long as the alert is open")
    ]
    comment: Annotated[str | None, Field(description="what was said when it was acknowledged")]
    held_by: Annotated[str | None, Field(description="the silence or window that holds it back")]

    @classmethod
    def of(cls, row: AlertRow, now: datetime) -> Self:
        task = row.task
        return cls(
            event_id=row.event_id,
            type=row.type,
            severity=row.severity,
            summary=row.summary,
            since=row.since,
            project=row.project,
            subject=row.subject,
            job_id=None if task is None else task.job_id,
            name=None if task is None else task.name,
            instance_id=None if task is None else task.instance.id,
            instance_name=None if task is None else task.instance.name,
            status=None if task is None else task.status,
            acknowledged=holder(row, now) is not None,
            acknowledged_at=row.acknowledged_at,
            acknowledged_by=row.acknowledged_by,
            acknowledged_until=row.acknowledged_until,
            comment=row.acknowledgement,
            held_by=row.held_by,
        )


def holder(row: AlertRow, now: datetime) -> str | None:
    """Return who has said to have it, unless that was for a time which is over."""
    is_over = row.acknowledged_until is not None and row.acknowledged_until <= now
    return None if is_over or row.acknowledged_by is None else row.acknowledged_by.split(" (")[0]


class Hush(Row):
    """A silence that somebody set, or a mute window of the configuration: for a time nobody is told of some events."""

    model_config = ConfigDict(title="Silence")

    silence: Annotated[int | None, Field(description="its number; null: it is a window")]
    mute: Annotated[str | None, Field(description="the name of the window; null: it is a silence")]
    in_force: bool
    matchers: Annotated[list[str], Field(description="all of which an event has to match; none: every event")]
    begins_at: datetime | None
    ends_at: datetime | None
    weekly: Annotated[list[str] | None, Field(description="when the window is open")]
    timezone: str | None
    by: str
    comment: str | None

    @classmethod
    def of(cls, hush: Silence | Mute, now: datetime) -> Self:
        matchers, in_force = [str(matcher) for matcher in hush.matchers], hush.is_in_force(now)
        if isinstance(hush, Silence):
            return cls(
                silence=hush.id,
                mute=None,
                in_force=in_force,
                matchers=matchers,
                begins_at=hush.begins_at,
                ends_at=hush.ends_at,
                weekly=None,
                timezone=None,
                by=hush.by,
                comment=hush.comment,
            )
        return cls(
            silence=None,
            mute=hush.name,
            in_force=in_force,
            matchers=matchers,
            begins_at=None,
            ends_at=None,
            weekly=[str(span) for span in hush.weekly],
            timezone=str(hush.zone),
            by="the configuration",
            comment=None,
        )
