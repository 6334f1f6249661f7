from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import pytest

from taskwatch.core.absence import (
    CENSUSES,
    GONE_SECONDS,
    SHRUNK_SECONDS,
    Absence,
    Census,
    take_census,
)
from tests.fakes.builders import T0

YOUNG, OLD = T0 + timedelta(days=1), T0 - timedelta(days=1)


def expected(
    count: int, created_at: datetime | None = YOUNG, name: str = "job"
) -> dict[str, datetime | None]:
    return {f"{name}-{number}": created_at for number in range(count)}


def absence(since: float = 0.0, censuses: int = CENSUSES, *, believed: bool = True) -> Absence:
    return Absence(
        since=since,
        censuses=censuses,
        believed_since=since if believed else None,
        believed=censuses if believed else 0,
    )


def census(
    tasks: Mapping[str, datetime | None],
    missing: Iterable[str],
    *,
    before: Mapping[str, Absence] | None = None,
    now: float = 0.0,
) -> Census:
    return take_census(before or {}, expected=tasks, shown=tasks.keys() - set(missing), reach=T0, now=now)


def test_a_task_is_gone_when_three_censuses_over_ten_minutes_lack_it() -> None:
    tasks = expected(30)
    absences: Mapping[str, Absence] = {}
    for now, is_gone in ((5.0, False), (300.0, False), (604.9, False), (605.0, True)):
        found = census(tasks, ["job-3"], before=absences, now=now)
        assert found.gone == ({"job-3"} if is_gone else set())
        absences = found.absences
    assert absences == {}


def test_ten_minutes_are_not_enough_where_there_were_only_two_censuses() -> None:
    first = census(expected(30), ["job-3"])
    second = census(expected(30), ["job-3"], before=first.absences, now=10 * GONE_SECONDS)
    assert second.gone == set()
    assert second.absences == {"job-3": absence(censuses=CENSUSES - 1)}


def test_a_census_that_shows_the_task_begins_the_count_anew() -> None:
    absences = {"job-3": absence()}
    shown = census(expected(30), [], before=absences, now=2 * GONE_SECONDS)
    assert shown == Census(absences={}, gone=frozenset(), shrinks=False)


@pytest.mark.parametrize(
    ("known", "missing", "shrinks"),
    [
        (1, 1, False),
        (10, 10, False),
        (11, 11, True),
        (50, 10, False),
        (50, 11, True),
        (55, 11, False),
        (55, 12, True),
    ],
)
def test_the_list_is_not_believed_when_more_than_ten_and_a_fifth_are_missing(
    known: int, missing: int, *, shrinks: bool
) -> None:
    found = census(expected(known), [f"job-{number}" for number in range(missing)])
    assert found.shrinks is shrinks
    assert len(found.absences) == missing


def test_what_shrank_is_believed_after_an_hour() -> None:
    tasks = expected(40)
    absences: Mapping[str, Absence] = {}
    for now in (0.0, GONE_SECONDS, 2 * GONE_SECONDS, SHRUNK_SECONDS - 1):
        found = census(tasks, tasks, before=absences, now=now)
        assert found.shrinks
        assert not found.gone
        absences = found.absences
    found = census(tasks, tasks, before=absences, now=SHRUNK_SECONDS)
    assert found == Census(absences={}, gone=frozenset(tasks), shrinks=False)


def test_a_task_that_went_missing_later_takes_its_own_hour() -> None:
    tasks = expected(40)
    early, late = [f"job-{number}" for number in range(12)], "job-20"
    absences = {job_id: absence(censuses=9, believed=False) for job_id in early} | {
        late: absence(3000.0, 9, believed=False)
    }
    found = census(tasks, [*early, late], before=absences, now=SHRUNK_SECONDS)
    assert found.gone == set(early)
    assert found.absences.keys() == {late}


def test_tasks_that_leave_by_their_age_do_not_make_the_list_shrink() -> None:
    tasks = expected(20, OLD, "old") | expected(20)
    found = census(tasks, expected(20, OLD, "old"))
    assert not found.shrinks
    assert len(found.absences) == 20


def test_a_task_whose_beginning_is_unknown_counts_as_young() -> None:
    assert census(expected(11, None), expected(11)).shrinks


def test_a_list_that_shows_other_tasks_too_lacks_nothing() -> None:
    found = take_census({}, expected=expected(3), shown=[*expected(3), "new"], reach=T0, now=0.0)
    assert found == Census(absences={}, gone=frozenset(), shrinks=False)


def test_what_a_census_lacks_that_is_not_believed_counts_for_nothing_when_the_list_is_whole_again() -> None:
    # Found by seed 255 of the spine: a record away for four minutes, just when a shrunk list was whole again.
    tasks = expected(40)
    absences: Mapping[str, Absence] = {}
    for now in (0.0, 300.0, GONE_SECONDS):
        absences = census(tasks, tasks, before=absences, now=now).absences
    for now, is_gone in ((700.0, False), (1000.0, False), (1299.0, False), (1300.0, True)):
        found = census(tasks, ["job-3"], before=absences, now=now)
        assert found.gone == ({"job-3"} if is_gone else set())
        absences = found.absences
