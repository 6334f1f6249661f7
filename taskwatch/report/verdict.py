"""How it stands, in one sentence that a tired person understands, and how bad that is.

Invariants:
- Nothing that needs attention is left out of the sentence, and nothing else makes a level worse.
- Critical is what is critical as an event, and what ends the heartbeat: that nothing is recorded or nobody is told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from taskwatch.core.health import CRITICAL_SECONDS, patience
from taskwatch.report.standing import Standing
from taskwatch.report.words import counted


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


class Reading(StrEnum):
    """Whether what is known of a project is fresh. The words are for people, the best first."""

    FRESH = "read"
    FORGOTTEN = "not watched any more"  # it is configured no more
    PARTLY = "partly read"
    UNREAD = "not read yet"
    STALE = "not read for too long"
    UNRECORDED = "not recorded"
    UNREADABLE = "cannot be read"


class Taking(StrEnum):
    """Whether a receiver takes what it is told."""

    WORKS = "works"
    UNTRIED = "not tried yet"
    GONE = "not configured any more"
    FAILS = "takes nothing"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One project."""

    name: str
    reading: Reading
    is_grave: bool = False  # it does not pass by itself, or lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """One receiver."""

    name: str
    taking: Taking


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the verdict is about."""

    projects: Sequence[Read]
    receivers: Sequence[Took]
    alerts: int = 0  # open ones
    critical: int = 0  # of these, critical ones that nobody has
    acknowledged: int = 0  # of these, those that somebody has
    dead: int = 0  # deliveries
    hanging: str | None = None  # what makes no progress
    unwritable: str | None = None  # why nothing can be recorded
    is_unheeded: bool = False  # the configuration, as it is written now


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    level: Level
    sentence: str


_QUARANTINE: Final = "quarantine"  # the causes of a trouble, as the watch names them
_STORE: Final = "store"
_MINOR: Final = frozenset({Reading.FRESH, Reading.FORGOTTEN})
_DEAF: Final = frozenset({Taking.FAILS, Taking.PAUSED})
_CANNOT: Final = "cannot be read"
_SAID: Final = {  # of one project, and of several
    Reading.UNREADABLE: (_CANNOT, _CANNOT),
    Reading.UNRECORDED: ("is read and cannot be recorded", "are read and cannot be recorded"),
    Reading.STALE: ("has not been read for too long", "have not been read for too long"),
    Reading.UNREAD: ("has not been read yet", "have not been read yet"),
    Reading.PARTLY: ("has rows that cannot be used", "have rows that cannot be used"),
}
_PAIR: Final = 2
_MIXED: Final = ("", "are not read as they should be")  # for several reasons, so there are several


def reading_of(standing: Standing, now: datetime) -> Reading:
    """Return whether what is known of the project is fresh. The daemon answers."""
    if standing.interval_seconds is None:
        return Reading.FORGOTTEN
    if standing.cause not in (None, _QUARANTINE):
        return Reading.UNRECORDED if standing.cause == _STORE else Reading.UNREADABLE
    if standing.read_at is None:
        return Reading.UNREAD
    if (now - standing.read_at).total_seconds() > patience(standing.interval_seconds):
        return Reading.STALE
    return Reading.FRESH if standing.cause is None else Reading.PARTLY


def is_grave(standing: Standing, now: datetime, *, is_lasting: bool) -> bool:
    """Tell whether a trouble is critical, as the events that tell it are."""
    if standing.since is None:
        return False
    return is_lasting or (now - standing.since).total_seconds() >= CRITICAL_SECONDS


def level_of(read: Read) -> Level:
    if read.reading in _MINOR:
        return Level.OK
    return Level.CRITICAL if read.is_grave else Level.WARNING


def verdict(situation: Situation) -> Verdict:
    """Judge."""
    clauses = list(_clauses(situation))
    level = Level.WARNING if clauses else Level.OK
    if _is_critical(situation):
        level = Level.CRITICAL
    said = ", ".join(clauses) or _peace(len(_configured(situation)))
    return Verdict(level=level, sentence=f"{said[0].upper()}{said[1:]}.")


def _is_critical(situation: Situation) -> bool:
    return (
        situation.hanging is not None
        or situation.unwritable is not None
        or situation.critical > 0
        or any(level_of(read) is Level.CRITICAL for read in situation.projects)
        or _is_deaf(situation)
    )


def _is_deaf(situation: Situation) -> bool:
    """Tell whether nobody can be told anything."""
    serving = [took for took in situation.receivers if took.taking is not Taking.GONE]
    return bool(serving) and all(took.taking in _DEAF for took in serving)


def _configured(situation: Situation) -> list[Read]:
    return [read for read in situation.projects if read.reading is not Reading.FORGOTTEN]


def _peace(projects: int) -> str:
    watched = "the one project is" if projects == 1 else f"{_all(projects)} projects are"
    return f"{watched} watched and nothing needs attention"


def _all(projects: int) -> str:
    return "both" if projects == _PAIR else f"all {projects}"


def _clauses(situation: Situation) -> Iterator[str]:
    if situation.hanging is not None:
        yield f"{situation.hanging} makes no progress"
    if situation.unwritable is not None:
        yield "nothing new can be recorded"
    yield from _of_projects(_configured(situation))
    if situation.alerts:
        yield _of_alerts(situation)
    yield from _of_receivers(situation)
    if situation.is_unheeded:
        yield "the configuration is not in force as it is written"
    if situation.dead:
        yield f"{counted(situation.dead, 'delivery is', 'deliveries are')} dead"


def _of_projects(projects: Sequence[Read]) -> Iterator[str]:
    if not projects:
        yield "no project is configured"
    troubled = [read for read in projects if read.reading is not Reading.FRESH]
    kinds = {read.reading for read in troubled}
    if not troubled:
        return
    one, several = _SAID[kinds.pop()] if len(kinds) == 1 else _MIXED
    if len(troubled) == 1:
        yield f"project {troubled[0].name} {one}"
    elif len(troubled) == len(projects) and several == _CANNOT:
        none = "neither project" if len(projects) == _PAIR else f"none of the {len(projects)} projects"
        yield f"{none} can be read"
    elif len(troubled) == len(projects):
        yield f"{_all(len(projects))} projects {several}"
    else:
        yield f"{len(troubled)} of {len(projects)} projects {several}"


def _of_alerts(situation: Situation) -> str:
    said = f"{counted(situation.alerts, 'alert is', 'alerts are')} open"
    if situation.acknowledged == situation.alerts:
        return f"{said} and somebody has {'it' if situation.alerts == 1 else 'them'}"
    return f"{said} (somebody has {situation.acknowledged})" if situation.acknowledged else said


def _of_receivers(situation: Situation) -> Iterator[str]:
    names = [took.name for took in situation.receivers if took.taking in _DEAF]
    serving = sum(took.taking is not Taking.GONE for took in situation.receivers)
    if len(names) == 1:
        yield f"receiver {names[0]} takes nothing"
    elif names and len(names) == serving:
        yield "no receiver takes anything"
    elif names:
        yield f"{len(names)} of {serving} receivers take nothing"
