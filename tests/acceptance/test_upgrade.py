"""Stores that earlier versions left behind, opened by today's code: everything is there, and goes on from there."""

import json
import random
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

import taskwatch
from taskwatch.clock import SystemClock
from taskwatch.engine.lane import Lane, LaneRules
from taskwatch.engine.poller import Poll, Poller
from taskwatch.model.event import EventType
from taskwatch.model.task import FAILED, RUNNING, Task
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_project, a_task, everything_to, quiet_log, some_rules
from tests.fakes.records import StillClock
from tests.fakes.scripted_notifier import ScriptedNotifier
from tests.fakes.scripted_source import ScriptedSource
from tests.golden.make import found_in, waiting_messages

GOLDEN: Final = Path(__file__).parents[1] / "golden"
VERSIONS: Final = sorted(
    directory.name for directory in GOLDEN.iterdir() if (directory / "taskwatch.db").exists()
)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Path:
    return GOLDEN / str(request.param)


@pytest.fixture
def store_of(version: Path, tmp_path: Path) -> Path:
    """A copy of the golden store, brought up to date by being opened once."""
    for name in ("taskwatch.db", "taskwatch.db.id"):
        shutil.copyfile(version / name, tmp_path / name)
    return tmp_path / "taskwatch.db"


def expected(version: Path) -> Any:
    return json.loads((version / "expected.json").read_text())


def tasks_in(path: Path) -> tuple[Task, ...]:
    with StoreReader(path) as reader:
        return tuple(row.task for row in reader.tasks())


async def opened(path: Path) -> SqliteStore:
    return open_store(path, clock=SystemClock())


async def polled(path: Path, rows: tuple[Task, ...]) -> Poll:
    store = await opened(path)
    clock = StillClock()
    clock.moment += timedelta(days=1)
    poller = Poller(
        project=a_project(),
        rules=some_rules(),
        source=ScriptedSource.of(rows),
        ledger=store,
        routing=everything_to("hook"),
        clock=clock,
        told=lambda _: None,
    )
    try:
        return await poller.poll()
    finally:
        await store.close()


def test_this_version_has_a_golden_store() -> None:
    assert taskwatch.__version__ in VERSIONS, "make it: python -m tests.golden.make"


async def test_all_that_was_recorded_is_still_there(version: Path, store_of: Path) -> None:
    store = await opened(store_of)
    outages = [[outage.place.name, outage.cause, outage.severity] for outage in await store.outages()]
    messages = await waiting_messages(store)
    await store.close()

    found = found_in(store_of) | {"outages": outages, "messages": messages}
    with StoreReader(store_of) as reader:
        bodies = {row.id: json.loads(row.body)["id"] for row in reader.events()}

    # What a version did not have yet, its store has not.
    assert found == {"outages": [], "messages": [], "alerts": [], "silences": []} | expected(version)
    assert all(id_ == told for id_, told in bodies.items())


async def test_what_was_pending_is_delivered_in_its_order_and_in_its_bytes(
    version: Path, store_of: Path
) -> None:
    pending = [
        id_
        for id_, receiver, state in expected(version)["deliveries"]
        if (receiver, state) == ("hook", "pending")
    ]
    store = await opened(store_of)
    notifier = ScriptedNotifier()
    lane = Lane(
        receiver="hook",
        notifier=notifier,
        outbox=store,
        rules=LaneRules(timeout=10.0, initial=1.0, maximum=1.0, horizon=86_400.0),
        clock=SystemClock(),
        rng=random.Random(1),
        log=quiet_log(),
    )
    await lane.drained(patience=10.0)
    await store.close()

    with StoreReader(store_of) as reader:
        bodies = {row.id: row.body for row in reader.events()}
    assert notifier.taken == pending
    assert len(pending) > 1
    assert all(message.body == bodies[message.event_id] for message in notifier.accepted)


async def test_a_poll_that_reads_the_same_tells_nothing(store_of: Path) -> None:
    await (await opened(store_of)).close()

    assert (await polled(store_of, tasks_in(store_of))).events == ()


async def test_a_poll_tells_only_what_changed_and_that_it_is_late(store_of: Path) -> None:
    await (await opened(store_of)).close()
    before = tasks_in(store_of)
    (running,) = [task for task in before if task.job_id == "running"]
    failed = replace(running, status=FAILED, fail_reason="it was the upgrade")
    new = a_task("brand-new", RUNNING)

    poll = await polled(store_of, (*(task for task in before if task is not running), failed, new))

    told = {event.subject: json.loads(event.body)["data"]["transition"] for event in poll.events}
    assert {event.type for event in poll.events} == {EventType.TASK_FAILED, EventType.TASK_STARTED}
    assert set(told) == {"running", "brand-new"}
    assert (told["running"]["from"], told["running"]["revision"], told["running"]["late"]) == (
        RUNNING,
        2,
        True,
    )


async def test_a_step_backwards_that_waited_still_waits(store_of: Path) -> None:
    """It was read once before the upgrade: the second reading is no confirmation yet, the third is."""
    await (await opened(store_of)).close()
    rows = tuple(
        replace(task, status=RUNNING, ended_at=None, fail_reason=None)
        if task.job_id == "new-failed"
        else task
        for task in tasks_in(store_of)
    )

    assert (await polled(store_of, rows)).events == ()
    assert [event.subject for event in (await polled(store_of, rows)).events] == ["new-failed"]
