"""`/_simulator/`: what a person or a test asks of the simulated cloud itself.

No token is asked for here and no fault strikes: whoever reaches the listener steers it.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from aiohttp import web

from taskwatch.simulator.asked import UnclearError, body, number, plainly, text, whole
from taskwatch.simulator.catalogue import BACKUP, COMPLETED, FAILED, KINDS, RUNNING
from taskwatch.simulator.cloud import Cloud, Deletion
from taskwatch.simulator.faults import IAM
from taskwatch.simulator.projects import Project
from taskwatch.simulator.work import Task, Transition

_LONGEST_TASK = 7 * 86_400.0
_USUAL_SECONDS = 30.0
_ALL_PERCENT = 100


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """Return the routes that steer this cloud."""
    steering = _Steering(cloud)
    return [
        web.get("/_simulator/projects", plainly(steering.projects)),
        web.get("/_simulator/truth", plainly(steering.truth)),
        web.get("/_simulator/faults", plainly(steering.faults)),
        web.post("/_simulator/faults", plainly(steering.order_fault)),
        web.delete("/_simulator/faults", plainly(steering.clear_faults)),
        web.post("/_simulator/tasks", plainly(steering.provoke)),
        web.patch("/_simulator/tasks/{job_id}", plainly(steering.steer)),
        web.delete("/_simulator/tasks/{job_id}", plainly(steering.delete)),
    ]


class _Steering:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def projects(self, _request: web.Request) -> dict[str, object]:
        listed = [
            {"name": project.name, "project_id": project.project_id} for project in self._cloud.projects
        ]
        return {"now": self._cloud.now().isoformat(), "projects": listed}

    async def truth(self, request: web.Request) -> dict[str, object]:
        """Every transition since the start, or since `?since=`, of one project or all; and whose records are gone."""
        since = _moment(request.query["since"]) if "since" in request.query else self._cloud.began
        project_id = self._project_id(request.query.get("project"))
        return {
            "now": self._cloud.now().isoformat(),
            "transitions": [
                _transition(one) for one in self._cloud.transitions(since, project_id=project_id)
            ],
            "deleted": [_deletion(one) for one in self._cloud.deletions(since, project_id)],
        }

    async def faults(self, _request: web.Request) -> dict[str, object]:
        return {"faults": self._cloud.faults.in_force()}

    async def order_fault(self, request: web.Request) -> dict[str, object]:
        asked = await body(
            request, {"kind", "project", "count", "seconds", "probability", "retry_after", "age_seconds"}
        )
        project = text(asked, "project")
        self._cloud.faults.add(
            text(asked, "kind") or "",
            project_id=IAM if project == IAM else self._project_id(project),
            count=whole(asked, "count"),
            seconds=number(asked, "seconds"),
            probability=number(asked, "probability"),
            retry_after=_retry_after(asked),
            age_seconds=number(asked, "age_seconds"),
        )
        return {"faults": self._cloud.faults.in_force()}

    async def clear_faults(self, _request: web.Request) -> dict[str, object]:
        self._cloud.faults.clear()
        return {"faults": []}

    async def provoke(self, request: web.Request) -> dict[str, object]:
        asked = await body(
            request, {"project", "name", "seconds", "outcome", "fail_reason", "instance_name", "progress"}
        )
        project = self._project(text(asked, "project"))
        name = text(asked, "name") or BACKUP
        if name not in KINDS:
            raise UnclearError(f"name must be one of: {', '.join(KINDS)}")
        task = self._cloud.provoke(
            project.project_id,
            name=name,
            seconds=_seconds(asked),
            fail_reason=_fail_reason(asked, name),
            instance_name=text(asked, "instance_name"),
            progress=_progress(asked),
        )
        return {"project": project.name, "task": _task(task)}

    async def steer(self, request: web.Request) -> dict[str, object]:
        asked = await body(request, {"outcome", "fail_reason", "progress"})
        outcome = _outcome(asked)
        if outcome is None and "fail_reason" in asked:
            raise UnclearError(f"a fail_reason goes with the outcome {FAILED}")
        with _known(request.match_info["job_id"]) as job_id:
            task = self._cloud.steer(
                job_id,
                outcome=None if outcome == RUNNING else outcome,
                fail_reason=text(asked, "fail_reason"),
                progress=_progress(asked),
            )
        return {"task": _task(task)}

    async def delete(self, request: web.Request) -> dict[str, object]:
        with _known(request.match_info["job_id"]) as job_id:
            return {"deleted": _task(self._cloud.delete(job_id))}

    def _project_id(self, name_or_id: str | None) -> str | None:
        return None if name_or_id is None else self._project(name_or_id).project_id

    def _project(self, name_or_id: str | None) -> Project:
        """Return the project that is meant, the first one if none is named."""
        project = self._cloud.projects[0] if name_or_id is None else self._cloud.find(name_or_id)
        if project is None:
            raise UnclearError(f"no project has the name or id {name_or_id!r}")
        return project


@contextmanager
def _known(job_id: str) -> Iterator[str]:
    try:
        yield job_id
    except KeyError as error:
        raise UnclearError(f"no list shows a task {job_id!r} now") from error


def _retry_after(asked: Mapping[str, object]) -> int | str | None:
    is_text = isinstance(asked.get("retry_after"), str)
    return text(asked, "retry_after") if is_text else whole(asked, "retry_after")


def _seconds(asked: Mapping[str, object]) -> float:
    seconds = number(asked, "seconds")
    if asked.get("outcome") == RUNNING:
        if seconds is not None:
            raise UnclearError(
                f"a task with the outcome {RUNNING} runs until it is told to end: leave out seconds"
            )
        return math.inf
    if seconds is not None and not 0 < seconds <= _LONGEST_TASK:
        raise UnclearError(f"seconds must be more than 0 and at most {_LONGEST_TASK:.0f}")
    return _USUAL_SECONDS if seconds is None else seconds


def _progress(asked: Mapping[str, object]) -> int | None:
    progress = whole(asked, "progress")
    if progress is not None and not 0 <= progress <= _ALL_PERCENT:
        raise UnclearError(f"progress must be 0 to {_ALL_PERCENT}")
    return progress


def _outcome(asked: Mapping[str, object]) -> str | None:
    outcome = text(asked, "outcome")
    if outcome not in (None, COMPLETED, FAILED, RUNNING):
        raise UnclearError(f"outcome must be {COMPLETED}, {FAILED} or {RUNNING}")
    if outcome in (COMPLETED, RUNNING) and "fail_reason" in asked:
        raise UnclearError(f"only a task with the outcome {FAILED} has a fail_reason")
    return outcome


def _fail_reason(asked: Mapping[str, object], name: str) -> str | None:
    reason = text(asked, "fail_reason")
    return KINDS[name].reasons[0] if _outcome(asked) == FAILED and reason is None else reason


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise UnclearError("since must carry a time zone")
    return moment


def _transition(happened: Transition) -> dict[str, object]:
    return {
        "at": happened.at.isoformat(),
        "project_id": happened.project_id,
        "job_id": happened.job_id,
        "name": happened.name,
        "instance_name": happened.instance_name,
        "from": happened.before,
        "to": happened.after,
        "fail_reason": happened.fail_reason,
    }


def _deletion(deletion: Deletion) -> dict[str, object]:
    return {"at": deletion.at.isoformat(), "project_id": deletion.project_id, "task": _task(deletion.task)}


def _task(task: Task) -> dict[str, object]:
    return {
        "job_id": task.job_id,
        "name": task.name,
        "status": task.status,
        "progress": task.progress,
        "created_at": task.created_at.isoformat(),
        "instance_id": task.instance_id,
        "instance_name": task.instance_name,
    }
