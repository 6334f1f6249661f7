"""A process that uses a store until it is killed.

    python -m tests.fakes.store_victim commits PATH       commits for ever, one line for each that was answered
    python -m tests.fakes.store_victim dies PATH NUMBER   opens and commits, and kills itself at that step

The steps are every file that it opens, renames, removes or makes, and every write and sync of SQLite.
"""

import asyncio
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
        sequence=0,
    )


async def commit_next(store: SqliteStore) -> int:
    """Commit the record that follows upon what the store holds; return its number."""
    state = await store.enrol(PROD, "prod")
    await store.commit(record_of(state.revision, state.key, state.revision))
    return state.revision


async def commits(path: Path) -> None:
    store = open_store(path, clock=SystemClock())
    print("open", flush=True)  # noqa: T201 - the one who kills reads it
    while True:
        print(await commit_next(store), flush=True)  # noqa: T201 - as above


async def dies(path: Path, number: int) -> None:
    left = number

    def step(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in _FILE_STEPS and str(path.parent) in str(arguments):
            step()

    sys.addaudithook(audit)
    with faulty_disk() as disk:
        disk.fault = step
        store = open_store(path, clock=SystemClock())
        for _ in range(COMMITS):
            print(await commit_next(store), flush=True)  # noqa: T201 - as above
        await store.close()


if __name__ == "__main__":
    mode, path = sys.argv[1], Path(sys.argv[2])
    asyncio.run(commits(path) if mode == "commits" else dies(path, int(sys.argv[3])))
