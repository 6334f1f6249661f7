"""The store on SQLite: each public method is one transaction, answered once it is durable."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from taskwatch.clock import Clock
from taskwatch.core.quiet import Silence
from taskwatch.engine.ports import Held, OutageRecord, PollRecord, ProjectState, Routed, Standing, Subject
from taskwatch.model.alert import Alert
from taskwatch.model.delivery import DeliveryId, Outcome, Queued, RemovedReceiver
from taskwatch.model.event import EventId
from taskwatch.model.operation import Action, Operation
from taskwatch.model.outage import Outage
from taskwatch.model.project import Condition, Identity
from taskwatch.model.task import Known
from taskwatch.store import (
    alerts,
    ledger,
    operations,
    outages,
    outbox,
    outcomes,
    retention,
    silences,
)
from taskwatch.store.files import make_directory
from taskwatch.store.instants import to_stored
from taskwatch.store.lock import Role, StoreLock, acquire
from taskwatch.store.opening import mark_clean, open_connection, translated
from taskwatch.store.post import Post
from taskwatch.store.reserve import Reserve
from taskwatch.store.retention import BATCH, Batch, Pruned
from taskwatch.store.writer import Writer


class SqliteStore:
    """Ledger and Outbox of the engine, housekeeping, and what operators ask for. Used from one event loop."""

    def __init__(self, *, path: Path, writer: Writer, lock: StoreLock, clock: Clock) -> None:
        self.path: Final = path
        self.lost: Final = writer.lost  # set once the disk refused a commit; the process then ends
        self._writer = writer
        self._lock = lock
        self._clock = clock
        self.post: Final = Post(writer, clock=clock)  # messages to people

    @property
    def unwritable(self) -> str | None:
        """Why the last commit was refused, in words for people; None: it was not."""
        return self._writer.trouble

    @property
    def commits(self) -> int:
        """How many commits became durable since the store was opened; several calls may share one."""
        return self._writer.commits

    async def rows_changed(self) -> int:
        """Return how many rows were inserted, changed or deleted since the store was opened."""
        return await self._writer.read(lambda connection: connection.total_changes())

    @property
    def loss(self) -> str:
        """Why `lost` is set, in SQLite's words."""
        return str(self._writer.loss)

    async def enrol(self, identity: Identity, name: str) -> ProjectState:
        """Return the state of the project, new or known. The name may have changed."""
        return await self._writer.write(lambda connection: ledger.enrol(connection, identity, name))

    async def known(self, project: int, job_ids: Iterable[str]) -> dict[str, Known]:
        """Return what is remembered of these tasks."""
        ids = tuple(job_ids)  # the caller's may change before the thread comes to it
        return await self._writer.read(lambda connection: ledger.known(connection, project, ids))

    async def expected(self, project: int, since: datetime) -> dict[str, datetime | None]:
        """Return when each task began that began since then, or had not ended; not those that are gone."""
        return await self._writer.read(lambda connection: ledger.expected(connection, project, since))

    async def open_alerts(self, project: int) -> list[Alert]:
        """Return the alerts of the project's tasks that have not ended, in the order in which they were opened."""
        return await self._writer.read(lambda connection: alerts.of_project(connection, project))

    async def projects_of(self, jobs: Collection[str]) -> dict[Identity, tuple[str, list[str]]]:
        """Return the projects in which these tasks have open alerts: the name of each, and which tasks."""
        chosen = tuple(jobs)
        return await self._writer.read(lambda connection: alerts.projects_of(connection, chosen))

    async def silences(self) -> list[Silence]:
        """Return the silences that have not ended."""
        now = self._clock.now()
        return await self._writer.read(lambda connection: silences.since(connection, now))

    async def held(self, *, after: DeliveryId, limit: int) -> list[Held]:
        """Return what is held back with numbers above `after`, in the order of recording."""
        return await self._writer.read(partial(silences.held, after=after, limit=limit))

    async def settle_held(self, found: Mapping[DeliveryId, str | None]) -> int:
        """Hold these on, by what is named, or no longer: what needs attention is queued, the rest is never told.

        Returns how many were queued.
        """
        now, decided = self._clock.now(), dict(found)
        return await self._writer.write(lambda connection: silences.settle(connection, decided, at=now))

    async def standing(self, receiver: str, events: Collection[EventId] | None = None) -> list[Standing]:
        """Return the alerts that the receiver was told of and is to keep, or those of them that these events opened."""
        return await self._writer.read(lambda connection: alerts.standing(connection, receiver, events))

    async def freeze(self, receiver: str, labels: Mapping[EventId, Mapping[str, str]]) -> None:
        """Keep the labels under which the receiver is told of alerts."""
        await self._writer.write(lambda connection: alerts.freeze(connection, receiver, labels))

    async def fired(self, receiver: str, *, seconds: float) -> None:
        """Count that the open alerts were repeated to the receiver for so much longer."""
        await self._writer.write(lambda connection: alerts.fired(connection, receiver, seconds))

    async def settle(self, receiver: str, events: Collection[EventId]) -> None:
        """Note that the receiver need not hear of these any more."""
        await self._writer.write(lambda connection: alerts.settle(connection, receiver, events))

    async def note(self, action: Action, *, by: str, argument: Mapping[str, Any]) -> None:
        """Record what an operator did through this store, while no daemon held it."""
        now, told = self._clock.now(), dict(argument)
        await self._writer.write(
            lambda connection: operations.record(
                connection, action=action, by=by, at=now, argument=told, outcome={}
            )
        )

    async def commit(self, record: PollRecord) -> None:
        """Make all of it durable, or nothing. Raises StaleStateError or StoreFailedError."""
        now = self._clock.now()
        await self._writer.write(lambda connection: ledger.commit(connection, record, at=now), grows=True)

    async def outages(self) -> list[Outage]:
        """Return the outages that are not over, the oldest first."""
        return await self._writer.read(outages.every)

    async def sequence(self, subject: Subject) -> int:
        """Return how many events about it are on record."""
        return await self._writer.read(lambda connection: outages.sequence_of(connection, subject))

    async def record_event(self, subject: Subject, told: Routed) -> None:
        """Make an event about no task durable. Raises StaleStateError or StoreFailedError."""
        await self._writer.write(lambda connection: outages.tell(connection, subject, told), grows=True)

    async def record_outage(self, record: OutageRecord) -> int | None:
        """Make what is told durable, or nothing; return the number of the outage, None once it is over.

        Raises StaleStateError or StoreFailedError.
        """
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: outages.record(connection, record, at=now), grows=True
        )

    async def pending(self, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
        """Return pending deliveries with ids above `after`, in the order of recording."""
        return await self._writer.read(partial(outbox.pending, receiver=receiver, after=after, limit=limit))

    async def body(self, delivery: DeliveryId) -> bytes | None:
        """Return the frozen body of a delivery that is still pending; None once it is not."""
        return await self._writer.read(lambda connection: outbox.body(connection, delivery))

    async def record(self, delivery: DeliveryId, outcome: Outcome, at: datetime) -> None:
        """Make the outcome of one attempt durable, unless the delivery is pending no more."""
        await self._writer.write(
            lambda connection: outcomes.record(connection, "deliveries", delivery, outcome, at)
        )

    async def frozen(self, delivery: DeliveryId) -> bytes | None:
        """Return the body of its own that a delivery has, if a template made one."""
        return await self._writer.read(lambda connection: outbox.frozen(connection, delivery))

    async def freeze_body(self, delivery: DeliveryId, body: bytes) -> None:
        """Let this be the body of a delivery from now on."""
        await self._writer.write(lambda connection: outbox.freeze(connection, delivery, body), grows=True)

    async def keep_freshness(
        self, observed: Mapping[int, datetime], conditions: Mapping[int, Condition] | None = None
    ) -> None:
        """Remember when these projects were last read, which adds to what is known, and how all of them go."""
        read, going = dict(observed), dict(conditions or {})
        await self._writer.write(lambda connection: ledger.keep_freshness(connection, read, going))

    async def hand_over(self, renamed: Mapping[str, str]) -> None:
        """Give what waits for receivers to those that go by their new names."""
        names = dict(renamed)
        await self._writer.write(lambda connection: outbox.hand_over(connection, names))

    async def removed_receivers(self, served: frozenset[str]) -> list[RemovedReceiver]:
        """Return the receivers for which deliveries wait, and which are not among those served."""
        return await self._writer.read(lambda connection: outbox.removed(connection, served))

    async def note_removed(self, served: frozenset[str]) -> None:
        """Note that receivers with a backlog which are not among those served are removed, as of now.

        The caller has made sure of the clock.
        """
        now = self._clock.now()
        await self._writer.write(lambda connection: outbox.note_removed(connection, served, at=now))

    async def drop_removed(self, receiver: str) -> int:
        """Put away what waits for a receiver that was removed; return how many deliveries."""
        return await self._exhaust(
            lambda connection: outbox.drop_removed(connection, receiver, at=self._clock.now(), limit=BATCH)
        )

    async def data_version(self) -> int:
        """Return a number that is another one whenever another process has written.

        SQLite is asked, not its files: to close one that was opened beside it drops the locks that it has on it.
        """
        return await self._writer.read(lambda connection: int(connection.pragma("data_version")))

    async def unlogged_operations(self) -> list[Operation]:
        """Return what operators did or ask for, as far as it was not logged yet."""
        return await self._writer.read(partial(operations.unlogged, limit=BATCH))

    async def mark_logged(self, logged: Iterable[int]) -> None:
        """Note that these operations stand in the log."""
        numbers = tuple(logged)
        await self._writer.write(lambda connection: operations.mark_logged(connection, numbers))

    async def answer(self, operation: int, outcome: Mapping[str, Any]) -> None:
        """Tell who asked for an operation what became of it."""
        told = dict(outcome)
        await self._writer.write(lambda connection: operations.answer(connection, operation, told))

    async def give_up_requests(self) -> None:
        """Answer what an earlier daemon was asked and did not come to."""
        await self._writer.write(operations.give_up_requests)

    async def prune(self, before: datetime) -> Pruned:
        """Forget events older than this that are told, and ended tasks that are past their time.

        In batches: other calls get their turn between them. The caller has made sure of the clock.
        """
        old_events = to_stored(before)
        old_tasks = to_stored(self._clock.now() - retention.TASKS_KEPT)
        await self._exhaust(retention.untold(old_events))
        await self._exhaust(retention.hearers(old_events))
        await self._exhaust(retention.alerts(old_events))
        pruned = Pruned(
            deliveries=await self._exhaust(retention.deliveries(old_events)),
            events=await self._exhaust(retention.events(old_events)),
            tasks=await self._exhaust(retention.tasks(old_tasks)),
        )
        await self._exhaust(retention.messages(old_events))
        await self._exhaust(retention.silences(old_events))
        await self._exhaust(retention.operations(old_events))
        await self._exhaust(retention.pages)
        return pruned

    async def close(self) -> None:
        """Do what is queued, close the store in order, and let go of its lock."""
        await self._writer.close(mark_clean)
        self._lock.release()

    async def _exhaust(self, batch: Batch) -> int:
        total = count = await self._writer.write(batch)
        while count >= BATCH:
            count = await self._writer.write(batch)
            total += count
        return total


def open_store(path: Path, *, clock: Clock, role: Role = Role.DAEMON) -> SqliteStore:
    """Open the store at this path, or create it, and hold it until it is closed.

    Blocks: after an unclean stop the whole file is checked. Raises StoreHeldError, StoreUnusableError
    where waiting cannot mend it, StoreFailedError where it can.
    """
    with translated(path):
        whole = path.resolve()  # one store has one lock, by whatever link it is reached
        make_directory(whole.parent)
        lock = acquire(whole, since=clock.now(), role=role)
        try:
            connection = open_connection(whole)
        except BaseException:
            lock.release()
            raise
    reserve = Reserve(whole)
    reserve.set_aside()
    return SqliteStore(path=whole, writer=Writer(connection, reserve=reserve), lock=lock, clock=clock)
