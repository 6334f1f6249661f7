"""Two words for whoever restarts or routes: `/-/healthy`, the process works; `/-/ready`, it does its work.

A cloud that is down makes nothing unready: that is a metric and an event. A loop that is blocked answers
neither, which says the same.
"""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from taskwatch.server.site import Site

HEALTHY: Final = "/-/healthy"
READY: Final = "/-/ready"
OPEN: Final = frozenset({HEALTHY, READY})  # asked without a token, under any name


def routes(site: Site) -> list[web.RouteDef]:
    async def healthy(_: web.Request) -> web.Response:
        return _word("healthy", "unhealthy", holds=is_healthy(site))

    async def ready(_: web.Request) -> web.Response:
        return _word("ready", "unready", holds=is_ready(site))

    return [web.get(HEALTHY, healthy), web.get(READY, ready)]


def is_healthy(site: Site) -> bool:
    """Tell whether everything that should make progress does."""
    return site.observed is None or site.observed.hanging() is None


def is_ready(site: Site) -> bool:
    """Tell whether the configuration is loaded, the store takes what happens, and the polls are scheduled."""
    observed = site.observed
    return observed is not None and observed.hanging() is None and observed.unwritable() is None


def _word(word: str, other: str, *, holds: bool) -> web.Response:
    status = HTTPStatus.OK if holds else HTTPStatus.SERVICE_UNAVAILABLE
    return web.Response(status=status, text=f"{word if holds else other}\n")
