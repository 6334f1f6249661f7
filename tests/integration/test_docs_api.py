"""The examples of docs/api.md, read from it and done: as curl would, and as Python does."""

import asyncio
import base64
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from string import Template
from typing import Final

import pytest

from taskwatch.runtime import attendant
from tests.fakes.api import TOKEN, Api, api_of_a_daemon
from tests.fakes.commands import ROOT, until
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink

DOCUMENT: Final = (ROOT / "docs" / "api.md").read_text("utf-8")
PLACE: Final = "http://127.0.0.1:9720"
SERVER: Final = f"{{listen: '127.0.0.1:0', token: {TOKEN}}}"
SOCKET: Final = "/run/taskwatch/api.sock"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


CURLS: Final = [line[2:] for block in blocks("console") for line in block.splitlines()]
OVER_TCP: Final = [line for line in CURLS if SOCKET not in line]
OVER_THE_SOCKET: Final = [line for line in CURLS if SOCKET in line]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendant, "LOOK_SECONDS", 0.02)


@pytest.fixture
async def api(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink, quick: None) -> AsyncIterator[Api]:
    async with api_of_a_daemon(tmp_path, cloud, sink, token=None, server=SERVER) as api:
        await fail(cloud, sink)
        yield api


async def fail(cloud: TasksEndpoint, sink: WebhookSink) -> None:
    cloud.rows += [row("bad", status="Failed", created_at="2100-01-01T00:00:00+0000")]
    await until(lambda: "bad" in {post.event["subject"] for post in sink.accepted}, "a failure")


async def curl(api: Api, line: str, sink: WebhookSink) -> int:
    """Do what curl does with these arguments; return the status."""
    event_id = sink.accepted[0].id
    words = shlex.split(Template(line).substitute(TOKEN=TOKEN, JOB_ID="bad", EVENT_ID=event_id))
    assert words.pop(0) == "curl"
    method, headers, data, url, user = "GET", {}, None, "", ""
    while words:
        match words.pop(0):
            case "-N":
                pass
            case "--unix-socket":
                words.pop(0)
            case "-X":
                method = words.pop(0)
            case "-u":
                user = words.pop(0)
            case "-H":
                name, _, text = words.pop(0).partition(": ")
                headers[name] = text
            case "--json":
                method, data = "POST", words.pop(0).encode()
                headers["Content-Type"] = "application/json"
            case place:
                url = place.removeprefix(PLACE).removeprefix("http://localhost")
    assert url.startswith("/"), line
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    async with api.session.request(method, url, headers=headers, data=data) as reply:
        if reply.content_type == "text/event-stream":
            async with asyncio.timeout(30):
                assert (await reply.content.readuntil(b"\n\n")).startswith(b": ")
        else:
            await reply.read()
        return reply.status


@pytest.mark.parametrize("line", OVER_TCP)
async def test_a_request_of_the_document_is_granted(api: Api, sink: WebhookSink, line: str) -> None:
    if "-X DELETE" in line:
        adding = next(one for one in OVER_TCP if "matchers" in one)
        assert await curl(api, adding, sink) == 201

    assert await curl(api, line, sink) in (200, 201, 204)


@pytest.mark.parametrize("line", OVER_THE_SOCKET)
async def test_a_request_over_the_socket_is_granted_without_a_token(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink, quick: None, line: str
) -> None:
    async with api_of_a_daemon(tmp_path, cloud, sink, server="{listen: 'unix:api.sock'}", token=None) as api:
        await fail(cloud, sink)

        assert await curl(api, line, sink) == 200


async def test_the_loop_of_the_document_reads_all_pages(api: Api, cloud: TasksEndpoint) -> None:
    (program,) = blocks("python")
    program = program.replace(PLACE, str(api.session._base_url).rstrip("/"))
    cloud.rows += [row(f"more-{number}") for number in range(5)]
    await api.daemon.watches[0].poll()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env={**os.environ, "TOKEN": TOKEN}, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()

    ids = [line.split()[0] for line in out.decode().splitlines()]
    assert sorted(ids) == sorted(one["job_id"] for one in cloud.rows)


def test_the_answers_of_the_document_are_json() -> None:
    page, problem = map(json.loads, blocks("json"))

    assert set(page) == {"items", "next"}
    assert set(problem) == {"title", "status", "detail", "problems"}
