"""The statements of what needs attention: alerts that have not ended. Each function is a part of one reading.

A filter that is not given is NULL, and its line is true: the text of a statement never changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw

from taskwatch.store.instants import from_stored
from taskwatch.store.rows import AlertRow, task_of

_ALERTS: Final = """
SELECT a.event, e.id, e.type, e.severity, e.summary, e.time, p.name, e.subject,
       a.acknowledged_at, a.acknowledged_by, a.acknowledged_until, a.acknowledgement,
       t.job_id, t.name, t.status, t.progress, t.fail_reason, t.created_at, t.ended_at,
       t.instance_id, t.instance_name, t.instance_status,
       (SELECT d.held_by FROM deliveries d WHERE d.event = a.event AND d.state = 'held' ORDER BY d.id LIMIT 1),
       EXISTS (SELECT 1 FROM deliveries d WHERE d.event = a.event AND d.state IN ('pending', 'delivered'))
         OR NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = a.event),
       e.body
FROM alerts a
JOIN events e ON e.seq = a.event
LEFT JOIN projects p ON p.id = a.project
LEFT JOIN tasks t ON t.project = a.project AND t.job_id = a.job_id
WHERE a.ended_at IS NULL
  AND (:project IS NULL OR p.name = :project)
  AND (:event_type IS NULL OR e.type IN (:event_type, 'taskwatch.' || :event_type))
  AND (:name IS NULL OR t.name GLOB :name)
  AND (:instance IS NULL OR :instance IN (t.instance_id, t.instance_name))
  AND (:since IS NULL OR e.time >= :since)
  AND a.event < coalesce(:before, 9223372036854775807)
ORDER BY a.event DESC LIMIT :limit
"""

# `substr`, for the ids of a cloud may hold what GLOB gives a meaning to.
_JOBS: Final = """
SELECT a.job_id, e.summary, max(a.event)
FROM alerts a JOIN events e ON e.seq = a.event
WHERE a.ended_at IS NULL AND substr(a.job_id, 1, length(:beginning)) = :beginning
GROUP BY a.job_id ORDER BY a.job_id != :beginning, a.job_id LIMIT :limit
"""  # of the row with the greatest: https://www.sqlite.org/lang_select.html#bareagg


def page(connection: apsw.Connection, filters: Mapping[str, object]) -> list[tuple[int, AlertRow]]:
    """Return the alerts with the numbers of the events that opened them, the last ones first."""
    return [(number, _alert(row)) for number, *row in connection.execute(_ALERTS, filters)]


def jobs(connection: apsw.Connection, beginning: str, *, limit: int) -> dict[str, str]:
    """Return the ids of tasks with alerts that begin so, and what the last alert says; the one that is it comes first."""
    found = connection.execute(_JOBS, {"beginning": beginning, "limit": limit})
    return {job_id: summary for job_id, summary, _ in found}


def _alert(row: Sequence[Any]) -> AlertRow:
    event_id, type_, severity, summary, time, project, subject, at, by, until, said, *columns = row
    *columns, held_by, is_told, body = columns
    return AlertRow(
        event_id=event_id,
        type=type_,
        severity=severity,
        summary=summary,
        since=from_stored(time),
        project=project,
        subject=subject,
        task=None if columns[0] is None else task_of(tuple(columns)),
        acknowledged_at=from_stored(at),
        acknowledged_by=by,
        acknowledged_until=from_stored(until),
        acknowledgement=said,
        held_by=held_by,
        is_told=bool(is_told),
        body=body,
    )
