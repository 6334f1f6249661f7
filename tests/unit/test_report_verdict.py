"""The verdict: what is said for which situation, in the singular and the plural, and how bad it is."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Final

import pytest

from taskwatch.report.standing import Standing
from taskwatch.report.verdict import (
    Level,
    Read,
    Reading,
    Situation,
    Taking,
    Took,
    is_grave,
    level_of,
    reading_of,
    verdict,
)
from tests.fakes.builders import T0


def projects(*readings: Reading, grave: bool = False) -> list[Read]:
    return [
        Read(name=f"p{number}", reading=reading, is_grave=grave and reading is not Reading.FRESH)
        for number, reading in enumerate(readings, 1)
    ]


def receivers(*takings: Taking) -> list[Took]:
    return [Took(name=f"r{number}", taking=taking) for number, taking in enumerate(takings, 1)]


FINE: Final = Situation(projects=projects(Reading.FRESH), receivers=receivers(Taking.WORKS))

F, X = Reading.FRESH, Reading.UNREADABLE
SAID: Final = {
    "the one project is watched and nothing needs attention": projects(F),
    "both projects are watched and nothing needs attention": projects(F, F),
    "all 12 projects are watched and nothing needs attention": projects(*[F] * 12, Reading.FORGOTTEN),
    "no project is configured": projects(Reading.FORGOTTEN),
    "project p1 cannot be read": projects(X),
    "project p2 cannot be read": projects(F, X),
    "2 of 3 projects cannot be read": projects(X, F, X),
    "neither project can be read": projects(X, X),
    "none of the 3 projects can be read": projects(X, X, X),
    "project p1 is read and cannot be recorded": projects(Reading.UNRECORDED, F),
    "2 of 3 projects are read and cannot be recorded": projects(*[Reading.UNRECORDED] * 2, F),
    "project p1 has not been read for too long": projects(Reading.STALE, F),
    "2 of 3 projects have not been read for too long": projects(*[Reading.STALE] * 2, F),
    "project p1 has not been read yet": projects(Reading.UNREAD),
    "both projects have not been read yet": projects(*[Reading.UNREAD] * 2),
    "project p1 has rows that cannot be used": projects(Reading.PARTLY, F),
    "2 of 3 projects have rows that cannot be used": projects(*[Reading.PARTLY] * 2, F),
    "2 of 3 projects are not read as they should be": projects(X, Reading.STALE, F),
    "both projects are not read as they should be": projects(X, Reading.STALE),
    "all 3 projects are not read as they should be": projects(X, Reading.STALE, X),
}


@pytest.mark.parametrize("sentence", SAID)
def test_what_is_said_of_projects(sentence: str) -> None:
    found = verdict(replace(FINE, projects=SAID[sentence]))

    assert found.sentence == f"{sentence[0].upper()}{sentence[1:]}."
    assert found.level is (Level.OK if sentence.endswith("attention") else Level.WARNING)


ALERTS: Final = {
    (1, 0): "1 alert is open",
    (3, 0): "3 alerts are open",
    (1, 1): "1 alert is open and somebody has it",
    (3, 3): "3 alerts are open and somebody has them",
    (3, 1): "3 alerts are open (somebody has 1)",
}


@pytest.mark.parametrize("counts", ALERTS)
def test_what_is_said_of_alerts(counts: tuple[int, int]) -> None:
    found = verdict(replace(FINE, alerts=counts[0], acknowledged=counts[1]))

    assert (found.sentence, found.level) == (f"{ALERTS[counts]}.", Level.WARNING)


def test_a_critical_alert_is_critical_until_somebody_has_it() -> None:
    assert verdict(replace(FINE, alerts=1, critical=1)).level is Level.CRITICAL
    assert verdict(replace(FINE, alerts=1, critical=0, acknowledged=1)).level is Level.WARNING


RECEIVERS: Final = {
    (Taking.FAILS, Taking.WORKS): ("Receiver r1 takes nothing.", Level.WARNING),
    (Taking.WORKS, Taking.PAUSED): ("Receiver r2 takes nothing.", Level.WARNING),
    (Taking.FAILS, Taking.PAUSED, Taking.UNTRIED): ("2 of 3 receivers take nothing.", Level.WARNING),
    (Taking.FAILS,): ("Receiver r1 takes nothing.", Level.CRITICAL),
    (Taking.FAILS, Taking.PAUSED): ("No receiver takes anything.", Level.CRITICAL),
    (Taking.FAILS, Taking.PAUSED, Taking.GONE): ("No receiver takes anything.", Level.CRITICAL),
    (Taking.UNTRIED, Taking.GONE): ("The one project is watched and nothing needs attention.", Level.OK),
}


@pytest.mark.parametrize("takings", RECEIVERS)
def test_what_is_said_of_receivers(takings: tuple[Taking, ...]) -> None:
    found = verdict(replace(FINE, receivers=receivers(*takings)))

    assert (found.sentence, found.level) == RECEIVERS[takings]


def test_what_is_said_of_dead_deliveries() -> None:
    assert [verdict(replace(FINE, dead=n)).sentence for n in (1, 2)] == [
        "1 delivery is dead.",
        "2 deliveries are dead.",
    ]
    assert verdict(replace(FINE, dead=1)).level is Level.WARNING


def test_a_daemon_that_hangs_or_records_nothing_is_critical() -> None:
    assert verdict(replace(FINE, hanging="lane mail")).sentence == "Lane mail makes no progress."
    assert verdict(replace(FINE, unwritable="disk full")).sentence == "Nothing new can be recorded."
    for found in (verdict(replace(FINE, hanging="store")), verdict(replace(FINE, unwritable="full"))):
        assert found.level is Level.CRITICAL


def test_a_project_that_lasts_unreadable_is_critical() -> None:
    assert verdict(replace(FINE, projects=projects(X, F, grave=True))).level is Level.CRITICAL


def test_all_of_it_is_one_sentence_the_worst_first() -> None:
    found = verdict(
        Situation(
            projects=projects(X, X, *[F] * 10),
            receivers=[Took(name="mail", taking=Taking.FAILS), *receivers(Taking.WORKS)],
            alerts=3,
            dead=1,
            hanging="scheduler",
            unwritable="disk full",
        )
    )

    assert found.sentence == (
        "Scheduler makes no progress, nothing new can be recorded, 2 of 12 projects cannot be read, 3 alerts are open,"
        " receiver mail takes nothing, 1 delivery is dead."
    )


def test_nothing_that_needs_attention_is_ever_left_out() -> None:
    for reading, taking, alerts, dead, hanging in product(Reading, Taking, (0, 1), (0, 1), (None, "store")):
        found = verdict(
            Situation(
                projects=projects(F, reading),
                receivers=receivers(Taking.WORKS, taking),
                alerts=alerts,
                dead=dead,
                hanging=hanging,
            )
        )
        is_calm = (
            reading in (Reading.FRESH, Reading.FORGOTTEN)
            and taking not in (Taking.FAILS, Taking.PAUSED)
            and not (alerts or dead or hanging)
        )
        assert (found.level is Level.OK) == is_calm == found.sentence.endswith("nothing needs attention.")
        assert ("p2" in found.sentence) == (reading not in (Reading.FRESH, Reading.FORGOTTEN))
        assert ("r2" in found.sentence) == (taking in (Taking.FAILS, Taking.PAUSED))
        assert ("alert" in found.sentence, "deliver" in found.sentence) == (bool(alerts), bool(dead))


STANDING: Final = Standing(
    name="prod",
    state="watched",
    service="gaussdb",
    host="gaussdb.example",
    project_id="p1",
    baseline_at=T0,
    read_at=T0,
    interval_seconds=15.0,
    configured_interval_seconds=15.0,
    next_poll_at=T0,
    tasks=1,
    running=0,
    cause=None,
    error=None,
    since=None,
)


def test_old_data_is_never_called_fresh() -> None:
    for seconds, expected in ((0, F), (300, F), (301, Reading.STALE), (10**6, Reading.STALE)):
        assert reading_of(STANDING, T0 + timedelta(seconds=seconds)) is expected
    partly = replace(STANDING, cause="quarantine", since=T0)
    assert reading_of(partly, T0 + timedelta(seconds=301)) is Reading.STALE
    slow = replace(STANDING, interval_seconds=3600.0)
    for hours, expected in ((3, F), (4, Reading.STALE)):
        assert reading_of(slow, T0 + timedelta(hours=hours)) is expected


def test_what_is_in_the_way_of_a_project_decides_how_it_is_read() -> None:
    causes = {
        "login": X,
        "network": X,
        "incomplete timeout": X,
        "store": Reading.UNRECORDED,
        "quarantine": Reading.PARTLY,
    }
    for cause, expected in causes.items():
        assert reading_of(replace(STANDING, cause=cause, since=T0), T0) is expected
    assert reading_of(replace(STANDING, read_at=None), T0) is Reading.UNREAD
    assert reading_of(replace(STANDING, interval_seconds=None, cause=None), T0) is Reading.FORGOTTEN


def test_trouble_is_grave_when_it_lasts_an_hour_or_does_not_pass_by_itself() -> None:
    troubled = replace(STANDING, cause="network", since=T0)

    assert not is_grave(troubled, T0 + timedelta(minutes=59), is_lasting=False)
    assert is_grave(troubled, T0 + timedelta(minutes=60), is_lasting=False)
    assert is_grave(troubled, T0, is_lasting=True)
    assert not is_grave(STANDING, T0 + timedelta(days=9), is_lasting=True)
    assert level_of(Read(name="p", reading=X, is_grave=True)) is Level.CRITICAL
