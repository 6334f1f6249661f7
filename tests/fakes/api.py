"""The API of a real daemon in this process, upon a cloud and a receiver on loopback; and what is asked of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from taskwatch.app import build, opened_store
from taskwatch.clock import SystemClock
from taskwatch.config.load import load
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime.daemon import Daemon
from taskwatch.server.server import Server
from tests.fakes.builders import captured_log
from tests.fakes.commands import until
from tests.fakes.tasks_endpoint import TasksEndpoint
from tests.fakes.webhook_sink import WebhookSink

TOKEN: Final = "t0ken-of-the-api"
SECONDS: Final = 30.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def items(self) -> list[dict[str, Any]]:
        assert self.status == 200, self
        found: list[dict[str, Any]] = self.json["items"]
        return found

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/problem+json", self
        found: dict[str, Any] = self.json
        assert found["status"] == self.status
        return found


@dataclass
class Api:
    """A session with a server."""

    session: aiohttp.ClientSession
    daemon: Daemon
    directory: Path
    lines: list[Any] = field(default_factory=list)  # that were logged

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        async with self.session.request(
            method, path, params=query, json=body, data=data, headers=headers
        ) as reply:
            return Reply(reply.status, dict(reply.headers), await reply.read())

    async def get(self, noun: str, query: Mapping[str, str] | None = None) -> Reply:
        return await self.ask("GET", f"/api/v1/{noun}", query=query)

    async def all(self, noun: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Read every page."""
        reply = await self.get(noun, query)
        found = reply.items
        while (cursor := reply.json["next"]) is not None:
            reply = await self.get(noun, {**(query or {}), "cursor": cursor})
            found += reply.items
        return found


@asynccontextmanager
async def api_of_a_daemon(
    directory: Path,
    cloud: TasksEndpoint,
    sink: WebhookSink,
    *,
    server: str = f"{{listen: '127.0.0.1:0', token: {TOKEN}}}",
    token: str | None = TOKEN,
    more: str = "",
) -> AsyncIterator[Api]:
    """Run a daemon with this server until the block ends; each project was polled when it begins."""
    (directory / "taskwatch.yaml").write_text(
        f"store: {{path: taskwatch.db}}\n"
        f"server: {server}\n"
        f"credentials: {{c: {{type: none, rate: 1000/s}}}}\n"
        f"defaults: {{interval: 100ms}}\n"
        f"projects: [{{name: prod, endpoint: '{cloud.url}', project_id: '1', labels: {{team: db}}}}]\n"
        f"receivers: [{{name: hook, type: webhook, url: '{sink.url}'}}]\n{more}"
    )
    config = load(directory / "taskwatch.yaml", kinds())
    log, lines = captured_log()
    serving = Server(config.server, clock=SystemClock(), log=log)
    stop = asyncio.Event()
    async with opened_store(config) as store, build(config, store=store, server=serving) as daemon:
        tasks = [asyncio.create_task(serving.run()), asyncio.create_task(daemon.run(stop))]
        try:
            await until(
                lambda: (
                    any(line["event"] == "server_listening" for line in lines)
                    and all(watch.poller.freshness for watch in daemon.watches)
                ),
                "the server and the polls",
            )
            async with _session(directory, serving, token) as session:
                yield Api(session, daemon, directory, lines)
        finally:
            stop.set()
            await asyncio.wait_for(tasks[1], SECONDS)
            tasks[0].cancel()
            await asyncio.wait(tasks)


def _session(directory: Path, server: Server, token: str | None) -> aiohttp.ClientSession:
    is_tcp = server.url is not None
    return aiohttp.ClientSession(
        base_url=server.url or "http://localhost",
        connector=None if is_tcp else aiohttp.UnixConnector(str(directory / "api.sock")),
        headers={} if token is None else {"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=SECONDS),
    )
