"""Makes messages to people of what waits for a receiver: by groups, when their time has come.

Invariants:
- What is told once stands in one message. A message and what it tells are bound in one transaction; its bytes are frozen.
- A group has one message at a time: what comes while that is not delivered yet waits for the next.
- What is told of a task keeps its order, whatever groups it is told in: the store lets nothing overtake.
- However many groups there are, BURST messages go at once and one a minute after that. What there is no room for
  goes with the last of them: more is told in a message, nothing is left out.
- Waiting is monotonic. What an earlier run had waited already counts, as far as the wall clock can be believed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

from taskwatch.clock import Clock
from taskwatch.core.attributes import attributes_of
from taskwatch.core.grouping import Grouping, in_common, read_group
from taskwatch.core.letters import LISTED, Contents, message_id, reminder_id, worst_first
from taskwatch.core.quiet import Mute, Silence, held_by
from taskwatch.core.route import Routing
from taskwatch.engine.letters import Letters
from taskwatch.engine.ports import Bound, MessageBook, Open, StaleStateError, WaitingGroup
from taskwatch.model.letter import written

BURST: Final = 10  # messages
REFILL_SECONDS: Final = 60.0  # for one more
LOOK_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 1.0  # somebody changed what was to be told


class Groups:
    """The groups of one receiver."""

    def __init__(
        self,
        *,
        receiver: str,
        book: MessageBook,
        routing: Callable[[], Routing],
        letters: Letters,
        clock: Clock,
    ) -> None:
        """`routing` is asked each time, for a reload may change it."""
        self._receiver = receiver
        self._book = book
        self._routing = routing
        self._letters = letters
        self._clock = clock
        self._waits_since: dict[str, float] = {}  # by group, monotonic
        self._told_at: dict[str, float] = {}  # the same, of the last message
        self._room = float(BURST)
        self._began_at = self._counted_at = clock.monotonic()

    async def gather(self, *, at_once: bool = False) -> float:
        """Make the messages that are due; return in how many seconds there may be another.

        `at_once`: all that waits is due. Raises StoreFailedError.
        """
        try:
            patience = await self._tell(at_once=at_once)
            return min(patience, await self._remind())
        except StaleStateError:
            return AGAIN_SECONDS

    async def _tell(self, *, at_once: bool) -> float:
        now = self._clock.monotonic()
        self._forget(now)
        groups = await self._book.waiting_groups(self._receiver)
        self._waits_since = {group.key: self._since(group, now) for group in groups}
        ready = {
            group.key: now if at_once else self._ready_at(group, now) for group in groups if not group.is_open
        }
        due = [key for key, instant in ready.items() if instant <= now]
        patience = min((instant - now for instant in ready.values() if instant > now), default=LOOK_SECONDS)
        for keys in self._within_room(due, now):
            await self._write(keys, now)
        left = 0.0 if not due or self._room >= 1.0 else (1.0 - self._room) * REFILL_SECONDS
        return min(patience, LOOK_SECONDS, left or LOOK_SECONDS)

    def _forget(self, now: float) -> None:
        """Let go of groups whose last message decides nothing any more."""
        matters = max(
            max(grouping.interval, grouping.repeat or 0.0) for grouping in self._routing().groupings
        )
        self._told_at = {key: at for key, at in self._told_at.items() if now - at <= matters}

    def _within_room(self, due: Sequence[str], now: float) -> Iterator[Sequence[str]]:
        """Yield a group for each message; all that are left, where there is room for but one more."""
        self._room = min(float(BURST), self._room + (now - self._counted_at) / REFILL_SECONDS)
        self._counted_at = now
        for number, key in enumerate(due):
            if self._room < 1.0:
                return
            self._room -= 1.0
            if self._room < 1.0:
                yield due[number:]
                return
            yield [key]

    def _since(self, group: WaitingGroup, now: float) -> float:
        known = self._waits_since.get(group.key)
        return now - self._passed(group.since, self._grouping(group.key).wait) if known is None else known

    def _ready_at(self, group: WaitingGroup, now: float) -> float:
        grouping = self._grouping(group.key)
        ready = self._waits_since[group.key] + grouping.wait
        told_at = self._last(group.key, group.last_at, now, at_most=grouping.interval)
        return ready if told_at is None else max(ready, told_at + grouping.interval)

    def _last(self, key: str, last_at: datetime | None, now: float, *, at_most: float) -> float | None:
        """Return when the group had its last message, if that is no longer ago than `at_most`.

        Of this run that is known. What an earlier run sent has passed by the wall clock, for as long as it can matter.
        """
        if key not in self._told_at and last_at is not None and now - self._began_at < at_most:
            self._told_at[key] = now - self._passed(last_at, at_most)
        return self._told_at.get(key)

    def _passed(self, since: datetime, at_most: float) -> float:
        return min(max((self._clock.now() - since).total_seconds(), 0.0), at_most)

    def _grouping(self, key: str) -> Grouping:
        return self._routing().grouping(read_group(key).route)

    async def _write(self, keys: Sequence[str], now: float) -> None:
        parts = await self._book.waiting_parts(self._receiver, keys, limit=LISTED)
        if not parts:
            return  # something earlier is told of these tasks first
        contents = Contents(
            events=worst_first(part.body for part in parts if part.body is not None),
            counts=Counter(part.type for part in parts),
            group=in_common(keys),
            at=self._clock.now(),
        )
        letter = await self._letters.write(contents)
        await self._book.bind(
            Bound(
                event_id=message_id(self._receiver, [part.event_id for part in parts]),
                receiver=self._receiver,
                group=keys[0],
                at=contents.at,
                body=written(letter),
                deliveries=tuple(part.delivery for part in parts),
            )
        )
        for key in keys:
            self._told_at[key] = now

    async def _remind(self) -> float:
        await self._book.drop_outdated(self._receiver)
        if not any(grouping.repeat is not None for grouping in self._routing().groupings):
            return LOOK_SECONDS
        by_group: dict[str, list[Open]] = {}
        for alert in await self._book.unacknowledged(self._receiver):
            by_group.setdefault(alert.group, []).append(alert)
        now = self._clock.monotonic()
        left = {key: self._until_reminder(key, alerts[0], now) for key, alerts in by_group.items()}
        due = [key for key, seconds in left.items() if seconds <= 0.0]
        for keys in self._within_room(due, now):
            await self._write_again(keys, [alert for key in keys for alert in by_group[key]], now)
        return min((seconds for seconds in left.values() if seconds > 0.0), default=LOOK_SECONDS)

    def _until_reminder(self, key: str, alert: Open, now: float) -> float:
        """Return in how many seconds there is to be one; what is new is told first, and is a reminder of the rest."""
        repeat = self._grouping(key).repeat
        if repeat is None or key in self._waits_since:
            return LOOK_SECONDS
        told_at = self._last(key, alert.last_at, now, at_most=repeat)
        return 0.0 if told_at is None else told_at + repeat - now

    async def _write_again(self, keys: Sequence[str], alerts: Sequence[Open], now: float) -> None:
        """Remind of these, but of those that are silenced."""
        hushes: tuple[Silence | Mute, ...] = (*await self._book.silences(), *self._routing().mutes)
        at = self._clock.now()
        loud = [alert for alert in alerts if held_by(hushes, attributes_of(alert.body), at) is None]
        for key in keys:
            self._told_at[key] = now
        if not loud:
            return
        events = worst_first(alert.body for alert in loud)
        contents = Contents(
            events=events[:LISTED],
            counts=Counter(event["type"] for event in events),
            group=in_common(keys),
            at=at,
            is_reminder=True,
        )
        ids = [alert.event_id for alert in loud]
        letter = await self._letters.write(contents)
        await self._book.bind(
            Bound(
                # The number is that of the group under which this is recorded: so the next id is another.
                event_id=reminder_id(self._receiver, keys[0], ids, after=alerts[0].last),
                receiver=self._receiver,
                group=keys[0],
                at=at,
                body=written(letter),
                reminds=tuple(ids),
            )
        )
