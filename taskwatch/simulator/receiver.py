"""A webhook receiver on loopback, for the demo: verifies, keeps, and says what it was told."""

import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

MAX_KEPT: Final = 10_000


class WebhookReceiver:
    """Serves POST / on 127.0.0.1. Answers 401 to what is not signed with the secret, 204 to the rest."""

    def __init__(self, *, secret: str, told: Callable[[dict[str, Any]], None]) -> None:
        """`told` is called with each new event; copies of the same id are counted, not told."""
        self._verifier = Webhook(secret)
        self._told = told
        self._ids: set[str] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.received = 0
        self.copies = 0

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=1024 * 1024)
        application.router.add_post("/", self._receive)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        try:
            self._verifier.verify(body, dict(request.headers))
        except WebhookVerificationError:
            return web.Response(status=401, text="signature does not verify")
        event: dict[str, Any] = json.loads(body)
        self.received += 1
        if event["id"] in self._ids:
            self.copies += 1
        elif len(self._ids) < MAX_KEPT:
            self._ids.add(event["id"])
            self._told(event)
        return web.Response(status=204)
