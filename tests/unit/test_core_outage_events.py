"""What events about projects that cannot be read, and about receivers that take nothing, say."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskwatch.core.events import severity_of
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.model.event import Event, EventId, EventType, Severity
from taskwatch.model.outage import Kind, Place
from taskwatch.model.project import Project
from tests.fakes.builders import T0, a_project

HOST = Place(Kind.HOST, "gauss.example:8443")
HOOK = Place(Kind.RECEIVER, "the hook")
DEGRADED = Word(
    type=EventType.PROJECT_DEGRADED,
    place=HOST,
    projects=(),
    severity=Severity.WARNING,
    cause="network",
    error="no route to gauss.example",
    since=T0,
)
RECOVERED = replace(
    DEGRADED,
    type=EventType.PROJECT_RECOVERED,
    severity=Severity.INFO,
    error=None,
    gap_seconds=421.4,
    resolves=(EventId("tw_1"), EventId("tw_2")),
)


def projects(number: int) -> tuple[Project, ...]:
    names = [f"p{index}" for index in range(1, number + 1)]
    return tuple(
        replace(a_project(), name=name, identity=replace(a_project().identity, project_id=f"id-{name}"))
        for name in names
    )


def event_of(word: Word, sequence: int = 3) -> Event:
    return outage_event(word, sequence=sequence, at=T0 + timedelta(minutes=5))


def body_of(event: Event) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(event.body)
    return body


class TestOfOneProject:
    def test_it_is_about_that_project(self) -> None:
        (project,) = projects(1)
        event = event_of(replace(DEGRADED, projects=(project,)))
        body = body_of(event)
        assert (event.subject, event.sequence, event.severity) == ("id-p1", 3, Severity.WARNING)
        assert body["source"] == "/taskwatch/gaussdb/id-p1"
        assert body["data"]["project"]["name"] == "p1"
        assert not {"projects", "host", "receiver", "task", "transition"} & body["data"].keys()

    def test_it_says_what_is_in_the_way_and_since_when(self) -> None:
        event = event_of(replace(DEGRADED, projects=projects(1)))
        data = body_of(event)["data"]
        assert (data["cause"], data["error"]) == ("network", "no route to gauss.example")
        assert data["since"].startswith(f"{T0:%Y-%m-%dT%H:%M:%S}")
        assert not {"gap_seconds", "resolves"} & data.keys()
        assert event.summary == "p1 cannot be read: no route to gauss.example"

    def test_its_end_says_what_it_ends_and_for_how_long_nobody_read(self) -> None:
        event = event_of(replace(RECOVERED, projects=projects(1)))
        data = body_of(event)["data"]
        assert (data["gap_seconds"], data["resolves"]) == (421.4, ["tw_1", "tw_2"])
        assert "error" not in data
        assert event.summary == "p1 can be read again; 421 seconds were not seen."

    def test_its_end_says_nothing_of_a_gap_that_nobody_knows(self) -> None:
        event = event_of(replace(RECOVERED, projects=projects(1), gap_seconds=None))
        assert body_of(event)["data"]["gap_seconds"] is None
        assert event.summary == "p1 can be read again."


class TestOfSeveral:
    def test_it_is_about_what_they_have_in_common(self) -> None:
        body = body_of(event_of(replace(DEGRADED, projects=projects(2))))
        assert body["subject"] == body["data"]["host"] == "gauss.example:8443"
        assert body["source"] == "/taskwatch/host/gauss.example%3A8443"
        assert [project["name"] for project in body["data"]["projects"]] == ["p1", "p2"]
        assert "project" not in body["data"]

    @pytest.mark.parametrize(
        ("number", "named"),
        [
            (2, "p1, p2"),
            (5, "p1, p2, p3, p4, p5"),
            (6, "p1, p2, p3, p4, p5 and 1 more"),
            (9, "p1, p2, p3, p4, p5 and 4 more"),
        ],
    )
    def test_it_names_five_and_counts_the_rest(self, number: int, named: str) -> None:
        event = event_of(replace(DEGRADED, projects=projects(number)))
        assert event.summary == f"{named} cannot be read: no route to gauss.example"


class TestOfAReceiver:
    DOWN = replace(DEGRADED, type=EventType.RECEIVER_DOWN, place=HOOK)

    def test_it_is_about_the_receiver(self) -> None:
        event = event_of(self.DOWN)
        body = body_of(event)
        assert body["subject"] == "the hook"
        assert body["source"] == "/taskwatch/receiver/the%20hook"
        assert body["data"]["receiver"] == {"name": "the hook"}
        assert not {"project", "projects"} & body["data"].keys()
        assert event.summary == "The receiver the hook takes no events: no route to gauss.example"

    def test_its_end_says_so(self) -> None:
        word = replace(RECOVERED, type=EventType.RECEIVER_RECOVERED, place=HOOK)
        assert event_of(word).summary == "The receiver the hook takes events again."


def test_the_id_depends_on_what_it_is_about_on_its_type_and_on_its_number_and_on_nothing_else() -> None:
    words = [
        replace(DEGRADED, projects=projects(1)),
        replace(DEGRADED, projects=projects(2)),
        replace(RECOVERED, projects=projects(1)),
        replace(DEGRADED, projects=projects(2), place=Place(Kind.LOGIN, HOST.name)),
        TestOfAReceiver.DOWN,
    ]
    ids = [event_of(word, sequence).id for word in words for sequence in (1, 2)]
    assert len(set(ids)) == 10
    otherwise = replace(words[0], error="another", cause="timeout", since=T0 + timedelta(days=1))
    assert event_of(otherwise, 1).id == ids[0]


@pytest.mark.parametrize("kind", [EventType.PROJECT_DEGRADED, EventType.RECEIVER_DOWN])
def test_what_is_asked_of_its_severity_without_more_is_that_of_its_beginning(kind: EventType) -> None:
    assert severity_of(kind, task="", change=(None, ""), failure_severities=()) is Severity.WARNING
