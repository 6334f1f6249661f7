"""The receiver `file`: each event is one line of JSON, appended and on the disk before it counts as delivered.

The file may be rotated at any moment, by renaming or removing it: the next event begins a new one.
A line that could not be written whole is taken back.
"""

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from taskwatch.clock import Clock
from taskwatch.config.fields import FilePath
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import AlertBook, DeliveryError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.telemetry import Logger

# Not to wait for whoever would read from a pipe: that is refused, and only a file is written to.
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
_MODE: Final = 0o640


class FileOptions(ReceiverOptions):
    """Appends each event to a file, as JSON Lines."""

    type: Literal["file"]
    path: FilePath = Field(
        examples=["/var/log/taskwatch/events.jsonl"],
        description="the file; its directory must be there",
    )


def open_notifier(
    options: FileOptions,
    *,
    clock: Clock,  # noqa: ARG001  (all kinds are opened alike)
    log: Logger,  # noqa: ARG001
    alerts: AlertBook,  # noqa: ARG001
) -> "FileNotifier":
    """Open the notifier; the file is opened with the first event."""
    return FileNotifier(options.path)


class FileNotifier:
    """Appends to one file, one event at a time. A disk that hangs holds up a thread and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._turn = asyncio.Lock()
        self._writing: asyncio.Future[None] | None = None

    async def notify(self, message: Message) -> None:
        async with self._turn:
            if self._writing is not None:  # an attempt that timed out: what it began comes first
                await asyncio.shield(self._writing)
            self._writing = writing = _in_thread(self._append, message.body + b"\n")
            writing.add_done_callback(self._written)
            try:
                await asyncio.shield(writing)
            except OSError as error:
                why = f"{self._path}: {(error.strerror or type(error).__name__).lower()}"
                raise DeliveryError(Reason.LOCAL, why, Scope.RECEIVER) from error

    async def repeat(self) -> None:
        """Repeat nothing: a line stands."""

    async def connect(self) -> None:
        """Find out whether the file can be written, and leave it as it is."""
        target = self._path if self._path.exists() else self._path.parent
        if not await asyncio.to_thread(os.access, target, os.W_OK):
            raise DeliveryError(Reason.LOCAL, f"{target} cannot be written here", Scope.RECEIVER)

    async def close(self) -> None:
        if self._writing is None and self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        if not writing.cancelled():
            writing.exception()  # it is told by who waits for it, or by the next attempt

    # What follows runs in a thread.

    def _append(self, line: bytes) -> None:
        descriptor = self._opened()
        size = os.fstat(descriptor).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise

    def _opened(self) -> int:
        """Return the descriptor of the file that is there now."""
        if self._descriptor is not None and not self._is_there(self._descriptor):
            os.close(self._descriptor)
            self._descriptor = None
        if self._descriptor is None:
            self._descriptor = self._open()
        return self._descriptor

    def _is_there(self, descriptor: int) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(descriptor)
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def _open(self) -> int:
        descriptor = os.open(self._path, _FLAGS, _MODE)
        try:
            status = os.fstat(descriptor)
            _require_file(status)
            # Whoever was cut off in a line, a crash of this host for one: the next line is one of its own.
            if status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n":
                os.write(descriptor, b"\n")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _require_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "is no file")


def _in_thread(work: Callable[[bytes], None], line: bytes) -> asyncio.Future[None]:
    """Run the work in a thread that ends with the process, whatever it hangs in."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def run() -> None:
        failure: Exception | None = None
        try:
            work(line)
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, name="taskwatch-file", daemon=True).start()
    return future
