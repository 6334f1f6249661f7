"""The daemon's server on loopback, without a daemon: what it shows is the test's to say."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from taskwatch.clock import Clock, SystemClock
from taskwatch.config.configuration import Config
from taskwatch.config.serving import Server as Section
from taskwatch.engine.lane import Lane
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudError
from taskwatch.server.server import Server
from taskwatch.server.view import Vitals
from tests.fakes.builders import captured_log

ON_LOOPBACK = "127.0.0.1:0"
PATIENCE = 60.0  # seconds, of the loop's clock


@dataclass
class Seen:
    """A daemon as the server sees it."""

    path: Path = Path("/nowhere/taskwatch.db")
    hangs: str | None = None
    refuses: str | None = None
    config: Config = field(default_factory=lambda: cast("Config", None))
    watches: Sequence[Watch] = ()
    lanes: Sequence[Lane] = ()
    unnamed: Mapping[str, CloudError] = field(default_factory=dict)
    unheeded: Sequence[str] = ()
    vitals: Vitals = field(default_factory=lambda: cast("Vitals", None))

    def hanging(self) -> str | None:
        return self.hangs

    def unwritable(self) -> str | None:
        return self.refuses


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # lower case
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"].startswith("application/problem+json"), self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


class Served:
    """A server that listens. What is sent to it is written by hand: no client mends it."""

    def __init__(self, server: Server, section: Section, log: list[Any]) -> None:
        self.server = server
        self.section = section
        self.log = log

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        listen = str(self.section.listen)
        if listen.startswith("unix:"):
            return await asyncio.open_unix_connection(listen.removeprefix("unix:"))
        assert self.server.url is not None
        found = urlsplit(self.server.url)
        return await asyncio.open_connection(found.hostname, found.port)

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str | None] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send a request and read the answer to its end. A header that is None is left out."""
        sent: dict[str, str | None] = {"Host": "127.0.0.1", "Connection": "close"}
        if body:
            sent["Content-Length"] = str(len(body))
        sent |= headers or {}
        lines = [
            f"{method} {path} HTTP/1.1",
            *(f"{name}: {text}" for name, text in sent.items() if text is not None),
        ]
        return await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def send(self, data: bytes) -> Answer:
        reader, writer = await self.connect()
        try:
            writer.write(data)
            async with asyncio.timeout(PATIENCE):
                return read_answer(await reader.read())
        finally:
            writer.close()

    def said(self, event: str) -> list[Any]:
        return [line for line in self.log if line["event"] == event]


def read_answer(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(status_line.split()[1]), headers, body)


def section(listen: str = ON_LOOPBACK, **keys: object) -> Section:
    return Section.model_validate({"listen": listen, **keys})


@asynccontextmanager
async def served(
    of: Section, *, seen: Seen | None = None, clock: Clock | None = None
) -> AsyncIterator[Served]:
    """Serve until the block ends; it begins once the server listens."""
    log, lines = captured_log()
    server = Server(of, clock=clock or SystemClock(), log=log)
    if seen is not None:
        server.show(seen)
    running = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while not any(line["event"] == "server_listening" for line in lines):
                assert not running.done(), running
                await asyncio.sleep(0.01)
        yield Served(server, of, lines)
    finally:
        running.cancel()
        await asyncio.wait({running})
        await server.hide()
