"""PagerDuty's Events API v2 on loopback: it refuses what its documentation forbids, and keeps the incidents.

Written from https://developer.pagerduty.com/docs/events-api-v2/trigger-events and its pages beside.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

ACTIONS = {"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}


@dataclass
class FakePagerduty:
    """Takes POST /v2/enqueue. `answer` answers something else instead."""

    events: list[dict[str, Any]] = field(default_factory=list)
    incidents: dict[str, list[str]] = field(default_factory=dict)  # by key: its states, in order
    answer: Callable[[web.Request], Awaitable[web.Response]] | None = None
    url: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/v2/enqueue", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v2/enqueue"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        if self.answer is not None:
            return await self.answer(request)
        event = await request.json()
        if problems := _problems(event):
            refusal = {"status": "invalid event", "message": "Event object is invalid", "errors": problems}
            return web.json_response(refusal, status=400)
        self.events.append(event)
        key, action = event["dedup_key"], event["event_action"]
        states = self.incidents.setdefault(key, [])
        is_open = bool(states) and states[-1] != "resolved"
        if (action == "trigger" and not is_open) or (action != "trigger" and is_open):
            states.append(ACTIONS[action])
        if not states:
            del self.incidents[key]  # the end of nothing
        answer = {"status": "success", "message": "Event processed", "dedup_key": key}
        return web.json_response(answer, status=202)


def _problems(event: dict[str, Any]) -> list[str]:
    problems = []
    if len(event.get("routing_key", "")) != 32:
        problems.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    if event.get("event_action") not in ACTIONS:
        problems.append("'event_action' is missing or invalid")
    key = event.get("dedup_key")
    if not isinstance(key, str) or not 0 < len(key) <= 255:
        problems.append("'dedup_key' is invalid")
    if event.get("event_action") == "trigger":
        payload = event.get("payload", {})
        problems += [
            f"'payload.{name}' is missing or blank" for name in ("summary", "source") if not payload.get(name)
        ]
        if len(payload.get("summary", "")) > 1024:
            problems.append("'payload.summary' is too long")
        if payload.get("severity") not in {"critical", "error", "warning", "info"}:
            problems.append("'payload.severity' is invalid")
    return problems
