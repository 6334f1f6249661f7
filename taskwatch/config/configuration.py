"""A configuration as the rest of taskwatch sees it: complete, consistent and frozen."""

from collections.abc import Mapping, Sequence
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
    Part,
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
    """All that the files say, with every default filled in."""

    path: Path  # of the main file
    files: tuple[Path, ...]  # all that were read, the main one first
    store: Store
    log: Log
    credentials: Mapping[str, Credential]
    projects: tuple[WatchedProject, ...]
    receivers: tuple[ReceiverOptions, ...]
    route: Route
    secrets: tuple[PlacedSecret, ...]  # all of them, unread
    warnings: tuple[str, ...] = ()  # printable lines: what works and should be otherwise


def resolve(
    main: Document,
    included: Sequence[Part],
    *,
    files: tuple[Path, ...],
    kinds: Mapping[str, type[ReceiverOptions]],
    secrets: tuple[PlacedSecret, ...],
) -> Config:
    """Fill in what the files leave to defaults. They must be free of mistakes."""
    parts = (main, *included)
    credentials: dict[str, Credential] = {}
    for part in parts:
        credentials |= part.credentials
    receivers = tuple(receiver for part in parts for receiver in part.receivers)
    receivers = receivers or (kinds["log"](name=IMPLIED_RECEIVER, type="log"),)
    defaults = [main.defaults, *(_merged(main.defaults, part.defaults) for part in included)]
    return Config(
        path=files[0],
        files=files,
        store=main.store,
        log=main.log,
        credentials=credentials,
        projects=tuple(
            _watched(_merged(inherited, entry), entry, only=next(iter(credentials)))
            for part, inherited in zip(parts, defaults, strict=True)
            for entry in part.projects
        ),
        receivers=receivers,
        route=_route(main.route, tuple(receiver.name for receiver in receivers)),
        secrets=secrets,
    )


def _watched(settings: ProjectSettings, entry: ProjectEntry, *, only: str) -> WatchedProject:
    assert settings.endpoint is not None  # noqa: S101 - references.py has told of those without
    identity = Identity(service=settings.service, host=settings.endpoint.host, project_id=entry.project_id)
    return WatchedProject(
        project=Project(identity=identity, name=entry.name, labels=settings.labels),
        endpoint=settings.endpoint,
        credential=settings.credential or only,
        interval=settings.interval,
        timeout=settings.timeout,
        baseline=settings.baseline,
        severity=tuple(settings.severity.items()),
        include=settings.tasks.include,
        exclude=settings.tasks.exclude,
    )


def _merged(inherited: ProjectSettings, own: ProjectSettings) -> ProjectSettings:
    """Return what is inherited with what is said instead; only labels are merged key by key."""
    said = own.model_fields_set & ProjectSettings.model_fields.keys()
    update = {name: getattr(own, name) for name in said}
    return inherited.model_copy(update={**update, "labels": {**inherited.labels, **own.labels}})


def _route(section: RootRoute | ChildRoute, inherited: tuple[str, ...]) -> Route:
    """Make the tree; a route that names no receivers has those of its parent, the root has all."""
    receivers = section.receivers or inherited
    return Route(
        receivers=receivers,
        matchers=section.matchers if isinstance(section, ChildRoute) else (),
        continues=isinstance(section, ChildRoute) and section.continue_,
        routes=tuple(_route(child, receivers) for child in section.routes),
    )
