"""A configuration as the rest of taskwatch sees it: complete, consistent and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taskwatch.config.inspection import PlacedSecret
from taskwatch.config.kept import Endpoint
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.references import IMPLIED_RECEIVER
from taskwatch.config.schema import (
    ChildRoute,
    Document,
    Log,
    NoCredential,
    ProjectEntry,
    ProjectSettings,
    RootRoute,
    Store,
    TokenCredential,
)
from taskwatch.core.cadence import Cadence
from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.route import Route
from taskwatch.model.event import Severity
from taskwatch.model.project import Identity, Project

Credential = TokenCredential | NoCredential


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedProject:
    """One project with everything that is configured about it."""

    project: Project
    endpoint: Endpoint
    credential: str  # its name
    interval: Cadence
    timeout: float  # seconds, of one whole poll
    baseline: BaselinePolicy
    severity: tuple[tuple[str, Severity], ...]  # of failures: task name as a glob, first match
    include: tuple[str, ...]  # task names, as globs
    exclude: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that one file says, with every default filled in."""

    path: Path
    store: Store
    log: Log
    credentials: Mapping[str, Credential]
    projects: tuple[WatchedProject, ...]
    receivers: tuple[ReceiverOptions, ...]
    route: Route
    secrets: tuple[PlacedSecret, ...]  # all of them, unread
    warnings: tuple[str, ...] = ()  # printable lines: what works and should be otherwise


def resolve(
    file: Path,
    document: Document,
    *,
    kinds: Mapping[str, type[ReceiverOptions]],
    secrets: tuple[PlacedSecret, ...],
) -> Config:
    """Fill in what the file leaves to defaults. The document must be free of mistakes."""
    receivers = document.receivers or (kinds["log"](name=IMPLIED_RECEIVER, type="log"),)
    return Config(
        path=file,
        store=document.store,
        log=document.log,
        credentials=document.credentials,
        projects=tuple(_watched(entry, document) for entry in document.projects),
        receivers=receivers,
        route=_route(document.route, tuple(receiver.name for receiver in receivers)),
        secrets=secrets,
    )


def _watched(entry: ProjectEntry, document: Document) -> WatchedProject:
    settings = _merged(document.defaults, entry)
    assert settings.endpoint is not None  # noqa: S101 - references.py has told of those without
    identity = Identity(service=settings.service, host=settings.endpoint.host, project_id=entry.project_id)
    return WatchedProject(
        project=Project(identity=identity, name=entry.name, labels=settings.labels),
        endpoint=settings.endpoint,
        credential=settings.credential or next(iter(document.credentials)),
        interval=settings.interval,
        timeout=settings.timeout,
        baseline=settings.baseline,
        severity=tuple(settings.severity.items()),
        include=settings.tasks.include,
        exclude=settings.tasks.exclude,
    )


def _merged(defaults: ProjectSettings, entry: ProjectEntry) -> ProjectSettings:
    """Return the defaults with what the project says itself; only labels are merged key by key."""
    said = entry.model_fields_set & ProjectSettings.model_fields.keys()
    own = {name: getattr(entry, name) for name in said}
    return defaults.model_copy(update={**own, "labels": {**defaults.labels, **entry.labels}})


def _route(section: RootRoute | ChildRoute, inherited: tuple[str, ...]) -> Route:
    """Make the tree; a route that names no receivers has those of its parent, the root has all."""
    receivers = section.receivers or inherited
    return Route(
        receivers=receivers,
        matchers=section.matchers if isinstance(section, ChildRoute) else (),
        continues=isinstance(section, ChildRoute) and section.continue_,
        routes=tuple(_route(child, receivers) for child in section.routes),
    )
