"""The statements of the events that were recorded. Each function is a part of one reading.

A filter that is not given is NULL, and its line is true: the text of a statement never changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import apsw

from taskwatch.model.event import EventId
from taskwatch.store.instants import from_stored
from taskwatch.store.rows import EventRow, RecordedEvent

# `coalesce`, and no `IS NULL OR`: so the search begins at the number, however much lies above it.
_EVENTS: Final = """
SELECT e.seq, e.id, p.name, e.subject, e.job_id, e.type, e.severity, e.summary, e.sequence, e.time, e.body
FROM events e
LEFT JOIN projects p ON p.id = e.project
LEFT JOIN tasks t ON t.project = e.project AND t.job_id = e.job_id
WHERE (:project IS NULL OR p.name = :project)
  AND (:event_id IS NULL OR e.id = :event_id)
  AND (:event_type IS NULL OR e.type IN (:event_type, 'taskwatch.' || :event_type))
  AND (:name IS NULL OR t.name GLOB :name)
  AND (:instance IS NULL OR :instance IN (t.instance_id, t.instance_name))
  AND (:since IS NULL OR e.time >= :since)
  AND e.seq < coalesce(:before, 9223372036854775807)
ORDER BY e.seq DESC LIMIT :limit
"""
_AFTER: Final = "SELECT seq, id, type, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?"

# From the prefix up to what follows all that begin with it: ids are letters, digits and _, all below ~.
_IDS: Final = "SELECT id FROM events WHERE id >= :prefix AND id < :prefix || '~' ORDER BY id LIMIT :limit"


def each(connection: apsw.Connection, filters: Mapping[str, object]) -> Iterator[tuple[int, EventRow]]:
    """Yield events with the numbers of their recording one by one, the last ones first."""
    for number, *row in connection.execute(_EVENTS, filters):
        yield number, event_of(row)


def after(connection: apsw.Connection, number: int, *, limit: int) -> list[RecordedEvent]:
    """Return the events that were recorded after that number, in the order of their recording."""
    return [
        RecordedEvent(number=seq, id=id_, type=type_, body=body)
        for seq, id_, type_, body in connection.execute(_AFTER, (number, limit))
    ]


def number_of(connection: apsw.Connection, event_id: str) -> int | None:
    """Return the number of the event's recording; None: it is not on record."""
    found: int | None = connection.execute("SELECT seq FROM events WHERE id = ?", (event_id,)).get
    return found


def last_number(connection: apsw.Connection) -> int:
    """Return the number of the event that was recorded last; 0: none is on record."""
    found: int | None = connection.execute("SELECT max(seq) FROM events").get
    return found or 0


def ids(connection: apsw.Connection, prefix: str, *, limit: int) -> list[EventId]:
    """Return ids of events that begin so, in the order of letters."""
    return [EventId(event_id) for (event_id,) in connection.execute(_IDS, {"prefix": prefix, "limit": limit})]


def event_of(row: Sequence[Any]) -> EventRow:
    """Read an event from the columns that its statements have behind the number."""
    event_id, project, subject, job_id, event_type, severity, summary, sequence, time, body = row
    return EventRow(
        id=EventId(event_id),
        project=project,
        subject=subject,
        job_id=job_id,
        type=event_type,
        severity=severity,
        summary=summary,
        sequence=sequence,
        time=from_stored(time),
        body=body,
    )
