"""Which alerts are over by what a poll found.

Invariants:
- An alert ends once, and the first cause wins.
- Nothing is concluded from what is not known or cannot be: a task without an instance, without a time of creation, or
  created after its own end ends no other's alert.
- That a record is gone ends nothing.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from typing import Final

from taskwatch.core.detect import Change
from taskwatch.model.alert import Alert, Ended, Why
from taskwatch.model.event import EventId, EventType, Transition
from taskwatch.model.task import COMPLETED, FAILED, Task

# https://docs.otc.t-systems.com/gaussdb-opengauss/api-ref/querying_tasks.html, table "Task names"
DELETE: Final = "DeleteGaussDBV5Instance"
MAKES_INSTANCES: Final = frozenset({"CreateGaussDBV5Instance", "CloneGaussDBV5NewInstance"})
RESTORES_IN_PLACE: Final = frozenset(
    {"RestoreGaussDBV5InInstance", "RestoreGaussDBV5InInstanceToExistedInst"}
)

_LOST: Final = frozenset({EventType.TASK_VANISHED, EventType.TASK_LEFT_WINDOW})

_Index = defaultdict[Hashable, dict[EventId, Alert]]  # by the event that opened it


def work_of(task: Task) -> Hashable | None:
    """Name the work that a task does, as another attempt at it would; None where that cannot be told.

    Each attempt at making an instance makes another one: there its name is what they have in common.
    """
    if task.name in MAKES_INSTANCES:
        return (task.name, task.instance.name) if task.instance.name else None
    name = min(RESTORES_IN_PLACE) if task.name in RESTORES_IN_PLACE else task.name
    return (name, task.instance.id) if task.instance.id else None


class OpenAlerts:
    """The open alerts of a project, while the changes of one poll are applied to them in their order."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self._of_job: _Index = defaultdict(dict)
        self._of_work: _Index = defaultdict(dict)
        self._of_instance: _Index = defaultdict(dict)
        for alert in alerts:
            self.open(alert)

    def open(self, alert: Alert) -> None:
        for index, key in self._places(alert):
            index[key][alert.event_id] = alert

    def end(self, change: Change) -> list[Ended]:
        """Take out the alerts that this change ends, and say why."""
        by = change.known.task.job_id
        ended: dict[EventId, Ended] = {}
        for alert, why in self._ended_by(change):
            ended.setdefault(alert.event_id, Ended(alert=alert, why=why, by=by))
        for event_id, end in ended.items():
            for index, key in self._places(end.alert):
                index[key].pop(event_id, None)
        return list(ended.values())

    def _ended_by(self, change: Change) -> Iterator[tuple[Alert, Why]]:
        task, told = change.known.task, change.told
        moved = isinstance(told, Transition)
        for alert in self._of_job[task.job_id].values():
            if alert.type in _LOST:
                if not change.known.is_gone:
                    yield alert, Why.RETURNED
            elif moved:
                yield alert, Why.RESTARTED
        if not moved:
            return
        if task.status in {COMPLETED, FAILED} and (work := work_of(task)) is not None:
            why = Why.SUCCEEDED if task.status == COMPLETED else Why.SUPERSEDED
            yield from ((alert, why) for alert in self._of_work[work].values() if _precedes(alert.task, task))
        if task.name == DELETE and task.status == COMPLETED and task.instance.id:
            yield from ((alert, Why.DELETED) for alert in self._of_instance[task.instance.id].values())

    def _places(self, alert: Alert) -> Iterator[tuple[_Index, Hashable]]:
        """Return the indexes in which it is found, and under what."""
        task = alert.task
        yield self._of_job, task.job_id
        if (work := work_of(task)) is not None:
            yield self._of_work, work
        if task.instance.id:
            yield self._of_instance, task.instance.id


def _precedes(earlier: Task, later: Task) -> bool:
    if earlier.created_at is None or later.created_at is None or earlier.job_id == later.job_id:
        return False
    if later.ended_at is not None and later.ended_at < later.created_at:
        return False
    return earlier.created_at < later.created_at
