"""Deliveries against a model: any history of events, refusals, crashes and operators tells each event, in order."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskwatch.engine.lane import IN_FLIGHT, Lane, LaneRules
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import StoreFailedError
from taskwatch.model.delivery import Message
from taskwatch.store import operations
from tests.fakes.builders import T0, quiet_log
from tests.fakes.inline_writer import Death, Disk, Life, open_inline
from tests.fakes.records import PROD, a_record, an_event, routed
from tests.fakes.scripted_notifier import gone, no_connection, rejected, server_error, throttled, unauthorized
from tests.fakes.virtual_time import VirtualClock, VirtualTimeLoop

ME: Final = "hook"
TASKS: Final = ("a", "b", "c", "d", "e", "f")
HOUR: Final = 3600.0
RULES: Final = LaneRules(timeout=10.0, initial=5.0, maximum=HOUR, horizon=72 * HOUR)
REFUSALS: Final[dict[str, Callable[[], DeliveryError]]] = {
    "no connection": no_connection,
    "503": server_error,
    "429": lambda: throttled(30.0),
    "401": unauthorized,
    "410": gone,
}
MOODS: Final = ("takes", "takes slowly", "loses the answer", *REFUSALS)


class Receiver:
    """Takes messages or does not, as its mood is; refuses what is poison to it in any mood."""

    def __init__(self) -> None:
        self.mood = "takes"
        self.poison: set[str] = set()
        self.taken: list[Message] = []
        self.refused: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()  # per task

    async def repeat(self) -> None:
        """Repeat nothing."""

    async def notify(self, message: Message) -> None:
        task = message.event_id.split("-")[1]
        self.in_flight[task] += 1
        try:
            assert message.replay or self.in_flight[task] == 1, "two of one task at a time"
            assert self.in_flight.total() <= IN_FLIGHT
            await self._take(message)
        finally:
            self.in_flight[task] -= 1

    async def _take(self, message: Message) -> None:
        await asyncio.sleep(3.0 if self.mood == "takes slowly" else 0.1)
        if refuse := REFUSALS.get(self.mood):
            raise refuse()
        if message.event_id in self.poison:
            self.refused[message.event_id] += 1
            raise rejected()
        self.taken.append(message)
        if self.mood == "loses the answer":
            raise no_connection()

    async def connect(self) -> None:
        """Connect to nothing."""

    async def close(self) -> None:
        """Nothing is open."""


class OutboxMachine(RuleBasedStateMachine):
    """One receiver, its lane over the real store, processes that die, and operators beside them."""

    @initialize()
    def begin(self) -> None:
        self.loop = VirtualTimeLoop()
        self.disk = Disk()
        self.receiver = Receiver()
        self.recorded: dict[str, bytes] = {}
        self.counts: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self.start()

    def teardown(self) -> None:
        """In the end all goes: what waits is delivered as soon as the receiver takes it."""
        if not hasattr(self, "loop"):
            return
        self.disk.heal()
        self.receiver.mood = "takes"
        self.receiver.poison.clear()
        self.crash()
        self.runs(6 * HOUR)
        left = [row for row in self.deliveries() if row["state"] == "pending"]
        self.receiver_is_told_in_order()
        self.kill()
        self.loop.close()
        assert left == []

    def start(self) -> None:
        self.life = Life()
        clock = VirtualClock(self.loop)
        self.store = open_inline(self.disk, self.life, clock=clock)
        self.lane = Lane(
            receiver=ME,
            notifier=self.receiver,
            outbox=self.store,
            rules=RULES,
            clock=clock,
            rng=random.Random(1),
            log=quiet_log(),
        )
        self.run = self.loop.create_task(self.lane.run())

    def kill(self) -> None:
        self.life.kill()
        mine = asyncio.all_tasks(self.loop)
        for task in mine:
            task.cancel()
        found = self.loop.run_until_complete(_gathered(mine))
        self.errors += [error for error in found if isinstance(error, AssertionError)]
        self.receiver.in_flight.clear()

    def runs(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        if self.run.done() and not self.run.cancelled() and (error := self.run.exception()):
            raise error
        if self.life.died.is_set():
            self.kill()
            self.start()

    def deliveries(self) -> list[dict[str, Any]]:
        rows = self.disk.rows(
            "SELECT d.id, e.id, e.body, d.state, d.why FROM deliveries d JOIN events e ON e.seq = d.event"
        )
        return [dict(zip(("number", "id", "body", "state", "why"), row, strict=True)) for row in rows]

    @rule(
        task=st.sampled_from(TASKS),
        count=st.integers(1, 3),
        poison=st.booleans(),
        is_heard=st.booleans(),
    )
    def record(self, task: str, count: int, *, poison: bool, is_heard: bool) -> None:
        """A poll records events; that it woke the lane may be lost."""
        numbers = range(self.counts[task] + 1, self.counts[task] + count + 1)
        events = [an_event(f"tw-{task}-{number}", subject=task, sequence=number) for number in numbers]

        async def commit() -> None:
            state = await self.store.enrol(PROD, "prod")
            await self.store.commit(a_record(state, events=[routed(event, ME) for event in events]))

        commits = self.loop.create_task(commit())
        self.loop.run_until_complete(asyncio.sleep(0.01))
        if self.life.died.is_set():
            self.kill()
            self.start()
        elif not isinstance(commits.exception(), StoreFailedError):
            commits.result()
        found = {id_ for (id_,) in self.disk.rows("SELECT id FROM events")}
        if events[-1].id in found:
            self.counts[task] += count
            self.recorded |= {event.id: event.body for event in events}
            if poison:
                self.receiver.poison.add(events[0].id)
        if is_heard:
            self.lane.wake()

    @rule(mood=st.sampled_from(MOODS))
    def change_mood(self, mood: str) -> None:
        self.receiver.mood = mood

    @rule(seconds=st.sampled_from([0.5, 5.0, 40.0, HOUR, 30 * HOUR]))
    def wait(self, seconds: float) -> None:
        self.runs(seconds)

    @rule()
    def crash(self) -> None:
        self.kill()
        self.start()

    @rule(write=st.integers(1, 3), is_durable=st.booleans())
    def crash_at_a_write(self, write: int, *, is_durable: bool) -> None:
        self.life.dies_at(Death(write=write, is_durable=is_durable))
        self.runs(40.0)

    @rule()
    def stop_and_start(self) -> None:
        self.lane.stop()
        self.loop.run_until_complete(self.run)
        self.start()

    @rule(times=st.integers(1, 4))
    def fill_the_disk(self, times: int) -> None:
        self.disk.fail(times)

    @rule()
    def trust(self) -> None:
        self.lane.trust()

    @precondition(lambda self: any(row["state"] == "pending" for row in self.deliveries()))
    @rule(choice=st.integers(0, 5))
    def drop(self, choice: int) -> None:
        waiting = [row["number"] for row in self.deliveries() if row["state"] == "pending"]
        with self.disk.connection:
            operations.drop(self.disk.connection, [waiting[choice % len(waiting)]], at=T0)

    @precondition(lambda self: any(row["state"] == "dead" for row in self.deliveries()))
    @rule()
    def replay(self) -> None:
        dead = [row["number"] for row in self.deliveries() if row["state"] == "dead"]
        with self.disk.connection:
            operations.replay(self.disk.connection, dead, at=T0)
        self.lane.wake()

    @invariant()
    def each_event_has_its_delivery(self) -> None:
        if hasattr(self, "loop"):
            assert sorted(row["id"] for row in self.deliveries()) == sorted(self.recorded)
            assert self.errors == []

    @invariant()
    def what_is_done_was_done(self) -> None:
        if not hasattr(self, "loop"):
            return
        taken = {message.event_id for message in self.receiver.taken}
        for row in self.deliveries():
            if row["state"] == "delivered":
                assert row["id"] in taken
            if row["why"] == "poison":
                assert (
                    self.receiver.refused[row["id"]] or row["id"] in taken
                )  # an answer may be lost ten times
            assert row["why"] in {None, "poison", "horizon", "operator"}

    @invariant()
    def receiver_is_told_in_order(self) -> None:
        if not hasattr(self, "loop"):
            return
        told: defaultdict[str, list[int]] = defaultdict(list)
        for message in self.receiver.taken:
            assert message.body == self.recorded[message.event_id], "other bytes under the same id"
            _, task, number = message.event_id.split("-")
            if not message.replay and int(number) not in told[task]:
                told[task].append(int(number))
        for task, numbers in told.items():
            assert numbers == sorted(numbers), f"{task} out of order"


async def _gathered(tasks: set[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


OutboxMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestOutbox = OutboxMachine.TestCase
