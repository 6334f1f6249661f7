"""IAM on loopback that answers whatever a test wants, and keeps what it was asked.

    async with IamServer() as iam:
        iam.answer = login(token="t", expires_at="…")

It shares no code with taskwatch, nor with the simulator.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
ISSUED_AT = "2026-11-23T10:00:00.000000Z"
EXPIRES_AT = "2026-11-24T10:00:00.000000Z"


def login(
    *,
    token: str | None = "a-token-of-iam",  # noqa: S107  (of tests, no secret)
    header: str = "X-Subject-Token",
    status: int = 201,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Answering:
    """A login that succeeds; `fields` replace those of its token, `body` all of it."""
    known = {"issued_at": ISSUED_AT, "expires_at": EXPIRES_AT, "project": {"id": "p1", "name": "eu-de_x"}}
    shown = {name: value for name, value in (known | fields).items() if value is not None}

    async def answer(_: web.Request) -> web.StreamResponse:
        response = (
            web.json_response({"token": shown}, status=status)
            if body is None
            else web.Response(status=status, body=body)
        )
        response.headers.update(headers or {})
        if token is not None:
            response.headers[header] = token
        return response

    return answer


def refusal(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Answering:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


class IamServer:
    """Listens on a free port while it is entered."""

    def __init__(self) -> None:
        self.answer: Answering = login()
        self.asked: list[tuple[str, Mapping[str, str], bytes]] = []  # path and query, headers, body
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()
        self.auth_url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.auth_url = f"http://{host}:{port}/v3"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        assert self._runner is not None
        await self._runner.cleanup()

    async def silence(self, _: web.Request) -> web.StreamResponse:
        """Say nothing until the end."""
        await self._closing.wait()
        return web.Response()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path_qs, request.headers, await request.read()))
        return await self.answer(request)
