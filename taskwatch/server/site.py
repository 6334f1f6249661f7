"""What the parts of the server share: the daemon that is shown, its store, and the word that something happened."""

import asyncio
from http import HTTPStatus

from taskwatch.clock import Clock
from taskwatch.config.serving import Server
from taskwatch.server.problem import ProblemError
from taskwatch.server.records import Records
from taskwatch.server.view import Observed
from taskwatch.telemetry import Logger


class Site:
    """What the parts of the server share. `observed` is None while the daemon waits for its store."""

    def __init__(self, server: Server, *, clock: Clock, log: Logger) -> None:
        self.server = server
        self.clock = clock
        self.log = log
        self.observed: Observed | None = None
        self._missed: str | None = None  # why the token cannot be read
        self._records: Records | None = None
        self._told = asyncio.Event()  # set, and replaced, whenever something was recorded
        self.gone = asyncio.Event()  # set once the daemon is shown no more; the next one has another

    def show(self, observed: Observed) -> None:
        """Show this daemon from now on."""
        self._records = Records(observed.path)
        self.gone = asyncio.Event()
        self.observed = observed

    async def hide(self) -> None:
        """Show none: it stops, and its store is about to close. Streams end."""
        records, self._records, self.observed = self._records, None, None
        self.gone.set()
        self.wake()
        if records is not None:
            await records.close()

    def miss_token(self, why: str | None) -> None:
        """Take why the token cannot be read; None: it can. What is in the way is logged once."""
        if why is not None and why != self._missed:
            self.log.warning("server_token_unreadable", error=why, remedy="until then nobody is let in")
        self._missed = why

    @property
    def seen(self) -> Observed:
        """The daemon. Raises ProblemError while there is none."""
        if self.observed is None:
            raise _not_yet()
        return self.observed

    @property
    def records(self) -> Records:
        """The store. Raises ProblemError while it is not open."""
        if self._records is None:
            raise _not_yet()
        return self._records

    def wake(self) -> None:
        """Say that something was recorded."""
        told, self._told = self._told, asyncio.Event()
        told.set()

    @property
    def word(self) -> asyncio.Event:
        """What is set as soon as something is recorded from now on: whoever asks for it first, and then reads, misses nothing."""
        return self._told


def _not_yet() -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the daemon has no open store now: it starts, waits for it, or stops; its log says more",
        headers={"Retry-After": "5"},
    )
