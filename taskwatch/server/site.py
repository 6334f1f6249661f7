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
        self.obstacle: str | None = None  # why the store is not open yet
        self._records: Records | None = None
        self._told = asyncio.Event()  # set, and replaced, whenever something was recorded
        self.gone = asyncio.Event()  # set once the daemon is shown no more; the next one has another

    def show(self, observed: Observed) -> None:
        """Show this daemon from now on."""
        self.obstacle = None
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

    @property
    def seen(self) -> Observed:
        """The daemon. Raises ProblemError while there is none."""
        if self.observed is None:
            raise self._not_yet()
        return self.observed

    @property
    def records(self) -> Records:
        """The store. Raises ProblemError while it is not open."""
        if self._records is None:
            raise self._not_yet()
        return self._records

    def wake(self) -> None:
        """Say that something was recorded."""
        told, self._told = self._told, asyncio.Event()
        told.set()

    @property
    def word(self) -> asyncio.Event:
        """What is set as soon as something is recorded from now on: whoever asks for it first, and then reads, misses nothing."""
        return self._told

    def _not_yet(self) -> ProblemError:
        why = "it starts, or stops" if self.obstacle is None else f"it waits: {self.obstacle}"
        return ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the daemon has no open store now: {why}",
            headers={"Retry-After": "5"},
        )
