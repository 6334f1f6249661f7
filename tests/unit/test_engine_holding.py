"""What is held back is told once at the end, or not at all where it is over by then: over a pen in memory, and the store."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskwatch.core.events import task_event
from taskwatch.core.quiet import Mute, Silence
from taskwatch.core.route import Route, Routing
from taskwatch.engine.holding import ANYWAY_SECONDS, BATCH, LOOK_SECONDS, Holding
from taskwatch.engine.operate import resolve
from taskwatch.engine.ports import Held, Routed
from taskwatch.engine.recording import ends_told
from taskwatch.errors import StoreFailedError
from taskwatch.model.alert import Ended, Why
from taskwatch.model.delivery import Delivered, DeliveryId, DeliveryState
from taskwatch.model.event import Transition
from taskwatch.model.task import COMPLETED, FAILED, RUNNING
from taskwatch.store import silences
from taskwatch.store.desk import Desk
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_known, a_project, a_reading, a_task, captured_log, quiet_log
from tests.fakes.inline_writer import Disk, Life, open_inline
from tests.fakes.records import StillClock, a_record
from tests.unit.test_core_quiet import a_mute, a_silence

ME = "ada (uid 1000) on here"
RECEIVERS = ("hook", "mail")
MINUTE = 60.0
HOUR = 3600.0


def a_failure(
    number: int = 1, *, project: str = "prod", name: str = "Restore", job_id: str | None = None
) -> bytes:
    task = a_task(job_id or f"job-{number}", FAILED, name=name)
    move = Transition(task=task, from_status=RUNNING, to_status=FAILED, revision=2)
    event = task_event(
        move, project=a_project(project), sequence=1, reading=a_reading(), failure_severities=()
    )
    return event.body


class Pen:
    """Holds in memory what a test puts there. `settled` is what was decided, call by call."""

    def __init__(self, clock: StillClock) -> None:
        self.clock = clock
        self.hushes: list[Silence] = []
        self.inside: dict[DeliveryId, Held] = {}
        self.settled: list[dict[DeliveryId, str | None]] = []
        self.looks = 0  # at what is held
        self.failing: set[str] = set()
        self.on_held: Callable[[], None] = lambda: None

    def put(self, body: bytes, by: str = "silence 1") -> DeliveryId:
        number = DeliveryId(len(self.inside) + 1)
        self.inside[number] = Held(delivery=number, by=by, body=body)
        return number

    async def silences(self) -> list[Silence]:
        self._try("silences")
        return [silence for silence in self.hushes if silence.ends_at > self.clock.now()]

    async def held(self, *, after: DeliveryId, limit: int) -> list[Held]:
        self._try("held")
        self.looks += after == 0
        found = [held for number, held in sorted(self.inside.items()) if number > after][:limit]
        self.on_held()
        return found

    async def settle_held(self, found: Mapping[DeliveryId, str | None]) -> int:
        self._try("settle")
        self.settled.append(dict(found))
        for number, by in found.items():
            if by is None:
                del self.inside[number]
            else:
                self.inside[number] = replace(self.inside[number], by=by)
        return sum(by is None for by in found.values())

    def _try(self, call: str) -> None:
        if call in self.failing:
            raise StoreFailedError(f"{call}: disk full")


class TestOverAPen:
    @pytest.fixture
    def clock(self) -> StillClock:
        return StillClock()

    @pytest.fixture
    def pen(self, clock: StillClock) -> Pen:
        return Pen(clock)

    @pytest.fixture
    def mutes(self) -> list[Mute]:
        return []

    @pytest.fixture
    def wakes(self) -> list[None]:
        return []

    @pytest.fixture
    def holding(self, pen: Pen, clock: StillClock, mutes: list[Mute], wakes: list[None]) -> Holding:
        return Holding(
            pen=pen, mutes=lambda: mutes, clock=clock, log=quiet_log(), queued=lambda: wakes.append(None)
        )

    async def test_what_nothing_holds_any_more_is_let_go_and_the_lanes_are_woken(
        self, pen: Pen, clock: StillClock, holding: Holding, wakes: list[None]
    ) -> None:
        pen.hushes = [a_silence("project=prod")]
        number = pen.put(a_failure())
        await holding.look()
        assert (pen.settled, wakes) == ([], [])
        clock.seconds += HOUR
        assert await holding.look() == LOOK_SECONDS
        assert (pen.settled, wakes) == ([{number: None}], [None])

    async def test_what_is_held_is_looked_at_when_something_ended_and_each_minute_all_the_same(
        self, pen: Pen, clock: StillClock, holding: Holding
    ) -> None:
        pen.hushes = [a_silence("project=prod", ends=30), a_silence("project=test", number=2)]
        looks = []
        for second in range(45 * 60):
            clock.seconds = float(second)
            before = pen.looks
            await holding.look()
            if pen.looks > before:
                looks.append(second)
        each_minute = range(0, 45 * 60, int(ANYWAY_SECONDS))
        assert looks == list(each_minute), "the end of the silence is one of these"
        pen.hushes[1:] = []
        clock.seconds += 1
        await holding.look()
        assert pen.looks == len(each_minute) + 1

    async def test_what_another_silence_holds_too_stays_held_by_that_one(
        self, pen: Pen, clock: StillClock, holding: Holding, wakes: list[None]
    ) -> None:
        pen.hushes = [a_silence("project=prod", ends=60), a_silence("type=task.failed", number=2, ends=90)]
        number = pen.put(a_failure())
        await holding.look()
        clock.seconds = HOUR
        await holding.look()
        assert (pen.settled, pen.inside[number].by, wakes) == ([{number: "silence 2"}], "silence 2", [])
        clock.seconds = 1.5 * HOUR
        await holding.look()
        assert (pen.settled[1:], wakes) == ([{number: None}], [None])

    async def test_a_window_takes_over_what_a_silence_held(
        self, pen: Pen, clock: StillClock, holding: Holding, mutes: list[Mute]
    ) -> None:
        mutes.append(a_mute("Mon 10:30 - Mon 12:00"))
        pen.hushes = [a_silence("project=prod", ends=60)]
        number = pen.put(a_failure())
        for minute in (0, 30, 59):
            clock.seconds = minute * MINUTE
            await holding.look()
        assert pen.settled == []
        clock.seconds = 60 * MINUTE
        await holding.look()
        clock.seconds = 120 * MINUTE
        await holding.look()
        assert pen.settled == [{number: "mute weekend"}, {number: None}]

    async def test_a_window_that_a_reload_takes_away_holds_nothing_any_more(
        self, pen: Pen, clock: StillClock, holding: Holding, mutes: list[Mute]
    ) -> None:
        mutes.append(a_mute("Mon 10:00 - Mon 12:00"))
        number = pen.put(a_failure(), by="mute weekend")
        await holding.look()
        mutes.clear()
        clock.seconds += 1
        await holding.look()
        assert pen.settled == [{number: None}]

    async def test_only_what_is_not_covered_is_let_go(
        self, pen: Pen, clock: StillClock, holding: Holding
    ) -> None:
        pen.hushes = [a_silence("project=prod", ends=10), a_silence("task=Backup", number=2)]
        let_go = pen.put(a_failure(1))
        kept = pen.put(a_failure(2, name="Backup"), by="silence 2")
        clock.seconds = 10 * MINUTE
        await holding.look()
        assert (pen.settled, list(pen.inside)) == ([{let_go: None}], [kept])

    @pytest.mark.parametrize("before", [0, BATCH])
    async def test_a_silence_that_is_added_while_it_looks_holds_what_was_recorded_under_it(
        self, pen: Pen, holding: Holding, before: int
    ) -> None:
        """The first look of a run; meanwhile a command adds a silence, and a poll records a failure under it."""

        def meanwhile() -> None:
            if len(pen.settled) == before // BATCH and not pen.hushes:
                pen.hushes.append(a_silence("job_id=job-last"))

        for number in range(before):
            pen.put(a_failure(number))
        last = pen.put(a_failure(job_id="job-last"))
        pen.on_held = meanwhile
        await holding.look()
        assert list(pen.inside) == [last]

    async def test_more_than_a_batch_is_let_go_each_once(
        self, pen: Pen, holding: Holding, wakes: list[None]
    ) -> None:
        numbers = {pen.put(a_failure(number)) for number in range(2 * BATCH + 5)}
        await holding.look()
        assert [len(settled) for settled in pen.settled] == [BATCH, BATCH, 5]
        assert set().union(*pen.settled) == numbers
        assert pen.inside == {}

    async def test_when_nothing_is_held_nothing_is_written(self, pen: Pen, holding: Holding) -> None:
        await holding.look()
        assert (pen.looks, pen.settled) == (1, [])

    @pytest.mark.parametrize("call", ["silences", "held", "settle"])
    async def test_a_store_that_fails_is_asked_again_at_the_next_look(
        self, pen: Pen, clock: StillClock, mutes: list[Mute], call: str
    ) -> None:
        log, lines = captured_log()
        holding = Holding(pen=pen, mutes=lambda: mutes, clock=clock, log=log, queued=lambda: None)
        pen.hushes = [a_silence("project=prod", ends=1)]
        number = pen.put(a_failure())
        await holding.look()
        clock.seconds = MINUTE
        pen.failing = {call}
        for _ in range(3):
            assert await holding.look() == LOOK_SECONDS
            clock.seconds += 1
        assert pen.inside.keys() == {number}
        pen.failing = set()
        await holding.look()
        assert pen.settled == [{number: None}]
        assert [line["log_level"] for line in lines] == ["warning", "debug", "debug"]
        assert {line["event"] for line in lines} == {"held_not_looked_at"}

    async def test_after_a_failure_in_the_middle_the_rest_is_let_go_and_nothing_twice(
        self, pen: Pen, holding: Holding
    ) -> None:
        numbers = {pen.put(a_failure(number)) for number in range(BATCH + 5)}

        def second_batch_fails() -> None:
            pen.failing = {"settle"} if pen.settled else set()

        pen.on_held = second_batch_fails
        await holding.look()
        assert len(pen.inside) == 5
        pen.failing, pen.on_held = set(), lambda: None
        await holding.look()
        assert [len(settled) for settled in pen.settled] == [BATCH, 5]
        assert set().union(*pen.settled) == numbers

    @pytest.mark.parametrize("jump", [-HOUR, HOUR])
    async def test_however_the_wall_clock_is_set_what_is_held_is_let_go_once(
        self, pen: Pen, clock: StillClock, holding: Holding, jump: float
    ) -> None:
        """Set back it is as if the silence had not begun, set forward as if it were over."""
        pen.hushes = [a_silence("project=prod", ends=50)]
        number = pen.put(a_failure())
        await holding.look()
        clock.moment += timedelta(seconds=jump)
        for _ in range(3):
            clock.seconds += 1
            await holding.look()
        assert pen.settled == [{number: None}]


class Night:
    """A store, and of the daemon what decides there who is told when. What is pending is sent by `told`."""

    def __init__(self, store: SqliteStore, clock: StillClock) -> None:
        self.store = store
        self.clock = clock
        self.mutes: list[Mute] = []
        self.project = a_project()
        self.wakes = 0
        self._told: dict[str, list[str]] = {receiver: [] for receiver in RECEIVERS}
        self.start()

    def start(self) -> None:
        """Let a daemon begin that knows nothing but the store."""
        self.holding = Holding(
            pen=self.store, mutes=lambda: self.mutes, clock=self.clock, log=quiet_log(), queued=self._wake
        )

    async def happens(
        self,
        job_id: str,
        status: str,
        *,
        supersedes: str | None = None,
        silences: Sequence[Silence] | None = None,
    ) -> None:
        """Record that the task went from Running to the status, as a poll does that has read these silences."""
        task = a_task(job_id, status, name="Restore")
        before = RUNNING if status != RUNNING else None
        move = Transition(task=task, from_status=before, to_status=status, revision=2)
        state = await self.store.enrol(self.project.identity, self.project.name)
        event = task_event(
            move, project=self.project, sequence=1, reading=a_reading(self.clock.now()), failure_severities=()
        )
        routing = Routing(root=Route(receivers=RECEIVERS), mutes=tuple(self.mutes))
        known_silences = await self.store.silences() if silences is None else silences
        hops = routing.hops(event, silences=known_silences, at=self.clock.now())
        routed = [Routed(event=event, job_id=job_id, hops=hops)]
        tasks = [a_known(task)]
        if supersedes is not None:
            alerts = [a for a in await self.store.open_alerts(state.key) if a.task.job_id == supersedes]
            ended = [Ended(alert=alert, why=Why.SUPERSEDED, by=job_id) for alert in alerts]
            known = await self.store.known(state.key, [supersedes])
            counted, told = ends_told(ended, known, project=self.project, at=self.clock.now())
            tasks += counted.values()
            routed += [Routed(event=one.event, job_id=one.job_id, hops=(), ends=one.ends) for one in told]
        await self.store.commit(a_record(state, tasks=tasks, events=routed))

    async def resolved(self, job_id: str) -> None:
        await resolve(self.store, self.project, [job_id], by=ME, comment=None, at=self.clock.now())

    async def look(self, *, after: float = 1.0) -> None:
        self.clock.seconds += after
        await self.holding.look()

    async def told(self, receiver: str = "hook") -> list[str]:
        """Send what is pending; return what this receiver was told up to now, as `failed job-1`."""
        for name in RECEIVERS:
            for one in await self.store.pending(name, after=DeliveryId(0), limit=1_000):
                body = json.loads(await self.store.body(one.id) or b"{}")
                self._told[name].append(f"{body['type'].removeprefix('taskwatch.task.')} {body['subject']}")
                await self.store.record(one.id, Delivered(), self.clock.now())
        return self._told[receiver]

    async def held(self) -> list[str]:
        """Return by what each delivery is held back."""
        return [one.by for one in await self.store.held(after=DeliveryId(0), limit=1_000)]

    def _wake(self) -> None:
        self.wakes += 1


class TestOverTheStore:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "taskwatch.db"

    @pytest.fixture
    def clock(self) -> StillClock:
        return StillClock()

    @pytest.fixture
    async def night(self, path: Path, clock: StillClock) -> AsyncIterator[Night]:
        store = open_store(path, clock=clock)
        yield Night(store, clock)
        await store.close()

    @pytest.fixture
    def silence(self, night: Night, path: Path, clock: StillClock) -> Callable[..., int]:
        """Return what adds a silence as the command does, for so many minutes."""

        def add(*matchers: str, minutes: float = 60) -> int:
            ends_at = clock.now() + timedelta(minutes=minutes)
            with Desk(path, by=ME) as desk:
                return desk.silence(matchers, ends_at=ends_at, comment=None, at=clock.now())

        return add

    @pytest.fixture
    def states(self, path: Path) -> Callable[[], dict[str, str]]:
        """Return what says the state of each delivery to the hook, and why."""

        def read() -> dict[str, str]:
            with StoreReader(path) as reader:
                return {
                    f"{row.type.removeprefix('taskwatch.task.')} {row.subject}": f"{row.state} {row.why}"
                    for row in reader.deliveries(receiver="hook")
                }

        return read

    async def test_what_still_needs_attention_at_the_end_is_told_once_to_each(
        self, night: Night, silence: Callable[..., int]
    ) -> None:
        silence("project=prod")
        await night.happens("job-1", FAILED)
        for _ in range(3):
            await night.look()
        assert (await night.told(), await night.held()) == ([], ["silence 1", "silence 1"])
        await night.look(after=HOUR)
        assert night.wakes == 1
        for _ in range(3):
            await night.look(after=2 * ANYWAY_SECONDS)
        assert await night.told("hook") == ["failed job-1"]
        assert await night.told("mail") == ["failed job-1"]
        assert (await night.held(), night.wakes) == ([], 1)

    async def test_what_is_told_in_the_end_stands_at_the_end_of_the_queue(
        self, night: Night, silence: Callable[..., int]
    ) -> None:
        """Lanes load by number, upwards: a lower one than they have loaded would wait for the next start."""
        silence('job_id = "job-1"')
        await night.happens("job-1", FAILED)
        await night.happens("job-2", FAILED)
        loaded = [one.id for one in await night.store.pending("hook", after=DeliveryId(0), limit=10)]
        await night.look(after=HOUR)
        assert len(await night.store.pending("hook", after=loaded[-1], limit=10)) == 1

    async def test_what_needed_no_attention_is_never_told(
        self, night: Night, silence: Callable[..., int], states: Callable[[], dict[str, str]]
    ) -> None:
        silence("project=prod")
        await night.happens("job-1", RUNNING)
        await night.happens("job-2", COMPLETED)
        await night.look(after=HOUR)
        assert (await night.told(), night.wakes) == ([], 0)
        assert states() == {"started job-1": "suppressed over", "completed job-2": "suppressed over"}

    async def test_what_was_resolved_meanwhile_is_never_told_nor_its_end(
        self, night: Night, silence: Callable[..., int], states: Callable[[], dict[str, str]]
    ) -> None:
        silence("project=prod")
        await night.happens("job-1", FAILED)
        await night.look()
        await night.resolved("job-1")
        assert states() == {"failed job-1": "suppressed over"}
        await night.look(after=HOUR)
        assert (await night.told("hook"), await night.told("mail")) == ([], [])

    async def test_the_end_of_what_was_told_before_is_told_during_the_silence(
        self, night: Night, silence: Callable[..., int]
    ) -> None:
        await night.happens("job-1", FAILED)
        assert await night.told() == ["failed job-1"]
        silence("project=prod")
        await night.look()
        assert await night.told() == ["failed job-1"], "it goes on to be open, and is told no second time"
        await night.resolved("job-1")
        assert await night.told() == ["failed job-1", "resolved job-1"]

    async def test_the_end_of_what_was_told_after_the_silence_is_told(
        self, night: Night, silence: Callable[..., int]
    ) -> None:
        silence("project=prod")
        await night.happens("job-1", FAILED)
        await night.look(after=HOUR)
        await night.resolved("job-1")
        assert await night.told() == ["failed job-1", "resolved job-1"]

    async def test_of_a_failure_after_a_failure_only_the_last_is_told(
        self, night: Night, silence: Callable[..., int], states: Callable[[], dict[str, str]]
    ) -> None:
        silence("project=prod")
        await night.happens("job-1", FAILED)
        await night.look()
        await night.happens("job-2", FAILED, supersedes="job-1")
        await night.look(after=HOUR)
        assert await night.told() == ["failed job-2"]
        assert states()["failed job-1"] == "suppressed over"

    async def test_of_two_silences_the_one_that_ends_last_holds_to_its_end(
        self, night: Night, silence: Callable[..., int]
    ) -> None:
        silence("project=prod", minutes=30)
        silence("type=task.failed", minutes=60)
        await night.happens("job-1", FAILED)
        await night.look()
        assert await night.held() == ["silence 1"] * 2
        await night.look(after=30 * MINUTE)
        assert (await night.told(), await night.held()) == ([], ["silence 2"] * 2)
        await night.look(after=30 * MINUTE)
        assert await night.told() == ["failed job-1"]

    async def test_a_window_takes_over_from_a_silence(
        self, night: Night, silence: Callable[..., int]
    ) -> None:
        night.mutes = [a_mute("Mon 10:30 - Mon 12:00")]
        silence("project=prod")
        await night.happens("job-1", FAILED)
        await night.look(after=HOUR)
        assert (await night.told(), await night.held()) == ([], ["mute weekend"] * 2)
        await night.look(after=HOUR)
        assert await night.told() == ["failed job-1"]

    async def test_a_silence_that_ends_while_no_daemon_runs_has_ended_when_one_does(
        self, night: Night, silence: Callable[..., int]
    ) -> None:
        silence("project=prod")
        await night.happens("job-1", FAILED)
        await night.look()
        night.clock.seconds += 5 * HOUR
        night.start()
        await night.look()
        assert await night.told() == ["failed job-1"]

    async def test_one_that_is_expired_ends_at_once(
        self, night: Night, silence: Callable[..., int], path: Path
    ) -> None:
        number = silence("project=prod")
        await night.happens("job-1", FAILED)
        await night.look()
        with Desk(path, by=ME) as desk:
            assert desk.expire([number], at=night.clock.now()) == [number]
        await night.look()
        assert await night.told() == ["failed job-1"]

    async def test_what_a_poll_records_under_a_silence_that_has_just_ended_is_told_in_a_minute(
        self, night: Night, silence: Callable[..., int], path: Path
    ) -> None:
        """The poll has read the silences, then one is expired and the end is seen; then the poll commits."""
        number = silence("project=prod")
        stale = await night.store.silences()
        await night.look()
        with Desk(path, by=ME) as desk:
            desk.expire([number], at=night.clock.now())
        await night.look()
        await night.happens("job-1", FAILED, silences=stale)
        await night.look()
        assert await night.told() == []
        await night.look(after=ANYWAY_SECONDS)
        assert await night.told() == ["failed job-1"]

    @pytest.mark.parametrize("jump", [-HOUR, HOUR])
    @pytest.mark.parametrize("set_when", ["before the failure", "after it"])
    async def test_no_jump_of_the_wall_clock_loses_a_failure_or_tells_it_twice(
        self, night: Night, silence: Callable[..., int], jump: float, set_when: str
    ) -> None:
        silence("project=prod", minutes=90)
        if set_when == "before the failure":
            night.clock.moment += timedelta(seconds=jump)
        await night.happens("job-1", FAILED)
        await night.look()
        if set_when == "after it":
            night.clock.moment += timedelta(seconds=jump)
        await night.look()
        night.clock.moment -= timedelta(seconds=jump)
        for _ in range(4):
            await night.look(after=HOUR)
        assert await night.told("hook") == ["failed job-1"]
        assert await night.told("mail") == ["failed job-1"]

    async def test_what_an_operator_drops_is_not_told_at_the_end(
        self, night: Night, silence: Callable[..., int], path: Path
    ) -> None:
        silence("project=prod")
        await night.happens("job-1", FAILED)
        with Desk(path, by=ME) as desk:
            desk.drop(state=DeliveryState.HELD, receiver="hook", events=[], at=night.clock.now())
        await night.look(after=HOUR)
        assert (await night.told("hook"), await night.told("mail")) == ([], ["failed job-1"])


# Whatever happens in whatever order

_numbers = st.integers(0, 5)
_steps = st.one_of(
    st.tuples(st.just("fails"), _numbers),
    st.tuples(st.just("succeeds"), _numbers),
    st.tuples(st.just("resolved"), _numbers),
    st.tuples(st.just("silenced"), _numbers),
    st.tuples(st.just("expired"), _numbers),
    st.tuples(st.just("minutes pass"), st.sampled_from([1, 10, 40])),
    st.tuples(st.just("clock set"), st.sampled_from([-60, -5, 5, 60])),
    st.tuples(st.just("store fails"), st.integers(1, 3)),
    st.tuples(st.just("restarted"), st.just(0)),
    st.tuples(st.just("sent"), st.just(0)),
)
_MATCHERS = (
    "project=prod",
    "severity=critical",
    "type=task.failed",
    'job_id =~ "job-[02]"',
    "type=task.completed",
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_steps, max_size=25))
def test_in_the_end_each_open_alert_is_told_once_to_each_and_each_end_to_those_who_know_of_it(
    steps: list[tuple[str, int]],
) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int]]) -> None:
    disk, clock = Disk(), StillClock()
    night = Night(open_inline(disk, Life(), clock=clock), clock)
    night.mutes = [a_mute("Mon 11:00 - Mon 11:30", matchers=('job_id = "job-1"',))]
    ended: set[int] = set()
    for step, number in steps:
        await _do(step, number, night, disk, ended)
        await night.look()
        disk.heal()
    silences.expire(disk.connection, range(1, len(steps) + 1), at=clock.now())
    clock.moment += timedelta(days=1)  # whatever was still to come is over
    await night.look(after=2 * ANYWAY_SECONDS)
    heard = {receiver: Counter(await night.told(receiver)) for receiver in RECEIVERS}

    assert await night.held() == []
    project = (await night.store.enrol(night.project.identity, "prod")).key
    open_jobs = {alert.task.job_id for alert in await night.store.open_alerts(project)}
    for told in heard.values():
        assert max(told.values(), default=1) == 1, told
        assert {job for job in open_jobs if told[f"failed {job}"] != 1} == set()
        failed, over = (
            {line.split()[1] for line in told if line.startswith(word)} for word in ("failed", "resolved")
        )
        assert over == failed - open_jobs


async def _do(step: str, number: int, night: Night, disk: Disk, ended: set[int]) -> None:
    now = night.clock.now()
    match step:
        case "fails" | "succeeds" if number not in ended:
            ended.add(number)
            await night.happens(f"job-{number}", FAILED if step == "fails" else COMPLETED)
        case "resolved":
            await night.resolved(f"job-{number}")
        case "silenced":
            silences.add(
                disk.connection, [_MATCHERS[number % len(_MATCHERS)]], by=ME, begins_at=now,
                ends_at=now + timedelta(minutes=20 * number + 1), comment=None,
            )  # fmt: skip
        case "expired":
            silences.expire(disk.connection, [number], at=now)
        case "minutes pass":
            night.clock.seconds += number * MINUTE
        case "clock set":
            night.clock.moment += timedelta(minutes=number)
        case "store fails":
            disk.fail(number)
        case "restarted":
            night.start()
        case "sent":
            await night.told()
        case _:
            pass  # it has ended before
