"""The life of one project: which tasks exist at a moment, and what happened between two.

A pure function of the seed, the project and the moment, whatever was asked before; only `provoke`
adds to it. The days are decided a little ahead of the latest moment that anybody asked for.
"""

from bisect import bisect_left, bisect_right
from datetime import datetime
from random import Random

from taskwatch.simulator.catalogue import BACKUP, COMPLETED, KINDS, MAKERS
from taskwatch.simulator.planner import DAY, Instance, Planner, make_work, new_instance
from taskwatch.simulator.work import Task, Transition, Work

WINDOW = 30 * DAY  # "the tasks of the last month can be queried at most"
_HISTORY = 32 * DAY  # the first two days only fill what still runs when the window opens


class Life:
    """The tasks of one project, planned without end. `revision` counts what was provoked."""

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

    def window(self, now: float) -> list[Work]:
        """Return the works that a listing shows at this moment, newest first."""
        self._plan(now)
        first = bisect_right(self._created, now - WINDOW)
        last = bisect_right(self._created, now)
        return self._works[first:last][::-1]

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
    ) -> Work:
        """Create a task at this moment that ends `seconds` later, failed if a reason is given.

        Without an instance name it works on the one that was backed up last. Raises KeyError for
        a task name that the cloud does not know.
        """
        kind = KINDS[name]
        work = make_work(
            self._provoking,
            kind=kind,
            instance=self._instance(now, instance_name, is_new=name in MAKERS),
            created=now,
            seconds=max(seconds, 0.001),
            full_seconds=max(seconds, 0.001),
            fail_reason=fail_reason,
        )
        self._plan(now)
        self._insert(work)
        self.revision += 1
        return work

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
