"""The lane of one receiver: due, attempt, record.

Invariants:
- At most IN_FLIGHT attempts at a time, one per task: the next event of a task is tried only when the
  one before it was delivered or is dead. Order across tasks is not kept.
- Send, then record. A crash between the two makes a duplicate with the same id, never a loss.
- What has happened is recorded even while the lane is asked to stop; what cannot be recorded is
  recorded later, and not sent again meanwhile.
- A receiver that is down costs one attempt at a time, and no other receiver anything.
- Of several whom a receiver writes to one that is put off is asked again, alone: nothing waits for that, and it says nothing
  of the receiver. LEFT messages wait so at most, and none for longer than the horizon; then it is delivered in part.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from taskwatch.clock import Clock
from taskwatch.core.backoff import delay
from taskwatch.core.health import DOWN_SECONDS
from taskwatch.engine.attempt import try_once
from taskwatch.engine.breaker import Breaker
from taskwatch.engine.ports import DeliveryError, Gatherer, Notifier, Outbox
from taskwatch.engine.queue import Item, Queue
from taskwatch.engine.tally import Tally
from taskwatch.errors import StoreFailedError
from taskwatch.model.delivery import (
    Dead,
    Delivered,
    DeliveryState,
    Message,
    Outcome,
    Reason,
    Retry,
    Scope,
)
from taskwatch.model.outage import Ailment, Kind, Place
from taskwatch.telemetry import Logger

IN_FLIGHT: Final = 4
WINDOW: Final = 10_000  # pending deliveries in memory, without their bodies
REFILL: Final = 500
POISONED: Final = 10  # failures of one event while others succeeded
LEFT: Final = 50  # messages that some have and others are still to get: after a restart all are asked again
RELOAD_SECONDS: Final = 30.0  # a lost wake-up costs this much at most
STORE_RETRY_SECONDS: Final = 1.0
REPEAT_SECONDS: Final = 60.0
REPETITION_SECONDS: Final = 45.0  # that one repetition may take


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRules:
    """How one receiver is tried. All in seconds."""

    timeout: float
    initial: float
    maximum: float
    horizon: float  # of time since the first attempt in which taskwatch ran
    rate: float | None = None  # attempts a second, at most


@dataclass(frozen=True, slots=True)
class Supply:
    """Where a lane finds what it delivers: single events, or the messages that are made of them."""

    outbox: Outbox
    gatherer: Gatherer | None = None  # makes the messages that the outbox has


class Lane:
    """Delivers the events of one receiver. `run` ends when `stop` was called and the rest is drained."""

    def __init__(
        self,
        *,
        receiver: str,
        notifier: Notifier,
        outbox: Outbox,
        rules: LaneRules,
        clock: Clock,
        rng: random.Random,
        log: Logger,
        gatherer: Gatherer | None = None,
        tally: Tally | None = None,
    ) -> None:
        """`gatherer` makes the messages that the outbox has, where it has not single events.

        What becomes of attempts is counted in `tally`.
        """
        self.receiver = receiver
        self._notifier = notifier
        self._outbox = outbox
        self._gatherer = gatherer
        self._rules = rules
        self._clock = clock
        self._rng = rng
        self._log = log.bind(receiver=receiver)
        self._tally = tally or Tally()
        self._wake = asyncio.Event()
        self._has_more = True  # the store may hold pending deliveries that are not in memory
        self._stopping = False
        self._gently = False
        self._breaker = Breaker(delay=self._delay, initial=rules.initial)
        self._queue = Queue()
        self._attempts: set[asyncio.Task[None]] = set()
        self._recordings: set[asyncio.Task[None]] = set()
        self._reload_at = 0.0  # monotonic
        self._repeat_at = 0.0  # monotonic
        self._gather_at = 0.0  # monotonic; a wake-up comes first
        self._not_gathered_before = 0.0  # monotonic; not even then
        self._begin_at = 0.0  # monotonic: sooner the rate lets nothing begin
        self._repetition: asyncio.Task[None] | None = None
        self._is_unreadable = False
        self._failure: DeliveryError | None = None  # the last one
        self._fatal: Exception | None = None
        self._closings: set[asyncio.Task[None]] = set()  # of notifiers that were replaced
        self.passed_at = clock.monotonic()  # when it last looked for work: it does so every RELOAD_SECONDS

    def wake(self) -> None:
        """Say that there may be something new to deliver."""
        self._has_more = True
        self._wake.set()

    def adopt(self, *, notifier: Notifier, rules: LaneRules, supply: Supply | None = None) -> None:
        """Go on with the same queue through another notifier, by other rules.

        Attempts in flight end with the notifier that they began with; then it is closed. Where there is another
        supply, it knows what waits by the same numbers.
        """
        if supply is not None:
            self._outbox, self._gatherer = supply.outbox, supply.gatherer
        closing = asyncio.create_task(_close_after(tuple(self._attempts), self._notifier))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)
        self._notifier = notifier
        self._rules = rules
        self.trust()

    @property
    def is_paused(self) -> bool:
        """Whether it waits for an operator."""
        return self._breaker.is_paused

    @property
    def works_since(self) -> float | None:
        """Since when every attempt succeeded, by the monotonic clock; None: it was not tried, or the last one failed."""
        return self._breaker.works_since

    @property
    def ailment(self) -> Ailment | None:
        """What is in the way, if the last attempt failed."""
        began, failure = self._breaker.failing_since, self._failure
        if began is None or failure is None:
            return None
        return Ailment(
            place=Place(Kind.RECEIVER, self.receiver),
            cause=failure.reason.value,
            error=failure.detail,
            since=self._clock.now() - timedelta(seconds=self._clock.monotonic() - began),
            began=began,
            patience=0.0 if self.is_paused else DOWN_SECONDS,  # nothing but an operator ends a pause
        )

    def trust(self) -> None:
        """Forget what failures said of the receiver: somebody has seen to it. A paused one goes on."""
        self._breaker.forget(initial=self._rules.initial)
        self._queue.hasten()
        self.wake()

    def stop(self, *, gently: bool = False) -> None:
        """Ask for the end: nothing new is begun. `gently`: what is in flight gets all the time it was begun with."""
        self._stopping = True
        self._gently = gently
        self._wake.set()

    async def close(self) -> None:
        """Close the notifier's connections, once `run` has ended."""
        await asyncio.gather(*self._closings, self._notifier.close())

    async def run(self, *, drain: float = 10.0) -> None:
        """Deliver until stopped; then give what is in flight `drain` seconds, unless it was stopped gently.

        Raises what ended the store for good.
        """
        try:
            while not self._stopping and self._fatal is None:
                self._wake.clear()
                self.passed_at = self._clock.monotonic()
                self._reload_when_due()
                self._repeat_when_due()
                await self._gather()
                await self._refill()
                self._begin()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._patience()):
                        await self._wake.wait()
            await self._drain(self._rules.timeout if self._gently else drain)
        except BaseException:
            await self._drain(0.0)  # no attempt outlives its lane
            raise
        if self._fatal is not None:
            raise self._fatal

    async def drained(self, *, patience: float) -> None:
        """Deliver what is due now; return when nothing more can be tried, or after `patience` seconds.

        Raises what ended the store for good. For `taskwatch poll`.
        """
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while self._fatal is None:
                        self._wake.clear()
                        await self._gather(at_once=True)
                        await self._refill()
                        self._begin()
                        if not self._attempts:
                            break
                        await self._wake.wait()
        finally:
            await self._drain(0.0)
        if self._fatal is not None:
            raise self._fatal

    def _repeat_when_due(self) -> None:
        """Let the notifier repeat what it has to. That is no delivery: what fails of it, the notifier tells."""
        now = self._clock.monotonic()
        if now < self._repeat_at or self._repetition is not None:
            return
        self._repeat_at = now + REPEAT_SECONDS
        self._repetition = asyncio.create_task(self._repeat(), name=f"repeat {self.receiver}")

    async def _repeat(self) -> None:
        try:
            async with asyncio.timeout(REPETITION_SECONDS):
                await self._notifier.repeat()
        except (TimeoutError, StoreFailedError) as error:
            self._log.warning(
                "alerts_not_repeated", error=str(error) or f"took over {REPETITION_SECONDS:g} s"
            )
        except Exception as error:  # noqa: BLE001  (a notifier's mistake must not end its lane)
            self._log.error("repetition_broken", error=type(error).__name__, exc_info=error)
        finally:
            self._repetition = None

    def _reload_when_due(self) -> None:
        now = self._clock.monotonic()
        if now >= self._reload_at:
            self._has_more = True
            self._reload_at = now + RELOAD_SECONDS

    async def _gather(self, *, at_once: bool = False) -> None:
        """Let messages be made of what is due. What fails of that is tried again as a store that cannot be read."""
        now = self._clock.monotonic()
        if self._gatherer is None or not (at_once or self._has_more or now >= self._gather_at):
            return
        if now < self._not_gathered_before:
            return
        try:
            patience = await self._gatherer.gather(at_once=at_once)
        except StoreFailedError as error:
            self._unreadable(error)
            self._gather_at = self._not_gathered_before = now + STORE_RETRY_SECONDS
            return
        self.passed_at = self._clock.monotonic()  # letters take their time: no lane that hangs
        self._gather_at = self.passed_at + patience
        self._has_more = True

    async def _refill(self) -> None:
        while self._has_more and len(self._queue) < WINDOW:
            # Cleared before the read: what is committed during it sets it again.
            self._has_more = False
            try:
                fresh = await self._outbox.pending(self.receiver, after=self._queue.loaded, limit=REFILL)
            except StoreFailedError as error:
                self._unreadable(error)
                return
            self._is_unreadable = False
            self.passed_at = self._clock.monotonic()  # a slow disk is no lane that hangs
            for queued in fresh:
                self._queue.add(queued, now=self._clock.monotonic(), successes=self._breaker.successes)
            self._has_more |= len(fresh) == REFILL

    def _unreadable(self, error: StoreFailedError) -> None:
        """Ask the store again soon; say so once."""
        log = self._log.debug if self._is_unreadable else self._log.warning
        log("outbox_unreadable", error=str(error))
        self._is_unreadable = True
        now = self._clock.monotonic()
        self._reload_at = min(self._reload_at, now + STORE_RETRY_SECONDS)
        self._breaker.hold(now + STORE_RETRY_SECONDS)

    def _begin(self) -> None:
        now = self._clock.monotonic()
        while (
            item := next((head for head in self._queue.heads if self._may_begin(head, now)), None)
        ) is not None:
            self._queue.take(item)
            attempt = asyncio.create_task(self._attempt(item), name=f"attempt {self.receiver} {item.id}")
            self._attempts.add(attempt)
            attempt.add_done_callback(self._ended)
            if self._rules.rate is not None:
                self._begin_at = max(self._begin_at, now) + 1.0 / self._rules.rate

    def _may_begin(self, head: Item, now: float) -> bool:
        if self._breaker.is_paused or self._stopping or now < self._opens_at(head):
            return False
        if now < self._begin_at:
            return False
        if self._is_probe(head):  # these rotate: the head that has waited longest, due or not
            return not self._attempts
        return len(self._attempts) < IN_FLIGHT and head.due <= now

    def _is_probe(self, head: Item) -> bool:
        return self._breaker.is_down and not head.in_part  # what is left of one proves little

    def _opens_at(self, head: Item) -> float:
        return self._breaker.opens_at(untried_since=None if head.attempts else head.loaded_at)

    def _patience(self) -> float:
        """Return the seconds until something can be begun that cannot be now, or the store is asked again."""
        first = min(self._reload_at, self._repeat_at)
        slots = 1 if self._breaker.is_down else IN_FLIGHT
        if not self._breaker.is_paused and len(self._attempts) < slots:
            for head in self._queue.heads:
                due = 0.0 if self._is_probe(head) else head.due
                first = min(first, max(due, self._opens_at(head), self._begin_at))
        if self._gatherer is not None:
            first = min(first, max(self._gather_at, self._not_gathered_before))
        return max(first - self._clock.monotonic(), 0.0)

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        self._attempts.discard(attempt)
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            self._fatal = error if isinstance(error, Exception) else RuntimeError(repr(error))
        self._wake.set()

    async def _attempt(self, item: Item) -> None:
        try:
            body = await self._outbox.body(item.id)
        except StoreFailedError as error:
            self._unreadable(error)
            self._queue.put_back(item)
            return
        if body is None:  # dropped by an operator meanwhile
            self._queue.finish(item)
            return
        answer = await self._send(item, body)
        outcome = self._judge(item, answer)
        recording = asyncio.create_task(self._record(item, outcome), name=f"record {self.receiver} {item.id}")
        self._recordings.add(recording)
        recording.add_done_callback(self._recordings.discard)
        await asyncio.shield(recording)

    async def _send(self, item: Item, body: bytes) -> Delivered | DeliveryError:
        message = Message(event_id=item.queued.event_id, body=body, replay=item.queued.replay)
        return await try_once(self._notifier, message, timeout=self._rules.timeout)

    def _judge(self, item: Item, answer: Delivered | DeliveryError) -> Outcome:
        now = self._clock.monotonic()
        item.attempts += 1
        if item.tried_at is not None:
            item.tried_seconds += now - item.tried_at
        item.tried_at = now
        if isinstance(answer, Delivered):
            self._succeeded()
            return answer
        self._tally.failures[self.receiver, answer.reason] += 1
        if answer.scope is Scope.PART:
            self._taken_in_part(item, answer, now)
        else:
            self._failed(item, answer, now)
        why = self._end(item)
        if why is not None:
            return self._given_up(item, answer) if item.in_part else _dead(item, answer, why)
        return Retry(
            reason=answer.reason,
            detail=answer.detail,
            poisoned=item.poisoned,
            tried_seconds=item.tried_seconds,
            in_part=item.in_part,
        )

    def _end(self, item: Item) -> str | None:
        """Return why it is tried no more, if that is so."""
        if item.poisoned >= POISONED:
            return "poison"
        if item.tried_seconds >= self._rules.horizon:
            return "horizon"
        return "left" if item.in_part and self._queue.in_part >= LEFT else None

    def _taken_in_part(self, item: Item, answer: DeliveryError, now: float) -> None:
        if not item.in_part:
            self._succeeded()  # those who took it took it just now; what is left of it says nothing of the receiver
        log = self._log.debug if item.in_part else self._log.warning
        log(
            "delivered_in_part",
            event_id=item.queued.event_id,
            attempt=item.attempts,
            reason=answer.reason.value,
            detail=answer.detail,
        )
        item.in_part = True
        item.due = now + self._delay(item.attempts)

    def _given_up(self, item: Item, answer: DeliveryError) -> Delivered:
        self._log.warning(
            "recipient_given_up",
            event_id=item.queued.event_id,
            attempts=item.attempts,
            reason=answer.reason.value,
            detail=answer.detail,
        )
        return Delivered(remark=answer.detail)

    def _succeeded(self) -> None:
        if self._breaker.failures:
            self._log.info("receiver_works_again", failures=self._breaker.failures)
        if self._breaker.is_down:
            self._queue.hasten()
        self._breaker.succeeded(now=self._clock.monotonic())

    def _failed(self, item: Item, failure: DeliveryError, now: float) -> None:
        # 429 speaks of the time, not of the event: a throttled burst must not end as poison.
        if item.successes != self._breaker.successes and failure.reason is not Reason.THROTTLED:
            item.poisoned += 1
        item.successes = self._breaker.successes
        self._failure = failure
        item.due = now + self._delay(item.attempts)
        was_paused = self._breaker.is_paused
        self._breaker.failed(failure, attempts=item.attempts, now=now)
        self._log_failure(item, failure)
        if self._breaker.is_paused and not was_paused:
            self._log.error(
                "receiver_paused", detail=failure.detail, until="a reload, or taskwatch receiver test"
            )

    def _delay(self, failures: int) -> float:
        return delay(failures, initial=self._rules.initial, maximum=self._rules.maximum, rng=self._rng)

    def _log_failure(self, item: Item, failure: DeliveryError) -> None:
        is_edge = self._breaker.failures == 1
        log = self._log.warning if is_edge else self._log.debug
        log(
            "delivery_failed",
            event_id=item.queued.event_id,
            attempt=item.attempts,
            reason=failure.reason.value,
            detail=failure.detail,
        )

    async def _record(self, item: Item, outcome: Outcome) -> None:
        is_first = True
        while True:
            try:
                await self._outbox.record(item.id, outcome, self._clock.now())
                break
            except StoreFailedError as error:
                # The slot stays taken: sending stops rather than repeats for ever.
                log = self._log.error if is_first else self._log.debug
                log("outcome_not_recorded", event_id=item.queued.event_id, error=str(error))
                is_first = False
                await asyncio.sleep(STORE_RETRY_SECONDS)
        match outcome:
            case Retry():
                self._queue.put_back(item)
                if outcome.in_part:
                    self._gather_at = 0.0  # what waited for this message may be told now
            case Delivered():
                self._tally.deliveries[self.receiver, DeliveryState.DELIVERED] += 1
                self._log.debug("delivered", event_id=item.queued.event_id, attempt=item.attempts)
                self._queue.finish(item)
                self._gather_at = 0.0  # what waited for this message may be told now
            case Dead():
                self._tally.deliveries[self.receiver, DeliveryState.DEAD] += 1
                self._log.error(
                    "delivery_dead",
                    event_id=item.queued.event_id,
                    why=outcome.why,
                    attempts=item.attempts,
                    detail=outcome.detail,
                )
                self._queue.finish(item)
                self._gather_at = 0.0

    async def _drain(self, seconds: float) -> None:
        if self._repetition is not None:
            self._repetition.cancel()
            await asyncio.wait({self._repetition})
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=seconds)
        for attempt in tuple(self._attempts):
            attempt.cancel()
        if self._recordings:
            await asyncio.wait(self._recordings, timeout=STORE_RETRY_SECONDS)
        for recording in tuple(self._recordings):
            recording.cancel()
        await asyncio.gather(*self._attempts, *self._recordings, return_exceptions=True)


async def _close_after(attempts: Sequence[asyncio.Task[None]], notifier: Notifier) -> None:
    if attempts:
        await asyncio.wait(attempts)
    await notifier.close()


def _dead(item: Item, failure: DeliveryError, why: str) -> Dead:
    return Dead(
        reason=failure.reason,
        detail=failure.detail,
        why=why,
        poisoned=item.poisoned,
        tried_seconds=item.tried_seconds,
    )
