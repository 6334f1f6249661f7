"""The oracle of the simulation: what was told of a world, held against what was true in it.

Each judge returns the broken promises; none is the only good answer.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from taskwatch.model.task import CANCELED, FAILED
from tests.simulation.world import GONE_POLLS, INTERVAL, STALE_POLLS, World

STATUSES = {"task.failed": FAILED, "task.canceled": CANCELED}
OPENING = {"failed", "canceled", "vanished", "left_window"}
UNSEEN_POLLS = int(300 / INTERVAL)  # a task is not told gone over more of them in a row


class Kind(StrEnum):
    """Which promise is broken."""

    LOST = "lost"
    FALSE = "false"
    ORDER = "out of order"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that does not hold in a world."""

    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An event as the store holds it."""

    id: str
    subject: str
    job_id: str | None
    kind: str
    sequence: int
    data: dict[str, Any]


@dataclass(slots=True)
class Chain:
    """What was told of one task."""

    moves: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Recorded] = field(default_factory=list)
    ends: list[Recorded] = field(default_factory=list)  # of alerts
    sequences: list[int] = field(default_factory=list)


def verdict(world: World) -> list[Broken]:
    """Return every broken promise of this world."""
    judges = (_chains, _losses, _alerts, _silence, _outages, _deliveries, _health_of_the_store)
    return [found for judge in judges for found in judge(world)]


def recorded(world: World) -> list[Recorded]:
    rows = world.disk.rows("SELECT id, subject, job_id, type, sequence, body FROM events ORDER BY seq")
    return [
        Recorded(
            id=id_,
            subject=subject,
            job_id=job_id,
            kind=type_.removeprefix("taskwatch."),
            sequence=sequence,
            data=json.loads(body)["data"],
        )
        for id_, subject, job_id, type_, sequence, body in rows
    ]


def _by_task(world: World) -> dict[str, Chain]:
    chains: dict[str, Chain] = {job_id: Chain() for job_id in world.cloud.works}
    for event in recorded(world):
        if event.job_id is None:
            continue
        chain = chains[event.job_id]
        chain.sequences.append(event.sequence)
        if "transition" in event.data:
            chain.moves.append(event.data["transition"])
        elif event.kind == "task.resolved":
            chain.ends.append(event)
        else:
            chain.losses.append(event)
    return chains


def _chains(world: World) -> Iterator[Broken]:
    """Per task: no hole, nothing that was not so and was not served, in that order, up to the last status."""
    held = dict(world.disk.rows("SELECT job_id, status FROM tasks"))
    for job_id, chain in _by_task(world).items():
        work = world.cloud.works[job_id]
        moves = chain.moves
        story = f"{job_id}: told {[(move['from'], move['to']) for move in moves]}, true {work.statuses}"
        if chain.sequences != list(range(1, len(chain.sequences) + 1)):
            yield Broken(Kind.ORDER, f"lost or out of order, sequences {chain.sequences}; {story}")
        if work.deleted_at is None and held.get(job_id) != work.last.status:
            yield Broken(Kind.LOST, f"known as {held.get(job_id)}; {story}")
        if not moves:
            continue
        if moves[-1]["to"] != held[job_id]:
            yield Broken(Kind.LOST, f"last told is not what is known, {held[job_id]}; {story}")
        if any(before["to"] != after["from"] for before, after in pairwise(moves)):
            yield Broken(Kind.LOST, f"a hole; {story}")
        first = 1 if moves[0]["from"] is None else 2  # the baseline's status was revision 1
        if [move["revision"] for move in moves] != list(range(first, first + len(moves))):
            yield Broken(Kind.ORDER, f"revisions; {story}")
        known = [status for status in (moves[0]["from"], *(move["to"] for move in moves)) if status]
        served = [status for served_id, status in world.cloud.served if served_id == job_id]
        if not _is_subsequence(known, work.statuses):
            yield Broken(Kind.FALSE, f"told what never was; {story}")
        if not _is_subsequence(known, served):
            yield Broken(Kind.FALSE, f"told what was not served; {story}")


def _losses(world: World) -> Iterator[Broken]:
    """A task is told gone when its record was away for ten minutes, and always in the end."""
    held = {
        job_id: (is_open, gone)
        for job_id, is_open, gone in world.disk.rows("SELECT job_id, open, gone FROM tasks")
    }
    for job_id, chain in _by_task(world).items():
        work = world.cloud.works[job_id]
        is_open, is_gone = held.get(job_id, (False, False))
        for loss in chain.losses:
            step = world.lost_at[loss.id]
            away = range(step - GONE_POLLS + STALE_POLLS + 1, step - STALE_POLLS)
            looked = [moment for moment in away if moment not in world.weather.down]
            was_away = all(work.is_hidden(moment) or moment in world.weather.shrunk for moment in looked)
            if not was_away or len(away) - len(looked) > UNSEEN_POLLS:
                yield Broken(Kind.FALSE, f"{job_id} was told gone in step {step}, and was there")
        if work.deleted_at is None and is_gone:
            yield Broken(Kind.FALSE, f"{job_id} counts as gone, and is there")
        if work.deleted_at is not None and is_open and not (is_gone and chain.losses):
            yield Broken(Kind.LOST, f"{job_id} was deleted, and nobody was told")


def _alerts(world: World) -> Iterator[Broken]:
    """What was told to need attention is told to be over once, if it is, and stands open as long as it does."""
    held: dict[str, tuple[str, bool]] = {
        job_id: (status, gone)
        for job_id, status, gone in world.disk.rows("SELECT job_id, status, gone FROM tasks")
    }
    standing = {
        event_id
        for (event_id,) in world.disk.rows(
            "SELECT e.id FROM alerts a JOIN events e ON e.seq = a.event WHERE a.ended_at IS NULL"
        )
    }
    events = [event for event in recorded(world) if event.job_id is not None]
    opened = {event.id: event for event in events if event.kind.removeprefix("task.") in OPENING}
    ends = [event.data["resolves"] for event in events if event.kind == "task.resolved"]
    if len(set(ends)) < len(ends):
        yield Broken(Kind.FALSE, "an alert was told twice to be over")
    if set(ends) - opened.keys() or standing - opened.keys():
        yield Broken(Kind.FALSE, "an alert was ended, or stands, that nobody was told of")
    if opened.keys() - set(ends) - standing:
        yield Broken(Kind.LOST, "an alert is over, and nobody was told")
    for event_id in opened.keys() & standing:
        event = opened[event_id]
        assert event.job_id is not None
        status, is_gone = held[event.job_id]
        stands = (
            is_gone if event.kind in {"task.vanished", "task.left_window"} else STATUSES[event.kind] == status
        )
        if not stands or event_id in ends:
            yield Broken(Kind.FALSE, f"{event.kind} of {event.job_id} stands, and is over")


def _silence(world: World) -> Iterator[Broken]:
    """Only what had begun before the baseline, or was deleted, may have no beginning among the events."""
    assert world.baseline_at is not None
    for job_id, chain in _by_task(world).items():
        work = world.cloud.works[job_id]
        created_at = work.last.created_at
        assert created_at is not None
        has_begun = bool(chain.moves) and chain.moves[0]["from"] is None
        if not has_begun and created_at > world.baseline_at and work.deleted_at is None:
            yield Broken(Kind.LOST, f"{job_id} began and nobody was told")


def _outages(world: World) -> Iterator[Broken]:
    """What was told to be out is told to be over, once; and what is no outage is not told."""
    if left := world.disk.rows("SELECT kind, name FROM outages"):
        yield Broken(Kind.LOST, f"still out: {left}")
    events = [event for event in recorded(world) if event.job_id is None]
    sequences: dict[str, list[int]] = {}
    for event in events:
        sequences.setdefault(event.subject, []).append(event.sequence)
    for subject, numbers in sequences.items():
        if numbers != list(range(1, len(numbers) + 1)):
            yield Broken(Kind.ORDER, f"events about {subject} have the sequences {numbers}")
    told = [event.id for event in events if event.kind in {"project.degraded", "receiver.down"}]
    ended = [id_ for event in events if event.kind.endswith(".recovered") for id_ in event.data["resolves"]]
    if sorted(told) != sorted(ended):
        yield Broken(Kind.LOST, f"{len(told)} outages were told and {len(ended)} to be over")
    # A login may be refused by chance. Where records are taken away the list shrinks by itself, and what is then
    # told names the cause of the last poll, whatever that was.
    degraded = [
        event for event in events if event.kind == "project.degraded" and event.data["cause"] != "login"
    ]
    windows = bool(world.weather.down) + bool(world.weather.shrunk)
    if not world.weather.hides and len(degraded) > windows:
        yield Broken(
            Kind.FALSE, f"{len(degraded)} outages of the project were told, and there were {windows}"
        )
    if any(event.kind == "receiver.down" for event in events) and len(world.weather.chat_down) <= GONE_POLLS:
        yield Broken(Kind.FALSE, "a receiver was told down that had not been for long")


def _deliveries(world: World) -> Iterator[Broken]:
    """Each event at each receiver that it was for; per subject in order; the same id never with other bytes."""
    events = {event.id: event for event in recorded(world)}
    rows = world.disk.rows(
        "SELECT e.id, e.body, d.receiver, d.state FROM deliveries d JOIN events e ON e.seq = d.event"
    )
    for name, receiver in world.receivers.items():
        mine = {id_: (body, state) for id_, body, owner, state in rows if owner.startswith(name)}
        if left := {state for _, state in mine.values()} - {"delivered"}:
            yield Broken(Kind.LOST, f"{name}: deliveries are {left}")
        everywhere = {event.id for event in events.values() if event.job_id is not None}
        if missing := everywhere - mine.keys():
            yield Broken(Kind.LOST, f"{name}: {len(missing)} events of tasks were not for it")
        firsts = list(dict.fromkeys(message.event_id for message in receiver.taken))
        if lost := mine.keys() - set(firsts):
            yield Broken(Kind.LOST, f"{name}: lost {sorted(lost)}")
        if invented := set(firsts) - mine.keys():
            yield Broken(Kind.FALSE, f"{name}: invented {sorted(invented)}")
        if any(
            mine[message.event_id][0] != message.body
            for message in receiver.taken
            if message.event_id in mine
        ):
            yield Broken(Kind.FALSE, f"{name}: other bytes under the same id")
        last: dict[str, int] = {}
        for event in (events[event_id] for event_id in firsts if event_id in events):
            if event.sequence <= last.get(event.subject, 0):
                yield Broken(Kind.ORDER, f"{name}: {event.subject} out of order")
            last[event.subject] = event.sequence
        if world.fresh not in {event.subject for event in events.values() if event.id in firsts}:
            yield Broken(Kind.LOST, f"{name}: a fresh change did not arrive when the faults had ended")


def _health_of_the_store(world: World) -> Iterator[Broken]:
    found = world.disk.rows("PRAGMA integrity_check")
    if found != [("ok",)] or world.disk.rows("PRAGMA foreign_key_check"):
        yield Broken(Kind.STORE, f"the store: {found}")


def _is_subsequence(part: Iterable[str], whole: Iterable[str]) -> bool:
    rest: Iterator[str] = iter(whole)
    return all(item in rest for item in part)
