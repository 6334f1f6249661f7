"""What events say at the edges: the longest summary, the shortest work, a receiver that is tried."""

import json
from datetime import timedelta
from typing import Any

import pytest

from taskwatch.core.events import receiver_test_event, severity_of, task_event
from taskwatch.model.event import Event, EventType, Reading, Severity
from taskwatch.model.task import FAILED, RUNNING
from tests.fakes.builders import T0, a_project, a_reading, a_task, a_transition


def a_failure(*, reason: str = "no space", seconds: float = 60, reading: Reading | None = None) -> Event:
    task = a_task(status=FAILED, fail_reason=reason, created_at=T0, ended_at=T0 + timedelta(seconds=seconds))
    return task_event(
        a_transition(task),
        project=a_project(),
        sequence=2,
        reading=reading or a_reading(),
        failure_severities=(),
    )


def data_of(event: Event) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event.body)["data"]
    return data


def test_a_summary_of_three_hundred_characters_is_whole_and_a_longer_one_is_cut_to_that() -> None:
    room = 300 - len(a_failure(reason="x").summary) + 1
    assert a_failure(reason="x" * room).summary.endswith("x" * room)
    longer = a_failure(reason="x" * (room + 1)).summary
    assert (len(longer), longer[-2:]) == (300, "x…")


@pytest.mark.parametrize(("seconds", "told"), [(1, 1), (0, 0), (-1, None)])
def test_work_may_take_no_time_and_never_less(seconds: int, told: int | None) -> None:
    assert data_of(a_failure(seconds=seconds))["task"]["duration_seconds"] == told


def test_a_gap_is_told_in_tenths_of_a_second() -> None:
    reading = a_reading(previous_observed_at=T0 - timedelta(seconds=15), gap_seconds=15.26)
    assert data_of(a_failure(reading=reading))["transition"]["gap_seconds"] == 15.3


@pytest.mark.parametrize("kind", [EventType.TASK_VANISHED, EventType.TASK_LEFT_WINDOW])
def test_a_task_that_is_gone_is_a_warning_whatever_its_failures_are(kind: EventType) -> None:
    found = severity_of(
        kind, task="Backup", change=(RUNNING, RUNNING), failure_severities=(("*", Severity.CRITICAL),)
    )
    assert found is Severity.WARNING


def test_the_event_that_tries_a_receiver_is_about_nothing_else_and_a_new_one_each_time() -> None:
    event = receiver_test_event("hook/1", at=T0)
    body = json.loads(event.body)
    assert (event.type, event.subject, event.sequence) == (EventType.RECEIVER_TEST, "hook/1", 1)
    assert (body["source"], body["time"]) == ("/taskwatch/receiver/hook%2F1", "2026-11-23T10:00:00.000Z")
    assert body["data"] == {
        "severity": "info",
        "summary": "This is a test of the receiver hook/1 by taskwatch. Nothing has happened.",
        "sequence": 1,
        "receiver": {"name": "hook/1"},
    }
    assert event.attributes == {"type": "taskwatch.receiver.test", "severity": "info"}
    assert receiver_test_event("hook/1", at=T0 + timedelta(microseconds=1)).id != event.id
