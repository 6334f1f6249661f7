"""Host names become addresses, each in a thread of its own.

The system's resolver blocks, for half a minute where no name service answers. Invariants:
- One name that hangs delays no other name and nothing else that the daemon does in threads.
- A name is looked up once at a time, however many wait for it; the threads are bounded, and none of
  them keeps the program from ending.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

SECONDS: Final = 5.0
MAX_LOOKUPS: Final = 64  # at a time

_Question = tuple[str, int, socket.AddressFamily]


class NameTimeoutError(OSError):
    """The name service did not answer in time, or could not be asked."""


class Names(AbstractResolver):
    """Asks the system for addresses: hosts, name service, and whatever nsswitch.conf says.

    Connections are given it by name: aiohttp takes a resolver of its own where aiodns is installed, and
    that ignores nsswitch.conf.
    """

    def __init__(self) -> None:
        self._lookups: dict[_Question, asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses for a stream. Raises OSError within a few seconds."""
        question = (host, port, family)
        lookup = self._lookups.get(question)
        if lookup is None:
            if len(self._lookups) >= MAX_LOOKUPS:
                raise NameTimeoutError(f"{MAX_LOOKUPS} lookups of other names wait for the name service")
            lookup = self._begin(question)
        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.shield(lookup)
        except TimeoutError:
            raise NameTimeoutError(f"the name service did not answer within {SECONDS:g} s") from None

    async def close(self) -> None:
        """Nothing is kept open."""

    def _begin(self, question: _Question) -> asyncio.Future[list[ResolveResult]]:
        loop = asyncio.get_running_loop()
        lookup: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def look_up() -> None:
            found: list[ResolveResult] = []
            problem: OSError | None = None
            try:
                found = _look_up(*question)
            except OSError as error:
                problem = error
            except UnicodeError:  # a name that the encoding of host names refuses
                problem = socket.gaierror(socket.EAI_NONAME, "not a host name")
            except Exception as error:  # noqa: BLE001  (untold, it would leave the name waited for)
                problem = socket.gaierror(socket.EAI_FAIL, type(error).__name__)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._end, question, found, problem)

        try:
            threading.Thread(target=look_up, name=f"look up {question[0]}", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            raise NameTimeoutError(f"no thread can be started to ask for it ({error})") from None
        self._lookups[question] = lookup  # only now; its end is told to the loop, and so comes later
        return lookup

    def _end(self, question: _Question, found: list[ResolveResult], problem: OSError | None) -> None:
        lookup = self._lookups.pop(question)
        if problem is None:
            lookup.set_result(found)
        else:
            lookup.set_exception(problem)
            lookup.exception()  # nobody may be left to take it


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=_spelt(address),
            port=port,
            family=family,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for family, _, protocol, _, address in found
    ]


def _spelt(address: tuple[object, ...]) -> str:
    match address:
        case (str(host), _, _, int(scope)) if (
            scope and "%" not in host
        ):  # link-local: by this interface alone
            return f"{host}%{scope}"
        case _:
            return str(address[0])
