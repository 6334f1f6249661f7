"""How the commands end: the exit code, and one line that says what to do. Never a traceback (see `Ended`)."""

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.commands import Ended, taskwatch, until
from tests.fakes.daemon import Daemon
from tests.fakes.in_process import Ask
from tests.fakes.messages import HOSTILE
from tests.fakes.tasks_endpoint import Fault, TasksEndpoint, row, status
from tests.fakes.webhook_sink import WebhookSink, answer

CONFIGURATION: Final = """\
store: {{path: taskwatch.db}}
log: {{format: {format}, level: debug}}
credentials:
  c: {{type: token, token: t, rate: 1000/s}}
projects:
  - {{name: prod, endpoint: "{cloud}", project_id: 0611f1bd8b00d5d32f17c017f15b599f, interval: {interval}}}
receivers:
  - {{name: journal, type: log}}
{receivers}
"""
pytestmark = pytest.mark.real
NOBODY: Final = "http://127.0.0.1:1"  # no request gets through here


def configured(
    directory: Path,
    cloud: str = NOBODY,
    *,
    receivers: str = "",
    format_: str = "json",
    interval: str = "100ms",
) -> Path:
    file = directory / "taskwatch.yaml"
    text = CONFIGURATION.format(cloud=cloud, receivers=receivers, format=format_, interval=interval)
    file.write_text(text)
    return file


def files_in(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


def types(ended: Ended) -> list[str]:
    """Return the types of the events that a command printed as JSON Lines."""
    return [json.loads(line)["type"] for line in ended.out.splitlines()]


@asynccontextmanager
async def a_running_daemon(config: Path, *arguments: str) -> AsyncIterator[Daemon]:
    daemon = Daemon(config, config.parent / "log", arguments=("run", *arguments))
    async with daemon:
        await until(lambda: "watching" in daemon.said(), "the daemon's start", said=daemon.said)
        yield daemon


@pytest.fixture
async def cloud() -> AsyncIterator[TasksEndpoint]:
    async with TasksEndpoint(token="t") as cloud:
        cloud.rows += [row("old", status="Completed"), row("going", status="Running")]
        yield cloud


# The store is held


async def test_a_second_daemon_says_who_holds_the_store_and_ends_with_75(tmp_path: Path) -> None:
    config = configured(tmp_path)
    async with a_running_daemon(config) as first:
        ended = await taskwatch("run", cwd=tmp_path)
        assert first.process is not None
        assert first.process.returncode is None

    assert ended.code == 75
    (line,) = [line for line in ended.err.splitlines() if not line.startswith("{")]
    assert f"held by pid {first.process.pid} on {socket.gethostname()} since 2" in line


async def test_a_daemon_that_waits_takes_over_when_the_first_is_gone(tmp_path: Path) -> None:
    config = configured(tmp_path)
    async with a_running_daemon(config) as first:
        second = Daemon(config, tmp_path / "second", arguments=("run", "--wait"))
        async with second:
            await until(lambda: "standing_by" in second.said(), "standing by", said=second.said)
            assert "watching" not in second.said()
            assert await first.kill(signal.SIGTERM) == 0
            await until(lambda: "watching" in second.said(), "the take-over", said=second.said)
            assert second.said().count("standing_by") == 1
            assert await second.kill(signal.SIGTERM) == 0


async def test_a_daemon_that_waits_can_be_stopped(tmp_path: Path) -> None:
    config = configured(tmp_path)
    async with (
        a_running_daemon(config),
        Daemon(config, tmp_path / "second", arguments=("run", "--wait")) as second,
    ):
        await until(lambda: "standing_by" in second.said(), "standing by", said=second.said)
        assert await second.kill(signal.SIGTERM) == 0


async def test_poll_beside_a_daemon_is_done_by_it_and_a_dry_run_looks_from_the_side(
    tmp_path: Path, cloud: TasksEndpoint, ask: Ask
) -> None:
    config = configured(tmp_path, cloud.url, interval="1h")
    assert (await ask("poll")).code == 0
    async with a_running_daemon(config) as daemon:
        await until(lambda: len(cloud.requests) == 2, "the daemon's only poll", said=daemon.said)
        cloud.rows[1] |= {"status": "Failed", "fail_reason": "out of disk"}
        dry = await ask("poll", "--dry-run", "--json")
        before = await ask("events", "--json")
        done = await ask("poll", "--json")
        after = await ask("events", "--json")

    assert (dry.code, done.code) == (0, 0)
    assert types(dry) == types(done) == ["taskwatch.task.failed"]
    assert types(before) == ["taskwatch.project.baseline"]
    assert types(after) == ["taskwatch.task.failed", "taskwatch.project.baseline"]
    assert '"operator_acted"' in daemon.said()


async def test_a_dry_run_records_nothing_and_makes_no_store(
    tmp_path: Path, cloud: TasksEndpoint, ask: Ask
) -> None:
    configured(tmp_path, cloud.url)

    first = await ask("poll", "--dry-run")

    assert (first.code, first.out.split()[0]) == (0, "project.baseline")
    assert files_in(tmp_path) == ["taskwatch.yaml"]

    await ask("poll")
    cloud.rows[1] |= {"status": "Failed", "fail_reason": "out of disk"}
    told = [await ask("poll", "--dry-run", "--json") for _ in range(2)]
    events = await ask("events", "--json")
    real = await ask("poll", "--json")

    ids = [json.loads(one.out)["id"] for one in (*told, real)]
    assert len(set(ids)) == 1, "a dry run told another event than the poll that followed it"
    assert types(events) == ["taskwatch.project.baseline"]


# The store or the configuration cannot be used


async def test_a_broken_store_is_78_and_says_what_to_do(tmp_path: Path, ask: Ask) -> None:
    configured(tmp_path)
    (tmp_path / "taskwatch.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    for ended in (await taskwatch("run", cwd=tmp_path), await ask("poll")):
        assert ended.code == 78
        assert "restore it from a backup" in ended.err.splitlines()[-1]


async def test_a_store_that_is_gone_is_78_and_no_silent_new_baseline(
    tmp_path: Path, cloud: TasksEndpoint, ask: Ask
) -> None:
    configured(tmp_path, cloud.url)
    await ask("poll")
    (tmp_path / "taskwatch.db").unlink()

    for ended in (await taskwatch("run", cwd=tmp_path), await ask("poll")):
        assert ended.code == 78
        assert "taskwatch.db is gone" in ended.err
        assert "taskwatch state init" in ended.err
    assert not (tmp_path / "taskwatch.db").exists()


async def test_every_mistake_of_a_configuration_is_told_at_once_by_whatever_reads_it(
    tmp_path: Path, ask: Ask
) -> None:
    (tmp_path / "taskwatch.yaml").write_text(
        "credentials: {c: {type: tokne, token: s3cret-canary}}\n"
        "projects:\n"
        "  - {name: p, endpoint: nowhere, project_id: x, intervall: 3}\n"
        "receivers: [{name: r, type: webhook}]\n"
    )
    for ended in (
        await taskwatch("run", cwd=tmp_path),
        *[await ask(name) for name in ("check", "poll", "tasks")],
    ):
        assert (ended.code, ended.out) == (78, "")
        lines = ended.err.splitlines()
        assert all(re.match(r"taskwatch\.yaml:\d+:\d+: [\w.\[\]]+: .+", line) for line in lines), lines
        assert [int(line.split(":")[1]) for line in lines] == [1, 3, 3, 4]
        assert "s3cret-canary" not in ended.err


async def test_no_configuration_is_78(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKWATCH_CONFIG", str(tmp_path / "none.yaml"))
    for ended in (
        await taskwatch("run", cwd=tmp_path),
        await ask("poll", "-c", "missing.yaml"),
        await ask("tasks", "-c", str(tmp_path)),
    ):
        assert (ended.code, ended.out, len(ended.err.splitlines())) == (78, "", 1)


# The cloud cannot be read


async def test_poll_ends_with_3_when_a_project_could_not_be_read_and_still_tells_of_the_others(
    tmp_path: Path, cloud: TasksEndpoint, ask: Ask
) -> None:
    config = configured(tmp_path, cloud.url)
    entry = f'  - {{name: dark, endpoint: "{NOBODY}", project_id: abc}}\nreceivers:'
    config.write_text(config.read_text().replace("receivers:", entry))

    both = await ask("poll")
    one = await ask("poll", "--project", "prod")

    assert both.code == 3
    assert "project.baseline" in both.out
    assert [line for line in both.err.splitlines() if line.startswith("dark: 127.0.0.1:1: cannot connect")]
    assert one.code == 0
    assert "prod: 2 tasks read, 0 events" in one.err


async def test_a_daemon_without_its_cloud_runs_on(tmp_path: Path) -> None:
    async with a_running_daemon(configured(tmp_path)) as daemon:
        await until(lambda: "project_unreadable" in daemon.said(), "the trouble", said=daemon.said)
        assert await daemon.kill(signal.SIGTERM) == 0


# Wrong usage


async def test_wrong_usage_is_2_and_says_how_to_ask_for_help(tmp_path: Path) -> None:
    configured(tmp_path)

    for arguments in (("run", "--frobnicate"), ("poll", "--project", "unknown\x1b[31m")):
        ended = await taskwatch(*arguments, cwd=tmp_path)

        assert (ended.code, ended.out) == (2, "")
        assert "--help" in ended.err
        assert "\x1b" not in ended.err


# The queries


@pytest.fixture
async def told(tmp_path: Path, cloud: TasksEndpoint, ask: Ask) -> Path:
    """A directory with a store: a baseline, then a task that failed and one that began."""
    configured(tmp_path, cloud.url)
    await ask("poll")
    cloud.rows[1] |= {"status": "Failed", "fail_reason": "out of disk"}
    cloud.rows.insert(0, row("new", status="Running", name="RestoreGaussDBV5InInstance", instance_info=None))
    assert (await ask("poll")).code == 0
    return tmp_path


async def test_queries_answer_with_and_without_a_daemon(told: Path, ask: Ask) -> None:
    commands = ("tasks", "events", "deliveries")
    without = {command: (await ask(command, "--json")).out for command in commands}
    async with a_running_daemon(told / "taskwatch.yaml"):
        beside = {command: (await ask(command, "--json")).out for command in commands}

    assert without == beside
    assert {command: len(out.splitlines()) for command, out in without.items()} == {
        "tasks": 3,
        "events": 3,
        "deliveries": 3,
    }


async def test_without_a_store_a_query_says_so(tmp_path: Path, ask: Ask) -> None:
    configured(tmp_path)

    for command in ("tasks", "events", "deliveries"):
        ended = await ask(command)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == f"taskwatch: no store at {tmp_path}/taskwatch.db yet: start taskwatch run once\n"


async def test_a_reader_that_has_had_enough_is_no_error_to_speak_of(told: Path) -> None:
    for command in ("tasks", "events --json"):
        shell = await asyncio.create_subprocess_shell(
            f"{sys.executable} -m taskwatch {command} | head -n 1",
            cwd=told,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await shell.communicate()
        assert (len(out.splitlines()), err) == (1, b"")


@pytest.mark.parametrize("no_color", ["", "1"])
async def test_colour_is_for_terminals_and_never_against_no_color(
    told: Path, no_color: str, ask: Ask
) -> None:
    assert "\x1b" not in (await ask("tasks")).out

    shown = await asyncio.to_thread(on_a_terminal, "tasks", cwd=told, env={"NO_COLOR": no_color})

    assert ("\x1b[31mFailed" in shown) is not bool(no_color)
    assert "Failed" in shown


def on_a_terminal(*arguments: str, cwd: Path, env: dict[str, str]) -> str:
    """Run a command on a terminal of its own; return what it shows."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "taskwatch", *arguments],
            cwd=cwd,
            env=os.environ | {"COLUMNS": "200", "TERM": "xterm"} | env,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            process.wait(timeout=30)
        return os.read(ours, 65536).decode()
    finally:
        os.close(theirs)
        os.close(ours)


# Hostile text


@pytest.mark.parametrize("format_", ["console", "json"])
async def test_hostile_text_harms_no_output_and_no_log(
    tmp_path: Path, cloud: TasksEndpoint, format_: str, ask: Ask
) -> None:
    hostile = "".join(HOSTILE.values())
    async with WebhookSink(choose=lambda: answer(500, hostile)) as sink:
        receiver = f'  - {{name: hook, type: webhook, url: "{sink.url}"}}'
        config = configured(tmp_path, cloud.url, receivers=receiver, format_=format_)
        await ask("poll")
        for number, text in enumerate(HOSTILE.values()):
            instance = {"instance_id": text, "instance_name": text, "instance_status": text}
            cloud.rows.append(
                row(
                    f"{number}{text}"[:200],
                    status="Failed",
                    name=text,
                    fail_reason=text,
                    ended_at=None,
                    instance_info=instance,
                )
            )
        cloud.rows.append(row("odd", status=HOSTILE["ANSI"]))
        dry = await ask("poll", "--dry-run")
        async with a_running_daemon(config) as daemon:
            await until(
                lambda: daemon.said().count("task.failed") >= len(HOSTILE), "the failures", said=daemon.said
            )
            await until(lambda: "answered 500" in daemon.said(), "the refusal", said=daemon.said)
            cloud.always = refuses_with(hostile)
            await until(lambda: "project_unreadable" in daemon.said(), "the trouble", said=daemon.said)
            await daemon.kill(signal.SIGTERM)
        poll = await ask("poll")

    shown = {"dry": dry.out + dry.err, "poll": poll.out + poll.err, "log": daemon.said()}
    assert {name: bad for name, text in shown.items() if (bad := harmful(text))} == {}
    assert all("\\u202e" in shown[name] for name in ("dry", "log")), "the text itself was lost"


def refuses_with(text: str) -> Fault:
    return status(503, {"error_code": text, "error_msg": text}, {"X-Request-Id": "a b"})


def harmful(text: str) -> list[str]:
    """Return the lines that could do anything to a terminal but fill it."""
    return [line for line in text.split("\n") if line and not line.isprintable()]


def test_an_error_of_the_service_is_an_error_in_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as stream:
        status = os.fstat(stream.fileno())
        ended = subprocess.run(
            [sys.executable, "-m", "taskwatch", "check", "-c", str(tmp_path / "nowhere.yaml")],
            stderr=stream,
            env=os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            check=False,
            timeout=60,
        )

    assert ended.returncode == 78
    assert (tmp_path / "stderr").read_text().startswith(f"<3>{tmp_path}/nowhere.yaml: cannot be read")
