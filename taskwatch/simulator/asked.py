"""What is asked of `/_simulator/`: read strictly, and refused in one line."""

import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

_MAX_TEXT = 1_000
_MAX_NUMBER = 1_000_000_000


class UnclearError(ValueError):
    """What was asked cannot be done as it is; the text says why."""


Action = Callable[[web.Request], Awaitable[dict[str, object]]]


def plainly(action: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer with the JSON of what the action returns, or with one line that says what is wrong."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(await action(request))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)

    return answer


async def body(request: web.Request, known: set[str]) -> Mapping[str, object]:
    """Read the JSON object, whatever content type curl put on it."""
    try:
        asked = json.loads(await request.read() or b"{}")
    except RecursionError as error:
        raise UnclearError("the body is nested too deeply") from error
    if not isinstance(asked, dict):
        raise UnclearError("the body must be a JSON object")
    if unknown := sorted(asked.keys() - known):
        raise UnclearError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return asked


def text(asked: Mapping[str, object], key: str) -> str | None:
    value = asked.get(key)
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= _MAX_TEXT):
        raise UnclearError(f"{key} must be text of 1 to {_MAX_TEXT} characters")
    return value


def number(asked: Mapping[str, object], key: str) -> float | None:
    value = asked.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_NUMBER:
        raise UnclearError(f"{key} must be a number of at most {_MAX_NUMBER}")  # NaN is at most nothing
    return float(value)


def whole(asked: Mapping[str, object], key: str) -> int | None:
    value = number(asked, key)
    if value is not None and not value.is_integer():
        raise UnclearError(f"{key} must be a whole number")
    return None if value is None else int(value)
