"""What a login can see: the projects of a cloud, and where the database service is for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from taskwatch.app.access import Access
from taskwatch.clock import Clock
from taskwatch.cloud.iam import ServiceEndpoint, VisibleProject
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.regions import region_of, usual_endpoint
from taskwatch.cloud.transport import Transport, open_session
from taskwatch.config.configuration import Credential
from taskwatch.config.schema import AnyCredential
from taskwatch.config.starter import Starter, StarterProject
from taskwatch.errors import CloudError
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls, Trust

# What catalogues call the service. Which of them a cloud uses is not documented.
_TYPES: Final = ("gaussdb-opengauss", "opengauss", "gaussdbv5", "gaussdb")

_CREDENTIAL: Final[TypeAdapter[Credential]] = TypeAdapter(AnyCredential)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found: the starter with the projects, and who was asked."""

    starter: Starter
    host: str


async def discover(starter: Starter, *, clock: Clock, log: Logger) -> Discovery:
    """Log in as the starter's credential says, and add the projects that it can see. Raises CloudError."""
    credential = _CREDENTIAL.validate_python(dict(starter.login), context=Path())
    limiter = Limiter(credential.rate, clock)
    access = Access(
        name=starter.credential,
        credential=credential,
        via=None,
        limiter=lambda _: limiter,
        clock=clock,
        log=log,
    )
    trust = Trust(ca=None if starter.ca is None else Path(starter.ca))
    async with open_session() as session:
        transport = Transport(session=session, tls=Tls(trust, log=log))
        try:
            projects = await access.projects(transport)
            host = await access.auth_host(transport)
            catalogue = await _catalogue(access, projects, transport)
        finally:
            await access.close()
    found = [_starter_project(project, catalogue, auth_host=host) for project in projects]
    return Discovery(
        starter=replace(starter, projects=sorted(found, key=lambda project: project.name)), host=host
    )


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
    return StarterProject(name=project.name, project_id=project.id, endpoint=listed or usual)


def _listed(catalogue: Sequence[ServiceEndpoint], region: str | None) -> Iterator[str]:
    """Yield the endpoints in a region: scheme and host, for the rest of a URL is the project's."""
    for kind in _TYPES:
        for service in catalogue:
            if service.type == kind and service.region in (region, None, "*"):
                parts = urlsplit(service.url)
                if parts.scheme in ("http", "https") and parts.netloc:
                    yield f"{parts.scheme}://{parts.netloc}"
