"""Lanes come and go: no two of them ever send for the same receiver at once."""

import asyncio
import random
from collections import Counter

from taskwatch.engine.lane import Lane, LaneRules
from taskwatch.model.delivery import DeliveryState, Message
from taskwatch.runtime.lanes import DRAIN_SECONDS, Lanes
from tests.fakes.builders import quiet_log
from tests.fakes.memory_store import MemoryStore
from tests.fakes.scripted_notifier import ScriptedNotifier
from tests.fakes.virtual_time import in_virtual_time, virtual_clock


class Slow(ScriptedNotifier):
    """Takes so many seconds for each message."""

    def __init__(self, seconds: float) -> None:
        async def conduct(_: Message) -> None:
            await asyncio.sleep(seconds)

        super().__init__(conduct)


def a_lane(
    store: MemoryStore, notifier: ScriptedNotifier, *, receiver: str = "hook", timeout: float = 60.0
) -> Lane:
    return Lane(
        receiver=receiver,
        notifier=notifier,
        outbox=store,
        rules=LaneRules(timeout=timeout, initial=1.0, maximum=1.0, horizon=3600.0),
        clock=virtual_clock(),
        rng=random.Random(1),
        log=quiet_log(),
    )


def a_store(*tasks: str, receiver: str = "hook") -> MemoryStore:
    store = MemoryStore()
    for task in tasks:
        store.enqueue(receiver, task)
    return store


@in_virtual_time
async def test_a_receiver_that_comes_back_at_once_is_told_nothing_twice() -> None:
    store, notifier = a_store("a", "b"), Slow(30)
    lanes, first = Lanes(), a_lane(store, notifier)
    lanes.begin(first)
    await asyncio.sleep(1)
    lanes.retire(first)
    lanes.begin(a_lane(store, notifier))
    store.enqueue("hook", "c")
    await asyncio.sleep(120)
    await lanes.stop()

    assert Counter(notifier.taken) == Counter(delivery.event_id for delivery in store.deliveries.values())
    assert {delivery.state for delivery in store.deliveries.values()} == {DeliveryState.DELIVERED}


@in_virtual_time
async def test_a_lane_that_follows_another_under_a_new_name_waits_for_it() -> None:
    store, notifier = a_store("a", receiver="old"), Slow(30)
    lanes, first = Lanes(), a_lane(store, notifier, receiver="old")
    lanes.begin(first)
    await asyncio.sleep(1)
    leaving = lanes.retire(first)
    await store.hand_over({"old": "new"})
    lanes.begin(a_lane(store, notifier, receiver="new"), after=leaving)
    await asyncio.sleep(120)
    await lanes.stop()

    assert len(notifier.taken) == len(notifier.tried) == 1


@in_virtual_time
async def test_a_retired_lane_finishes_what_is_in_flight_however_long_its_time_out_is() -> None:
    store, notifier = a_store("a"), Slow(3 * DRAIN_SECONDS)
    lanes, lane = Lanes(), a_lane(store, notifier)
    lanes.begin(lane)
    await asyncio.sleep(1)
    await lanes.retire(lane)

    assert store.of("hook", DeliveryState.DELIVERED)


@in_virtual_time
async def test_a_stop_cuts_short_what_takes_too_long_also_of_retired_lanes() -> None:
    store, notifier = a_store("a"), Slow(1000)
    lanes, lane = Lanes(), a_lane(store, notifier, timeout=2000)
    lanes.begin(lane)
    await asyncio.sleep(1)
    lanes.retire(lane)
    began = asyncio.get_running_loop().time()
    await lanes.stop()

    assert asyncio.get_running_loop().time() - began <= DRAIN_SECONDS + 2
    assert notifier.in_flight == 0
    assert store.of("hook", DeliveryState.PENDING)
