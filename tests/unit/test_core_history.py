"""What counts as history to detection, at its edges, and which of two rows of a task is ahead."""

from datetime import datetime, timedelta

import pytest

from taskwatch.core.detect import BaselinePolicy, detect
from taskwatch.model.task import FAILED, RUNNING, Task
from tests.fakes.builders import T0, a_line, a_task, at


def is_told(row: Task) -> bool:
    (change,) = detect({}, [row], a_line())
    return change.told is not None


@pytest.mark.parametrize(
    ("policy", "tells"),
    [(BaselinePolicy.QUIET, False), (BaselinePolicy.FAILED, True), (BaselinePolicy.ALL, True)],
)
def test_a_policy_says_whether_a_fresh_failure_of_history_is_told(
    policy: BaselinePolicy, *, tells: bool
) -> None:
    assert a_line(policy=policy).tells(a_task(status=FAILED, ended_at=at(-1))) is tells


def test_a_task_that_began_and_ended_in_one_second_before_the_line_is_history() -> None:
    assert not is_told(a_task(status=FAILED, created_at=at(-5), ended_at=at(-5)))


@pytest.mark.parametrize(
    ("age", "tells"), [(timedelta(days=31), False), (timedelta(days=31, seconds=1), True)]
)
def test_an_end_without_a_beginning_is_history_for_a_month(age: timedelta, *, tells: bool) -> None:
    assert is_told(a_task(status=FAILED, created_at=None, ended_at=T0 - age)) is tells


@pytest.mark.parametrize("created_at", [None, at(-60)])
def test_a_task_that_runs_is_told_although_the_cloud_says_when_it_ended(created_at: datetime | None) -> None:
    assert is_told(a_task(status=RUNNING, created_at=created_at, ended_at=at(-5)))


@pytest.mark.parametrize(("behind", "ahead"), [(9, 10), (None, 1), (1, 2)])
def test_of_two_rows_alike_the_one_with_more_progress_counts(behind: int | None, ahead: int) -> None:
    rows = [a_task(progress=ahead), a_task(progress=behind)]
    for order in (rows, rows[::-1]):
        (change,) = detect({}, order, a_line())
        assert change.known.task.progress == ahead
