"""The statements of what is counted for metrics: of one moment, and never a row for each task or event.

What is counted has an index, but for what is dead.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import apsw

from taskwatch.store import board
from taskwatch.store.alerts import HAS
from taskwatch.store.files import sibling
from taskwatch.store.instants import from_stored, to_stored

# The first in each queue has waited longest. What is told in groups waits for its group, as it should: of that a
# message waits, once there is one.
_WAITING: Final = """
WITH RECURSIVE lane (receiver) AS (
    SELECT min(receiver) FROM deliveries WHERE state = 'pending'
    UNION ALL
    SELECT (SELECT min(d.receiver) FROM deliveries d WHERE d.state = 'pending' AND d.receiver > lane.receiver)
    FROM lane WHERE lane.receiver IS NOT NULL
)
SELECT l.receiver, e.time
FROM lane l
JOIN deliveries d
  ON d.id = (SELECT min(f.id) FROM deliveries f WHERE f.state = 'pending' AND f.receiver = l.receiver)
JOIN events e ON e.seq = d.event
WHERE d.group_key IS NULL
UNION ALL
SELECT receiver, min(at) FROM messages WHERE state = 'pending' AND why IS NOT 'in_part' GROUP BY receiver
"""
_ALERTS: Final = f"""
SELECT e.type, e.severity, count(*),
       sum({HAS})
FROM alerts a JOIN events e ON e.seq = a.event WHERE a.ended_at IS NULL GROUP BY e.type, e.severity
"""  # noqa: S608 - our own text
_SILENCES: Final = "SELECT count(*) FROM silences WHERE begins_at <= :now AND ends_at > :now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """One moment of the store, in numbers."""

    queues: Mapping[tuple[str, str], int]  # receiver, state → deliveries that are pending, held or dead
    waiting_since: Mapping[str, datetime]  # receiver → the event, or the message, that it is to be told first
    alerts: Mapping[tuple[str, str], int]  # type, severity → that are open
    acknowledged: Mapping[tuple[str, str], int]  # those of them that somebody has now
    silences: int  # in force
    sizes: Mapping[str, int]  # database, wal → bytes


def counted(connection: apsw.Connection, path: Path, *, now: datetime) -> Counts:
    """Count what is on record; the caller has begun a transaction."""
    moment = {"now": to_stored(now)}
    opened, acknowledged = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for type_, severity, number, had in connection.execute(_ALERTS, moment):
        opened[type_, severity], acknowledged[type_, severity] = number, had
    waiting: dict[str, datetime] = {}
    for receiver, since in connection.execute(_WAITING):
        instant = from_stored(since)
        waiting[receiver] = min(instant, waiting.get(receiver, instant))
    return Counts(
        queues=board.queues(connection),
        waiting_since=waiting,
        alerts=opened,
        acknowledged=acknowledged,
        silences=connection.execute(_SILENCES, moment).get,
        sizes=_sizes(path),
    )


def _sizes(path: Path) -> dict[str, int]:
    sizes = {"database": path.stat().st_size, "wal": 0}
    with suppress(FileNotFoundError):  # there is none before the first commit
        sizes["wal"] = sibling(path, "-wal").stat().st_size
    return sizes
