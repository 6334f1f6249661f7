"""The server's life: it listens as the configuration says, whatever becomes of that, and follows reloads.

It is no condition of watching: where its address cannot be had, that is logged and tried again, and the
daemon polls and tells all the same.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from taskwatch.clock import Clock
from taskwatch.config.serving import Listen
from taskwatch.config.serving import Server as Section
from taskwatch.telemetry import Logger

if TYPE_CHECKING:
    from taskwatch.server.listener import Listener
    from taskwatch.server.site import Site
    from taskwatch.server.view import Observed

AGAIN_SECONDS: Final = 5.0


class Server:
    """Serves from `run` to its end. What it needs is imported once something is to be served."""

    def __init__(self, section: Section, *, clock: Clock, log: Logger) -> None:
        self._section = section
        self._clock = clock
        self._log = log
        self._site: Site | None = None
        self._observed: Observed | None = None
        self._listener: Listener | None = None
        self._changed = asyncio.Event()
        self._opened = asyncio.Event()  # while it listens

    @property
    def url(self) -> str | None:
        """Where it is reached over TCP; None: it is not, or not yet."""
        return None if self._listener is None else self._listener.url

    async def opened(self, *, seconds: float) -> bool:
        """Wait until it listens, for so long at most; tell whether it does."""
        try:
            async with asyncio.timeout(seconds):
                await self._opened.wait()
        except TimeoutError:
            return False
        return True

    def show(self, observed: "Observed") -> None:
        """Show this daemon from now on."""
        self._observed = observed
        if self._site is not None:
            self._site.show(observed)

    async def hide(self) -> None:
        """Show none from now on."""
        self._observed = None
        if self._site is not None:
            await self._site.hide()

    def wake(self) -> None:
        """Say that something was recorded."""
        if self._site is not None:
            self._site.wake()

    def adopt(self, section: Section) -> None:
        """Be configured like this from now on; another address is taken as soon as the old one is let go."""
        self._section = section
        if self._site is not None:
            self._site.server = section
        self._changed.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        log = self._log.error
        try:
            while True:
                try:
                    await self._serve()
                except Exception as error:  # noqa: BLE001  (a mistake of ours in the server must not end the watch)
                    log("server_broken", exc_info=error)
                    log = self._log.debug
                    await self._close()
                    await asyncio.sleep(AGAIN_SECONDS)
        finally:
            await self._close()

    async def _serve(self) -> None:
        complaint: str | None = None
        while True:
            self._changed.clear()
            listen, patience = self._section.listen, None
            if listen is not None:
                complaint = await self._listen(listen, complaint)
                patience = AGAIN_SECONDS if complaint else None
            await self._wait(listen, patience)
            if self._section.listen != listen:
                await self._close()

    async def _listen(self, listen: Listen, complaint: str | None) -> str | None:
        """Begin to listen; return what is in the way, which is logged once."""
        if self._listener is not None:
            return None
        from taskwatch.server.application import application  # noqa: PLC0415 - none of it where nothing is served
        from taskwatch.server.listener import Listener  # noqa: PLC0415 - the same
        from taskwatch.server.site import Site  # noqa: PLC0415 - the same

        if self._site is None:
            self._site = Site(self._section, clock=self._clock, log=self._log)
            if self._observed is not None:
                self._site.show(self._observed)
        listener = Listener(application(self._site))
        try:
            await listener.open(listen)
        except (OSError, UnicodeError) as error:  # the latter of a name that no name service could know
            await listener.close()
            found = getattr(error, "strerror", None) or str(error)
            if found != complaint:
                self._log.warning(
                    "server_not_listening",
                    listen=str(listen),
                    error=found,
                    remedy="it is tried again; write another server.listen, or off",
                )
            return found
        self._listener = listener
        self._opened.set()
        self._log.info("server_listening", listen=str(listen), url=listener.url)
        return None

    async def _wait(self, listen: Listen | None, patience: float | None) -> None:
        while True:
            try:
                async with asyncio.timeout(patience):
                    await self._changed.wait()
            except TimeoutError:
                return
            self._changed.clear()
            if self._section.listen != listen:
                return

    async def _close(self) -> None:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            self._opened.clear()
            await listener.close()
