"""A thread with an event loop of its own, on which foreign code lives apart from the daemon.

Invariants:
- No foreign code runs on the daemon's loop, and the daemon's loop waits for none: calls are handed over, answers are
  handed back, and whoever waits for an answer says for how long.
- A thread that was left answers nothing any more: all calls under way are answered at once, whatever they still do
  counts for nothing. It ends as soon as its code lets it, and never keeps the process from ending.
"""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Generic, ParamSpec, TypeVar

SWITCH_SECONDS: Final = 0.0005
CLEARING_SECONDS: Final = 0.5  # for what foreign code left running when its loop ends
POOLED: Final = 8  # threads for what foreign code itself hands to threads

Foreign = TypeVar("Foreign")
Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


class LeftError(Exception):
    """The thread was left while this call was under way."""


@dataclass(eq=False)
class Call(Generic[Foreign]):
    """One call of the foreign object."""

    work: Callable[[Foreign], Awaitable[None]]
    answer: asyncio.Future[BaseException | None]  # of the daemon's loop: what was raised
    task: asyncio.Task[BaseException | None] | None = None  # of the thread's loop


class Apart(Generic[Foreign]):
    """A thread that makes one foreign object, calls it and closes it. Opened and used on the daemon's loop."""

    def __init__(
        self,
        *,
        make: Callable[[], Foreign],
        close: Callable[[Foreign], Awaitable[None]],
        name: str,
    ) -> None:
        """Start the thread. The object is made there, by the first call. Raises RuntimeError or OSError."""
        self._make = make
        self._close = close
        self._object: Foreign | None = None
        self._calls: set[Call[Foreign]] = set()
        self._is_over = False
        self._here = asyncio.get_running_loop()
        self._ended = self._here.create_future()
        self._there = asyncio.new_event_loop()
        self._closing: asyncio.Task[None] | None = None
        # A thread that is never idle keeps the interpreter for so long at a time; the daemon's loop needs it after each
        # wait. With Python's 5 ms a plug-in that spins makes everything a hundred times slower, with this it does not.
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._there.close()
            raise

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def begin(self, work: Callable[[Foreign], Awaitable[None]]) -> Call[Foreign]:
        """Begin a call. Its answer comes, unless it hangs."""
        call = Call(work, self._here.create_future())
        self._calls.add(call)
        call.answer.add_done_callback(lambda _: self._calls.discard(call))
        self._hand_over(self._start, call)
        return call

    def cancel(self, call: Call[Foreign]) -> None:
        """Ask the call to end."""
        self._hand_over(self._cancel, call)

    async def end(self) -> None:
        """Close the object and wait until the thread has ended."""
        self._hand_over(self._finish)
        await asyncio.wait({self._ended})

    def leave(self) -> None:
        """Leave the thread to itself."""
        self._is_over = True
        self._hand_over(self._there.stop)
        for call in tuple(self._calls):
            _settle(call.answer, LeftError())

    def _hand_over(self, what: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # its loop is closed
            self._there.call_soon_threadsafe(what, *arguments)

    # What follows runs in the thread.

    def _live(self) -> None:
        loop = self._there
        asyncio.set_event_loop(loop)
        # What foreign tasks raise that nobody awaits is not ours to tell, and may come in floods.
        loop.set_exception_handler(lambda *_: None)
        loop.set_default_executor(_Pool())
        while not self._is_over:
            with suppress(
                BaseException
            ):  # a task that exits, or stops its loop, ends neither loop nor thread
                loop.run_forever()
        with suppress(BaseException):
            loop.run_until_complete(_cleared())
        with suppress(BaseException):
            loop.close()
        self._hand_back(self._ended, None)

    def _start(self, call: Call[Foreign]) -> None:
        call.task = self._there.create_task(self._run(call.work))
        call.task.add_done_callback(lambda task: self._hand_back(call.answer, _raised(task)))

    async def _run(self, work: Callable[[Foreign], Awaitable[None]]) -> BaseException | None:
        try:
            if self._object is None:
                self._object = self._make()
            await work(self._object)
        except BaseException as error:  # noqa: BLE001  (foreign code may raise anything; it is the answer)
            return error
        return None

    def _cancel(self, call: Call[Foreign]) -> None:
        if call.task is not None:
            call.task.cancel()

    def _finish(self) -> None:
        self._closing = self._there.create_task(self._close_object())

    async def _close_object(self) -> None:
        if self._object is not None:
            with suppress(BaseException):
                await self._close(self._object)
        self._is_over = True
        self._there.stop()

    def _hand_back(
        self, future: "asyncio.Future[BaseException | None]", raised: BaseException | None
    ) -> None:
        with suppress(RuntimeError):  # the daemon's loop is closed: nobody waits any more
            self._here.call_soon_threadsafe(_settle, future, raised)


def _settle(future: "asyncio.Future[BaseException | None]", raised: BaseException | None) -> None:
    if not future.done():
        future.set_result(raised)


def _raised(task: "asyncio.Task[BaseException | None]") -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.result()  # the former before its first step


async def _cleared() -> None:
    """End what is left on this loop, as far as it ends in good time."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=CLEARING_SECONDS)
    await asyncio.get_running_loop().shutdown_asyncgens()


class _Pool(ThreadPoolExecutor):
    """The threads behind a loop: to_thread, looking up names.

    Those of the parent keep the process from ending while one of them hangs. These do not.
    """

    def __init__(self) -> None:
        super().__init__(POOLED)
        self._given: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._made = 0

    def submit(
        self, work: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> "Future[Result]":
        future: Future[Result] = Future()
        self._given.put(partial(_fulfil, future, partial(work, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._made < POOLED:
            self._made += 1
            threading.Thread(target=self._serve, name=threading.current_thread().name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  (the parent's)
        for _ in range(self._made):
            self._given.put(None)

    def _serve(self) -> None:
        while (work := self._given.get()) is not None:
            work()
            self._idle.release()


def _fulfil(future: "Future[Any]", work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  (whoever awaits it is told)
        future.set_exception(error)
