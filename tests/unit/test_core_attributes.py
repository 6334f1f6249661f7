"""What matchers see of an event on record is what they saw when it was made, whatever the event says."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from taskwatch.core.attributes import attributes_of
from taskwatch.core.events import baseline_event, loss_event, receiver_test_event, resolved_event, task_event
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.model.alert import Alert, Ended, Why
from taskwatch.model.event import Event, EventId, EventType, Loss, Reading, Severity, Transition
from taskwatch.model.outage import Kind, Place
from taskwatch.model.project import Project
from taskwatch.model.task import Instance, Task
from tests.fakes.builders import T0, a_project, a_reading, a_task, a_transition
from tests.property.test_events import moves, projects, readings, tasks, texts

severities = st.lists(
    st.tuples(st.sampled_from(["*", "Backup*", "x?"]), st.sampled_from(Severity)), max_size=2
)
# Of few names and values, so that projects have labels in common.
labelled = st.builds(
    lambda project, labels: a_project(project, project_id=f"id-{project}", labels=labels),
    st.sampled_from(["prod", "test", "dev"]),
    st.dictionaries(st.sampled_from(["env", "team", "é"]), st.sampled_from(["", "a", "b"]), max_size=3),
)
outages = st.builds(
    Word,
    type=st.sampled_from([EventType.PROJECT_DEGRADED, EventType.PROJECT_RECOVERED]),
    place=st.builds(Place, st.sampled_from([Kind.HOST, Kind.LOGIN]), texts),
    projects=st.lists(labelled, max_size=4),
    severity=st.sampled_from(Severity),
    cause=st.just("network"),
    error=st.none() | texts,
    since=st.just(T0),
    gap_seconds=st.none() | st.floats(0, 1e9),
    resolves=st.just([EventId("tw_1")]),
)


def seen(event: Event) -> dict[str, str]:
    return attributes_of(event.body)


@given(moves, projects, readings, severities)
def test_of_transitions(
    move: Transition, project: Project, reading: Reading, failures: list[tuple[str, Severity]]
) -> None:
    event = task_event(move, project=project, sequence=1, reading=reading, failure_severities=failures)
    assert seen(event) == event.attributes


@given(tasks, projects, st.booleans())
def test_of_losses(task: Task, project: Project, has_left_window: bool) -> None:  # noqa: FBT001  (hypothesis hands it over)
    loss = Loss(task=task, revision=1, number=1, has_left_window=has_left_window)
    event = loss_event(loss, project=project, sequence=1, observed_at=T0)
    assert seen(event) == event.attributes


@given(tasks, projects, st.sampled_from(Why), texts, st.none() | texts)
def test_of_ends(task: Task, project: Project, why: Why, by: str, comment: str | None) -> None:
    alert = Alert(event_id=EventId("tw_1"), type=EventType.TASK_FAILED, task=task)
    ended = Ended(alert=alert, why=why, by=by, comment=comment)
    event = resolved_event(ended, task=task, project=project, sequence=1, at=T0)
    assert seen(event) == event.attributes


@given(projects, st.dictionaries(texts, st.integers(0, 9), max_size=3))
def test_of_baselines(project: Project, counts: dict[str, int]) -> None:
    event = baseline_event(project=project, sequence=1, counts=counts, observed_at=T0)
    assert seen(event) == event.attributes


@given(outages)
def test_of_outages_of_one_project_and_of_several(word: Word) -> None:
    event = outage_event(word, sequence=1, at=T0 + timedelta(minutes=5))
    assert seen(event) == event.attributes


def test_of_an_outage_of_several_projects_only_what_they_have_in_common() -> None:
    stopped = [
        a_project("prod", project_id="1", labels={"env": "prod", "team": "db"}),
        a_project("test", project_id="2", labels={"env": "test", "team": "db"}),
    ]
    word = Word(
        type=EventType.PROJECT_DEGRADED, place=Place(Kind.HOST, "gauss.example"), projects=stopped,
        severity=Severity.WARNING, cause="network", error="no route", since=T0,
    )  # fmt: skip
    assert seen(outage_event(word, sequence=1, at=T0)) == {
        "type": "taskwatch.project.degraded",
        "severity": "warning",
        "label_team": "db",
    }


@given(st.sampled_from([EventType.RECEIVER_DOWN, EventType.RECEIVER_RECOVERED]), texts, st.none() | texts)
def test_of_receivers_that_take_nothing(type_: EventType, name: str, error: str | None) -> None:
    word = Word(
        type=type_, place=Place(Kind.RECEIVER, name), projects=(), severity=Severity.WARNING, cause="timeout",
        error=error, since=T0,
    )  # fmt: skip
    event = outage_event(word, sequence=1, at=T0)
    assert seen(event) == event.attributes


@given(texts)
def test_of_trials_of_a_receiver(name: str) -> None:
    event = receiver_test_event(name, at=T0)
    assert seen(event) == event.attributes


def test_what_a_failure_of_everything_known_shows() -> None:
    task = a_task(status="Failed", fail_reason="disk\nfull", instance=Instance(id="in-7", name=None))
    event = task_event(
        a_transition(task), project=a_project(labels={"team": "db"}), sequence=1, reading=a_reading(),
        failure_severities=[("*", Severity.WARNING)],
    )  # fmt: skip
    assert seen(event) == {
        "type": "taskwatch.task.failed",
        "severity": "warning",
        "project": "prod",
        "project_id": a_project().identity.project_id,
        "task": task.name,
        "job_id": "job-1",
        "instance_id": "in-7",
        "instance_name": "",
        "fail_reason": "disk\nfull",
        "from": "Running",
        "to": "Failed",
        "label_team": "db",
    }
