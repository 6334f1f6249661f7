"""A disk that is full, that fails, or that may not be written, under the real daemon.

Not tested because there is nothing of its own to test: a disk that becomes read-only while the store is open
refuses writes with EIO or EROFS; both end as a failed fsync does.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.commands import until
from tests.fakes.daemon import Daemon
from tests.fakes.host import need, need_root
from tests.fakes.small_disk import SmallDisk
from tests.fakes.watched import Watched, cpu_seconds, lines, pid_of, watched
from tests.fakes.webhook_sink import accept, answer

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

A_WHILE: Final = 2.0  # seconds, in which nothing must happen


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as place:
        yield place


def count(daemon: Daemon, event: str, level: str | None = None) -> int:
    return sum(line["event"] == event and level in (None, line["level"]) for line in lines(daemon))


def recorded(daemon: Daemon) -> int:
    """Return how many events the polls have recorded, the baseline's with them. It needs `level="debug"`."""
    return sum(line["events"] for line in lines(daemon) if line["event"] == "polled")


async def test_on_a_full_disk_what_was_sent_is_recorded_and_what_is_new_waits_until_there_is_room(
    place: Watched,
) -> None:
    disk = SmallDisk(place)
    before = [f"before-{number}" for number in range(200)]
    place.begin(*before, "meanwhile")
    place.configure(store="small/taskwatch.db", level="debug")
    async with place.daemon(*disk.under) as daemon:
        await place.baseline(daemon)
        place.sink.choose = lambda: answer(503)
        place.end(*before)
        # One poll may not see them all: they end between two of its pages.
        await until(lambda: recorded(daemon) > len(before), "all before recorded", said=daemon.said)
        await until(lambda: count(daemon, "delivery_failed") > 0, "the first refusal", said=daemon.said)

        disk.fill(daemon)
        place.end("meanwhile")
        await until(lambda: count(daemon, "poll_not_recorded") > 0, "no room", said=daemon.said)
        place.sink.choose = lambda: accept
        await until(lambda: len(place.sink.accepted) > len(before), "all before told", said=daemon.said)
        used = cpu_seconds(daemon)
        await asyncio.sleep(A_WHILE)
        assert cpu_seconds(daemon) - used < A_WHILE / 2, "it turns in circles"
        assert place.told_twice() == []
        assert {post.event["subject"] for post in place.sink.accepted} >= set(before)
        assert "meanwhile" not in {post.event["subject"] for post in place.sink.accepted}
        assert count(daemon, "outcome_not_recorded") == 0
        assert count(daemon, "poll_not_recorded", "warning") == 1

        disk.free(daemon)
        await place.told(daemon)
        assert place.told_twice() == []


async def test_when_not_even_outcomes_can_be_recorded_sending_stops_and_goes_on_by_itself(
    place: Watched,
) -> None:
    disk = SmallDisk(place)
    place.begin(*(f"job-{number}" for number in range(50)))
    place.configure(store="small/taskwatch.db")
    async with place.daemon(*disk.under) as daemon:
        await place.baseline(daemon)
        disk.seen_by(daemon, "taskwatch.db.reserve").unlink()
        disk.fill(daemon)
        place.end("job-0")
        await until(lambda: count(daemon, "poll_not_recorded") > 0, "no room", said=daemon.said)
        sent = len(place.sink.posts)
        await asyncio.sleep(A_WHILE)
        assert len(place.sink.posts) == sent
        disk.free(daemon)
        await place.told(daemon)


async def test_a_disk_that_is_full_at_the_start_is_waited_for(place: Watched) -> None:
    disk = SmallDisk(
        place, meanwhile=f"cat /dev/zero >{place.directory}/small/filler 2>{place.directory}/cat"
    )
    place.begin("job")
    place.configure(store="small/taskwatch.db")
    async with place.daemon(*disk.under) as daemon:
        await until(lambda: count(daemon, "standing_by") > 0, "its standing by", said=daemon.said)
        used = cpu_seconds(daemon)
        await asyncio.sleep(A_WHILE)
        assert cpu_seconds(daemon) - used < A_WHILE / 2, "it turns in circles"
        assert count(daemon, "standing_by") == 1
        disk.free(daemon)
        await place.baseline(daemon)
        place.end("job")
        await place.told(daemon)


async def test_an_fsync_that_fails_ends_the_process_and_the_next_one_reads_the_truth(place: Watched) -> None:
    need_root()
    need("strace")
    place.begin("job", "another")
    place.configure()
    async with place.daemon() as daemon:
        await place.baseline(daemon)
        place.end("job")
        await place.told(daemon)
        # fmt: off
        tracer = await asyncio.create_subprocess_exec(
            "strace", "-f", "-qq", "-p", str(pid_of(daemon)), "-o", str(place.directory / "strace"),
            "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO",
            stdin=asyncio.subprocess.DEVNULL,
        )
        # fmt: on
        try:
            await until(lambda: _is_traced(daemon), "the tracer", said=daemon.said)
            place.end("another")
            assert daemon.process is not None
            assert await asyncio.wait_for(daemon.process.wait(), 30) == 1
        finally:
            with suppress(ProcessLookupError):
                tracer.send_signal(signal.SIGTERM)
            await tracer.wait()
        assert "(INJECTED)" in (place.directory / "strace").read_text()
        assert "Traceback" not in daemon.said()
        assert "can no longer be known (disk I/O error)" in daemon.said().splitlines()[-1]
    async with place.daemon() as daemon:
        await place.told(daemon)
        assert len(place.told_twice()) <= 1


async def test_a_store_that_may_not_be_written_stops_the_start_and_says_where(place: Watched) -> None:
    need_root()
    need("unshare", "mount")
    store = place.directory / "state"
    store.mkdir()
    place.begin("job")
    place.configure(store="state/taskwatch.db")
    async with place.daemon() as daemon:
        await place.baseline(daemon)
        assert await daemon.kill(signal.SIGTERM) == 0
    place.end("job")
    read_only = f'mount --bind {store} {store} && mount -o remount,bind,ro {store} && exec "$@"'
    async with place.daemon("unshare", "-m", "sh", "-c", read_only, "sh") as daemon:
        assert daemon.process is not None
        assert await asyncio.wait_for(daemon.process.wait(), 30) == 78
        last = daemon.said().splitlines()[-1]
        assert f"{store}" in last
        assert os.strerror(30) in last
        assert "Traceback" not in daemon.said()
    async with place.daemon() as daemon:
        await place.told(daemon)


def _is_traced(daemon: Daemon) -> bool:
    tasks = Path(f"/proc/{pid_of(daemon)}/task").iterdir()
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)
