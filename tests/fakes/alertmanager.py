"""An Alertmanager on loopback that refuses what its API documents as wrong, and remembers what it was posted.

Written from the OpenAPI of the API (v2) and its notes on alerts, not from what taskwatch sends. It goes by a clock of
its own, which each answer tells (Date), as Go's net/http does.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass
class FakeAlertmanager:
    """Takes POST /api/v2/alerts. `status` answers something else instead."""

    alerts: list[dict[str, Any]] = field(default_factory=list)  # each as it was posted, in order
    posts: list[web.Request] = field(default_factory=list)
    ends: list[str] = field(
        default_factory=list
    )  # the event id of each post that ended an alert, by its clock
    answer: Callable[[web.Request], web.Response] | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    date: str | None = None  # what its answers tell instead of its time; "" is nothing
    url: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/api/v2/alerts", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        answer = await self._judge(request)
        answer.headers["Date"] = (
            format_datetime(self.clock(), usegmt=True) if self.date is None else self.date
        )
        return answer

    async def _judge(self, request: web.Request) -> web.Response:
        self.posts.append(request)
        if self.answer is not None:
            return self.answer(request)
        if request.content_type != "application/json":
            return web.json_response({"code": 415, "message": "unsupported media type"}, status=415)
        posted = json.loads(await request.read())
        if problem := next(filter(None, map(_problem, posted)), None):
            return web.json_response(problem, status=400)
        now = self.clock()
        self.alerts += posted
        self.ends += [
            alert["annotations"]["event_id"]
            for alert in posted
            if datetime.fromisoformat(alert["endsAt"]) <= now
        ]
        return web.Response(status=200)

    def standing(self, now: datetime) -> dict[str, bool]:
        """Return by event id whether the alert fires, as the last post about it says."""
        return {
            alert["annotations"]["event_id"]: datetime.fromisoformat(alert["endsAt"]) > now
            for alert in self.alerts
        }

    def fires(self) -> dict[str, bool]:
        """Return by event id whether the alert fires there now."""
        return self.standing(self.clock())

    def names(self) -> set[str]:
        """Return the label sets that were ever posted: each is another alert."""
        return {json.dumps(alert["labels"], sort_keys=True) for alert in self.alerts}


def _problem(alert: dict[str, Any]) -> str | None:
    labels = alert.get("labels")
    if not labels:
        return "at least one label pair required"
    for name, value in (*labels.items(), *alert.get("annotations", {}).items()):
        if not _LABEL.fullmatch(name) or not isinstance(value, str):
            return f"invalid label {name!r}"
    starts, ends = (datetime.fromisoformat(alert[key]) for key in ("startsAt", "endsAt"))
    if starts.tzinfo is None or ends.tzinfo is None:
        return "no time zone"
    return "start time must be before end time" if ends < starts else None
