"""A store whose process is killed, at any moment and at each step: nothing or all, and no operator is needed."""

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskwatch.errors import StoreHeldError
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import open_store
from tests.fakes.records import StillClock
from tests.fakes.store_victim import COMMITS, commit_next, path_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

KILLS = 12


@contextmanager
def victim(mode: str, place: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.store_victim", mode, str(place)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)
        if process.stdout is not None:
            process.stdout.close()


async def whole_commits(path: Path) -> int:
    """Open the store as the next daemon does; return how many commits it holds, each of them whole."""
    store = open_store(path, clock=StillClock())
    await store.close()
    with StoreReader(path) as reader:
        tasks = {row.task.job_id for row in reader.tasks(limit=-1)}
        events = {row.subject for row in reader.events(limit=-1)}
        deliveries = Counter(row.subject for row in reader.deliveries(limit=-1))
    assert tasks == events == {f"job-{number}" for number in range(len(events))}
    assert deliveries == dict.fromkeys(events, 2)
    return len(events)


async def test_a_kill_at_any_moment_loses_nothing_that_was_answered_and_tears_nothing(tmp_path: Path) -> None:
    path = tmp_path / "taskwatch.db"
    rng = random.Random(20_261_123)
    for _ in range(KILLS):
        with victim("commits", path) as process:
            assert process.stdout is not None
            answered = -1
            assert process.stdout.readline() == "open\n"
            for _ in range(rng.randrange(1, 60)):
                answered = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:
                answered = int(line) if line.endswith("\n") else answered
        held = await whole_commits(path)
        assert answered + 1 <= held <= answered + 2  # one may be durable and not answered yet


async def test_a_kill_at_each_step_of_making_and_using_a_store_needs_no_operator(tmp_path: Path) -> None:
    with victim("dies", tmp_path) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    deaths = [tuple(map(int, line.split())) for line in output.splitlines()]
    assert len(deaths) > 40  # else the steps were not counted
    assert deaths[-1][1] == COMMITS
    for step, answered in deaths:
        await goes_on(path_of(step, tmp_path), answered=answered)


async def goes_on(path: Path, *, answered: int) -> None:
    held = await whole_commits(path)
    assert answered <= held <= min(answered + 1, COMMITS), path
    store = open_store(path, clock=StillClock())
    assert await commit_next(store) == held
    await store.close()


async def test_a_second_daemon_is_told_who_holds_the_store_until_that_one_dies(tmp_path: Path) -> None:
    path = tmp_path / "taskwatch.db"
    with victim("commits", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreHeldError, match=f"held by pid {process.pid} on "):
            open_store(path, clock=StillClock())
        with StoreReader(path) as reader:
            assert reader.projects(limit=1) is not None
    await whole_commits(path)
