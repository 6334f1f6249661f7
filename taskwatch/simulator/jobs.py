"""One task asked for by its id, in the other shape and with the other names that this API has for it."""

import json
from datetime import datetime, tzinfo

from taskwatch.simulator.catalogue import RUNNING, WITH_JOB
from taskwatch.simulator.work import Task


def job(task: Task, zone: tzinfo) -> bytes | None:
    """Return the body; None for a task of a kind that this API does not know."""
    if task.name not in WITH_JOB:
        return None
    is_told = task.status == RUNNING and task.progress is not None
    return json.dumps(
        {
            "job": {
                "id": task.job_id,
                "name": task.name,
                "status": task.status,
                "created": _time_text(task.created_at, zone),
                "ended": None if task.ended_at is None else _time_text(task.ended_at, zone),
                "progress": f"{task.progress}%" if is_told else "",
                "instance": {"id": task.instance_id, "name": task.instance_name},
                "fail_reason": task.fail_reason,
            }
        }
    ).encode()


def _time_text(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S%z")
