"""Whether what is configured works: every project read once, every receiver connected to, nothing told to anybody."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from taskwatch.app import open_notifier
from taskwatch.app.clouds import Clouds, opened_clouds
from taskwatch.clock import Clock
from taskwatch.config.configuration import Config, WatchedProject
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import CloudCause, CloudError
from taskwatch.runtime.naming import Naming
from taskwatch.telemetry import Logger

_SHOWN: Final = 5
MAX_SKEW: Final = timedelta(minutes=1)  # signatures are refused from 15 minutes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one project or receiver. Printable once it is made harmless."""

    subject: str  # project prod
    problem: str | None = None
    said: str = ""  # where there is no problem


async def examine(config: Config, *, clock: Clock, log: Logger) -> AsyncIterator[Finding]:
    """Yield what is found, in the order of the configuration, as soon as it is known."""
    async with opened_clouds(clock, log) as clouds:
        naming = Naming(ask=clouds.project_id, log=log)
        await naming.learn(config)
        known = naming.known(config)
        work: list[Awaitable[Finding]] = [
            *(asyncio.create_task(_project(project, known, clouds, clock)) for project in known.projects),
            *(asyncio.create_task(_receiver(options, clock, log)) for options in known.receivers),
        ]
        for name, trouble in naming.troubles.items():
            yield Finding(subject=f"project {name}", problem=trouble.message)
        for finding in work:
            yield await finding


async def _project(project: WatchedProject, config: Config, clouds: Clouds, clock: Clock) -> Finding:
    subject = f"project {project.name}"
    try:
        glance = await clouds.source(project, config).glance()
    except CloudError as error:
        unseen = await _unseen(project, config, clouds) if error.cause is CloudCause.LOGIN else None
        return Finding(subject=subject, problem=unseen or error.message)
    skew = timedelta(0) if glance.cloud_date is None else clock.now() - glance.cloud_date
    if abs(skew) > MAX_SKEW:
        side = "ahead of" if skew > timedelta(0) else "behind"
        seconds = abs(skew).total_seconds()
        return Finding(
            subject=subject,
            problem=f"it can be read, but this host's clock is {seconds:.0f} s {side} that of"
            f" {project.endpoint.host}; set it (NTP)",
        )
    return Finding(subject=subject, said=f"ok, {glance.tasks} tasks at {project.endpoint.host}")


async def _unseen(project: WatchedProject, config: Config, clouds: Clouds) -> str | None:
    """Say that a login which works does not see the project: IAM answers as to a wrong password then."""
    try:
        seen = await clouds.access(project.credential, config).projects(clouds.transport(project))
    except CloudError:
        return None
    project_id = project.project.identity.project_id
    if any(one.id == project_id for one in seen):
        return None
    shown = ", ".join(f"{one.name} ({one.id})" for one in seen[:_SHOWN]) or "none"
    more = f" and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else ""
    return (
        f"credential {project.credential} logs in, and does not see project_id {project_id}; it sees {shown}{more}:"
        " write one of these, or give the user access"
    )


async def _receiver(options: ReceiverOptions, clock: Clock, log: Logger) -> Finding:
    subject = f"receiver {options.name}"
    notifier = open_notifier(options, clock=clock, log=log)
    try:
        await notifier.connect()
    except DeliveryError as error:
        return Finding(subject=subject, problem=str(error))
    finally:
        await notifier.close()
    return Finding(subject=subject, said="ok, nothing was sent")
