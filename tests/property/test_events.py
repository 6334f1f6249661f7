"""Events, for any content."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from taskwatch.core.cloudevents import SUMMARY_LENGTH
from taskwatch.core.events import task_event
from taskwatch.model.event import Event, Reading, Transition
from taskwatch.model.project import Identity, Project
from taskwatch.model.task import Instance, Task

texts = st.text(max_size=60)
moments = st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  (hypothesis adds it)
tasks = st.builds(
    Task,
    job_id=st.text(min_size=1, max_size=40),
    name=texts,
    status=st.text(min_size=1, max_size=20),
    progress=st.none() | st.integers(0, 100),
    fail_reason=st.none() | texts,
    created_at=st.none() | moments,
    ended_at=st.none() | moments,
    instance=st.builds(Instance, id=st.none() | texts, name=st.none() | texts, status=st.none() | texts),
)
moves = st.builds(
    lambda task, before, revision: Transition(
        task=task, from_status=before, to_status=task.status, revision=revision
    ),
    tasks,
    st.none() | st.text(max_size=20),
    st.integers(1, 1_000),
)
projects = st.builds(
    lambda service, host, project_id, name, labels: Project(
        identity=Identity(service=service, host=host, project_id=project_id), name=name, labels=labels
    ),
    texts,
    texts,
    texts,
    texts,
    st.dictionaries(texts, texts, max_size=3),
)
readings = st.builds(
    Reading,
    observed_at=moments,
    previous_observed_at=st.none() | moments,
    gap_seconds=st.none() | st.floats(0, 1e9),
    late=st.booleans(),
)


def an_event(move: Transition, project: Project, reading: Reading, sequence: int = 1) -> Event:
    return task_event(move, project=project, sequence=sequence, reading=reading, failure_severities=())


def content(move: Transition, project: Project) -> tuple[object, ...]:
    ended_at = move.task.ended_at
    second = ended_at.replace(microsecond=0) if ended_at is not None else None
    return (
        project.identity,
        move.task.job_id,
        move.revision,
        move.from_status,
        move.to_status,
        second,
    )


@given(moves, projects, readings)
def test_any_content_makes_valid_json_that_says_the_same(
    move: Transition, project: Project, reading: Reading
) -> None:
    event = an_event(move, project, reading)
    body = json.loads(event.body)
    told = body["data"]
    assert (body["id"], body["subject"]) == (event.id, move.task.job_id)
    assert (told["task"]["status"], told["task"]["fail_reason"]) == (move.task.status, move.task.fail_reason)
    assert (told["transition"]["from"], told["transition"]["to"]) == (move.from_status, move.to_status)
    assert told["project"]["labels"] == project.labels
    assert len(event.summary) <= SUMMARY_LENGTH
    assert len(event.summary.splitlines()) <= 1


@given(moves, projects, readings)
def test_the_same_content_makes_the_same_bytes(move: Transition, project: Project, reading: Reading) -> None:
    assert an_event(move, project, reading) == an_event(move, project, reading)


@given(moves, projects, readings, readings, st.integers(1, 99))
def test_an_id_knows_neither_clock_nor_names(
    move: Transition, project: Project, one: Reading, other: Reading, sequence: int
) -> None:
    renamed = replace(project, name=project.name + "x", labels={})
    assert an_event(move, project, one).id == an_event(move, renamed, other, sequence).id


@given(moves, moves, projects, projects, readings)
def test_ids_are_equal_only_where_the_content_is(
    one: Transition, other: Transition, project: Project, elsewhere: Project, reading: Reading
) -> None:
    same_content = content(one, project) == content(other, elsewhere)
    same_id = an_event(one, project, reading).id == an_event(other, elsewhere, reading).id
    assert same_id == same_content
