"""The documented endpoint: `GET /v3/{project_id}/tasks`.

It answers in the order of the real parts: what stands in front of it (faults), the gateway (path,
token), then the service (project, parameters).
"""

from aiohttp import web

from taskwatch.simulator import refusals
from taskwatch.simulator.cloud import Cloud
from taskwatch.simulator.pages import ParameterError
from taskwatch.simulator.spoil import spoil


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """Return the routes of the endpoint; everything else is no API."""

    async def tasks(request: web.Request) -> web.StreamResponse:
        honest = _honest(cloud, request)
        fault = cloud.faults.strike(request.match_info["project_id"])
        return honest if fault is None else await spoil(fault, request, honest)

    async def elsewhere(_request: web.Request) -> web.StreamResponse:
        return refusals.no_such_api()

    return [
        web.get("/v3/{project_id}/tasks", tasks, allow_head=False),
        web.route("*", "/{path:.*}", elsewhere),
    ]


def _honest(cloud: Cloud, request: web.Request) -> web.Response:
    """Return what the cloud says when nothing goes wrong on the way."""
    token = request.headers.get("X-Auth-Token")
    if cloud.token is not None and token != cloud.token:
        return refusals.wrong_token() if token else refusals.no_token()
    try:
        page = cloud.page(request.match_info["project_id"], request.rel_url.raw_query_string)
    except ParameterError:
        return refusals.parameter_error()
    if page is None:
        return refusals.unknown_project()
    return web.Response(body=page, content_type="application/json")
