"""The documented endpoints: `GET /v3/{project_id}/tasks` and `GET /v3/{project_id}/jobs?id=`.

They answer in the order of the real parts: what stands in front of them (faults), the gateway (path,
credentials, rate), then the service (project, parameters).
"""

from collections.abc import Callable

from aiohttp import web

from taskwatch.simulator import gate, refusals
from taskwatch.simulator.cloud import Cloud
from taskwatch.simulator.pages import ParameterError
from taskwatch.simulator.spoil import spoil

_Service = Callable[[Cloud, web.Request, float], web.Response]


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """Return the routes of the endpoints; everything else is no API."""

    async def tasks(request: web.Request) -> web.StreamResponse:
        return await _answer(cloud, request, "tasks", _tasks)

    async def jobs(request: web.Request) -> web.StreamResponse:
        return await _answer(cloud, request, "jobs", _job)

    async def elsewhere(_request: web.Request) -> web.StreamResponse:
        return refusals.no_such_api()

    return [
        web.get("/v3/{project_id}/tasks", tasks, allow_head=False),
        web.get("/v3/{project_id}/jobs", jobs, allow_head=False),
        web.route("*", "/{path:.*}", elsewhere),
    ]


async def _answer(cloud: Cloud, request: web.Request, kind: str, service: _Service) -> web.StreamResponse:
    cloud.counters.requests[kind] += 1
    fault = cloud.faults.strike(request.match_info["project_id"])

    async def honestly() -> web.Response:
        refusal = await gate.refusal(cloud, request)
        if refusal is not None:
            return refusal
        return service(cloud, request, fault.age_seconds if fault else 0.0)

    if fault is None:
        return await honestly()
    return await spoil(fault, request, honestly, cloud.told_moment())


def _tasks(cloud: Cloud, request: web.Request, age_seconds: float) -> web.Response:
    try:
        page = cloud.page(
            request.match_info["project_id"], request.rel_url.raw_query_string, age_seconds=age_seconds
        )
    except ParameterError:
        return refusals.parameter_error()
    return refusals.unknown_project() if page is None else _success(page)


def _job(cloud: Cloud, request: web.Request, age_seconds: float) -> web.Response:
    project_id, job_id = request.match_info["project_id"], request.query.get("id")
    if not job_id:
        return refusals.parameter_error()
    if project_id not in {project.project_id for project in cloud.projects}:
        return refusals.unknown_project()
    body = cloud.job(project_id, job_id, age_seconds=age_seconds)
    return refusals.unknown_job(cloud.behaviour.unknown_job_status) if body is None else _success(body)


def _success(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
