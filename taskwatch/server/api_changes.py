"""What may be changed over the API: the same as by the commands, by the same rules, and recorded as theirs is.

What only the daemon's attendant does is asked of it by way of the store: who asked, and for what, is on record and
in the log, whatever becomes of it.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from taskwatch.config.fields import between, parse_duration
from taskwatch.core.matchers import MatcherError
from taskwatch.core.quiet import LONGEST, Silence, SilenceError, matchers_of, require_end
from taskwatch.errors import RequestError
from taskwatch.model.alert import LONGEST_HOLD, SHORTEST_HOLD
from taskwatch.model.operation import Action
from taskwatch.report import rows
from taskwatch.server.endpoint import (
    JSON,
    Answer,
    Asked,
    Body,
    Empty,
    Endpoint,
    Method,
    Parameters,
    endpoint,
)
from taskwatch.server.parameters import Number
from taskwatch.server.problem import ProblemError
from taskwatch.server.site import Site
from taskwatch.store.waiting import LOOK_SECONDS, Outcome, Waiting, done

WAIT_SECONDS: Final = 25.0  # for the daemon's attendant: the answer says so before the server gives up
_NO_ALERT: Final = "the task has no open alert"


def _lasting(text: object) -> float | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError("not a duration; write a number and ms, s, m, h or d in quotes, as 4h")  # noqa: TRY004 - pydantic collects ValueErrors
    return parse_duration(text)


def _instant(text: object) -> datetime | None:
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text) if isinstance(text, str) else None
        if given is not None and given.tzinfo is not None:
            return given.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("not a time with its zone; write one as 2026-11-24T06:00:00Z")


Lasting = Annotated[
    float | None,
    PlainValidator(_lasting),
    WithJsonSchema({"type": ["string", "null"], "pattern": "^[0-9]{1,9}(ms|s|m|h|d)$"}),
]
Instant = Annotated[
    datetime | None,
    PlainValidator(_instant),
    WithJsonSchema({"type": ["string", "null"], "format": "date-time"}),
]
Comment = Annotated[str | None, Field(description="what others should know of it")]


class OfTask(Parameters):
    job_id: Annotated[str, Field(min_length=1, description="of the task, whole")]


class OfSilence(Parameters):
    id: Annotated[Number, Field(description="the number of the silence")]


class Acknowledgement(Body):
    """That somebody has the alerts of a task."""

    comment: Comment = None
    seconds: Annotated[Lasting, between(SHORTEST_HOLD, LONGEST_HOLD)] = Field(
        None, alias="for", description="only for so long, as 4h; 1m to 365d", examples=["4h"]
    )


class Resolution(Body):
    """That the alerts of a task are over."""

    comment: Comment = None


class NewSilence(Body):
    """A silence to be: from now on nobody is told of what all of the matchers match."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["for"], "properties": {"for": {"type": "string"}, "ends_at": {"type": "null"}}},
                {
                    "required": ["ends_at"],
                    "properties": {"ends_at": {"type": "string"}, "for": {"type": "null"}},
                },
            ]
        }
    )

    matchers: Annotated[
        list[str],
        Field(
            min_length=1,
            description='as the configuration writes them: project = "prod", =, !=, =~ or !~',
            examples=[['project = "prod"']],
        ),
    ]
    seconds: Lasting = Field(
        None, alias="for", description="for so long, as 4h; 365d at most", examples=["4h"]
    )
    ends_at: Instant = Field(None, description="until then")
    comment: Comment = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if (self.seconds is None) == (self.ends_at is None):
            raise ValueError("for and ends_at say when it ends; write one of them")
        return self


class Acknowledged(BaseModel):
    """Who has the alerts of a task."""

    job_id: str
    by: str
    until: Annotated[datetime | None, Field(description="null: for as long as they are open")]
    comment: str | None


class Resolved(BaseModel):
    """Who ended the alerts of a task."""

    job_id: str
    by: str
    comment: str | None


class Reloaded(BaseModel):
    """What came of reading the configuration again."""

    changes: Annotated[list[str], Field(description="a line each; none: nothing changed")]


class Changes:
    """Changes what is asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def acknowledge(self, asked: Asked[OfTask, Acknowledgement]) -> web.Response:
        job_id, comment, at = asked.parameters.job_id, asked.body.comment, asked.at
        until = None if asked.body.seconds is None else at + timedelta(seconds=asked.body.seconds)
        taken = await self._site.records.change(
            lambda desk: desk.acknowledge([job_id], until=until, comment=comment, at=at), by=asked.by
        )
        if not taken:
            raise _no_alert()
        return _answer(Acknowledged(job_id=job_id, by=asked.by, until=until, comment=comment))

    async def resolve(self, asked: Asked[OfTask, Resolution]) -> web.Response:
        job_id, comment = asked.parameters.job_id, asked.body.comment
        outcome = await self._done(asked, Action.RESOLVE, {"jobs": [job_id], "comment": comment})
        if not outcome["resolved"]:
            raise _no_alert()
        return _answer(Resolved(job_id=job_id, by=asked.by, comment=comment))

    async def silence(self, asked: Asked[Parameters, NewSilence]) -> web.Response:
        wanted, at = asked.body, asked.at
        try:
            matchers = matchers_of(wanted.matchers)
            ends_at = _end(wanted, at)
        except (MatcherError, SilenceError) as error:
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), problems=[str(error)]) from None
        number = await self._site.records.change(
            lambda desk: desk.silence(wanted.matchers, ends_at=ends_at, comment=wanted.comment, at=at),
            by=asked.by,
        )
        added = Silence(
            id=number, matchers=matchers, begins_at=at, ends_at=ends_at, by=asked.by, comment=wanted.comment
        )
        return _answer(rows.Hush.of(added, at), status=HTTPStatus.CREATED)

    async def expire(self, asked: Asked[OfSilence, Empty]) -> web.Response:
        number, at = asked.parameters.id, asked.at
        if not await self._site.records.change(lambda desk: desk.expire([number], at=at), by=asked.by):
            raise ProblemError(
                HTTPStatus.NOT_FOUND,
                f"no silence in force has the number {number}; GET /api/v1/silences lists those there are",
            )
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def reload(self, asked: Asked[Parameters, Empty]) -> web.Response:
        outcome = await self._done(asked, Action.RELOAD, {})
        if problems := outcome.get("problems"):
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "the configuration is wrong, and the old one goes on; problems says where, and what to write",
                problems=list(problems),
            )
        return _answer(Reloaded(changes=list(outcome["changes"])))

    async def _done(self, asked: Asked[Any, Any], action: Action, argument: Mapping[str, Any]) -> Outcome:
        """Ask the daemon to do something, and wait for what becomes of it."""
        request = await self._site.records.change(
            lambda desk: desk.ask(action, argument, at=asked.at), by=asked.by
        )
        waiting = Waiting(request, limit=WAIT_SECONDS)
        try:
            while True:
                outcome = await self._looked(waiting, request)
                if outcome is not None:
                    return done(outcome)
                await asyncio.sleep(LOOK_SECONDS)
        except RequestError as error:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error

    async def _looked(self, waiting: Waiting, request: int) -> Outcome | None:
        """Look once. A store of which too much is asked at this moment is asked again."""
        try:
            known = await self._site.records.read(lambda reader: reader.outcome(request))
        except ProblemError:
            known = None
        return waiting.look(lambda _: known)


def changes(site: Site) -> list[Endpoint]:
    """Declare the changes."""
    found = Changes(site)
    no_alert = {HTTPStatus.NOT_FOUND: _NO_ALERT}
    return [
        endpoint(
            Method.POST,
            "/api/v1/tasks/{job_id}/ack",
            found.acknowledge,
            name="acknowledge",
            summary="Say that you have the alerts of a task: they stay open, and nobody is reminded of them",
            parameters=OfTask,
            body=Acknowledgement,
            answer=Answer(status=HTTPStatus.OK, description="who has them", shape=Acknowledged),
            refusals=no_alert,
            clock=site.clock,
        ),
        endpoint(
            Method.POST,
            "/api/v1/tasks/{job_id}/resolve",
            found.resolve,
            name="resolve",
            summary="End the alerts of a task, and tell that to those who were told of them",
            parameters=OfTask,
            body=Resolution,
            answer=Answer(status=HTTPStatus.OK, description="they are over", shape=Resolved),
            refusals=no_alert,
            clock=site.clock,
        ),
        endpoint(
            Method.POST,
            "/api/v1/silences",
            found.silence,
            name="addSilence",
            summary="Tell nobody of what matches, for a time; what still needs attention is told at its end",
            parameters=Parameters,
            body=NewSilence,
            answer=Answer(status=HTTPStatus.CREATED, description="it is in force", shape=rows.Hush),
            clock=site.clock,
        ),
        endpoint(
            Method.DELETE,
            "/api/v1/silences/{id}",
            found.expire,
            name="expireSilence",
            summary="End a silence now",
            parameters=OfSilence,
            body=Empty,
            answer=Answer(status=HTTPStatus.NO_CONTENT, description="it has ended", content_type=None),
            refusals={HTTPStatus.NOT_FOUND: "no silence in force has this number"},
            clock=site.clock,
        ),
        endpoint(
            Method.POST,
            "/-/reload",
            found.reload,
            name="reload",
            summary="Read the configuration again; a wrong one is refused, and the old one goes on",
            parameters=Parameters,
            body=Empty,
            answer=Answer(status=HTTPStatus.OK, description="what changed", shape=Reloaded),
            clock=site.clock,
        ),
    ]


def _end(wanted: NewSilence, now: datetime) -> datetime:
    """Return when the silence ends. Raises SilenceError."""
    if wanted.ends_at is not None:
        ends_at = wanted.ends_at
    else:
        ends_at = now + min(timedelta(seconds=wanted.seconds or 0.0), 2 * LONGEST)
    require_end(ends_at, now=now)
    return ends_at


def _answer(content: BaseModel, *, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(
        status=status, body=json.dumps(content.model_dump(mode="json")).encode(), content_type=JSON
    )


def _no_alert() -> ProblemError:
    return ProblemError(
        HTTPStatus.NOT_FOUND, f"{_NO_ALERT}; GET /api/v1/alerts lists those there are, with their job_id"
    )
