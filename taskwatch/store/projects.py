"""The statement of the projects ever enrolled. A part of one reading."""

from datetime import datetime
from typing import Any, Final

import apsw

from taskwatch.model.project import Condition, Identity
from taskwatch.store import ledger
from taskwatch.store.instants import from_stored
from taskwatch.store.rows import ProjectRow

_ENROLLED: Final = """
SELECT p.id, p.service, p.host, p.project_id, p.name, p.baseline_at, p.observed_at,
       (SELECT count(*) FROM tasks t WHERE t.project = p.id),
       (SELECT count(*) FROM tasks t WHERE t.project = p.id AND t.open = 1 AND t.gone = 0)
FROM projects p
WHERE (:project IS NULL OR p.name = :project)
ORDER BY p.id DESC LIMIT :limit
"""


def enrolled(connection: apsw.Connection, *, project: str | None, limit: int) -> list[ProjectRow]:
    """Return the projects ever enrolled, the latest first."""
    kept = ledger.freshness(connection)
    conditions = ledger.conditions(connection)
    rows: list[tuple[Any, ...]] = connection.execute(
        _ENROLLED, {"project": project, "limit": limit}
    ).fetchall()
    return [_project(row, kept.get(row[0]), conditions.get(row[0])) for row in rows]


def _project(row: tuple[Any, ...], kept: datetime | None, condition: Condition | None) -> ProjectRow:
    _, service, host, project_id, name, baseline_at, observed_at, tasks, open_tasks = row
    return ProjectRow(
        identity=Identity(service=service, host=host, project_id=project_id),
        name=name,
        baseline_at=from_stored(baseline_at),
        observed_at=ledger.latest(from_stored(observed_at), kept),
        tasks=tasks,
        open_tasks=open_tasks,
        condition=condition,
    )
