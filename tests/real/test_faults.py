"""Faults of the machine and of its keepers, upon the real daemon: descriptors gone, a second daemon, signals, a pause."""

import asyncio
import json
import os
import random
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.commands import taskwatch, until
from tests.fakes.daemon import Daemon
from tests.fakes.tasks_endpoint import Exchange, TasksEndpoint, reset, row
from tests.fakes.webhook_sink import WebhookSink, answer, hang_up

pytestmark = pytest.mark.real

CONFIGURATION: Final = """\
store: {{path: taskwatch.db}}
log: {{format: json}}
credentials: {{c: {{type: none, rate: 1000/s}}}}
defaults: {{interval: {interval}}}
projects: {projects}
receivers:
  - {{name: hook, type: webhook, url: "{url}", retry: {{initial: 50ms, max: 200ms}}}}
{more}
"""
HIGH: Final = 4096  # file descriptors
FAILED: Final = "taskwatch.task.failed"
A_STEP: Final = 1 / os.sysconf("SC_CLK_TCK")  # seconds


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink) -> Write:
    """Return what writes a configuration."""

    def write(*, interval: str = "100ms", projects: int = 1, more: str = "") -> Path:
        entries = [
            {"name": f"p{number}", "endpoint": cloud.url, "project_id": str(number)}
            for number in range(projects)
        ]
        file = tmp_path / "taskwatch.yaml"
        file.write_text(
            CONFIGURATION.format(interval=interval, projects=json.dumps(entries), url=sink.url, more=more)
        )
        return file

    return write


def daemon(config: Path, log: str = "log", **further: Any) -> Daemon:
    return Daemon(config, config.parent / log, **further)


async def watches(watcher: Daemon) -> None:
    await until(lambda: '"watching"' in watcher.said(), "the daemon's start", said=watcher.said)


def lines(watcher: Daemon) -> list[dict[str, Any]]:
    return [json.loads(line) for line in watcher.said().splitlines()]


def told(sink: WebhookSink) -> dict[str, str]:
    """Return the last status of each task that the receiver was told."""
    events = [post.event for post in sink.accepted]
    return {one["subject"]: one["data"]["transition"]["to"] for one in events if "transition" in one["data"]}


def told_twice(sink: WebhookSink) -> list[str]:
    counts = Counter(post.id for post in sink.accepted)
    return [event_id for event_id, count in counts.items() if count > 1]


def pid_of(watcher: Daemon) -> int:
    assert watcher.process is not None
    return watcher.process.pid


def signalled(watcher: Daemon, number: signal.Signals) -> None:
    """Send a signal by number: Popen's own way would take the exit code from whoever waits for it."""
    with suppress(ProcessLookupError):
        os.kill(pid_of(watcher), number)


def is_ended_by_a_hangup(watcher: Daemon, *, after: bool) -> bool:
    """Tell whether Python alone has the process, which then must not have said anything."""
    status = Path(f"/proc/{pid_of(watcher)}/status").read_text()
    masks = (status.partition(f"{name}:")[2].split()[0] for name in ("SigBlk", "SigIgn", "SigCgt"))
    is_so = not any(int(mask, 16) & 1 for mask in masks)
    assert not (is_so and after), "a hangup would end it while it starts"
    return is_so


def let_open(watcher: Daemon, descriptors: int) -> None:
    """Let the process open so many descriptors; what is open stays so."""
    resource.prlimit(pid_of(watcher), resource.RLIMIT_NOFILE, (descriptors, HIGH))


def cpu_seconds(watcher: Daemon) -> float:
    fields = Path(f"/proc/{pid_of(watcher)}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * A_STEP


def memory(watcher: Daemon) -> int:
    """Return the most bytes that were ever resident."""
    status = Path(f"/proc/{pid_of(watcher)}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


# No file descriptors


async def test_without_descriptors_it_says_so_waits_without_spinning_and_goes_on_when_there_are_some(
    write: Write, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    cloud.rows.append(row("a", status="Running"))
    async with daemon(write()) as watcher:
        await until(lambda: len(sink.accepted) == 1, "the baseline", said=watcher.said)
        sink.choose = lambda: hang_up
        cloud.rows[0] = row("a", status="Failed")
        await until(lambda: '"delivery_failed"' in watcher.said(), "a connection less", said=watcher.said)
        let_open(watcher, 3)
        sink.choose = WebhookSink().choose
        cloud.script(reset())
        await until(lambda: "Too many open files" in watcher.said(), "the trouble", said=watcher.said)
        spent, said = cpu_seconds(watcher), len(lines(watcher))
        signalled(watcher, signal.SIGHUP)
        await until(lambda: '"reload_refused"' in watcher.said(), "the refusal", said=watcher.said)
        await asyncio.sleep(2)
        assert cpu_seconds(watcher) - spent < 0.5, "it spins"
        assert len(lines(watcher)) - said < 10, "it repeats itself"

        let_open(watcher, HIGH)
        await until(lambda: told(sink) == {"a": "Failed"}, "the failure", said=watcher.said)
        cloud.rows[0] = row("a", status="Running")
        await until(lambda: told(sink) == {"a": "Running"}, "a fresh change", said=watcher.said)
        assert await watcher.kill(signal.SIGTERM) == 0
    assert {line["level"] for line in lines(watcher)} <= {"info", "warning", "error"}


async def test_with_too_few_descriptors_at_the_start_it_stands_by_until_there_are_more(
    write: Write, sink: WebhookSink
) -> None:
    few = ("sh", "-c", 'ulimit -Sn 10; exec "$@"', "sh")
    async with daemon(write(), under=few) as watcher:
        await until(lambda: '"standing_by"' in watcher.said(), "standing by", said=watcher.said)
        let_open(watcher, HIGH)
        await until(lambda: len(sink.accepted) == 1, "the baseline", said=watcher.said)
        assert watcher.said().count('"standing_by"') == 1
        assert await watcher.kill(signal.SIGTERM) == 0


# Two daemons


async def test_the_daemon_that_waits_takes_over_a_backlog_when_the_first_is_killed(
    write: Write, cloud: TasksEndpoint, sink: WebhookSink, tmp_path: Path
) -> None:
    config = write()
    cloud.rows += [row(f"job-{number}", status="Running") for number in range(20)]
    waiting = daemon(config, "second", arguments=("run", "--wait"))
    async with daemon(config) as first:
        await until(lambda: len(sink.accepted) == 1, "the baseline", said=first.said)
        async with waiting as second:
            await until(lambda: '"standing_by"' in second.said(), "standing by", said=second.said)
            sink.choose = lambda: answer(503)
            for one in cloud.rows:
                one.update(row(one["job_id"], status="Failed"))
            await until(lambda: '"delivery_failed"' in first.said(), "a backlog", said=first.said)
            await first.kill()
            sink.choose = WebhookSink().choose
            for one in cloud.rows[:5]:
                one.update(row(one["job_id"], status="Running"))
            last = {one["job_id"]: one["status"] for one in cloud.rows}
            await until(lambda: told(sink) == last, "all of it", said=second.said, seconds=10)
            # The baseline, 20 failures, 5 that began anew, and the end of the alerts of those.
            await until(lambda: len(sink.accepted) == 1 + 20 + 5 + 5, "their ends", said=second.said)

            third = await taskwatch("run", cwd=tmp_path)
            assert await second.kill(signal.SIGTERM) == 0
    assert told_twice(sink) == []
    assert len(sink.accepted) == 1 + 20 + 5 + 5
    assert third.code == 75
    (line,) = [line for line in third.err.splitlines() if not line.startswith("{")]
    assert f"held by pid {second.process and second.process.pid} on {socket.gethostname()} since 2" in line
    assert "standing_by" not in first.said()


# Signals at any moment


async def test_hangups_at_any_moment_reload_or_refuse_and_lose_nothing(
    write: Write, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    rng = random.Random(3)
    good = write()
    rubbish = ["projects: [", "", "nonsense: 1\n"]
    text = good.read_text()
    async with daemon(good) as watcher:
        while is_ended_by_a_hangup(watcher, after=bool(watcher.said())):
            await asyncio.sleep(0)
        while '"watching"' not in watcher.said():
            signalled(watcher, signal.SIGHUP)
            await asyncio.sleep(0.002)
        await until(lambda: len(sink.accepted) == 1, "the baseline", said=watcher.said)
        for number in range(20):
            cloud.rows.append(row(f"job-{number}", status=rng.choice(["Running", "Failed"]), ended_at=None))
            good.write_text(rng.choice([text, text.replace("100ms", "150ms"), *rubbish]))
            signalled(watcher, signal.SIGHUP)
            await asyncio.sleep(rng.uniform(0, 0.1))
        good.write_text(text)
        signalled(watcher, signal.SIGHUP)
        last = {one["job_id"]: one["status"] for one in cloud.rows}
        await until(lambda: told(sink) == last, "every task", said=watcher.said)

        signalled(watcher, signal.SIGTERM)
        while watcher.process and watcher.process.returncode is None:
            signalled(watcher, signal.SIGHUP)
            await asyncio.sleep(0.002)
        assert await watcher.kill() == 0, watcher.said()
    assert told_twice(sink) == []
    events = Counter(line["event"] for line in lines(watcher))
    assert events["configuration_reloaded"] > 2
    assert events["reload_refused"] > 2


async def test_a_hangup_during_a_slow_poll_lets_it_end_and_tells_what_it_read(
    write: Write, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    read, go_on = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> Any:
        read.set()
        await go_on.wait()
        exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(exchange.body)}\r\n\r\n".encode())
        exchange.send(exchange.body)
        return exchange.hang_up()

    config = write()
    async with daemon(config) as watcher:
        await until(lambda: len(sink.accepted) == 1, "the baseline", said=watcher.said)
        cloud.always = slow
        await asyncio.wait_for(read.wait(), 10)
        cloud.rows.append(row("before", status="Running"))
        read.clear()
        go_on.set()
        await asyncio.wait_for(read.wait(), 10)
        go_on.clear()
        await asyncio.wait_for(read.wait(), 10)
        config.write_text(config.read_text() + "  - {name: log, type: log}\n")
        signalled(watcher, signal.SIGHUP)
        await until(lambda: '"configuration_reloaded"' in watcher.said(), "the reload", said=watcher.said)
        go_on.set()
        await until(lambda: told(sink) == {"before": "Running"}, "the task", said=watcher.said)
        assert await watcher.kill(signal.SIGTERM) == 0
    assert told_twice(sink) == []


# A burst, a pause


async def test_500_failures_in_one_poll_are_each_told_once_everywhere_within_bounds(
    write: Write, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    cloud.rows += [row(f"job-{number}", status="Running") for number in range(500)]
    async with daemon(write(more="  - {name: log, type: log}")) as watcher:
        await until(lambda: len(sink.accepted) == 1, "the baseline", said=watcher.said)
        before = memory(watcher)
        for one in cloud.rows:
            one.update(status="Failed", fail_reason="no space " * 100)
        await until(lambda: len(told(sink)) == 500, "the failures", said=watcher.said)
        await until(lambda: watcher.said().count(f'"event": "{FAILED}"') == 500, "the log", said=watcher.said)
        assert memory(watcher) - before < 64 * 1024 * 1024
        assert await watcher.kill(signal.SIGTERM) == 0
    assert set(told(sink).values()) == {"Failed"}
    assert told_twice(sink) == []
    logged = [line for line in lines(watcher) if line["event"] == FAILED]
    assert sorted(line["subject"] for line in logged) == sorted(told(sink))
    assert len(lines(watcher)) < 500 + 20


async def test_after_a_pause_each_project_is_polled_once_and_then_at_its_pace(
    write: Write, cloud: TasksEndpoint
) -> None:
    times: dict[str, list[float]] = {}

    def note(_: int) -> None:
        times.setdefault(cloud.requests[-1].path, []).append(time.monotonic())

    cloud.before = note
    async with daemon(write(interval="500ms", projects=3)) as watcher:
        await until(lambda: len(times) == 3, "the first polls", said=watcher.said)
        signalled(watcher, signal.SIGSTOP)
        await asyncio.sleep(4)
        stopped = {path: len(at) for path, at in times.items()}
        signalled(watcher, signal.SIGCONT)
        await until(
            lambda: all(len(at) >= stopped[path] + 4 for path, at in times.items()),
            "polls",
            said=watcher.said,
        )
        assert await watcher.kill(signal.SIGTERM) == 0
    for path, at in times.items():
        first, *_, fourth = at[stopped[path] :][:4]
        assert fourth - first > 0.5, "a storm: what was missed was made up for"
