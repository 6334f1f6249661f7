"""What somebody sees who reads the store beside the daemon, as `taskwatch tasks` and its like do."""

import json
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from taskwatch.model.delivery import DeliveryId, DeliveryState
from taskwatch.model.event import EventId
from taskwatch.store.reader import StoreReader
from taskwatch.store.rows import DeliveryRow, EventRow, ProjectRow, TaskRow

RECEIVER: Final = "pipeline"  # the one that breaks
READ: Final = 1000  # rows of a table, the latest
REMEMBERED: Final = 240  # lengths of the queue
ALL: Final = 1_000_000
PREFIX: Final = "taskwatch."
STATUSES: Final = {
    "started": "Running",
    "completed": "Completed",
    "failed": "Failed",
}  # of the simulated cloud

Fact = tuple[str, str]  # a task, and the status that it took


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event in the parts that are shown. All of it may be hostile text."""

    time: datetime
    kind: str  # started, completed, failed, baseline …
    severity: str
    project: str
    what: str
    fail_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What is on its way to the receiver, as the store knows it."""

    length: int
    history: tuple[int, ...]
    trouble: str | None  # why the last attempt failed, while something waits because of it
    retried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One moment of the store."""

    projects: tuple[ProjectRow, ...]
    running: tuple[TaskRow, ...]
    events: tuple[Told, ...]  # the latest first
    told: Counter[str]  # kind → how many since the start
    told_of: Counter[tuple[str, str]]  # (project, kind) → how many
    queue: Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Between which readings a project was watched, by this host's clock."""

    project_id: str
    since: datetime  # the baseline
    until: datetime  # the last reading on record


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What the store holds when all is over."""

    tasks: int
    watched: tuple[Watched, ...]
    pending: int  # deliveries to the receiver that the next start will make
    waiting: frozenset[Fact]  # what of the tasks these tell
    retried: int  # deliveries to it that took more than one try


class Onlooker:
    """Looks at a store again and again, and counts what is new. Used from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._reader = StoreReader(path)
        self._counted: deque[EventId] = deque(maxlen=2 * READ)
        self._told_of: Counter[tuple[str, str]] = Counter()
        self._retried: set[DeliveryId] = set()
        self._lengths: deque[int] = deque([0], maxlen=REMEMBERED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def look(self) -> Scene:
        """Look once more. Raises StoreFailedError when the store cannot be read at this moment."""
        events = self._reader.events(limit=READ)
        self._count(events)
        told: Counter[str] = Counter()
        for (_, kind), count in self._told_of.items():
            told[kind] += count
        return Scene(
            projects=tuple(reversed(self._reader.projects())),
            running=tuple(self._reader.tasks(status="Running", limit=READ)),
            events=tuple(_told(row) for row in events[:100]),
            told=told,
            told_of=self._told_of.copy(),
            queue=self._queue(self._reader.deliveries(receiver=RECEIVER, limit=READ)),
        )

    def left(self) -> Left:
        """Return what the store holds in the end. Projects without a baseline are left out."""
        baselines = {row.subject: row.time for row in self._reader.events(event_type="project.baseline")}
        projects = self._reader.projects()
        deliveries = self._reader.deliveries(receiver=RECEIVER, limit=ALL)
        waiting = [row for row in deliveries if row.state == DeliveryState.PENDING]
        return Left(
            tasks=sum(row.tasks for row in projects),
            watched=tuple(
                Watched(project_id=project_id, since=baselines[project_id], until=row.observed_at)
                for row in projects
                if (project_id := row.identity.project_id) in baselines and row.observed_at is not None
            ),
            pending=len(waiting),
            waiting=frozenset(
                (row.subject, STATUSES[kind]) for row in waiting if (kind := _kind(row.type)) in STATUSES
            ),
            retried=sum(row.attempts > 1 for row in deliveries),
        )

    def _count(self, events: list[EventRow]) -> None:
        known = set(self._counted)
        for row in reversed(events):
            if row.id not in known:
                self._counted.append(row.id)
                self._told_of[row.project or "", _kind(row.type)] += 1

    def _queue(self, rows: list[DeliveryRow]) -> Queue:
        waiting = [row for row in rows if row.state == DeliveryState.PENDING]
        tried = [row for row in waiting if row.last_attempt_at is not None]
        latest = max(tried, key=lambda row: (row.last_attempt_at, row.id), default=None)
        self._retried |= {row.id for row in rows if row.attempts > 1}
        self._lengths.append(len(waiting))
        return Queue(
            length=len(waiting),
            history=tuple(self._lengths),
            trouble=None if latest is None else latest.last_detail or latest.last_reason,
            retried=len(self._retried),
        )


def _told(row: EventRow) -> Told:
    kind = _kind(row.type)
    task = json.loads(row.body)["data"].get("task")
    return Told(
        time=row.time,
        kind=kind,
        severity=row.severity,
        project=row.project or "",
        what=row.summary if task is None else f"{task['name']} of {task['instance']['name']}",
        fail_reason=task["fail_reason"] if task is not None and kind == "failed" else None,
    )


def _kind(event_type: str) -> str:
    return event_type.removeprefix(PREFIX).rpartition(".")[2]
