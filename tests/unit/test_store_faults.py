"""Every step that SQLite makes on the disk fails once: a commit is whole or not there, and answers say which."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from taskwatch.engine.ports import ProjectState
from taskwatch.errors import StoreFailedError, StoreLostError, TaskwatchError
from taskwatch.model.delivery import Delivered, DeliveryId
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_known, a_task, at
from tests.fakes.faulty_disk import FaultyDisk, Step, faulty_disk, full, io_error
from tests.fakes.records import PROD, StillClock, a_record, an_event, routed

COMMITS = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "taskwatch.db"


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with faulty_disk() as disk:
        yield disk


@pytest.fixture
async def store(disk: FaultyDisk, path: Path) -> AsyncIterator[SqliteStore]:
    store = open_store(path, clock=StillClock())
    yield store
    disk.heal()
    await store.close()


async def commit(store: SqliteStore, state: ProjectState, number: int) -> None:
    """Record one task, one event and two deliveries, too large for one page."""
    body = f"{number}".encode() * 5_000
    event = an_event(f"tw_{number}", subject=f"job-{number}", body=body)
    await store.commit(
        a_record(state, tasks=[a_known(a_task(f"job-{number}"))], events=[routed(event, "hook", "mail")])
    )


def recorded(path: Path) -> set[int]:
    """Return the commits that the store holds; each is whole."""
    with StoreReader(path) as reader:
        tasks = {row.task.job_id for row in reader.tasks()}
        events = {row.subject for row in reader.events()}
        deliveries = [row.subject for row in reader.deliveries()]
        assert tasks == events
        assert sorted(deliveries) == sorted([*events, *events])
        return {int(subject.removeprefix("job-")) for subject in events}


@pytest.mark.parametrize("error", [full, io_error])
async def test_a_commit_is_whole_or_not_there_whichever_step_of_the_disk_fails(
    tmp_path: Path, error: Callable[[], Exception]
) -> None:
    failures = 0
    for number in range(1, 300):
        path = tmp_path / str(number) / "taskwatch.db"
        store = open_store(path, clock=StillClock())
        await store.enrol(PROD, "prod")
        await store.close()
        with faulty_disk() as disk:
            store = open_store(path, clock=StillClock())
            disk.fail_at(number, error)
            last = disk.steps + number
            outcomes = await _committed(store)
            reached = disk.steps >= last
            disk.heal()
            await store.close()
        again = open_store(path, clock=StillClock())
        await again.close()
        found = recorded(path)
        for commit_number, outcome in outcomes.items():
            if outcome is None:
                assert commit_number in found
            if isinstance(outcome, StoreFailedError):
                assert commit_number not in found
        failures += any(outcome is not None for outcome in outcomes.values())
        if not reached:
            break
    assert 10 < failures < 299


async def _committed(store: SqliteStore) -> dict[int, TaskwatchError | None]:
    outcomes: dict[int, TaskwatchError | None] = {}
    for number in range(COMMITS):
        outcomes[number] = None
        try:
            await commit(store, await store.enrol(PROD, "prod"), number)
        except (StoreFailedError, StoreLostError) as error:
            outcomes[number] = error
    return outcomes


async def test_a_poll_that_met_a_full_disk_is_recorded_when_there_is_room(
    store: SqliteStore, disk: FaultyDisk, path: Path
) -> None:
    state = await store.enrol(PROD, "prod")
    disk.fail_each(Step.WRITE, full)
    for _ in range(3):
        with pytest.raises(StoreFailedError, match="full"):
            await commit(store, state, 0)
    disk.heal()
    await commit(store, state, 0)
    assert recorded(path) == {0}
    assert not store.lost.is_set()


async def test_an_outcome_that_could_not_be_recorded_leaves_the_delivery_pending(
    store: SqliteStore, disk: FaultyDisk
) -> None:
    await commit(store, await store.enrol(PROD, "prod"), 0)
    (queued,) = await store.pending("hook", after=DeliveryId(0), limit=10)
    disk.fail_each(Step.WRITE, full)
    with pytest.raises(StoreFailedError):
        await store.record(queued.id, Delivered(), at(1))
    disk.heal()
    assert await store.pending("hook", after=DeliveryId(0), limit=10) == [queued]
    await store.record(queued.id, Delivered(), at(1))
    assert await store.pending("hook", after=DeliveryId(0), limit=10) == []


async def test_a_refused_sync_ends_the_use_of_the_store_until_it_is_opened_anew(
    store: SqliteStore, disk: FaultyDisk, path: Path
) -> None:
    state = await store.enrol(PROD, "prod")
    await commit(store, state, 0)
    disk.fail_each(Step.SYNC, io_error)
    with pytest.raises(StoreLostError):
        await commit(store, await store.enrol(PROD, "prod"), 1)
    disk.heal()
    assert store.lost.is_set()
    with pytest.raises(StoreLostError):
        await store.enrol(PROD, "prod")
    await store.close()
    again = open_store(path, clock=StillClock())
    assert (await again.enrol(PROD, "prod")).revision in {1, 2}
    await again.close()
    assert 0 in recorded(path)
