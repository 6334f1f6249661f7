"""One lane, in virtual time: order, retries, the breaker, poison, the horizon, stopping."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from taskwatch.core.backoff import RETRY_AFTER_MAX, RETRY_AFTER_MIN
from taskwatch.engine.breaker import DOWN_AFTER
from taskwatch.engine.lane import (
    IN_FLIGHT,
    POISONED,
    RELOAD_SECONDS,
    STORE_RETRY_SECONDS,
    Lane,
    LaneRules,
)
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import StoreLostError
from taskwatch.model.delivery import (
    Dead,
    Delivered,
    DeliveryId,
    DeliveryState,
    Message,
    Outcome,
    Queued,
    Reason,
    Retry,
    Scope,
)
from taskwatch.telemetry import Logger
from tests.fakes.builders import captured_log, quiet_log
from tests.fakes.memory_store import Call, CrashPoint, MemoryStore, Session, StoredDelivery
from tests.fakes.scripted_notifier import (
    Conduct,
    ScriptedNotifier,
    Tries,
    fails_times,
    fails_while,
    gone,
    no_connection,
    rejected,
    server_error,
    takes,
    throttled,
    unauthorized,
)
from tests.fakes.virtual_time import in_virtual_time, run_virtual, virtual_clock

HOUR = 3600.0
RULES = LaneRules(timeout=10.0, initial=5.0, maximum=HOUR, horizon=72 * HOUR)
ME = "hook"


def a_lane(
    store: MemoryStore | Session,
    notifier: ScriptedNotifier,
    *,
    receiver: str = ME,
    rules: LaneRules = RULES,
    log: Logger | None = None,
    seed: int = 1,
    rng: random.Random | None = None,
) -> Lane:
    return Lane(
        receiver=receiver,
        notifier=notifier,
        outbox=store,
        rules=rules,
        clock=virtual_clock(),
        rng=rng or random.Random(seed),
        log=log or quiet_log(),
    )


@asynccontextmanager
async def running(lane: Lane) -> AsyncIterator[asyncio.Task[None]]:
    run = asyncio.create_task(lane.run())
    try:
        yield run
    finally:
        lane.stop()
        await run


class Longest(random.Random):
    """Draws the longest wait each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


def left_behind() -> list[str]:
    """Return the names of what a lane has begun and not ended."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith(("attempt", "record"))]


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], object], within: float | None = None, grain: float = 1.0) -> None:
    """Wait until the condition holds. TimeoutError when it does not come true in time."""
    async with asyncio.timeout(within or 100_000 * grain):
        while not condition():
            await asyncio.sleep(grain)


def all_settled(store: MemoryStore, receiver: str = ME) -> Callable[[], bool]:
    return lambda: not store.of(receiver, DeliveryState.PENDING)


def outcomes(item: StoredDelivery) -> list[Outcome]:
    return [outcome for outcome, _ in item.outcomes]


def raising(error: Callable[[], BaseException], when: Callable[[Message], bool] = lambda _: True) -> Conduct:
    async def conduct(message: Message) -> None:
        await asyncio.sleep(0.01)
        if when(message):
            raise error()

    return conduct


def per_task(store: MemoryStore, taken: list[str]) -> dict[str, list[str]]:
    """Return the first deliveries of each task, in the order in which they arrived."""
    task_of: dict[str, str] = {item.event_id: item.task for item in store.deliveries.values()}
    lines: dict[str, list[str]] = defaultdict(list)
    for event_id in dict.fromkeys(taken):
        lines[task_of[event_id]].append(event_id)
    return lines


class TestOrder:
    @in_virtual_time
    async def test_events_of_a_task_arrive_in_the_order_of_recording(self) -> None:
        store, rng = MemoryStore(), random.Random(3)
        for _ in range(200):
            store.enqueue(ME, f"task {rng.randrange(12)}")

        async def conduct(_: Message) -> None:
            await asyncio.sleep(rng.random())
            if rng.random() < 0.3:
                raise server_error()

        notifier = ScriptedNotifier(conduct)
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        assert len(store.of(ME, DeliveryState.DELIVERED)) == 200
        for line in per_task(store, notifier.taken).values():
            assert line == sorted(line)

    @in_virtual_time
    async def test_at_most_four_are_in_flight(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(takes(1))
        for number in range(20):
            store.enqueue(ME, f"task {number}")
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        assert notifier.most_in_flight == IN_FLIGHT == 4

    @in_virtual_time
    async def test_at_most_one_per_task_is_in_flight(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(takes(1))
        for _ in range(5):
            store.enqueue(ME, "the one task")
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        assert notifier.most_in_flight == 1

    @in_virtual_time
    async def test_the_next_event_of_a_task_waits_until_the_one_before_is_delivered(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(fails_times(3))
        first, second = store.enqueue(ME, "a"), store.enqueue(ME, "a")
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        assert notifier.tried == [first.event_id] * 4 + [second.event_id]

    @in_virtual_time
    async def test_an_event_that_fails_holds_up_no_other_task(self) -> None:
        store = MemoryStore()
        bad = store.enqueue(ME, "bad")
        notifier = ScriptedNotifier(raising(server_error, lambda message: message.event_id == bad.event_id))
        for number in range(50):
            store.enqueue(ME, f"good {number}")
        started = now()
        async with running(a_lane(store, notifier)):
            await until(lambda: len(store.of(ME, DeliveryState.DELIVERED)) == 50, grain=0.01)
            assert now() - started < 1.0

    @in_virtual_time
    async def test_what_an_operator_dropped_meanwhile_is_not_sent_and_its_task_goes_on(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(takes(1))
        first, dropped, last = (store.enqueue(ME, "a") for _ in range(3))
        async with running(a_lane(store, notifier)):
            await until(lambda: notifier.attempts, grain=0.1)
            store.settle(dropped, DeliveryState.DROPPED)
            await until(all_settled(store))
        assert notifier.taken == [first.event_id, last.event_id]


class TestRetries:
    @in_virtual_time
    async def test_wait_longer_and_longer_with_full_jitter(self) -> None:
        gaps: dict[int, list[float]] = defaultdict(list)
        for seed in range(120):
            store, notifier = MemoryStore(), ScriptedNotifier(fails_times(DOWN_AFTER - 1))
            store.enqueue(ME, "a")
            async with running(a_lane(store, notifier, seed=seed)):
                await until(all_settled(store))
            for number, (before, after) in enumerate(pairwise(notifier.times)):
                gaps[number].append(after - before)
        for number, spread in gaps.items():
            ceiling = RULES.initial * 2**number
            assert RULES.initial / 10 <= min(spread) < 0.2 * ceiling
            assert 0.8 * ceiling < max(spread) <= ceiling + 0.001

    @in_virtual_time
    async def test_never_wait_longer_than_the_maximum(self) -> None:
        rules = LaneRules(timeout=10, initial=5, maximum=40, horizon=72 * HOUR)
        store, notifier = MemoryStore(), ScriptedNotifier(fails_times(60, no_connection))
        store.enqueue(ME, "a")
        async with running(a_lane(store, notifier, rules=rules)):
            await until(all_settled(store))
        assert max(after - before for before, after in pairwise(notifier.times)) <= 40.001

    @in_virtual_time
    async def test_go_on_counting_after_a_restart(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(fails_times(3))
        store.enqueue(ME, "a")
        async with running(a_lane(store, notifier)):
            await until(lambda: len(notifier.attempts) == 2)
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        (delivery,) = store.of(ME, DeliveryState.DELIVERED)
        assert delivery.attempts == len(notifier.attempts) == 4

    @in_virtual_time
    async def test_carry_the_same_id_and_the_same_bytes(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(fails_times(4))
        store.enqueue(ME, "a", '{"id": "tw_000001"}')
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        assert len({(item.message.event_id, item.message.body) for item in notifier.attempts}) == 1


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("asked", "honoured"),
        [(0.0, RETRY_AFTER_MIN), (90.0, 90.0), (86_400.0, RETRY_AFTER_MAX)],
    )
    def test_is_honoured_for_the_whole_receiver_within_a_second_and_an_hour(
        self, asked: float, honoured: float
    ) -> None:
        async def scenario() -> None:
            store = MemoryStore()
            notifier = ScriptedNotifier(fails_times(1, lambda: throttled(asked)))
            store.enqueue(ME, "a")
            async with running(a_lane(store, notifier)):
                await until(lambda: notifier.attempts, grain=0.01)
                for number in range(5):
                    store.enqueue(ME, f"other {number}")
                await until(lambda: len(notifier.attempts) > 1)
                assert notifier.times[1] - notifier.times[0] == pytest.approx(honoured, abs=0.01)
                await until(all_settled(store))

        run_virtual(scenario())

    @in_virtual_time
    async def test_is_honoured_with_a_503_too(self) -> None:
        store = MemoryStore()
        busy = lambda: DeliveryError(Reason.SERVER_ERROR, "503", Scope.EVENT, 600.0)  # noqa: E731  (a value)
        notifier = ScriptedNotifier(fails_times(1, busy))
        store.enqueue(ME, "a")
        lane = a_lane(store, notifier)
        async with running(lane):
            await until(lambda: notifier.attempts)
            store.enqueue(ME, "b")
            lane.wake()
            await until(all_settled(store))
        assert notifier.times[1] - notifier.times[0] >= 600.0

    @in_virtual_time
    async def test_outlives_the_success_of_an_attempt_that_was_under_way(self) -> None:
        store = MemoryStore()
        throttled_one = store.enqueue(ME, "a")
        for number in range(10):
            store.enqueue(ME, f"other {number}")

        tries = Tries()

        async def conduct(message: Message) -> None:
            if message.event_id == throttled_one.event_id and tries(message) == 1:
                raise throttled(600.0)
            await asyncio.sleep(1)

        notifier = ScriptedNotifier(conduct)
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        start = notifier.times[0]
        assert [at - start for at in notifier.times if 0.5 < at - start < 599.0] == []

    @in_virtual_time
    async def test_is_not_shortened_by_a_failure_that_asks_for_nothing(self) -> None:
        store = MemoryStore()
        for number in range(10):
            store.enqueue(ME, f"task {number}")

        tries = Tries()

        async def conduct(message: Message) -> None:
            if tries(message) > 1:
                return
            if message.event_id == "tw_000001":
                raise throttled(600.0)
            await asyncio.sleep(1)
            raise throttled()

        notifier = ScriptedNotifier(conduct)
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        start = notifier.times[0]
        assert [at - start for at in notifier.times if 0.5 < at - start < 599.0] == []


class TestA429WithoutRetryAfter:
    @in_virtual_time
    async def test_is_sent_again_after_its_own_back_off_and_not_sooner_although_others_succeed(self) -> None:
        store = MemoryStore()
        first = store.enqueue(ME, "a")

        tries = Tries()

        async def conduct(message: Message) -> None:
            if message.event_id == first.event_id and tries(message) <= 4:
                raise throttled()
            await asyncio.sleep(0.1)  # others are under way when it is refused, and end well

        notifier = ScriptedNotifier(conduct)
        lane = a_lane(store, notifier, rng=Longest())
        async with running(lane):
            for number in range(100):
                store.enqueue(ME, f"other {number}")
                lane.wake()
                await asyncio.sleep(1)
        times = [attempt.at for attempt in notifier.attempts if attempt.message.event_id == first.event_id]
        gaps = [after - before for before, after in pairwise(times)]
        waits = [RULES.initial * 2**number for number in range(4)]
        assert len(gaps) == len(waits)
        assert [gap >= wait - 0.001 for gap, wait in zip(gaps, waits, strict=True)] == [True] * 4
        assert len(store.of(ME, DeliveryState.DELIVERED)) == 101

    @in_virtual_time
    async def test_makes_the_whole_receiver_wait(self) -> None:
        store = MemoryStore()
        for number in range(10):
            store.enqueue(ME, f"task {number}")

        tries = Tries()

        async def conduct(message: Message) -> None:
            if message.event_id == "tw_000001" and tries(message) == 1:
                raise throttled()
            await asyncio.sleep(0.1)

        notifier = ScriptedNotifier(conduct)
        async with running(a_lane(store, notifier, rng=Longest())):
            await until(all_settled(store))
        start = notifier.times[0]
        assert [at - start for at in notifier.times if 0.05 < at - start < RULES.initial - 0.001] == []


class TestTheWholeReceiver:
    @pytest.mark.parametrize("reason", [Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.THROTTLED])
    def test_waits_after_an_answer_that_speaks_of_it(self, reason: Reason) -> None:
        async def scenario() -> None:
            store = MemoryStore()
            for number in range(100):
                store.enqueue(ME, f"task {number}")
            is_down = True
            refused = lambda: DeliveryError(reason, "no", Scope.RECEIVER)  # noqa: E731  (a value)
            notifier = ScriptedNotifier(fails_while(lambda: is_down, refused))
            async with running(a_lane(store, notifier)):
                await asyncio.sleep(HOUR)
                tried_while_down = len(notifier.attempts)
                is_down = False
                await until(all_settled(store))
            assert IN_FLIGHT <= tried_while_down < 40
            assert len(notifier.accepted) == 100

        run_virtual(scenario())

    @in_virtual_time
    async def test_pauses_after_410_and_keeps_its_queue(self) -> None:
        store = MemoryStore()
        log, lines = captured_log()
        for number in range(20):
            store.enqueue(ME, f"task {number}")
        notifier = ScriptedNotifier(raising(gone))
        lane = a_lane(store, notifier, log=log)
        async with running(lane):
            await asyncio.sleep(24 * HOUR)
            lane.wake()
            await asyncio.sleep(24 * HOUR)
        assert len(notifier.attempts) <= IN_FLIGHT
        assert len(store.of(ME, DeliveryState.PENDING)) == 20
        assert "receiver_paused" in {line["event"] for line in lines}

    @in_virtual_time
    async def test_takes_up_its_queue_at_the_next_start_after_410(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(fails_times(1, gone))
        store.enqueue(ME, "a")
        async with running(a_lane(store, notifier)):
            await asyncio.sleep(HOUR)
        async with running(a_lane(store, notifier)):
            await until(all_settled(store))
        assert len(notifier.accepted) == 1


class TestAReceiverThatIsDown:
    @in_virtual_time
    async def test_costs_one_attempt_at_a_time(self) -> None:
        store = MemoryStore()
        for number in range(50):
            store.enqueue(ME, f"task {number}")
        most: list[int] = []

        async def conduct(_: Message) -> None:
            if len(notifier.attempts) > DOWN_AFTER + IN_FLIGHT:
                most.append(notifier.in_flight)
            await asyncio.sleep(1)
            raise no_connection()

        notifier = ScriptedNotifier(conduct)
        async with running(a_lane(store, notifier)):
            await asyncio.sleep(2 * HOUR)
        assert most
        assert max(most) == 1

    @in_virtual_time
    async def test_is_probed_with_the_events_of_different_tasks(self) -> None:
        store = MemoryStore()
        for number in range(30):
            store.enqueue(ME, f"task {number}")
            store.enqueue(ME, f"task {number}")
        notifier = ScriptedNotifier(raising(no_connection))
        async with running(a_lane(store, notifier)):
            await until(lambda: len(notifier.attempts) >= 30)
        assert len(set(notifier.tried[:30])) == 30

    @in_virtual_time
    async def test_is_probed_less_and_less_often(self) -> None:
        store = MemoryStore()
        for number in range(200):
            store.enqueue(ME, f"task {number}")
        notifier = ScriptedNotifier(raising(no_connection))
        async with running(a_lane(store, notifier)):
            await asyncio.sleep(24 * HOUR)
        assert len([at for at in notifier.times if at - notifier.times[0] > 8 * HOUR]) < 16 * 6

    @in_virtual_time
    async def test_gets_all_that_waits_at_once_after_any_success(self) -> None:
        store = MemoryStore()
        for number in range(300):
            store.enqueue(ME, f"task {number}")
        is_down = True
        notifier = ScriptedNotifier(fails_while(lambda: is_down))
        async with running(a_lane(store, notifier)):
            await asyncio.sleep(8 * HOUR)
            is_down = False
            await until(lambda: notifier.accepted)
            first = now()
            await until(all_settled(store), grain=0.01)
            assert now() - first < 1.0

    @pytest.mark.parametrize("hours", [8, 71])  # after 72 the first of them are dead
    @in_virtual_time
    async def test_loses_nothing_of_ten_thousand_events_in_hours(self, hours: int) -> None:
        store = MemoryStore()
        rng = random.Random(8)
        is_down = True
        notifier = ScriptedNotifier(fails_while(lambda: is_down))
        lane = a_lane(store, notifier)
        async with running(lane):
            for hour in range(hours):
                for _ in range(10_000 * hour // hours, 10_000 * (hour + 1) // hours):
                    store.enqueue(ME, f"task {rng.randrange(400)}")
                lane.wake()
                await asyncio.sleep(HOUR)
            is_down = False
            await until(all_settled(store), within=2 * HOUR)
        assert len(store.of(ME, DeliveryState.DELIVERED)) == 10_000
        assert len(notifier.accepted) == 10_000, "no duplicates without crashes"
        for line in per_task(store, notifier.taken).values():
            assert line == sorted(line)

    @in_virtual_time
    async def test_is_told_once_and_its_return_too(self) -> None:
        store = MemoryStore()
        log, lines = captured_log()
        for number in range(20):
            store.enqueue(ME, f"task {number}")
        notifier = ScriptedNotifier(fails_times(12, no_connection))
        async with running(a_lane(store, notifier, log=log)):
            await until(all_settled(store))
        told = Counter((line["event"], line["log_level"]) for line in lines)
        assert told["delivery_failed", "warning"] == 1
        assert told["receiver_works_again", "info"] == 1

    @in_virtual_time
    async def test_and_a_store_that_cannot_be_read_are_no_busy_loop(self) -> None:
        # While the receiver is down a probe ignores its `due`: a body that cannot be read must not spin.
        rules = LaneRules(timeout=10.0, initial=1.0, maximum=5.0, horizon=72 * HOUR)
        store, notifier = MemoryStore(), ScriptedNotifier(raising(no_connection))
        for number in range(10):
            store.enqueue(ME, f"task {number}")
        async with running(a_lane(store, notifier, rules=rules)):
            await until(lambda: len(notifier.attempts) > 2 * DOWN_AFTER)
            before = store.calls[Call.BODY]
            store.fail(Call.BODY, 10_000)
            await asyncio.sleep(60 * STORE_RETRY_SECONDS)
            assert store.calls[Call.BODY] - before <= 70


class TestOneBadEvent:
    """It is the only one that fails, and there is nothing else to send: that looks as a receiver that is down."""

    @pytest.mark.parametrize("seed", range(20))
    def test_does_not_delay_an_event_that_comes_hours_later(self, seed: int) -> None:
        async def scenario() -> None:
            store = MemoryStore()
            bad = store.enqueue(ME, "bad")
            notifier = ScriptedNotifier(raising(rejected, lambda message: message.event_id == bad.event_id))
            lane = a_lane(store, notifier, seed=seed)
            async with running(lane):
                await asyncio.sleep((1 + seed / 5) * HOUR)
                assert len(notifier.attempts) > DOWN_AFTER
                for number in range(3):
                    asked = now()
                    good = store.enqueue(ME, f"good {number}")
                    lane.wake()
                    await until(lambda item=good: item.state is DeliveryState.DELIVERED, grain=0.1)  # type: ignore[misc]  # a default binds it
                    assert now() - asked <= RULES.initial + 1.0
                    await asyncio.sleep(HOUR)

        run_virtual(scenario())

    @pytest.mark.parametrize("seed", range(5))
    def test_costs_no_more_when_it_is_one_of_several(self, seed: int) -> None:
        async def scenario() -> None:
            store = MemoryStore()
            bad = {store.enqueue(ME, f"bad {number}").event_id for number in range(20)}
            notifier = ScriptedNotifier(raising(rejected, lambda message: message.event_id in bad))
            lane = a_lane(store, notifier, seed=seed)
            async with running(lane):
                await until(lambda: set(notifier.tried) == bad)
                await asyncio.sleep(HOUR)
                asked = now()
                good = store.enqueue(ME, "good")
                lane.wake()
                await until(lambda: good.state is DeliveryState.DELIVERED, grain=0.1)
                assert now() - asked <= RULES.initial + 1.0

        run_virtual(scenario())

    @pytest.mark.parametrize("error", [no_connection, server_error, rejected])
    def test_is_no_reason_to_knock_more_often_at_a_receiver_that_is_down(
        self, error: Callable[[], DeliveryError]
    ) -> None:
        async def scenario() -> None:
            store = MemoryStore()
            for number in range(100):
                store.enqueue(ME, f"task {number}")
            notifier = ScriptedNotifier(raising(error))
            async with running(a_lane(store, notifier)):
                await asyncio.sleep(HOUR)
            assert DOWN_AFTER < len(notifier.attempts) < 40

        run_virtual(scenario())

    @in_virtual_time
    async def test_nor_does_a_stream_of_new_events_knock_more_often_than_the_first_back_off(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(raising(no_connection))
        lane = a_lane(store, notifier)
        async with running(lane):
            for number in range(3600):
                store.enqueue(ME, f"task {number}")
                lane.wake()
                await asyncio.sleep(1)
        assert len(notifier.attempts) <= HOUR / RULES.initial + 2 * DOWN_AFTER


class TestPoison:
    @in_virtual_time
    async def test_an_event_that_fails_ten_times_while_others_succeed_is_dead(self) -> None:
        store = MemoryStore()
        poison, next_one = store.enqueue(ME, "bad"), store.enqueue(ME, "bad")
        notifier = ScriptedNotifier(
            raising(server_error, lambda message: message.event_id == poison.event_id)
        )
        lane = a_lane(store, notifier)
        async with running(lane):
            while poison.state is DeliveryState.PENDING:
                store.enqueue(ME, f"good {len(store.deliveries)}")
                lane.wake()
                await asyncio.sleep(30)
            await until(all_settled(store))
        assert poison.state is DeliveryState.DEAD
        last = outcomes(poison)[-1]
        assert isinstance(last, Dead)
        assert (last.why, last.reason) == ("poison", Reason.SERVER_ERROR)
        assert len(store.of(ME, DeliveryState.DEAD)) == 1
        assert last.poisoned == POISONED
        assert next_one.state is DeliveryState.DELIVERED

    @in_virtual_time
    async def test_is_counted_over_restarts(self) -> None:
        store = MemoryStore()
        poison = store.enqueue(ME, "bad")
        notifier = ScriptedNotifier(
            raising(server_error, lambda message: message.event_id == poison.event_id)
        )
        tried_before = 0
        for enough in (5, POISONED):
            tried_before = len(notifier.tried)
            lane = a_lane(store, notifier)
            async with running(lane):
                while poison.poisoned < enough and store.of(ME, DeliveryState.DEAD) == []:
                    store.enqueue(ME, f"good {len(store.deliveries)}")
                    lane.wake()
                    await asyncio.sleep(1)
        assert store.of(ME, DeliveryState.DEAD) == [poison]
        assert notifier.tried[tried_before:].count(poison.event_id) < POISONED

    @in_virtual_time
    async def test_is_not_what_fails_with_all_the_others(self) -> None:
        store = MemoryStore()
        for number in range(50):
            store.enqueue(ME, f"task {number}")
        notifier = ScriptedNotifier(raising(server_error))
        async with running(a_lane(store, notifier)):
            await asyncio.sleep(48 * HOUR)
        assert store.of(ME, DeliveryState.DEAD) == []
        assert max(item.attempts for item in store.deliveries.values()) < POISONED + 5
        assert max(item.poisoned for item in store.deliveries.values()) == 0

    @in_virtual_time
    async def test_is_not_what_was_throttled(self) -> None:
        store = MemoryStore()
        slow = store.enqueue(ME, "slow")
        notifier = ScriptedNotifier(raising(throttled, lambda message: message.event_id == slow.event_id))
        lane = a_lane(store, notifier)
        async with running(lane):
            for _ in range(600):
                store.enqueue(ME, f"good {len(store.deliveries)}")
                lane.wake()
                await asyncio.sleep(60)
        assert notifier.tried.count(slow.event_id) > POISONED
        assert slow.state is DeliveryState.PENDING
        assert slow.poisoned == 0


class TestTheHorizon:
    RULES = LaneRules(timeout=10.0, initial=5.0, maximum=600.0, horizon=2 * HOUR)

    @in_virtual_time
    async def test_ends_a_delivery_that_was_tried_for_so_long(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(raising(no_connection))
        item = store.enqueue(ME, "a")
        async with running(a_lane(store, notifier, rules=self.RULES)):
            await until(all_settled(store))
        last = outcomes(item)[-1]
        assert isinstance(last, Dead)
        assert last.why == "horizon"
        assert 2 * HOUR <= last.tried_seconds <= 2 * HOUR + 620

    @in_virtual_time
    async def test_counts_only_time_in_which_taskwatch_ran(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(raising(no_connection))
        item = store.enqueue(ME, "a")
        for _ in range(3):
            async with running(a_lane(store, notifier, rules=self.RULES)):
                await asyncio.sleep(0.4 * HOUR)
            await asyncio.sleep(40 * HOUR)
        assert item.state is DeliveryState.PENDING
        assert 0.5 * HOUR < item.tried_seconds < 1.3 * HOUR
        async with running(a_lane(store, notifier, rules=self.RULES)):
            await until(all_settled(store))
        assert store.of(ME, DeliveryState.DEAD) == [item]

    @in_virtual_time
    async def test_does_not_count_while_an_event_waits_behind_another(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(raising(no_connection))
        first, second = store.enqueue(ME, "a"), store.enqueue(ME, "a")
        async with running(a_lane(store, notifier, rules=self.RULES)):
            await until(lambda: first.state is DeliveryState.DEAD)
            assert second.tried_seconds == 0.0
            assert second.state is DeliveryState.PENDING

    @in_virtual_time
    async def test_knows_no_wall_clock(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(fails_times(6, no_connection))
        item = store.enqueue(ME, "a")
        clock = virtual_clock()
        lane = Lane(
            receiver=ME,
            notifier=notifier,
            outbox=store,
            rules=self.RULES,
            clock=clock,
            rng=random.Random(1),
            log=quiet_log(),
        )
        async with running(lane):
            for jump in (10 * 365 * 24 * HOUR, -20 * 365 * 24 * HOUR, HOUR):
                await asyncio.sleep(10)
                clock.jump(jump)
            await until(all_settled(store), within=HOUR)
        assert item.state is DeliveryState.DELIVERED


class TestANotifier:
    @pytest.mark.parametrize(
        "error",
        [
            ValueError("token=hunter2"),
            KeyError("hunter2"),
            OSError("hunter2"),
            RecursionError("hunter2"),
            ExceptionGroup("hunter2", [ValueError("hunter2")]),
            asyncio.CancelledError("hunter2"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_that_raises_anything_is_broken_and_its_words_are_kept_from_all(
        self, error: BaseException
    ) -> None:
        async def scenario() -> None:
            store, log_and_lines = MemoryStore(), captured_log()
            item = store.enqueue(ME, "a")
            notifier = ScriptedNotifier(fails_times(1, lambda: error))  # type: ignore[arg-type, return-value]  # any
            async with running(a_lane(store, notifier, log=log_and_lines[0])):
                await until(all_settled(store), within=HOUR)
            failure = outcomes(item)[0]
            assert isinstance(failure, Retry)
            assert failure.reason is Reason.BROKEN
            assert failure.detail == f"the notifier raised {type(error).__name__}"
            assert "hunter2" not in f"{item.outcomes}{log_and_lines[1]}"

        run_virtual(scenario())

    @in_virtual_time
    async def test_that_hangs_is_timed_out_and_tried_again(self) -> None:
        store = MemoryStore()
        item = store.enqueue(ME, "a")

        tries = Tries()

        async def conduct(message: Message) -> None:
            if tries(message) == 1:
                await asyncio.get_running_loop().create_future()

        notifier = ScriptedNotifier(conduct)
        async with running(a_lane(store, notifier)):
            await until(all_settled(store), within=HOUR)
        failure = outcomes(item)[0]
        assert isinstance(failure, Retry)
        assert (failure.reason, failure.detail) == (Reason.TIMEOUT, "no answer within 10 s")
        assert notifier.times[1] - notifier.times[0] >= RULES.timeout

    @in_virtual_time
    async def test_that_says_why_is_quoted(self) -> None:
        store = MemoryStore()
        item = store.enqueue(ME, "a")
        async with running(a_lane(store, ScriptedNotifier(fails_times(1, unauthorized)))):
            await until(all_settled(store), within=HOUR)
        failure = outcomes(item)[0]
        assert isinstance(failure, Retry)
        assert (failure.reason, failure.detail) == (Reason.UNAUTHORIZED, "host answered 401")


class TestTheStore:
    @in_virtual_time
    async def test_failing_to_record_stops_sending_rather_than_repeats(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier()
        for number in range(20):
            store.enqueue(ME, f"task {number}")
        store.fail(Call.RECORD, 10_000)
        lane = a_lane(store, notifier)
        async with running(lane):
            await asyncio.sleep(300)
            assert len(notifier.attempts) == IN_FLIGHT
            store.heal(Call.RECORD)
            await until(all_settled(store), within=60)
        assert len(notifier.attempts) == 20, "nothing was sent twice"

    @in_virtual_time
    async def test_failing_to_record_a_failure_still_records_it_later(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(fails_times(1))
        item = store.enqueue(ME, "a")
        store.fail(Call.RECORD, 5)
        async with running(a_lane(store, notifier)):
            await until(all_settled(store), within=HOUR)
        assert [type(outcome) for outcome in outcomes(item)] == [Retry, Delivered]

    @pytest.mark.parametrize("call", [Call.PENDING, Call.BODY])
    def test_that_cannot_be_read_for_a_while_delays_and_loses_nothing(self, call: Call) -> None:
        async def scenario() -> None:
            store, notifier = MemoryStore(), ScriptedNotifier()
            for number in range(20):
                store.enqueue(ME, f"task {number}")
            store.fail(call, 30)
            async with running(a_lane(store, notifier)):
                await until(all_settled(store), within=HOUR)
            assert sorted(notifier.taken) == sorted(item.event_id for item in store.deliveries.values())

        run_virtual(scenario())

    @in_virtual_time
    async def test_that_is_lost_ends_the_lane(self) -> None:
        class Lost(MemoryStore):
            async def record(self, *_: object, **__: object) -> None:
                raise StoreLostError("the disk refused")

        store, notifier = Lost(), ScriptedNotifier()
        store.enqueue(ME, "a")
        with pytest.raises(StoreLostError):
            await a_lane(store, notifier).run()

    @in_virtual_time
    async def test_that_is_lost_while_it_is_read_leaves_no_attempt_behind(self) -> None:
        class Lost(MemoryStore):
            is_lost = False

            async def pending(self, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
                if self.is_lost:
                    raise StoreLostError("the disk refused")
                return await super().pending(receiver, after=after, limit=limit)

        store, notifier = Lost(), ScriptedNotifier(takes(5))
        store.enqueue(ME, "a")
        lane = a_lane(store, notifier)
        run = asyncio.create_task(lane.run())
        await until(lambda: notifier.in_flight)
        store.is_lost = True
        lane.wake()
        with pytest.raises(StoreLostError):
            await run
        assert left_behind() == []
        assert notifier.in_flight == 0

    @in_virtual_time
    async def test_holding_more_than_fits_into_memory_is_emptied_in_order(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier()
        for number in range(12_000):
            store.enqueue(ME, f"task {number % 7}")
        async with running(a_lane(store, notifier)):
            await until(all_settled(store), within=HOUR)
        assert len(notifier.accepted) == 12_000
        for line in per_task(store, notifier.taken).values():
            assert line == sorted(line)


class TestWaking:
    @in_virtual_time
    async def test_starts_an_attempt_at_once(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier()
        lane = a_lane(store, notifier)
        async with running(lane):
            await asyncio.sleep(HOUR)
            store.enqueue(ME, "a")
            lane.wake()
            await asyncio.sleep(0.001)
            assert len(notifier.accepted) == 1

    @in_virtual_time
    async def test_that_is_lost_costs_half_a_minute_at_most(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier()
        async with running(a_lane(store, notifier)):
            await asyncio.sleep(1.5 * RELOAD_SECONDS)
            store.enqueue(ME, "a")
            await asyncio.sleep(RELOAD_SECONDS + 0.1)
            assert len(notifier.accepted) == 1

    @in_virtual_time
    async def test_that_is_lost_costs_no_more_while_another_event_is_retried(self) -> None:
        # The lane wakes every few seconds for the retry, so no wait of its own is ever half a minute long.
        rules = LaneRules(timeout=10.0, initial=5.0, maximum=10.0, horizon=72 * HOUR)
        store = MemoryStore()
        bad = store.enqueue(ME, "bad")
        notifier = ScriptedNotifier(raising(server_error, lambda message: message.event_id == bad.event_id))
        async with running(a_lane(store, notifier, rules=rules)):
            await asyncio.sleep(1.5 * RELOAD_SECONDS)
            store.enqueue(ME, "good")
            await asyncio.sleep(2 * RELOAD_SECONDS + 10)
            assert len(notifier.accepted) == 1

    @in_virtual_time
    async def test_nobody_lets_the_lane_rest(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier()
        async with running(a_lane(store, notifier)):
            await asyncio.sleep(HOUR)
        assert store.calls[Call.PENDING] <= HOUR / RELOAD_SECONDS + 2

    @in_virtual_time
    async def test_for_a_pass_without_a_loop_delivers_what_is_due_and_returns(self) -> None:
        store = MemoryStore()
        bad = store.enqueue(ME, "bad")
        for number in range(30):
            store.enqueue(ME, f"task {number % 9}")
        notifier = ScriptedNotifier(raising(server_error, lambda message: message.event_id == bad.event_id))
        await a_lane(store, notifier).drained(patience=30)
        assert len(store.of(ME, DeliveryState.DELIVERED)) == 30
        assert (bad.state, bad.attempts) == (DeliveryState.PENDING, 1)

    @in_virtual_time
    async def test_for_a_pass_without_a_loop_ends_with_the_store(self) -> None:
        class Lost(MemoryStore):
            async def record(self, *_: object, **__: object) -> None:
                raise StoreLostError("the disk refused")

        store, notifier = Lost(), ScriptedNotifier()
        store.enqueue(ME, "a")
        with pytest.raises(StoreLostError):
            await a_lane(store, notifier).drained(patience=30)
        assert left_behind() == []

    @in_virtual_time
    async def test_for_a_pass_without_a_loop_ends_although_no_outcome_can_be_recorded(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier()
        item = store.enqueue(ME, "a")
        store.fail(Call.RECORD, 1_000_000)
        started = now()
        await a_lane(store, notifier).drained(patience=30)
        assert now() - started <= 30 + STORE_RETRY_SECONDS
        assert (item.state, len(notifier.accepted)) == (DeliveryState.PENDING, 1)
        assert left_behind() == []


class TestStopping:
    @in_virtual_time
    async def test_waits_for_what_is_in_flight_records_it_and_begins_nothing_new(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(takes(5))
        for number in range(20):
            store.enqueue(ME, f"task {number}")
        lane = a_lane(store, notifier)
        run = asyncio.create_task(lane.run(drain=10.0))
        await asyncio.sleep(1)
        lane.stop()
        stopped = now()
        await run
        assert now() - stopped == pytest.approx(4.0, abs=0.1)
        assert len(store.of(ME, DeliveryState.DELIVERED)) == len(notifier.attempts) == IN_FLIGHT

    @in_virtual_time
    async def test_leaves_what_hangs_after_the_deadline_and_delivers_it_at_the_next_start(self) -> None:
        rules = LaneRules(timeout=HOUR, initial=5.0, maximum=HOUR, horizon=72 * HOUR)
        store, notifier = MemoryStore(), ScriptedNotifier(takes(HOUR - 1))
        item = store.enqueue(ME, "a")
        lane = a_lane(store, notifier, rules=rules)
        run = asyncio.create_task(lane.run(drain=10.0))
        await asyncio.sleep(1)
        lane.stop()
        stopped = now()
        await run
        assert now() - stopped == pytest.approx(10.0, abs=0.1)
        assert item.state is DeliveryState.PENDING
        assert item.outcomes == []
        async with running(a_lane(store, notifier, rules=rules)):
            await until(all_settled(store))
        assert store.of(ME, DeliveryState.DELIVERED) == [item]

    @in_virtual_time
    async def test_records_what_has_happened_although_the_store_fails_for_a_while(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(takes(1))
        item = store.enqueue(ME, "a")
        store.fail(Call.RECORD, 5)
        lane = a_lane(store, notifier)
        run = asyncio.create_task(lane.run(drain=10.0))
        await asyncio.sleep(0.5)
        lane.stop()
        await run
        assert item.state is DeliveryState.DELIVERED

    @in_virtual_time
    async def test_ends_although_the_store_never_records_again(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier()
        store.enqueue(ME, "a")
        store.fail(Call.RECORD, 1_000_000)
        lane = a_lane(store, notifier)
        run = asyncio.create_task(lane.run(drain=10.0))
        await asyncio.sleep(1)
        lane.stop()
        stopped = now()
        await run
        assert now() - stopped <= 10.0 + STORE_RETRY_SECONDS

    @in_virtual_time
    async def test_an_idle_lane_ends_at_once(self) -> None:
        lane = a_lane(MemoryStore(), ScriptedNotifier())
        run = asyncio.create_task(lane.run())
        await asyncio.sleep(1)
        lane.stop()
        stopped = now()
        await run
        assert now() == stopped

    @in_virtual_time
    async def test_by_cancellation_leaves_no_attempt_behind(self) -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(takes(5))
        store.enqueue(ME, "a")
        run = asyncio.create_task(a_lane(store, notifier).run())
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert left_behind() == []


class TestIsolation:
    async def latencies(self, *, with_others: bool) -> list[float]:
        store, recorded = MemoryStore(), {}
        arrived: dict[str, float] = {}

        async def conduct(message: Message) -> None:
            await asyncio.sleep(0.02)
            arrived.setdefault(message.event_id, now())

        lanes = [a_lane(store, ScriptedNotifier(conduct), receiver="healthy")]
        if with_others:
            lanes.append(a_lane(store, ScriptedNotifier(raising(no_connection)), receiver="dead"))
            lanes.append(a_lane(store, ScriptedNotifier(takes(9.9)), receiver="slow"))
        runs = [asyncio.create_task(lane.run()) for lane in lanes]
        for number in range(500):
            for lane in lanes:
                item = store.enqueue(lane.receiver, f"task {number % 40}")
                if lane.receiver == "healthy":
                    recorded[item.event_id] = now()
                lane.wake()
            await asyncio.sleep(0.5)
        await until(all_settled(store, "healthy"))
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        return sorted(arrived[event_id] - at for event_id, at in recorded.items())

    @in_virtual_time
    async def test_a_dead_and_a_slow_receiver_cost_a_healthy_one_nothing(self) -> None:
        alone = await self.latencies(with_others=False)
        beside = await self.latencies(with_others=True)
        p99 = int(0.99 * len(alone))
        assert beside[p99] <= 1.1 * alone[p99]
        assert beside[-1] < 1.0


@dataclass(slots=True)
class CancellationAt:
    """Makes the n-th step of any task of the loop end in CancelledError, wherever it waits."""

    step: int
    taken: int = 0

    def factory(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **kwargs: Any
    ) -> "asyncio.Task[Any]":
        return asyncio.Task(self._counted(coroutine), loop=loop, **kwargs)

    async def _counted(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await _Steps(coroutine, self)


class _Steps:
    def __init__(self, coroutine: Coroutine[Any, Any, Any], cancellation: CancellationAt) -> None:
        self._coroutine = coroutine
        self._cancellation = cancellation

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._coroutine.__await__()
        throw: BaseException | None = None
        while True:
            self._cancellation.taken += 1
            if self._cancellation.taken == self._cancellation.step:
                throw = asyncio.CancelledError()
            try:
                awaited = steps.throw(throw) if throw is not None else next(steps)
            except StopIteration as end:
                return end.value
            throw = None
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001  (handed on to whom it is meant for)
                throw = error


async def delivered_with(cancellation: CancellationAt) -> None:
    """Run a lane with a failing and a hanging attempt, cancel one step, crash, restart, and judge."""
    store = MemoryStore()
    for number in range(6):
        store.enqueue(ME, f"task {number % 3}")

    tries = Tries()

    async def conduct(message: Message) -> None:
        await asyncio.sleep(1)
        if message.event_id == "tw_000002" and tries(message) == 1:
            raise server_error()

    notifier = ScriptedNotifier(conduct)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(cancellation.factory)  # type: ignore[arg-type]  # typeshed wants Future
    lane = a_lane(store, notifier)
    run = asyncio.create_task(lane.run())
    await asyncio.wait([run], timeout=20)
    lane.stop()
    loop.set_task_factory(None)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    async with running(a_lane(store, notifier)):
        await until(all_settled(store), within=HOUR)
    assert len(store.of(ME, DeliveryState.DELIVERED)) == 6, f"lost by cancellation {cancellation.step}"
    assert len(notifier.accepted) <= 6 + IN_FLIGHT
    for line in per_task(store, notifier.taken).values():
        assert line == sorted(line)


def test_a_cancellation_at_any_await_loses_nothing() -> None:
    untouched = CancellationAt(step=0)
    run_virtual(delivered_with(untouched))
    assert untouched.taken > 50
    for step in range(1, untouched.taken + 1):
        run_virtual(delivered_with(CancellationAt(step=step)))


@pytest.mark.parametrize("point", [CrashPoint.BEFORE_RECORD, CrashPoint.AFTER_RECORD])
@pytest.mark.parametrize("passage", range(1, 9))
def test_a_crash_between_send_and_record_makes_at_most_a_duplicate_of_the_same_id(
    point: CrashPoint, passage: int
) -> None:
    async def scenario() -> None:
        store, notifier = MemoryStore(), ScriptedNotifier(takes(0.1))
        for number in range(9):
            store.enqueue(ME, f"task {number % 3}", f"body {number}")
        session = Session(store)
        session.die_at(point, passage)
        doomed = a_lane(session, notifier)
        run = asyncio.create_task(doomed.run(drain=0.0))
        await session.died.wait()
        doomed.stop()
        await run
        async with running(a_lane(store, notifier)):
            await until(all_settled(store), within=HOUR)
        copies = Counter((message.event_id, message.body) for message in notifier.accepted)
        assert len(copies) == 9
        assert sum(copies.values()) <= 9 + IN_FLIGHT
        for line in per_task(store, notifier.taken).values():
            assert line == sorted(line)

    run_virtual(scenario())
