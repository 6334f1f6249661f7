"""One project's polls, in virtual time: baseline, memory, digests, gaps."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from taskwatch.core.detect import CONFIRMATIONS, BaselinePolicy
from taskwatch.engine.poller import Poller, PollRules
from taskwatch.engine.ports import Ask, PollRecord, StaleStateError
from taskwatch.errors import CloudCause, CloudError, StoreFailedError
from taskwatch.model.event import Event, EventType
from taskwatch.model.project import Listing
from taskwatch.model.task import COMPLETED, FAILED, RUNNING, Task
from tests.fakes.builders import T0, a_project, a_task, at, everything_to, some_rules
from tests.fakes.memory_store import Call, MemoryStore
from tests.fakes.scripted_source import ScriptedSource
from tests.fakes.virtual_time import VirtualClock, in_virtual_time, virtual_clock

NOTHING: Sequence[Task] = ()


class Bench:
    """A store, a cloud and a poller that can be restarted."""

    def __init__(
        self, *answers: Sequence[Task] | CloudError, rules: PollRules | None = None, name: str = "prod"
    ) -> None:
        self.store = MemoryStore()
        self.source = ScriptedSource.of(*answers)
        self.clock: VirtualClock = virtual_clock()
        self.rules = rules or some_rules()
        self.told: list[Event] = []
        self.poller = self.restarted()

    def restarted(self, store: MemoryStore | None = None) -> Poller:
        self.poller = Poller(
            project=a_project(),
            rules=self.rules,
            source=self.source,
            ledger=store or self.store,
            routing=everything_to("hook"),
            clock=self.clock,
            told=self.told.extend,
        )
        return self.poller

    async def polled(self, *rows: Task) -> list[Event]:
        """Let the cloud show these rows, poll once, return what was recorded."""
        self.source.then(rows)
        return list((await self.poller.poll()).events)

    async def watched(self, *rows: Task) -> "Bench":
        """Take the baseline."""
        await self.polled(*rows)
        return self


def types(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]


def transition_of(event: Event) -> dict[str, Any]:
    move: dict[str, Any] = json.loads(event.body)["data"]["transition"]
    return move


class TestTheBaseline:
    @in_virtual_time
    async def test_is_one_summary_and_silence(self) -> None:
        bench = Bench()
        events = await bench.polled(a_task("a"), a_task("b", FAILED))
        assert types(events) == [EventType.PROJECT_BASELINE]
        assert events[0].sequence == 1
        assert set(bench.store.projects[1].tasks) == {"a", "b"}
        assert bench.told == events

    @in_virtual_time
    async def test_of_an_empty_list_is_one_too(self) -> None:
        bench = Bench()
        assert types(await bench.polled()) == [EventType.PROJECT_BASELINE]
        assert types(await bench.polled(a_task())) == [EventType.TASK_STARTED]

    @in_virtual_time
    async def test_is_never_an_incomplete_poll(self) -> None:
        bench = Bench()
        bench.source.complete = False
        assert await bench.polled(a_task("a")) == []
        assert bench.store.projects[1].baseline_at is None
        bench.source.complete = True
        assert types(await bench.polled(a_task("a"), a_task("b"))) == [EventType.PROJECT_BASELINE]
        assert await bench.polled(a_task("a"), a_task("b")) == []

    @in_virtual_time
    async def test_is_never_an_incremental_poll(self) -> None:
        bench = Bench()
        bench.source.full = False
        assert await bench.polled(a_task("a")) == []
        assert bench.store.projects[1].baseline_at is None

    @in_virtual_time
    async def test_is_drawn_by_the_clock_of_the_cloud(self) -> None:
        bench = Bench()
        bench.source.cloud_date = T0 + timedelta(hours=1)
        bench.clock.jump(10 * 365 * 86_400)
        await bench.watched()
        assert bench.store.projects[1].baseline_at == T0 + timedelta(hours=1)
        before = a_task("a", FAILED, created_at=at(0), ended_at=at(59))
        since = a_task("b", FAILED, created_at=at(0), ended_at=at(60))
        events = await bench.polled(before, since)
        assert [event.subject for event in events] == ["b"]

    @in_virtual_time
    async def test_is_never_drawn_ahead_of_this_hosts_clock(self) -> None:
        # A Date that runs ahead would make history of what begins and ends after the baseline, between two polls.
        bench = Bench()
        bench.source.cloud_date = T0 + timedelta(hours=2)
        await bench.watched()
        await asyncio.sleep(600)
        (event,) = await bench.polled(a_task("brief", FAILED, created_at=at(5), ended_at=at(10)))
        assert event.subject == "brief"

    @pytest.mark.parametrize("date", [None, T0 + timedelta(hours=2)])
    @in_virtual_time
    async def test_is_drawn_when_the_list_was_asked_for_and_not_when_it_had_come(
        self, date: datetime | None
    ) -> None:
        bench = Bench()
        bench.source = source = GatedSource(NOTHING)
        source.cloud_date = date
        under_way = asyncio.create_task(bench.restarted().poll())
        await asyncio.sleep(600)
        source.gate.set()
        await under_way
        (event,) = await bench.polled(a_task("brief", FAILED, created_at=at(5), ended_at=at(9)))
        assert event.subject == "brief"

    @in_virtual_time
    async def test_is_drawn_once_whatever_restarts(self) -> None:
        bench = await Bench().watched(a_task())
        drawn = bench.store.projects[1].baseline_at
        bench.source.cloud_date = at(600)
        bench.restarted()
        assert types(await bench.polled(a_task(status=FAILED))) == [EventType.TASK_FAILED]
        assert bench.store.projects[1].baseline_at == drawn

    @in_virtual_time
    async def test_tells_what_its_policy_says_after_the_summary(self) -> None:
        bench = Bench(rules=some_rules(baseline=BaselinePolicy.ALL))
        events = await bench.polled(a_task("a"), a_task("b", COMPLETED))
        assert types(events) == [
            EventType.PROJECT_BASELINE,
            EventType.TASK_STARTED,
            EventType.TASK_COMPLETED,
        ]

    @in_virtual_time
    async def test_that_could_not_be_recorded_is_drawn_by_the_next_poll(self) -> None:
        bench = Bench()
        bench.store.fail(Call.COMMIT, 1)
        with pytest.raises(StoreFailedError):
            await bench.polled(a_task())
        assert types(await bench.polled(a_task())) == [EventType.PROJECT_BASELINE]
        assert len(bench.store.events) == 1


class TestAPoll:
    @in_virtual_time
    async def test_that_reads_nothing_new_writes_nothing(self) -> None:
        bench = await Bench().watched(a_task())
        for _ in range(10):
            assert await bench.polled(a_task()) == []
        assert bench.store.calls[Call.COMMIT] == 1
        assert bench.store.calls[Call.KNOWN] == 0
        assert bench.store.calls[Call.ENROL] == 2  # the second one for the baseline

    @in_virtual_time
    async def test_records_and_queues_each_event(self) -> None:
        bench = await Bench().watched(a_task("a"), a_task("b"))
        events = await bench.polled(a_task("a", FAILED), a_task("b", COMPLETED), a_task("c"))
        assert types(events) == [EventType.TASK_FAILED, EventType.TASK_COMPLETED, EventType.TASK_STARTED]
        queued = [item.event_id for item in bench.store.deliveries.values()]
        assert queued == [event.id for _, event in bench.store.events]
        assert bench.told[1:] == events

    @in_virtual_time
    async def test_that_fails_changes_nothing(self) -> None:
        bench = await Bench().watched(a_task())
        bench.source.then(CloudError(CloudCause.NETWORK, "cannot reach host"))
        with pytest.raises(CloudError):
            await bench.poller.poll()
        assert types(await bench.polled(a_task(status=FAILED))) == [EventType.TASK_FAILED]

    @in_virtual_time
    async def test_that_is_not_complete_counts_for_the_rows_it_read(self) -> None:
        bench = await Bench().watched(a_task("a"), a_task("b"))
        bench.source.complete = False
        assert types(await bench.polled(a_task("a", FAILED))) == [EventType.TASK_FAILED]
        bench.source.complete = True
        assert await bench.polled(a_task("a", FAILED), a_task("b")) == []

    @in_virtual_time
    async def test_whose_commit_failed_is_made_good_by_the_next(self) -> None:
        bench = await Bench().watched(a_task())
        bench.store.fail(Call.COMMIT, 3)
        for _ in range(3):
            with pytest.raises(StoreFailedError):
                await bench.polled(a_task(status=FAILED))
        assert len(bench.told) == 1
        assert types(await bench.polled(a_task(status=FAILED))) == [EventType.TASK_FAILED]
        assert [event.sequence for _, event in bench.store.events] == [1, 1]

    @in_virtual_time
    async def test_without_commits_shows_what_would_be_and_keeps_nothing(self) -> None:
        bench = await Bench().watched(a_task())
        bench.source.then([a_task(status=FAILED)])
        for _ in range(2):
            assert types((await bench.poller.poll(commits=False)).events) == [EventType.TASK_FAILED]
        assert len(bench.store.events) == 1
        assert types((await bench.poller.poll()).events) == [EventType.TASK_FAILED]

    @in_virtual_time
    async def test_leaves_out_the_names_that_are_excluded(self) -> None:
        bench = Bench(rules=some_rules(include=("Create*", "Delete*"), exclude=("*Instance",)))
        await bench.watched()
        rows = [
            a_task("a", name="CreateX"),
            a_task("b", name="CreateInstance"),
            a_task("c", name="Backup"),
        ]
        assert [event.subject for event in await bench.polled(*rows)] == ["a"]
        assert set(bench.store.projects[1].tasks) == {"a"}

    @in_virtual_time
    async def test_after_somebody_else_moved_the_project_on_begins_anew(self) -> None:
        bench = await Bench().watched(a_task())
        ours = bench.poller
        bench.restarted()
        await bench.polled(a_task(status=FAILED))
        bench.source.then([a_task(status=FAILED), a_task("b")])
        with pytest.raises(StaleStateError):
            await ours.poll()
        assert [event.subject for event in (await ours.poll()).events] == ["b"]

    @in_virtual_time
    async def test_knows_whether_a_task_is_running(self) -> None:
        bench = await Bench().watched(a_task("a", COMPLETED))
        seen = [bench.poller.is_active]
        await bench.polled(a_task("a", COMPLETED), a_task("b"))
        seen.append(bench.poller.is_active)
        bench.restarted()
        await bench.polled(a_task("a", COMPLETED), a_task("b"))
        seen.append(bench.poller.is_active)
        await bench.polled(a_task("b", FAILED))
        seen.append(bench.poller.is_active)
        assert seen == [False, True, True, False]


class TestWhatMemoryKnows:
    @in_virtual_time
    async def test_is_told_to_the_client_so_that_equal_rows_are_not_read_again(self) -> None:
        bench = await Bench().watched(a_task())
        await bench.polled(a_task())
        known = bench.source.asked[-1].known
        assert known is not None
        assert known.tasks == 1

    @in_virtual_time
    async def test_is_nothing_after_an_incomplete_poll_that_changed_something(self) -> None:
        bench = await Bench().watched(a_task("a"), a_task("b"))
        bench.source.complete = False
        await bench.polled(a_task("a", FAILED))
        await bench.polled(a_task("a", FAILED))
        assert bench.source.asked[-1].known is None

    @in_virtual_time
    async def test_lets_equal_bytes_confirm_a_step_backwards(self) -> None:
        bench = await Bench().watched(a_task(status=FAILED))
        for _ in range(CONFIRMATIONS - 1):
            assert await bench.polled(a_task(status=RUNNING)) == []
        assert types(await bench.polled(a_task(status=RUNNING))) == [EventType.TASK_CHANGED]

    @in_virtual_time
    async def test_is_kept_in_the_store_while_a_step_backwards_waits(self) -> None:
        bench = await Bench().watched(a_task(status=FAILED))
        for _ in range(CONFIRMATIONS - 1):
            assert await bench.polled(a_task(status=RUNNING)) == []
            bench.restarted()
        assert types(await bench.polled(a_task(status=RUNNING))) == [EventType.TASK_CHANGED]

    @in_virtual_time
    async def test_hides_no_later_change_when_the_answer_to_a_commit_was_lost(self) -> None:
        # The race: the store holds Failed, the poll is cancelled before memory knows, and the digests
        # in memory still say that Running is nothing new.
        class AnswerLost(MemoryStore):
            is_lost = False

            async def commit(self, record: PollRecord) -> None:
                await super().commit(record)
                if self.is_lost:
                    await asyncio.get_running_loop().create_future()

        bench = Bench()
        bench.store = store = AnswerLost()
        bench.restarted()
        await bench.watched(a_task())
        await bench.polled(a_task())
        store.is_lost = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.polled(a_task(status=FAILED)), timeout=20)
        store.is_lost = False
        for _ in range(CONFIRMATIONS + 1):
            bench.source.then([a_task()])
            try:
                await bench.poller.poll()
            except StaleStateError:
                continue
        steps = [event for _, event in store.events[1:] if event.type is not EventType.TASK_RESOLVED]
        chain = [(event.attributes["from"], event.attributes["to"]) for event in steps]
        assert chain == [(RUNNING, FAILED), (FAILED, RUNNING)]


class TestTheGap:
    @in_virtual_time
    async def test_is_measured_from_the_last_complete_reading(self) -> None:
        bench = await Bench().watched(a_task())
        await asyncio.sleep(10)
        await bench.polled(a_task())
        await asyncio.sleep(15)
        (event,) = await bench.polled(a_task(status=FAILED))
        move = transition_of(event)
        assert (move["gap_seconds"], move["late"]) == (15.0, False)
        assert move["previous_observed_at"] == "2026-11-23T10:00:10.000Z"

    @in_virtual_time
    async def test_counts_over_failed_and_incomplete_polls(self) -> None:
        bench = await Bench().watched(a_task())
        await asyncio.sleep(15)
        bench.source.complete = False
        await bench.polled(a_task("b"))
        bench.source.complete = True
        await asyncio.sleep(15)
        (event,) = await bench.polled(a_task(status=FAILED), a_task("b"))
        assert transition_of(event)["gap_seconds"] == 30.0

    @pytest.mark.parametrize("jump", [3600.0, -3600.0, 315_360_000.0])
    def test_knows_no_wall_clock_within_a_run(self, jump: float) -> None:
        async def scenario() -> None:
            bench = await Bench().watched(a_task())
            bench.clock.jump(jump)
            await asyncio.sleep(15)
            (event,) = await bench.polled(a_task(status=FAILED))
            move = transition_of(event)
            assert (move["gap_seconds"], move["late"]) == (15.0, False)

        in_virtual_time(scenario)()

    @in_virtual_time
    async def test_beyond_three_intervals_and_five_minutes_is_late(self) -> None:
        for seconds, late in ((300.0, False), (300.5, True)):
            bench = await Bench().watched(a_task())
            await asyncio.sleep(seconds)
            (event,) = await bench.polled(a_task(status=FAILED))
            assert transition_of(event)["late"] is late

    @in_virtual_time
    async def test_is_not_late_where_the_rate_stretches_the_interval_so_far(self) -> None:
        for stretched, late in ((1.0, True), (20.0, False)):
            bench = await Bench().watched(a_task())
            bench.poller.stretched = stretched
            await asyncio.sleep(800.0)
            (event,) = await bench.polled(a_task(status=FAILED))
            assert transition_of(event)["late"] is late

    @in_virtual_time
    async def test_over_a_restart_is_late_and_measured_by_the_wall_clock(self) -> None:
        bench = await Bench().watched(a_task())
        await asyncio.sleep(60)
        bench.restarted()
        (event,) = await bench.polled(a_task(status=FAILED))
        move = transition_of(event)
        assert (move["gap_seconds"], move["late"]) == (60.0, True)

    @in_virtual_time
    async def test_over_a_restart_with_the_clock_set_back_is_none_the_less_no_less_than_zero(self) -> None:
        bench = await Bench().watched(a_task())
        bench.clock.jump(-7200)
        bench.restarted()
        (event,) = await bench.polled(a_task(status=FAILED))
        assert transition_of(event)["gap_seconds"] == 0.0


@in_virtual_time
async def test_downtime_tells_the_net_change_once() -> None:
    """G8: a task that went through several statuses meanwhile makes one event, a new one its own."""
    bench = await Bench().watched(a_task("a"))
    bench.restarted()
    events = await bench.polled(a_task("a", COMPLETED), a_task("b", FAILED, created_at=at(5), ended_at=at(6)))
    assert [(event.subject, event.attributes["from"], event.attributes["to"]) for event in events] == [
        ("a", RUNNING, COMPLETED),
        ("b", "", FAILED),
    ]
    assert all(transition_of(event)["late"] for event in events)
    assert (
        await bench.polled(a_task("a", COMPLETED), a_task("b", FAILED, created_at=at(5), ended_at=at(6)))
        == []
    )


class TestTheSkew:
    @in_virtual_time
    async def test_is_unknown_until_the_cloud_has_said_the_time(self) -> None:
        bench = Bench()
        assert bench.poller.skew is None
        bench.source.cloud_date = None
        await bench.watched()
        assert bench.poller.skew is None

    @in_virtual_time
    async def test_stays_as_it_is_while_time_passes(self) -> None:
        bench = Bench()
        bench.source.cloud_date = bench.clock.now() - timedelta(seconds=7)
        await bench.watched()
        await asyncio.sleep(86_400)
        assert bench.poller.skew == timedelta(seconds=7)

    @pytest.mark.parametrize("days", [100, -100])
    @in_virtual_time
    async def test_shows_a_leap_of_this_hosts_clock_before_the_next_poll(self, days: int) -> None:
        bench = await Bench().watched()
        bench.clock.jump(days * 86_400)
        assert bench.poller.skew == timedelta(days=days)


class GatedSource(ScriptedSource):
    """Reads, and then waits for a gate before it answers."""

    def __init__(self, rows: Sequence[Task]) -> None:
        super().__init__()
        self.then(rows)
        self.gate = asyncio.Event()

    async def fetch(self, ask: Ask) -> Listing:
        listing = await super().fetch(ask)
        await self.gate.wait()
        return listing


@in_virtual_time
async def test_digests_of_a_poll_under_way_are_not_kept_when_the_rules_change_meanwhile() -> None:
    """They may stand for rows that the old rules left out: equal bytes would hide them for ever."""
    source = GatedSource([a_task("a", RUNNING)])
    source.gate.set()
    poller = Poller(
        project=a_project(),
        rules=some_rules(exclude=("*",)),
        source=source,
        ledger=MemoryStore(),
        routing=everything_to(),
        clock=virtual_clock(),
        told=lambda _: None,
    )
    await poller.poll()
    source.gate.clear()
    under_way = asyncio.create_task(poller.poll())
    await asyncio.sleep(1)
    poller.adopt(project=a_project(), rules=some_rules(), source=source, routing=everything_to())
    source.gate.set()
    await under_way

    (event,) = (await poller.poll()).events
    assert event.subject == "a"


class TestWhatIsMissing:
    """The whole list is looked through row by row as often as a whole poll is due, and more often while it lacks something."""

    async def months(self, bench: Bench, minutes: float, *rows: Task) -> list[Event]:
        """Poll this list for so long; return what was told."""
        bench.source.then(rows)
        told: list[Event] = []
        for _ in range(round(minutes * 4)):
            await asyncio.sleep(15.0)
            told += (await bench.poller.poll()).events
        return told

    @in_virtual_time
    async def test_and_had_not_ended_is_told_once_after_ten_minutes(self) -> None:
        bench = await Bench().watched(a_task("gone"), a_task("stays"))
        assert await self.months(bench, 24, a_task("stays")) == []
        (event,) = await self.months(bench, 3, a_task("stays"))
        assert (event.type, event.subject, event.sequence) == (EventType.TASK_VANISHED, "gone", 1)
        assert await self.months(bench, 600, a_task("stays")) == []
        bench.restarted()
        assert await self.months(bench, 60, a_task("stays")) == []

    @in_virtual_time
    async def test_and_began_before_the_list_reaches_back_has_left_it_by_its_age(self) -> None:
        old = a_task("old", created_at=T0 - timedelta(days=30))
        bench = await Bench().watched(old)
        (event,) = await self.months(bench, 30)
        assert event.type == EventType.TASK_LEFT_WINDOW

    @in_virtual_time
    async def test_and_had_ended_is_remembered_in_silence(self) -> None:
        failed = a_task("ended", FAILED)
        bench = await Bench().watched(failed, a_task("stays"))
        assert await self.months(bench, 30, a_task("stays")) == []
        assert bench.store.projects[1].tasks["ended"].is_gone
        assert await self.months(bench, 30, failed, a_task("stays")) == []
        assert not bench.store.projects[1].tasks["ended"].is_gone

    @in_virtual_time
    async def test_and_comes_back_ended_is_the_next_step_of_its_chain(self) -> None:
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        await self.months(bench, 30, a_task("stays"))
        event, resolved = await bench.polled(a_task("a", FAILED), a_task("stays"))
        move = transition_of(event)
        assert (move["from"], move["to"], move["revision"], event.sequence) == (RUNNING, FAILED, 2, 2)
        assert (resolved.type, resolved.sequence) == (EventType.TASK_RESOLVED, 3)

    @in_virtual_time
    async def test_and_comes_back_and_goes_again_is_told_again_under_another_id(self) -> None:
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        for _ in range(2):
            await self.months(bench, 30, a_task("stays"))
            await self.months(bench, 30, a_task("a"), a_task("stays"))
        lost = [event for event in bench.told if event.type == EventType.TASK_VANISHED]
        assert [event.sequence for event in lost] == [1, 3]  # between them it was told to be back
        assert len({event.id for event in lost}) == 2

    @in_virtual_time
    async def test_now_and_then_is_never_gone(self) -> None:
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        for _ in range(40):
            assert await self.months(bench, 5, a_task("stays")) == []
            assert await self.months(bench, 15, a_task("a"), a_task("stays")) == []

    @in_virtual_time
    async def test_and_was_shown_between_two_censuses_is_not_gone(self) -> None:
        # Found by seed 255 of the spine: a record that was back for a minute began no new count.
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        await self.months(bench, 20, a_task("stays"))
        assert bench.source.asked[-2].known is not None
        await self.months(bench, 0.5, a_task("a"), a_task("stays"))
        assert await self.months(bench, 9, a_task("stays")) == []

    @in_virtual_time
    async def test_and_was_shown_by_a_poll_that_the_store_failed_is_not_gone(self) -> None:
        # Found by seed 10103 of the spine: what the poll had read was forgotten with its failure.
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        await self.months(bench, 20, a_task("stays"))
        bench.source.then((a_task("a"), a_task("stays")))
        bench.store.fail(Call.KNOWN, 1)
        await asyncio.sleep(120.0)
        with pytest.raises(StoreFailedError):
            await bench.poller.poll()
        bench.store.heal(Call.KNOWN)
        assert await self.months(bench, 9, a_task("stays")) == []

    @in_virtual_time
    async def test_is_counted_anew_when_nobody_could_look_for_longer_than_is_late(self) -> None:
        # Found by seed 2255 of the spine: a record was away before the cloud's outage and just after it,
        # and was there meanwhile.
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        await self.months(bench, 20, a_task("stays"))
        bench.source.then(CloudError(CloudCause.NETWORK, "no route"))
        for _ in range(24):
            await asyncio.sleep(15.0)
            with pytest.raises(CloudError):
                await bench.poller.poll()
        assert await self.months(bench, 10, a_task("stays")) == []
        (event,) = await self.months(bench, 3, a_task("stays"))
        assert event.type == EventType.TASK_VANISHED

    @pytest.mark.parametrize("flaw", [{"complete": False}, {"full": False}, {"clean": False}])
    @in_virtual_time
    async def test_from_less_than_whole_and_clean_lists_says_nothing(self, flaw: dict[str, bool]) -> None:
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        for name, value in flaw.items():
            setattr(bench.source, name, value)
        assert await self.months(bench, 120, a_task("stays")) == []

    @in_virtual_time
    async def test_in_great_number_is_not_believed_for_an_hour(self) -> None:
        many = [a_task(f"job-{number:02}") for number in range(40)]
        bench = await Bench().watched(*many)
        bench.source.then(many[:2])
        polls = []
        for _ in range(4 * 90):
            await asyncio.sleep(15.0)
            polls.append(await bench.poller.poll())
        told = [number for number, poll in enumerate(polls) if poll.events]
        (number,) = told
        assert len(polls[number].events) == 38
        shrunk = [count for count, poll in enumerate(polls) if poll.shrinks]
        assert shrunk == list(range(shrunk[0], number))
        assert (number - shrunk[0]) * 15.0 >= 3600

    @in_virtual_time
    async def test_in_great_number_and_comes_back_is_nothing(self) -> None:
        many = [a_task(f"job-{number:02}") for number in range(40)]
        bench = await Bench().watched(*many)
        for _ in range(3):
            assert await self.months(bench, 55) == []
            assert await self.months(bench, 5, *many) == []
        assert not (await bench.poller.poll()).shrinks

    @in_virtual_time
    async def test_is_counted_by_no_wall_clock(self) -> None:
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        for jump in (86_400 * 40, -86_400 * 80, 86_400 * 3_650):
            bench.clock.jump(jump)
            assert await self.months(bench, 3, a_task("stays")) == []

    @in_virtual_time
    async def test_is_told_as_soon_as_the_store_takes_it(self) -> None:
        bench = await Bench().watched(a_task("a"), a_task("stays"))
        await self.months(bench, 24, a_task("stays"))
        bench.store.fail(Call.COMMIT, 3)
        bench.source.then((a_task("stays"),))
        for _ in range(4 * 20):
            await asyncio.sleep(15.0)
            with suppress(StoreFailedError):
                await bench.poller.poll()
        assert types(bench.told[1:]) == [EventType.TASK_VANISHED]
