"""One thread, one connection, group commit.

- A waiter of a write is answered after the fsync of the commit that holds it, never before.
- A call that fails by itself (a constraint, an error of the domain) is rolled back alone. An error
  that may end the whole transaction (disk full, input and output, memory) fails the whole group,
  and nothing of the group is kept.
- On a full disk calls that add to the store are refused; the others go on in the space that was reserved.
- A disk that refuses to make a commit durable leaves unknown what it holds: the writer is lost, and
  refuses everything from then on.
- A waiter that is cancelled changes nothing for the others, nor for its own call: that happens as a
  whole or not at all.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import apsw

from taskwatch.errors import StoreFailedError, StoreLostError

T = TypeVar("T")

GROUP: Final = 256  # calls that share one commit at most
PLACES: Final = 1024  # calls in the queue at most; more wait outside

# After these SQLite may have rolled back more than the statement that met them.
_ENDS_THE_GROUP: Final = (
    apsw.BusyError,
    apsw.FullError,
    apsw.InterruptError,
    apsw.IOError,
    apsw.NoMemError,
    MemoryError,
)
# No later call can be believed after these; the next start checks the whole store.
_DAMAGE: Final = (apsw.CorruptError, apsw.NotADBError)


@dataclass(slots=True, kw_only=True, eq=False)
class _Call:
    work: Callable[[apsw.Connection], Any]
    durable: bool
    grows: bool
    waiter: "asyncio.Future[_Outcome]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None


_Answer = tuple[_Call, _Outcome]


class Reserve(Protocol):
    """Space for a full disk; `store.reserve` has the real one."""

    is_spent: bool

    def set_aside(self) -> None: ...

    def spend(self) -> bool:
        """Give the space to the disk; tell whether there was any left to give."""
        ...

    def has_room(self) -> bool:
        """Tell whether what grows would find room beside it."""
        ...


class Writer:
    """Runs calls on the connection in a thread of its own; awaited from one event loop.

    `lost` is set once the disk refused a commit: whoever awaits it ends the process.
    """

    def __init__(self, connection: apsw.Connection, *, reserve: Reserve) -> None:
        self.lost = asyncio.Event()
        self.commits = 0  # that became durable
        self.trouble: str | None = None  # why the last commit was refused; None: it was not
        self._connection = connection
        self._reserve = reserve
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._places = asyncio.Semaphore(PLACES)
        self._closing = False
        self._farewell: Callable[[apsw.Connection], object] | None = None
        self._loss: Exception | None = None
        # A daemon thread: a process that fails before it closes the store still ends. What was not
        # committed by then was not answered either.
        self._thread = threading.Thread(target=self._run, name="taskwatch-store", daemon=True)
        self._thread.start()

    @property
    def loss(self) -> Exception | None:
        """What made the store unbelievable; None while it is not."""
        return self._loss

    async def write(self, work: Callable[[apsw.Connection], T], *, grows: bool = False) -> T:
        """Run the work in a transaction; return once it is durable. What `grows` the store waits on a full disk.

        Raises what the work raised, StoreFailedError if nothing of it was kept, StoreLostError if
        nobody can tell.
        """
        value: T = await self._ask(work, durable=True, grows=grows)
        return value

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run the work on what is committed. It goes ahead of the writes that are queued."""
        value: T = await self._ask(work, durable=False)
        return value

    async def close(self, farewell: Callable[[apsw.Connection], object]) -> None:
        """Do what is queued, then the farewell unless the writer is lost, then close the connection."""
        if not self._closing:
            self._closing = True
            self._farewell = farewell
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _ask(
        self, work: Callable[[apsw.Connection], Any], *, durable: bool, grows: bool = False
    ) -> Any:
        await self._places.acquire()
        if self._closing:
            self._places.release()
            raise StoreFailedError("the store is closed")
        waiter: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._queue.put(_Call(work=work, durable=durable, grows=grows, waiter=waiter))
        outcome = await waiter
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def _settle(self, answers: Sequence[_Answer]) -> None:
        """Wake the waiters; runs on the loop.

        A place is free only now: the queue stays bounded even when every waiter is cancelled.
        """
        if self._loss is not None:
            self.lost.set()
        for call, outcome in answers:
            self._places.release()
            if not call.waiter.done():
                call.waiter.set_result(outcome)

    # What follows runs in the thread.

    def _run(self) -> None:
        closing = False
        while not closing:
            taken = self._take()
            closing = taken[-1] is None  # nothing is queued behind it
            calls = [call for call in taken if call is not None]
            self._answer([(call, self._read(call)) for call in calls if not call.durable])
            self._answer(self._commit([call for call in calls if call.durable]))
        self._end()

    def _take(self) -> list[_Call | None]:
        taken = [self._queue.get()]
        while taken[-1] is not None and len(taken) < GROUP:
            try:
                taken.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return taken

    def _answer(self, answers: Sequence[_Answer]) -> None:
        if not answers:
            return
        loop = answers[0][0].waiter.get_loop()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._settle, answers)

    def _read(self, call: _Call) -> _Outcome:
        if self._loss is not None:
            return self._refusal()
        try:
            return _Outcome(value=call.work(self._connection))
        except _DAMAGE as error:
            self._loss = error
            return self._refusal()
        except Exception as error:  # noqa: BLE001 - whatever the work raised is its waiter's
            return _Outcome(error=_told(error))

    def _commit(self, calls: Sequence[_Call]) -> list[_Answer]:
        if self._reserve.is_spent:
            self._reserve.set_aside()
        if not self._reserve.is_spent:
            try:
                return self._transact(calls)
            except apsw.FullError:
                self._reserve.spend()
                self._shorten_log()
        growing = [(call, _Outcome(error=_no_room())) for call in calls if call.grows]
        try:
            return growing + self._transact([call for call in calls if not call.grows])
        except apsw.FullError as error:
            return growing + [(call, _Outcome(error=_failed(error))) for call in calls if not call.grows]
        finally:
            if calls:
                self.trouble = "the disk is full"

    def _transact(self, calls: Sequence[_Call]) -> list[_Answer]:
        """Run the calls in one transaction. No answer is given before the commit is durable.

        Raises apsw.FullError where the disk has no room for them; then nothing of them was kept.
        """
        if not calls:
            return []
        if self._loss is not None:
            return [(call, self._refusal()) for call in calls]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            answers = [(call, self._attempt(call)) for call in calls]
        except Exception as error:  # noqa: BLE001 - the group shares the fate of its transaction
            return self._abandon(calls, error)
        try:
            self._connection.execute("COMMIT")
        except apsw.IOError as error:
            # After a failed fsync the kernel may forget what it could not write and call the next
            # fsync a success. Trying again would be believing that.
            self._loss = error
            return [(call, self._refusal()) for call in calls]
        except Exception as error:  # noqa: BLE001 - as above
            return self._abandon(calls, error)
        self.commits += 1
        # What adds nothing fits where nothing else does: that alone says nothing of a disk that was full.
        if self.trouble is not None and (any(call.grows for call in calls) or self._reserve.has_room()):
            self.trouble = None
        return answers

    def _attempt(self, call: _Call) -> _Outcome:
        self._connection.execute("SAVEPOINT call")
        try:
            outcome = _Outcome(value=call.work(self._connection))
        except (*_ENDS_THE_GROUP, *_DAMAGE):
            raise
        except Exception as error:
            if self._connection.get_autocommit():  # the transaction is gone, with all its calls
                raise
            self._connection.execute("ROLLBACK TO call")
            outcome = _Outcome(error=_told(error))
        self._connection.execute("RELEASE call")
        return outcome

    def _abandon(self, calls: Sequence[_Call], error: Exception) -> list[_Answer]:
        try:
            if not self._connection.get_autocommit():
                self._connection.execute("ROLLBACK")
        except apsw.Error as failure:
            self._loss = failure
        if isinstance(error, _DAMAGE):
            self._loss = error
        if self._loss is not None:
            return [(call, self._refusal()) for call in calls]
        if isinstance(error, apsw.FullError):
            raise error
        self.trouble = str(error)
        return [(call, _Outcome(error=_failed(error))) for call in calls]

    def _shorten_log(self) -> None:
        """Move SQLite's log into the store: the next commits take its place, and no more room."""
        with suppress(apsw.Error):  # a reader may be in the way: then it grows a little further
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)

    def _refusal(self) -> _Outcome:
        error = StoreLostError(f"what the store holds is unknown until it is opened anew: {self._loss}")
        error.__cause__ = self._loss
        return _Outcome(error=error)

    def _end(self) -> None:
        with suppress(apsw.Error):  # then the stop was not clean, and the next start checks the store
            if self._loss is not None:
                self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            elif self._farewell is not None:
                self._farewell(self._connection)
        self._connection.close()


def _no_room() -> StoreFailedError:
    return StoreFailedError(
        "the disk is full: nothing new is recorded until there is room again; what was sent is"
    )


def _told(error: Exception) -> Exception:
    """Return what a waiter is told of an error of its own call; apsw stays inside the store."""
    if isinstance(error, apsw.Error):
        return _failed(error)
    return error


def _failed(error: Exception) -> StoreFailedError:
    failure = StoreFailedError(f"the store refused it, nothing was kept: {error}")
    failure.__cause__ = error
    return failure
