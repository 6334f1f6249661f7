"""The API: everything that is declared of it, and what describes it."""

import json
from http import HTTPStatus
from typing import Final

from aiohttp import web

from taskwatch.server.api_changes import changes
from taskwatch.server.api_reading import lists
from taskwatch.server.endpoint import JSON, Answer, Asked, Empty, Endpoint, Method, Parameters, endpoint
from taskwatch.server.openapi import document
from taskwatch.server.site import Site
from taskwatch.server.stream import stream

DESCRIPTION: Final = "/api/v1/openapi.json"


def routes(site: Site) -> list[web.RouteDef]:
    return [one.route for one in endpoints(site)]


def endpoints(site: Site) -> list[Endpoint]:
    """Declare all of it."""
    declared = [*lists(site), *changes(site), stream(site)]

    async def describe(_: Asked[Parameters, Empty]) -> web.Response:
        content = document(declared, site.server)
        return web.Response(body=json.dumps(content).encode(), content_type=JSON)

    declared.append(
        endpoint(
            Method.GET,
            DESCRIPTION,
            describe,
            name="describe",
            summary="Describe what is served, as OpenAPI does",
            parameters=Parameters,
            body=Empty,
            answer=Answer(status=HTTPStatus.OK, description="this document"),
            clock=site.clock,
        )
    )
    return declared
