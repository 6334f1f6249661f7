"""A task whose whole life is decided in advance, and what a reader sees of it at a moment.

Moments are seconds since the epoch, in whole milliseconds, so that they survive the way through
a datetime and back unchanged.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from taskwatch.simulator.catalogue import RUNNING

PROGRESS_STEPS = 20  # progress is told in steps of five percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of the task list as it stands at one moment."""

    job_id: str
    name: str
    status: str
    progress: int | None
    fail_reason: str | None
    created_at: datetime
    ended_at: datetime | None
    instance_id: str
    instance_name: str
    instance_status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of status that did happen. `before` is None when the task appears."""

    at: datetime
    created_at: datetime  # of the task
    project_id: str
    job_id: str
    name: str
    instance_name: str
    before: str | None
    after: str
    fail_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A task from its creation to its end."""

    job_id: str
    name: str
    instance_id: str
    instance_name: str
    instance_status: str  # while it runs
    instance_status_after: str
    created: float
    ended: float  # infinite: it runs until somebody ends it
    full_seconds: float | None  # how long it takes if nothing goes wrong; None: its progress does not grow
    outcome: str
    fail_reason: str | None
    progress: int | None = None  # what it shows as long as it runs, where it does not grow
    deleted: float = math.inf  # from then on its record is gone

    def seen(self, now: float) -> Task:
        """Return the row that a listing shows at `now`. Only asked of works that exist by then."""
        running = now < self.ended
        return Task(
            job_id=self.job_id,
            name=self.name,
            status=self.status(now),
            progress=self._progress(now) if running else None,
            fail_reason=None if running else self.fail_reason,
            created_at=datetime.fromtimestamp(self.created, UTC),
            ended_at=None if running else datetime.fromtimestamp(self.ended, UTC),
            instance_id=self.instance_id,
            instance_name=self.instance_name,
            instance_status=self.instance_status if running else self.instance_status_after,
        )

    def status(self, now: float) -> str:
        return RUNNING if now < self.ended else self.outcome

    def next_change(self, now: float) -> float:
        """Return when the row of a running work looks different next."""
        if not self.full_seconds:
            return self.ended
        full = _milliseconds(self.full_seconds)
        step = -(-(self._step(now) + 1) * full // PROGRESS_STEPS)  # rounded up: by then it has been taken
        return min(round(self.created + step / 1000, 3), self.ended)

    def transitions(self, project_id: str) -> list[Transition]:
        """Return its start and its end, as far as its record lived to show them."""
        created_at = datetime.fromtimestamp(self.created, UTC)
        start = Transition(
            at=created_at,
            created_at=created_at,
            project_id=project_id,
            job_id=self.job_id,
            name=self.name,
            instance_name=self.instance_name,
            before=None,
            after=RUNNING,
        )
        if math.isinf(self.ended) or self.ended > self.deleted:
            return [start]
        end = Transition(
            at=datetime.fromtimestamp(self.ended, UTC),
            created_at=created_at,
            project_id=project_id,
            job_id=self.job_id,
            name=self.name,
            instance_name=self.instance_name,
            before=RUNNING,
            after=self.outcome,
            fail_reason=self.fail_reason,
        )
        return [start, end]

    def _progress(self, now: float) -> int | None:
        return self._step(now) * 100 // PROGRESS_STEPS if self.full_seconds else self.progress

    def _step(self, now: float) -> int:
        if not self.full_seconds:
            return 0
        return _milliseconds(now - self.created) * PROGRESS_STEPS // _milliseconds(self.full_seconds)


def _milliseconds(seconds: float) -> int:
    """Return whole milliseconds: steps that are computed in these neither repeat nor get lost."""
    return round(seconds * 1000)
