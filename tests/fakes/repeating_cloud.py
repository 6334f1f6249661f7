"""IAM, a cloud and a proxy in one, which repeat what they are sent in the way that the path asks for.

    async with RepeatingCloud(token="t") as cloud:
        auth_url = f"{cloud.url}/401-json/v3"   # refuses each login, and repeats it as JSON
        project_id = "500-plain"                # its list is refused with all that was sent

Without such a word in the path, everybody is let in and given the token. It shares no code with taskwatch.
"""

import json
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, quote_plus

from aiohttp import web

from tests.fakes.iam_server import EXPIRES_AT, ISSUED_AT

_FIRST: Final = (
    "Proxy-Authorization",
    "Authorization",
    "X-Auth-Token",
    "X-Security-Token",
    "X-Subject-Token",
)
_WORD: Final = re.compile(r"/(\d{3})-([a-z]+)")

Sent = dict[str, Any]


def _lines(sent: Sent) -> str:
    return "\n".join(f"{name}: {value}" for name, value in _flat(sent).items())


def _flat(value: object, name: str = "") -> dict[str, str]:
    """Return every text in it, under its path: of a whole body only a beginning would be shown."""
    if not isinstance(value, dict):
        return {name: str(value)}
    return {
        path: text for key, inner in value.items() for path, text in _flat(inner, f"{name}.{key}").items()
    }


def _as_go_writes_it(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


REPETITIONS: Final[Mapping[str, Callable[[Sent], str]]] = {
    "plain": _lines,
    "python": lambda sent: repr(_flat(sent)),
    "json": lambda sent: json.dumps(
        {"error_code": "X.1", "error_msg": _lines(sent), "request_id": _lines(sent)}
    ),
    "nested": lambda sent: json.dumps({"error": {"code": 1, "message": json.dumps(_flat(sent))}}),
    "go": lambda sent: _as_go_writes_it(_flat(sent)),
    "php": lambda sent: json.dumps(_flat(sent)).replace("/", "\\/"),
    "percent": lambda sent: quote(_lines(sent), safe=""),
    "form": lambda sent: quote_plus(_lines(sent)),
}
"""All that is repeated; `cut`, `rubbish` and `headers` are no texts."""

WAYS: Final = (*REPETITIONS, "cut", "rubbish", "headers")


class RepeatingCloud:
    """Listens on a free port while it is entered. `asked` holds what it has repeated, by its way."""

    def __init__(self, *, token: str) -> None:
        self.token = token
        self.asked: set[str] = set()
        self.signatures: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, max_field_size=65536, max_line_size=65536
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.host = "{}:{}".format(*self._runner.addresses[0][:2])
        self.url = f"http://{self.host}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        sent = await _sent(request)
        _, _, signature = request.headers.get("Authorization", "").partition("Signature=")
        self.signatures += [signature] if signature else []
        word = _WORD.search(request.path)
        if word is None:
            return self._let_in(request)
        self.asked.add(word[0])
        status, way = int(word[1]), word[2]
        match way:
            case "cut":
                return _cut(request, sent)
            case "rubbish":
                assert request.transport is not None
                request.transport.write(f"HTTP/1.1 {_lines(sent)}\r\n{_lines(sent)}\r\n\r\n".encode())
                request.transport.close()
                return web.Response()
            case "headers":
                text = _lines(sent).replace("\n", " ")
                location = f"{self.url}/302-headers/{quote(text)}"
                return web.Response(status=status, headers={"X-Request-Id": text, "Location": location})
            case _:
                return web.Response(status=status, text=REPETITIONS[way](sent))

    def _let_in(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/auth/tokens") and request.method == "POST":
            token = {"issued_at": ISSUED_AT, "expires_at": EXPIRES_AT, "methods": ["password"], "user": {}}
            return web.json_response({"token": token}, status=201, headers={"X-Subject-Token": self.token})
        if request.path.endswith("/projects"):
            return web.json_response({"projects": [{"id": "seen", "name": "eu-de_seen"}]})
        if request.path.endswith("/tasks"):
            return web.json_response({"tasks": [], "total_count": 0})
        return web.json_response({"error_msg": "not here"}, status=404)


async def _sent(request: web.Request) -> Sent:
    """Return what was sent, secrets first."""
    body = await request.text()
    first = {name: request.headers[name] for name in _FIRST if name in request.headers}
    try:
        said = json.loads(body)["auth"]["identity"]
        first |= {"password": said["password"]["user"]["password"]} if "password" in said else {}
    except (ValueError, KeyError, AttributeError):
        said = body
    return first | {"body": said} | dict(request.headers)


def _cut(request: web.Request, sent: Sent) -> web.StreamResponse:
    """Hang up in the midst of the first secret."""
    text = str(next(iter(_flat(sent).values()), ""))
    half = text[: len(text) // 2].encode()
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\nyou sent " + half)
    request.transport.close()
    return web.Response()
