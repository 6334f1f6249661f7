"""The keys of a configuration file, with their defaults, as the contract names them.

A key whose part is not built yet is here as `NotYet`: it may be `off` or absent, nothing else.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    create_model,
    model_validator,
)

from taskwatch.config.fields import (
    Duration,
    DurationOrOff,
    FilePath,
    Globs,
    Labels,
    MatcherText,
    Name,
    NotYet,
    ProjectId,
    Rate,
    Switch,
    Text,
    at_least_one,
    between,
    empty_if_off,
    is_off,
    mapping_if_off,
    nearest,
    not_yet,
)
from taskwatch.config.kept import AuthUrl, EndpointUrl, SecretText
from taskwatch.config.network import Proxy, Tls
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.section import Section, by_type, default
from taskwatch.config.serving import Heartbeat, Server
from taskwatch.core.cadence import Cadence
from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.grouping import EACH_ALONE
from taskwatch.core.matchers import ATTRIBUTES
from taskwatch.core.quiet import Mute, Span, parse_span
from taskwatch.model.event import LABEL_PREFIX, Severity

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


class Offset(StrEnum):
    """What the service means by `offset`."""

    AUTO = "auto"  # found out by reading
    RECORD = "record"  # the number of a task, from 0
    PAGE0 = "page0"  # the number of a page, from 0
    PAGE1 = "page1"  # the number of a page, from 1


def default_store_path() -> Path:
    """Return where the store lies when nothing is said: systemd's directory, else the user's."""
    directory = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(directory or "~/.local/state/taskwatch").expanduser() / "taskwatch.db"


class Store(Section):
    path: FilePath = Field(
        default_factory=default_store_path,
        description="the database; by default $STATE_DIRECTORY/taskwatch.db, else ~/.local/state/taskwatch/taskwatch.db",
    )
    url: NotYet = None
    password: NotYet = None
    retention: Annotated[Duration, between(HOUR, 3650 * DAY)] = default("90d", "how long events are kept")


class Log(Section):
    format: Literal["auto", "console", "json", "journal"] = default(
        "auto",
        "auto is journal when standard error is connected to the journal, console on a terminal, json elsewhere",
    )
    level: Literal["debug", "info", "warning", "error"] = default("info", "the least that is logged")


class Credential(Section):
    """How to log in to a cloud."""

    rate: Rate = default("20/s", "requests to one endpoint, shared by all its projects")


class PasswordCredential(Credential):
    type: Literal["password"] = Field(description="a user, who logs in and renews the token")
    auth_url: AuthUrl = Field(
        examples=["https://iam.eu-de.otc.t-systems.com/v3"],
        description="where the login service (IAM) is: https://HOST/v3",
    )
    username: Text = Field(examples=["USER"], description="the name of the user")
    user_domain_name: Text = Field(
        examples=["OTC00000000001000000000"], description="the name of the user's domain, the account"
    )
    password: SecretText = Field(examples=["{file: PATH}"], description="read again at each login")


class TokenCredential(Credential):
    type: Literal["token"] = Field(description="a token made elsewhere and renewed there")
    token: SecretText = Field(examples=["{file: PATH}"], description="the token, as X-Auth-Token takes it")
    auth_url: AuthUrl | None = Field(
        None, description="where the login service (IAM) is; for projects that are given by their name"
    )


class AkskCredential(Credential):
    type: Literal["aksk"] = Field(description="an access key, which signs each request")
    access_key: SecretText = Field(examples=["{file: PATH}"], description="AK")
    secret_key: SecretText = Field(examples=["{file: PATH}"], description="SK")
    security_token: SecretText | None = Field(
        None, description="that of a temporary access key; all three are read again when they change"
    )
    auth_url: AuthUrl | None = Field(
        None, description="where the login service (IAM) is; for projects that are given by their name"
    )


class AgencyCredential(Credential):
    type: Literal["agency"] = Field(description="an agency that another account has granted")
    via: Text = Field(
        examples=["otc"], description="the credential that assumes it, of type password or token"
    )
    domain_name: Text = Field(
        examples=["OTC00000000001000000000"], description="the account that granted the agency"
    )
    agency_name: Text = Field(examples=["AGENCY"], description="the name of the agency")
    auth_url: AuthUrl | None = Field(None, description="that of via, unless it is another")


class CloudCredential(Credential):
    type: Literal["cloud"] = Field(description="an entry of clouds.yaml and secure.yaml")
    cloud: Text = Field(examples=["otc"], description="the name of the entry")


class NoCredential(Credential):
    type: Literal["none"] = Field(description="no login, for simulated clouds and proxies that log in")


_CREDENTIALS: Final[Mapping[str, type[Section]]] = {
    "password": PasswordCredential,
    "token": TokenCredential,
    "aksk": AkskCredential,
    "agency": AgencyCredential,
    "cloud": CloudCredential,
    "none": NoCredential,
}
AnyCredential = Annotated[
    PasswordCredential | TokenCredential | AkskCredential | AgencyCredential | CloudCredential | NoCredential,
    by_type(_CREDENTIALS),
]

Interval = Annotated[Duration, between(0.1, DAY)]
_INTERVAL: Final[TypeAdapter[float]] = TypeAdapter(Interval)


class Intervals(Section):
    active: Interval = default("15s", "while any task is running")
    idle: Interval = default("60s", "while none is")

    @model_validator(mode="after")
    def _idles_longer(self) -> Self:
        if self.idle < self.active:
            raise ValueError("idle is shorter than active; write an idle of at least active")
        return self


def _cadence(value: object, info: ValidationInfo) -> Cadence:
    if isinstance(value, Cadence):
        return value
    if isinstance(value, dict):
        intervals = Intervals.model_validate(value, context=info.context)
        return Cadence(active=intervals.active, idle=intervals.idle)
    seconds = _INTERVAL.validate_python(value)
    return Cadence(active=seconds, idle=seconds)


def _never_off(value: object) -> object:
    if is_off(value):
        raise ValueError("off would never notice what is gone; write a duration, as 15m")
    return value


class Tasks(Section):
    """Which tasks are watched, by name. What is left out is neither stored nor told."""

    include: Annotated[tuple[Text, ...], BeforeValidator(at_least_one)] = default(
        ["*"], "names to watch, as globs"
    )
    exclude: Globs = default([], "names to leave out of these")


class ProjectSettings(Section):
    """What may stand under `defaults` and under each project."""

    endpoint: EndpointUrl | None = Field(None, description="where the cloud's API is: https://HOST")
    service: Annotated[Literal["gaussdb"], not_yet("rds", "geminidb")] = default(
        "gaussdb", "the cloud API spoken"
    )
    credential: Text | None = Field(None, description="the name of a credential; the only one is the default")
    interval: Annotated[Cadence, PlainValidator(_cadence, json_schema_input_type=Interval | Intervals)] = (
        default(
            {},
            "the time from poll to poll: one duration, or one while any task is running and one while none is",
        )
    )
    full_poll: Annotated[Duration, between(1.0, DAY), BeforeValidator(_never_off)] = default(
        "15m", "at least this often the whole month is read; at the interval or below it: by every poll"
    )
    timeout: Annotated[Duration, between(0.1, HOUR)] = default("20s", "the deadline of one whole poll")
    baseline: BaselinePolicy = default("quiet", "what is told of tasks found at the first poll")
    severity: Annotated[dict[Text, Severity], BeforeValidator(mapping_if_off)] = default(
        {}, "the severity of failures by task name, first match; critical else"
    )
    offset: Offset = default(
        "auto", "what the service means by offset: the number of a task, of a page from 0, of a page from 1"
    )
    labels: Labels = default({}, "told with every event; those of a project add to those of the defaults")
    tasks: Tasks = default({}, "which tasks are watched, by name")
    overdue: NotYet = None
    stalled: NotYet = None
    proxy: Proxy = None
    tls: Tls = default({}, "the TLS of the endpoint")


class ProjectEntry(ProjectSettings):
    """One project: what it is, and what differs from the defaults."""

    name: Name = Field(examples=["prod"], description="a label: renaming a project keeps everything")
    project_id: ProjectId | None = Field(
        None,
        examples=["0611f1bd8b00d5d32f17c017f15b599f"],
        description="the id of the project in the cloud; this or project",
    )
    project: Name | None = Field(
        None, examples=["eu-de_prod"], description="its name in the cloud, whose id the login service says"
    )


def _attribute(name: str) -> str:
    if name not in (*ATTRIBUTES, EACH_ALONE) and not name.startswith(LABEL_PREFIX):
        raise ValueError(
            f"nothing that an event has; {nearest(name, ATTRIBUTES)}, label_NAME, or ... for all"
        )
    return name


class RouteKeys(Section):
    receivers: Annotated[tuple[Text, ...] | None, BeforeValidator(at_least_one)] = Field(
        None, description="for what no child takes; without it the parent's, at the root all receivers"
    )
    group_by: Annotated[
        tuple[Annotated[Text, AfterValidator(_attribute)], ...], BeforeValidator(empty_if_off)
    ] = Field(
        ("project",),
        description="for receivers that write to people: events alike in these share a message; ... for none, off for all",
    )
    group_wait: Annotated[Duration, between(0.0, HOUR)] = default(
        "30s", "from the first event of a group to its message"
    )
    group_interval: Annotated[Duration, between(1.0, DAY)] = default(
        "5m", "from one message of a group to the next, at least"
    )
    repeat_interval: Annotated[DurationOrOff, between(MINUTE, 31 * DAY)] = Field(
        None,
        description="from a message to the next reminder of what is still open and nobody has acknowledged; off",
    )
    routes: Annotated[tuple["ChildRoute", ...], BeforeValidator(empty_if_off)] = default(
        [], "asked in this order"
    )


def _patterns(value: object) -> object:
    if is_off(value):
        return ()
    return (value,) if isinstance(value, str) else value


class RootRoute(RouteKeys):
    """Where every event starts; it takes what no child takes."""


class ChildRoute(RouteKeys):
    """Takes the events that all of its matchers match; without any, every event."""

    matchers: Annotated[tuple[MatcherText, ...], BeforeValidator(empty_if_off)] = default(
        [], 'as severity = "critical" or task =~ "Backup.*"; all of them must match'
    )
    continue_: Switch = Field(False, alias="continue", description="let the routes after this one see it too")


def _zone(name: object) -> ZoneInfo:
    if isinstance(name, ZoneInfo):
        return name
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("not a time zone; write one of IANA's names, as Europe/Berlin") from None


def _span(text: object) -> Span:
    if isinstance(text, Span):
        return text
    return parse_span(text if isinstance(text, str) else "")


class MuteEntry(Section):
    """A window of each week in which nobody is told of what it matches; what still needs attention is told at its end."""

    name: Name = Field(examples=["weekend"], description="by which `explain` knows it")
    matchers: Annotated[tuple[MatcherText, ...], BeforeValidator(empty_if_off)] = default(
        [], "all of them must match; without any it takes every event"
    )
    weekly: Annotated[
        tuple[Annotated[Span, PlainValidator(_span, json_schema_input_type=str)], ...],
        BeforeValidator(at_least_one),
        BeforeValidator(_patterns, json_schema_input_type=str | list[str]),
    ] = Field(examples=['"Sat 00:00 - Mon 06:00"'], description="one part of the week, or several")
    timezone: Annotated[ZoneInfo, PlainValidator(_zone, json_schema_input_type=str)] = default(
        "UTC", "whose clock on the wall counts, as Europe/Berlin"
    )

    @property
    def mute(self) -> Mute:
        return Mute(name=self.name, matchers=self.matchers, weekly=self.weekly, zone=self.timezone)


class Part(Section):
    """What every file of a configuration may hold; an included file holds nothing else."""

    credentials: Annotated[dict[Name, AnyCredential], BeforeValidator(mapping_if_off)] = Field(
        {},
        examples=["{otc: {type: token, token: {file: PATH}}}"],
        description="logins, named once and used by many projects",
    )
    defaults: ProjectSettings = default(
        {}, "holds for every project that does not say otherwise; in an included file for those of the file"
    )
    projects: Annotated[tuple[ProjectEntry, ...], BeforeValidator(empty_if_off)] = Field(
        (),
        examples=["[{name: prod, endpoint: https://HOST, project_id: ID}]"],
        description="what is watched",
    )
    receivers: tuple[ReceiverOptions, ...] = ()

    @classmethod
    def unknown(cls, key: str) -> str:
        of_main = Document.keys()
        if key in of_main:
            return f"not in an included file, which holds {', '.join(cls.keys())}; write it in the main file"
        return super().unknown(key)


def _or_off(written: dict[str, Any]) -> None:
    written["anyOf"].append({"const": "off"})


class Document(Part):
    """The configuration of taskwatch."""

    store: Store = default({}, "what is kept, and for how long")
    log: Log = default({}, "the daemon's own log, on standard error")
    server: Server = default({}, "the status page, the API, the metrics and the health; off")
    heartbeat: Heartbeat | None = Field(
        None,
        description="posted to only while everything makes progress and some receiver works; off",
        json_schema_extra=_or_off,
    )
    include: Annotated[
        tuple[Text, ...], BeforeValidator(_patterns, json_schema_input_type=Text | list[Text])
    ] = default(
        [], "further files, with credentials, projects, receivers and defaults of their own: a glob or a list"
    )
    route: RootRoute = default({}, "which receivers an event goes to; all of them where nothing is said")
    mute: Annotated[tuple[MuteEntry, ...], BeforeValidator(empty_if_off)] = default(
        [], "windows of each week in which nobody is told of what they match"
    )


AnyPart = TypeVar("AnyPart", bound=Part)


def with_receivers(
    model: type[AnyPart], kinds: Mapping[str, type[ReceiverOptions]], *, written: Any = ReceiverOptions
) -> type[AnyPart]:
    """Return the model of a file whose receivers are of these kinds; `written`: what its JSON Schema says of one."""
    one: Any = Annotated[written, by_type(kinds)]
    many: Any = Annotated[tuple[one, ...], BeforeValidator(empty_if_off)]
    receivers = default([], "who is told; without any, a receiver of type log, named log")
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, receivers=(many, receivers))
