"""One address at which the site is served, with bounds on all that strangers can make of it."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from taskwatch.config.serving import Listen, TcpListen, UnixListen
from taskwatch.server.problem import ProblemError

MAX_CONNECTIONS: Final = 100
IDLE_SECONDS: Final = 30.0  # a connection without a whole request in this time is closed
MAX_HEADER: Final = 8190  # bytes of a line
MAX_HEADERS: Final = 64
STOP_SECONDS: Final = 2.0
ASK_SECONDS: Final = 1.0  # for those who have come to a listener that another one follows, to ask
DRAIN_SECONDS: Final = 30.0  # for the answers of a listener that another one follows
REFUSED_SECONDS: Final = 1.0  # for which a connection too many is held, until its end has read why
SOCKET_MODE: Final = 0o660
BACKLOG: Final = 128
# aiohttp writes a traceback for each malformed request: whoever sends those would fill the log.
_SILENT: Final = logging.getLogger("taskwatch.server.http")
_SILENT.disabled = True


class Listener:
    """Listens from `open` to `close`; `leave` and `drain` come between them where another one follows it."""

    def __init__(self, application: web.Application) -> None:
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=STOP_SECONDS
        )
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None
        self._path: Path | None = None
        self._last: list[socket.socket] = []  # who had come when the address was let go
        self._refused: set[_Full] = set()
        self.url: str | None = None  # None: a Unix socket, or not open

    async def open(self, listen: Listen, *, after: "Listener | None" = None) -> None:
        """Begin to listen, also at the port of the one that it comes after. Raises OSError where the address cannot be had."""
        await self._runner.setup()
        listening = await _bound_aside(listen, None if after is None else after._listening)  # noqa: SLF001 - one of us
        try:
            loop = asyncio.get_running_loop()
            if isinstance(listen, UnixListen):
                self._path = listen.path
                self._server = await loop.create_unix_server(self._accept, sock=listening, backlog=BACKLOG)
            else:
                self._server = await loop.create_server(self._accept, sock=listening, backlog=BACKLOG)
                self.url = _url(listen, listening)
        except BaseException:
            listening.close()
            raise
        self._listening = listening

    async def leave(self) -> None:
        """Let go of the address. Who has come until then is still answered."""
        if self._listening is not None:
            # asyncio forgets connections that it has accepted and not begun when their server is closed.
            asyncio.get_running_loop().remove_reader(self._listening)
            await asyncio.sleep(0)
            self._last = list(_come(self._listening))
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._server = self._listening = self._path = self.url = None

    async def drain(self) -> None:
        """Wait for the answers to those who have come; what takes too long is cut off, and streams are."""
        loop = asyncio.get_running_loop()
        while self._last:  # each belongs to its transport from then on
            await loop.connect_accepted_socket(self._accept, self._last.pop(0))
        await asyncio.sleep(ASK_SECONDS)
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
            await self._runner.server.shutdown(DRAIN_SECONDS)

    async def close(self) -> None:
        """End the connections, and what is answered over them, within a bounded time."""
        await self.leave()
        for connection in self._last:
            connection.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None  # noqa: S101 - it is set up before anything is accepted
        if len(server.connections) >= MAX_CONNECTIONS:
            idle = next(
                (one for one in server.connections if isinstance(one, _Connection) and one.is_idle), None
            )
            if idle is None:
                return _Full(self._refused)
            idle.force_close()  # the oldest of those that ask nothing: strangers keep nobody out by being there
        return _Connection(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_SECONDS,
            logger=_SILENT,
            access_log=_SILENT,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
            lingering_time=STOP_SECONDS,
        )


class _Connection(RequestHandler):
    """A connection on which malformed requests are answered as all errors are."""

    __slots__ = ()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked over it."""
        return self._current_request is None and not self._force_close

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, for a bounded time: over a Unix socket the kernel waits for ever."""
        if isinstance(resp, web.HTTPException):  # an Expect is looked at before anything of ours
            resp = ProblemError(
                HTTPStatus(resp.status), "expects what is not done here; leave Expect out"
            ).answer()
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            raise ConnectionResetError from None

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  (aiohttp's)
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002
        message: str | None = None,  # noqa: ARG002  (it repeats what was sent)
    ) -> web.StreamResponse:
        answer = ProblemError(HTTPStatus(status), "not a request of HTTP/1.1 within its bounds").answer()
        answer.headers["Server"] = "taskwatch"
        answer.force_close()
        return answer


class _Full(asyncio.Protocol):
    """A connection too many. It is told so, and what it sends is thrown away for a moment: else it would not hear."""

    def __init__(self, refused: "set[_Full]") -> None:
        self._refused = refused
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream
        if len(self._refused) >= MAX_CONNECTIONS:
            transport.abort()
            return
        self._refused.add(self)
        self._end = asyncio.get_running_loop().call_later(REFUSED_SECONDS, transport.abort)
        body = b'{"title": "Service Unavailable", "status": 503, "detail": "too many connections; ask again"}'
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
        )
        transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's)
        self._refused.discard(self)
        if self._end is not None:
            self._end.cancel()


def _come(listening: socket.socket) -> Iterator[socket.socket]:
    """Accept all who wait: they would be cut off with what listens."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            yield connection


async def _bound_aside(listen: Listen, beside: socket.socket | None) -> socket.socket:
    """Bind in a thread: a name has to be looked up, and whoever answers for names may be slow."""
    binding = asyncio.get_running_loop().run_in_executor(None, _bound, listen, beside)
    try:
        return await asyncio.shield(binding)
    except asyncio.CancelledError:
        binding.add_done_callback(_let_go)
        raise


def _let_go(binding: "asyncio.Future[socket.socket]") -> None:
    if not binding.cancelled() and binding.exception() is None:
        binding.result().close()


def _bound(listen: Listen, beside: socket.socket | None) -> socket.socket:
    if isinstance(listen, UnixListen):
        return _bound_path(listen.path)
    family, _, _, _, address = socket.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Of each connection: one that takes nothing of what it asked for ends.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(IDLE_SECONDS * 1000))
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] is everywhere
        if beside is not None and beside.family != socket.AF_UNIX and beside.getsockname()[1] == listen.port:
            # 127.0.0.1:9720 and [::]:9720 are in each other's way, unless both say that they are not.
            for one in (beside, listening):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _bound_path(path: Path) -> socket.socket:
    """Bind the path; take away a socket that a daemon left there which died."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_forsaken(path):
            path.unlink()
        listening.bind(str(path))
        os.chmod(path, SOCKET_MODE)  # noqa: PTH101 - of what was bound a moment ago
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _is_forsaken(path: Path) -> bool:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _url(listen: TcpListen, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104 - it is replaced
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
