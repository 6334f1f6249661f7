"""The statements of the tasks that are known. Each function is a part of one reading.

A filter that is not given is NULL, and its line is true: the text of a statement never changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw

from taskwatch.store.instants import from_stored, to_stored
from taskwatch.store.rows import PlaceOfTask, TaskRow, task_of

_CHOSEN: Final = """
SELECT t.project, p.name, t.revision, t.changed_at, t.gone,
       t.job_id, t.name, t.status, t.progress, t.fail_reason, t.created_at, t.ended_at,
       t.instance_id, t.instance_name, t.instance_status
FROM tasks t JOIN projects p ON p.id = t.project
WHERE (:project IS NULL OR p.name = :project)
  AND (:job_id IS NULL OR t.job_id = :job_id)
  AND (:status IS NULL OR t.status = :status COLLATE NOCASE)
  AND (:name IS NULL OR t.name GLOB :name)
  AND (:instance IS NULL OR :instance IN (t.instance_id, t.instance_name))
  AND (:since IS NULL OR t.changed_at >= :since)
"""
_TASKS: Final = f"""{_CHOSEN}
ORDER BY coalesce(t.created_at, t.changed_at) DESC, t.job_id LIMIT :limit
"""
# By what does not change while a task does: its row is read at its place, however long that takes. NULL is the least.
_PAGE: Final = f"""{_CHOSEN}
  AND (:key IS NULL
       OR (t.created_at IS :created_at AND (t.project, t.job_id) > (:key, :job))
       OR (:created_at IS NOT NULL AND (t.created_at < :created_at OR t.created_at IS NULL)))
ORDER BY t.created_at DESC, t.project, t.job_id LIMIT :limit
"""


def chosen(connection: apsw.Connection, filters: Mapping[str, object]) -> list[TaskRow]:
    """Return tasks by their creation, those that were created last first."""
    return [_task(row) for _, *row in connection.execute(_TASKS, filters)]


def page(connection: apsw.Connection, filters: Mapping[str, object]) -> list[tuple[PlaceOfTask, TaskRow]]:
    """Return tasks with their places, those that were created last first; those of no known creation last."""
    rows = [(number, _task(row)) for number, *row in connection.execute(_PAGE, filters)]
    return [((to_stored(row.task.created_at), number, row.task.job_id), row) for number, row in rows]


def _task(row: Sequence[Any]) -> TaskRow:
    project, revision, changed_at, gone, *columns = row
    return TaskRow(
        project=project,
        task=task_of(tuple(columns)),
        revision=revision,
        changed_at=from_stored(changed_at),
        is_gone=bool(gone),
    )
