"""What any store promises to the engine. A further store adds itself to the fixture."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from taskwatch.core.route import Hop
from taskwatch.engine.ports import (
    AlertBook,
    Ledger,
    OutageRecord,
    Outbox,
    ProjectState,
    Routed,
    StaleStateError,
    Subject,
)
from taskwatch.errors import StoreFailedError
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, Queued, Reason, Retry
from taskwatch.model.event import EventId, EventType, Severity
from taskwatch.model.outage import Kind, Outage, Place, thing_of
from taskwatch.model.project import Identity
from taskwatch.model.task import Instance, Task
from taskwatch.store.retention import Pruned
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import T0, a_known, a_task, at
from tests.fakes.records import PROD, StillClock, a_record, an_event, routed

START = DeliveryId(0)


class Store(Ledger, Outbox, AlertBook, Protocol):
    async def keep_freshness(self, observed: Mapping[int, datetime]) -> None: ...
    async def prune(self, before: datetime) -> Pruned: ...
    async def outages(self) -> list[Outage]: ...
    async def sequence(self, subject: Subject) -> int: ...
    async def record_event(self, subject: Subject, told: Routed) -> None: ...
    async def record_outage(self, record: OutageRecord) -> int | None: ...
    async def hand_over(self, renamed: Mapping[str, str]) -> None: ...


Opening = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture(params=["sqlite"])
def opening(request: pytest.FixtureRequest, tmp_path: Path, clock: StillClock) -> Opening:
    """Open the same store again and again."""
    assert request.param == "sqlite"

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        store = open_store(tmp_path / "taskwatch.db", clock=clock)
        try:
            yield store
        finally:
            await store.close()

    return opened


@pytest.fixture
async def store(opening: Opening) -> AsyncIterator[Store]:
    async with opening() as opened:
        yield opened


async def committed(store: Store, state: ProjectState, *events: Routed) -> ProjectState:
    """Record these events; return the state after that."""
    await store.commit(a_record(state, events=events))
    return await store.enrol(PROD, "prod")


async def queue(store: Store, receiver: str = "hook") -> list[Queued]:
    return await store.pending(receiver, after=START, limit=100)


async def one_queued(store: Store) -> Queued:
    await committed(store, await store.enrol(PROD, "prod"), routed(an_event(), "hook"))
    (queued,) = await queue(store)
    return queued


# Projects


async def test_a_new_project_starts_with_nothing(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    assert (state.revision, state.sequence, state.baseline_at, state.observed_at) == (0, 0, None, None)
    assert state.open_tasks == frozenset()


async def test_a_project_is_found_again_under_another_name(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    assert await store.enrol(PROD, "production") == state


@pytest.mark.parametrize(
    "other",
    [
        Identity(service="rds", host=PROD.host, project_id=PROD.project_id),
        Identity(service=PROD.service, host="other.example", project_id=PROD.project_id),
        Identity(service=PROD.service, host=PROD.host, project_id="other"),
    ],
)
async def test_a_project_is_its_service_host_and_id(store: Store, other: Identity) -> None:
    assert (await store.enrol(PROD, "prod")).key != (await store.enrol(other, "prod")).key


async def test_the_state_of_a_project_outlives_the_process(opening: Opening) -> None:
    async with opening() as store:
        state = await store.enrol(PROD, "prod")
        tasks = [a_known(a_task("open")), a_known(a_task("ended", "Failed"))]
        await store.commit(a_record(state, tasks=tasks, sequence=1, observed_at=at(1), baseline_at=T0))
    async with opening() as store:
        state = await store.enrol(PROD, "prod")
    assert (state.revision, state.sequence, state.baseline_at, state.observed_at) == (1, 1, T0, at(1))
    assert state.open_tasks == {"open"}


async def test_a_baseline_is_never_moved(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, baseline_at=T0))
    await store.commit(a_record(state, revision=1, baseline_at=at(5)))
    assert (await store.enrol(PROD, "prod")).baseline_at == T0


async def test_an_incomplete_poll_leaves_the_last_complete_reading(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, observed_at=at(1)))
    await store.commit(a_record(state, revision=1, observed_at=None))
    assert (await store.enrol(PROD, "prod")).observed_at == at(1)


# Tasks


async def test_a_task_is_remembered_to_the_last_field(store: Store) -> None:
    known = a_known(
        Task(
            job_id="job-1",
            name="CreateGaussDBV5Instance",
            status="Failed",
            progress=42,
            fail_reason="no more ECS",
            created_at=datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            ended_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            instance=Instance(id="in-1", name="db", status="creating"),
        ),
        revision=3,
        sequence=4,
        pending_status="Running",
        pending_count=2,
    )
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, tasks=[known]))
    assert await store.known(state.key, ["job-1"]) == {"job-1": known}


async def test_a_task_of_which_little_is_known_stays_so(store: Store) -> None:
    known = a_known(Task(job_id="job-1", name="", status="Odd"))
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, tasks=[known]))
    assert await store.known(state.key, ["job-1"]) == {"job-1": known}


async def test_a_task_of_a_later_record_replaces_the_earlier(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, tasks=[a_known(pending_status="Pending", pending_count=2)]))
    later = a_known(a_task(status="Completed"), revision=2, sequence=2)
    await store.commit(a_record(state, revision=1, tasks=[later]))
    assert await store.known(state.key, ["job-1"]) == {"job-1": later}
    assert (await store.enrol(PROD, "prod")).open_tasks == frozenset()


async def test_a_record_leaves_the_tasks_that_it_does_not_name(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, tasks=[a_known(a_task("a")), a_known(a_task("b"))]))
    await store.commit(a_record(state, revision=1, tasks=[a_known(a_task("a", "Failed"))]))
    known = await store.known(state.key, ["a", "b"])
    assert {job_id: known[job_id].task.status for job_id in known} == {"a": "Failed", "b": "Running"}


async def test_unknown_tasks_are_left_out(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, tasks=[a_known()]))
    assert set(await store.known(state.key, iter(["job-1", "job-2"]))) == {"job-1"}


async def test_the_same_id_in_two_projects_is_two_tasks(store: Store) -> None:
    here = await store.enrol(PROD, "here")
    there = await store.enrol(Identity(service="gaussdb", host="elsewhere", project_id="1"), "there")
    await store.commit(a_record(here, tasks=[a_known()]))
    assert await store.known(there.key, ["job-1"]) == {}


async def test_ten_thousand_tasks_are_found_at_once(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    ids = [f"job-{number}" for number in range(10_000)]
    await store.commit(a_record(state, tasks=[a_known(a_task(job_id)) for job_id in ids]))
    assert len(await store.known(state.key, ids)) == len(ids)


HOSTILE = [
    "'; DROP TABLE tasks; --",
    "a\0b",
    "\0",
    "🦔" * 50,
    "\u202eevil",
    "%s {0} ${x}",
    "x" * 10_000,
    "\ufffd\u2028",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_hostile_text_comes_back_as_it_went_in(store: Store, text: str) -> None:
    known = a_known(
        Task(
            job_id=text,
            name=text,
            status=text,
            fail_reason=text,
            instance=Instance(id=text, name=text, status=text),
        ),
        pending_status=text,
    )
    state = await store.enrol(Identity(service=text, host=text, project_id=text), text)
    event = an_event(text, subject=text, summary=text, body=text.encode())
    hops = (Hop(receiver=text, path=text),)
    await store.commit(a_record(state, tasks=[known], events=[Routed(event=event, job_id=text, hops=hops)]))
    assert await store.known(state.key, [text]) == {text: known}
    (queued,) = await queue(store, text)
    assert queued.event_id == text
    assert await store.body(queued.id) == text.encode()


# Commit


async def test_a_record_built_upon_an_older_state_is_refused_whole(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state))
    with pytest.raises(StaleStateError):
        await store.commit(
            a_record(state, tasks=[a_known()], events=[routed(an_event(), "hook")], sequence=9)
        )
    assert await store.known(state.key, ["job-1"]) == {}
    assert await queue(store) == []
    assert (await store.enrol(PROD, "prod")).sequence == 0


async def test_of_two_records_upon_one_state_exactly_one_is_kept(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    records = [a_record(state, events=[routed(an_event(f"tw_{number}"), "hook")]) for number in range(2)]
    results = await asyncio.gather(*map(store.commit, records), return_exceptions=True)
    assert [type(result) for result in results].count(StaleStateError) == 1
    assert len(await queue(store)) == 1


async def test_a_record_for_an_unknown_project_is_refused(store: Store) -> None:
    state = ProjectState(
        key=99, revision=0, sequence=0, baseline_at=None, observed_at=None, open_tasks=frozenset()
    )
    with pytest.raises(StaleStateError):
        await store.commit(a_record(state, tasks=[a_known()]))


async def test_an_event_that_is_on_record_refuses_the_whole_poll(store: Store) -> None:
    state = await committed(store, await store.enrol(PROD, "prod"), routed(an_event("tw_1"), "hook"))
    record = a_record(
        state, tasks=[a_known()], events=[routed(an_event("tw_2"), "hook"), routed(an_event("tw_1"), "hook")]
    )
    with pytest.raises(StoreFailedError):
        await store.commit(record)
    assert await store.enrol(PROD, "prod") == state
    assert await store.known(state.key, ["job-1"]) == {}
    assert [queued.event_id for queued in await queue(store)] == ["tw_1"]


async def test_an_event_without_receivers_is_recorded(store: Store) -> None:
    state = await committed(store, await store.enrol(PROD, "prod"), routed(an_event("tw_1")))
    with pytest.raises(StoreFailedError):
        await store.commit(a_record(state, events=[routed(an_event("tw_1"))]))


# Outbox


async def test_deliveries_come_in_the_order_of_recording(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    events = [
        routed(an_event(f"tw_{number}", subject=f"job-{number % 3}"), "hook", "mail") for number in range(9)
    ]
    state = await committed(store, state, *events[:5])
    await committed(store, state, *events[5:])
    for receiver in ("hook", "mail"):
        assert [queued.event_id for queued in await queue(store, receiver)] == [f"tw_{n}" for n in range(9)]


async def test_pending_pages_through_the_queue(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    await committed(store, state, *(routed(an_event(f"tw_{number}"), "mail", "hook") for number in range(5)))
    seen: list[str] = []
    after = START
    while page := await store.pending("hook", after=after, limit=2):
        assert len(page) <= 2
        seen += [queued.event_id for queued in page]
        after = page[-1].id
    assert seen == [f"tw_{number}" for number in range(5)]


async def test_order_is_kept_per_project_and_subject(store: Store) -> None:
    here = await store.enrol(PROD, "here")
    there = await store.enrol(Identity(service="gaussdb", host="elsewhere", project_id="1"), "there")
    await store.commit(
        a_record(here, events=[routed(an_event("tw_1"), "hook"), routed(an_event("tw_2"), "hook")])
    )
    await store.commit(
        a_record(
            there, events=[routed(an_event("tw_3"), "hook"), routed(an_event("tw_4", subject="j2"), "hook")]
        )
    )
    first, second, other_project, other_task = (queued.task for queued in await queue(store))
    assert first == second
    assert len({first, other_project, other_task}) == 3


async def test_the_body_is_the_bytes_of_the_event(store: Store) -> None:
    body = bytes(range(256))
    await committed(store, await store.enrol(PROD, "prod"), routed(an_event(body=body), "hook"))
    (queued,) = await queue(store)
    assert await store.body(queued.id) == body


async def test_an_unknown_delivery_has_no_body(store: Store) -> None:
    assert await store.body(DeliveryId(4711)) is None


async def test_what_is_delivered_is_pending_no_more(store: Store) -> None:
    queued = await one_queued(store)
    await store.record(queued.id, Delivered(), at(1))
    assert await queue(store) == []
    assert await store.body(queued.id) is None


async def test_a_failed_attempt_is_remembered_across_a_restart(opening: Opening) -> None:
    outcome = Retry(reason=Reason.TIMEOUT, detail="no answer in 10 s", poisoned=1, tried_seconds=2.5)
    async with opening() as store:
        queued = await one_queued(store)
        await store.record(queued.id, outcome, at(1))
        await store.record(queued.id, outcome, at(2))
    async with opening() as store:
        (again,) = await queue(store)
        assert (again.id, again.event_id, again.task) == (queued.id, queued.event_id, queued.task)
        assert (again.attempts, again.poisoned, again.tried_seconds) == (2, 1, 2.5)
        assert await store.body(again.id) is not None


async def test_a_dead_delivery_is_pending_no_more(store: Store) -> None:
    queued = await one_queued(store)
    dead = Dead(reason=Reason.REJECTED, detail="400", why="poison", poisoned=10, tried_seconds=60.0)
    await store.record(queued.id, dead, at(1))
    assert await queue(store) == []
    assert await store.body(queued.id) is None


@pytest.mark.parametrize(
    "late",
    [
        Retry(reason=Reason.NETWORK, detail="reset", poisoned=0, tried_seconds=1.0),
        Dead(reason=Reason.NETWORK, detail="reset", why="horizon", poisoned=0, tried_seconds=1.0),
    ],
)
async def test_an_outcome_does_not_bring_back_what_is_done(store: Store, late: Retry | Dead) -> None:
    queued = await one_queued(store)
    await store.record(queued.id, Delivered(), at(1))
    await store.record(queued.id, late, at(2))
    assert await queue(store) == []


async def test_one_receiver_having_it_says_nothing_of_another(store: Store) -> None:
    await committed(store, await store.enrol(PROD, "prod"), routed(an_event(), "hook", "mail"))
    (queued,) = await queue(store, "hook")
    await store.record(queued.id, Delivered(), at(1))
    assert len(await queue(store, "mail")) == 1


# Freshness


@pytest.mark.parametrize(("kept", "expected"), [(at(7), at(7)), (at(-7), T0)])
async def test_a_project_is_as_fresh_as_its_later_reading(
    opening: Opening, kept: datetime, expected: datetime
) -> None:
    async with opening() as store:
        state = await store.enrol(PROD, "prod")
        await store.commit(a_record(state, observed_at=T0))
        await store.keep_freshness({state.key: kept})
    async with opening() as store:
        assert (await store.enrol(PROD, "prod")).observed_at == expected


@pytest.mark.parametrize("later", [{}, {2: at(9)}])
async def test_keeping_freshness_forgets_no_other_project(
    store: Store, later: Mapping[int, datetime]
) -> None:
    state = await store.enrol(PROD, "prod")
    assert state.key == 1
    exact = T0 + timedelta(microseconds=1)
    await store.keep_freshness({state.key: exact})
    await store.keep_freshness(later)
    assert (await store.enrol(PROD, "prod")).observed_at == exact


# Absence


async def test_a_task_that_is_gone_is_remembered_and_neither_open_nor_expected(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    gone = a_known(a_task("gone"), is_gone=True, losses=2)
    await store.commit(a_record(state, tasks=[gone, a_known(a_task("open"))]))
    assert (await store.enrol(PROD, "prod")).open_tasks == {"open"}
    assert (await store.expected(state.key, at(-9))).keys() == {"open"}
    assert await store.known(state.key, ["gone"]) == {"gone": gone}


async def test_a_task_is_expected_while_it_is_open_or_young(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    tasks = [
        a_task("old and open", created_at=at(-1)),
        a_task("young and ended", "Failed", created_at=at(0)),
        a_task("old and ended", "Failed", created_at=at(-1)),
        a_task("unknown and open", created_at=None),
        a_task("unknown and ended", "Failed", created_at=None),
    ]
    await store.commit(a_record(state, tasks=[a_known(task) for task in tasks]))
    assert await store.expected(state.key, at(0)) == {
        "old and open": at(-1), "young and ended": at(0), "unknown and open": None,
    }  # fmt: skip


# Retention


async def test_what_is_told_and_old_is_forgotten(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    events = [
        routed(an_event("tw_1", time=T0), "hook", "mail"),
        routed(an_event("tw_2", time=at(10)), "hook"),
    ]
    await committed(store, state, *events)
    for receiver in ("hook", "mail"):
        for queued in await queue(store, receiver):
            await store.record(queued.id, Delivered(), at(11))
    assert await store.prune(at(5)) == Pruned(events=1, deliveries=2, tasks=0)
    assert await store.prune(at(5)) == Pruned(events=0, deliveries=0, tasks=0)


async def test_an_event_with_a_pending_delivery_is_kept_whatever_its_age(store: Store) -> None:
    await committed(store, await store.enrol(PROD, "prod"), routed(an_event(), "hook", "mail"))
    (done,) = await queue(store, "mail")
    await store.record(done.id, Delivered(), at(1))
    assert await store.prune(at(100_000)) == Pruned(events=0, deliveries=0, tasks=0)
    (queued,) = await queue(store)
    assert await store.body(queued.id) is not None


async def test_a_dead_delivery_does_not_keep_its_event_for_ever(store: Store) -> None:
    queued = await one_queued(store)
    dead = Dead(reason=Reason.NETWORK, detail="", why="horizon", poisoned=0, tried_seconds=1.0)
    await store.record(queued.id, dead, at(1))
    assert await store.prune(at(5)) == Pruned(events=1, deliveries=1, tasks=0)


async def test_more_than_a_batch_is_forgotten_in_one_call(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    await committed(
        store,
        state,
        *(routed(an_event(f"tw_{number}", type_=EventType.TASK_COMPLETED)) for number in range(1_234)),
    )
    assert (await store.prune(at(5))).events == 1_234


async def test_only_ended_tasks_that_are_long_past_are_forgotten(store: Store, clock: StillClock) -> None:
    state = await store.enrol(PROD, "prod")
    late = clock.now() + timedelta(days=50)
    tasks = [
        a_known(a_task("old", "Failed")),
        a_known(a_task("open", "Running")),
        a_known(a_task("odd", "Unheard of")),
        a_known(a_task("gone", "Running"), is_gone=True),
        a_known(a_task("ended late", "Completed", ended_at=late)),
        a_known(a_task("created late", "Completed", created_at=late, ended_at=None)),
        a_known(a_task("told", "Failed")),
    ]
    await store.commit(a_record(state, tasks=tasks, events=[routed(an_event(subject="told"), "hook")]))
    clock.seconds = timedelta(days=60).total_seconds()
    assert (await store.prune(at(-1))).tasks == 0
    clock.seconds = timedelta(days=62).total_seconds()
    assert (await store.prune(at(-1))).tasks == 2
    left = await store.known(state.key, [known.task.job_id for known in tasks])
    assert not left.keys() & {"old", "gone"}


async def test_a_task_that_changed_lately_is_kept_however_old_it_is(store: Store, clock: StillClock) -> None:
    state = await store.enrol(PROD, "prod")
    clock.seconds = timedelta(days=100).total_seconds()
    await store.commit(a_record(state, tasks=[a_known(a_task(status="Failed"))]))
    assert (await store.prune(T0)).tasks == 0


# Outages


def an_outage(name: str = "hook", *, told: str = "chat") -> Outage:
    return Outage(
        id=None,
        place=Place(Kind.RECEIVER, name),
        things=frozenset({thing_of(name)}),
        cause="network",
        severity=Severity.WARNING,
        since=at(1),
        events=(EventId("tw_1"),),
        told=frozenset({told}),
    )


def down(event_id: str = "tw_1", *, sequence: int = 1, name: str = "hook") -> OutageRecord:
    event = an_event(event_id, subject=name, type_=EventType.RECEIVER_DOWN, sequence=sequence)
    outage = an_outage(name)
    subject = Subject(place=outage.place, project=None)
    told = Routed(event=event, job_id=None, hops=(Hop(receiver="chat", path="route"),))
    return OutageRecord(outage=outage, is_over=False, subject=subject, told=told)


async def test_an_outage_its_event_and_its_deliveries_are_one(opening: Opening) -> None:
    async with opening() as store:
        number = await store.record_outage(down())
        assert await store.sequence(down().subject) == 1
    async with opening() as store:
        assert await store.outages() == [replace(an_outage(), id=number)]
        (queued,) = await queue(store, "chat")
        assert queued.event_id == "tw_1"
        ended = replace(down("tw_2", sequence=2), outage=replace(an_outage(), id=number), is_over=True)
        assert await store.record_outage(ended) is None
        assert await store.outages() == []
        assert await store.sequence(ended.subject) == 2


@pytest.mark.parametrize("sequence", [1, 3])
async def test_an_event_that_does_not_follow_upon_the_last_one_of_its_subject_is_refused_whole(
    store: Store, sequence: int
) -> None:
    await store.record_outage(down())
    with pytest.raises(StaleStateError):
        await store.record_outage(down("tw_2", sequence=sequence))
    assert len(await store.outages()) == 1
    assert len(await queue(store, "chat")) == 1


async def test_events_about_a_project_count_with_its_baseline(store: Store) -> None:
    state = await store.enrol(PROD, "prod")
    subject = Subject(place=Place(Kind.PROJECT, str(PROD)), project=state.key)
    event = an_event("tw_1", subject=PROD.project_id, type_=EventType.PROJECT_DEGRADED)
    await store.record_event(subject, Routed(event=event, job_id=None, hops=()))
    assert (await store.enrol(PROD, "prod")).sequence == 1
    with pytest.raises(StaleStateError):
        await store.commit(a_record(state, sequence=1))
    await store.commit(a_record(state, sequence=2))
    assert await store.sequence(subject) == 2


async def test_an_outage_of_a_renamed_receiver_goes_by_its_new_name(store: Store) -> None:
    number = await store.record_outage(down())
    await store.hand_over({"hook": "pipeline", "chat": "talk"})
    assert await store.outages() == [replace(an_outage("pipeline", told="talk"), id=number)]


async def _an_alert(store: Store, *receivers: str) -> None:
    """Let a task fail, and tell these receivers."""
    state = await store.enrol(PROD, "prod")
    event = an_event("tw_1", type_=EventType.TASK_FAILED)
    await committed(store, state, routed(event, *receivers))


async def test_who_was_told_of_an_alert_keeps_it_under_the_labels_it_first_had(store: Store) -> None:
    await _an_alert(store, "am", "hook")
    assert [(row.event_id, row.labels, row.ended_at) for row in await store.standing("am")] == [
        ("tw_1", None, None)
    ]
    await store.freeze("am", {EventId("tw_1"): {"a": "1"}})
    await store.freeze("am", {EventId("tw_1"): {"a": "2"}})
    await store.fired("am", seconds=61.5)
    (kept,) = await store.standing("am")
    assert (kept.labels, kept.fired_seconds) == ({"a": "1"}, 61.5)
    (other,) = await store.standing("hook")
    assert (other.labels, other.fired_seconds) == (None, 0.0)
    assert await store.standing("am", [EventId("tw_2")]) == []


async def test_what_a_receiver_has_settled_it_hears_no_more_of(store: Store) -> None:
    await _an_alert(store, "am")
    await store.settle("am", [EventId("tw_1")])
    assert await store.standing("am") == []


async def test_a_renamed_receiver_keeps_the_alerts_it_was_told_of(store: Store) -> None:
    await _an_alert(store, "am")
    (queued,) = await queue(store, "am")
    await store.record(queued.id, Delivered(), at(1))
    await store.hand_over({"am": "am-2"})
    assert [row.event_id for row in await store.standing("am-2")] == ["tw_1"]
    assert await store.standing("am") == []


async def test_a_receiver_that_never_got_the_alert_keeps_none(store: Store) -> None:
    await _an_alert(store, "am")
    (queued,) = await queue(store, "am")
    dead = Dead(reason=Reason.NETWORK, detail="", why="horizon", poisoned=0, tried_seconds=1.0)
    await store.record(queued.id, dead, at(1))
    assert await store.standing("am") == []
