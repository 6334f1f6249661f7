"""How the demo ends early: Ctrl-C or SIGTERM, at any moment and as often as anybody likes."""

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Ending:
    """Hears the signals from its making on. `close` leaves them unheard: the process is about to end by itself."""

    def __init__(self) -> None:
        self.is_asked_for = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def close(self) -> None:
        # Python gives its handlers up before it ends, and a second Ctrl-C would be a death by signal.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def sets(self, stop: "asyncio.Event", loop: "asyncio.AbstractEventLoop") -> None:
        """Set `stop` when the end is asked for, or at once if it was."""
        self._stop, self._loop = stop, loop
        if self.is_asked_for:
            stop.set()

    def _ask(self, *_: object) -> None:
        self.is_asked_for = True
        if self._stop is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
