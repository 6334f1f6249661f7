"""The receiver `alertmanager` against the real one: two replicas, killed and started, and taskwatch too."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from taskwatch import telemetry
from taskwatch.engine import lane
from taskwatch.errors import ConfigError
from tests.fakes.builders import captured_log
from tests.fakes.commands import until
from tests.fakes.host import libfaketime
from tests.fakes.real_alertmanager import PROGRAM, RealAlertmanager
from tests.fakes.scene import Scene, watching
from tests.fakes.tasks_endpoint import Row, TasksEndpoint, row
from tests.fakes.watched import lines, watched
from tests.fakes.webhook_sink import WebhookSink

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PROGRAM is None, reason="needs Alertmanager: apt install prometheus-alertmanager"),
]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute pass in a fifth of a second."""
    monkeypatch.setattr(lane, "REPEAT_SECONDS", 0.2)
    log, _ = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)


@pytest.fixture
async def replicas(tmp_path: Path, sink: WebhookSink) -> AsyncIterator[list[RealAlertmanager]]:
    async with (
        RealAlertmanager(tmp_path / "am-0", hook=f"{sink.url}/people") as first,
        RealAlertmanager(tmp_path / "am-1", hook=f"{sink.url}/others") as second,
    ):
        yield [first, second]


@pytest.fixture
async def scene(tmp_path: Path, sink: WebhookSink, replicas: list[RealAlertmanager]) -> AsyncIterator[Scene]:
    async with TasksEndpoint() as cloud:
        scene = Scene(tmp_path, cloud, sink, receivers={"hook": "/hook"})
        scene.others = [{"name": "am", "type": "alertmanager", "urls": [each.url for each in replicas]}]
        scene.write()
        yield scene


def failing(job_id: str, *, minute: int) -> Row:
    return row(job_id, status="Running", created_at=f"2026-11-23T03:{minute:02}:00+0000")


def end(task: Row, status: str) -> None:
    task |= {"status": status, "ended_at": "2026-11-23T03:59:00+0000", "fail_reason": "disk broken"}


async def fires(replica: RealAlertmanager) -> None:
    for _ in range(100):
        if await replica.alerts():
            return
        await asyncio.sleep(0.1)
    pytest.fail("nothing fires")


async def is_quiet(replica: RealAlertmanager) -> None:
    for _ in range(100):
        if not await replica.alerts():
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"still fires: {await replica.alerts()}")


def told(sink: WebhookSink, path: str) -> list[tuple[str, str]]:
    """Return what the Alertmanager told people: the state and the job of each notification."""
    groups: list[dict[str, Any]] = [post.event for post in sink.posts if post.path.endswith(path)]
    return [(group["status"], group["commonLabels"]["job_id"]) for group in groups]


async def test_an_alert_goes_on_through_every_restart_and_ends_once(
    scene: Scene, replicas: list[RealAlertmanager], sink: WebhookSink
) -> None:
    first, second = replicas
    task, again = failing("job-1", minute=1), failing("job-2", minute=2)
    async with watching(scene):
        scene.cloud.rows.append(task)
        await asyncio.sleep(0.5)
        end(task, "Failed")
        for replica in replicas:
            await fires(replica)
        (before,) = await first.alerts()
        for _ in range(2):
            await first.kill()  # it keeps no alerts
            await first.start()
            await fires(first)
        (after,) = await first.alerts()
    # taskwatch is down: nothing is resolved by that.
    assert await first.alerts() != []
    assert (after["startsAt"], after["labels"]) == (before["startsAt"], before["labels"])
    await second.kill()
    async with watching(scene):
        scene.cloud.rows.append(again)
        await asyncio.sleep(0.5)
        end(again, "Completed")
        await is_quiet(first)
        await until(lambda: ("resolved", "job-1") in told(sink, "/people"), "its end")
        await second.start()
        await asyncio.sleep(1.5)  # of several repetitions
        assert await second.alerts() == []

    assert told(sink, "/people").count(("resolved", "job-1")) == 1
    assert told(sink, "/people")[0] == ("firing", "job-1")


async def test_reloads_and_restarts_of_taskwatch_leave_no_gap_and_one_end(
    scene: Scene, replicas: list[RealAlertmanager], sink: WebhookSink
) -> None:
    first = replicas[0]
    task, again = failing("job-1", minute=1), failing("job-2", minute=2)
    stop, looks = asyncio.Event(), list[int]()

    async def look() -> None:
        while not stop.is_set():
            looks.append(len(await first.alerts()))

    def configure(name: str, **keys: Any) -> None:
        urls = [replica.url for replica in replicas]
        scene.others = [{"name": name, "type": "alertmanager", "urls": urls, **keys}]
        scene.write()

    async with watching(scene) as daemon:
        scene.cloud.rows.append(task)
        await asyncio.sleep(0.5)
        end(task, "Failed")
        await fires(first)
        looking = asyncio.create_task(look())
        for number in range(4):
            configure("am", timeout=f"{number + 5}s", labels={"reload": str(number)})
            assert await daemon.reload()
            await asyncio.sleep(0.3)
        scene.file.write_text("receivers: [")
        with pytest.raises(ConfigError):
            await daemon.reload()
        configure("pager", timeout="8s", labels={"reload": "3"})
        assert "receiver am renamed to pager" in await daemon.reload()
        await asyncio.sleep(0.5)
    async with watching(scene) as daemon:
        for number in range(4):
            configure("pager", fire_for=f"{number + 5}h")
            assert await daemon.reload()
            await asyncio.sleep(0.3)
    async with watching(scene):
        await asyncio.sleep(0.5)
        stop.set()
        await looking
        assert told(sink, "/people") == [("firing", "job-1")]
        scene.cloud.rows.append(again)
        await asyncio.sleep(0.5)
        end(again, "Completed")
        await is_quiet(first)
        await until(lambda: ("resolved", "job-1") in told(sink, "/people"), "its end")
        await asyncio.sleep(1.5)  # of several repetitions

    assert set(looks) == {1}, "a gap, or two alerts"
    assert told(sink, "/people") == [("firing", "job-1"), ("resolved", "job-1")]
    types = [post.event["type"] for post in sink.accepted if post.path.endswith("/hook/hook")]
    assert types.count("taskwatch.task.failed") == types.count("taskwatch.task.resolved") == 1


async def test_amtool_shows_the_alert_under_the_words_that_operators_silence_by(
    scene: Scene, replicas: list[RealAlertmanager]
) -> None:
    task = failing("job-1", minute=1)
    async with watching(scene):
        scene.cloud.rows.append(task)
        await asyncio.sleep(0.5)
        end(task, "Failed")
        await fires(replicas[0])
        shown = await asyncio.to_thread(
            subprocess.run,
            [
                "amtool", f"--alertmanager.url={replicas[0].url}", "alert", "query",
                "alertname=TaskwatchTaskFailed", "severity=critical", "project=prod", "job_id=job-1", "-o", "json",
            ],
            capture_output=True,
            check=True,
            timeout=20,
        )  # fmt: skip

    assert b"disk broken" in shown.stdout


@pytest.mark.timeout(120)
@pytest.mark.parametrize("off", [-2 * 3600, -400 * 86_400, 2 * 3600, 400 * 86_400])
async def test_a_host_whose_clock_is_wrong_tells_each_failure_and_each_end_and_no_other(
    tmp_path: Path, replicas: list[RealAlertmanager], sink: WebhookSink, off: int
) -> None:
    """Told by a clock that is behind, it would be taken there as long over."""
    first = replicas[0]
    under = (
        "env",
        f"LD_PRELOAD={libfaketime()}",
        f"FAKETIME={off:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "FAKETIME_DISABLE_SHM=1",
    )
    (tmp_path / "watched").mkdir()
    async with watched(tmp_path / "watched") as place:
        place.begin("job-1")
        place.configure(receivers=f"  - {{name: am, type: alertmanager, urls: ['{first.url}']}}")
        async with place.daemon(*under) as daemon:
            await place.baseline(daemon)
            place.end("job-1")
            await fires(first)
        async with place.daemon(*under) as daemon:  # which tells it again when it starts
            asked = len(place.cloud.requests)
            await until(lambda: len(place.cloud.requests) > asked + 20, "polls", said=daemon.said)
            assert len(await first.alerts()) == 1
            assert told(sink, "/people") == [("firing", "job-1")]
            place.begin("job-2")
            await until(lambda: len(place.cloud.requests) > asked + 40, "polls", said=daemon.said)
            place.end("job-2", status="Completed")
            await is_quiet(first)
            await until(lambda: ("resolved", "job-1") in told(sink, "/people"), "its end", said=daemon.said)
        warnings = [line for line in lines(daemon) if line["event"] == "clock_found_wrong"]

    assert told(sink, "/people") == [("firing", "job-1"), ("resolved", "job-1")]
    assert {line.get("receiver") for line in warnings} >= {"am"}
    assert "alerts_not_repeated" not in daemon.said()
