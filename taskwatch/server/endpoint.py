"""One operation of the API, declared once: what answers requests and what describes them are made of it.

Invariants:
- What a request says is parsed here, and strictly: what is not known, not readable or given twice is refused, with
  its name and what to write. Nothing is guessed.
- A body is JSON, in UTF-8; where all of it may be left out, so may it.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Final, Generic, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from taskwatch.clock import Clock
from taskwatch.config.fields import nearest
from taskwatch.server.gate import CALLER
from taskwatch.server.problem import ProblemError

JSON: Final = "application/json"
MAX_BODY: Final = 64 * 1024  # bytes
_NAME: Final = re.compile(r"\{(\w+)\}")
_SHOWN: Final = 10  # problems of one request


class Method(StrEnum):
    GET = "GET"
    POST = "POST"
    DELETE = "DELETE"


class Parameters(BaseModel):
    """What may stand in the path, and behind the question mark."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Body(BaseModel):
    """What is sent along."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Empty(Body):
    """Nothing needs to be said."""


class Problem(BaseModel):
    """Why a request is not answered: problem details, RFC 9457."""

    title: Annotated[str, Field(description="the status, in words")]
    status: int
    detail: Annotated[str, Field(description="what is wrong, and what to do")]
    problems: Annotated[
        list[str], Field(default_factory=list, description="each of them, where there may be several")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request is answered with that is granted."""

    status: HTTPStatus
    description: str
    content_type: str | None = JSON  # None: there is no content
    shape: type[BaseModel] | str | None = (
        None  # of JSON; the name of a schema that no model makes; None: any object
    )
    is_page: bool = False  # of a list of what has this shape


P = TypeVar("P", bound=Parameters)
B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Generic[P, B]):
    """A request that was parsed."""

    request: web.Request
    by: str  # who asks, as the record of operations names people
    at: datetime
    parameters: P
    body: B


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An operation."""

    method: Method
    path: str
    name: str
    summary: str
    parameters: type[Parameters]
    body: type[Body]
    answer: Answer
    refusals: Mapping[HTTPStatus, str]  # beside those that every operation has
    handler: Handler

    @property
    def route(self) -> web.RouteDef:
        path = _NAME.sub(r"{\1:[^/]+}", self.path)  # else no id with a brace would be one
        if self.method is Method.GET:
            return web.get(path, self.handler)  # and HEAD
        return web.route(self.method, path, self.handler)

    @property
    def takes_body(self) -> bool:
        return self.method is Method.POST


def endpoint(
    method: Method,
    path: str,
    does: Callable[[Asked[P, B]], Awaitable[web.StreamResponse]],
    *,
    parameters: type[P],
    body: type[B],
    answer: Answer,
    clock: Clock,
    name: str,
    summary: str,
    refusals: Mapping[HTTPStatus, str] | None = None,
) -> Endpoint:
    """Declare an operation."""

    async def handler(request: web.Request) -> web.StreamResponse:
        now = clock.now()
        asked = Asked(
            request=request,
            by=request[CALLER].by,
            at=now,
            parameters=_parameters(request, parameters, now),
            body=await _body(request, body) if method is Method.POST else body.model_construct(),
        )
        return await does(asked)

    return Endpoint(
        method=method,
        path=path,
        name=name,
        summary=summary,
        parameters=parameters,
        body=body,
        answer=answer,
        refusals=refusals or {},
        handler=handler,
    )


def _parameters(request: web.Request, model: type[P], now: datetime) -> P:
    """Read the path and the query; `now` is what times that are written as a duration are counted from."""
    given: dict[str, str] = dict(request.match_info)
    for key, text in request.query.items():
        if key in given:
            raise ProblemError(HTTPStatus.BAD_REQUEST, f"{key}: given more than once; write it once")
        given[key] = text
    try:
        return model.model_validate(given, context=now)
    except ValidationError as error:
        raise _refusal(HTTPStatus.BAD_REQUEST, model, error, "parameter") from None


async def _body(request: web.Request, model: type[B]) -> B:
    if (request.content_length or 0) > MAX_BODY:  # not waited for
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has {MAX_BODY} bytes at most")
    content = await request.read()
    if content and request.content_type != JSON:
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a body is {JSON}; send it with Content-Type: {JSON}"
        )
    try:
        return model.model_validate_json(content or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=True)[0]
        if first["type"] == "json_invalid":
            why = first["ctx"]["error"]
            raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is no JSON in UTF-8: {why}") from None
        raise _refusal(HTTPStatus.UNPROCESSABLE_ENTITY, model, error, "key") from None


def _refusal(status: HTTPStatus, model: type[BaseModel], error: ValidationError, noun: str) -> ProblemError:
    problems = list(_problems(model, error, noun))
    more = f"; and {len(problems) - 1} more, see problems" if len(problems) > 1 else ""
    return ProblemError(status, problems[0] + more, problems=problems[:_SHOWN])


def _problems(model: type[BaseModel], error: ValidationError, noun: str) -> Iterator[str]:
    for line in error.errors(include_url=False):
        text = _text(model, line, noun)
        path = ".".join(map(str, line["loc"]))
        yield f"{path}: {text}" if path else text


def _text(model: type[BaseModel], line: ErrorDetails, noun: str) -> str:
    match line["type"]:
        case "value_error":
            return str(line["ctx"]["error"])
        case "extra_forbidden":
            return f"unknown {noun}; {nearest(str(line['loc'][-1]), _keys(model))}"
        case "missing":
            return f"missing; {_remedy(model, str(line['loc'][0]))}"
        case "model_type":
            return "not an object; write {}, with what is to be said in it"
        case "string_type":
            return "not a text; write it in quotes"
        case "list_type":
            return f"not a list; {_remedy(model, str(line['loc'][0]))}"
        case "too_short":
            return f"empty; {_remedy(model, str(line['loc'][0]))}"
        case _:
            return line["msg"][:1].lower() + line["msg"][1:]


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _remedy(model: type[BaseModel], key: str) -> str:
    fields: Mapping[str, Any] = {field.alias or name: field for name, field in model.model_fields.items()}
    examples = fields[key].examples if key in fields else None
    return f"write {key}, as {examples[0]!r}" if examples else f"write {key}"
