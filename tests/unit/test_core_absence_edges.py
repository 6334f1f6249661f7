"""Which tasks are gone, to the second and to the task."""

from datetime import timedelta

import pytest

from taskwatch.core.absence import REACH, Absence, take_census
from tests.fakes.builders import T0


def test_the_list_is_known_to_reach_back_29_days() -> None:
    assert timedelta(days=29) == REACH


def test_the_third_census_after_ten_minutes_is_enough() -> None:
    before = {"job": Absence(since=0.0, censuses=2, believed_since=0.0, believed=2)}
    for now, gone in ((599.9, set[str]()), (600.0, {"job"})):
        found = take_census(before, expected={"job": T0}, shown=(), reach=T0, now=now)
        assert found.gone == gone


@pytest.mark.parametrize(("now", "is_believed"), [(3599.9, False), (3600.0, True)])
def test_a_list_that_shrank_is_believed_after_an_hour_to_the_second(now: float, *, is_believed: bool) -> None:
    tasks = dict.fromkeys((f"job-{number}" for number in range(11)), T0)
    before = dict.fromkeys(tasks, Absence(since=0.0, censuses=2, believed_since=None, believed=0))
    found = take_census(before, expected=tasks, shown=(), reach=T0, now=now)
    assert (found.gone == tasks.keys()) is is_believed


@pytest.mark.parametrize(("seconds", "shrinks"), [(0, True), (-1, False)])
def test_a_task_that_began_where_the_list_begins_is_young(seconds: int, *, shrinks: bool) -> None:
    began = T0 + timedelta(seconds=seconds)
    tasks = dict.fromkeys((f"job-{number}" for number in range(11)), began)
    assert take_census({}, expected=tasks, shown=(), reach=T0, now=0.0).shrinks is shrinks


def test_a_census_that_is_not_believed_counts_for_the_hour_only() -> None:
    tasks = dict.fromkeys((f"job-{number}" for number in range(30)), T0)
    left = list(tasks)[12:]
    first = take_census({}, expected=tasks, shown=left, reach=T0, now=5.0)
    second = take_census(first.absences, expected=tasks, shown=left, reach=T0, now=50.0)
    for found, censuses in ((first, 1), (second, 2)):
        once = Absence(since=5.0, censuses=censuses, believed_since=None, believed=0)
        assert found.absences == dict.fromkeys(list(tasks)[:12], once)
