"""All that is served at one address, and what every answer of it has in common."""

import asyncio
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from taskwatch.server import api, gate, health, metrics, page, stream
from taskwatch.server.endpoint import MAX_BODY
from taskwatch.server.problem import ProblemError
from taskwatch.server.site import Site

ANSWER_SECONDS: Final = 30.0  # for one answer, but for the stream of events
CALLER: Final = gate.CALLER
STREAM: Final = stream.PATH
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def application(site: Site, guard: gate.Guard) -> web.Application:
    """Put together all that is served, to those whom the guard lets in."""
    served = web.Application(
        middlewares=[_answered(site), _admitted(guard, health.OPEN)], client_max_size=MAX_BODY
    )
    served.on_response_prepare.append(_secured)
    served.add_routes([*health.routes(site), *metrics.routes(site), *page.routes(site), *api.routes(site)])
    return served


async def _secured(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "taskwatch"


def _answered(site: Site) -> Middleware:
    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let no error leave that is no problem, and none of ours that nobody hears of."""
        try:
            async with asyncio.timeout(None if request.path == STREAM else ANSWER_SECONDS):
                return await handler(request)
        except ProblemError as problem:
            return problem.answer()
        except web.HTTPException as error:
            return _of_the_library(error).answer()
        except TimeoutError:
            return ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"there is no answer within {ANSWER_SECONDS:g} s; ask again"
            ).answer()
        except ConnectionError:
            raise  # whoever asked has gone
        except Exception as error:
            site.log.error("answer_broken", path=request.path, exc_info=error)  # noqa: TRY400 - it is handed over
            return ProblemError(
                HTTPStatus.INTERNAL_SERVER_ERROR, "a bug in taskwatch; its log says where"
            ).answer()

    return answered


def _admitted(guard: gate.Guard, open_to_all: frozenset[str]) -> Middleware:
    @web.middleware
    async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
        if isinstance(request.match_info.http_exception, web.HTTPMethodNotAllowed):
            raise request.match_info.http_exception  # nobody may: so nobody is asked who they are
        if request.path not in open_to_all:
            request[CALLER] = guard.admit(request)
        return await handler(request)

    return admitted


def _of_the_library(error: web.HTTPException) -> ProblemError:
    """Say in our words what aiohttp refuses."""
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return ProblemError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"not with this method; with {allowed}",
                headers={"Allow": allowed},
            )
        case web.HTTPNotFound():
            return ProblemError(
                HTTPStatus.NOT_FOUND, "nothing is served here; /api/v1/openapi.json says what is"
            )
        case web.HTTPRequestEntityTooLarge():
            return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has {MAX_BODY} bytes at most")
        case _:
            return ProblemError(HTTPStatus(error.status), error.reason or "refused")
