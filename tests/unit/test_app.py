"""The parts put together as `run` puts them together, upon a configuration, a cloud and a receiver on loopback."""

import asyncio
import io
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import structlog
from aiohttp import web

from taskwatch import telemetry
from taskwatch.app import build, opened_store
from taskwatch.config.load import load
from taskwatch.errors import StoreLostError
from taskwatch.notifiers.registry import NOTIFIERS, kinds
from taskwatch.runtime.daemon import Daemon
from taskwatch.store.reader import StoreReader
from tests.fakes.commands import until
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink

CONFIGURATION: Final = """\
store: {{path: taskwatch.db}}
credentials: {{c: {{type: token, token: t, rate: {rate}}}}}
projects:
  - {{name: one, endpoint: "{cloud}", project_id: "1", interval: 100ms}}
  - {{name: two, endpoint: "{cloud}", project_id: "2", interval: 100ms}}
receivers:
  - {{name: hook, type: webhook, url: "{hook}"}}
"""


@pytest.fixture
def log() -> Iterator[Callable[[], list[str]]]:
    """Configure the logs; return what reads the names of the lines so far."""
    handlers, level = logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    telemetry.configure(format_="json", level="debug", stream=stream)
    yield lambda: [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level


@pytest.fixture
async def cloud() -> AsyncIterator[TasksEndpoint]:
    async with TasksEndpoint(token="t") as cloud:
        cloud.rows.append(row("going", status="Running"))
        yield cloud


@asynccontextmanager
async def built(
    directory: Path, cloud: TasksEndpoint, sink: WebhookSink, *, rate: str = "1000/s"
) -> AsyncIterator[Daemon]:
    file = directory / "taskwatch.yaml"
    file.write_text(CONFIGURATION.format(cloud=cloud.url, hook=sink.url, rate=rate))
    config = load(file, kinds())
    async with opened_store(config) as store, build(config, store=store) as app:
        yield app


def test_the_kinds_that_a_configuration_may_name_are_those_of_the_registry() -> None:
    assert kinds() == {kind: notifier.options for kind, notifier in NOTIFIERS.items()}


async def test_it_polls_and_delivers_until_it_is_stopped_and_leaves_nothing_half_done(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink, log: Callable[[], list[str]]
) -> None:
    stop = asyncio.Event()
    async with built(tmp_path, cloud, sink) as app:
        running = asyncio.create_task(app.run(stop))
        await until(lambda: len(sink.posts) == 2, "two baselines")
        cloud.rows[0] = row("going", status="Failed")
        await until(lambda: len(sink.posts) == 4, "the failure in both projects")
        stop.set()
        await asyncio.wait_for(running, 10)

    with StoreReader(tmp_path / "taskwatch.db") as reader:
        states = Counter(delivery.state for delivery in reader.deliveries())
    assert states == {"delivered": 4}
    assert (log().count("watching"), log()[-1]) == (1, "stopped")


async def test_a_stop_gives_a_send_in_flight_its_time(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink, log: Callable[[], list[str]]
) -> None:
    stop = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        stop.set()
        await asyncio.sleep(0.2)  # the stop is under way meanwhile
        return web.Response(status=204)

    sink.choose = lambda: slow
    async with built(tmp_path, cloud, sink) as app:
        await asyncio.wait_for(app.run(stop), 20)

    with StoreReader(tmp_path / "taskwatch.db") as reader:
        states = {delivery.state for delivery in reader.deliveries() if delivery.attempts}
    assert states == {"delivered"}


async def test_a_lost_store_ends_it(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink, log: Callable[[], list[str]]
) -> None:
    async with built(tmp_path, cloud, sink) as app:
        running = asyncio.create_task(app.run(asyncio.Event()))
        await until(lambda: len(sink.posts) == 2, "two baselines")
        app.store.lost.set()

        with pytest.raises(StoreLostError, match="the next start reads it anew"):
            await asyncio.wait_for(running, 10)


async def test_nothing_is_forgotten_while_the_clocks_disagree(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink, log: Callable[[], list[str]]
) -> None:
    async with built(tmp_path, cloud, sink) as app:
        for watch in app.watches:
            await watch.tick()
        await app.housekeeper.prune()
        assert "pruned" in log()

        cloud.date = "Sun, 22 Nov 2020 10:00:00 GMT"
        await app.watches[0].tick()
        before = log().count("pruned")
        await app.housekeeper.prune()

    assert "prune_skipped" in log()
    assert log().count("pruned") == before


async def test_projects_of_one_credential_at_one_endpoint_share_its_rate(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink, log: Callable[[], list[str]]
) -> None:
    async with built(tmp_path, cloud, sink, rate="1/m") as app:
        first = asyncio.create_task(app.watches[0].tick())
        second = asyncio.create_task(app.watches[1].tick())
        await until(lambda: len(cloud.requests) >= 1, "the first request")
        await asyncio.wait_for(first, 10)
        assert not second.done(), "the second project had a rate of its own"
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)

    assert len(cloud.requests) == 1
