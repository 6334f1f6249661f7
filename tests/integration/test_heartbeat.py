"""The heartbeat of a whole daemon, in virtual hours: when the far end hears it, and when it hears nothing."""

import asyncio
from pathlib import Path
from typing import Final

import pytest
from structlog.typing import EventDict

from taskwatch import telemetry
from tests.fakes.builders import captured_log
from tests.fakes.inline_writer import Disk
from tests.fakes.leaping_time import in_leaping_time, living
from tests.fakes.scene import Scene
from tests.fakes.tasks_endpoint import TasksEndpoint, silence
from tests.fakes.webhook_sink import WebhookSink, answer

MINUTE: Final = 60.0
BEATS: Final = "/beats/canary-7d"
RECEIVER: Final = "/pager"


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    log, lines = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)
    return lines


def scene_of(directory: Path, cloud: TasksEndpoint, sink: WebhookSink) -> Scene:
    scene = Scene(directory, cloud, sink, receivers={"pager": RECEIVER}, interval="15s")
    scene.write()
    with scene.file.open("a") as file:
        file.write(f"heartbeat: {{url: '{sink.url}{BEATS}', every: 1m}}\n")
    return scene


def beats(sink: WebhookSink) -> int:
    return sum(post.path.endswith(BEATS) for post in sink.posts)


@in_leaping_time
async def test_it_beats_each_minute_and_no_longer_than_the_daemon_lives(tmp_path: Path) -> None:
    async with TasksEndpoint() as cloud, WebhookSink() as sink:
        async with living(scene_of(tmp_path, cloud, sink), Disk()):
            await asyncio.sleep(10 * MINUTE)
            heard = beats(sink)
        await asyncio.sleep(10 * MINUTE)

        assert heard in (10, 11)
        assert beats(sink) == heard
        assert all(post.body == b"" for post in sink.posts if post.path.endswith(BEATS))


@in_leaping_time
async def test_a_cloud_that_hangs_is_told_by_an_event_and_not_by_silence(tmp_path: Path) -> None:
    async with (
        TasksEndpoint() as cloud,
        WebhookSink() as sink,
        living(scene_of(tmp_path, cloud, sink), Disk()),
    ):
        cloud.always = silence()
        await asyncio.sleep(10 * MINUTE)
        before = beats(sink)
        await asyncio.sleep(10 * MINUTE)

        assert beats(sink) - before in (9, 10, 11)
        assert "taskwatch.project.degraded" in [post.event["type"] for post in sink.posts if post.body]


@in_leaping_time
async def test_it_stops_while_no_receiver_takes_anything_and_goes_on_after(
    tmp_path: Path, lines: list[EventDict]
) -> None:
    async with TasksEndpoint() as cloud, WebhookSink() as sink:
        sink.choose_for = lambda request: answer(503) if request.path.endswith(RECEIVER) else None
        async with living(scene_of(tmp_path, cloud, sink), Disk()):
            await asyncio.sleep(2 * MINUTE)
            before = beats(sink)
            await asyncio.sleep(10 * MINUTE)
            assert beats(sink) == before
            sink.choose_for = lambda _: None
            await asyncio.sleep(2 * MINUTE)
            assert beats(sink) > before

    (withheld,) = [
        line for line in lines if line["event"] == "heartbeat_withheld" and line["log_level"] == "warning"
    ]
    assert withheld["error"] == "no receiver takes anything"
    assert "canary" not in str(lines)


@in_leaping_time
async def test_it_stops_while_nothing_can_be_recorded(tmp_path: Path) -> None:
    disk = Disk()
    async with TasksEndpoint() as cloud, WebhookSink() as sink, living(scene_of(tmp_path, cloud, sink), disk):
        disk.fail(1_000_000)
        await asyncio.sleep(2 * MINUTE)
        before = beats(sink)
        await asyncio.sleep(10 * MINUTE)
        assert beats(sink) == before
        disk.heal()
        await asyncio.sleep(2 * MINUTE)
        assert beats(sink) > before
