"""The span of creation that an incremental poll asks for."""

from datetime import UTC, datetime, timedelta

import pytest

from taskwatch.core.since import LAG, Since, since

NEWEST = datetime(2026, 11, 23, 10, 20, 30, tzinfo=UTC)


def span(newest: datetime = NEWEST, latest: datetime | None = None, date: datetime | None = None) -> Since:
    return since(newest=newest, latest=latest or newest, date=date)


def test_the_span_begins_an_hour_before_the_newest_task() -> None:
    assert span(date=NEWEST + timedelta(minutes=5)).start == NEWEST - timedelta(hours=1)


def test_a_task_newer_than_the_present_time_does_not_hide_what_begins_now() -> None:
    now = NEWEST - timedelta(days=3)
    assert span(date=now).start == now - LAG


def test_without_the_time_the_tasks_alone_say_where_the_span_begins_and_ends() -> None:
    assert span(latest=NEWEST + timedelta(days=2)) == Since(
        start=NEWEST - LAG, until=datetime(2026, 11, 26, 12, tzinfo=UTC)
    )


@pytest.mark.parametrize("day", [23, 24])
@pytest.mark.parametrize(
    ("hour", "minute", "until"),
    [(0, 0, 0), (0, 1, 6), (5, 59, 6), (6, 0, 6), (6, 1, 12), (17, 0, 18), (18, 1, 24)],
)
def test_the_span_ends_a_day_ahead_at_the_next_quarter_of_a_day(
    day: int, hour: int, minute: int, until: int
) -> None:
    date = datetime(2026, 11, day, hour, minute, tzinfo=UTC)
    end = datetime(2026, 11, day + 1, tzinfo=UTC) + timedelta(hours=until)
    assert span(newest=date - timedelta(days=9), date=date).until == end


@pytest.mark.parametrize("which", ["newest", "latest", "date"])
def test_the_span_ends_beyond_whatever_is_latest(which: str) -> None:
    times = {"newest": NEWEST, "latest": NEWEST, "date": NEWEST} | {which: NEWEST + timedelta(days=5)}
    assert span(**times).until == datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_the_question_stays_the_same_for_hours() -> None:
    asked = {span(date=NEWEST + timedelta(seconds=second)) for second in range(0, 5_000, 15)}
    assert len(asked) == 1


def test_the_span_is_told_in_whole_seconds() -> None:
    assert span(newest=NEWEST + timedelta(microseconds=999_999)).start == NEWEST - LAG


def test_a_date_before_all_computers_is_no_start() -> None:
    dawn = datetime(1970, 1, 1, tzinfo=UTC)
    assert span(newest=NEWEST, date=datetime(1, 1, 1, 2, tzinfo=UTC)).start == dawn
