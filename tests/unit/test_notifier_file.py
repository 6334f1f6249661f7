"""The receiver `file`: whole lines, on the disk, in whatever file is there now."""
# ruff: noqa: ASYNC240  (a test may wait for its disk)

import asyncio
import errno
import json
import os
import threading
from pathlib import Path

import pytest

from taskwatch.engine.ports import DeliveryError
from taskwatch.notifiers.file import FileNotifier
from tests.fakes.messages import a_message


def written(path: Path) -> list[str]:
    """Return the ids of the events in the file, each of which is one line."""
    return [json.loads(line)["subject"] for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


async def test_each_event_is_a_line_of_its_own(path: Path) -> None:
    notifier = FileNotifier(path)
    for number in range(3):
        await notifier.notify(a_message(job_id=f"job-{number}"))
    await notifier.close()
    assert written(path) == ["job-0", "job-1", "job-2"]
    assert oct(path.stat().st_mode & 0o777) == oct(0o640 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("how", ["renamed", "removed"])
async def test_after_a_rotation_a_new_file_is_begun(path: Path, how: str) -> None:
    notifier = FileNotifier(path)
    await notifier.notify(a_message(job_id="job-1"))
    if how == "renamed":
        path.rename(path.with_suffix(".1"))
    else:
        path.unlink()
    await notifier.notify(a_message(job_id="job-2"))
    await notifier.close()
    assert written(path) == ["job-2"]
    if how == "renamed":
        assert written(path.with_suffix(".1")) == ["job-1"]


async def test_a_file_that_was_emptied_in_place_is_written_from_its_beginning(path: Path) -> None:
    notifier = FileNotifier(path)
    await notifier.notify(a_message(job_id="job-1"))
    os.truncate(path, 0)
    await notifier.notify(a_message(job_id="job-2"))
    await notifier.close()
    assert written(path) == ["job-2"]


async def test_a_line_that_was_cut_off_spoils_no_other(path: Path) -> None:
    path.write_text('{"subject": "half')
    notifier = FileNotifier(path)
    await notifier.notify(a_message(job_id="job-1"))
    await notifier.close()
    first, second = path.read_text().splitlines()
    assert first == '{"subject": "half'
    assert json.loads(second)["subject"] == "job-1"


async def test_what_could_not_be_written_whole_is_taken_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = FileNotifier(path)
    await notifier.notify(a_message(job_id="job-1"))
    write, calls = os.write, [0]

    def fills(descriptor: int, data: bytes) -> int:
        calls[0] += 1
        if calls[0] == 1:
            return write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fills)
    with pytest.raises(DeliveryError, match="no space left on device"):
        await notifier.notify(a_message(job_id="job-2"))
    monkeypatch.setattr(os, "write", write)
    await notifier.notify(a_message(job_id="job-2"))
    await notifier.close()
    assert written(path) == ["job-1", "job-2"]


async def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DeliveryError, match="is no file"):
        await asyncio.wait_for(FileNotifier(pipe).notify(a_message()), 5)
    with pytest.raises(DeliveryError, match="is a directory"):
        await FileNotifier(tmp_path).notify(a_message())
    with pytest.raises(DeliveryError, match="no such file or directory"):
        await FileNotifier(tmp_path / "none" / "events").notify(a_message())


async def test_an_attempt_that_was_given_up_is_finished_before_the_next_begins(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier, sync, begun = FileNotifier(path), os.fdatasync, asyncio.Event()
    loop, gate = asyncio.get_running_loop(), threading.Event()

    def hangs(descriptor: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        gate.wait(10)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", hangs)
    first = asyncio.create_task(notifier.notify(a_message(job_id="job-1")))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    monkeypatch.setattr(os, "fdatasync", sync)
    second = asyncio.create_task(notifier.notify(a_message(job_id="job-2")))
    await asyncio.sleep(0)
    assert written(path) == ["job-1"]
    gate.set()
    await second
    await notifier.close()
    assert written(path) == ["job-1", "job-2"]


async def test_to_be_tried_it_needs_a_place_that_can_be_written(tmp_path: Path, path: Path) -> None:
    await FileNotifier(path).connect()
    assert not path.exists()
    with pytest.raises(DeliveryError, match="cannot be written here"):
        await FileNotifier(tmp_path / "none" / "events").connect()
