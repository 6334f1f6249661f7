"""A tasks endpoint on loopback, as the documentation describes it, that misbehaves on request.

    async with TasksEndpoint(token="t") as cloud:
        cloud.rows.append(row("a", status="Running"))
        cloud.script(None, status(503), cut(at=17))  # the 1st request is served, the 2nd and 3rd are not
        cloud.always = silence()                     # and all others hang

It shares no code with taskwatch. `served` holds what was really said, to compare with what was told.
"""

import asyncio
import gzip
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.fakes.list_service import ListService

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request, as it arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Exchange:
    """What a fault is given: the connection, and the body that would have been sent."""

    request: web.Request
    body: bytes
    is_closing: asyncio.Event

    def send(self, data: bytes) -> None:
        if self.request.transport is not None:
            self.request.transport.write(data)

    def hang_up(self) -> web.Response:
        if self.request.transport is not None:
            self.request.transport.close()
        return web.Response()


Fault = Callable[[Exchange], Awaitable[web.StreamResponse]]


def row(job_id: str, *, status: str = "Completed", **fields: Any) -> Row:
    """A row as the service sends it."""
    return {
        "instance_info": {
            "instance_id": "ce2dce50f365430abe161bab79495a6ein14",
            "instance_name": "gauss-1",
            "instance_status": "normal",
        },
        "job_id": job_id,
        "name": "BackupSnapshotGaussDBV5InInstance",
        "status": status,
        "process": None,
        "fail_reason": "out of disk" if status == "Failed" else None,
        "created_at": "2026-08-05T08:15:07+0800",
        "ended_at": None if status == "Running" else "2026-08-05T09:15:07+0800",
    } | fields


def rows(count: int, *, status: str = "Completed") -> list[Row]:
    return [row(f"job-{number:04d}", status=status) for number in range(count)]


def status(code: int, body: str | bytes | object = "", headers: Mapping[str, str] | None = None) -> Fault:
    """Answer with this status; a body that is no text is sent as JSON."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    raw_body = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")

    async def answer(_: Exchange) -> web.StreamResponse:
        return web.Response(status=code, body=raw_body, headers=headers)

    return answer


def raw(data: bytes) -> Fault:
    """Send these bytes instead of an answer, and hang up."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        exchange.send(data)
        return exchange.hang_up()

    return answer


def cut(*, at: int) -> Fault:
    """Promise the whole body, send its beginning, hang up."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        exchange.send(_head(len(exchange.body)) + exchange.body[:at])
        return exchange.hang_up()

    return answer


def cut_unnoticed(*, at: int) -> Fault:
    """Send the beginning of a body that ends where the connection ends: HTTP cannot tell."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + exchange.body[:at])
        return exchange.hang_up()

    return answer


def reset() -> Fault:
    """Break the connection without an answer."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        if exchange.request.transport is not None:
            exchange.request.transport.abort()
        return web.Response()

    return answer


def silence() -> Fault:
    """Take the request and say nothing until the endpoint is closed."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        await exchange.is_closing.wait()
        return exchange.hang_up()

    return answer


def drip(*, seconds: float) -> Fault:
    """Send the body one byte at a time."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        exchange.send(_head(len(exchange.body)))
        for number in range(len(exchange.body)):
            if exchange.is_closing.is_set() or exchange.request.transport is None:
                break
            exchange.send(exchange.body[number : number + 1])
            await asyncio.sleep(seconds)
        return exchange.hang_up()

    return answer


def compressed() -> Fault:
    """Send the right answer, compressed."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        return web.Response(body=gzip.compress(exchange.body), headers={"Content-Encoding": "gzip"})

    return answer


def gzip_bomb(*, inflated: int = 100_000_000) -> Fault:
    """Send a small body that inflates to a huge one."""
    bomb = gzip.compress(b'{"tasks": [], "x": "' + b" " * inflated + b'"}', compresslevel=9)

    async def answer(_: Exchange) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    return answer


def endless(*, block: bytes = b" " * 65536) -> Fault:
    """Send without end, in chunks, for as long as anybody reads."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(exchange.request)
        while not exchange.is_closing.is_set():
            await response.write(block)
        return response

    return answer


def _head(length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()


@dataclass
class TasksEndpoint:
    """`GET /v3/{project_id}/tasks` over `rows`, which may change at any time, and `/jobs` for single ones."""

    token: str | None = None
    listed: ListService = field(default_factory=ListService)
    shuffle: random.Random | None = None  # every answer in another order
    date: str | None = None  # the Date header; the clock's without it
    always: Fault | None = None  # for requests beyond the script
    before: Callable[[int], None] | None = None  # called with the number of each request, from 1
    requests: list[Asked] = field(default_factory=list)
    served: set[tuple[str, str]] = field(default_factory=set)  # (job_id, status), said wholly or in part
    peers: set[object] = field(default_factory=set)  # the far ends of the connections
    url: str = ""

    def script(self, *faults: Fault | None) -> None:
        """Say what becomes of the next requests, one each; None: they are served."""
        self._script.extend(faults)

    async def __aenter__(self) -> Self:
        self._script: deque[Fault | None] = deque()
        self._is_closing = asyncio.Event()
        application = web.Application()
        application.router.add_get("/v3/{project_id}/tasks", self._answer)
        application.router.add_get("/v3/{project_id}/jobs", self._answer)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=1.0, max_field_size=65536, max_line_size=65536
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.peers.add(request.transport and request.transport.get_extra_info("peername"))
        self.requests.append(Asked(request.path, dict(request.query), dict(request.headers)))
        if self.before is not None:
            self.before(len(self.requests))
        fault = self._script.popleft() if self._script else self.always
        if fault is None and self.token is not None and request.headers.get("X-Auth-Token") != self.token:
            return _error(401, "APIGW.0301", "Incorrect IAM authentication information: decrypt token fail")
        if self.shuffle is not None:
            self.shuffle.shuffle(self.rows)
        code, answer = self.listed.answer(request.path.rpartition("/")[2], request.query)
        body = json.dumps(answer).encode()
        job = answer.get("job")
        said = answer.get("tasks", []) if job is None else [{"job_id": job["id"], "status": job["status"]}]
        self.served |= {(str(one.get("job_id")), str(one.get("status"))) for one in said}
        if fault is not None:
            return await fault(Exchange(request, body, self._is_closing))
        return web.Response(
            status=code,
            body=body,
            content_type="application/json",
            headers={"Date": self.date or formatdate(usegmt=True)},
        )

    @property
    def rows(self) -> list[Row]:
        return self.listed.rows

    @rows.setter
    def rows(self, rows: list[Row]) -> None:
        self.listed.rows = rows


def _error(code: int, error_code: str, message: str) -> web.Response:
    return web.json_response(
        {"error_msg": message, "error_code": error_code, "request_id": "42267f"}, status=code
    )
