"""A webhook receiver on loopback, for the demo: verifies, counts, says what it was told, and can break."""

import json
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

MAX_KEPT: Final = 100_000
HOST: Final = "127.0.0.1"


class State(Enum):
    """What becomes of a request, in words."""

    WORKS = "works"
    UNAVAILABLE = "answers 503"
    GONE = "refuses connections"


class WebhookReceiver:
    """Serves POST / on loopback. Answers 401 to what is not signed with the secret, 204 to the rest.

    `turn` breaks and mends it; its address stays.
    """

    def __init__(self, *, secret: str, told: Callable[[dict[str, Any]], None]) -> None:
        """`told` is called with each new event; copies of the same id are counted, not told."""
        self._verifier = Webhook(secret)
        self._told = told
        self._ids: set[str] = set()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.state = State.WORKS
        self.received = 0
        self.copies = 0
        self.unsigned = 0
        self.unavailable = 0  # requests answered with 503

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/"

    @property
    def is_full(self) -> bool:
        """Whether it has stopped to remember what it was told."""
        return len(self._ids) >= MAX_KEPT

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def turn(self, state: State) -> None:
        """Behave like this from now on. Raises OSError if the address was taken meanwhile."""
        self.state = state
        if state is State.GONE:
            await self._close()
        elif self._runner is None:
            await self._open()

    async def _open(self) -> None:
        application = web.Application(client_max_size=1024 * 1024)
        application.router.add_post("/", self._receive)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, HOST, self._port).start()
        self._runner, self._port = runner, runner.addresses[0][1]

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        if self.state is not State.WORKS:
            self.unavailable += 1
            return web.Response(status=503, text="down for maintenance")
        try:
            self._verifier.verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.unsigned += 1
            return web.Response(status=401, text="signature does not verify")
        event: dict[str, Any] = json.loads(body)
        self.received += 1
        if event["id"] in self._ids:
            self.copies += 1
        elif not self.is_full:
            self._ids.add(event["id"])
            self._told(event)
        return web.Response(status=204)
