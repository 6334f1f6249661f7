"""The daemon's log goes where it may be closed, stopped or restarted: the daemon watches on, and ends in order."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.commands import ROOT, taskwatch, until
from tests.fakes.logs import Journald
from tests.fakes.tasks_endpoint import TasksEndpoint, row

pytestmark = pytest.mark.real

CONFIGURATION = """\
store: {{path: taskwatch.db}}
log: {{format: {format_}, level: debug}}
credentials:
  c: {{type: token, token: t, rate: 1000/s}}
projects:
  - {{name: prod, endpoint: "{cloud}", project_id: 0611f1bd8b00d5d32f17c017f15b599f, interval: 100ms}}
receivers:
  - {{name: log, type: log, retry: {{initial: 100ms, max: 200ms}}}}
"""
Process = asyncio.subprocess.Process


@pytest.fixture
async def cloud() -> AsyncIterator[TasksEndpoint]:
    async with TasksEndpoint(token="t") as cloud:
        cloud.rows.append(row("going", status="Running"))
        yield cloud


@asynccontextmanager
async def started(*command: str, cwd: Path, **streams: Any) -> AsyncIterator[Process]:
    """Run a program as long as the block lasts."""
    streams = {"stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.DEVNULL} | streams
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, **streams
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def configured(directory: Path, cloud: TasksEndpoint, *, format_: str = "auto") -> tuple[str, ...]:
    """Write a configuration; return the command that runs the daemon with it."""
    config = directory / "taskwatch.yaml"
    config.write_text(CONFIGURATION.format(cloud=cloud.url, format_=format_))
    return (sys.executable, "-m", "taskwatch", "run", "-c", str(config))


async def watches_on(cloud: TasksEndpoint, *, polls: int = 5) -> None:
    before = len(cloud.requests)
    await until(lambda: len(cloud.requests) >= before + polls, "more polls")


async def entries(*command: str) -> list[dict[str, Any]]:
    """Return what journalctl prints."""
    async with started(*command, "--output=json", cwd=ROOT, stdout=asyncio.subprocess.PIPE) as journalctl:
        out, _ = await journalctl.communicate()
    return [json.loads(line) for line in out.splitlines()]


async def stopped(process: Process) -> int:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        return await process.wait()


async def told(directory: Path) -> dict[str, str]:
    """Return the state of the delivery of each event, by the event's type."""
    found = await taskwatch("deliveries", "--json", cwd=directory)
    return {one["type"]: one["state"] for one in map(json.loads, found.out.splitlines())}


@pytest.mark.parametrize("format_", ["console", "json"])
async def test_a_pipe_that_is_closed_loses_lines_and_stops_nothing(
    tmp_path: Path, cloud: TasksEndpoint, format_: str
) -> None:
    reader, writer = os.pipe()
    async with started(*configured(tmp_path, cloud, format_=format_), cwd=tmp_path, stderr=writer) as daemon:
        os.close(writer)
        with open(reader) as lines:  # noqa: ASYNC230, PTH123  (a pipe, and the daemon speaks at once)
            assert "configuration_read" in lines.readline()
        await watches_on(cloud)
        cloud.rows[0].update(status="Failed", fail_reason="no space")
        await watches_on(cloud)

        assert await stopped(daemon) == 0
    assert "delivered" not in (await told(tmp_path)).values(), "told to a pipe that nobody reads"


async def test_a_pipe_that_nobody_empties_loses_lines_and_stops_nothing(
    tmp_path: Path, cloud: TasksEndpoint
) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 8192)
    async with started(*configured(tmp_path, cloud), cwd=tmp_path, stderr=writer) as daemon:
        os.close(writer)
        await watches_on(cloud, polls=60)  # at level debug more than the pipe holds

        assert await stopped(daemon) == 0
    with open(reader, encoding="utf-8") as lines:  # noqa: ASYNC230, PTH123  (nobody writes any more)
        *whole, _ = lines.read().split("\n")
    assert {"configuration_read", "polled"} <= {json.loads(line)["event"] for line in whole}
    assert sum(map(len, whole)) <= 8192


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
async def test_without_standard_streams_the_daemon_watches_and_records(
    tmp_path: Path, cloud: TasksEndpoint, closed: str
) -> None:
    command = configured(tmp_path, cloud)
    async with started("sh", "-c", f'exec "$@" {closed}', "sh", *command, cwd=tmp_path) as daemon:
        await watches_on(cloud)
        cloud.rows[0].update(status="Failed", fail_reason="no space")
        await watches_on(cloud)

        assert await stopped(daemon) == 0
    expected = "delivered" if "2" not in closed else "pending"
    assert (await told(tmp_path))["taskwatch.task.failed"] == expected


# The journal

DRIVER = """
import asyncio, sys
from pathlib import Path
from taskwatch import telemetry
from taskwatch.app import watch
from taskwatch.notifiers.registry import kinds
from taskwatch.config.load import load
telemetry.configure(format_="journal", level="info", journal_socket=Path(sys.argv[2]))
asyncio.run(watch(load(Path(sys.argv[1]), kinds())))
"""


async def test_a_journal_that_restarts_is_told_afterwards_what_must_be_told(
    tmp_path: Path, cloud: TasksEndpoint
) -> None:
    *_, config = configured(tmp_path, cloud, format_="journal")
    log = tmp_path / "stderr"
    with Journald(tmp_path / "journal") as journal, log.open("w") as stderr:
        found: list[dict[str, str]] = []
        command = (sys.executable, "-c", DRIVER, config, str(journal.path))
        async with started(*command, cwd=tmp_path, stderr=stderr) as daemon:
            await until(_comes(found, journal, "taskwatch.project.baseline"), "the baseline in the journal")
            journal.stop()
            cloud.rows[0].update(status="Failed", fail_reason="no space")
            await until(lambda: "delivery_failed" in log.read_text(), "the trouble, on standard error")
            journal.start()
            await until(_comes(found, journal, "taskwatch.task.failed"), "the failure in the journal")
            await until(_comes(found, journal, "receiver_works_again"), "the edge in the journal")

            assert await stopped(daemon) == 0
    assert (await told(tmp_path))["taskwatch.task.failed"] == "delivered"


def _comes(found: list[dict[str, str]], journal: Journald, event: str) -> Callable[[], bool]:
    def has_come() -> bool:
        found.extend(journal.entries())
        return any(one["TASKWATCH_EVENT"] == event for one in found)

    return has_come


JOURNALD = Path("/usr/lib/systemd/systemd-journald")
PROGRAMS = ("unshare", "nsenter", "systemd-cat", "journalctl")
# Mounts of its own, which vanish with the process that holds them.
BOX = """
set -eu
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /run/log/journal
echo ready
exec sleep infinity
"""


@asynccontextmanager
async def boxed() -> AsyncIterator[tuple[str, ...]]:
    """Keep a place where a journal can be; yield the beginning of each command that runs in it."""
    pipe = asyncio.subprocess.PIPE
    async with started("unshare", "--mount", "sh", "-c", BOX, cwd=ROOT, stdout=pipe) as box:
        assert box.stdout is not None
        assert await box.stdout.readline() == b"ready\n"
        yield ("nsenter", "--mount", f"--target={box.pid}", f"--wd={ROOT}")


# As systemd starts a service: standard error connected with the journal, and saying so.
AS_SERVICE = 'JOURNAL_STREAM=$(stat --dereference --format=%d:%i /proc/self/fd/2) exec "$@"'


@pytest.mark.skipif(
    os.geteuid() != 0 or not JOURNALD.exists() or not all(map(shutil.which, PROGRAMS)),
    reason="needs root, and a systemd that is installed",
)
async def test_under_systemd_the_journal_finds_lines_by_their_fields_and_may_be_restarted(
    tmp_path: Path, cloud: TasksEndpoint
) -> None:
    command = configured(tmp_path, cloud)
    async with AsyncExitStack() as stack:
        inside = await stack.enter_async_context(boxed())

        async def holds(*matches: str) -> dict[str, Any]:
            async with asyncio.timeout(30):
                while not (
                    found := await entries(*inside, "journalctl", "--directory=/run/log/journal", *matches)
                ):
                    await asyncio.sleep(0.1)
            return found[-1]

        async with started(*inside, str(JOURNALD), cwd=tmp_path) as journal:
            await until(Path(f"/proc/{journal.pid}/root/run/systemd/journal/stdout").exists, "the journal")
            command = (*inside, "systemd-cat", "sh", "-c", AS_SERVICE, "sh", *command)
            daemon = await stack.enter_async_context(started(*command, cwd=tmp_path))
            begun = await holds("TASKWATCH_EVENT=watching", "SYSLOG_IDENTIFIER=taskwatch")
            await holds("TASKWATCH_TYPE=taskwatch.project.baseline", "TASKWATCH_PROJECT=prod", "PRIORITY=6")
            await stopped(journal)
        cloud.rows[0].update(status="Failed", fail_reason="no space")
        await watches_on(cloud)
        async with started(*inside, str(JOURNALD), cwd=tmp_path):
            failure = await holds("TASKWATCH_TYPE=taskwatch.task.failed", "PRIORITY=2")

            assert await stopped(daemon) == 0
    assert (begun["_TRANSPORT"], begun["MESSAGE"].split()[0]) == ("journal", "watching")
    assert failure["MESSAGE"].startswith('taskwatch.task.failed "')
    assert (await told(tmp_path))["taskwatch.task.failed"] == "delivered"
