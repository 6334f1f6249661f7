"""How the commands end: the exit code, and one line that says what to do. Never a traceback (see `Ended`)."""

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.commands import taskwatch, until
from tests.fakes.daemon import Daemon
from tests.fakes.messages import HOSTILE
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink, answer

CONFIGURATION: Final = """\
store: {{path: taskwatch.db}}
log: {{format: {format}, level: debug}}
credentials:
  c: {{type: token, token: t, rate: 1000/s}}
projects:
  - {{name: prod, endpoint: "{cloud}", project_id: 0611f1bd8b00d5d32f17c017f15b599f, interval: 100ms}}
receivers:
  - {{name: journal, type: log}}
{receivers}
"""
NOBODY: Final = "http://127.0.0.1:1"  # no request gets through here


def configured(directory: Path, cloud: str = NOBODY, *, receivers: str = "", format_: str = "json") -> Path:
    file = directory / "taskwatch.yaml"
    file.write_text(CONFIGURATION.format(cloud=cloud, receivers=receivers, format=format_))
    return file


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
    async with a_running_daemon(config), Daemon(config, tmp_path / "second", arguments=("run", "--wait")) as second:
        await until(lambda: "standing_by" in second.said(), "standing by", said=second.said)
        assert await second.kill(signal.SIGTERM) == 0


async def test_poll_beside_a_daemon_is_75_and_a_dry_run_looks_without_a_trace(tmp_path: Path, cloud: TasksEndpoint) -> None:
    config = configured(tmp_path, cloud.url)
    assert (await taskwatch("poll", cwd=tmp_path)).code == 0
    cloud.always = answer_never_changes  # what the daemon reads stays as it was
    async with a_running_daemon(config):
        held = await taskwatch("poll", cwd=tmp_path)
        cloud.always = None
        cloud.rows[1] |= {"status": "Failed", "fail_reason": "out of disk"}
        cloud.script(None)
        dry = await taskwatch("poll", "--dry-run", "--json", cwd=tmp_path)

    assert (held.code, held.err.count("is held by pid")) == (75, 1)
    assert dry.code == 0
    assert [json.loads(line)["type"] for line in dry.out.splitlines()] == ["taskwatch.task.failed"]


async def answer_never_changes(exchange: object) -> object: ...


async def test_a_dry_run_records_nothing_and_makes_no_store(tmp_path: Path, cloud: TasksEndpoint) -> None:
    configured(tmp_path, cloud.url)

    first = await taskwatch("poll", "--dry-run", cwd=tmp_path)

    assert (first.code, first.out.split()[0]) == (0, "project.baseline")
    assert list(tmp_path.iterdir()) == [tmp_path / "taskwatch.yaml"]

    await taskwatch("poll", cwd=tmp_path)
    cloud.rows[1] |= {"status": "Failed", "fail_reason": "out of disk"}
    told = [await taskwatch("poll", "--dry-run", "--json", cwd=tmp_path) for _ in range(2)]
    events = await taskwatch("events", "--json", cwd=tmp_path)
    real = await taskwatch("poll", "--json", cwd=tmp_path)

    ids = [json.loads(one.out)["id"] for one in (*told, real)]
    assert len(set(ids)) == 1, "a dry run told another event than the poll that followed it"
    assert [json.loads(line)["type"] for line in events.out.splitlines()] == ["taskwatch.project.baseline"]


# The store or the configuration cannot be used


async def test_a_broken_store_is_78_and_says_what_to_do(tmp_path: Path) -> None:
    configured(tmp_path)
    (tmp_path / "taskwatch.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    for command in ("run", "poll"):
        ended = await taskwatch(command, cwd=tmp_path)
        assert ended.code == 78
        assert "restore it from a backup" in ended.err.splitlines()[-1]


async def test_a_store_that_is_gone_is_78_and_no_silent_new_baseline(tmp_path: Path, cloud: TasksEndpoint) -> None:
    configured(tmp_path, cloud.url)
    await taskwatch("poll", cwd=tmp_path)
    (tmp_path / "taskwatch.db").unlink()

    for command in ("run", "poll"):
        ended = await taskwatch(command, cwd=tmp_path)
        assert ended.code == 78
        assert "taskwatch.db is gone" in ended.err
        assert "move taskwatch.db.id out of" in ended.err
    assert not (tmp_path / "taskwatch.db").exists()


async def test_every_mistake_of_a_configuration_is_told_at_once_by_whatever_reads_it(tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(
        "credentials: {c: {type: tokne, token: s3cret-canary}}\n"
        "projects:\n"
        "  - {name: p, endpoint: nowhere, project_id: x, intervall: 3}\n"
        "receivers: [{name: r, type: webhook}]\n"
    )
    for command in ("check", "run", "poll", "tasks"):
        ended = await taskwatch(command, cwd=tmp_path)

        assert (ended.code, ended.out) == (78, "")
        lines = ended.err.splitlines()
        assert all(re.match(r"taskwatch\.yaml:\d+:\d+: [\w.\[\]]+: .+", line) for line in lines), lines
        assert [int(line.split(":")[1]) for line in lines] == [1, 3, 3, 4]
        assert "s3cret-canary" not in ended.err


async def test_no_configuration_is_78(tmp_path: Path) -> None:
    for arguments in (("run",), ("run", "-c", "missing.yaml"), ("tasks", "-c", str(tmp_path))):
        ended = await taskwatch(*arguments, cwd=tmp_path, env={"TASKWATCH_CONFIG": str(tmp_path / "none.yaml")})

        assert (ended.code, ended.out, len(ended.err.splitlines())) == (78, "", 1)


# The cloud cannot be read


async def test_poll_ends_with_3_when_a_project_could_not_be_read_and_still_tells_of_the_others(
    tmp_path: Path, cloud: TasksEndpoint
) -> None:
    config = configured(tmp_path, cloud.url)
    entry = f'  - {{name: dark, endpoint: "{NOBODY}", project_id: abc}}\nreceivers:'
    config.write_text(config.read_text().replace("receivers:", entry))

    both = await taskwatch("poll", cwd=tmp_path)
    one = await taskwatch("poll", "--project", "prod", cwd=tmp_path)

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


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("run", "--frobnicate"),
        ("poll", "--project", "unknown\x1b[31m"),
        ("tasks", "--limit", "0"),
        ("events", "--since", "whenever"),
        ("deliveries", "--state", "lost"),
        ("tasks", "surplus"),
        ("demo", "--seconds", "-1"),
    ],
)
async def test_wrong_usage_is_2_and_says_how_to_ask_for_help(arguments: tuple[str, ...], tmp_path: Path) -> None:
    configured(tmp_path)

    ended = await taskwatch(*arguments, cwd=tmp_path)

    assert (ended.code, ended.out) == (2, "")
    assert "--help" in ended.err
    assert "\x1b" not in ended.err


# The queries


@pytest.fixture
async def told(tmp_path: Path, cloud: TasksEndpoint) -> Path:
    """A directory with a store: a baseline, then a task that failed and one that began."""
    configured(tmp_path, cloud.url)
    await taskwatch("poll", cwd=tmp_path)
    cloud.rows[1] |= {"status": "Failed", "fail_reason": "out of disk"}
    cloud.rows.insert(0, row("new", status="Running", name="RestoreGaussDBV5InInstance", instance_info=None))
    assert (await taskwatch("poll", cwd=tmp_path)).code == 0
    return tmp_path


async def test_queries_answer_with_and_without_a_daemon(told: Path) -> None:
    commands = ("tasks", "events", "deliveries")
    without = {command: (await taskwatch(command, "--json", cwd=told)).out for command in commands}
    async with a_running_daemon(told / "taskwatch.yaml"):
        beside = {command: (await taskwatch(command, "--json", cwd=told)).out for command in commands}

    assert without == beside
    assert {command: len(out.splitlines()) for command, out in without.items()} == {
        "tasks": 3,
        "events": 3,
        "deliveries": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ("tasks --status failed", 1),
        ("tasks --status Frozen", 0),
        ("tasks --name Restore*", 1),
        ("tasks --instance gauss-1", 2),
        ("tasks --project other", 0),
        ("tasks --limit 2", 2),
        ("tasks --since 1h", 3),
        ("tasks --since 2100-01-01", 0),
        ("events --type task.failed", 1),
        ("events --type taskwatch.task.started --name Restore*", 1),
        ("events --since 1h --limit 1", 1),
        ("deliveries --state delivered --receiver journal", 3),
        ("deliveries --state dead", 0),
        ("deliveries --type task.failed", 1),
    ],
)
async def test_filters_filter(told: Path, arguments: str, count: int) -> None:
    # All in one test would stop at the first; each of its own costs two polls. Parsing is what differs.
    ended = await taskwatch(*arguments.split(), "--json", cwd=told)

    assert (ended.code, len(ended.out.splitlines())) == (0, count)


async def test_without_a_store_a_query_says_so(tmp_path: Path) -> None:
    configured(tmp_path)

    for command in ("tasks", "events", "deliveries"):
        ended = await taskwatch(command, cwd=tmp_path)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == f"taskwatch: no store at {tmp_path}/taskwatch.db yet: start taskwatch run once\n"


async def test_a_reader_that_has_had_enough_is_no_error_to_speak_of(told: Path) -> None:
    for command in ("tasks", "tasks --json", "events --json"):
        shell = await asyncio.create_subprocess_shell(
            f"taskwatch {command} | head -n 1",
            cwd=told,
            env=os.environ | {"PATH": f"{os.path.dirname(os.sys.executable)}:{os.environ['PATH']}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await shell.communicate()
        assert (len(out.splitlines()), err) == (1, b"")


@pytest.mark.parametrize("no_color", ["", "1"])
async def test_colour_is_for_terminals_and_never_against_no_color(told: Path, no_color: str) -> None:
    assert "\x1b" not in (await taskwatch("tasks", cwd=told)).out

    shown = await asyncio.to_thread(on_a_terminal, "tasks", cwd=told, env={"NO_COLOR": no_color})

    assert ("\x1b[31mFailed" in shown) is not bool(no_color)
    assert "Failed" in shown


async def test_a_terminal_of_few_letters_shows_what_it_can(told: Path, cloud: TasksEndpoint) -> None:
    cloud.rows[0] |= {"status": "Failed", "fail_reason": "Gerät läuft über"}
    await taskwatch("poll", cwd=told)

    ended = await taskwatch("tasks", cwd=told, env={"PYTHONIOENCODING": "ascii"})

    assert ended.code == 0
    assert "Ger\\xe4t" in ended.out
