"""What a poll found, in the shape in which it is recorded: tasks as they are remembered, and what is told of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from taskwatch.core.alerts import OpenAlerts
from taskwatch.core.detect import Change
from taskwatch.core.events import baseline_event, loss_event, resolved_event, task_event
from taskwatch.core.quiet import Silence
from taskwatch.core.route import Routing
from taskwatch.engine.ports import Routed
from taskwatch.model.alert import OPENING, Alert, Ended
from taskwatch.model.event import Event, Loss, Reading, Severity, Transition
from taskwatch.model.project import Project
from taskwatch.model.task import Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event, before it is decided where it goes."""

    event: Event
    job_id: str | None = None  # None: about the project itself
    ends: Ended | None = None  # the alert that is over by it

    def routed(self, routing: Routing, silences: Sequence[Silence], *, at: datetime) -> Routed:
        """Decide where it goes. Who hears of an end the store knows."""
        is_end = self.ends is not None
        hops = () if is_end else routing.hops(self.event, silences=silences, at=at)
        return Routed(event=self.event, job_id=self.job_id, hops=hops, ends=self.ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """How the changes of one poll are told."""

    project: Project
    failure_severities: tuple[tuple[str, Severity], ...]

    def of(
        self,
        changes: Iterable[Change],
        reading_of: Callable[[Transition], Reading],
        *,
        alerts: OpenAlerts,
        observed_at: datetime,
    ) -> tuple[list[Known], list[Told], list[Ended]]:
        """Return the tasks to remember, what is told, and the alerts that are over by that."""
        tasks: list[Known] = []
        told: list[Told] = []
        ended: list[Ended] = []
        for change in changes:
            known = change.known
            ended += alerts.end(change)
            if change.told is not None:
                known = replace(known, sequence=known.sequence + 1)
                event = self._event(change.told, known.sequence, reading_of, observed_at)
                told.append(Told(event=event, job_id=known.task.job_id))
                if event.type in OPENING:
                    alerts.open(Alert(event_id=event.id, type=event.type, task=known.task))
            tasks.append(known)
        return tasks, told, ended

    def _event(
        self,
        told: Transition | Loss,
        sequence: int,
        reading_of: Callable[[Transition], Reading],
        observed_at: datetime,
    ) -> Event:
        match told:
            case Transition():
                return task_event(
                    told,
                    project=self.project,
                    sequence=sequence,
                    reading=reading_of(told),
                    failure_severities=self.failure_severities,
                )
            case Loss():
                return loss_event(told, project=self.project, sequence=sequence, observed_at=observed_at)
            case _:
                assert_never(told)

    def of_baseline(self, changes: Sequence[Change], sequence: int, observed_at: datetime) -> Told:
        counts = Counter(change.known.task.status for change in changes)
        event = baseline_event(
            project=self.project, sequence=sequence, counts=counts, observed_at=observed_at
        )
        return Told(event=event)


def ends_told(
    ended: Iterable[Ended], known: Mapping[str, Known], *, project: Project, at: datetime
) -> tuple[dict[str, Known], list[Told]]:
    """Say of alerts that they are over; `known` are their tasks."""
    counted: dict[str, Known] = {}
    told: list[Told] = []
    for end in ended:
        job_id = end.alert.task.job_id
        before = counted.get(job_id, known[job_id])
        counted[job_id] = after = replace(before, sequence=before.sequence + 1)
        event = resolved_event(end, task=after.task, project=project, sequence=after.sequence, at=at)
        told.append(Told(event=event, job_id=job_id, ends=end))
    return counted, told


def reading_after(
    previous: tuple[datetime, float] | None,
    *,
    earlier: datetime | None,
    observed_at: datetime,
    read_at: float,
    lateness: float,
) -> Reading:
    """Say how far back the reading before this one lies.

    Within a run, from `previous`, the monotonic clock measures the gap. Across runs only the wall clock is
    left, from `earlier`; such a reading is late by definition.
    """
    if previous is not None:
        gap = read_at - previous[1]
        return Reading(
            observed_at=observed_at, previous_observed_at=previous[0], gap_seconds=gap, late=gap > lateness
        )
    if earlier is None:
        return Reading(observed_at=observed_at, previous_observed_at=None, gap_seconds=None, late=False)
    gap = max(0.0, (observed_at - earlier).total_seconds())
    return Reading(observed_at=observed_at, previous_observed_at=earlier, gap_seconds=gap, late=True)
