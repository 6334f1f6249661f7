"""The store as the server reads and changes it: beside the loop, never in it.

- One thread reads, over a connection that cannot write. A reading that takes too long is interrupted.
- Who changes something does it at a desk, as the commands do; the daemon notices, and logs it.
- What waits for either is bounded: more is refused, and told to come again.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
        self._desks = ThreadPoolExecutor(DESKS, thread_name_prefix="taskwatch-desk")
        self._reader: StoreReader | None = None
        self._waiting = 0
        self._changing = 0
        self._under_way: object | None = None  # what is read for at this moment
        self._is_closing = False

    async def read(self, work: Callable[[StoreReader], T]) -> T:
        """Return what the work finds. Raises ProblemError where the store cannot be read now, or not in time.

        Who waits no longer, because it took too long or because they have gone, is not read for any longer.
        """
        if self._is_closing or self._waiting >= PLACES:
            raise _busy()
        self._waiting += 1
        job = partial(work)  # this one, also where another asks for the same
        reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read, job)
        reading.add_done_callback(self._has_read)
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await reading  # cancelled, it leaves the queue
        except TimeoutError:
            raise _busy() from None
        except (StoreFailedError, StoreUnusableError) as error:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        finally:
            if self._under_way is job:
                self._interrupt()

    async def change(self, work: Callable[[Desk], T], *, by: str) -> T:
        """Do this in the name of somebody. Raises ProblemError where the store takes nothing now.

        What was begun is done, also for those who have gone meanwhile.
        """
        if self._is_closing or self._changing >= DESKS:
            raise _busy()
        self._changing += 1
        changing = asyncio.get_running_loop().run_in_executor(self._desks, self._change, work, by)
        changing.add_done_callback(self._has_changed)
        try:
            return await asyncio.shield(changing)
        except (StoreFailedError, StoreUnusableError) as error:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error

    async def close(self) -> None:
        """End what is read, and let go of the store. Nothing is read or changed from then on."""
        if self._is_closing:
            return
        self._is_closing = True
        self._interrupt()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
        self._thread.shutdown(wait=False)
        self._desks.shutdown(wait=False)

    def _interrupt(self) -> None:
        if self._reader is not None:
            self._reader.interrupt()

    def _has_read(self, reading: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        _forget(reading)

    def _has_changed(self, changing: "asyncio.Future[T]") -> None:
        self._changing -= 1
        _forget(changing)

    # What follows runs in threads.

    def _read(self, work: Callable[[StoreReader], T]) -> T:
        if self._is_closing:
            raise StoreFailedError("the store is being closed; ask again")
        if self._reader is None:
            self._reader = StoreReader(self._path)
        self._under_way = work
        try:
            return work(self._reader)
        finally:
            self._under_way = None

    def _change(self, work: Callable[[Desk], T], by: str) -> T:
        with Desk(self._path, by=by) as desk:
            return work(desk)

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _forget(ended: "asyncio.Future[T]") -> None:
    """Take note of how it ended: whoever waited for it may have gone."""
    if not ended.cancelled():
        ended.exception()


def _busy() -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "more is asked of the store than it can answer now; ask again",
        headers={"Retry-After": "5"},
    )
