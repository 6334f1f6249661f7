import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event

from taskwatch.core.cloudevents import SUMMARY_LENGTH
from taskwatch.core.events import baseline_event, loss_event, task_event
from taskwatch.model.event import Event, EventType, Loss, Reading, Severity, Transition
from taskwatch.model.project import Project
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING, Instance, Task
from tests.fakes.builders import T0, a_project, a_reading, a_task, a_transition, at

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "nul \x00 and bell \x07",
    'quote " backslash \\ </script>',
    "emoji 🧨 and right-to-left \u202e override",
    "line\u2028separator\r\nand lines",
    "x" * 10_000,
]


def an_event(
    transition: Transition | None = None,
    *,
    project: Project | None = None,
    sequence: int = 2,
    reading: Reading | None = None,
    severities: tuple[tuple[str, Severity], ...] = (),
) -> Event:
    return task_event(
        transition or a_transition(),
        project=project or a_project(),
        sequence=sequence,
        reading=reading or a_reading(),
        failure_severities=severities,
    )


def data_of(event: Event) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event.body)["data"]
    return data


def test_the_example_of_the_contract_is_reproduced_field_by_field() -> None:
    task = Task(
        job_id="03bc055a-135c-4245-8bd8-b0bc6d3350b3",
        name="CreateGaussDBV5Instance",
        status=FAILED,
        fail_reason="An exception occurs when the ECS processes services.",
        created_at=datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC),
        ended_at=datetime(2022, 8, 8, 19, 6, 52, tzinfo=UTC),
        instance=Instance(
            id="ce2dce50f365430abe161bab79495a6ein14", name="gauss-6568-zzh", status="creating"
        ),
    )
    seen = datetime(2026, 11, 23, 10, 0, 0, 123_456, tzinfo=UTC)
    reading = Reading(
        observed_at=seen,
        previous_observed_at=seen - timedelta(seconds=15.2),
        gap_seconds=15.204,
        late=False,
    )
    event = an_event(
        Transition(task=task, from_status=RUNNING, to_status=FAILED, revision=2),
        project=a_project(labels={"team": "db", "env": "prod"}),
        reading=reading,
    )
    summary = "CreateGaussDBV5Instance of gauss-6568-zzh failed: An exception occurs when the ECS processes services."
    assert json.loads(event.body) == {
        "specversion": "1.0",
        "id": event.id,
        "source": "/taskwatch/gaussdb/0611f1bd8b00d5d32f17c017f15b599f",
        "type": "taskwatch.task.failed",
        "subject": "03bc055a-135c-4245-8bd8-b0bc6d3350b3",
        "time": "2026-11-23T10:00:00.123Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:taskwatch:event:1",
        "data": {
            "severity": "critical",
            "summary": summary,
            "sequence": 2,
            "project": {
                "name": "prod",
                "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
                "service": "gaussdb",
                "labels": {"team": "db", "env": "prod"},
            },
            "task": {
                "job_id": "03bc055a-135c-4245-8bd8-b0bc6d3350b3",
                "name": "CreateGaussDBV5Instance",
                "status": "Failed",
                "progress": None,
                "fail_reason": "An exception occurs when the ECS processes services.",
                "created_at": "2022-08-05T00:15:07Z",
                "ended_at": "2022-08-08T19:06:52Z",
                "duration_seconds": 327105,
                "instance": {
                    "id": "ce2dce50f365430abe161bab79495a6ein14",
                    "name": "gauss-6568-zzh",
                    "status": "creating",
                },
            },
            "transition": {
                "from": "Running",
                "to": "Failed",
                "revision": 2,
                "observed_at": "2026-11-23T10:00:00.123Z",
                "previous_observed_at": "2026-11-23T09:59:44.923Z",
                "gap_seconds": 15.2,
                "late": False,
            },
        },
    }


class TestTheId:
    def test_is_letters_and_digits_with_a_prefix(self) -> None:
        prefix, _, rest = an_event().id.partition("_")
        assert prefix == "tw"
        assert rest.isascii()
        assert rest.isalnum()
        assert len(rest) == 52, "all 256 bits"

    def test_is_the_same_for_the_same_content(self) -> None:
        assert an_event().id == an_event().id

    def test_stays_as_it_was_in_earlier_releases(self) -> None:
        assert an_event().id == "tw_y4lmweoijpwnfogs4v6xzwcz72sd7jzncxikf5t4he33xh35qqna"

    def test_knows_no_clock_no_name_no_count_and_no_label(self) -> None:
        other = an_event(
            project=a_project("renamed", labels={"team": "db"}),
            sequence=77,
            reading=a_reading(at(500), previous_observed_at=at(499), gap_seconds=60.0, late=True),
            severities=(("*", Severity.INFO),),
        )
        assert other.id == an_event().id

    def test_depends_on_each_part_of_what_happened(self) -> None:
        failed = a_task(status=FAILED)
        base = a_transition(failed)
        others = [
            an_event(replace(base, revision=3)),
            an_event(replace(base, from_status=PENDING)),
            an_event(replace(base, from_status=None)),
            an_event(replace(base, from_status="")),
            an_event(replace(base, to_status=COMPLETED, task=a_task(status=COMPLETED))),
            an_event(replace(base, task=a_task("job-2", status=FAILED))),
            an_event(replace(base, task=replace(failed, ended_at=at(61)))),
            an_event(replace(base, task=replace(failed, ended_at=None))),
            an_event(project=a_project(service="rds")),
            an_event(project=a_project(host="elsewhere.example")),
            an_event(project=a_project(project_id="other")),
        ]
        ids = {event.id for event in others} | {an_event(base).id}
        assert len(ids) == len(others) + 1

    def test_cannot_be_forged_by_moving_text_between_its_parts(self) -> None:
        one = an_event(project=a_project(host="ab", project_id="c"))
        other = an_event(project=a_project(host="a", project_id="bc"))
        assert one.id != other.id

    def test_of_a_baseline_depends_on_the_project_and_on_how_often(self) -> None:
        def id_of(sequence: int, project: Project, seen: datetime) -> str:
            return baseline_event(project=project, sequence=sequence, counts={}, observed_at=seen).id

        first = id_of(1, a_project(), T0)
        assert id_of(1, a_project("renamed"), at(7)) == first
        assert len({first, id_of(2, a_project(), T0), id_of(1, a_project(project_id="x"), T0)}) == 3


@pytest.mark.parametrize(
    ("from_status", "to_status", "type_", "severity"),
    [
        (None, RUNNING, EventType.TASK_STARTED, Severity.INFO),
        (None, PENDING, EventType.TASK_STARTED, Severity.INFO),
        (None, "Freezing", EventType.TASK_STARTED, Severity.INFO),
        (None, COMPLETED, EventType.TASK_COMPLETED, Severity.INFO),
        (RUNNING, COMPLETED, EventType.TASK_COMPLETED, Severity.INFO),
        (None, FAILED, EventType.TASK_FAILED, Severity.CRITICAL),
        (RUNNING, FAILED, EventType.TASK_FAILED, Severity.CRITICAL),
        (COMPLETED, FAILED, EventType.TASK_FAILED, Severity.CRITICAL),
        (RUNNING, CANCELED, EventType.TASK_CANCELED, Severity.WARNING),
        (PENDING, RUNNING, EventType.TASK_CHANGED, Severity.INFO),
        (RUNNING, "Freezing", EventType.TASK_CHANGED, Severity.WARNING),
        ("Freezing", RUNNING, EventType.TASK_CHANGED, Severity.WARNING),
        (FAILED, RUNNING, EventType.TASK_CHANGED, Severity.WARNING),
        (RUNNING, PENDING, EventType.TASK_CHANGED, Severity.WARNING),
    ],
)
def test_each_transition_has_its_type_and_severity(
    from_status: str | None, to_status: str, type_: EventType, severity: Severity
) -> None:
    event = an_event(a_transition(a_task(status=to_status), from_status))
    assert (event.type, event.severity) == (type_, severity)


class TestTheSeverityMap:
    MAP = (("Backup*", Severity.WARNING), ("BackupSnapshot*", Severity.INFO), ("Delete?", Severity.INFO))

    @pytest.mark.parametrize(
        ("name", "severity"),
        [
            ("BackupSnapshotGaussDBV5InInstance", Severity.WARNING),  # the first match counts
            ("backupSnapshot", Severity.CRITICAL),  # names are matched with their case
            ("Delete1", Severity.INFO),
            ("Delete12", Severity.CRITICAL),
            ("CreateGaussDBV5Instance", Severity.CRITICAL),
        ],
    )
    def test_gives_failures_the_severity_of_the_first_name_that_matches(
        self, name: str, severity: Severity
    ) -> None:
        failed = a_transition(a_task(status=FAILED, name=name))
        assert an_event(failed, severities=self.MAP).severity is severity

    def test_speaks_of_failures_only(self) -> None:
        canceled = a_transition(a_task(status=CANCELED, name="BackupX"))
        assert an_event(canceled, severities=(("*", Severity.CRITICAL),)).severity is Severity.WARNING


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_of_the_cloud_arrives_whole_in_a_valid_body(text: str) -> None:
    task = a_task(text, status=FAILED, name=text, fail_reason=text, instance=Instance(id=text, name=text))
    event = an_event(a_transition(task, from_status=text))
    told = data_of(event)["task"]
    assert (told["job_id"], told["name"], told["fail_reason"]) == (text, text, text)
    assert told["instance"] == {"id": text, "name": text, "status": None}
    assert b"\x1b" not in event.body
    assert b"\x00" not in event.body
    assert b"\n" not in event.body


@pytest.mark.parametrize("text", HOSTILE)
def test_a_summary_is_one_line_of_bounded_length(text: str) -> None:
    event = an_event(a_transition(a_task(status=FAILED, fail_reason=text)))
    assert len(event.summary) <= SUMMARY_LENGTH
    assert len(event.summary.splitlines()) == 1


@pytest.mark.parametrize(
    ("transition", "summary"),
    [
        (a_transition(a_task(), None, 1), "CreateGaussDBV5Instance of db-1 started."),
        (a_transition(a_task(status=PENDING), None, 1), "CreateGaussDBV5Instance of db-1 is Pending."),
        (a_transition(a_task(status=COMPLETED)), "CreateGaussDBV5Instance of db-1 completed."),
        (
            a_transition(a_task(status=FAILED)),
            "CreateGaussDBV5Instance of db-1 failed; the cloud gives no reason.",
        ),
        (a_transition(a_task(status=CANCELED)), "CreateGaussDBV5Instance of db-1 was canceled."),
        (a_transition(a_task(), FAILED), "CreateGaussDBV5Instance of db-1 went from Failed to Running."),
        (a_transition(a_task(instance=Instance(id="in-1")), None, 1), "CreateGaussDBV5Instance started."),
        (a_transition(a_task(name="", instance=Instance(id="in-1")), None, 1), "The task job-1 started."),
        (a_transition(a_task(name=""), None, 1), "The task job-1 of db-1 started."),
    ],
)
def test_a_summary_says_what_happened(transition: Transition, summary: str) -> None:
    assert an_event(transition).summary == summary


@pytest.mark.parametrize("text", ["plain", *HOSTILE])
def test_the_body_is_read_by_the_cloudevents_library(text: str) -> None:
    event = an_event(
        a_transition(a_task(status=FAILED, fail_reason=text)), project=a_project(project_id="a b/ü")
    )
    message = HTTPMessage({"content-type": "application/cloudevents+json; charset=utf-8"}, event.body)
    read = from_structured_event(message)
    assert (read.get_id(), read.get_type(), read.get_subject()) == (event.id, event.type, event.subject)
    assert read.get_source() == "/taskwatch/gaussdb/a%20b%2F%C3%BC"
    assert read.get_time() == event.time
    data = read.get_data()
    assert isinstance(data, dict)
    assert data["task"]["fail_reason"] == text


@pytest.mark.parametrize(
    ("task", "seconds"),
    [
        (a_task(status=FAILED, created_at=at(0), ended_at=at(2)), 120),
        (a_task(status=FAILED, created_at=at(2), ended_at=at(0)), None),
        (a_task(status=FAILED, created_at=None), None),
        (a_task(status=FAILED, ended_at=None), None),
        (a_task(status=RUNNING, ended_at=at(90)), None),  # a planned end
    ],
)
def test_a_duration_is_told_where_it_is_known(task: Task, seconds: int | None) -> None:
    assert data_of(an_event(a_transition(task, None)))["task"]["duration_seconds"] == seconds


def test_a_first_reading_has_no_gap() -> None:
    told = data_of(an_event())["transition"]
    assert (told["previous_observed_at"], told["gap_seconds"], told["late"]) == (None, None, False)


def test_a_baseline_counts_the_tasks_of_each_status() -> None:
    event = baseline_event(
        project=a_project(), sequence=1, counts={RUNNING: 1, FAILED: 2, COMPLETED: 30}, observed_at=T0
    )
    body = json.loads(event.body)
    assert event.summary == "Watching prod from here on: 33 tasks: 30 Completed, 2 Failed, 1 Running."
    assert (body["type"], body["subject"]) == ("taskwatch.project.baseline", event.subject)
    assert body["data"]["counts"] == {COMPLETED: 30, FAILED: 2, RUNNING: 1}
    assert "task" not in body["data"]
    assert "transition" not in body["data"]


def test_matchers_see_everything_that_the_contract_names() -> None:
    task = a_task(status=FAILED, fail_reason="no space")
    event = an_event(a_transition(task), project=a_project(labels={"env": "prod"}))
    assert event.attributes == {
        "type": "taskwatch.task.failed",
        "severity": "critical",
        "project": "prod",
        "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
        "task": "CreateGaussDBV5Instance",
        "job_id": "job-1",
        "instance_name": "db-1",
        "instance_id": "in-1",
        "from": "Running",
        "to": "Failed",
        "fail_reason": "no space",
        "label_env": "prod",
    }


def test_what_is_missing_is_empty_text_to_a_matcher() -> None:
    event = an_event(a_transition(a_task(instance=Instance()), None, 1))
    missing = ("instance_name", "instance_id", "from", "fail_reason")
    assert [event.attributes[name] for name in missing] == [""] * 4


class TestALoss:
    LOST = Loss(task=a_task(), revision=1, number=1, has_left_window=False)

    def event(self, **changes: Any) -> Event:
        loss = replace(self.LOST, **changes)
        return loss_event(loss, project=a_project(), sequence=2, observed_at=at(9))

    def test_has_the_task_as_it_was_read_last_and_no_transition(self) -> None:
        event = self.event()
        assert (event.type, event.severity) == (EventType.TASK_VANISHED, Severity.WARNING)
        assert event.summary == (
            "CreateGaussDBV5Instance of db-1 is gone from the task list; it was Running when it was last seen."
        )
        body = json.loads(event.body)
        assert body["time"] == "2026-11-23T10:09:00.000Z"
        assert body["data"]["task"]["status"] == RUNNING
        assert "transition" not in body["data"]

    def test_by_age_is_another_event(self) -> None:
        event = self.event(has_left_window=True)
        assert (event.type, event.severity) == (EventType.TASK_LEFT_WINDOW, Severity.WARNING)
        assert event.summary == (
            "CreateGaussDBV5Instance of db-1 is too old for the task list by now; "
            "it was Running when it was last seen."
        )

    def test_has_an_id_made_of_the_revision_and_of_how_often(self) -> None:
        ids = [self.event().id, self.event(revision=2).id, self.event(number=2).id]
        ids += [self.event(has_left_window=True).id, self.event(task=a_task("job-2")).id]
        assert len(set(ids)) == len(ids)
        assert (
            loss_event(self.LOST, project=a_project("renamed"), sequence=9, observed_at=at(99)).id == ids[0]
        )

    def test_shows_matchers_the_task_and_no_change(self) -> None:
        seen = self.event().attributes
        assert (seen["task"], seen["job_id"]) == ("CreateGaussDBV5Instance", "job-1")
        assert "from" not in seen
        assert "to" not in seen
