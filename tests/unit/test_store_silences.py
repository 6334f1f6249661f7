"""The statements of silences, and of what is held back: over SQLite in memory, and by the desk."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from taskwatch.core.matchers import parse_matcher
from taskwatch.core.quiet import Silence
from taskwatch.core.route import Hop
from taskwatch.engine.operate import resolve
from taskwatch.engine.ports import OutageRecord, Routed, Subject
from taskwatch.model.delivery import Delivered, DeliveryId
from taskwatch.model.event import EventId, EventType, Severity
from taskwatch.model.outage import Kind, Outage, Place
from taskwatch.model.project import Project
from taskwatch.model.task import FAILED
from taskwatch.store import alerts, silences
from taskwatch.store.desk import Desk
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import T0, a_known, a_task, at
from tests.fakes.inline_writer import Disk, Life, open_inline
from tests.fakes.records import PROD, StillClock, a_record, an_event

ME = "ada (uid 1000) on here"
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def store(disk: Disk, clock: StillClock) -> SqliteStore:
    return open_inline(disk, Life(), clock=clock)


def add(disk: Disk, *matchers: str, begins: float = 0, ends: float = 60, comment: str | None = None) -> int:
    return silences.add(
        disk.connection, matchers or ("project=prod",), by=ME, begins_at=at(begins), ends_at=at(ends), comment=comment
    )  # fmt: skip


def a_hop(receiver: str, held_by: str | None = "silence 1") -> Hop:
    return Hop(receiver=receiver, path="route.routes[0]", group=f"group of {receiver}", held_by=held_by)


async def fails(store: SqliteStore, job_id: str, *hops: Hop) -> None:
    state = await store.enrol(PROD, "prod")
    event = an_event(f"tw_{job_id}", subject=job_id, type_=EventType.TASK_FAILED)
    routed = Routed(event=event, job_id=job_id, hops=hops)
    await store.commit(a_record(state, tasks=[a_known(a_task(job_id, FAILED))], events=[routed]))


async def resolved(store: SqliteStore, job_id: str) -> None:
    project = Project(identity=PROD, name="prod", labels={})
    await resolve(store, project, [job_id], by=ME, comment=None, at=T0)


async def held(store: SqliteStore) -> list[tuple[int, str]]:
    return [(one.delivery, one.by) for one in await store.held(after=DeliveryId(0), limit=100)]


def deliveries(disk: Disk) -> list[tuple[object, ...]]:
    return disk.rows(
        "SELECT d.id, e.subject, d.receiver, d.state, d.why FROM deliveries d JOIN events e ON e.seq = d.event "
        "ORDER BY d.id"
    )


async def pending(store: SqliteStore, receiver: str) -> list[str]:
    return [one.event_id for one in await store.pending(receiver, after=DeliveryId(0), limit=100)]


class TestSilences:
    async def test_one_is_kept_as_it_was_said(self, disk: Disk, store: SqliteStore) -> None:
        matchers = ('project = "prod"', 'task =~ "Backup.*\\"x"')
        number = add(disk, *matchers, comment="maintenance")
        assert await store.silences() == [
            Silence(
                id=number,
                matchers=tuple(map(parse_matcher, matchers)),
                begins_at=T0,
                ends_at=at(60),
                by=ME,
                comment="maintenance",
            )
        ]

    async def test_they_are_had_until_they_end(
        self, disk: Disk, store: SqliteStore, clock: StillClock
    ) -> None:
        add(disk, ends=60)
        clock.moment = at(60) - TICK
        assert len(await store.silences()) == 1
        clock.moment = at(60)
        assert await store.silences() == []

    def test_those_that_end_after_an_instant_are_had_in_the_order_of_their_numbers(self, disk: Disk) -> None:
        numbers = [add(disk, ends=ends) for ends in (30, 10, 20)]
        assert [one.id for one in silences.since(disk.connection, at(10))] == [numbers[0], numbers[2]]

    def test_a_number_is_not_used_twice(self, disk: Disk) -> None:
        first = add(disk)
        disk.connection.execute("DELETE FROM silences")
        assert add(disk) > first

    async def test_one_of_a_newer_taskwatch_that_cannot_be_read_hides_no_other(
        self, disk: Disk, store: SqliteStore
    ) -> None:
        add(disk, 'colour = "red"')
        number = add(disk)
        assert [one.id for one in await store.silences()] == [number]


class TestExpire:
    def test_it_ends_those_that_have_not_ended_and_says_which(self, disk: Disk) -> None:
        ended, lasting, other = add(disk, ends=5), add(disk), add(disk)
        assert silences.expire(disk.connection, [ended, lasting, 99], at=at(10)) == [lasting]
        assert [one.id for one in silences.since(disk.connection, at(10))] == [other]
        assert [one.ends_at for one in silences.since(disk.connection, at(9))] == [at(10), at(60)]

    def test_one_is_ended_once(self, disk: Disk) -> None:
        number = add(disk)
        assert silences.expire(disk.connection, [number, number], at=at(10)) == [number]
        assert silences.expire(disk.connection, [number], at=at(11)) == []

    def test_one_is_never_in_force_again_however_the_clock_was_set(self, disk: Disk) -> None:
        number = add(disk, begins=30)
        assert silences.expire(disk.connection, [number], at=T0) == [number]
        (silence,) = silences.since(disk.connection, T0)
        assert not silence.is_in_force(at(30))
        assert silence.ends_at == silence.begins_at, "no list shows one that ends before it begins"


class TestHeld:
    async def test_what_is_held_is_had_in_the_order_of_recording_and_no_lane_loads_it(
        self, store: SqliteStore
    ) -> None:
        await fails(store, "job-1", a_hop("hook"), a_hop("mail", held_by=None))
        await fails(store, "job-2", a_hop("hook", held_by="mute weekend"))
        found = await store.held(after=DeliveryId(0), limit=100)
        assert [(one.delivery, one.by, json.loads(one.body)["id"]) for one in found] == [
            (1, "silence 1", "tw_job-1"),
            (3, "mute weekend", "tw_job-2"),
        ]
        assert await pending(store, "hook") == []
        assert await pending(store, "mail") == ["tw_job-1"]

    async def test_it_is_had_in_batches(self, store: SqliteStore) -> None:
        for number in range(3):
            await fails(store, f"job-{number}", a_hop("hook"))
        first = await store.held(after=DeliveryId(0), limit=2)
        assert [one.delivery for one in first] == [1, 2]
        assert [one.delivery for one in await store.held(after=DeliveryId(2), limit=2)] == [3]

    def test_it_is_found_by_its_index(self, disk: Disk) -> None:
        plan = disk.rows("EXPLAIN QUERY PLAN " + silences._HELD, 0, 500)
        assert any("deliveries_held" in str(row[-1]) for row in plan), plan

    async def test_however_old_it_is_it_is_not_forgotten(self, store: SqliteStore) -> None:
        await fails(store, "job-1", a_hop("hook"))
        pruned = await store.prune(T0 + timedelta(days=3650))
        assert (pruned.events, pruned.deliveries) == (0, 0)
        assert len(await held(store)) == 1

    async def test_it_follows_a_receiver_to_its_new_name(self, store: SqliteStore) -> None:
        await fails(store, "job-1", a_hop("hook"))
        await store.hand_over({"hook": "pipeline"})
        assert await store.settle_held({DeliveryId(1): None}) == 1
        assert await pending(store, "pipeline") == ["tw_job-1"]


class TestSettle:
    async def test_what_needs_attention_is_queued_at_the_end_by_the_same_route_in_the_same_group(
        self, disk: Disk, store: SqliteStore
    ) -> None:
        await fails(store, "job-1", a_hop("hook"))
        await fails(store, "job-2", a_hop("hook", held_by=None))
        columns = "SELECT event, receiver, path, group_key, held_by FROM deliveries WHERE event = 1"
        before = disk.rows(columns)
        assert await store.settle_held({DeliveryId(1): None}) == 1
        assert await pending(store, "hook") == ["tw_job-2", "tw_job-1"]
        assert disk.rows(columns) == before
        assert await held(store) == []

    async def test_what_another_holds_on_is_held_by_that_one(self, store: SqliteStore) -> None:
        await fails(store, "job-1", a_hop("hook"))
        assert await store.settle_held({DeliveryId(1): "mute weekend"}) == 0
        assert await held(store) == [(1, "mute weekend")]

    async def test_what_opened_no_alert_is_suppressed(
        self, disk: Disk, store: SqliteStore, clock: StillClock
    ) -> None:
        state = await store.enrol(PROD, "prod")
        started = Routed(event=an_event(), job_id="job-1", hops=(a_hop("hook"),))
        await store.commit(a_record(state, tasks=[a_known()], events=[started]))
        clock.moment = at(7)
        assert await store.settle_held({DeliveryId(1): None}) == 0
        assert deliveries(disk) == [(1, "job-1", "hook", "suppressed", "over")]
        assert disk.rows("SELECT done_at FROM deliveries") == [(int(at(7).timestamp() * 1e6),)]

    async def test_what_ended_between_the_look_and_the_decision_is_not_told(
        self, disk: Disk, store: SqliteStore
    ) -> None:
        await fails(store, "job-1", a_hop("hook"), a_hop("mail"))
        await resolved(store, "job-1")
        assert await store.settle_held({DeliveryId(1): None, DeliveryId(2): None}) == 0
        assert [row[3:] for row in deliveries(disk)] == [("suppressed", "over")] * 2

    async def test_what_is_held_no_more_is_left_as_it_is(self, disk: Disk, store: SqliteStore) -> None:
        state = await store.enrol(PROD, "prod")
        started = Routed(event=an_event(), job_id="job-1", hops=(a_hop("hook"),))
        await store.commit(a_record(state, tasks=[a_known()], events=[started]))
        await fails(store, "job-2", a_hop("hook"))
        disk.connection.execute("UPDATE deliveries SET state = 'dropped', why = 'operator'")
        before = disk.rows("SELECT * FROM deliveries")
        for by in (None, "silence 2"):
            assert await store.settle_held({DeliveryId(1): by, DeliveryId(2): by}) == 0
        assert disk.rows("SELECT * FROM deliveries") == before

    async def test_an_alert_that_is_over_needs_no_attention(self, disk: Disk, store: SqliteStore) -> None:
        await fails(store, "job-1", a_hop("hook"))
        disk.connection.execute("UPDATE alerts SET ended_at = 1, why = 'operator'")
        assert await store.settle_held({DeliveryId(1): None}) == 0
        assert deliveries(disk) == [(1, "job-1", "hook", "suppressed", "over")]

    async def test_nothing_of_it_is_done_where_the_store_fails_in_the_middle(
        self, disk: Disk, store: SqliteStore
    ) -> None:
        await fails(store, "job-1", a_hop("hook"), a_hop("mail"))
        before = deliveries(disk)
        disk.connection.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON main.deliveries WHEN new.receiver = 'mail' "
            "BEGIN SELECT raise(ABORT, 'disk full'); END"
        )
        with pytest.raises(Exception, match="disk full"):
            await store.settle_held({DeliveryId(1): None, DeliveryId(2): None})
        assert deliveries(disk) == before


class TestWhoHearsOfTheEnd:
    async def test_only_those_who_were_told_of_the_beginning(self, disk: Disk, store: SqliteStore) -> None:
        await fails(store, "job-1", a_hop("hook"), a_hop("mail", held_by=None))
        assert alerts.told(disk.connection, [EventId("tw_job-1")]) == {"mail": "group of mail"}
        await resolved(store, "job-1")
        assert [row[2:] for row in deliveries(disk)] == [
            ("hook", "suppressed", "over"),
            ("mail", "pending", None),
            ("mail", "pending", None),
        ]

    async def test_those_who_were_told_at_the_end_of_the_silence_too(self, store: SqliteStore) -> None:
        await fails(store, "job-1", a_hop("hook"))
        await store.settle_held({DeliveryId(1): None})
        (queued,) = await store.pending("hook", after=DeliveryId(0), limit=10)
        await store.record(queued.id, Delivered(), T0)
        await resolved(store, "job-1")
        (end,) = await store.pending("hook", after=DeliveryId(0), limit=10)
        assert end.event_id != queued.event_id

    async def test_what_is_held_stands_nowhere_yet(self, store: SqliteStore) -> None:
        await fails(store, "job-1", a_hop("hook"))
        assert await store.standing("hook") == []
        await store.settle_held({DeliveryId(1): None})
        assert [one.event_id for one in await store.standing("hook")] == ["tw_job-1"]

    async def test_the_word_of_an_outage_that_is_over_is_told_no_more(
        self, disk: Disk, store: SqliteStore
    ) -> None:
        place = Place(Kind.HOST, "gauss.example")
        subject = Subject(place=place, project=None)
        began = an_event("tw_down", subject=place.name, type_=EventType.PROJECT_DEGRADED)
        outage = Outage(
            id=None, place=place, things=frozenset({"x"}), cause="network", severity=Severity.WARNING, since=T0,
            events=(began.id,), told=frozenset({"hook"}),
        )  # fmt: skip
        told = Routed(event=began, job_id=None, hops=(a_hop("hook"),))
        number = await store.record_outage(
            OutageRecord(outage=outage, is_over=False, subject=subject, told=told)
        )
        assert alerts.told(disk.connection, [began.id]) == {}
        (known,) = await store.outages()
        assert known.id == number
        await store.record_outage(OutageRecord(outage=known, is_over=True, subject=subject, told=None))
        assert deliveries(disk) == [(1, place.name, "hook", "suppressed", "over")]


class TestTheDesk:
    @pytest.fixture
    async def path(self, tmp_path: Path, clock: StillClock) -> Path:
        store = open_store(tmp_path / "taskwatch.db", clock=clock)
        await store.close()
        return tmp_path / "taskwatch.db"

    @pytest.fixture
    def desk(self, path: Path) -> Iterator[Desk]:
        with Desk(path, by=ME) as desk:
            yield desk

    def test_a_silence_is_on_record_with_who_set_it_and_what(self, desk: Desk, path: Path) -> None:
        number = desk.silence(["project=prod"], ends_at=at(60), comment="upgrade", at=T0)
        with StoreReader(path) as reader:
            (silence,) = reader.silences(since=T0)
        assert (silence.id, silence.begins_at, silence.ends_at, silence.by) == (number, T0, at(60), ME)
        assert _operations(path) == [
            (
                "silence",
                ME,
                {
                    "silence": number,
                    "matchers": ["project=prod"],
                    "ends_at": "2026-11-23T11:00:00+00:00",
                    "comment": "upgrade",
                },
            )
        ]

    def test_that_it_is_ended_is_on_record_once(self, desk: Desk, path: Path) -> None:
        number = desk.silence(["project=prod"], ends_at=at(60), comment=None, at=T0)
        assert desk.expire([number, 7], at=at(1)) == [number]
        assert desk.expire([number], at=at(2)) == []
        assert _operations(path)[1:] == [("expire", ME, {"silences": [number]})]


def _operations(path: Path) -> list[tuple[str, str, object]]:
    connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    try:
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT action, by, argument FROM operations ORDER BY id"
        ).fetchall()
    finally:
        connection.close()
    return [(action, by, json.loads(argument)) for action, by, argument in rows]
