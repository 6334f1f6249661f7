"""A disk that fails when it is told to: SQLite's own file system with a fault in between.

Unlike a patched call it fails where a disk does, below SQLite, so that what SQLite makes of it is real.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import apsw

_NUMBERS = itertools.count()
_REAL: Final = "unix"


class Step(StrEnum):
    WRITE = "write"
    SYNC = "sync"
    TRUNCATE = "truncate"


class FaultyDisk(apsw.VFS):
    """Counts the steps that change files; `fault` is asked before each and may raise, wait or kill."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_NUMBERS)}"
        super().__init__(self.name, _REAL)
        self.steps = 0
        self.fault: Callable[[Step, int], None] = lambda step, number: None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's
        return _File(self, name, flags)

    def step(self, step: Step) -> None:
        self.steps += 1
        self.fault(step, self.steps)

    def fail_at(self, number: int, error: Callable[[], Exception]) -> None:
        """Let the step of this number from now on fail, and only that one."""
        target = self.steps + number

        def fault(_: Step, current: int) -> None:
            if current == target:
                raise error()

        self.fault = fault

    def fail_each(self, step: Step, error: Callable[[], Exception]) -> None:
        def fault(current: Step, _: int) -> None:
            if current is step:
                raise error()

        self.fault = fault

    def heal(self) -> None:
        self.fault = lambda step, number: None


class Gate:
    """Holds a thread at a step until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def hold(self, step: Step, _: int) -> None:
        if step is Step.SYNC:
            self.reached.set()
            self._open.wait(timeout=30)

    def open(self) -> None:
        self._open.set()


@contextmanager
def faulty_disk() -> Iterator[FaultyDisk]:
    """Every database that is opened meanwhile lies on the faulty disk."""
    disk = FaultyDisk()
    apsw.set_default_vfs(disk.name)
    try:
        yield disk
    finally:
        apsw.set_default_vfs(_REAL)


def full() -> Exception:
    return apsw.FullError("database or disk is full")


def io_error() -> Exception:
    return apsw.IOError("disk I/O error")


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(_REAL, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's
        self._disk.step(Step.WRITE)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's
        self._disk.step(Step.SYNC)
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's
        self._disk.step(Step.TRUNCATE)
        super().xTruncate(newsize)
