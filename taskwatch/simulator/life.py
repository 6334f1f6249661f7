"""The life of one project: which tasks exist at a moment, and what happened between two.

A pure function of the seed, the project and the moment, whatever was asked before; only `provoke`,
`steer` and `delete` change it. The days are decided a little ahead of the latest moment that anybody
asked for.
"""

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

from taskwatch.simulator.catalogue import BACKUP, COMPLETED, FAILED, KINDS, MAKERS
from taskwatch.simulator.planner import DAY, Instance, Planner, make_work, new_instance
from taskwatch.simulator.work import Task, Transition, Work

WINDOW = 30 * DAY  # "the tasks of the last month can be queried at most"
_HISTORY = 32 * DAY  # the first two days only fill what still runs when the window opens


class Life:
    """The tasks of one project, planned without end. `revision` counts what was done to it."""

    def __init__(self, *, seed: int, project_id: str, began: datetime, tasks_per_day: int = 40) -> None:
        self.project_id = project_id
        self.revision = 0
        self._provoking = Random(f"{seed}/{project_id}/provoked")  # so that the plan stays as it is
        midnight = began.timestamp() // DAY * DAY
        self._planner = Planner(
            seed=seed, project_id=project_id, first_day=midnight - _HISTORY, tasks_per_day=tasks_per_day
        )
        self._works: list[Work] = []  # in order of creation
        self._created: list[float] = []  # theirs, for bisecting
        self._deletions: list[float] = []  # when records disappear, sorted
        self._longest = 0.0

    def tasks(self, now: datetime) -> list[Task]:
        """Return what a listing shows at `now`: the tasks of the last 30 days, newest first."""
        moment = now.timestamp()
        return [work.seen(moment) for work in self.window(moment)]

    def transitions(self, since: datetime, until: datetime) -> list[Transition]:
        """Return what happened from `since` on and before `until`, in order of time."""
        self._plan(until.timestamp())
        first = bisect_left(self._created, since.timestamp() - self._longest)
        last = bisect_left(self._created, until.timestamp())
        happened = [
            transition
            for work in self._works[first:last]
            for transition in work.transitions(self.project_id)
            if since <= transition.at < until
        ]
        return sorted(happened, key=lambda transition: transition.at)

    def deletions(self, since: datetime, until: datetime) -> list[tuple[datetime, Task]]:
        """Return which records were deleted from `since` on and before `until`, as they stood, in order of time."""
        self._plan(until.timestamp())
        gone = [work for work in self._works if since.timestamp() <= work.deleted < until.timestamp()]
        return [
            (datetime.fromtimestamp(work.deleted, UTC), work.seen(work.deleted))
            for work in sorted(gone, key=lambda work: work.deleted)
        ]

    def window(self, now: float) -> list[Work]:
        """Return the works that a listing shows at this moment, newest first."""
        self._plan(now)
        first = bisect_right(self._created, now - WINDOW)
        last = bisect_right(self._created, now)
        return [work for work in reversed(self._works[first:last]) if now < work.deleted]

    def next_change(self, now: float) -> float:
        """Return a moment before which the listing of `now` stays as it is."""
        self._plan(now)
        last = bisect_right(self._created, now)
        changes = [self._planner.until]
        if last < len(self._created):
            changes.append(self._created[last])
        oldest = bisect_right(self._created, now - WINDOW)
        if oldest < last:
            changes.append(self._created[oldest] + WINDOW)
        gone = bisect_right(self._deletions, now)
        changes += self._deletions[gone : gone + 1]
        possibly_running = bisect_left(self._created, now - self._longest)
        changes += (work.next_change(now) for work in self._works[possibly_running:last] if now < work.ended)
        return min(changes)

    def provoke(
        self,
        now: float,
        *,
        name: str = BACKUP,
        seconds: float = 30.0,
        fail_reason: str | None = None,
        instance_name: str | None = None,
        progress: int | None = None,
    ) -> Work:
        """Create a task at this moment that ends `seconds` later, failed if a reason is given.

        Without an instance name it works on the one that was backed up last. With infinite seconds
        it runs until `steer` ends it. Its progress grows, unless it is given or there is no end to
        grow to. Raises KeyError for a task name that the cloud does not know.
        """
        kind = KINDS[name]
        seconds = max(seconds, 0.001)
        work = make_work(
            self._provoking,
            kind=kind,
            instance=self._instance(now, instance_name, is_new=name in MAKERS),
            created=now,
            seconds=seconds,
            full_seconds=None if progress is not None or math.isinf(seconds) else seconds,
            fail_reason=fail_reason,
        )
        work = replace(work, progress=progress)
        self._plan(now)
        self._insert(work)
        self.revision += 1
        return work

    def steer(
        self,
        now: float,
        job_id: str,
        *,
        outcome: str | None = None,
        fail_reason: str | None = None,
        progress: int | None = None,
    ) -> Work:
        """End a running task at this moment, or set the progress it shows.

        Raises KeyError for a task that is not listed, ValueError for one that has ended.
        """
        work = self.listed(now, job_id)
        if now >= work.ended:
            raise ValueError(f"the task has ended: {work.outcome}")
        changed = work
        if progress is not None:
            changed = replace(changed, full_seconds=None, progress=progress)
        if outcome is not None:
            kind = KINDS[work.name]
            has_failed = outcome == FAILED
            changed = replace(
                changed,
                ended=now,
                outcome=outcome,
                fail_reason=(fail_reason or kind.reasons[0]) if has_failed else None,
                instance_status_after=kind.when_failed if has_failed else kind.when_completed,
            )
        self._replace(work, changed)
        return changed

    def delete(self, now: float, job_id: str) -> Work:
        """Delete the record of a task, as a person does. Raises KeyError for one that is not listed."""
        work = self.listed(now, job_id)
        changed = replace(work, deleted=now)
        self._replace(work, changed)
        return changed

    def listed(self, now: float, job_id: str) -> Work:
        """Return a work that the listing of this moment shows. Raises KeyError if there is none."""
        for work in self.window(now):
            if work.job_id == job_id:
                return work
        raise KeyError(job_id)

    def _replace(self, work: Work, changed: Work) -> None:
        self._works[self._works.index(work)] = changed
        self.revision += 1

    def _instance(self, now: float, name: str | None, *, is_new: bool) -> Instance:
        if is_new:
            return new_instance(self._provoking, name)
        for work in self.window(now):
            named = name is None and (work.name, work.status(now)) == (BACKUP, COMPLETED)
            if named or work.instance_name == name:
                return Instance(id=work.instance_id, name=work.instance_name)
        return new_instance(self._provoking, name)

    def _plan(self, moment: float) -> None:
        while self._planner.until <= moment:
            for work in self._planner.next_day():
                self._insert(work)

    def _insert(self, work: Work) -> None:
        place = bisect_right(self._created, work.created)
        self._works.insert(place, work)
        self._created.insert(place, work.created)
        self._longest = max(self._longest, work.ended - work.created)
        if math.isfinite(work.deleted):
            insort(self._deletions, work.deleted)
