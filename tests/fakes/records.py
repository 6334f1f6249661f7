"""What a poll records, with sane defaults, and a clock that stands still."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from taskwatch.core.route import Hop
from taskwatch.engine.ports import PollRecord, ProjectState, Routed
from taskwatch.model.event import Event, EventId, EventType, Severity
from taskwatch.model.project import Identity
from taskwatch.model.task import Known
from tests.fakes.builders import T0

PROD = Identity(service="gaussdb", host="gaussdb.example", project_id="0611f1bd")


class StillClock:
    """Stands still until it is told to go on."""

    def __init__(self, moment: datetime = T0) -> None:
        self.moment = moment
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.moment + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def an_event(
    event_id: str = "tw_1",
    *,
    subject: str = "job-1",
    type_: EventType = EventType.TASK_STARTED,
    sequence: int = 1,
    summary: str = "something happened",
    time: datetime = T0,
    body: bytes | None = None,
) -> Event:
    return Event(
        id=EventId(event_id),
        type=type_,
        subject=subject,
        sequence=sequence,
        severity=Severity.INFO,
        summary=summary,
        time=time,
        body=body if body is not None else f'{{"id": "{event_id}"}}'.encode(),
        attributes={},
    )


def routed(event: Event, *receivers: str) -> Routed:
    """Route the event as the root route does."""
    return Routed(
        event=event,
        job_id=event.subject,
        hops=tuple(Hop(receiver=receiver, path="route") for receiver in receivers),
    )


def a_record(
    state: ProjectState,
    *,
    tasks: Sequence[Known] = (),
    events: Sequence[Routed] = (),
    revision: int | None = None,
    sequence: int | None = None,
    observed_at: datetime | None = T0,
    baseline_at: datetime | None = None,
) -> PollRecord:
    """Build a record upon this state."""
    return PollRecord(
        project=state.key,
        revision=state.revision if revision is None else revision,
        tasks=tasks,
        events=events,
        observed_at=observed_at,
        baseline_at=baseline_at,
        sequence=sequence,
    )
