"""The real store of a process that can die at any of its writes: SQLite in memory, without a thread.

`Disk` is what outlives the process. `open_inline` is how one process uses it: once it has died, nothing
that it still does reaches the disk, and nothing returns to it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import apsw

from taskwatch.clock import Clock
from taskwatch.errors import StoreFailedError
from taskwatch.store.lock import StoreLock
from taskwatch.store.schema import load_migrations, migrate
from taskwatch.store.sqlite import SqliteStore
from taskwatch.store.writer import Writer

T = TypeVar("T")

_TURNS: Final = 2  # of the loop that each call takes: room for others, and for a cancellation


class Disk:
    """A store with its schema. `fault` is asked before each call, with its number, and may raise."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        migrate(self.connection, Path("memory"), load_migrations())
        self.connection.pragma("foreign_keys", "on")
        self.calls = 0
        self.fault: Callable[[int], None] = lambda number: None

    def fail(self, times: int) -> None:
        """Let so many of the next calls fail."""
        until = self.calls + times

        def fault(number: int) -> None:
            if number <= until:
                raise apsw.FullError("database or disk is full")

        self.fault = fault

    def heal(self) -> None:
        self.fault = lambda number: None

    def rows(self, statement: str, *bindings: object) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.connection.execute(statement, bindings).fetchall()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """At which of the next writes a process dies: before it is durable, or when nobody has heard of it yet."""

    write: int
    is_durable: bool


class Life:
    """Whether a process is alive, and until when."""

    def __init__(self) -> None:
        self.died = asyncio.Event()
        self._death: Death | None = None
        self._steps = {False: 0, True: 0}  # writes that began, and those that became durable

    def dies_at(self, death: Death) -> None:
        self._death, self._steps = death, {False: 0, True: 0}

    def kill(self) -> None:
        self.died.set()

    @property
    def writes(self) -> int:
        return self._steps[True]

    async def goes_on(self) -> None:
        if self.died.is_set():
            await asyncio.get_running_loop().create_future()  # a dead process gets no answer

    async def survives(self, *, is_durable: bool) -> None:
        """Die here, if this is the write."""
        self._steps[is_durable] += 1
        if self._death == Death(write=self._steps[is_durable], is_durable=is_durable):
            self.kill()
        await self.goes_on()


class _InlineWriter:
    """Does what Writer promises, on the loop."""

    def __init__(self, disk: Disk, life: Life) -> None:
        self.lost = asyncio.Event()
        self.commits = 0
        self.trouble: str | None = None
        self.loss = None
        self._disk = disk
        self._life = life

    async def write(self, work: Callable[[apsw.Connection], T], *, grows: bool = False) -> T:
        await self._life.survives(is_durable=False)
        await self._turn()
        try:
            value = self._done(work)
        except StoreFailedError as error:
            self.trouble = str(error)
            raise
        self.commits += 1
        self.trouble = None
        await self._life.survives(is_durable=True)
        return value

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        await self._life.goes_on()
        await self._turn()
        return self._done(work)

    def _done(self, work: Callable[[apsw.Connection], T]) -> T:
        self._disk.calls += 1
        try:
            self._disk.fault(self._disk.calls)
            with self._disk.connection:
                value = work(self._disk.connection)
        except apsw.Error as error:
            raise StoreFailedError(f"the store refused it, nothing was kept: {error}") from error
        return value

    async def _turn(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        await self._life.goes_on()


def open_inline(disk: Disk, life: Life, *, clock: Clock) -> SqliteStore:
    """Return the store as one process has it."""
    no_lock = cast("StoreLock", None)  # it is never closed
    writer = cast("Writer", _InlineWriter(disk, life))
    return SqliteStore(path=Path(), writer=writer, lock=no_lock, clock=clock)
