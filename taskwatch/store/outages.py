"""What does not work and was told: the statements of the outages.

Each function is the body of one transaction; the writer begins and commits it.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import apsw

from taskwatch.engine.ports import OutageRecord, Routed, StaleStateError, Subject
from taskwatch.model.event import Severity
from taskwatch.model.outage import Kind, Outage, Place, thing_of
from taskwatch.store import alerts
from taskwatch.store.instants import from_stored, to_stored
from taskwatch.store.ledger import add_events

_ALL: Final = "SELECT id, kind, name, things, cause, severity, since, events, told FROM outages ORDER BY id"
_PUT: Final = """
INSERT INTO outages (id, kind, name, things, cause, severity, since, events, told)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, things = excluded.things, severity = excluded.severity, events = excluded.events, told = excluded.told
"""
_END: Final = "DELETE FROM outages WHERE id = ?"

_OF_PROJECT: Final = "SELECT sequence FROM projects WHERE id = ?"
_OF_PLACE: Final = "SELECT sequence FROM subjects WHERE kind = ? AND name = ?"
_COUNT_PROJECT: Final = "UPDATE projects SET sequence = ? WHERE id = ?"
_COUNT_PLACE: Final = """
INSERT INTO subjects (kind, name, sequence) VALUES (?, ?, ?)
ON CONFLICT (kind, name) DO UPDATE SET sequence = excluded.sequence
"""


def every(connection: apsw.Connection) -> list[Outage]:
    """Return the outages that are not over, the oldest first."""
    return [_outage(row) for row in connection.execute(_ALL)]


def sequence_of(connection: apsw.Connection, subject: Subject) -> int:
    """Return how many events about it are on record."""
    if subject.project is not None:
        found: int | None = connection.execute(_OF_PROJECT, (subject.project,)).get
    else:
        found = connection.execute(_OF_PLACE, (subject.place.kind, subject.place.name)).get
    return found or 0


def record(connection: apsw.Connection, record: OutageRecord, *, at: datetime) -> int | None:
    """Record what is told; return the number of the outage, None once it is over.

    Raises StaleStateError where the event does not follow upon the last one about its subject.
    """
    outage = record.outage
    if record.told is not None:
        tell(connection, record.subject, record.told)
    if record.is_over:
        connection.execute(_END, (outage.id,))
        by = "the configuration" if record.told is None else record.told.event.id
        alerts.returned(connection, outage.events, by=by, at=at)
        return None
    connection.execute(_PUT, _row(outage))
    return outage.id if outage.id is not None else connection.last_insert_rowid()


def tell(connection: apsw.Connection, subject: Subject, told: Routed) -> None:
    """Record an event about no task. Raises StaleStateError where it does not follow upon the last one."""
    sequence = told.event.sequence
    if sequence != sequence_of(connection, subject) + 1:
        raise StaleStateError(f"{sequence} is not the next event about {subject.place.name}")
    _count(connection, subject, sequence)
    add_events(connection, subject.project, [told])


def rename(connection: apsw.Connection, renamed: Mapping[str, str]) -> None:
    """Let outages speak of these receivers by their new names."""
    things = {thing_of(old): thing_of(new) for old, new in renamed.items()}
    for outage in every(connection):
        place = outage.place
        if place.kind is Kind.RECEIVER:
            place = Place(place.kind, renamed.get(place.name, place.name))
        moved = replace(
            outage,
            place=place,
            things=frozenset(things.get(thing, thing) for thing in outage.things),
            told=frozenset(renamed.get(name, name) for name in outage.told),
        )
        if moved != outage:
            connection.execute(_PUT, _row(moved))


def _count(connection: apsw.Connection, subject: Subject, sequence: int) -> None:
    if subject.project is not None:
        connection.execute(_COUNT_PROJECT, (sequence, subject.project))
    else:
        connection.execute(_COUNT_PLACE, (subject.place.kind, subject.place.name, sequence))


def _row(outage: Outage) -> tuple[Any, ...]:
    return (
        outage.id,
        outage.place.kind,
        outage.place.name,
        json.dumps(sorted(outage.things)),
        outage.cause,
        outage.severity,
        to_stored(outage.since),
        json.dumps(outage.events),
        json.dumps(sorted(outage.told)),
    )


def _outage(row: tuple[Any, ...]) -> Outage:
    number, kind, name, things, cause, severity, since, events, told = row
    return Outage(
        id=number,
        place=Place(Kind(kind), name),
        things=frozenset(json.loads(things)),
        cause=cause,
        severity=Severity(severity),
        since=from_stored(since),
        events=tuple(json.loads(events)),
        told=frozenset(json.loads(told)),
    )
