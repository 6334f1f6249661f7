"""What a login can see: the projects of a cloud, and where the database service is for each."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError
from yarl import URL

from taskwatch.app.access import Access
from taskwatch.clock import Clock
from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.auth.login import Authentication, Login
from taskwatch.cloud.errors import Asked
from taskwatch.cloud.iam import ServiceEndpoint, VisibleProject
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.regions import region_of, usual_endpoint
from taskwatch.cloud.transport import Answer, Request, Transport, open_session
from taskwatch.config.configuration import Credential
from taskwatch.config.kept import Endpoint, EndpointUrl
from taskwatch.config.schema import AnyCredential, TokenCredential
from taskwatch.config.starter import Starter, StarterProject
from taskwatch.errors import CloudError, ConfigError
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls, Trust

# What catalogues call the service. Which of them a cloud uses is not documented.
_TYPES: Final = ("gaussdb-opengauss", "opengauss", "gaussdbv5", "gaussdb")

_LABEL_LENGTH: Final = 100

_ENDPOINT: Final[TypeAdapter[Endpoint]] = TypeAdapter(EndpointUrl)
_CREDENTIAL: Final[TypeAdapter[Credential]] = TypeAdapter(AnyCredential)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found: the starter with the projects, and who was asked."""

    starter: Starter
    host: str


async def discover(starter: Starter, *, clock: Clock, log: Logger) -> Discovery:
    """Log in as the starter's credential says, and add the projects that it can watch.

    Raises ConfigError when it says nothing that could be tried, and CloudError.
    """
    credential = _credential(starter)
    limiter = Limiter(credential.rate, clock)
    access = Access(
        name=starter.credential,
        credential=credential,
        account=Account(name=starter.credential, clock=clock, log=log),
        via=None,
        limiter=lambda _: limiter,
        clock=clock,
        log=log,
    )
    trust = Trust(ca=None if starter.ca is None else Path(starter.ca))
    async with open_session() as session:
        transport = Transport(session=session, tls=Tls(trust, log=log))
        try:
            projects = await _projects(access, transport)
            host = await access.auth_host(transport)
            catalogue = await _catalogue(access, projects, transport)
        finally:
            await access.close()
    found = [_starter_project(project, catalogue, auth_host=host) for project in projects]
    return Discovery(
        starter=replace(starter, projects=sorted(found, key=lambda project: project.name)), host=host
    )


def endpoint_of(text: str) -> str:
    """Return an endpoint as a person writes it, as the configuration takes it. Raises ConfigError."""
    try:
        return str(_ENDPOINT.validate_python(text))
    except ValidationError as error:
        raise ConfigError([_said(line["msg"]) for line in error.errors()]) from None


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")


def _credential(starter: Starter) -> Credential:
    try:
        return _CREDENTIAL.validate_python(dict(starter.login), context=Path())
    except ValidationError as error:
        problems = [
            f"{line['loc'][-1]}, as the environment has it: {_said(line['msg'])}"
            for line in error.errors(include_url=False, include_input=False)
        ]
    raise ConfigError(problems)  # out here, and so without a context: pydantic's error holds what was written


async def _projects(access: Access, transport: Transport) -> Sequence[VisibleProject]:
    """Return what can be watched: of all that a token sees, only the project that it was made for."""
    projects = await access.projects(transport)
    credential = access.credential
    if not isinstance(credential, TokenCredential) or credential.auth_url is None:
        return projects
    own = await _project_of(access.login(None, transport), credential.auth_url, transport)
    return [project for project in projects if project.id == own] if own is not None else projects


async def _project_of(login: Login, auth_url: Endpoint, transport: Transport) -> str | None:
    """Return the id of the project that a token is for, as IAM says of it; None where it does not say."""

    async def ask(shown: Authentication) -> Answer:
        asked = Asked(host=auth_url.host, credential=str(login), secrets=shown.secrets, setting="auth_url")
        url = URL(f"{auth_url}/auth/tokens?nocatalog=1", encoded=True)
        itself = {"X-Subject-Token": shown.headers["X-Auth-Token"]}
        return await transport.send(Request(url=url, headers=itself), shown.headers, asked)

    try:
        answer = await login.send(Request(url=URL(str(auth_url))), ask)
        found = json.loads(answer.body)["token"]["project"]["id"]
    except (CloudError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


async def _catalogue(
    access: Access, projects: Sequence[VisibleProject], transport: Transport
) -> list[ServiceEndpoint]:
    """Return what the catalogue says, asked once in each region: it is that of one project."""
    one_of_each = {region_of(project.name): project for project in reversed(projects)}
    found: list[ServiceEndpoint] = []
    for project in one_of_each.values():
        try:
            found += await access.endpoints(project.id, transport)
        except CloudError:
            continue  # a help that is not there: the usual pattern of hosts is the other one
    return found


def _starter_project(
    project: VisibleProject, catalogue: Sequence[ServiceEndpoint], *, auth_host: str
) -> StarterProject:
    region = region_of(project.name)
    listed = next(_listed(catalogue, region), None)
    usual = usual_endpoint(auth_host, region) if region is not None else None
    return StarterProject(name=_label(project.name), project_id=project.id, endpoint=listed or usual)


def _label(name: str) -> str:
    """Return a name as a configuration may hold it: printable and not too long."""
    return (
        "".join(one if one.isprintable() else " " for one in name).strip()[:_LABEL_LENGTH].strip()
        or "unnamed"
    )


def _listed(catalogue: Sequence[ServiceEndpoint], region: str | None) -> Iterator[str]:
    """Yield the endpoints in a region: scheme and host, for the rest of a URL is the project's."""
    for kind in _TYPES:
        for service in catalogue:
            if service.type == kind and service.region in (region, None, "*"):
                parts = urlsplit(service.url)
                if parts.scheme in ("http", "https") and parts.netloc:
                    yield f"{parts.scheme}://{parts.netloc}"
