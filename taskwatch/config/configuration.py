"""A configuration as the rest of taskwatch sees it: complete, consistent and frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from taskwatch.config.fields import is_id
from taskwatch.config.inspection import Inspection, PlacedSecret, PlacedTrust, inspect_secrets, inspect_trusts
from taskwatch.config.kept import Endpoint
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.references import IMPLIED_RECEIVER
from taskwatch.config.schema import (
    AgencyCredential,
    AkskCredential,
    ChildRoute,
    CloudCredential,
    Document,
    Log,
    NoCredential,
    Offset,
    Part,
    PasswordCredential,
    ProjectEntry,
    ProjectSettings,
    RootRoute,
    Store,
    TokenCredential,
)
from taskwatch.config.serving import Heartbeat, Server
from taskwatch.core.cadence import Cadence
from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.grouping import Grouping
from taskwatch.core.quiet import Mute
from taskwatch.core.route import Route, Routing
from taskwatch.model.event import Severity
from taskwatch.model.project import Identity, Project
from taskwatch.secret import Secret
from taskwatch.telemetry import printable
from taskwatch.tls import Trust

Credential = (
    PasswordCredential | TokenCredential | AkskCredential | AgencyCredential | CloudCredential | NoCredential
)


def log_in_alike(one: Credential, other: Credential) -> bool:
    """Tell whether two credentials differ in nothing but their rate."""
    return one.model_copy(update={"rate": other.rate}) == other


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How a project is watched, whoever it is."""

    endpoint: Endpoint
    credential: str  # its name
    interval: Cadence
    full_poll: float  # seconds: at least this often the whole month is read
    timeout: float  # seconds, of one whole poll
    offset: Offset
    proxy: Secret | None  # a URL
    tls: Trust
    baseline: BaselinePolicy
    severity: tuple[tuple[str, Severity], ...]  # of failures: task name as a glob, first match
    include: tuple[str, ...]  # task names, as globs
    exclude: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedProject(Watching):
    """One project with everything that is configured about it."""

    project: Project

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def labels(self) -> Mapping[str, str]:
        return self.project.labels


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedProject(Watching):
    """A project that is configured by its name in the cloud: nobody knows who it is until IAM has said its id."""

    name: str  # the label by which people here know it
    in_cloud: str  # its name in the cloud, as eu-de_prod
    service: str
    labels: Mapping[str, str]

    @property
    def asked(self) -> tuple[str, str]:
        """Whose login asks for which name."""
        return self.credential, self.in_cloud

    def identified(self, project_id: str) -> WatchedProject:
        """Return the project that it is, with this id."""
        identity = Identity(service=self.service, host=self.endpoint.host, project_id=project_id)
        how = {field.name: getattr(self, field.name) for field in fields(Watching)}
        return WatchedProject(
            project=Project(identity=identity, name=self.name, labels=dict(self.labels)), **how
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that the files say, with every default filled in."""

    path: Path  # of the main file
    files: tuple[Path, ...]  # all that were read, the main one first
    store: Store
    log: Log
    server: Server
    heartbeat: Heartbeat | None
    credentials: Mapping[str, Credential]
    projects: tuple[WatchedProject, ...]
    named: tuple[NamedProject, ...]  # those whose ids are still to be asked for
    receivers: tuple[ReceiverOptions, ...]
    route: Route
    mutes: tuple[Mute, ...]
    secrets: tuple[PlacedSecret, ...]  # all of them, unread
    trusts: tuple[PlacedTrust, ...]  # the TLS sections that say anything; their files are unread
    warnings: tuple[str, ...] = ()  # printable lines: what works and should be otherwise
    routing: Routing = field(init=False)  # all that decides who is told

    def __post_init__(self) -> None:
        routing = Routing(
            root=self.route,
            mutes=self.mutes,
            people=frozenset(one.name for one in self.receivers if one.writes_to_people),
            keepers=frozenset(one.name for one in self.receivers if one.keeps_alerts),
            endless=frozenset(one.name for one in self.receivers if not one.send_resolved),
        )
        object.__setattr__(self, "routing", routing)

    @property
    def configured(self) -> tuple[WatchedProject | NamedProject, ...]:
        """All projects, those whose ids are unknown last."""
        return (*self.projects, *self.named)

    def inspect(self) -> Inspection:
        """Look at every secret and at every file of TLS once, as they are now."""
        return inspect_secrets(self.secrets).joined(inspect_trusts(self.trusts))


def identified(config: Config, ids: Mapping[tuple[str, str], str]) -> tuple[Config, tuple[str, ...]]:
    """Take the ids that IAM has said, by credential and name in the cloud, into the configuration.

    Projects whose ids are not among them stay named. Returns printable lines about those that cannot be
    watched: they are in neither place then.
    """
    by_identity = {watched.project.identity: watched.name for watched in config.projects}
    projects, named, problems = [*config.projects], [], []
    for one in config.named:
        project_id = ids.get(one.asked)
        if project_id is None:
            named.append(one)
            continue
        if not is_id(project_id):
            problems.append(
                f"project {one.name}: what the login service gives as its id is none; write project_id"
            )
            continue
        watched = one.identified(project_id)
        twin = by_identity.setdefault(watched.project.identity, one.name)
        if twin != one.name:
            text = f"project {one.name} is not watched: {printable(one.in_cloud)} is the project of {twin}; keep one"
            problems.append(text)
            continue
        projects.append(watched)
    return replace(config, projects=tuple(projects), named=tuple(named)), tuple(problems)


def resolve(
    main: Document,
    included: Sequence[Part],
    *,
    files: tuple[Path, ...],
    kinds: Mapping[str, type[ReceiverOptions]],
    secrets: tuple[PlacedSecret, ...],
    trusts: tuple[PlacedTrust, ...],
) -> Config:
    """Fill in what the files leave to defaults. They must be free of mistakes."""
    parts = (main, *included)
    credentials: dict[str, Credential] = {}
    for part in parts:
        credentials |= part.credentials
    receivers = tuple(receiver for part in parts for receiver in part.receivers)
    receivers = receivers or (kinds["log"](name=IMPLIED_RECEIVER, type="log"),)
    receivers = tuple(receiver.linked_to(main.server.external_url) for receiver in receivers)
    defaults = [main.defaults, *(_merged(main.defaults, part.defaults) for part in included)]
    projects = [
        _project(_merged(inherited, entry), entry, only=next(iter(credentials)))
        for part, inherited in zip(parts, defaults, strict=True)
        for entry in part.projects
    ]
    return Config(
        path=files[0],
        files=files,
        store=main.store,
        log=main.log,
        server=main.server,
        heartbeat=main.heartbeat,
        credentials={name: _complete(credential, credentials) for name, credential in credentials.items()},
        projects=tuple(project for project in projects if isinstance(project, WatchedProject)),
        named=tuple(project for project in projects if isinstance(project, NamedProject)),
        receivers=receivers,
        route=_route(main.route, tuple(receiver.name for receiver in receivers), Grouping()),
        mutes=tuple(entry.mute for entry in main.mute),
        secrets=secrets,
        trusts=trusts,
    )


def _complete(credential: Credential, credentials: Mapping[str, Credential]) -> Credential:
    """Give an agency the login service of the credential that assumes it, unless it says another."""
    if not isinstance(credential, AgencyCredential) or credential.auth_url is not None:
        return credential
    via = credentials[credential.via]
    assert isinstance(via, PasswordCredential | TokenCredential)  # noqa: S101 - references.py has told of others
    return credential.model_copy(update={"auth_url": via.auth_url})


def _project(settings: ProjectSettings, entry: ProjectEntry, *, only: str) -> WatchedProject | NamedProject:
    assert settings.endpoint is not None  # noqa: S101 - references.py has told of those without
    named = NamedProject(
        name=entry.name,
        in_cloud=entry.project or "",
        service=settings.service,
        labels=settings.labels,
        endpoint=settings.endpoint,
        credential=settings.credential or only,
        interval=settings.interval,
        full_poll=settings.full_poll,
        timeout=settings.timeout,
        offset=settings.offset,
        proxy=settings.proxy,
        tls=settings.tls.trust,
        baseline=settings.baseline,
        severity=tuple(settings.severity.items()),
        include=settings.tasks.include,
        exclude=settings.tasks.exclude,
    )
    return named if entry.project_id is None else named.identified(entry.project_id)


def _merged(inherited: ProjectSettings, own: ProjectSettings) -> ProjectSettings:
    """Return what is inherited with what is said instead; only labels are merged key by key."""
    said = own.model_fields_set & ProjectSettings.model_fields.keys()
    update = {name: getattr(own, name) for name in said}
    return inherited.model_copy(update={**update, "labels": {**inherited.labels, **own.labels}})


def _route(section: RootRoute | ChildRoute, receivers: tuple[str, ...], grouping: Grouping) -> Route:
    """Make the tree; what a route does not say it has from its parent. The root has all receivers."""
    receivers = section.receivers or receivers
    said = section.model_fields_set
    grouping = Grouping(
        by=section.group_by if "group_by" in said else grouping.by,
        wait=section.group_wait if "group_wait" in said else grouping.wait,
        interval=section.group_interval if "group_interval" in said else grouping.interval,
        repeat=section.repeat_interval if "repeat_interval" in said else grouping.repeat,
    )
    return Route(
        receivers=receivers,
        matchers=section.matchers if isinstance(section, ChildRoute) else (),
        continues=isinstance(section, ChildRoute) and section.continue_,
        routes=tuple(_route(child, receivers, grouping) for child in section.routes),
        grouping=grouping,
    )
