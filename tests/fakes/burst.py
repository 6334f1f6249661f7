"""Ten thousand tasks that fail between two polls, in the real store: how much is recorded, and how long that takes."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from taskwatch.clock import SystemClock
from taskwatch.engine.poller import Poller
from taskwatch.model.task import FAILED, RUNNING
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import a_project, a_task, everything_to, some_rules
from tests.fakes.scripted_source import ScriptedSource

TASKS: Final = 10_000
RECEIVERS: Final = ("one", "two", "three", "four")


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What one poll recorded."""

    failures: int
    deliveries: int
    seconds: float  # the whole poll, with detection, rendering and commit


async def burst(path: Path) -> Burst:
    """Let all of them fail at once."""
    running = [a_task(f"job-{number}", RUNNING) for number in range(TASKS)]
    store = open_store(path, clock=SystemClock())
    poller = Poller(
        project=a_project(),
        rules=some_rules(),
        source=ScriptedSource.of(running, [replace(task, status=FAILED) for task in running]),
        ledger=store,
        routing=everything_to(*RECEIVERS),
        clock=SystemClock(),
        told=lambda _: None,
    )
    await poller.poll()
    began = time.monotonic()
    await poller.poll()
    seconds = time.monotonic() - began
    await store.close()
    with StoreReader(path) as reader:
        events = [row for row in reader.events(limit=-1) if row.type.endswith("failed")]
        deliveries = sum(row.subject.startswith("job-") for row in reader.deliveries(limit=-1))
    return Burst(failures=len({row.subject for row in events}), deliveries=deliveries, seconds=seconds)
