"""Everything of one seed: a cloud that lives, a daemon that dies, receivers that lie, and a store that survives.

What runs is the daemon's own: pollers, watches, lanes, health and every statement of the store. Time, the cloud,
the network and the moments of death come from the seed.
"""

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final, cast

from taskwatch.config.configuration import Config
from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.since import Since
from taskwatch.engine.lane import Lane, LaneRules
from taskwatch.engine.poller import Poller
from taskwatch.engine.ports import Ask
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError, StoreFailedError
from taskwatch.model.delivery import Message
from taskwatch.model.project import Check, Listing
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING, Task
from taskwatch.runtime.health import Health
from taskwatch.runtime.lanes import Lanes
from taskwatch.store import outbox
from tests.fakes.builders import a_listing, a_project, a_task, at, everything_to, quiet_log, some_rules
from tests.fakes.inline_writer import Death, Disk, Life, open_inline
from tests.fakes.scripted_notifier import no_connection, server_error, throttled
from tests.fakes.virtual_time import VirtualClock, VirtualTimeLoop, virtual_clock

POLLS: Final = 80
INTERVAL: Final = 15.0
FULL_POLL: Final = 120.0
RULES: Final = LaneRules(timeout=2.0, initial=0.5, maximum=8.0, horizon=72 * 3600.0)
RECEIVERS: Final = ("pipeline", "chat")

STALE_POLLS: Final = 2  # in a row, and no more: the promise ends there (G2)
RESTART_AFTER: Final = 6  # steps that a failed task rests: longer than any replica lags
GONE_POLLS: Final = int(600 / INTERVAL)  # what is not on the list for so long may be called gone
# A step backwards takes three readings; what had ended before is shown by whole lists only; what is missing
# takes ten minutes, and an hour where it is much.
HEALED_POLLS: Final = 4 + 3 * int(FULL_POLL / INTERVAL) + GONE_POLLS
SHRUNK_POLLS: Final = HEALED_POLLS + int(3600 / INTERVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Which faults a seed has, and how often."""

    errors: float  # of the polls
    kills: float
    full_disks: float
    jumps: float
    reloads: float
    receivers_fail: bool
    is_refused: bool  # errors may be refused logins
    hides: float  # of the tasks, at each poll
    down: range  # polls in which the cloud answers nothing
    shrunk: range  # and in which it shows two tasks
    chat_down: range


def weather(rng: random.Random) -> Weather:
    """Draw it: no fault is in every seed, so that each is met with and without the others."""
    begin = rng.randrange(10, 40)
    return Weather(
        errors=rng.choice([0.0, 0.12, 0.12]),
        kills=rng.choice([0.0, 0.05, 0.25, 0.25]),
        full_disks=rng.choice([0.0, 0.1]),
        jumps=rng.choice([0.0, 0.05]),
        reloads=rng.choice([0.0, 0.3]),
        receivers_fail=rng.choice([True, True, False]),
        is_refused=rng.choice([True, False]),
        hides=rng.choice([0.0, 0.0, 0.005, 0.02]),
        down=range(begin, begin + rng.choice([0, 0, 10, 40])),
        shrunk=range(begin, begin + rng.choice([0, 0, 0, 30])),
        chat_down=range(5, 5 + rng.choice([0, 15, 70])),
    )


CALM: Final = Weather(
    errors=0.0, kills=0.0, full_disks=0.0, jumps=0.0, reloads=0.0, receivers_fail=False, is_refused=False, hides=0.0,
    down=range(0), shrunk=range(0), chat_down=range(0),
)  # fmt: skip


@dataclass(slots=True)
class Work:
    """A task as it truly was, step by step."""

    rows: list[tuple[int, Task]]  # from which step on
    can_restart: bool
    hidden: list[range] = field(default_factory=list)  # steps in which its record is not there
    deleted_at: int | None = None

    @property
    def last(self) -> Task:
        return self.rows[-1][1]

    @property
    def statuses(self) -> list[str]:
        return [row.status for _, row in self.rows]

    def is_hidden(self, step: int) -> bool:
        is_deleted = self.deleted_at is not None and step >= self.deleted_at
        return is_deleted or any(step in steps for steps in self.hidden)

    def seen_at(self, step: int, lag: int) -> Task | None:
        # With a lag of three steps a change is hidden for two polls after it was read; a task that also
        # truly goes back gets one poll less, else a stale reading could lend it a confirmation.
        moment = step - min(lag, STALE_POLLS if self.can_restart else STALE_POLLS + 1)
        shown = [row for since, row in self.rows if since <= moment]
        return shown[-1] if shown and not self.is_hidden(moment) else None


@dataclass(slots=True)
class Cloud:
    """Serves the life of its tasks, late, torn, doubled, cut short, or not at all."""

    rng: random.Random
    weather: Weather
    faulty: bool = True
    is_long: bool = False  # so that incremental polls pay
    incremental: int = 0  # polls of that kind so far
    step: int = 0
    works: dict[str, Work] = field(default_factory=dict)
    served: list[tuple[str, str]] = field(default_factory=list)  # task and status, in the order of serving
    is_on_record: Callable[[str, str], bool] = lambda _job_id, _status: True
    manner: Hashable = None

    def __post_init__(self) -> None:
        for number in range(8):
            self._born(self.rng.choice([PENDING, RUNNING, COMPLETED, FAILED]), number)

    def advance(self) -> None:
        self.step += 1
        if len(self.works) < 30 and self.rng.random() < 0.35:
            self._born(self.rng.choice([PENDING, PENDING, RUNNING, COMPLETED, FAILED]), len(self.works))
        for work in self.works.values():
            if not work.is_hidden(self.step):
                self._age(work)
                self._hide(work)

    def fresh_failure(self) -> str:
        self.step += 1
        return self._born(FAILED, len(self.works)).last.job_id

    async def fetch(self, ask: Ask) -> Listing:
        await asyncio.sleep(self.rng.random() if self.faulty else 0.1)
        if not self.faulty:
            return self._listing(self._rows(lambda: 0), ask)
        if self.step in self.weather.down:
            raise CloudError(CloudCause.NETWORK, "no route to the cloud")
        luck = self.rng.random()
        if luck < self.weather.errors:
            refused = set() if self.weather.is_refused else {CloudCause.LOGIN}
            raise CloudError(self.rng.choice([*(set_in_order(refused))]), "no task list")
        match self.rng.random():
            case luck if luck < 0.10:
                rows = self._rows(lambda: 0)
                return self._listing(rows[: self.rng.randrange(len(rows) + 1)], ask, complete=False)
            case luck if luck < 0.30:
                lag = self.rng.randint(1, STALE_POLLS + 1)
                return self._listing(self._rows(lambda: lag), ask)
            case luck if luck < 0.50:
                torn = self._rows(lambda: self.rng.randint(0, STALE_POLLS + 1))
                doubled = self._rows(lambda: self.rng.randint(0, STALE_POLLS + 1))
                rows = torn + self.rng.sample(doubled, self.rng.randrange(len(doubled) + 1))
                self.rng.shuffle(rows)
                return self._listing(rows, ask, complete=self.rng.random() < 0.8)
            case _:
                return self._listing(self._rows(lambda: 0), ask)

    def _rows(self, lag: Callable[[], int]) -> list[Task]:
        rows = [work.seen_at(self.step, lag()) for work in self.works.values()]
        if self.faulty and self.step in self.weather.shrunk:
            rows = rows[:2]
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

    def _born(self, status: str, number: int) -> Work:
        job_id = f"job-{number:02}"
        row = a_task(job_id, status, created_at=self._now(), ended_at=self._end_of(status))
        self.works[job_id] = Work(rows=[(self.step, row)], can_restart=self.rng.random() < 0.4)
        return self.works[job_id]

    def _hide(self, work: Work) -> None:
        """Take its record away: for good, or for a while."""
        if self.rng.random() >= self.weather.hides:
            return
        if self.rng.random() < 0.4:
            work.deleted_at = self.step
        else:
            work.hidden.append(range(self.step, self.step + self.rng.choice([2, 20, 60])))

    def _age(self, work: Work) -> None:
        since, row = work.rows[-1]
        # A failure that nobody had read before the task began anew, and that a lagging replica shows after
        # that, looks like a second one: no reader of these rows can tell (a limit of G2, and stated).
        can_restart = work.can_restart and self.is_on_record(row.job_id, FAILED)
        status = self._next_status(row.status, self.step - since, can_restart=can_restart)
        if status is not None:
            work.rows.append((self.step, self._as(row, status)))

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


def set_in_order(refused: Iterable[CloudCause]) -> list[CloudCause]:
    return [cause for cause in CloudCause if cause not in refused]


@dataclass(slots=True)
class Receiver:
    """Takes events, and lies about it in every way a network can."""

    rng: random.Random
    faulty: bool = True
    is_down: bool = False
    attempts: int = 0
    taken: list[Message] = field(default_factory=list)

    async def connect(self) -> None:
        """Connect to nothing: it has no host."""

    async def repeat(self) -> None:
        """Repeat nothing."""

    async def notify(self, message: Message) -> None:
        self.attempts += 1
        if self.is_down:
            raise no_connection()
        if not self.faulty:
            self.taken.append(message)
            return
        await asyncio.sleep(self.rng.random() / 2)
        match self.rng.random():
            case luck if luck < 0.08:
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

    def __init__(self, world: "World", clock: VirtualClock) -> None:
        self.life = Life()
        self.is_cancelled = False
        self._world = world
        self.store = open_inline(world.disk, self.life, clock=clock)
        self._reloads: set[asyncio.Task[None]] = set()
        self._clock = clock
        self.lanes = {receiver: self._lane(receiver) for receiver in RECEIVERS}
        self.watch = Watch(
            poller=Poller(
                project=a_project(),
                rules=_rules(INTERVAL),
                source=world.cloud,
                ledger=self.store,
                routing=everything_to(*world.names.values()),
                clock=clock,
                told=lambda _: self._wake(),
            ),
            credential="c",
            clock=clock,
            log=quiet_log(),
        )
        self._health = Health(
            store=self.store,
            clock=clock,
            log=quiet_log(),
            watches=lambda: [self.watch],
            lanes=self.lanes.values,
            config=self._config,
            told=self._wake,
        )
        self._running = Lanes()
        for lane in self.lanes.values():
            self._running.begin(lane)

    def _config(self) -> Config:
        names = self._world.names.values()
        receivers = [SimpleNamespace(name=name, type="webhook") for name in names]
        return cast("Config", SimpleNamespace(receivers=receivers, routing=everything_to(*names)))

    def _lane(self, receiver: str) -> Lane:
        return Lane(
            receiver=self._world.names[receiver],
            notifier=self._world.receivers[receiver],
            outbox=self.store,
            rules=RULES,
            clock=self._clock,
            rng=random.Random(self._world.seed),
            log=quiet_log(),
        )

    def reload_in(self, seconds: float, renamed: dict[str, str]) -> None:
        """Reload in the midst of whatever then goes on: the project's rules change, and these receivers' names."""
        reload = asyncio.create_task(self._reload(seconds, renamed))
        self._reloads.add(reload)
        reload.add_done_callback(self._reloads.discard)

    async def _reload(self, seconds: float, renamed: dict[str, str]) -> None:
        await asyncio.sleep(seconds)
        names = self._world.names
        before = dict(names)
        names |= renamed
        self.watch.poller.adopt(
            project=a_project(),
            rules=_rules(INTERVAL + len(names[RECEIVERS[0]])),  # other rules each time
            source=self._world.cloud,
            routing=everything_to(*names.values()),
        )
        leaving = {name: self._running.retire(self.lanes[name]) for name in renamed}
        while True:
            with suppress(StoreFailedError):
                await self.store.hand_over({before[name]: new for name, new in renamed.items()})
                break
            await asyncio.sleep(1)
        for name, lane in self.lanes.items():
            if name in renamed:
                self.lanes[name] = self._lane(name)
                self._running.begin(self.lanes[name], after=leaving[name])
            else:
                lane.adopt(notifier=self._world.receivers[name], rules=RULES)
        self._health.forget()

    async def lives_until_the_next_poll(self) -> None:
        """Poll once and live on until the next poll is due, or until death."""
        died = asyncio.create_task(self.life.died.wait())
        turn = asyncio.create_task(self._turn())
        await asyncio.wait([died, turn], return_when=asyncio.FIRST_COMPLETED)
        if turn.done() and not turn.cancelled():
            turn.result()
        self.is_cancelled = turn.cancelled()
        died.cancel()

    def cancel(self) -> None:
        """Cancel all that runs, wherever it stands. What records what has happened is nobody's to cancel."""
        for task in asyncio.all_tasks() - {self._world.main}:
            if not task.get_name().startswith("record"):
                task.cancel()

    async def ends(self) -> None:
        """Wait until all that was cancelled has ended."""
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    async def dies(self) -> None:
        """Forget everything, at once: whoever still runs gets no further."""
        self.life.kill()
        mine = asyncio.all_tasks() - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    async def _turn(self) -> None:
        await self.watch.poll()
        for _ in range(int(INTERVAL / 5)):
            await self._health.look()
            await asyncio.sleep(5)

    def _wake(self) -> None:
        self._world.note_losses()
        for lane in self.lanes.values():
            lane.wake()


def _rules(interval: float) -> Any:
    return some_rules(active=interval, idle=interval, full_poll=FULL_POLL, baseline=BaselinePolicy.QUIET)


@dataclass(slots=True)
class World:
    """Everything of one seed."""

    seed: int
    rng: random.Random
    weather: Weather
    disk: Disk
    cloud: Cloud
    receivers: dict[str, Receiver]
    polls: int = POLLS
    names: dict[str, str] = field(
        default_factory=lambda: {name: name for name in RECEIVERS}
    )  # as configured now
    deaths: int = 0
    cancellations: int = 0
    first_death: Death | None = None  # of the first process, besides those that the weather brings
    # Before all was healed:
    calls: int = 0  # of the store
    writes: int = 0  # of the last process
    turns: int = 0  # of the loop
    heals: int = 0  # polls without faults at the end; 0: as many as the worst fault needs
    main: asyncio.Task[Any] | None = None  # that of the world itself
    _alive: Process = field(init=False)
    reloads: int = 0
    baseline_at: datetime | None = None  # by the cloud's clock, of which that of the host knows nothing
    lost_at: dict[str, int] = field(
        default_factory=dict
    )  # event id of a loss → the step in which it was recorded
    fresh: str = ""  # the task that fails when all faults have ended

    async def live(self) -> None:
        clock = virtual_clock()
        self.main = asyncio.current_task()
        process = self._process(clock)
        if self.first_death is not None:
            process.life.dies_at(self.first_death)
        for number in range(self.polls):
            self.cloud.advance()
            self._trouble(process, clock, number)
            await process.lives_until_the_next_poll()
            if self.baseline_at is None and self.disk.rows(
                "SELECT 1 FROM projects WHERE baseline_at NOT NULL"
            ):
                self.baseline_at = at(self.cloud.step)
            if process.life.died.is_set():
                self.deaths += 1
                await process.dies()
                process = self._process(clock)
            elif process.is_cancelled:
                self.cancellations += 1
                await process.ends()
                process = self._process(clock)
        self.calls, self.writes = self.disk.calls, process.life.writes
        loop = asyncio.get_running_loop()
        self.turns = loop.turns if isinstance(loop, VirtualTimeLoop) else 0
        await process.dies()
        await self._heal(self._process(clock))

    async def _heal(self, process: Process) -> None:
        self.cloud.faulty = False
        self.cloud.step += 100  # whoever was away for a while is back
        self.disk.heal()
        for receiver in self.receivers.values():
            receiver.faulty = receiver.is_down = False
        if self.baseline_at is None:
            self.baseline_at = at(self.cloud.step)
        for number in range(SHRUNK_POLLS):
            await process.lives_until_the_next_poll()
            if number > (self.heals or HEALED_POLLS) and process.watch.ailment is None:
                break
        await asyncio.sleep(60)
        self.fresh = self.cloud.fresh_failure()
        await process.watch.poll()
        await asyncio.sleep(10)
        await process.dies()

    def note_losses(self) -> None:
        for (id_,) in self.disk.rows(
            "SELECT id FROM events WHERE type LIKE '%.vanished' OR type LIKE '%.left_window'"
        ):
            self.lost_at.setdefault(id_, self.cloud.step)

    def _process(self, clock: VirtualClock) -> Process:
        # What a crash left under a former name: an operator gives the receiver that name, or renames it anew.
        for name, now in self.names.items():
            waiting = self.disk.rows(
                "SELECT receiver FROM deliveries WHERE state = 'pending' UNION SELECT receiver FROM hearers"
            )
            former = {found for (found,) in waiting if found.startswith(name) and found != now}
            outbox.hand_over(self.disk.connection, dict.fromkeys(former, now))
        self._alive = Process(self, clock)
        return self._alive

    def cancel(self) -> None:
        """Cancel all that the process does at this moment."""
        self._alive.cancel()

    def _trouble(self, process: Process, clock: VirtualClock, number: int) -> None:
        rng, weather = self.rng, self.weather
        if rng.random() < weather.kills:
            process.life.dies_at(Death(write=rng.randint(1, 4), is_durable=rng.random() < 0.5))
        if rng.random() < weather.full_disks:
            self.disk.fail(rng.randint(1, 6))
        if rng.random() < weather.jumps:
            clock.jump(rng.choice([3600.0, -3600.0, 86_400.0]))
        if rng.random() < weather.reloads:
            self.reloads += 1
            renamed = {name: f"{name}-{self.reloads}" for name in RECEIVERS if rng.random() < 0.7}
            process.reload_in(rng.choice([0.0, 0.3, 1.0, 7.0]) * rng.random(), renamed)
        self.receivers["chat"].is_down = number in weather.chat_down


def a_world(seed: int, *, sky: Weather | None = None, polls: int = POLLS) -> World:
    rng = random.Random(seed)
    sky = sky or weather(rng)
    disk = Disk()

    def is_on_record(job_id: str, status: str) -> bool:
        return bool(disk.rows("SELECT 1 FROM tasks WHERE job_id = ? AND status = ?", job_id, status))

    return World(
        seed=seed,
        rng=rng,
        weather=sky,
        disk=disk,
        cloud=Cloud(random.Random(rng.random()), sky, is_long=seed % 2 == 1, is_on_record=is_on_record),
        receivers={
            name: Receiver(random.Random(rng.random()), faulty=sky.receivers_fail) for name in RECEIVERS
        },
        polls=polls,
    )


def faultless(seed: int) -> World:
    """Return a world in which nothing goes wrong."""
    world = a_world(seed, sky=CALM)
    world.cloud.faulty = False
    return world
