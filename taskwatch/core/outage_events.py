"""Events about what does not work: projects that cannot be read, receivers that take nothing, and their end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from taskwatch.core.cloudevents import (
    content_id,
    cut,
    event_id,
    event_of_project,
    frozen,
    labels_in_common,
    project_data,
    utc,
)
from taskwatch.model.event import Event, EventId, EventType, Severity
from taskwatch.model.outage import Kind, Place
from taskwatch.model.project import Project

NAMED: Final = 5  # projects in a summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What is told of an outage: that it began, that it grew worse, or that it is over."""

    type: EventType
    place: Place
    projects: Sequence[Project]  # none: the place is a receiver
    severity: Severity
    cause: str
    error: str | None  # None: it is over
    since: datetime
    gap_seconds: float | None = None  # at its end: from the last complete reading to the next one, at most
    resolves: Sequence[EventId] = ()


def outage_event(word: Word, *, sequence: int, at: datetime) -> Event:
    """Make an event about projects that cannot be read, or about a receiver that takes nothing.

    About one project it has that project's source and subject, else those of the cause they have in common.
    """
    data: dict[str, Any] = {"cause": word.cause, "since": utc(word.since)}
    if word.error is None:
        data |= {"gap_seconds": word.gap_seconds, "resolves": list(word.resolves)}
    else:
        data["error"] = cut(word.error)
    summary = cut(_summary_of_outage(word))
    if len(word.projects) == 1:
        (project,) = word.projects
        return event_of_project(
            id_=event_id(project.identity, None, word.type, sequence),
            type_=word.type,
            project=project,
            subject=project.identity.project_id,
            sequence=sequence,
            severity=word.severity,
            summary=summary,
            time=at,
            data=data,
            attributes={},
        )
    place = word.place
    if place.kind is Kind.RECEIVER:
        data["receiver"] = {"name": place.name}
    else:
        data["projects"] = [project_data(project) for project in word.projects]
        data[place.kind] = place.name
    return frozen(
        id_=content_id(place.kind, place.name, word.type, sequence),
        type_=word.type,
        source=f"/taskwatch/{place.kind}/{quote(place.name, safe='')}",
        subject=place.name,
        sequence=sequence,
        severity=word.severity,
        summary=summary,
        time=at,
        data=data,
        attributes=labels_in_common(word.projects),
    )


def _summary_of_outage(word: Word) -> str:
    what = _named(word)
    match word.type:
        case EventType.PROJECT_DEGRADED:
            return f"{what} cannot be read: {word.error}"
        case EventType.RECEIVER_DOWN:
            return f"{what} takes no events: {word.error}"
        case EventType.RECEIVER_RECOVERED:
            return f"{what} takes events again."
        case _:
            gap = word.gap_seconds
            length = "" if gap is None else f"; {round(gap)} seconds were not seen"
            return f"{what} can be read again{length}."


def _named(word: Word) -> str:
    if not word.projects:
        return f"The receiver {word.place.name}"
    names = [project.name for project in word.projects]
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
