"""Makes the golden store of this version: what an upgrade finds on the disk of somebody who ran it.

    python -m tests.golden.make

writes tests/golden/VERSION/ with the store, its marker, and `expected.json`. Done once, when a version
is released; what was committed is never made again, for no later code could make it as this one did.
All but the store's id comes out the same each time.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import taskwatch
from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.core.route import Hop, Route, Routing
from taskwatch.engine.groups import Groups
from taskwatch.engine.letters import Letters, Sources
from taskwatch.engine.poller import Poller
from taskwatch.engine.ports import OutageRecord, Routed, Subject
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, Outcome, Reason, Retry
from taskwatch.model.event import EventType, Severity
from taskwatch.model.outage import Kind, Outage, Place, thing_of
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING, Instance, Task
from taskwatch.store.desk import Desk
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_project, a_task, at, everything_to, quiet_log, some_rules
from tests.fakes.mailroom import NoTemplates
from tests.fakes.records import StillClock
from tests.fakes.scripted_source import ScriptedSource

HERE: Final = Path(__file__).parent
RECEIVERS: Final = ("journal", "hook")
PEOPLE: Final = "mail"
ROUTING: Final = Routing(root=Route(receivers=(*RECEIVERS, PEOPLE)), people=frozenset({PEOPLE}))

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
MAILED: Final = (
    a_task("mailed-1", FAILED, created_at=at(1.5), ended_at=at(2), fail_reason="no quota"),
    a_task("mailed-2", CANCELED, created_at=at(1.5), ended_at=at(2)),
)
HELD: Final = (
    a_task("held", FAILED, name="RestoreGaussDBV5InInstance", created_at=at(2.5), ended_at=at(3)),
    a_task("waiting", FAILED, created_at=at(2.5), ended_at=at(3), instance=Instance(id="in-2", name="db-2")),
)
BACKWARD: Final = a_task(
    "new-failed", RUNNING, created_at=at(0.5), ended_at=None
)  # read once: waits to be confirmed


async def make(directory: Path) -> None:
    """Poll a few times, deliver a part, write to people, hold something back."""
    clock = StillClock()
    store = open_store(directory / "taskwatch.db", clock=clock)
    poll = _poller(store, clock)
    await poll(HISTORY)
    await poll(NEWS)
    for number, outcome in enumerate(_outcomes(), start=1):
        await store.record(DeliveryId(number), outcome, at(3))
    await poll(MAILED)
    await _write_to_people(store, clock, Delivered())
    with Desk(directory / "taskwatch.db", by="golden (uid 0) on host") as desk:
        matchers = ('task =~ "Restore.*"',)
        desk.silence(matchers, ends_at=at(60 * 24 * 3650), comment="upgrade", at=clock.now())
        desk.acknowledge(["mailed-1"], until=None, comment="on it", at=clock.now())
    await poll(HELD)
    again = Retry(reason=Reason.SERVER_ERROR, detail="451 come again", poisoned=0, tried_seconds=0.0)
    await _write_to_people(store, clock, again)
    await poll((BACKWARD,))
    await store.record_outage(_silence())
    outages = [[outage.place.name, outage.cause, outage.severity] for outage in await store.outages()]
    found: dict[str, object] = {"outages": outages, "messages": await waiting_messages(store)}
    await store.close()
    _leave_only_what_lasts(directory, found)


async def waiting_messages(store: SqliteStore) -> list[list[str]]:
    """Return the messages to people that wait: their ids, and their bodies."""
    queued = await store.post.pending(PEOPLE, after=DeliveryId(0), limit=100)
    return [[one.event_id, (await store.post.body(one.id) or b"").decode()] for one in queued]


async def _write_to_people(store: SqliteStore, clock: StillClock, outcome: Outcome) -> None:
    """Make a message of what waits, and try it once."""
    groups = Groups(
        receiver=PEOPLE,
        book=store.post,
        routing=lambda: ROUTING,
        letters=Letters(receiver=PEOPLE, sources=Sources(), renderer=NoTemplates(), log=quiet_log()),
        clock=clock,
    )
    await groups.gather(at_once=True)
    (message,) = await store.post.pending(PEOPLE, after=DeliveryId(0), limit=100)
    await store.post.record(message.id, outcome, clock.now())


def _leave_only_what_lasts(directory: Path, more: dict[str, object]) -> None:
    found = found_in(directory / "taskwatch.db") | more
    (directory / "expected.json").write_text(json.dumps(found, indent=1) + "\n")
    for suffix in ("lock", "wal", "shm", "reserve"):
        for file in directory.glob(f"taskwatch.db[-.]{suffix}"):
            assert suffix != "wal" or not file.stat().st_size, "not all of the store is in its file"
            file.unlink()


def _poller(store: SqliteStore, clock: StillClock) -> Callable[[Sequence[Task]], Awaitable[None]]:
    """Return what lets the cloud serve these tasks too, and polls."""
    rows: dict[str, Task] = {}
    source = ScriptedSource.of(())
    poller = Poller(
        project=a_project(),
        rules=replace(some_rules(), baseline=BaselinePolicy.QUIET),
        source=source,
        ledger=store,
        routing=everything_to(*RECEIVERS),
        clock=clock,
        told=lambda _: None,
    )

    async def poll(tasks: Sequence[Task]) -> None:
        rows.update({task.job_id: task for task in tasks})
        source.then(tuple(rows.values()))
        if "mailed-1" in rows:
            poller.reroute(ROUTING)
        await poller.poll()
        clock.moment += timedelta(minutes=1)

    return poll


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


def found_in(path: Path) -> dict[str, object]:
    """Return what a store holds, as far as commands show it."""
    with StoreReader(path) as reader:
        deliveries = reversed(reader.deliveries())
        return {
            "tasks": {row.task.job_id: [row.task.status, row.revision] for row in reader.tasks()},
            "events": [row.id for row in reversed(reader.events())],
            "deliveries": [[row.event_id, row.receiver, row.state] for row in deliveries],
            "alerts": [
                [row.event_id, row.acknowledged_by, row.acknowledgement] for row in reversed(reader.alerts())
            ],
            "silences": [[str(row), row.comment] for row in reader.silences(since=at(0))],
        }


if __name__ == "__main__":
    asyncio.run(make(HERE / taskwatch.__version__))
