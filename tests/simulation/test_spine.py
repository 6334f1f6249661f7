"""The whole spine under all faults at once: a seeded life of tasks, real pollers and lanes, a store
that survives, processes that do not.

The oracle: per task a chain without a hole from the baseline to the cloud's last status; nothing told
that was not served, and nothing that was not true in that order; each event at each receiver; per task
in order; the same id never with other bytes; and when the faults stop, a fresh change arrives.
"""

import asyncio
import json
import os
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Final

import pytest

from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.since import Since
from taskwatch.engine.lane import Lane, LaneRules
from taskwatch.engine.poller import Poller
from taskwatch.engine.ports import Ask, StaleStateError
from taskwatch.errors import CloudCause, CloudError, StoreFailedError
from taskwatch.model.delivery import DeliveryState, Message
from taskwatch.model.event import Event
from taskwatch.model.project import Check, Listing
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING, Task
from taskwatch.runtime.lanes import Lanes
from tests.fakes.builders import a_listing, a_project, a_task, at, everything_to, quiet_log, some_rules
from tests.fakes.memory_store import Call, CrashPoint, MemoryStore, Session
from tests.fakes.scripted_notifier import no_connection, server_error, throttled
from tests.fakes.virtual_time import VirtualClock, run_virtual, virtual_clock

SEEDS: Final = int(os.environ.get("TASKWATCH_SEEDS", "60"))
POLLS: Final = 80
INTERVAL: Final = 15.0
FULL_POLL: Final = 120.0
RULES: Final = LaneRules(timeout=2.0, initial=0.5, maximum=8.0, horizon=72 * 3600.0)
RECEIVERS: Final = ("pipeline", "chat")

STALE_POLLS: Final = 2  # in a row, and no more: the promise ends there (G2)
RESTART_AFTER: Final = 6  # steps that a failed task rests: longer than any replica lags


@dataclass(slots=True)
class Life:
    """A task as it truly was, step by step."""

    rows: list[tuple[int, Task]]  # from which step on
    can_restart: bool

    @property
    def last(self) -> Task:
        return self.rows[-1][1]

    @property
    def statuses(self) -> list[str]:
        return [row.status for _, row in self.rows]

    def seen_at(self, step: int, lag: int) -> Task | None:
        # With a lag of three steps a change is hidden for two polls after it was read; a task that also
        # truly goes back gets one poll less, else a stale reading could lend it a confirmation.
        moment = step - min(lag, STALE_POLLS if self.can_restart else STALE_POLLS + 1)
        shown = [row for since, row in self.rows if since <= moment]
        return shown[-1] if shown else None


@dataclass(slots=True)
class Cloud:
    """Serves the life of its tasks, late, torn, doubled, cut short, or not at all."""

    rng: random.Random
    faulty: bool = True
    is_long: bool = False  # so that incremental polls pay
    incremental: int = 0  # polls of that kind so far
    step: int = 0
    lives: dict[str, Life] = field(default_factory=dict)
    served: list[tuple[str, str]] = field(default_factory=list)  # task and status, in the order of serving
    is_on_record: Callable[[str, str], bool] = lambda _job_id, _status: True
    manner: Hashable = None

    def __post_init__(self) -> None:
        for number in range(8):
            self._born(self.rng.choice([PENDING, RUNNING, COMPLETED, FAILED]), number)

    def advance(self) -> None:
        self.step += 1
        if len(self.lives) < 30 and self.rng.random() < 0.35:
            self._born(self.rng.choice([PENDING, PENDING, RUNNING, COMPLETED, FAILED]), len(self.lives))
        for life in self.lives.values():
            self._age(life)

    def fresh_failure(self) -> str:
        self.step += 1
        return self._born(FAILED, len(self.lives)).last.job_id

    async def fetch(self, ask: Ask) -> Listing:
        await asyncio.sleep(self.rng.random() if self.faulty else 0.1)
        if not self.faulty:
            return self._listing(self._rows(lambda: 0), ask)
        match self.rng.random():
            case luck if luck < 0.12:
                raise CloudError(self.rng.choice(list(CloudCause)), "no task list")
            case luck if luck < 0.22:
                rows = self._rows(lambda: 0)
                return self._listing(rows[: self.rng.randrange(len(rows) + 1)], ask, complete=False)
            case luck if luck < 0.42:
                lag = self.rng.randint(1, STALE_POLLS + 1)
                return self._listing(self._rows(lambda: lag), ask)
            case luck if luck < 0.62:
                torn = self._rows(lambda: self.rng.randint(0, STALE_POLLS + 1))
                doubled = self._rows(lambda: self.rng.randint(0, STALE_POLLS + 1))
                rows = torn + self.rng.sample(doubled, self.rng.randrange(len(doubled) + 1))
                self.rng.shuffle(rows)
                return self._listing(rows, ask, complete=self.rng.random() < 0.8)
            case _:
                return self._listing(self._rows(lambda: 0), ask)

    def _rows(self, lag: Callable[[], int]) -> list[Task]:
        rows = (life.seen_at(self.step, lag()) for life in self.lives.values())
        return [row for row in rows if row is not None]

    def _listing(self, rows: Sequence[Task], ask: Ask, *, complete: bool = True) -> Listing:
        if ask.since is not None:
            rows = self._shown_by_an_incremental_poll(rows, ask, ask.since)
        self.served += [(row.job_id, row.status) for row in rows]
        checks = self.is_long and ask.checks and complete
        return a_listing(
            rows,
            ask.known,
            complete=complete,
            cloud_date=self._now(),
            full=ask.since is None,
            missing={task.job_id for task in ask.open_tasks} - {row.job_id for row in rows},
            check=Check.PAYS if checks else None,
            pages=9 if self.is_long and ask.since is None else 1,
        )

    def _shown_by_an_incremental_poll(self, rows: Sequence[Task], ask: Ask, since: Since) -> Sequence[Task]:
        """Return what is new, what runs, and of the open tasks those that one poll in ten does not find."""
        self.incremental += 1
        sought = {task.job_id for task in ask.open_tasks if not self.faulty or self.rng.random() > 0.1}
        return [
            row
            for row in rows
            if row.status == RUNNING
            or row.job_id in sought
            or (row.created_at is not None and since.start <= row.created_at <= since.until)
        ]

    def _now(self) -> datetime:
        return at(self.step)

    def _born(self, status: str, number: int) -> Life:
        job_id = f"job-{number:02}"
        row = a_task(job_id, status, created_at=self._now(), ended_at=self._end_of(status))
        self.lives[job_id] = Life(rows=[(self.step, row)], can_restart=self.rng.random() < 0.4)
        return self.lives[job_id]

    def _age(self, life: Life) -> None:
        since, row = life.rows[-1]
        # A failure that nobody had read before the task began anew, and that a lagging replica shows after
        # that, looks like a second one: no reader of these rows can tell (a limit of G2, and stated).
        can_restart = life.can_restart and self.is_on_record(row.job_id, FAILED)
        status = self._next_status(row.status, self.step - since, can_restart=can_restart)
        if status is not None:
            life.rows.append((self.step, self._as(row, status)))

    def _next_status(self, status: str, age: int, *, can_restart: bool) -> str | None:
        luck = self.rng.random()
        if age == 0:
            return None
        if status == PENDING:
            return RUNNING if luck < 0.4 else None
        if status == RUNNING:
            return self.rng.choice([COMPLETED, FAILED, FAILED, CANCELED]) if luck < 0.15 else None
        restarts = status == FAILED and can_restart and age >= RESTART_AFTER and luck < 0.2
        return RUNNING if restarts else None

    def _as(self, row: Task, status: str) -> Task:
        return a_task(row.job_id, status, created_at=row.created_at, ended_at=self._end_of(status))

    def _end_of(self, status: str) -> datetime | None:
        return self._now() if status in {COMPLETED, FAILED, CANCELED} else None


@dataclass(slots=True)
class Receiver:
    """Takes events, and lies about it in every way a network can."""

    rng: random.Random
    faulty: bool = True
    is_down: bool = False
    taken: list[Message] = field(default_factory=list)

    async def connect(self) -> None:
        """Connect to nothing: it has no host."""

    async def notify(self, message: Message) -> None:
        if not self.faulty:
            self.taken.append(message)
            return
        await asyncio.sleep(self.rng.random() / 2)
        match self.rng.random():
            case luck if self.is_down or luck < 0.08:
                raise no_connection()
            case luck if luck < 0.12:
                raise server_error()
            case luck if luck < 0.14:
                raise throttled(2.0)
            case luck if luck < 0.20:  # the acknowledgement is lost
                self.taken.append(message)
                raise no_connection()
            case luck if luck < 0.25:  # it comes too late
                self.taken.append(message)
                await asyncio.sleep(2 * RULES.timeout)
            case _:
                self.taken.append(message)
                await asyncio.sleep(self.rng.random() / 2)

    async def close(self) -> None:
        return


class Process:
    """One life of the daemon: its memory ends with it, the store does not."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        cloud: Cloud,
        receivers: dict[str, Receiver],
        names: dict[str, str],
        clock: VirtualClock,
        seed: int,
    ) -> None:
        self.session = Session(store)
        self.receivers = receivers
        self.names = names
        self.cloud = cloud
        self._reloads: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._seed = seed
        self.lanes = {receiver: self._lane(receiver) for receiver in receivers}
        self.poller = Poller(
            project=a_project(),
            rules=some_rules(
                active=INTERVAL, idle=INTERVAL, full_poll=FULL_POLL, baseline=BaselinePolicy.QUIET
            ),
            source=cloud,
            ledger=self.session,
            routes=everything_to(*names.values()),
            clock=clock,
            told=self._wake,
        )
        self._running = Lanes()
        for lane in self.lanes.values():
            self._running.begin(lane)

    def _lane(self, receiver: str) -> Lane:
        return Lane(
            receiver=self.names[receiver],
            notifier=self.receivers[receiver],
            outbox=self.session,
            rules=RULES,
            clock=self._clock,
            rng=random.Random(self._seed),
            log=quiet_log(),
        )

    def reload_in(self, seconds: float, renamed: dict[str, str]) -> None:
        """Reload in the midst of whatever then goes on: the project's rules change, and these receivers' names."""
        reload = asyncio.create_task(self._reload(seconds, renamed))
        self._reloads.add(reload)
        reload.add_done_callback(self._reloads.discard)

    async def _reload(self, seconds: float, renamed: dict[str, str]) -> None:
        await asyncio.sleep(seconds)
        before = dict(self.names)
        self.names |= renamed
        interval = INTERVAL + len(self.names[RECEIVERS[0]])  # other rules each time
        self.poller.adopt(
            project=a_project(),
            rules=some_rules(
                active=interval, idle=interval, full_poll=FULL_POLL, baseline=BaselinePolicy.QUIET
            ),
            source=self.cloud,
            routes=everything_to(*self.names.values()),
        )
        leaving = {name: self._running.retire(self.lanes[name]) for name in renamed}
        while True:
            with suppress(StoreFailedError):
                await self.session.hand_over({before[name]: new for name, new in renamed.items()})
                break
            await asyncio.sleep(1)
        for name, lane in self.lanes.items():
            if name in renamed:
                self.lanes[name] = self._lane(name)
                self._running.begin(self.lanes[name], after=leaving[name])
            else:
                lane.adopt(notifier=self.receivers[name], rules=RULES)

    async def poll_and_wait(self) -> None:
        """Poll once and live on until the next poll is due, or until death."""
        died = asyncio.create_task(self.session.died.wait())
        turn = asyncio.create_task(self._turn())
        await asyncio.wait([died, turn], return_when=asyncio.FIRST_COMPLETED)
        if turn.done():
            turn.result()
        died.cancel()

    async def crash(self) -> None:
        """Forget everything, at once: whoever still runs gets no further."""
        self.session.kill()
        mine = asyncio.all_tasks() - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    async def _turn(self) -> None:
        with suppress(CloudError, StoreFailedError, StaleStateError):
            await self.poller.poll()
        await asyncio.sleep(INTERVAL)

    def _wake(self, _: Sequence[Event]) -> None:
        for lane in self.lanes.values():
            lane.wake()


@dataclass(slots=True)
class World:
    """Everything of one seed."""

    seed: int
    rng: random.Random
    store: MemoryStore
    cloud: Cloud
    receivers: dict[str, Receiver]
    names: dict[str, str] = field(
        default_factory=lambda: {name: name for name in RECEIVERS}
    )  # as configured now
    crashes: int = 0
    reloads: int = 0
    baseline_at: datetime | None = None  # by the cloud's clock, of which that of the host knows nothing

    async def live(self) -> None:
        clock = virtual_clock()
        process = self._process(clock)
        for number in range(POLLS):
            self.cloud.advance()
            self._trouble(process, clock, number)
            await process.poll_and_wait()
            if self.baseline_at is None and 1 in self.store.projects and self.store.projects[1].baseline_at:
                self.baseline_at = at(self.cloud.step)
            if process.session.died.is_set():
                self.crashes += 1
                await process.crash()
                process = self._process(clock)
        await process.crash()
        await self._heal(self._process(clock))

    async def _heal(self, process: Process) -> None:
        self.cloud.faulty = False
        for call in Call:
            self.store.heal(call)
        for receiver in self.receivers.values():
            receiver.faulty = receiver.is_down = False
        # A step backwards takes three readings; what had ended before is shown by whole lists only.
        for _ in range(4 + (int(FULL_POLL / INTERVAL) if self.cloud.is_long else 0) * 3):
            await process.poll_and_wait()
        await asyncio.sleep(60)
        job_id = self.cloud.fresh_failure()
        with suppress(CloudError):
            await process.poller.poll()
        await asyncio.sleep(10)
        for name, receiver in self.receivers.items():
            arrived = {subject_of(message) for message in receiver.taken}
            assert job_id in arrived, f"seed {self.seed}: a fresh change did not reach {name}"
        await process.crash()

    def _process(self, clock: VirtualClock) -> Process:
        # What a crash left under a former name: an operator gives the receiver that name, or renames it anew.
        for name in self.receivers:
            former = {
                item.receiver for item in self.store.deliveries.values() if item.receiver.startswith(name)
            }
            self.store.rename(dict.fromkeys(former - {self.names[name]}, self.names[name]))
        return Process(
            store=self.store,
            cloud=self.cloud,
            receivers=self.receivers,
            names=self.names,
            clock=clock,
            seed=self.seed,
        )

    def _trouble(self, process: Process, clock: VirtualClock, number: int) -> None:
        if self.rng.random() < 0.25:
            process.session.die_at(self.rng.choice(list(CrashPoint)), self.rng.randint(1, 3))
        if self.rng.random() < 0.1:
            self.store.fail(self.rng.choice(list(Call)), self.rng.randint(1, 3))
        if self.rng.random() < 0.05:
            clock.jump(self.rng.choice([3600.0, -3600.0, 86_400.0]))
        if self.rng.random() < 0.3:
            self.reloads += 1
            renamed = {name: f"{name}-{self.reloads}" for name in RECEIVERS if self.rng.random() < 0.7}
            process.reload_in(self.rng.choice([0.0, 0.3, 1.0, 7.0]) * self.rng.random(), renamed)
        self.receivers["chat"].is_down = 30 <= number < 45


def a_world(seed: int) -> World:
    rng = random.Random(seed)
    store = MemoryStore()

    def is_on_record(job_id: str, status: str) -> bool:
        known = store.projects[1].tasks.get(job_id) if 1 in store.projects else None
        return known is not None and known.task.status == status

    return World(
        seed=seed,
        rng=rng,
        store=store,
        cloud=Cloud(random.Random(rng.random()), is_long=seed % 2 == 1, is_on_record=is_on_record),
        receivers={name: Receiver(random.Random(rng.random())) for name in RECEIVERS},
    )


def subject_of(message: Message) -> str:
    subject: str = json.loads(message.body)["subject"]
    return subject


def is_subsequence(part: Iterable[str], whole: Iterable[str]) -> bool:
    rest: Iterator[str] = iter(whole)
    return all(item in rest for item in part)


def judge_chains(world: World) -> None:
    for job_id, life in world.cloud.lives.items():
        events = [event for _, event in world.store.events if event.subject == job_id]
        moves = [json.loads(event.body)["data"]["transition"] for event in events]
        held = world.store.projects[1].tasks[job_id]
        story = (
            f"seed {world.seed}, {job_id}: told {[(m['from'], m['to']) for m in moves]}, true {life.statuses}"
        )
        assert held.task.status == life.last.status, story
        assert [event.sequence for event in events] == list(range(1, len(events) + 1)), story
        if not moves:
            continue
        assert moves[-1]["to"] == life.last.status, story
        assert all(before["to"] == after["from"] for before, after in pairwise(moves)), story
        first = 1 if moves[0]["from"] is None else 2  # the baseline's status was revision 1
        assert [move["revision"] for move in moves] == list(range(first, first + len(moves))), story
        chain = [moves[0]["from"], *(move["to"] for move in moves)]
        known = [status for status in chain if status is not None]
        assert is_subsequence(known, life.statuses), f"told what never was: {story}"
        served = [status for served_id, status in world.cloud.served if served_id == job_id]
        assert is_subsequence(known, served), f"told what was not served: {story}"


def judge_silence(world: World) -> None:
    """Only what had begun before the baseline may have no beginning among the events."""
    line = world.baseline_at
    assert line is not None
    begun = {event.subject for _, event in world.store.events if event.attributes.get("from") == ""}
    for job_id, life in world.cloud.lives.items():
        created_at = life.last.created_at
        assert created_at is not None
        assert job_id in begun or created_at <= line, f"seed {world.seed}: {job_id} began and nobody was told"


def judge_deliveries(world: World) -> None:
    recorded = {event.id: event for _, event in world.store.events}
    for name, receiver in world.receivers.items():
        where = f"seed {world.seed}, {name}"
        mine = [item for item in world.store.deliveries.values() if item.receiver.startswith(name)]
        assert {item.state for item in mine} == {DeliveryState.DELIVERED}, where
        firsts = list(dict.fromkeys(message.event_id for message in receiver.taken))
        assert set(firsts) == set(recorded), f"{where}: lost or invented"
        copies = {(message.event_id, message.body) for message in receiver.taken}
        assert len(copies) == len(firsts), f"{where}: other bytes under the same id"
        last: dict[str, int] = {}
        for event_id in firsts:
            event = recorded[event_id]
            assert event.sequence > last.get(event.subject, 0), f"{where}: {event.subject} out of order"
            last[event.subject] = event.sequence


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_change_is_lost_and_none_is_invented(seed: int) -> None:
    world = a_world(seed)
    run_virtual(world.live())
    judge_chains(world)
    judge_silence(world)
    judge_deliveries(world)


def test_the_faults_do_happen() -> None:
    """The simulation is worth its name: crashes, duplicates, steps backwards and stale readings occur."""
    world = a_world(1)
    run_virtual(world.live())
    backwards = [event for _, event in world.store.events if event.attributes.get("from") == FAILED]
    assert world.crashes > 5
    assert world.reloads > 10
    assert world.cloud.incremental > 10
    assert backwards
    assert sum(len(receiver.taken) for receiver in world.receivers.values()) > len(world.store.deliveries)


def test_a_seed_tells_the_same_story_again() -> None:
    stories = []
    for _ in range(2):
        world = a_world(7)
        run_virtual(world.live())
        stories.append(
            (world.store.events, [receiver.taken for receiver in world.receivers.values()], world.crashes)
        )
    assert stories[0] == stories[1]
