"""Makes messages to people of what waits for a receiver: by groups, when their time has come.

Invariants:
- What is told once stands in one message. A message and what it tells are bound in one transaction; its bytes are frozen.
- A group has one message under way: what comes while that is not delivered waits for the next, unless it is refused for
  what it says. What is told of a task keeps its order, whatever groups it is told in: the store lets nothing overtake.
- However many groups there are, BURST messages go at once and one a minute after that, and BURST wait at most. What there
  is no room for goes with the last of them: more is told in a message, nothing is left out.
- News come before reminders, which leave KEPT of the room to news; only one that found none for so long takes a last one.
- An alert is reminded of when a receiver has not heard of it for so long, whatever else it heard.
- Waiting is monotonic. What an earlier run had waited already counts, as far as the wall clock can be believed.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from taskwatch.clock import Clock
from taskwatch.core.attributes import attributes_of
from taskwatch.core.grouping import Grouping, in_common, read_group
from taskwatch.core.letters import LISTED, Contents, message_id, reminder_id, worst_first
from taskwatch.core.quiet import Mute, Silence, held_by
from taskwatch.core.route import Routing
from taskwatch.engine.letters import Letters
from taskwatch.engine.ports import Bound, MessageBook, Open, StaleStateError, UnderWay, WaitingGroup
from taskwatch.model.event import EventId
from taskwatch.model.letter import written

BURST: Final = 10  # messages
ONE_LEFT: Final = 2.0  # with less room than for two
KEPT: Final = BURST / 2  # for news
REFILL_SECONDS: Final = 60.0  # for one more
STARVING_SECONDS: Final = BURST * REFILL_SECONDS  # in which there is room for all, unless news never cease
LOOK_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 1.0  # somebody changed what was to be told
READING: Final = 1 / 20  # of the time, at most, goes into reading what waits, however much that is


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
        # Of open alerts: as recorded, and monotonic.
        self._heard_at: dict[EventId, tuple[datetime, float]] = {}
        self._room = float(BURST)
        self._read_again_at = 0.0  # monotonic
        self._without_room_since: float | None = None  # reminders that are due, monotonic
        self._began_at = self._counted_at = clock.monotonic()

    async def gather(self, *, at_once: bool = False) -> float:
        """Make the messages that are due; return in how many seconds there may be another.

        `at_once`: all that waits is due. Raises StoreFailedError.
        """
        routing = self._routing()
        self._letters.try_again()
        try:
            for event_id in await self._book.drop_outdated(self._receiver):
                self._heard_at.pop(event_id, None)  # what of it is still open was not reminded of
            under_way = await self._book.under_way(self._receiver)
            self._count(under_way, routing)
            turns = [partial(self._tell, routing, at_once=at_once), partial(self._remind, under_way, routing)]
            if self._is_starving():
                turns.reverse()
            return min([await turn() for turn in turns])
        except StaleStateError:
            return AGAIN_SECONDS

    def _count(self, under_way: UnderWay, routing: Routing) -> None:
        """Take what is under way, and what time has passed, into account."""
        now = self._clock.monotonic()
        filled = self._room + (now - self._counted_at) / REFILL_SECONDS
        self._room = min(filled, float(BURST), float(BURST - under_way.messages))
        self._counted_at = now
        # A group was told when its message is delivered. What is due just now must not be asked of the wall clock.
        matters = 2 * max(grouping.interval for grouping in routing.groupings)
        self._told_at = {key: at for key, at in self._told_at.items() if now - at <= matters}
        self._told_at |= dict.fromkeys(under_way.groups, now)

    async def _tell(self, routing: Routing, *, at_once: bool) -> float:
        now = self._clock.monotonic()
        if self._room < 1.0:
            return self._patience([0.0])
        if now < self._read_again_at and not at_once:
            return self._patience([self._read_again_at - now])
        groups = await self._book.waiting_groups(self._receiver)
        took = self._clock.monotonic() - now
        self._read_again_at = now + min(took / READING, LOOK_SECONDS)
        groupings = {group.key: routing.grouping(read_group(group.key).route) for group in groups}
        self._waits_since = {group.key: self._since(group, groupings[group.key], now) for group in groups}
        ready = {
            group.key: now if at_once else self._ready_at(group, groupings[group.key], now)
            for group in groups
            if not group.is_open
        }
        due = [key for key, instant in ready.items() if instant <= now]
        free = await self._book.free_groups(self._receiver, due) if due else []
        in_vain = 0
        for keys in self._batches(free):
            if await self._write(keys, now):
                self._room -= 1.0
            elif (in_vain := in_vain + 1) >= BURST:  # the rest at the next look, by what is free then
                break
        return self._patience(instant - now for instant in ready.values())

    def _patience(self, left: Iterable[float], *, kept: float = 0.0) -> float:
        """Return in how many seconds there may be something to write, of what is due in so many, or is and has no room."""
        lacking = 1.0 + kept - self._room
        until_room = max(lacking * REFILL_SECONDS, AGAIN_SECONDS) if lacking > 0.0 else LOOK_SECONDS
        return min([LOOK_SECONDS, *(seconds if seconds > 0.0 else until_room for seconds in left)])

    def _batches(self, due: Sequence[str], *, kept: float = 0.0) -> Iterator[Sequence[str]]:
        """Yield a group for each message; all that are left, where there is room for but one more beside what is kept."""
        for number, key in enumerate(due):
            room = self._room - kept
            if room < 1.0:
                return
            if room < ONE_LEFT:
                yield due[number:]
                return
            yield [key]

    def _since(self, group: WaitingGroup, grouping: Grouping, now: float) -> float:
        known = self._waits_since.get(group.key)
        return now - self._passed(group.since, grouping.wait) if known is None else known

    def _ready_at(self, group: WaitingGroup, grouping: Grouping, now: float) -> float:
        ready = self._waits_since[group.key] + grouping.wait
        told_at = self._last(group, grouping.interval, now)
        return ready if told_at is None else max(ready, told_at + grouping.interval)

    def _last(self, group: WaitingGroup, at_most: float, now: float) -> float | None:
        """Return when the group had its last message, if that is no longer ago than `at_most`.

        Of this run that is known. What an earlier run sent has passed by the wall clock, for as long as it can matter.
        """
        if group.key not in self._told_at and group.last_at is not None and now - self._began_at < at_most:
            self._told_at[group.key] = now - self._passed(group.last_at, at_most)
        return self._told_at.get(group.key)

    def _passed(self, since: datetime, at_most: float) -> float:
        return min(max((self._clock.now() - since).total_seconds(), 0.0), at_most)

    async def _write(self, keys: Sequence[str], now: float) -> bool:
        """Write of these groups; tell whether there was anything that may be told already."""
        parts = await self._book.waiting_parts(self._receiver, keys, limit=LISTED)
        if not parts:
            return False  # something earlier is told of these tasks first
        over = frozenset(part.event_id for part in parts if part.is_over)
        contents = Contents(
            events=worst_first((part.body for part in parts if part.body is not None), over=over),
            counts=Counter(part.type for part in parts),
            group=in_common(keys),
            at=self._clock.now(),
            since=min(part.time for part in parts),
            over=over,
        )
        letter = await self._letters.write(contents)
        await self._book.bind(
            Bound(
                event_id=message_id(self._receiver, [part.event_id for part in parts]),
                receiver=self._receiver,
                groups=tuple(keys),
                at=contents.at,
                body=written(letter),
                deliveries=tuple(part.delivery for part in parts),
            )
        )
        self._told_at |= dict.fromkeys(keys, now)
        return True

    async def _remind(self, under_way: UnderWay, routing: Routing) -> float:
        if not any(grouping.repeat is not None for grouping in routing.groupings):
            return LOOK_SECONDS
        alerts = await self._book.unacknowledged(self._receiver)
        left = self._until_due(alerts, under_way.groups, routing)
        # A reminder of a group is of all that is open in it: one that is due takes the others along.
        due = [key for key, seconds in left.items() if seconds <= 0.0]
        kept = max(self._room - 1.0, 0.0) if due and self._is_starving() else KEPT
        if not due or self._room - kept >= 1.0:
            self._without_room_since = None
        elif self._without_room_since is None:
            self._without_room_since = self._clock.monotonic()
        for keys in self._batches(due, kept=kept):
            chosen = frozenset(keys)
            of_these = [alert for alert in alerts if alert.group in chosen and not alert.is_reminded]
            if await self._write_again(keys, of_these, routing):
                self._room -= 1.0
        return self._patience(left.values(), kept=kept)

    def _is_starving(self) -> bool:
        since = self._without_room_since
        return since is not None and self._clock.monotonic() - since >= STARVING_SECONDS

    def _until_due(
        self, alerts: Sequence[Open], under_way: Collection[str], routing: Routing
    ) -> dict[str, float]:
        """Return for each group in how many seconds one of its alerts is to be reminded of."""
        now = self._clock.monotonic()
        heard_at: dict[EventId, tuple[datetime, float]] = {}
        left: dict[str, float] = {}
        groupings: dict[str, Grouping] = {}
        for alert in alerts:
            if alert.group not in groupings:
                groupings[alert.group] = routing.grouping(read_group(alert.group).route)
            repeat = groupings[alert.group].repeat
            if repeat is None:
                continue
            known = self._heard_at.get(alert.event_id)
            if known is None or known[0] != alert.last_at:
                # Just now, or in an earlier run: then by the wall clock.
                known = (alert.last_at, now - self._passed(alert.last_at, repeat))
            heard_at[alert.event_id] = known
            if alert.is_reminded or alert.group in under_way:
                continue
            seconds = known[1] + repeat - now
            left[alert.group] = min(seconds, left.get(alert.group, seconds))
        self._heard_at = heard_at
        return left

    async def _write_again(self, keys: Sequence[str], alerts: Sequence[Open], routing: Routing) -> bool:
        """Remind of these, but of those that are silenced; tell whether any is left."""
        hushes: tuple[Silence | Mute, ...] = (*await self._book.silences(), *routing.mutes)
        at, now = self._clock.now(), self._clock.monotonic()
        loud = [alert for alert in alerts if held_by(hushes, attributes_of(alert.body), at) is None]
        for alert in alerts:  # what is silenced is asked about again as late as what is not
            self._heard_at[alert.event_id] = (alert.last_at, now)
        if not loud:
            return False
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
                event_id=reminder_id(self._receiver, ids, after=await self._book.last_number()),
                receiver=self._receiver,
                groups=tuple(keys),
                at=at,
                body=written(letter),
                reminds=tuple(ids),
            )
        )
        return True
