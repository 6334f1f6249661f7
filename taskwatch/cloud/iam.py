"""IAM, the cloud's login service: tokens, and the projects that somebody can see.

Invariants:
- Each request ends: a login is nobody's poll, so it has a deadline of its own.
- Of an answer only what is used must be right. A token without its life is taken for an hour's.
- No error repeats what was sent.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import hdrs
from yarl import URL

from taskwatch.cloud.auth.login import Authentication, Login
from taskwatch.cloud.errors import Asked, http_date, stopped
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Answer, Request, Transport
from taskwatch.errors import CloudCause, CloudError

LOGIN_SECONDS: Final = 15.0  # less than a poll has by default: who waits hears why
_UNSAID_LIFE: Final = 3600.0
_CREATED: Final = 201
_MAX_PROJECTS: Final = 10_000
_JSON: Final[Mapping[str, str]] = {hdrs.CONTENT_TYPE: "application/json;charset=utf8"}

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEndpoint:
    """Where the catalogue says that a service is."""

    type: str
    region: str | None
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, for so many seconds from when it was asked for."""

    text: str = field(repr=False)
    life: float
    project_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleProject:
    """A project as IAM lists it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a token is for: a project by its id or its name, or else a whole domain (account). One of the three."""

    project_id: str | None = None
    project_name: str | None = None
    domain_name: str | None = None

    def __str__(self) -> str:
        project = self.project_id or self.project_name
        return f"domain {self.domain_name}" if project is None else f"project {project}"

    def body(self) -> Body:
        if self.project_id is not None:
            return {"project": {"id": self.project_id}}
        if self.project_name is not None:
            return {"project": {"name": self.project_name}}
        return {"domain": {"name": self.domain_name}}

    @property
    def is_of_project(self) -> bool:
        return self.domain_name is None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who logs in with a password: a user of a domain."""

    name: str
    domain_name: str


class Iam:
    """Asks one IAM as one credential."""

    def __init__(self, *, auth_url: str, credential: str, transport: Transport, limiter: Limiter) -> None:
        """`credential` is its name; the limiter is that of this credential at this host."""
        root = auth_url.rstrip("/")
        self._root = root if root.endswith("/v3") else f"{root}/v3"
        self._credential = credential
        self._transport = transport
        self._limiter = limiter

    @property
    def host(self) -> str:
        return URL(self._root).host_port_subcomponent or "IAM"

    async def token_by_password(self, user: User, password: str, scope: Scope) -> Token:
        """Log in. Raises CloudError."""
        who = {"name": user.name, "password": password, "domain": {"name": user.domain_name}}
        identity = {"methods": ["password"], "password": {"user": who}}
        unseen = "that the project is visible to this user"
        wrong = "check username, user_domain_name and password (IAM says the same for each)"
        asked = self._asked(
            f"{wrong}, and {unseen}" if scope.is_of_project else wrong,
            not_found=f"check auth_url, and {unseen}" if scope.is_of_project else "check auth_url",
            asked_for=str(scope),
        )
        request = self._login(identity, scope)
        answer = await self._send(request, Authentication(secrets=(password,)), asked)
        return _token(answer, asked)

    async def token_by_agency(self, via: Login, *, domain_name: str, agency_name: str, scope: Scope) -> Token:
        """Assume an agency as `via`. Raises CloudError."""
        role = {"domain_name": domain_name, "agency_name": agency_name}
        identity = {"methods": ["assume_role"], "assume_role": role}
        wrong = f"check agency_name and domain_name, and that {via} may assume agencies (Agent Operator)"
        if scope.is_of_project:
            wrong = f"{wrong}; then that the project is visible to the agency"
        asked = self._asked(wrong, not_found=f"{wrong}; and auth_url", asked_for=str(scope))
        request = self._login(identity, scope)
        answer = await via.send(request, lambda shown: self._send(request, shown, asked))
        return _token(answer, asked)

    async def projects(self, login: Login, *, signs: bool = False) -> tuple[VisibleProject, ...]:
        """List the projects that a login can see. `signs`: it has no token, it signs requests. Raises CloudError."""
        path, suspects = "/auth/projects", f"{login}"
        if signs:
            path, suspects = "/projects", f"secret_key, then access_key, of {login}; the clock of this host"
        answer = await self._read(path, login, f"check {suspects}, and that it may list projects")
        return _projects(answer.body, host=self.host)

    async def own_project(self, login: Login) -> str | None:
        """Return the id of the project that the token of a login is for; None for one of a domain. Raises CloudError."""
        asked = self._asked(f"check {login}")
        request = Request(url=URL(f"{self._root}/auth/tokens?nocatalog=1", encoded=True))

        async def ask(shown: Authentication) -> Answer:
            about = {"X-Subject-Token": shown.headers["X-Auth-Token"]}
            return await self._send(replace(request, headers=about), shown, asked)

        answer = await login.send(request, ask)
        return _project_id(_object(answer.body, self.host).get("token"))

    async def catalogue(self, login: Login) -> tuple[ServiceEndpoint, ...]:
        """Return where the services are that the login of a project may use. Raises CloudError."""
        answer = await self._read(
            "/auth/catalog", login, f"check {login}, and that it may ask for the catalogue"
        )
        return tuple(_endpoints(_object(answer.body, self.host).get("catalog")))

    async def _read(self, path: str, login: Login, wrong: str) -> Answer:
        asked = self._asked(wrong)
        request = Request(url=URL(f"{self._root}{path}", encoded=True))
        return await login.send(request, lambda shown: self._send(request, shown, asked))

    def _login(self, identity: Body, scope: Scope) -> Request:
        return Request(
            url=URL(f"{self._root}/auth/tokens?nocatalog=1", encoded=True),
            method=hdrs.METH_POST,
            headers=_JSON,
            body=json.dumps({"auth": {"identity": identity, "scope": scope.body()}}).encode(),
            expected=_CREATED,
        )

    def _asked(self, wrong: str, *, not_found: str = "check auth_url", asked_for: str = "") -> Asked:
        return Asked(
            host=self.host,
            credential=f"the credential {self._credential}",
            setting="auth_url",
            asked_for=asked_for,
            remedies={
                CloudCause.LOGIN: wrong,
                CloudCause.PERMISSION: wrong,
                CloudCause.NOT_FOUND: not_found,
                CloudCause.BAD_ANSWER: f"{wrong}; and auth_url",
            },
        )

    async def _send(self, request: Request, shown: Authentication, asked: Asked) -> Answer:
        asked.secrets = (*asked.secrets, *shown.secrets)
        asked.phase = "the rate of the credential let no request pass"
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                await self._limiter.acquire(first=True)
                return await self._transport.send(request, shown.headers, asked)
        except TimeoutError:
            pass
        except CloudError as error:
            if error.cause is CloudCause.THROTTLED:
                self._limiter.throttle(error)
            raise
        raise CloudError(
            CloudCause.TIMEOUT, f"{asked.host}: no whole answer within {LOGIN_SECONDS:g} s{stopped(asked)}"
        )


def _token(answer: Answer, asked: Asked) -> Token:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    body = _object(answer.body, asked.host).get("token")
    if not isinstance(body, dict):
        raise _unusable(asked.host, "an answer without a token in its body")
    text = headers.get("x-subject-token", "").strip()
    return token_of(text, body, host=asked.host, answered_at=http_date(answer.date or ""))


def token_of(text: str, body: Body, *, host: str, answered_at: datetime | None = None) -> Token:
    """Return the token with what the body says of it. Raises CloudError for one that cannot be used."""
    if not text:
        raise _unusable(host, "an answer without the header X-Subject-Token, which holds the token")
    life = _life(body, answered_at)
    if life <= 0:
        raise _unusable(host, "a token that had expired when it was issued")
    return Token(text=text, life=life, project_id=_project_id(body))


def _project_id(token: object) -> str | None:
    """Return the id of the project that a token is for, as its body says."""
    project = token.get("project") if isinstance(token, dict) else None
    return _text(project.get("id")) if isinstance(project, dict) else None


def _projects(body: bytes, *, host: str) -> tuple[VisibleProject, ...]:
    """Return the projects of a list. Raises CloudError for what is none."""
    found = _object(body, host).get("projects")
    if not isinstance(found, list):
        raise _unusable(host, "an answer that lists no projects")
    return tuple(
        VisibleProject(id=one["id"], name=one["name"])
        for one in found[:_MAX_PROJECTS]
        if isinstance(one, dict) and isinstance(one.get("id"), str) and isinstance(one.get("name"), str)
    )


def _life(token: Body, answered_at: datetime | None) -> float:
    """Return for how many seconds the token holds, by IAM's own clock: this host's may be wrong."""
    expires_at = _moment(token.get("expires_at"))
    issued_at = _moment(token.get("issued_at")) or answered_at
    if expires_at is None or issued_at is None:
        return _UNSAID_LIFE
    return (expires_at - issued_at).total_seconds()


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _endpoints(catalogue: object) -> Iterator[ServiceEndpoint]:
    """Read the public endpoints out of a catalogue; what is not like one is passed over."""
    for service in catalogue if isinstance(catalogue, list) else []:
        if not (isinstance(service, dict) and isinstance(service.get("type"), str)):
            continue
        listed = service.get("endpoints")
        for endpoint in listed if isinstance(listed, list) else []:
            if not isinstance(endpoint, dict) or endpoint.get("interface", "public") != "public":
                continue
            url = _text(endpoint.get("url"))
            if url is not None:
                region = _text(endpoint.get("region_id")) or _text(endpoint.get("region"))
                yield ServiceEndpoint(type=service["type"], region=region, url=url)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _object(body: bytes, host: str) -> dict[str, Any]:
    try:
        found = json.loads(body, parse_int=str, parse_float=str)  # as text: a number may have any length
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _unusable(host, "an answer that is no JSON object")
    return found


def _unusable(host: str, what: str) -> CloudError:
    return CloudError(CloudCause.BAD_ANSWER, f"{host} gave {what}; check that auth_url is IAM's")
