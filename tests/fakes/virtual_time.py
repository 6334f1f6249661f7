"""Virtual time: an event loop whose clock leaps to the next timer whenever nothing is ready.

Eight hours of waiting pass in milliseconds, in one and the same order each time. Two mistakes that
would hang on a real clock are errors here: nothing scheduled and nothing ready, and a loop that stays
busy while no time passes.
"""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

EPOCH: Final = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
_START: Final = 1_000.0  # a monotonic clock starts anywhere
_BUSY: Final = 200_000  # turns of the loop without time passing


class DeadlockError(BaseException):
    """Everybody waits for somebody. No exception that a program under test could take for its own."""


class BusyLoopError(BaseException):
    """The loop turns and turns, and no time passes."""


class _LeapingSelector(selectors.SelectSelector):
    """Instead of waiting for files, moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.time = _START
        self.turns = 0
        self.alarm: tuple[int, Callable[[], None]] | None = None
        self._turns = 0  # since time passed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("nothing is scheduled and nothing is ready: every task waits for ever")
        self.turns += 1
        if self.alarm is not None and self.alarm[0] == self.turns:
            self.alarm[1]()
        if timeout > 0:
            self.time += timeout
            self._turns = 0
            return []
        self._turns += 1
        if self._turns > _BUSY:
            self._turns = 0
            raise BusyLoopError(f"{_BUSY} turns of the loop at second {self.time - _START:g}")
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. It has no files, sockets or threads."""

    def __init__(self) -> None:
        self._leaping = _LeapingSelector()
        super().__init__(self._leaping)
        # A timer is due when time + resolution lies beyond it: a nanosecond drowns in large floats.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._leaping.time

    @property
    def turns(self) -> int:
        """How often the loop has turned: at each turn whatever is ready gets as far as its next await."""
        return self._leaping.turns

    def at_turn(self, turn: int, callback: Callable[[], None]) -> None:
        """Call this once, between two turns of the loop."""
        self._leaping.alarm = (turn, callback)


class VirtualClock:
    """The clocks of virtual time. The wall clock can be made to jump, the monotonic one cannot."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime = EPOCH) -> None:
        self._loop = loop
        self._begin = loop.time()
        self._wall = start

    def now(self) -> datetime:
        return self._wall + timedelta(seconds=self._loop.time() - self._begin)

    def monotonic(self) -> float:
        return self._loop.time()

    @property
    def elapsed(self) -> float:
        """Seconds since this clock was made."""
        return self._loop.time() - self._begin

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back."""
        self._wall += timedelta(seconds=seconds)


def run_virtual(coroutine: Awaitable[T], *, limit_seconds: float = 7 * 86_400.0) -> T:
    """Run to the end in virtual time; TimeoutError after so many virtual seconds."""

    async def limited() -> T:
        async with asyncio.timeout(limit_seconds):
            return await coroutine

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(limited())


def in_virtual_time(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Let pytest run an asynchronous test in virtual time."""

    @functools.wraps(scenario)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(scenario(*args, **kwargs))

    return test


def virtual_clock() -> VirtualClock:
    """Return a clock of the running loop."""
    return VirtualClock(asyncio.get_running_loop())
