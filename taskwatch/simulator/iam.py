"""IAM on the listener of the cloud: tokens, projects, the catalogue. Its root is `auth_url`, `{url}/v3`.

Answers in the order of the real parts: what stands in front of it (faults), who asks, what is asked.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from taskwatch.simulator import keystone
from taskwatch.simulator.cloud import Cloud
from taskwatch.simulator.faults import IAM
from taskwatch.simulator.identity import Identity, LoginRefusedError
from taskwatch.simulator.keyring import SignatureRefusedError
from taskwatch.simulator.principals import Agency, Domain, IamProject, User
from taskwatch.simulator.spoil import spoil
from taskwatch.simulator.tokens import Token, TokenState
from taskwatch.simulator.wire import is_signed, received


class _RefusedError(Exception):
    """IAM says no. `response` is how."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(str(response.status))
        self.response = response


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """What somebody asks about, or a token is for: a domain, or one of its projects."""

    domain: Domain
    project: IamProject | None


def routes(cloud: Cloud, url: Callable[[], str]) -> list[web.RouteDef]:
    """Return the routes of IAM. `url` tells where the cloud listens."""
    iam = _Iam(cloud, cloud.identity, url)
    return [
        web.get("/v3", _answered(cloud, "iam", iam.discovery), allow_head=False),
        web.get("/v3/", _answered(cloud, "iam", iam.discovery), allow_head=False),
        web.post("/v3/auth/tokens", _answered(cloud, "login", iam.log_in)),
        web.get("/v3/auth/tokens", _answered(cloud, "iam", iam.check), allow_head=False),
        web.delete("/v3/auth/tokens", _answered(cloud, "iam", iam.revoke)),
        web.get("/v3/projects", _answered(cloud, "iam", iam.projects), allow_head=False),
        web.get("/v3/auth/projects", _answered(cloud, "iam", iam.projects), allow_head=False),
        web.get("/v3/auth/catalog", _answered(cloud, "iam", iam.catalogue), allow_head=False),
    ]


_Action = Callable[[web.Request], Awaitable[web.Response]]


def _answered(
    cloud: Cloud, kind: str, action: _Action
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        cloud.counters.requests[kind] += 1
        fault = cloud.faults.strike(IAM)

        async def honestly() -> web.Response:
            try:
                return await action(request)
            except _RefusedError as refused:
                return refused.response

        if fault is None:
            return await honestly()
        return await spoil(fault, request, honestly, cloud.told_moment())

    return answer


class _Iam:
    def __init__(self, cloud: Cloud, identity: Identity, url: Callable[[], str]) -> None:
        self._cloud = cloud
        self._identity = identity
        self._url = url

    @property
    def _auth_url(self) -> str:
        return f"{self._url()}/v3"

    async def discovery(self, _request: web.Request) -> web.Response:
        return keystone.discovery(self._auth_url)

    async def log_in(self, request: web.Request) -> web.Response:
        asked = await _body(request)
        match asked:
            case {"auth": {"identity": {"methods": ["password"], "password": {"user": dict(claimed)}}}}:
                token = self._by_password(claimed, asked["auth"].get("scope"))
            case {"auth": {"identity": {"methods": ["assume_role"], "assume_role": dict(role)}}}:
                token = self._by_agency(self._valid_token(request), role, asked["auth"].get("scope"))
            case _:
                raise _RefusedError(keystone.malformed())
        wants_catalogue = "nocatalog" not in request.query
        return keystone.token_answer(token, self._services(token.project) if wants_catalogue else None)

    async def check(self, request: web.Request) -> web.Response:
        """Tell what another token (or the same one) is."""
        await self._asker(request)
        subject = self._subject(request)
        wants_catalogue = "nocatalog" not in request.query
        return keystone.token_answer(
            subject, self._services(subject.project) if wants_catalogue else None, status=200
        )

    async def revoke(self, request: web.Request) -> web.Response:
        self._valid_token(request)
        self._identity.tokens.revoke_one(self._subject(request))
        return web.Response(status=204)

    async def projects(self, request: web.Request) -> web.Response:
        """List what the asker's domain holds, or of that one project by its name."""
        asker = await self._asker(request)
        name = request.query.get("name")
        found = [one for one in self._identity.projects_of(asker.domain) if name in (None, one.name)]
        return keystone.project_list(found, self._auth_url)

    async def catalogue(self, request: web.Request) -> web.Response:
        asker = await self._asker(request)
        project = asker.project
        if self._is_pasted(request.headers.get("X-Auth-Token")):
            project = self._identity.projects[0]  # it opens the service for each
        return keystone.catalogue_answer(self._services(project), self._auth_url)

    def _by_password(self, claimed: dict[str, Any], scope: object) -> Token:
        match claimed:
            case {"id": str(id_), "password": str(password)}:
                user = self._identity.find_user(id_=id_)
            case {"name": str(name), "password": str(password), "domain": {"name": str(domain)}}:
                user = self._identity.find_user(name=name, domain=domain)
            case {"name": str(name), "password": str(password), "domain": {"id": str(domain)}}:
                user = self._identity.find_user(name=name, domain=domain)
            case _:
                raise _RefusedError(keystone.malformed())
        try:
            known = self._identity.log_in(user, password)
        except LoginRefusedError as refused:
            raise _RefusedError(keystone.refusal(401, str(refused))) from refused
        return self._scoped(known, scope, known.domain)

    def _by_agency(self, agent: Token, role: dict[str, Any], scope: object) -> Token:
        agency = self._identity.agency
        is_named = role.get("domain_name", role.get("domain_id")) in (agency.domain.name, agency.domain.id)
        if not (is_named and agency.name in (role.get("agency_name"), role.get("xrole_name"))):
            self._identity.refuse(agent.user)
            raise _RefusedError(keystone.refusal(404, "Could not find agency."))
        if not (agent.user.is_agent and agent.user.domain == agency.trusted):
            self._identity.refuse(agent.user)
            message = "You are not authorized to perform the requested action: assume_role."
            raise _RefusedError(keystone.refusal(403, message))
        return self._scoped(agent.user, scope, agency.domain, agency)

    def _scoped(self, user: User, scope: object, domain: Domain, agency: Agency | None = None) -> Token:
        found = self._scope(scope, domain)
        if found is None:
            self._identity.refuse(user)
            raise _RefusedError(keystone.unauthorized())
        return self._identity.issue(user, domain=found.domain, project=found.project, agency=agency)

    def _scope(self, asked: object, domain: Domain) -> _Scope | None:
        """Return what the token shall be for: without a word, the domain; None if it does not exist there."""
        match asked:
            case None | {"unscoped": _}:
                return _Scope(domain=domain, project=None)
            case {"domain": {"name": str(name)}} | {"domain": {"id": str(name)}}:
                return _Scope(domain=domain, project=None) if name in (domain.name, domain.id) else None
            case {"project": {"id": str(wanted)}} | {"project": {"name": str(wanted)}}:
                for project in self._identity.projects_of(domain):
                    if wanted in (project.id, project.name):
                        return _Scope(domain=domain, project=project)
                return None
            case _:
                raise _RefusedError(keystone.malformed())

    def _services(self, project: IamProject | None) -> list[dict[str, object]]:
        return keystone.catalogue(self._identity, project, self._url())

    async def _asker(self, request: web.Request) -> _Scope:
        """Return who asks, by token or signature."""
        if "X-Auth-Token" in request.headers or not is_signed(request):
            token = self._valid_token(request)
            return _Scope(domain=token.domain, project=token.project)
        try:
            pair = self._identity.keys.authenticate(await received(request), self._cloud.now())
        except SignatureRefusedError as refused:
            raise _RefusedError(keystone.unauthorized()) from refused
        project_id = request.headers.get("X-Project-Id")
        projects = self._identity.projects_of(pair.user.domain)
        return _Scope(
            domain=pair.user.domain,
            project=next((project for project in projects if project.id == project_id), None),
        )

    def _valid_token(self, request: web.Request) -> Token:
        token = self._alive(request.headers.get("X-Auth-Token", ""))
        if token is None:
            raise _RefusedError(keystone.unauthorized())
        return token

    def _subject(self, request: web.Request) -> Token:
        """Return the valid token that is spoken about."""
        token = self._alive(request.headers.get("X-Subject-Token", ""))
        if token is None:
            raise _RefusedError(keystone.refusal(404, "Could not find token."))
        return token

    def _alive(self, text: str) -> Token | None:
        tokens, now = self._identity.tokens, self._cloud.now()
        if self._is_pasted(text):
            return tokens.pasted(text, user=self._identity.user, now=now)
        token = tokens.find(text)
        return token if token is not None and tokens.state(token, now) is TokenState.VALID else None

    def _is_pasted(self, text: str | None) -> bool:
        """Tell whether it is the token that the cloud prints for all: nobody gave it out, and it never ends."""
        return text is not None and text == self._cloud.token


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise _RefusedError(keystone.malformed()) from error
