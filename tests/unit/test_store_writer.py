import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from taskwatch.engine.ports import StaleStateError
from taskwatch.errors import StoreFailedError, StoreLostError
from taskwatch.store import writer as writer_module
from taskwatch.store.reserve import BYTES, Reserve
from taskwatch.store.writer import Writer
from tests.fakes.faulty_disk import FaultyDisk, Gate, Step, faulty_disk, full, io_error


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with faulty_disk() as disk:
        yield disk


@pytest.fixture
async def writer(disk: FaultyDisk, tmp_path: Path) -> AsyncIterator[Writer]:
    connection = apsw.Connection(str(tmp_path / "numbers.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY CHECK (number >= 0), text BLOB)")
    reserve = Reserve(tmp_path / "numbers.db")
    reserve.set_aside()
    writer = Writer(connection, reserve=reserve)
    yield writer
    disk.heal()
    await writer.close(nothing)


def nothing(_: apsw.Connection) -> None:
    pass


def insert(number: int, size: int = 0) -> Callable[[apsw.Connection], int]:
    def work(connection: apsw.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?, zeroblob(?))", (number, size))
        return number

    return work


def numbers(connection: apsw.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]


def on_disk(tmp_path: Path) -> list[int]:
    """Read what another process would."""
    other = apsw.Connection(str(tmp_path / "numbers.db"), apsw.SQLITE_OPEN_READWRITE, vfs="unix")
    try:
        return numbers(other)
    finally:
        other.close()


class Held:
    """Keeps the thread busy, so that what is asked meanwhile comes to it as one group."""

    def __init__(self, writer: Writer) -> None:
        self._go = threading.Event()
        self._reached = threading.Event()
        self._task = asyncio.create_task(writer.read(self._wait))

    def _wait(self, _: apsw.Connection) -> None:
        self._reached.set()
        self._go.wait(timeout=30)

    async def __aenter__(self) -> None:
        await asyncio.to_thread(self._reached.wait, 30)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)  # what was made a task meanwhile asks now
        self._go.set()
        await self._task


async def gathered(writer: Writer, *work: Callable[[apsw.Connection], object]) -> list[object]:
    """Ask for all of it in one group; return values and errors."""
    async with Held(writer):
        calls = [asyncio.create_task(writer.write(each)) for each in work]
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_write_returns_what_its_work_returns(writer: Writer, tmp_path: Path) -> None:
    assert await writer.write(insert(7)) == 7
    assert on_disk(tmp_path) == [7]


async def test_calls_that_wait_together_share_one_commit(writer: Writer) -> None:
    before = writer.commits
    assert await gathered(writer, *map(insert, range(100))) == list(range(100))
    assert writer.commits == before + 1


async def test_no_group_is_larger_than_its_bound(writer: Writer) -> None:
    before = writer.commits
    await gathered(writer, *map(insert, range(writer_module.GROUP + 10)))
    assert writer.commits == before + 2


async def test_a_waiter_is_answered_only_after_the_disk_has_it(writer: Writer, disk: FaultyDisk) -> None:
    gate = Gate()
    disk.fault = gate.hold
    call = asyncio.create_task(writer.write(insert(1)))
    await asyncio.to_thread(gate.reached.wait, 30)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not call.done()
    gate.open()
    assert await call == 1


async def test_the_loop_is_free_while_the_disk_is_slow(writer: Writer, disk: FaultyDisk) -> None:
    gate = Gate()
    disk.fault = gate.hold
    call = asyncio.create_task(writer.write(insert(1)))
    await asyncio.to_thread(gate.reached.wait, 30)
    assert await asyncio.to_thread(lambda: "free") == "free"
    gate.open()
    await call


@pytest.mark.parametrize("bad", [0, 1, 2])
async def test_one_call_that_breaks_a_constraint_fails_alone(
    writer: Writer, tmp_path: Path, bad: int
) -> None:
    work = [insert(number) for number in range(3)]
    work[bad] = insert(-1)
    results = await gathered(writer, *work)
    assert isinstance(results.pop(bad), StoreFailedError)
    good = [number for number in range(3) if number != bad]
    assert results == good
    assert on_disk(tmp_path) == good


async def test_what_a_failing_call_wrote_before_it_failed_is_undone(writer: Writer, tmp_path: Path) -> None:
    def half(connection: apsw.Connection) -> None:
        insert(5)(connection)
        raise StaleStateError("read it again")

    results = await gathered(writer, insert(1), half, insert(2))
    assert isinstance(results[1], StaleStateError)
    assert on_disk(tmp_path) == [1, 2]


async def test_an_error_of_the_domain_reaches_its_waiter_as_it_is(writer: Writer) -> None:
    error = StaleStateError("read it again")

    def work(_: apsw.Connection) -> None:
        raise error

    with pytest.raises(StaleStateError) as caught:
        await writer.write(work)
    assert caught.value is error


async def test_a_later_call_of_a_group_sees_the_earlier(writer: Writer) -> None:
    assert await gathered(writer, insert(1), numbers) == [1, [1]]


async def test_a_read_sees_only_what_is_committed_and_goes_first(writer: Writer) -> None:
    async with Held(writer):
        write = asyncio.create_task(writer.write(insert(1)))
        await asyncio.sleep(0)
        read = asyncio.create_task(writer.read(numbers))
    assert await read == []
    assert await write == 1
    assert await writer.read(numbers) == [1]


async def test_a_failing_read_fails_alone(writer: Writer) -> None:
    def work(connection: apsw.Connection) -> None:
        connection.execute("SELECT * FROM nowhere")

    with pytest.raises(StoreFailedError):
        await writer.read(work)
    assert await writer.read(numbers) == []


# Faults of the disk


async def test_a_full_store_fails_the_whole_group_and_keeps_nothing_of_it(
    writer: Writer, tmp_path: Path
) -> None:
    pages = await writer.read(lambda connection: connection.pragma("page_count"))
    await writer.read(lambda connection: connection.pragma("max_page_count", pages + 4))
    results = await gathered(writer, insert(1), insert(2, size=1_000_000), insert(3))
    assert [type(result) for result in results] == [StoreFailedError] * 3
    assert on_disk(tmp_path) == []


async def test_a_store_that_was_full_goes_on_when_there_is_room(writer: Writer, tmp_path: Path) -> None:
    pages = await writer.read(lambda connection: connection.pragma("page_count"))
    await writer.read(lambda connection: connection.pragma("max_page_count", pages + 4))
    with pytest.raises(StoreFailedError):
        await writer.write(insert(1, size=1_000_000))
    assert await writer.write(insert(2)) == 2
    await writer.read(lambda connection: connection.pragma("max_page_count", 100_000))
    assert await writer.write(insert(1, size=1_000_000)) == 1
    assert on_disk(tmp_path) == [1, 2]


def reserve_of(tmp_path: Path) -> Path:
    return tmp_path / "numbers.db.reserve"


@pytest.fixture
def crowded(disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Fill the disk to the last byte: there is room for a write only when the reserve is given up."""

    def fault(step: Step, _: int) -> None:
        if step is Step.WRITE and reserve_of(tmp_path).exists():
            raise full()

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    disk.fault = fault
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    return monkeypatch


@pytest.mark.usefixtures("writer")
def test_space_is_set_aside_while_there_is_some(tmp_path: Path) -> None:
    assert reserve_of(tmp_path).stat().st_blocks * 512 >= BYTES


@pytest.mark.usefixtures("crowded")
async def test_on_a_full_disk_what_grows_the_store_waits_and_the_rest_goes_on(
    writer: Writer, tmp_path: Path
) -> None:
    async with Held(writer):
        growing = asyncio.create_task(writer.write(insert(1), grows=True))
        noted = asyncio.create_task(writer.write(insert(2)))
    with pytest.raises(StoreFailedError, match="the disk is full: nothing new is recorded"):
        await growing
    assert await noted == 2
    assert await writer.write(insert(3)) == 3
    with pytest.raises(StoreFailedError, match="the disk is full"):
        await writer.write(insert(4), grows=True)
    assert on_disk(tmp_path) == [2, 3]
    assert not reserve_of(tmp_path).exists()


async def test_once_there_is_room_again_it_is_set_aside_first(
    writer: Writer, disk: FaultyDisk, tmp_path: Path, crowded: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreFailedError):
        await writer.write(insert(1), grows=True)
    crowded.undo()
    disk.heal()
    assert await writer.write(insert(1), grows=True) == 1
    assert reserve_of(tmp_path).stat().st_size == BYTES
    assert on_disk(tmp_path) == [1]


async def test_a_disk_that_knows_no_reserve_is_used_without_one(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: FaultyDisk
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unknown)
    disk.fail_each(Step.WRITE, full)
    with pytest.raises(StoreFailedError):
        await writer.write(insert(1))
    disk.heal()
    assert await writer.write(insert(1), grows=True) == 1
    assert not reserve_of(tmp_path).exists()
    assert on_disk(tmp_path) == [1]


async def test_a_disk_that_is_full_at_the_commit_fails_the_group_and_no_more(
    writer: Writer, disk: FaultyDisk, tmp_path: Path
) -> None:
    disk.fail_each(Step.WRITE, full)
    results = await gathered(writer, insert(1), insert(2))
    assert [type(result) for result in results] == [StoreFailedError] * 2
    disk.heal()
    assert await writer.write(insert(3)) == 3
    assert on_disk(tmp_path) == [3]
    assert not writer.lost.is_set()


async def test_a_refused_sync_loses_the_store(writer: Writer, disk: FaultyDisk) -> None:
    disk.fail_each(Step.SYNC, io_error)
    results = await gathered(writer, insert(1), insert(2))
    assert [type(result) for result in results] == [StoreLostError] * 2
    await asyncio.wait_for(writer.lost.wait(), timeout=30)


async def test_a_lost_store_refuses_everything_even_when_the_disk_is_well_again(
    writer: Writer, disk: FaultyDisk
) -> None:
    disk.fail_each(Step.SYNC, io_error)
    with pytest.raises(StoreLostError):
        await writer.write(insert(1))
    disk.heal()
    with pytest.raises(StoreLostError):
        await writer.write(insert(2))
    with pytest.raises(StoreLostError):
        await writer.read(numbers)


async def test_a_lost_store_takes_no_farewell(writer: Writer, disk: FaultyDisk) -> None:
    disk.fail_each(Step.SYNC, io_error)
    with pytest.raises(StoreLostError):
        await writer.write(insert(1))
    disk.heal()
    said: list[str] = []
    await writer.close(lambda _: said.append("farewell"))
    assert said == []


async def test_damage_that_is_met_loses_the_store(writer: Writer) -> None:
    def meet(_: apsw.Connection) -> None:
        raise apsw.CorruptError("database disk image is malformed")

    results = await gathered(writer, insert(1), meet)
    assert [type(result) for result in results] == [StoreLostError] * 2
    assert writer.lost.is_set()


async def test_a_call_that_ends_the_transaction_fails_the_group(writer: Writer, tmp_path: Path) -> None:
    def end(connection: apsw.Connection) -> None:
        connection.execute("ROLLBACK")
        raise StaleStateError("after the transaction was gone")

    results = await gathered(writer, insert(1), end, insert(2))
    assert [type(result) for result in results] == [StoreFailedError] * 3
    assert on_disk(tmp_path) == []


async def test_a_store_that_another_process_writes_to_fails_and_goes_on(
    writer: Writer, tmp_path: Path
) -> None:
    other = apsw.Connection(str(tmp_path / "numbers.db"), vfs="unix")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailedError):
        await writer.write(insert(1))
    other.execute("ROLLBACK")
    other.close()
    assert await writer.write(insert(1)) == 1


# Cancellation and the end


async def test_a_cancelled_waiter_leaves_the_others_of_its_group_alone(
    writer: Writer, tmp_path: Path
) -> None:
    async with Held(writer):
        calls = [asyncio.create_task(writer.write(insert(number))) for number in range(3)]
        await asyncio.sleep(0)
        calls[1].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [int, asyncio.CancelledError, int]
    assert on_disk(tmp_path) == [0, 1, 2]  # as a whole, or not at all


async def test_a_waiter_cancelled_during_the_commit_leaves_the_writer_well(
    writer: Writer, disk: FaultyDisk
) -> None:
    gate = Gate()
    disk.fault = gate.hold
    call = asyncio.create_task(writer.write(insert(1)))
    await asyncio.to_thread(gate.reached.wait, 30)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.open()
    assert await writer.write(insert(2)) == 2
    assert await writer.read(numbers) == [1, 2]


async def test_more_callers_than_places_are_all_served(writer: Writer) -> None:
    callers = writer_module.PLACES + 300
    assert await gathered(writer, *map(insert, range(callers))) == list(range(callers))


async def test_cancelled_callers_give_their_places_back(writer: Writer) -> None:
    for round_ in range(3):
        async with Held(writer):
            calls = [
                asyncio.create_task(writer.write(insert(round_ * 10_000 + number)))
                for number in range(writer_module.PLACES + 10)
            ]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert await writer.read(lambda _: "served") == "served"


async def test_closing_does_what_is_queued_and_then_the_farewell(writer: Writer, tmp_path: Path) -> None:
    async with Held(writer):
        calls = [asyncio.create_task(writer.write(insert(number))) for number in range(600)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(writer.close(insert(9_999)))
    assert await asyncio.gather(*calls) == list(range(600))
    await closing
    assert on_disk(tmp_path) == [*range(600), 9_999]


async def test_a_closed_writer_refuses(writer: Writer) -> None:
    await writer.close(nothing)
    with pytest.raises(StoreFailedError):
        await writer.write(insert(1))
    with pytest.raises(StoreFailedError):
        await writer.read(numbers)


async def test_closing_twice_is_closing_once(writer: Writer) -> None:
    said: list[str] = []
    await asyncio.gather(*(writer.close(lambda _: said.append("farewell")) for _ in range(2)))
    assert said == ["farewell"]
