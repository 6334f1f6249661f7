"""How the server reads the store: beside the loop, for those who wait, and for nobody else."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from taskwatch.clock import SystemClock
from taskwatch.server import records
from taskwatch.server.problem import ProblemError
from taskwatch.server.records import DESKS, PLACES, Records
from taskwatch.store.desk import Desk
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import open_store


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Records]:
    store = await asyncio.to_thread(open_store, tmp_path / "taskwatch.db", clock=SystemClock())
    found = Records(tmp_path / "taskwatch.db")
    yield found
    await found.close()
    await store.close()


class Endless:
    """A reading that goes on until it is interrupted, or told to end."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, reader: StoreReader) -> None:
        self.has_begun.set()
        reader.each_event  # noqa: B018 - the store is there
        assert self.may_end.wait(30)

    async def began(self) -> None:
        assert await asyncio.to_thread(self.has_begun.wait, 30)


def last_number(reader: StoreReader) -> int:
    return reader.last_number()


async def gone(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_nobody_waits_for_any_more_leaves_the_queue(opened: Records) -> None:
    first, others = Endless(), [Endless() for _ in range(PLACES - 1)]
    asked = [asyncio.create_task(opened.read(work)) for work in (first, *others)]
    await first.began()
    with pytest.raises(ProblemError):
        await opened.read(last_number)
    await gone(*asked)
    first.may_end.set()

    assert await opened.read(last_number) == 0
    assert not any(other.has_begun.is_set() for other in others)


async def test_who_waits_too_long_ends_no_reading_of_another(
    opened: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, interrupted = Endless(), list[StoreReader]()

    def interrupt(reader: StoreReader) -> None:
        interrupted.append(reader)

    monkeypatch.setattr(StoreReader, "interrupt", interrupt)
    long = asyncio.create_task(opened.read(work))
    await work.began()
    monkeypatch.setattr(records, "READ_SECONDS", 0.0)
    with pytest.raises(ProblemError, match="ask again"):
        await opened.read(last_number)
    assert interrupted == []
    await gone(long)
    assert len(interrupted) == 1, "its own is ended with it"
    work.may_end.set()


async def test_a_change_is_done_for_those_who_have_gone_and_takes_its_place_until_then(
    opened: Records,
) -> None:
    may_end, done = threading.Event(), list[int]()

    def slow(_: Desk) -> None:
        assert may_end.wait(30)
        done.append(1)

    asked = [asyncio.create_task(opened.change(slow, by="ida")) for _ in range(DESKS)]
    await asyncio.sleep(0)
    await gone(*asked)
    with pytest.raises(ProblemError):
        await opened.change(slow, by="ida")
    may_end.set()
    async with asyncio.timeout(30):
        while len(done) < DESKS:
            await asyncio.sleep(0.01)
        while True:
            with suppress(ProblemError):
                await opened.change(lambda _: None, by="ida")
                break
            await asyncio.sleep(0.01)


async def test_nothing_is_read_or_changed_once_it_is_closed(opened: Records) -> None:
    assert await opened.read(last_number) == 0
    await opened.close()
    for asked in (opened.read(last_number), opened.change(lambda _: None, by="ida")):
        with pytest.raises(ProblemError):
            await asked
