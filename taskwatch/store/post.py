"""Messages to people: what waits to be told in them, and their outbox, upon the store's one writer."""

from collections.abc import Collection
from datetime import datetime
from functools import partial

from taskwatch.clock import Clock
from taskwatch.core.quiet import Silence
from taskwatch.engine.ports import Bound, Open, UnderWay, WaitingGroup, WaitingPart
from taskwatch.model.delivery import DeliveryId, Outcome, Queued
from taskwatch.model.event import EventId
from taskwatch.store import messages, silences
from taskwatch.store.writer import Writer


class Post:
    """MessageBook and Outbox of the engine. Each method is one transaction, answered once it is durable."""

    def __init__(self, writer: Writer, *, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def under_way(self, receiver: str) -> UnderWay:
        """Return what is not delivered yet."""
        return await self._writer.read(lambda connection: messages.under_way(connection, receiver))

    async def last_number(self) -> int:
        """Return the number of the last message; 0: there was none."""
        return await self._writer.read(messages.last_number)

    async def dissolve(self, receivers: Collection[str]) -> None:
        """Let what waits in messages for these receivers, which write to no people now, be told event by event."""
        now, names = self._clock.now(), tuple(receivers)
        if await self._writer.read(lambda connection: messages.to_others(connection, names)):
            await self._writer.write(
                lambda connection: messages.dissolve_all(connection, names, why="regrouped", at=now)
            )

    async def waiting_groups(self, receiver: str) -> list[WaitingGroup]:
        """Return the groups in which something waits, in the order of their first events."""
        return await self._writer.read(lambda connection: messages.groups(connection, receiver))

    async def free_groups(self, receiver: str, keys: Collection[str]) -> list[str]:
        """Return those of these groups in which something may be told, if all are told; the first may in any case."""
        chosen = tuple(keys)
        return await self._writer.read(lambda connection: messages.free(connection, receiver, chosen))

    async def waiting_parts(self, receiver: str, keys: Collection[str], *, limit: int) -> list[WaitingPart]:
        """Return what of these groups may be told now, in the order of recording; `limit` of it with bodies."""
        chosen = tuple(keys)
        return await self._writer.read(
            lambda connection: messages.waiting(connection, receiver, chosen, limit=limit)
        )

    async def unacknowledged(self, receiver: str) -> list[Open]:
        """Return the open alerts that the receiver was told of and that nobody has acknowledged."""
        now = self._clock.now()
        return await self._writer.read(lambda connection: messages.open_alerts(connection, receiver, now=now))

    async def silences(self) -> list[Silence]:
        """Return the silences that have not ended."""
        now = self._clock.now()
        return await self._writer.read(lambda connection: silences.since(connection, now))

    async def bind(self, message: Bound) -> None:
        """Record a message. Raises StaleStateError where what it tells is not to be told like this any more."""
        await self._writer.write(lambda connection: messages.bind(connection, message), grows=True)

    async def drop_outdated(self, receiver: str) -> list[EventId]:
        """Put away reminders that would say that something is open which is over; return all that they remind of."""
        now = self._clock.now()
        events = await self._writer.read(lambda connection: messages.outdated(connection, receiver))
        if events:
            await self._writer.write(lambda connection: messages.drop_outdated(connection, receiver, at=now))
        return events

    async def pending(self, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
        """Return pending messages with numbers above `after`, in their order."""
        return await self._writer.read(partial(messages.pending, receiver=receiver, after=after, limit=limit))

    async def body(self, delivery: DeliveryId) -> bytes | None:
        """Return the frozen body of a message that is still to be sent; None once it is not."""
        return await self._writer.read(lambda connection: messages.body(connection, delivery))

    async def record(self, delivery: DeliveryId, outcome: Outcome, at: datetime) -> None:
        """Make the outcome of one attempt durable, unless the message is pending no more."""
        await self._writer.write(lambda connection: messages.record(connection, delivery, outcome, at))
