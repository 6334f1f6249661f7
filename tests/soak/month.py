"""Weeks of an undisturbed process, in virtual time, with one fault in a hundred steps: does anything grow?

The list of this cloud reaches back a week instead of a month, and what is told is kept for as long: then all that
comes and goes has come to rest after half of the run, and what still grows grows for ever. The oracle checks
each task when it leaves the list, and forgets it: nor does it grow itself.
"""

import asyncio
import gc
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from taskwatch.engine.ports import Ask
from taskwatch.errors import CloudCause, CloudError, StoreFailedError
from taskwatch.model.delivery import Message
from taskwatch.model.project import Listing
from taskwatch.model.task import COMPLETED, FAILED, PENDING, RUNNING
from taskwatch.store import retention
from tests.fakes.builders import at
from tests.fakes.inline_writer import Disk
from tests.fakes.scripted_notifier import no_connection, server_error
from tests.fakes.virtual_time import run_virtual, virtual_clock
from tests.simulation.world import CALM, INTERVAL, RECEIVERS, Cloud, Process, Receiver, World

DAYS: Final = 35
SETTLED: Final = 20  # days, after which nothing may grow any more
GROWTH: Final = 1.1  # beyond it something grows; chance alone moves it by a few per cent
REACH: Final = timedelta(days=7)
REACH_STEPS: Final = int(REACH / timedelta(seconds=INTERVAL))
STEPS_A_DAY: Final = int(86_400 / INTERVAL)
BIRTHS: Final = 60 / STEPS_A_DAY
FAULTS: Final = 0.01
PAGE: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How large all of it is, at the end of a day."""

    day: int
    store_bytes: int
    resident_bytes: int


@dataclass(slots=True)
class WeekCloud(Cloud):
    """Tasks begin, end and leave the list; one answer in a hundred is none, one is cut short, one is late."""

    numbers: Any = field(default_factory=lambda: count(8))
    left: dict[str, str] = field(default_factory=dict)  # what left the list today, and as what

    def advance(self) -> None:
        self.step += 1
        if self.rng.random() < BIRTHS:
            self._born(RUNNING, next(self.numbers))
        for work in list(self.works.values()):
            row = work.last
            if row.status == PENDING:
                work.rows.append((self.step, self._as(row, RUNNING)))
            elif row.status == RUNNING and self.rng.random() < 0.005:
                work.rows.append((self.step, self._as(row, self.rng.choice([COMPLETED, FAILED]))))
            elif row.status != RUNNING and self.step - work.rows[0][0] > REACH_STEPS:
                self.left[row.job_id] = self.works.pop(row.job_id).last.status

    async def fetch(self, ask: Ask) -> Listing:
        await asyncio.sleep(0.1)
        luck = self.rng.random()
        if luck < FAULTS:
            raise CloudError(self.rng.choice([CloudCause.CLOUD, CloudCause.NETWORK]), "no task list")
        if luck < 2 * FAULTS:
            rows = self._rows(lambda: 0)
            return self._listing(rows[: self.rng.randrange(len(rows) + 1)], ask, complete=False)
        is_late = luck < 3 * FAULTS
        return self._listing(self._rows(lambda: 2 if is_late else 0), ask)

    def _now(self) -> datetime:
        return at(self.step * INTERVAL / 60)


@dataclass(slots=True)
class Listener(Receiver):
    """Holds each message against what it was told before; fails, and loses its answer, once in a hundred times."""

    sequences: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    acknowledged: int = 0
    copies: int = 0

    async def repeat(self) -> None:
        """Repeat nothing."""

    async def notify(self, message: Message) -> None:
        self.attempts += 1
        luck = self.rng.random()
        if luck < FAULTS:
            raise server_error()
        self._hear(msgspec.json.decode(message.body))
        if luck < 2 * FAULTS:
            raise no_connection()
        self.acknowledged += 1

    def _hear(self, event: dict[str, Any]) -> None:
        subject, data = event["subject"], event["data"]
        if "task" not in data:
            return
        last = self.sequences.get(subject, 0)
        if data["sequence"] <= last:
            self.copies += 1
            return
        step = data.get("transition")
        if step is None:
            # All of these tasks end before they leave the list, and alerts end as others of their work do.
            if event["type"] != "taskwatch.task.resolved" or data["sequence"] != last + 1:
                self.broken.append(f"{subject}: {event['type']}")
            self.sequences[subject] = data["sequence"]
            return
        if data["sequence"] != last + 1 or (last and step["from"] != self.statuses[subject]):
            self.broken.append(f"{subject}: {step} with sequence {data['sequence']} after {last}")
        self.sequences[subject] = data["sequence"]
        self.statuses[subject] = step["to"]

    def forget(self, left: dict[str, str]) -> None:
        """Check what left the list, the baseline's in silence, and keep nothing of it."""
        for job_id, status in left.items():
            told = self.statuses.pop(job_id, None)
            self.sequences.pop(job_id, None)
            if told != status and int(job_id.partition("-")[2]) >= 8:
                self.broken.append(f"{job_id}: told {told}, and it was {status}")


@dataclass(slots=True)
class MonthWorld(World):
    """The world of one run; nothing is noted that nobody would ever forget."""

    def note_losses(self) -> None:
        return


@dataclass(slots=True)
class Month:
    """One run."""

    seed: int
    days: int = DAYS
    samples: list[Sample] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)

    def live(self) -> None:
        kept = retention.TASKS_KEPT
        retention.TASKS_KEPT = REACH + timedelta(days=1)  # type: ignore[misc]  # the month of this cloud is a week
        try:
            run_virtual(self._live(), limit_seconds=(self.days + 1) * 86_400.0)
        finally:
            retention.TASKS_KEPT = kept  # type: ignore[misc]  # as above

    @property
    def broken(self) -> list[str]:
        return [
            *(what for listener in self.listeners for what in listener.broken),
            *(
                f"the {what} grows: {by:.2f} times in {self.days - SETTLED} days"
                for what, by in self._grown()
            ),
        ]

    def growth(self) -> dict[str, float]:
        """Return by what factor the store and the process grew after all had come to rest."""
        first = next(sample for sample in self.samples if sample.day >= SETTLED)
        last = self.samples[-1]
        return {
            "store": last.store_bytes / first.store_bytes,
            "process": last.resident_bytes / first.resident_bytes,
        }

    def _grown(self) -> list[tuple[str, float]]:
        return [(what, by) for what, by in self.growth().items() if by > GROWTH]

    async def _live(self) -> None:
        rng = random.Random(self.seed)
        disk, clock = Disk(), virtual_clock()
        cloud = WeekCloud(random.Random(rng.random()), CALM, is_long=True)
        cloud.served = deque(maxlen=1)  # type: ignore[assignment]  # nobody asks, and it would grow for ever
        self.listeners = [Listener(random.Random(rng.random())) for _ in RECEIVERS]
        receivers: dict[str, Receiver] = dict(zip(RECEIVERS, self.listeners, strict=True))
        world = MonthWorld(seed=self.seed, rng=rng, weather=CALM, disk=disk, cloud=cloud, receivers=receivers)
        world.main = asyncio.current_task()
        process = Process(world, clock)
        for day in range(1, self.days + 1):
            for _ in range(STEPS_A_DAY):
                cloud.advance()
                if rng.random() < FAULTS:
                    disk.fail(rng.randint(1, 3))
                await process.lives_until_the_next_poll()
            disk.heal()
            await process.lives_until_the_next_poll()
            with suppress(StoreFailedError):
                await process.store.prune(clock.now() - REACH)
            await asyncio.sleep(60)
            for listener in self.listeners:
                listener.forget(cloud.left)
            cloud.left.clear()
            self.samples.append(_sample(day, disk))
        await process.dies()


def _sample(day: int, disk: Disk) -> Sample:
    gc.collect()
    ((pages,),) = disk.rows("PRAGMA page_count")
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    return Sample(day=day, store_bytes=pages * PAGE, resident_bytes=resident)
