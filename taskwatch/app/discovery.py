"""What a login can see: the projects of a cloud, and where the database service is for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from taskwatch.app.access import Access
from taskwatch.clock import Clock
from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.auth.login import Login
from taskwatch.cloud.iam import Iam, ServiceEndpoint, VisibleProject
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.regions import region_of, usual_endpoint
from taskwatch.cloud.transport import Transport, open_session
from taskwatch.config.configuration import Credential
from taskwatch.config.kept import Endpoint, EndpointUrl
from taskwatch.config.schema import AnyCredential, CloudCredential, TokenCredential
from taskwatch.config.starter import Starter, StarterProject
from taskwatch.errors import CloudError, ConfigError
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls, Trust

# What catalogues call the service. Which of them a cloud uses is not documented.
_TYPES: Final = ("gaussdb-opengauss", "opengauss", "gaussdbv5", "gaussdb")

_LABEL_LENGTH: Final = 100
_MOST_NAMES: Final = 20  # in an error
_MADE_UP: Final = ("envvars", "defaults")  # openstacksdk's names for the environment, and for no entry at all

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
    limiter = Limiter(credential.rate, clock, log)
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
            projects: Sequence[VisibleProject] = await access.projects(transport)
            if isinstance(credential, TokenCredential) and credential.auth_url is not None:
                iam = Iam(
                    auth_url=str(credential.auth_url),
                    credential=starter.credential,
                    transport=transport,
                    limiter=limiter,
                )
                projects = await _of_token(access.login(None, transport), projects, iam)
            host = await access.auth_host(transport)
            catalogue = await _catalogue(access, projects, transport)
        except CloudError as error:
            if isinstance(credential, CloudCredential) and (others := _other_clouds(credential.cloud)):
                error.message = f"{error.message}; there are {others}"
            raise
        finally:
            await access.close()
    found = [_starter_project(project, catalogue, auth_host=host) for project in projects]
    return Discovery(
        starter=replace(starter, projects=sorted(found, key=lambda project: project.name)), host=host
    )


def _other_clouds(name: str) -> str:
    """Return the names that clouds.yaml has, where it does not have this one; none where it cannot be read."""
    try:
        from openstack.config import OpenStackConfig  # noqa: PLC0415  (the extra)

        names = OpenStackConfig().get_cloud_names()
    except Exception:  # noqa: BLE001  (the error at hand says what is wrong with the file)
        return ""
    others = sorted(one for one in names if one not in _MADE_UP)
    return "" if name in names else ", ".join(others[:_MOST_NAMES])


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


async def _of_token(login: Login, projects: Sequence[VisibleProject], iam: Iam) -> Sequence[VisibleProject]:
    """Return what can be watched with a token: of all projects that it sees, only the one that it was made for."""
    try:
        own = await iam.own_project(login)
    except CloudError:
        own = None  # nobody says so: a person can delete what is too much
    return projects if own is None else [project for project in projects if project.id == own]


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
