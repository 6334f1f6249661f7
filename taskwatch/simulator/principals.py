"""Who exists in the simulated cloud's IAM, as values. The kind of names is Open Telekom Cloud's."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

REGION: Final = "eu-de"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """An account of the cloud: what users, projects and agencies belong to."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IamProject:
    """A project as IAM knows it: its name begins with the region."""

    id: str
    name: str
    domain: Domain


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who logs in. Only an agent may assume an agency of another domain."""

    id: str
    name: str
    domain: Domain
    is_agent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Agency:
    """What `domain` lets the agents of `trusted` do in its projects."""

    id: str
    name: str
    domain: Domain
    trusted: Domain


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """An access key and its secret. A temporary pair counts only together with its security token."""

    access: str
    secret: str = field(repr=False)
    user: User
    security_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """What IAM begins with. All durations are in simulated time."""

    username: str = "taskwatch"
    password: str = field(default="simulated-password", repr=False)
    token_seconds: float = 86_400.0
    token_length: int = 9_000  # real ones are longer than the 8 KiB that many HTTP libraries allow a header
    temporary_seconds: float = 900.0  # of a temporary key pair, as IAM has it unless told otherwise
    catalogue_names_project: bool = False  # its URL of the database service ends in /v3/{project_id}
