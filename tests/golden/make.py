"""Makes the golden store of this version: what an upgrade finds on the disk of somebody who ran it.

    python -m tests.golden.make

writes tests/golden/VERSION/ with the store, its marker, and `expected.json`. Done once, when a version
is released; what was committed is never made again, for no later code could make it as this one did.
All but the store's id comes out the same each time.
"""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import taskwatch
from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.events import Word, outage_event
from taskwatch.core.route import Hop
from taskwatch.engine.poller import Poller
from taskwatch.engine.ports import OutageRecord, Routed, Subject
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, Outcome, Reason, Retry
from taskwatch.model.event import EventType, Severity
from taskwatch.model.outage import Kind, Outage, Place, thing_of
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_project, a_task, at, everything_to, some_rules
from tests.fakes.records import StillClock
from tests.fakes.scripted_source import ScriptedSource

HERE: Final = Path(__file__).parent
RECEIVERS: Final = ("journal", "hook")

HISTORY: Final = (
    a_task("old-completed", COMPLETED, created_at=at(-300), ended_at=at(-200)),
    a_task("old-failed", FAILED, created_at=at(-300), ended_at=at(-250), fail_reason="disk full"),
    a_task("old-canceled", CANCELED, created_at=at(-300), ended_at=at(-250)),
    a_task("queued", PENDING, created_at=at(-3)),
    a_task("running", RUNNING, created_at=at(-2), progress=40),
    a_task("to-complete", RUNNING, created_at=at(-2)),
    a_task("to-fail", RUNNING, name="RestoreGaussDBV5InInstance", created_at=at(-2)),
)
NEWS: Final = (
    a_task("to-complete", COMPLETED, created_at=at(-2), ended_at=at(1), progress=100),
    a_task(
        "to-fail", FAILED, created_at=at(-2), ended_at=at(1), fail_reason="Grüße aus Block 7 \u202e\U0001f4a5"
    ),
    a_task("new-running", RUNNING, created_at=at(1)),
    a_task("new-failed", FAILED, created_at=at(0.5), ended_at=at(1), fail_reason="no quota"),
    a_task("new-unknown", "Hibernating", created_at=at(1)),
)
BACKWARD: Final = a_task(
    "new-failed", RUNNING, created_at=at(0.5), ended_at=None
)  # read once: waits to be confirmed


async def make(directory: Path) -> None:
    """Poll three times, deliver a part."""
    clock = StillClock()
    store = open_store(directory / "taskwatch.db", clock=clock)
    await _poll(store, clock)
    for number, outcome in enumerate(_outcomes(), start=1):
        await store.record(DeliveryId(number), outcome, at(3))
    await store.record_outage(_silence())
    outages = [[outage.place.name, outage.cause, outage.severity] for outage in await store.outages()]
    await store.close()
    _leave_only_what_lasts(directory, outages)


def _leave_only_what_lasts(directory: Path, outages: object) -> None:
    found = _found(directory) | {"outages": outages}
    (directory / "expected.json").write_text(json.dumps(found, indent=1) + "\n")
    for suffix in ("lock", "wal", "shm", "reserve"):
        for file in directory.glob(f"taskwatch.db[-.]{suffix}"):
            assert suffix != "wal" or not file.stat().st_size, "not all of the store is in its file"
            file.unlink()


async def _poll(store: SqliteStore, clock: StillClock) -> None:
    rows = {task.job_id: task for task in HISTORY}
    later = rows | {task.job_id: task for task in NEWS}
    source = ScriptedSource.of(
        *(tuple(listed.values()) for listed in (rows, later, later | {BACKWARD.job_id: BACKWARD}))
    )
    poller = Poller(
        project=a_project(),
        rules=replace(some_rules(), baseline=BaselinePolicy.QUIET),
        source=source,
        ledger=store,
        routing=everything_to(*RECEIVERS),
        clock=clock,
        told=lambda _: None,
    )
    for _ in range(3):
        await poller.poll()
        clock.moment += timedelta(minutes=1)


def _silence() -> OutageRecord:
    """Return that a receiver takes nothing, as it was told to the other one."""
    place = Place(Kind.RECEIVER, "hook")
    word = Word(
        type=EventType.RECEIVER_DOWN,
        place=place,
        projects=(),
        severity=Severity.WARNING,
        cause="server_error",
        error="hooks.example answered 503",
        since=at(3),
    )
    event = outage_event(word, sequence=1, at=at(18))
    return OutageRecord(
        outage=Outage(
            id=None,
            place=place,
            things=frozenset({thing_of("hook")}),
            cause=word.cause,
            severity=word.severity,
            since=word.since,
            events=(event.id,),
            told=frozenset({"journal"}),
        ),
        is_over=False,
        subject=Subject(place=place, project=None),
        told=Routed(event=event, job_id=None, hops=(Hop(receiver="journal", path="route"),)),
    )


def _outcomes() -> list[Outcome]:
    """Return what became of the first deliveries: the rest is pending and was never tried."""
    again = Retry(
        reason=Reason.SERVER_ERROR, detail="hooks.example answered 503", poisoned=1, tried_seconds=60.0
    )
    end = Dead(
        reason=Reason.REJECTED,
        detail="hooks.example answered 422",
        why="poison",
        poisoned=10,
        tried_seconds=90.5,
    )
    return [Delivered(), Delivered(), Delivered(), end, Delivered(), again]


def _found(directory: Path) -> dict[str, object]:
    with StoreReader(directory / "taskwatch.db") as reader:
        deliveries = reversed(reader.deliveries())
        return {
            "tasks": {row.task.job_id: [row.task.status, row.revision] for row in reader.tasks()},
            "events": [row.id for row in reversed(reader.events())],
            "deliveries": [[row.event_id, row.receiver, row.state] for row in deliveries],
        }


if __name__ == "__main__":
    asyncio.run(make(HERE / taskwatch.__version__))
