"""The form of events: an id made of content alone, and a body frozen once.

The id is the same after a crash before the commit and after a restored backup: no clock and no
random goes into it. The body is a CloudEvent 1.0 in structured JSON.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from taskwatch.model.event import LABEL_PREFIX, Event, EventId, EventType, Severity
from taskwatch.model.project import Identity, Project

ID_SCHEME: Final = "1"  # the version of this recipe, never of the package
ID_PREFIX: Final = "tw_"
DATASCHEMA: Final = "urn:taskwatch:event:1"
SUMMARY_LENGTH: Final = 300  # characters


def event_of_project(
    *,
    id_: EventId,
    type_: EventType,
    project: Project,
    subject: str,
    sequence: int,
    severity: Severity,
    summary: str,
    time: datetime,
    data: dict[str, Any],
    attributes: dict[str, str],
) -> Event:
    """Make an event about a project, or about something in it."""
    identity = project.identity
    return frozen(
        id_=id_,
        type_=type_,
        source=f"/taskwatch/{identity.service}/{quote(identity.project_id, safe='')}",
        subject=subject,
        sequence=sequence,
        severity=severity,
        summary=summary,
        time=time,
        data={
            "project": project_data(project),
            **data,
        },
        attributes={
            "project": project.name,
            "project_id": identity.project_id,
            **attributes,
            **labels_in_common([project]),
        },
    )


def frozen(
    *,
    id_: EventId,
    type_: EventType,
    source: str,
    subject: str,
    sequence: int,
    severity: Severity,
    summary: str,
    time: datetime,
    data: dict[str, Any],
    attributes: dict[str, str],
) -> Event:
    """Make an event: its body is a CloudEvent 1.0 in structured JSON, and never changes again."""
    cloud_event = {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": type_,
        "subject": subject,
        "time": utc(time, timespec="milliseconds"),
        "datacontenttype": "application/json",
        "dataschema": DATASCHEMA,
        "data": {"severity": severity, "summary": summary, "sequence": sequence, **data},
    }
    return Event(
        id=id_,
        type=type_,
        subject=subject,
        sequence=sequence,
        severity=severity,
        summary=summary,
        time=time,
        body=msgspec.json.encode(cloud_event),
        attributes={"type": type_, "severity": severity, **attributes},
    )


def event_id(identity: Identity, *parts: str | int | None) -> EventId:
    """Return the id of an event about a project, or about something in it."""
    return content_id(identity.service, identity.host, identity.project_id, *parts)


def content_id(*parts: str | int | None) -> EventId:
    """Return an id that is made of this content alone: the same today and after a crash, and another for any other."""
    # A JSON array: no two contents give one text.
    content = msgspec.json.encode([ID_SCHEME, *parts])
    digest = hashlib.sha256(content).digest()
    return EventId(ID_PREFIX + base64.b32encode(digest).decode("ascii").rstrip("=").lower())


def project_data(project: Project) -> dict[str, Any]:
    """Return what an event says of a project."""
    return {
        "name": project.name,
        "project_id": project.identity.project_id,
        "service": project.identity.service,
        "labels": project.labels,
    }


def labels_in_common(projects: Sequence[Project]) -> dict[str, str]:
    """Return, as matchers see them, the labels that all of these have."""
    labels = (project.labels.items() for project in projects)
    common = set(next(labels, ())).intersection(*labels)
    return {LABEL_PREFIX + name: value for name, value in sorted(common)}


def cut(text: str) -> str:
    """Return the text on one line, at most as long as a summary may be."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= SUMMARY_LENGTH else one_line[: SUMMARY_LENGTH - 1] + "…"


def utc(time: datetime | None, timespec: str = "seconds") -> str | None:
    """Return the instant as RFC 3339 writes it, in UTC."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
