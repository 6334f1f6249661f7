"""The store as the server reads and changes it: beside the loop, never in it.

- One thread reads, over a connection that cannot write. A reading that takes too long is interrupted.
- Who changes something does it at a desk, as the commands do; the daemon notices, and logs it.
- What waits for either is bounded: more is refused, and told to come again.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

from taskwatch.errors import StoreFailedError, StoreUnusableError
from taskwatch.server.problem import ProblemError
from taskwatch.store.desk import Desk
from taskwatch.store.reader import StoreReader

PLACES: Final = 64  # readings that may wait
DESKS: Final = 4  # changes at a time
READ_SECONDS: Final = 10.0

T = TypeVar("T")


class Records:
    """One store. `close` ends it, with what is being read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="taskwatch-reader")
        self._reader: StoreReader | None = None
        self._waiting = 0
        self._desks = asyncio.Semaphore(DESKS)

    async def read(self, work: Callable[[StoreReader], T]) -> T:
        """Return what the work finds. Raises ProblemError where the store cannot be read now, or not in time."""
        if self._waiting >= PLACES:
            raise _busy()
        self._waiting += 1
        reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read, work)
        reading.add_done_callback(self._done)
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await asyncio.shield(reading)
        except TimeoutError:
            if self._reader is not None:
                self._reader.interrupt()
            raise _busy() from None
        except (StoreFailedError, StoreUnusableError) as error:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error

    async def change(self, work: Callable[[Desk], T], *, by: str) -> T:
        """Do this in the name of somebody. Raises ProblemError where the store takes nothing now."""
        if self._desks.locked():
            raise _busy()
        async with self._desks:
            try:
                return await asyncio.to_thread(self._change, work, by)
            except (StoreFailedError, StoreUnusableError) as error:
                raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.interrupt()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
        self._thread.shutdown(wait=False)

    def _done(self, reading: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not reading.cancelled():
            reading.exception()  # whoever waited may have gone

    # What follows runs in threads.

    def _read(self, work: Callable[[StoreReader], T]) -> T:
        if self._reader is None:
            self._reader = StoreReader(self._path)
        return work(self._reader)

    def _change(self, work: Callable[[Desk], T], by: str) -> T:
        with Desk(self._path, by=by) as desk:
            return work(desk)

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _busy() -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "more is asked of the store than it can answer now; ask again",
        headers={"Retry-After": "5"},
    )
