from collections.abc import Mapping
from dataclasses import replace

import pytest

from taskwatch.core.health import (
    CRITICAL_SECONDS,
    DOWN_SECONDS,
    PARTIAL_SECONDS,
    Begins,
    Ends,
    Open,
    judge,
    patience,
)
from taskwatch.model.event import Severity
from taskwatch.model.outage import Ailment, Kind, Outage, Place
from tests.fakes.builders import T0

HOST = Place(Kind.HOST, "gauss.example")
RECEIVER = Place(Kind.RECEIVER, "hook")
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def ailing(place: Place = HOST, *, began: float = 0.0, lasting: bool = False) -> Ailment:
    return Ailment(
        place=place,
        cause="network",
        error="no route",
        since=T0,
        began=began,
        patience=300.0,
        is_lasting=lasting,
    )


def an_outage(*things: str, place: Place = HOST, severity: Severity = WARNING) -> Outage:
    return Outage(id=1, place=place, things=frozenset(things), cause="network", severity=severity, since=T0)


def judged(
    *outages: Outage,
    ill: Mapping[str, Ailment] | None = None,
    well: Mapping[str, float] | None = None,
    watched: str = "a b c d",
    now: float = 300.0,
) -> list[Begins | Ends]:
    opened = [Open(outage=outage, known_since=0.0) for outage in outages]
    return judge(opened, watched=watched.split(), ailing=ill or {}, well=well or {}, now=now)


@pytest.mark.parametrize(
    ("interval", "seconds"), [(15.0, 300.0), (100.0, 300.0), (101.0, 303.0), (3600.0, 10_800.0)]
)
def test_patience_is_three_intervals_and_at_least_five_minutes(interval: float, seconds: float) -> None:
    assert patience(interval) == seconds


def test_the_times_are_those_that_users_are_told() -> None:
    assert (CRITICAL_SECONDS, DOWN_SECONDS, PARTIAL_SECONDS) == (3600.0, 900.0, 300.0)


class TestItBegins:
    def test_when_patience_is_at_its_end_and_not_before(self) -> None:
        assert judged(ill={"a": ailing()}, now=299.9) == []
        assert judged(ill={"a": ailing()}) == [
            Begins(outage=None, place=HOST, things=("a",), severity=WARNING)
        ]

    def test_at_once_and_critical_where_it_does_not_pass_by_itself(self) -> None:
        login = Place(Kind.LOGIN, "otc")
        assert judged(ill={"a": ailing(login, lasting=True)}, now=0.0) == [
            Begins(outage=None, place=login, things=("a",), severity=CRITICAL)
        ]

    def test_as_one_for_all_that_the_cause_stops_ripe_or_not(self) -> None:
        ill = {"b": ailing(), "a": ailing(began=200.0), "c": ailing(Place(Kind.PROJECT, "c"))}
        assert judged(ill=ill) == [
            Begins(outage=None, place=HOST, things=("a", "b"), severity=WARNING),
            Begins(outage=None, place=Place(Kind.PROJECT, "c"), things=("c",), severity=WARNING),
        ]

    def test_and_grows_by_those_that_are_stopped_later_when_they_are_ripe(self) -> None:
        outage = an_outage("a")
        ill = {"a": ailing(), "b": ailing(began=400.0)}
        assert judged(outage, ill=ill, now=500.0) == []
        assert judged(outage, ill=ill, now=700.0) == [
            Begins(outage=outage, place=HOST, things=("b",), severity=WARNING)
        ]

    def test_and_what_grows_a_critical_one_is_critical(self) -> None:
        outage = an_outage("a", severity=CRITICAL)
        (step,) = judged(outage, ill={"a": ailing(), "b": ailing()})
        assert step == Begins(outage=outage, place=HOST, things=("b",), severity=CRITICAL)

    def test_and_a_login_whose_refusal_was_told_stops_the_others_in_one_more_event(self) -> None:
        login = Place(Kind.LOGIN, "otc")
        outage = an_outage("a", place=login, severity=CRITICAL)
        ill = {one: ailing(login, began=10.0 * number, lasting=True) for number, one in enumerate("abcd")}
        assert judged(outage, ill=ill, now=309.9) == []
        assert judged(outage, ill=ill, now=310.0) == [
            Begins(outage=outage, place=login, things=("b", "c", "d"), severity=CRITICAL)
        ]

    def test_and_not_by_what_another_cause_stopped(self) -> None:
        elsewhere = an_outage("a", place=Place(Kind.LOGIN, "otc"), severity=CRITICAL)
        (step,) = judged(elsewhere, ill={"b": ailing()})
        assert step == Begins(outage=None, place=HOST, things=("b",), severity=WARNING)

    def test_critical_for_all_where_one_does_not_pass_by_itself(self) -> None:
        (step,) = judged(ill={"a": ailing(lasting=True), "b": ailing()})
        assert step == Begins(outage=None, place=HOST, things=("a", "b"), severity=CRITICAL)

    def test_never_twice_for_what_was_told_whatever_the_cause_is_now(self) -> None:
        assert judged(an_outage("a"), ill={"a": ailing(Place(Kind.PROJECT, "a"))}, now=3000.0) == []


class TestItGrowsWorse:
    def test_after_an_hour_once(self) -> None:
        outage = an_outage("a", "b")
        ill = {"a": ailing(), "b": ailing()}
        assert judged(outage, ill=ill, now=CRITICAL_SECONDS - 1) == []
        assert judged(outage, ill=ill, now=CRITICAL_SECONDS) == [
            Begins(outage=outage, place=HOST, things=("a", "b"), severity=CRITICAL)
        ]
        assert judged(replace(outage, severity=CRITICAL), ill=ill, now=9 * CRITICAL_SECONDS) == []

    def test_at_once_where_the_login_is_refused_by_now(self) -> None:
        outage = an_outage("a")
        (step,) = judged(outage, ill={"a": ailing(lasting=True)}, now=301.0)
        assert step == Begins(outage=outage, place=HOST, things=("a",), severity=CRITICAL)

    def test_an_hour_after_it_was_known_whatever_the_clock_says(self) -> None:
        outage = an_outage("a")
        for seconds, steps in ((CRITICAL_SECONDS - 1, 0), (CRITICAL_SECONDS, 1)):
            known = Open(outage=outage, known_since=5000.0)
            now = 5000.0 + seconds
            found = judge([known], watched=["a"], ailing={"a": ailing()}, well={}, now=now)
            assert len(found) == steps

    def test_for_all_where_the_login_of_one_is_refused(self) -> None:
        outage = an_outage("a", "b")
        (step,) = judged(outage, ill={"a": ailing(lasting=True), "b": ailing()}, now=301.0)
        assert step == Begins(outage=outage, place=HOST, things=("a", "b"), severity=CRITICAL)

    def test_by_what_still_fails_only(self) -> None:
        outage = an_outage("a", "b", "c")
        (step,) = judged(outage, ill={"b": ailing()}, well={"a": CRITICAL_SECONDS - 1}, now=CRITICAL_SECONDS)
        assert step == Begins(outage=outage, place=HOST, things=("b",), severity=CRITICAL)

    def test_never_of_a_receiver(self) -> None:
        outage = an_outage("a", place=RECEIVER)
        assert judged(outage, ill={"a": ailing(RECEIVER)}, now=9 * CRITICAL_SECONDS) == []


class TestItEnds:
    def test_when_all_of_it_works(self) -> None:
        outage = an_outage("a", "b")
        assert judged(outage, ill={"b": ailing()}, well={"a": 299.0}) == []
        assert judged(outage, well={"a": 299.0, "b": 300.0}) == [
            Ends(outage=outage, things=("a", "b"), is_over=True)
        ]

    def test_in_part_when_the_rest_keeps_failing(self) -> None:
        outage = an_outage("a", "b")
        now = 1000.0 + PARTIAL_SECONDS
        assert judged(outage, ill={"b": ailing()}, well={"a": 1000.1}, now=now) == []
        assert judged(outage, ill={"b": ailing()}, well={"a": 1000.0}, now=now) == [
            Ends(outage=outage, things=("a",), is_over=False)
        ]

    def test_in_part_five_minutes_after_the_first_of_those_that_work(self) -> None:
        outage = an_outage("a", "b", "c")
        well = {"a": 1000.0, "b": 1200.0}
        steps = judged(outage, ill={"c": ailing()}, well=well, now=1000.0 + PARTIAL_SECONDS)
        assert steps == [Ends(outage=outage, things=("a", "b"), is_over=False)]

    def test_never_by_what_was_not_tried_yet(self) -> None:
        assert judged(an_outage("a"), now=100_000.0) == []

    def test_in_silence_when_nothing_of_it_is_watched_any_more(self) -> None:
        outage = an_outage("x", "y")
        assert judged(outage) == [Ends(outage=outage, things=(), is_over=True)]

    def test_without_what_is_watched_no_more(self) -> None:
        outage = an_outage("a", "x")
        assert judged(outage, well={"a": 0.0}) == [Ends(outage=outage, things=("a",), is_over=True)]
