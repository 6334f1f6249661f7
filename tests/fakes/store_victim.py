"""A process that uses a store until it is killed.

    python -m tests.fakes.store_victim commits PATH      commits for ever, one line for each that was answered
    python -m tests.fakes.store_victim dies DIRECTORY    makes a store and commits to it, again and again, and is
                                                         killed one step later each time; prints step and answers

The steps are every file that is opened, renamed, removed or made, and every write and sync of SQLite.
"""

import asyncio
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Final

from taskwatch.clock import SystemClock
from taskwatch.engine.ports import PollRecord
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_known, a_task
from tests.fakes.faulty_disk import faulty_disk
from tests.fakes.records import PROD, an_event, routed

COMMITS: Final = 2  # of `dies`
_FILE_STEPS: Final = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.chown"})


def record_of(number: int, project: int, revision: int) -> PollRecord:
    """Return the record of this number: one task, one event, two deliveries."""
    event = an_event(f"tw_{number}", subject=f"job-{number}", body=b"x" * 3_000)
    return PollRecord(
        project=project,
        revision=revision,
        tasks=[a_known(a_task(f"job-{number}"))],
        events=[routed(event, "hook", "mail")],
        observed_at=None,
    )


async def commit_next(store: SqliteStore) -> int:
    """Commit the record that follows upon what the store holds; return its number."""
    state = await store.enrol(PROD, "prod")
    await store.commit(record_of(state.revision, state.key, state.revision))
    return state.revision


async def commits(path: Path) -> None:
    store = open_store(path, clock=SystemClock())
    print("open", flush=True)  # noqa: T201 - whoever kills this reads it
    while True:
        print(await commit_next(store), flush=True)  # noqa: T201 - as above


def dies(directory: Path) -> None:
    """Fork for each step; stop after the first child that came to the end."""
    for step in itertools.count(1):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            asyncio.run(_die_at(step, path_of(step, directory), writing))
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as answers:  # noqa: PTH123 - a descriptor has no path
            print(step, len(answers.read()), flush=True)  # noqa: T201 - whoever started this reads it
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))


def path_of(step: int, directory: Path) -> Path:
    return directory / f"killed at step {step}" / "taskwatch.db"


async def _die_at(step: int, path: Path, answers: int) -> None:
    left = step

    def passed(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in _FILE_STEPS and str(path.parent) in str(arguments):
            passed()

    sys.addaudithook(audit)
    with faulty_disk() as disk:
        disk.fault = passed
        store = open_store(path, clock=SystemClock())
        for _ in range(COMMITS):
            await commit_next(store)
            os.write(answers, b".")
        await store.close()


if __name__ == "__main__":
    mode, place = sys.argv[1], Path(sys.argv[2])
    if mode == "commits":
        asyncio.run(commits(place))
    else:
        dies(place)
