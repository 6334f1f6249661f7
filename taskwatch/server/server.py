"""The server's life: it listens as the configuration says, whatever becomes of that, and follows reloads.

- It is no condition of watching: where its address cannot be had, that is logged and tried again, and the
  daemon polls and tells all the same.
- Another address is taken before the one before it is let go. If it cannot be had, the whole section waits for it:
  a token that a new, narrower address does not need is still asked for at the old one.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from taskwatch.clock import Clock
from taskwatch.config.serving import Listen
from taskwatch.config.serving import Server as Section
from taskwatch.telemetry import Logger

if TYPE_CHECKING:
    from taskwatch.server.gate import Guard
    from taskwatch.server.listener import Listener
    from taskwatch.server.site import Site
    from taskwatch.server.view import Observed

AGAIN_SECONDS: Final = 5.0
TRY_SECONDS: Final = 5.0  # that a reload waits for the address: a name may have to be looked up


class Server:
    """Serves from `run` to its end. What it needs is imported once something is to be served."""

    def __init__(self, section: Section, *, clock: Clock, log: Logger) -> None:
        self._section = section
        self._clock = clock
        self._log = log
        self._site: Site | None = None
        self._observed: Observed | None = None
        self._obstacle: str | None = None  # why the store is not open yet
        self._listener: Listener | None = None
        self._guard: Guard | None = None  # of that one
        self._listens: Listen | None = None  # where it does
        self._complaint: str | None = None  # why it does not where it should
        self._leaving: dict[Listener, asyncio.Task[None]] = {}  # those that others have followed
        self._is_running = False
        self._changed = asyncio.Event()
        self._tried = asyncio.Event()  # to follow the section
        self._opened = asyncio.Event()  # while it listens

    @property
    def url(self) -> str | None:
        """Where it is reached over TCP; None: it is not, or not yet."""
        return None if self._listener is None else self._listener.url

    @property
    def misplaced(self) -> str | None:
        """Say in a line why it goes on serving where it should not any more; None: it does not."""
        return None if self._listener is None else self._complaint

    async def opened(self, *, seconds: float) -> bool:
        """Wait until it listens, for so long at most; tell whether it does."""
        return await _set_within(self._opened, seconds)

    def wait_for(self, obstacle: str) -> None:
        """Say why there is no store yet, to whoever asks."""
        self._obstacle = obstacle
        if self._site is not None:
            self._site.obstacle = obstacle

    def show(self, observed: "Observed") -> None:
        """Show this daemon from now on."""
        self._observed, self._obstacle = observed, None
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
        """Be configured like this, as soon as its address can be had; until then all stays as it was."""
        self._section = section
        self._tried.clear()
        self._changed.set()

    async def adopted(self) -> str | None:
        """Wait until that was tried, for a bounded time; return in a line what is in the way, if anything is."""
        if not self._is_running:
            return None
        if not await _set_within(self._tried, TRY_SECONDS):
            return (
                f"the server still tries to listen at {self._section.listen}; the log says what becomes of it"
            )
        return self._complaint

    async def run(self) -> None:
        """Listen until cancelled."""
        log = self._log.error
        self._is_running = True
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
            self._is_running = False
            await self._close()

    async def _serve(self) -> None:
        while True:
            self._changed.clear()
            section = self._section
            self._complain(section, await self._follow(section))
            if section is self._section:
                self._tried.set()
            await _set_within(self._changed, None if self._complaint is None else AGAIN_SECONDS)

    async def _follow(self, section: Section) -> str | None:
        """Serve as this section says; return what is in the way. Until it can be, what is served goes on as it was.

        The address comes first: what guarded the old one guards it to its end.
        """
        if section.listen != self._listens or self._listener is None:
            try:
                following = None if section.listen is None else await self._listen(section, section.listen)
            except (OSError, UnicodeError) as error:  # the latter of a name that no name service could know
                return getattr(error, "strerror", None) or str(error)
            self._replace(following)
            self._listens = section.listen
            if self._listener is not None:
                self._log.info("server_listening", listen=str(section.listen), url=self._listener.url)
        if self._guard is not None:
            self._guard.adopt(section)
        if self._site is not None:
            self._site.server = section
        return None

    async def _listen(self, section: Section, listen: Listen) -> "tuple[Listener, Guard]":
        """Begin to listen there, beside what listens now. Raises OSError and UnicodeError."""
        from taskwatch.server.application import application  # noqa: PLC0415 - none of it where nothing is served
        from taskwatch.server.gate import Guard  # noqa: PLC0415 - the same
        from taskwatch.server.listener import Listener  # noqa: PLC0415 - the same
        from taskwatch.server.site import Site  # noqa: PLC0415 - the same

        if self._site is None:
            self._site = Site(section, clock=self._clock, log=self._log)
            self._site.obstacle = self._obstacle
            if self._observed is not None:
                self._site.show(self._observed)
        guard = Guard(section, self._log)
        listener = Listener(application(self._site, guard))
        try:
            await listener.open(listen, after=self._listener)
        except BaseException:
            await listener.close()
            raise
        return listener, guard

    def _complain(self, section: Section, found: str | None) -> None:
        """Take what is in the way of this section. It is logged once."""
        remains = (
            "nothing is served" if self._listener is None else f"it is served at {self._listens}, as before"
        )
        complaint = (
            None if found is None else f"the server cannot listen at {section.listen} ({found}); {remains}"
        )
        if complaint is not None and complaint != self._complaint:
            self._log.warning(
                "server_not_listening",
                listen=str(section.listen),
                error=found,
                remains=remains,
                remedy="it is tried again; write another server.listen, or off",
            )
        self._complaint = complaint

    def _replace(self, following: "tuple[Listener, Guard] | None") -> None:
        """Serve here from now on; what listened finishes its answers beside."""
        leaving = self._listener
        self._listener, self._guard = following or (None, None)
        if self._listener is None:
            self._opened.clear()
        else:
            self._opened.set()
        if leaving is not None:
            self._leaving[leaving] = task = asyncio.create_task(_ended(leaving), name="server drains")
            task.add_done_callback(lambda _: self._leaving.pop(leaving, None))

    async def _close(self) -> None:
        self._replace(None)
        leaving = dict(self._leaving)
        for task in leaving.values():
            task.cancel()
        await asyncio.gather(*leaving.values(), return_exceptions=True)
        await asyncio.gather(*(listener.close() for listener in leaving))


async def _ended(listener: "Listener") -> None:
    try:
        await listener.leave()
        await listener.drain()
    finally:
        await listener.close()


async def _set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for it, for so long at most; tell whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
