"""What happened: the difference between what is known of a project's tasks and what a poll read.

Invariants:
- The same input gives the same output, in a stable order, whatever the order of the rows.
- A task's revisions have no gap, and `from` of one is `to` of the one before.
- A step backwards is accepted only when it was read in CONFIRMATIONS distinct polls.
- A row that is not there says nothing here; `absence` says when a task counts as gone.
- What a task is does not change: where a row does not say it, it is as it was known.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from taskwatch.model.event import Loss, Transition
from taskwatch.model.task import FAILED, PENDING, Known, Task, is_ended

CONFIRMATIONS: Final = 3
WINDOW: Final = timedelta(days=31)  # the listing reaches back one month
RECENT: Final = timedelta(hours=24)


class BaselinePolicy(StrEnum):
    """What is told of tasks that the first complete listing shows."""

    QUIET = "quiet"
    FAILED = "failed"  # those that failed in the last 24 hours
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one poll changes about one task: how it is remembered now, and what is told, if anything."""

    known: Known
    told: Transition | Loss | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The line between history and news: when it was drawn, by the cloud's clock, and what of history is told."""

    at: datetime
    policy: BaselinePolicy

    def tells(self, task: Task) -> bool:
        match self.policy:
            case BaselinePolicy.QUIET:
                return False
            case BaselinePolicy.ALL:
                return True
            case BaselinePolicy.FAILED:
                ended_at = task.ended_at
                return task.status == FAILED and ended_at is not None and ended_at >= self.at - RECENT

    def precedes(self, task: Task) -> bool:
        """Tell whether a task that is new to us had ended before the line, by a sane `ended_at`.

        The cloud writes whole seconds: what ended in the second of the line counts as news.
        """
        ended_at, created_at = task.ended_at, task.created_at
        if not task.has_ended or ended_at is None:
            return False
        is_sane = ended_at >= (created_at if created_at is not None else self.at - WINDOW)
        return is_sane and ended_at < self.at.replace(microsecond=0)


def first_listing(rows: Iterable[Task], line: Baseline) -> tuple[Change, ...]:
    """Remember all that the first complete listing shows; tell of it what the policy says."""
    return tuple(_history(row, line) for row in _latest(rows))


def detect(known: Mapping[str, Known], rows: Iterable[Task], line: Baseline) -> tuple[Change, ...]:
    """Compare rows with what is known of them, after the baseline.

    A task that is new to us, yet ended before the line, is history that a stale first answer had
    left out: it is treated as the baseline treats history.
    """
    changes = (_compare(known.get(row.job_id), row, line) for row in _latest(rows))
    return tuple(change for change in changes if change is not None)


def lost(known: Known, *, reach: datetime) -> Change:
    """Remember that a task is gone. Told if it had not ended; the list reaches back to `reach`.

    Its status stays what was read last: when the task comes back it is compared with that.
    """
    gone = replace(known, is_gone=True, pending_status=None, pending_count=0)
    if known.task.has_ended:
        return Change(known=gone)
    created_at = known.task.created_at
    number = known.losses + 1
    return Change(
        known=replace(gone, losses=number),
        told=Loss(
            task=known.task,
            revision=known.revision,
            number=number,
            has_left_window=created_at is not None and created_at < reach,
        ),
    )


def _latest(rows: Iterable[Task]) -> list[Task]:
    """Keep one row per task, the one furthest ahead, in the order in which the work began.

    A list that moves between two pages, or pages answered by different replicas, show a task twice.
    """
    latest: dict[str, Task] = {}
    for row in rows:
        before = latest.get(row.job_id)
        latest[row.job_id] = row if before is None else max(before, row, key=_advance)
    return sorted(latest.values(), key=_begun)


def _begun(row: Task) -> tuple[bool, str, str]:
    return (row.created_at is None, row.created_at.isoformat() if row.created_at else "", row.job_id)


def _advance(row: Task) -> tuple[int, bool, str, int, str]:
    # A total order, so that the result depends on no order of rows.
    ended = row.ended_at.isoformat() if row.ended_at else ""
    return (_rank(row.status), bool(ended), ended, row.progress or 0, repr(row))


def _compare(known: Known | None, row: Task, line: Baseline) -> Change | None:
    if known is None:
        return _history(row, line) if line.precedes(row) else _first_seen(row)
    row = _filled(row, known.task)
    if _is_backward(known.task, row):
        return _held_or_confirmed(known, row)
    if row.status != known.task.status:
        return _moved(known, row)
    if row != known.task or known.pending_count or known.is_gone:
        return _refreshed(known, row)
    return None


def _filled(row: Task, before: Task) -> Task:
    """Return the row with the name, the time of creation and the instance that it lacks."""
    now, known = row.instance, before.instance
    if row.name and row.created_at and now.id and now.name:
        return row
    return replace(
        row,
        name=row.name or before.name,
        created_at=row.created_at or before.created_at,
        instance=replace(now, id=now.id or known.id, name=now.name or known.name),
    )


def _history(row: Task, line: Baseline) -> Change:
    if line.tells(row):
        return _first_seen(row)
    return Change(known=Known(task=row, revision=1, sequence=0))


def _first_seen(row: Task) -> Change:
    return Change(
        known=Known(task=row, revision=1, sequence=0),
        told=Transition(task=row, from_status=None, to_status=row.status, revision=1),
    )


def _refreshed(known: Known, row: Task) -> Change:
    return Change(known=replace(known, task=row, pending_status=None, pending_count=0, is_gone=False))


def _moved(known: Known, row: Task) -> Change:
    revision = known.revision + 1
    return Change(
        known=replace(
            known, task=row, revision=revision, pending_status=None, pending_count=0, is_gone=False
        ),
        told=Transition(task=row, from_status=known.task.status, to_status=row.status, revision=revision),
    )


def _held_or_confirmed(known: Known, row: Task) -> Change:
    count = known.pending_count + 1 if known.pending_status == row.status else 1
    if count < CONFIRMATIONS:
        return Change(known=replace(known, pending_status=row.status, pending_count=count, is_gone=False))
    return _moved(known, row) if row.status != known.task.status else _refreshed(known, row)


def _is_backward(before: Task, after: Task) -> bool:
    """Tell whether `after` looks older than `before`: what a stale replica would show.

    Rows carry no time of their last update, so the status and the end are all there is to judge by.
    """
    if _rank(after.status) != _rank(before.status):
        return _rank(after.status) < _rank(before.status)
    if not before.has_ended:
        return False
    if before.ended_at is None:
        return after.ended_at is None and after.status != before.status
    return after.ended_at is None or after.ended_at < before.ended_at


def _rank(status: str) -> int:
    if status == PENDING:
        return 0
    return 2 if is_ended(status) else 1
