"""One failure is told to receivers of seven kinds at once, and its end to all of them when the work succeeds."""

import asyncio
import importlib.util
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes.commands import ROOT, until
from tests.fakes.daemon import Daemon
from tests.fakes.real_alertmanager import PROGRAM, RealAlertmanager
from tests.fakes.smtp_server import FakeMailServer
from tests.fakes.tasks_endpoint import Row, row
from tests.fakes.watched import Watched, lines, watched

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(120),
    pytest.mark.skipif(PROGRAM is None, reason="needs Alertmanager: apt install prometheus-alertmanager"),
]

EXAMPLE = ROOT / "docs" / "example-notifier"
RECEIVERS = """\
  - {{name: journal, type: log}}
  - {{name: am, type: alertmanager, urls: ["{am}"]}}
  - {{name: mail, type: email, smtp: "{smtp}", from: tw@example.com, to: dba@example.com}}
  - {{name: lines, type: file, path: events.jsonl}}
  - {{name: script, type: exec, command: [{python}, -I, -c, "import sys; open('{heard}', 'a').write(sys.stdin.read())"]}}
  - {{name: stream, type: redis, port: {redis}}}
  - {{name: text, type: webhook, url: "{hook}/text", content_type: application/json,
     template: '{{"text": {{{{ event.data.summary | tojson }}}}}}'}}
route: {{group_wait: 200ms, group_interval: 1s}}
"""


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{packages}:{ROOT}")
    (packages / "taskwatch_redis.py").write_bytes((EXAMPLE / "taskwatch_redis.py").read_bytes())
    entry = packages / "taskwatch_redis-1.0.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: taskwatch-redis\nVersion: 1.0\n")
    (entry / "entry_points.txt").write_text("[taskwatch.notifiers]\nredis = taskwatch_redis:RedisNotifier\n")
    async with watched(tmp_path) as place:
        yield place


def attempt(job_id: str, *, minute: int) -> Row:
    instance = {"instance_id": "in-1", "instance_name": "orders", "instance_status": "active"}
    return row(
        job_id,
        name="RestoreGaussDBV5InInstance",
        status="Running",
        created_at=f"2026-11-23T03:{minute:02}:00+0000",
        ended_at=None,
        instance_info=instance,
    )


async def test_one_failure_is_told_to_everybody_and_so_is_its_end(place: Watched, tmp_path: Path) -> None:
    _module(EXAMPLE / "taskwatch_redis.py")
    redis_fake = _module(EXAMPLE / "tests" / "test_taskwatch_redis.py")
    heard = tmp_path / "heard"
    async with (
        RealAlertmanager(tmp_path / "am", hook=f"{place.sink.url}/people") as am,
        FakeMailServer() as smtp,
        redis_fake.fake_redis() as redis,
    ):
        place.configure(
            receivers=RECEIVERS.format(
                am=am.url,
                smtp=smtp.url,
                python=sys.executable,
                heard=heard,
                redis=redis.port,
                hook=place.sink.url,
            )
        )

        def told(short: str) -> dict[str, int]:
            """Count by receiver how often it was told of an event of this type."""
            of_lines = (tmp_path / "events.jsonl").read_text().splitlines()
            of_script = heard.read_text().splitlines() if heard.exists() else []
            type_ = f"taskwatch.task.{short}"
            logged = [line for line in lines(daemon) if line.get("receiver") == "journal"]
            posts = [post for post in place.sink.accepted if post.path.endswith("/text")]
            return {
                "journal": sum(line["event"] == type_ for line in logged),
                "hook": sum(
                    post.event["type"] == type_
                    for post in place.sink.accepted
                    if not post.path.endswith(("/text", "/people"))
                ),
                "mail": sum(
                    mail.text.startswith("RestoreGaussDBV5InInstance of orders") and _says(mail.text, short)
                    for mail in smtp.mails
                ),
                "lines": sum(json.loads(line)["type"] == type_ for line in of_lines),
                "script": sum(json.loads(line)["type"] == type_ for line in of_script),
                "stream": sum(json.loads(event)["type"] == type_ for event in redis.events),
                "text": sum(_says(json.loads(post.body)["text"], short) for post in posts),
            }

        def everybody(short: str) -> bool:
            return set(told(short).values()) == {1}

        async with place.daemon() as daemon:
            await place.baseline(daemon)
            first = attempt("job-1", minute=1)
            place.cloud.rows.append(first)
            await until(lambda: "task.started" in daemon.said(), "the start", said=daemon.said)
            await asyncio.sleep(1.5)  # the start is a message of its own
            place.end("job-1", fail_reason="disk broken")
            await until(lambda: everybody("failed"), "the failure at all", said=lambda: str(told("failed")))
            await until_fires(am, daemon, fires=True)
            (alert,) = await am.alerts()
            assert alert["labels"]["alertname"] == "TaskwatchTaskFailed"
            assert alert["annotations"]["fail_reason"] == "disk broken"

            place.cloud.rows.append(attempt("job-2", minute=2))
            await until(lambda: daemon.said().count("task.started") >= 2, "the re-run", said=daemon.said)
            await asyncio.sleep(1.5)
            place.end("job-2", status="Completed")
            await until(
                lambda: set(_without_mail(told("resolved")).values()) == {1},
                "the end at all", said=lambda: str(told("resolved")),
            )  # fmt: skip
            await until(
                lambda: any("is resolved: the later task job-2 completed" in mail.text for mail in smtp.mails),
                "the end by mail", said=lambda: str([mail.text for mail in smtp.mails]),
            )  # fmt: skip
            await until_fires(am, daemon, fires=False)
            assert await daemon.kill(signal.SIGTERM) == 0
        assert smtp.problems == []


def _says(text: str, short: str) -> bool:
    return {"failed": " failed: disk broken", "resolved": " is resolved: "}[short] in text


def _without_mail(counts: dict[str, int]) -> dict[str, int]:
    """Leave out the mail: what ends at the same time stands in one."""
    return {name: count for name, count in counts.items() if name != "mail"}


async def until_fires(am: RealAlertmanager, daemon: Daemon, *, fires: bool) -> None:
    for _ in range(300):
        if bool(await am.alerts()) is fires:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"alerts: {await am.alerts()}\n{daemon.said()}")
