"""A webhook receiver on loopback that misbehaves on request, and remembers each byte it was sent."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Post:
    """One POST that arrived whole."""

    id: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    accepted: bool  # the receiver says that it took it, whether or not the sender learnt so

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


async def accept(_: web.Request) -> web.StreamResponse:
    return web.Response(status=204)


def answer(status: int, body: str = "", headers: Mapping[str, str] | None = None) -> Behaviour:
    async def behave(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, headers=headers)

    return behave


async def hang(request: web.Request) -> web.StreamResponse:
    """Take it, and let the sender time out."""
    await request.app[CLOSING].wait()
    return web.Response(status=204)


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Take it, and lose the acknowledgement."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=204)


CLOSING: web.AppKey[asyncio.Event] = web.AppKey("closing", asyncio.Event)


@dataclass
class WebhookSink:
    """Serves POST on any path. `choose` picks the behaviour of each request; None refuses before it is taken."""

    choose: Callable[[], Behaviour] = lambda: accept
    choose_for: Callable[[web.Request], Behaviour | None] = lambda _: None  # None: as `choose` says
    posts: list[Post] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application()
        application[CLOSING] = asyncio.Event()
        application.router.add_post("/{path:.*}", self._receive)
        self._application = application
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._application[CLOSING].set()
        await self._runner.cleanup()

    def let_go(self) -> None:
        """Let the requests that hang be answered."""
        self._application[CLOSING].set()

    @property
    def accepted(self) -> list[Post]:
        return [post for post in self.posts if post.accepted]

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        behaviour = self.choose_for(request) or self.choose()
        takes = behaviour in (accept, hang, hang_up)
        self.posts.append(
            Post(request.headers.get("webhook-id", ""), request.path, body, dict(request.headers), takes)
        )
        return await behaviour(request)
