"""A store in memory that keeps the promises of a real one: all or nothing, and conditional on the revision.

`MemoryStore` is what a disk would hold. `Session` is how one process sees it: when the session is
killed, nothing that the process still does reaches the store, and nothing returns to it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from taskwatch.core.quiet import Silence
from taskwatch.engine.ports import PollRecord, ProjectState, Routed, StaleStateError
from taskwatch.errors import StoreFailedError
from taskwatch.model.alert import OPENING, Alert
from taskwatch.model.delivery import (
    Dead,
    Delivered,
    DeliveryId,
    DeliveryState,
    Outcome,
    Queued,
    Retry,
)
from taskwatch.model.event import Event, EventId
from taskwatch.model.project import Identity
from taskwatch.model.task import Known

_TURNS: Final = 2  # of the loop that each call takes: room for others, and for a cancellation


@dataclass(slots=True)
class StoredProject:
    identity: Identity
    name: str
    revision: int = 0
    sequence: int = 0
    baseline_at: datetime | None = None
    observed_at: datetime | None = None
    tasks: dict[str, Known] = field(default_factory=dict)


@dataclass(slots=True)
class StoredDelivery:
    id: DeliveryId
    event_id: EventId
    receiver: str
    task: str
    body: bytes
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    poisoned: int = 0
    tried_seconds: float = 0.0
    outcomes: list[tuple[Outcome, datetime]] = field(default_factory=list)


class Call(StrEnum):
    ENROL = "enrol"
    KNOWN = "known"
    EXPECTED = "expected"
    ALERTS = "open alerts"
    SILENCES = "silences"
    COMMIT = "commit"
    PENDING = "pending"
    BODY = "body"
    HAND_OVER = "hand over"
    RECORD = "record"


class MemoryStore:
    """Ledger and Outbox over dicts. `fail` lets the next calls fail before they do anything."""

    def __init__(self) -> None:
        self.projects: dict[int, StoredProject] = {}
        self.alerts: dict[EventId, tuple[int, Alert]] = {}  # with the project; those that are open
        self.events: list[tuple[int, Event]] = []  # project, in the order of recording
        self.deliveries: dict[DeliveryId, StoredDelivery] = {}
        self.calls: Counter[Call] = Counter()
        self._failing: Counter[Call] = Counter()
        self._event_ids: set[EventId] = set()
        self._pending: dict[str, dict[DeliveryId, StoredDelivery]] = {}  # per receiver

    def fail(self, call: Call, times: int) -> None:
        self._failing[call] += times

    def heal(self, call: Call) -> None:
        """Let the calls work again, however many were to fail yet."""
        del self._failing[call]

    def enqueue(self, receiver: str, task: str, text: str = "") -> StoredDelivery:
        """Put one delivery into the outbox, as if a poll had."""
        number = len(self.deliveries) + 1
        return self._enqueue(EventId(f"tw_{number:06}"), receiver, task, text.encode() or b"{}")

    def of(self, receiver: str, state: DeliveryState) -> list[StoredDelivery]:
        return [item for item in self.deliveries.values() if (item.receiver, item.state) == (receiver, state)]

    # Ledger

    async def enrol(self, identity: Identity, name: str) -> ProjectState:
        await self._turn(Call.ENROL)
        key = next((key for key, held in self.projects.items() if held.identity == identity), None)
        if key is None:
            key = len(self.projects) + 1
            self.projects[key] = StoredProject(identity=identity, name=name)
        held = self.projects[key]
        held.name = name
        return ProjectState(
            key=key,
            revision=held.revision,
            sequence=held.sequence,
            baseline_at=held.baseline_at,
            observed_at=held.observed_at,
            open_tasks=frozenset(
                known.task.job_id
                for known in held.tasks.values()
                if not known.task.has_ended and not known.is_gone
            ),
        )

    async def known(self, project: int, job_ids: Iterable[str]) -> dict[str, Known]:
        await self._turn(Call.KNOWN)
        tasks = self.projects[project].tasks
        return {job_id: tasks[job_id] for job_id in job_ids if job_id in tasks}

    async def expected(self, project: int, since: datetime) -> dict[str, datetime | None]:
        await self._turn(Call.EXPECTED)
        standing = (known.task for known in self.projects[project].tasks.values() if not known.is_gone)
        return {
            task.job_id: task.created_at
            for task in standing
            if not task.has_ended or (task.created_at is not None and task.created_at >= since)
        }

    async def open_alerts(self, project: int) -> list[Alert]:
        await self._turn(Call.ALERTS)
        tasks = self.projects[project].tasks
        return [
            replace(alert, task=tasks[alert.task.job_id].task)
            for owner, alert in self.alerts.values()
            if owner == project
        ]

    async def silences(self) -> list[Silence]:
        await self._turn(Call.SILENCES)
        return []

    async def commit(self, record: PollRecord) -> None:
        await self._turn(Call.COMMIT)
        held = self.projects[record.project]
        if held.revision != record.revision:
            raise StaleStateError(f"revision {held.revision}, not {record.revision}")
        for routed in record.events:
            assert routed.event.id not in self._event_ids, f"recorded twice: {routed.event.summary}"
        held.revision += 1
        held.sequence = held.sequence if record.sequence is None else record.sequence
        held.observed_at = record.observed_at
        held.baseline_at = record.baseline_at or held.baseline_at
        held.tasks.update({known.task.job_id: known for known in record.tasks})
        for routed in record.events:
            self._tell(record.project, routed)

    # Outbox

    async def pending(self, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
        await self._turn(Call.PENDING)
        waiting = [item for item in self._pending.get(receiver, {}).values() if item.id > after]
        return [
            Queued(
                id=item.id,
                event_id=item.event_id,
                task=item.task,
                attempts=item.attempts,
                poisoned=item.poisoned,
                tried_seconds=item.tried_seconds,
            )
            for item in waiting[:limit]
        ]

    async def body(self, delivery: DeliveryId) -> bytes | None:
        await self._turn(Call.BODY)
        item = self.deliveries[delivery]
        return item.body if item.state is DeliveryState.PENDING else None

    async def record(self, delivery: DeliveryId, outcome: Outcome, at: datetime) -> None:
        await self._turn(Call.RECORD)
        item = self.deliveries[delivery]
        item.attempts += 1
        item.outcomes.append((outcome, at))
        match outcome:
            case Delivered():
                self.settle(item, DeliveryState.DELIVERED)
            case Dead():
                self.settle(item, DeliveryState.DEAD)
            case Retry():
                item.poisoned, item.tried_seconds = outcome.poisoned, outcome.tried_seconds

    async def hand_over(self, renamed: Mapping[str, str]) -> None:
        await self._turn(Call.HAND_OVER)
        self.rename(renamed)

    def rename(self, renamed: Mapping[str, str]) -> None:
        """Give what waits for receivers to those of the new names, in the order of recording."""
        for old, new in renamed.items():
            moved = self._pending.pop(old, {})
            for item in moved.values():
                item.receiver = new
            self._pending[new] = dict(sorted({**self._pending.get(new, {}), **moved}.items()))

    def settle(self, item: StoredDelivery, state: DeliveryState) -> None:
        """Take a delivery out of the queue, as an outcome or an operator does."""
        item.state = state
        self._pending[item.receiver].pop(item.id, None)

    async def _turn(self, call: Call) -> None:
        self.calls[call] += 1
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if self._failing[call] > 0:
            self._failing[call] -= 1
            raise StoreFailedError(f"{call} failed: disk full")

    def _tell(self, project: int, routed: Routed) -> None:
        event = routed.event
        self._event_ids.add(event.id)
        if event.type in OPENING and routed.job_id is not None:
            task = self.projects[project].tasks[routed.job_id].task
            self.alerts[event.id] = (
                project,
                Alert(event_id=event.id, type=event.type, task=task),
            )
        if routed.ends is not None:
            ended = routed.ends.alert.event_id
            del self.alerts[ended]
            for item in [item for item in self.deliveries.values() if item.event_id == ended]:
                if item.state in {DeliveryState.PENDING, DeliveryState.DELIVERED}:  # it was told
                    self._enqueue(event.id, item.receiver, f"{project}/{event.subject}", event.body)
        self.events.append((project, event))
        for hop in routed.hops:
            self._enqueue(event.id, hop.receiver, f"{project}/{event.subject}", event.body)

    def _enqueue(self, event_id: EventId, receiver: str, task: str, body: bytes) -> StoredDelivery:
        id_ = DeliveryId(len(self.deliveries) + 1)
        item = StoredDelivery(id=id_, event_id=event_id, receiver=receiver, task=task, body=body)
        self.deliveries[id_] = item
        self._pending.setdefault(receiver, {})[id_] = item
        return item


class CrashPoint(StrEnum):
    """Where a process dies, relative to what the disk holds."""

    BEFORE_COMMIT = "before commit"
    AFTER_COMMIT = "after commit"  # and before memory knows
    BEFORE_RECORD = "before record"  # sent, not recorded
    AFTER_RECORD = "after record"


class Session:
    """One process's connection to the store. It dies at the n-th passage of a crash point, if told to."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._at: tuple[CrashPoint, int] | None = None
        self.died = asyncio.Event()

    def die_at(self, point: CrashPoint, passage: int) -> None:
        self._at = (point, passage)

    def kill(self) -> None:
        self.died.set()

    async def enrol(self, identity: Identity, name: str) -> ProjectState:
        await self._alive()
        return await self._store.enrol(identity, name)

    async def known(self, project: int, job_ids: Iterable[str]) -> dict[str, Known]:
        await self._alive()
        return await self._store.known(project, job_ids)

    async def expected(self, project: int, since: datetime) -> dict[str, datetime | None]:
        await self._alive()
        return await self._store.expected(project, since)

    async def open_alerts(self, project: int) -> list[Alert]:
        await self._alive()
        return await self._store.open_alerts(project)

    async def silences(self) -> list[Silence]:
        await self._alive()
        return await self._store.silences()

    async def commit(self, record: PollRecord) -> None:
        await self._pass(CrashPoint.BEFORE_COMMIT)
        await self._store.commit(record)
        await self._pass(CrashPoint.AFTER_COMMIT)

    async def pending(self, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
        await self._alive()
        return await self._store.pending(receiver, after=after, limit=limit)

    async def body(self, delivery: DeliveryId) -> bytes | None:
        await self._alive()
        return await self._store.body(delivery)

    async def record(self, delivery: DeliveryId, outcome: Outcome, at: datetime) -> None:
        await self._pass(CrashPoint.BEFORE_RECORD)
        await self._store.record(delivery, outcome, at)
        await self._pass(CrashPoint.AFTER_RECORD)

    async def hand_over(self, renamed: Mapping[str, str]) -> None:
        await self._alive()
        await self._store.hand_over(renamed)

    async def _pass(self, point: CrashPoint) -> None:
        if self._at is not None and self._at[0] is point:
            self._at = (point, self._at[1] - 1)
            if self._at[1] <= 0:
                self.kill()
        await self._alive()

    async def _alive(self) -> None:
        if self.died.is_set():
            await asyncio.get_running_loop().create_future()  # a dead process gets no answer
