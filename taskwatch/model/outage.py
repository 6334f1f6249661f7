"""Outages: what does not work for so long, or so certainly, that people are told."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from taskwatch.model.event import EventId, Severity


class Kind(StrEnum):
    """What a cause lies with."""

    PROJECT = "project"
    HOST = "host"
    LOGIN = "login"
    RECEIVER = "receiver"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a cause lies. What fails for the same one is told as one."""

    kind: Kind
    name: str  # of a project its identity, of a login its credential


def thing_of(receiver: str) -> str:
    """Name a receiver among things: the identities of projects look otherwise."""
    return f"receiver {receiver}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailment:
    """That a project cannot be read now, or a receiver takes nothing."""

    place: Place
    cause: str
    error: str
    since: datetime
    began: float  # since, by the monotonic clock
    patience: float  # seconds it may last before it is told
    is_lasting: bool = False  # it does not pass by itself: told at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What was told, until it is told that it is over."""

    id: int | None  # the store's; None: not recorded yet
    place: Place
    things: frozenset[str]  # the identities of projects as text, or the receiver
    cause: str
    severity: Severity  # that was told last
    since: datetime
    events: tuple[EventId, ...] = ()  # that told it
    told: frozenset[str] = frozenset()  # the receivers that they went to
