"""Whether what is configured works: every project read once, every receiver connected to, nothing told to anybody."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from taskwatch.app import open_notifier
from taskwatch.app.access import Access
from taskwatch.app.clouds import Clouds, opened_clouds
from taskwatch.clock import Clock
from taskwatch.cloud.iam import VisibleProject
from taskwatch.config.configuration import Config, NamedProject, WatchedProject, Watching
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import CloudCause, CloudError
from taskwatch.runtime.naming import Naming
from taskwatch.telemetry import Logger

_PROJECT: Final = "project"
_RECEIVER: Final = "receiver"
MAX_SKEW: Final = timedelta(minutes=1)  # signatures are refused from 15 minutes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one project or receiver. Printable once it is made harmless."""

    kind: str  # project, receiver
    name: str = ""  # of it; none: it is about all of this kind
    problem: str | None = None
    said: str = ""  # where there is no problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a credential can see."""

    access: Access
    projects: tuple[VisibleProject, ...]


Seen = Mapping[str, Sight | None]
"""By credential; None where nobody could say."""


async def examine(config: Config, *, clock: Clock, log: Logger) -> AsyncIterator[Finding]:
    """Yield what is found as soon as it is known: projects that nobody can find, then the others, then receivers."""
    async with opened_clouds(clock, log) as clouds:
        seen = await _seen(config, clouds)
        naming = Naming(ask=clouds.project_id, log=log)
        await naming.learn(config)
        known = naming.known(config)
        work: list[Awaitable[Finding]] = [
            *(
                asyncio.create_task(_project(project, known, clouds, clock, seen))
                for project in known.projects
            ),
            *(asyncio.create_task(_receiver(options, clock, log)) for options in known.receivers),
        ]
        for problem in naming.problems:
            yield Finding(kind="projects", problem=problem)
        for named in known.named:
            problem = _problem(named, naming.troubles[named.name], seen)
            yield Finding(kind=_PROJECT, name=named.name, problem=problem)
        for finding in work:
            yield await finding


async def _seen(config: Config, clouds: Clouds) -> Seen:
    """Ask first what each credential can see: to a project that it does not see IAM answers as to a wrong password."""
    first = {project.credential: project for project in reversed(config.configured)}
    return dict(
        await asyncio.gather(*(_seen_by(name, project, config, clouds) for name, project in first.items()))
    )


async def _seen_by(name: str, project: Watching, config: Config, clouds: Clouds) -> tuple[str, Sight | None]:
    access = clouds.access(name, config)
    try:
        return name, Sight(access=access, projects=await access.projects(clouds.transport(project)))
    except CloudError:
        return name, None  # the projects themselves will say why


async def _project(
    project: WatchedProject, config: Config, clouds: Clouds, clock: Clock, seen: Seen
) -> Finding:
    try:
        glance = await clouds.source(project, config).glance()
    except CloudError as error:
        return Finding(kind=_PROJECT, name=project.name, problem=_problem(project, error, seen))
    skew = timedelta(0) if glance.cloud_date is None else clock.now() - glance.cloud_date
    if abs(skew) > MAX_SKEW:
        side = "ahead of" if skew > timedelta(0) else "behind"
        seconds = abs(skew).total_seconds()
        return Finding(
            kind=_PROJECT,
            name=project.name,
            problem=f"it can be read, but this host's clock is {seconds:.0f} s {side} that of"
            f" {project.endpoint.host}; set it (NTP)",
        )
    said = f"ok, {glance.tasks} tasks at {project.endpoint.host}"
    return Finding(kind=_PROJECT, name=project.name, said=said)


def _problem(project: WatchedProject | NamedProject, error: CloudError, seen: Seen) -> str:
    """Say what is wrong, and what of it is known better than from the answer."""
    sight = seen[project.credential]
    if sight is None or error.cause not in (CloudCause.LOGIN, CloudCause.NOT_FOUND):
        return error.message
    if isinstance(project, NamedProject):
        is_seen, what = (
            any(one.name == project.in_cloud for one in sight.projects),
            f"project {project.in_cloud}",
        )
    else:
        project_id = project.project.identity.project_id
        is_seen, what = any(one.id == project_id for one in sight.projects), f"project_id {project_id}"
    return error.message if is_seen else sight.access.unseen(what, sight.projects)


async def _receiver(options: ReceiverOptions, clock: Clock, log: Logger) -> Finding:
    notifier = open_notifier(options, clock=clock, log=log)
    try:
        await notifier.connect()
    except DeliveryError as error:
        return Finding(kind=_RECEIVER, name=options.name, problem=str(error))
    finally:
        await notifier.close()
    return Finding(kind=_RECEIVER, name=options.name, said="ok, nothing was sent")
