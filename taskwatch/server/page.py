"""What people see of the daemon in a browser: how it stands, and all about one task.

Invariants:
- What is shown of the cloud, of receivers and of people is text: escaped for HTML, and harmless to any terminal
  that it is copied to. Both happen to every value, in one place.
- The pages ask for nothing but one style sheet and one icon of this server. They have no script.
- Templates and style are read when somebody asks for the first page.
"""

import asyncio
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from taskwatch import __version__
from taskwatch.report.verdict import Level
from taskwatch.report.words import age, counted, moment
from taskwatch.server.overview import overview, story
from taskwatch.server.problem import ProblemError
from taskwatch.server.site import Site
from taskwatch.telemetry import printable

if TYPE_CHECKING:
    from jinja2 import Environment

REFRESH_SECONDS: Final = 30
AGAIN_SECONDS: Final = 5  # while there is nothing to show
_PACKAGE: Final = "taskwatch.server"
_TYPES: Final = {"page.css": "text/css", **{f"{level}.svg": "image/svg+xml" for level in Level}}
_KEPT: Final = "private, max-age=31536000, immutable"  # the name changes with what is in it


def routes(site: Site) -> list[web.RouteDef]:
    pages = _Pages(site)
    return [
        web.get("/", pages.overview),
        web.get("/tasks/{job_id:[^/]+}", pages.story),  # else no id with a brace would be one
        web.get("/static/{name}", pages.static),
        web.get("/favicon.ico", pages.no_icon),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._press = _Press()

    async def overview(self, _: web.Request) -> web.Response:
        try:
            found = await overview(self._site)
        except ProblemError as problem:
            return await self._regret(problem, root="./", again=AGAIN_SECONDS)
        return await self._answer(
            "overview.html", shown=found, now=found.at, root="./", again=REFRESH_SECONDS
        )

    async def story(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        try:
            found = await story(self._site, job_id)
        except ProblemError as problem:
            return await self._regret(problem, root="../", again=AGAIN_SECONDS)
        if found is None:
            unknown = ProblemError(
                HTTPStatus.NOT_FOUND,
                f"No task {printable(job_id)} is on record. It may be older than the store keeps, or of another"
                " taskwatch; taskwatch tasks lists those that are known.",
            )
            return await self._regret(unknown, root="../", again=None)
        return await self._answer("task.html", shown=found, now=found.at, root="../", again=REFRESH_SECONDS)

    async def static(self, request: web.Request) -> web.Response:
        found = (await asyncio.to_thread(lambda: self._press.files)).get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return web.Response(
            body=found.content,
            content_type=found.type,
            charset="utf-8",
            headers={"Cache-Control": _KEPT},
        )

    async def no_icon(self, _: web.Request) -> web.Response:
        """Say that there is none: browsers ask for it beside what is no page, as JSON."""
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": _KEPT})

    async def _regret(self, problem: ProblemError, *, root: str, again: int | None) -> web.Response:
        """Say in words why there is nothing to show."""
        now = self._site.clock.now()
        answer = await self._answer("regret.html", problem=problem, now=now, root=root, again=again)
        answer.set_status(problem.status)
        answer.headers.update(problem.headers)
        return answer

    async def _answer(self, template: str, **values: object) -> web.Response:
        text = await asyncio.to_thread(self._press.printed, template, values)
        return web.Response(text=text, content_type="text/html", charset="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    content: bytes
    type: str


class _Press:
    """Prints the templates of the package."""

    def printed(self, template: str, values: Mapping[str, object]) -> str:
        return self._environment.get_template(template).render(values)

    @cached_property
    def files(self) -> Mapping[str, _File]:
        """All that may be asked for beside the pages, by the names that pages know it by."""
        return {self._names[name]: _File(content=self._contents[name], type=_TYPES[name]) for name in _TYPES}

    @cached_property
    def _contents(self) -> Mapping[str, bytes]:
        place = files(_PACKAGE) / "static"
        return {name: (place / name).read_bytes() for name in _TYPES}

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return {name: _dated(name, content) for name, content in self._contents.items()}

    @cached_property
    def _environment(self) -> "Environment":
        from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - when a page is asked for

        made = Environment(
            loader=PackageLoader(_PACKAGE),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_harmless,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        made.globals = {"static": self._names.__getitem__, "version": __version__}
        made.filters |= {
            "age": age,
            "counted": counted,
            "moment": moment,
            "iso": datetime.isoformat,
            "in_url": _in_url,
            "seconds": "{:g} s".format,
            "word": _word,
        }
        return made


def _harmless(value: object) -> object:
    """Escape what does something to a terminal, and cut what is endless; Jinja2 escapes HTML after this."""
    return printable(value) if type(value) is str else value


def _in_url(text: str) -> str:
    """Return the text as a part of a path."""
    return quote(text, safe="")


def _word(text: str) -> str:
    """Return the text as a shell takes it for one word of a command, and for no option."""
    plain = printable(text)
    return shlex.quote(plain) if not plain.startswith("-") else f"-- {shlex.quote(plain)}"


def _dated(name: str, content: bytes) -> str:
    stem, _, kind = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{kind}"
