"""Parts of a week, windows on days on which clocks are set, silences, and what holds an event back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskwatch.core.matchers import parse_matcher
from taskwatch.core.quiet import Mute, Silence, Span, held_by, parse_span, takes_everything
from tests.fakes.builders import T0, at

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = 7 * 24 * 60  # minutes
FAILURE = {"type": "taskwatch.task.failed", "severity": "critical", "project": "prod"}

minutes = st.integers(0, WEEK - 1)
spans = st.builds(lambda begin, end: Span(begin=begin, end=end), minutes, minutes).filter(
    lambda span: span.begin != span.end
)


def a_mute(*weekly: str, zone: str = "UTC", matchers: tuple[str, ...] = (), name: str = "weekend") -> Mute:
    return Mute(
        name=name,
        matchers=tuple(map(parse_matcher, matchers)),
        weekly=tuple(map(parse_span, weekly)),
        zone=ZoneInfo(zone),
    )


def a_silence(*matchers: str, number: int = 1, begins: float = 0, ends: float = 60) -> Silence:
    """Make a silence from so many minutes after T0 to so many."""
    return Silence(
        id=number,
        matchers=tuple(map(parse_matcher, matchers)),
        begins_at=at(begins),
        ends_at=at(ends),
        by="ada (uid 1000) on here",
    )


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def changes(mute: Mute, day: str) -> list[str]:
    """Return the times of a day of UTC, to the minute, at which the window begins or ends."""
    midnight = instant(day)
    moments = [midnight + timedelta(minutes=minute) for minute in range(-1, 24 * 60)]
    states = [mute.is_in_force(moment) for moment in moments]
    return [
        f"{'begins' if after else 'ends'} {moment:%H:%M}"
        for before, after, moment in zip(states, states[1:], moments[1:], strict=False)
        if before != after
    ]


class TestSpan:
    @pytest.mark.parametrize(
        ("text", "span"),
        [
            ("Sat 00:00 - Mon 06:00", Span(begin=5 * 1440, end=6 * 60)),
            ("sat 00:00-MON 06:00", Span(begin=5 * 1440, end=6 * 60)),
            ("  Mon 00:00 - Mon 00:01  ", Span(begin=0, end=1)),
            ("Fri 22:00 - Sun 24:00", Span(begin=4 * 1440 + 22 * 60, end=0)),
            ("Mon 24:00 - Wed 00:00", Span(begin=1440, end=2 * 1440)),
        ],
    )
    def test_it_is_read_as_people_write_it(self, text: str, span: Span) -> None:
        assert parse_span(text) == span

    @pytest.mark.parametrize(
        "text",
        [
            "", "Sat", "Sat - Mon", "Sat 00:00", "Saturday 00:00 - Mon 06:00", "Xyz 00:00 - Mon 06:00",
            "Sat 0:00 - Mon 06:00", "Sat 00:60 - Mon 06:00", "Sat 24:01 - Mon 06:00", "Sat 25:00 - Mon 06:00",
            "Sat 00:00 to Mon 06:00", "Sat 00:00 - Mon 06:00, Tue 01:00 - Tue 02:00", "Sat 00:00:00 - Mon 06:00",
        ],
    )  # fmt: skip
    def test_what_is_none_says_what_to_write(self, text: str) -> None:
        with pytest.raises(ValueError, match=r'write it as "Sat 00:00 - Mon 06:00"'):
            parse_span(text)

    @pytest.mark.parametrize("text", ["Sat 00:00 - Sat 00:00", "Mon 00:00 - Sun 24:00"])
    def test_one_that_begins_when_it_ends_is_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="begins when it ends"):
            parse_span(text)

    @given(spans)
    def test_what_is_shown_of_it_reads_as_the_same(self, span: Span) -> None:
        assert parse_span(str(span)) == span

    @given(spans, minutes)
    @example(Span(begin=WEEK - 1, end=0), WEEK - 1)
    @example(Span(begin=0, end=WEEK - 1), WEEK - 1)
    def test_each_minute_of_a_week_is_in_it_or_in_what_it_leaves(self, span: Span, minute: int) -> None:
        rest = Span(begin=span.end, end=span.begin)
        assert span.holds(minute) != rest.holds(minute)

    @given(spans)
    def test_its_begin_is_in_it_and_its_end_is_not(self, span: Span) -> None:
        assert span.holds(span.begin)
        assert not span.holds(span.end)
        assert span.holds((span.end - 1) % WEEK)


class TestMute:
    @given(spans, st.datetimes(min_value=datetime(1990, 1, 1), timezones=st.just(UTC)), st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Chatham", "America/Sao_Paulo"]))  # noqa: DTZ001  (hypothesis adds it)  # fmt: skip
    def test_at_each_instant_the_window_or_its_complement_is_in_force(
        self, span: Span, moment: datetime, zone: str
    ) -> None:
        window = Mute(name="w", matchers=(), weekly=(span,), zone=ZoneInfo(zone))
        rest = Mute(
            name="r", matchers=(), weekly=(Span(begin=span.end, end=span.begin),), zone=ZoneInfo(zone)
        )
        assert window.is_in_force(moment) != rest.is_in_force(moment)

    def test_it_reaches_over_sunday_night(self) -> None:
        window = a_mute("Sat 00:00 - Mon 06:00")
        # 2026-11-21 is a Saturday.
        assert changes(window, "2026-11-20") == []
        assert changes(window, "2026-11-21") == ["begins 00:00"]
        assert changes(window, "2026-11-22") == []
        assert changes(window, "2026-11-23") == ["ends 06:00"]

    def test_its_first_instant_is_in_it_and_its_last_is_not(self) -> None:
        window = a_mute("Mon 10:00 - Mon 11:00")
        tick = timedelta(microseconds=1)
        assert [
            window.is_in_force(moment) for moment in (T0 - tick, T0, at(60) - tick, at(60))
        ] == [False, True, True, False]  # fmt: skip

    def test_any_of_several_parts_of_the_week_is_enough(self) -> None:
        nights = a_mute("Mon 22:00 - Tue 06:00", "Tue 22:00 - Wed 06:00")
        assert changes(nights, "2026-11-24") == ["ends 06:00", "begins 22:00"]

    def test_the_day_is_that_of_its_zone(self) -> None:
        # On Saturday at 23:00 UTC it is Sunday in Berlin since 0:00.
        assert changes(a_mute("Sat 23:00 - Sun 12:00"), "2026-11-21") == ["begins 23:00"]
        assert changes(a_mute("Sat 23:00 - Sun 12:00", zone="Europe/Berlin"), "2026-11-21") == [
            "begins 22:00"
        ]
        assert changes(a_mute("Sun 00:00 - Sun 12:00", zone="Europe/Berlin"), "2026-11-21") == [
            "begins 23:00"
        ]

    def test_in_the_hour_that_clocks_leave_out_it_begins_with_what_is_left_of_it(self) -> None:
        # Berlin, 2026-03-29: 02:00 CET (01:00 UTC) is 03:00 CEST at once.
        assert changes(a_mute("Sun 02:30 - Sun 03:30", zone="Europe/Berlin"), "2026-03-29") == [
            "begins 01:00",
            "ends 01:30",
        ]

    def test_a_window_that_lies_in_the_hour_that_clocks_leave_out_is_none_that_day(self) -> None:
        window = a_mute("Sun 02:15 - Sun 02:45", zone="Europe/Berlin")
        assert changes(window, "2026-03-29") == []
        assert changes(window, "2026-04-05") == ["begins 00:15", "ends 00:45"]

    def test_in_the_hour_that_comes_twice_it_is_what_the_clock_on_the_wall_says(self) -> None:
        # Berlin, 2026-10-25: 03:00 CEST (01:00 UTC) is 02:00 CET again.
        assert changes(a_mute("Sun 02:30 - Sun 03:30", zone="Europe/Berlin"), "2026-10-25") == [
            "begins 00:30",
            "ends 01:00",
            "begins 01:30",
            "ends 02:30",
        ]

    def test_one_that_begins_before_the_hour_that_comes_twice_and_ends_after_it_is_an_hour_longer(
        self,
    ) -> None:
        window = a_mute("Sun 01:00 - Sun 04:00", zone="Europe/Berlin")
        assert changes(window, "2026-10-18") == ["ends 02:00"]
        assert changes(window, "2026-10-25") == ["ends 03:00"]
        assert changes(window, "2026-10-24") == ["begins 23:00"]
        assert changes(window, "2026-03-29") == ["begins 00:00", "ends 02:00"]

    def test_it_takes_what_all_its_matchers_match_and_without_any_everything(self) -> None:
        window = a_mute("Mon 10:00 - Mon 11:00", matchers=('severity != "critical"', 'project = "prod"'))
        assert window.covers(FAILURE | {"severity": "info"}, T0)
        assert not window.covers(FAILURE, T0)
        assert not window.covers({"severity": "info"}, T0)
        assert a_mute("Mon 10:00 - Mon 11:00").covers({}, T0)
        assert not a_mute("Mon 10:00 - Mon 11:00").covers({}, at(60))


class TestSilence:
    def test_its_first_instant_is_in_it_and_its_last_is_not(self) -> None:
        silence, tick = a_silence("project=prod", ends=60), timedelta(microseconds=1)
        moments = (T0 - tick, T0, at(60) - tick, at(60))
        assert [silence.covers(FAILURE, moment) for moment in moments] == [False, True, True, False]

    def test_it_takes_what_all_its_matchers_match(self) -> None:
        assert a_silence("project=prod", "type=task.failed").covers(FAILURE, T0)
        assert not a_silence("project=prod", "type=task.started").covers(FAILURE, T0)


class TestHeldBy:
    def test_the_first_that_covers_the_event_is_named(self) -> None:
        other, first, second = (
            a_silence("project=test", number=1),
            a_silence("project=prod", number=2),
            a_silence("severity=critical", number=3),
        )
        window = a_mute("Mon 10:00 - Mon 11:00")
        assert held_by((other, first, second, window), FAILURE, T0) == first
        assert held_by((other, window), FAILURE, T0) == window
        assert held_by((other,), FAILURE, T0) is None
        assert held_by((), FAILURE, T0) is None

    def test_they_are_named_as_people_know_them(self) -> None:
        assert str(a_silence("project=prod", number=3)) == "silence 3"
        assert str(a_mute("Mon 10:00 - Mon 11:00", name="weekend")) == "mute weekend"


class TestTakesEverything:
    @pytest.mark.parametrize(
        "matchers",
        [
            [], ['type =~ ".*"'], ['project != "prod"'], ['severity !~ "info|warning"', 'task=~".*"'],
            ['project = ""'],
        ],
    )  # fmt: skip
    def test_matchers_of_which_none_asks_for_anything_do(self, matchers: list[str]) -> None:
        assert takes_everything([parse_matcher(text) for text in matchers])

    @pytest.mark.parametrize(
        "matchers",
        [['type =~ ".+"'], ["project = prod"], ['severity != "critical"', 'project = "prod"'], ['task !~ "|x"']],
    )  # fmt: skip
    def test_one_that_does_is_enough(self, matchers: list[str]) -> None:
        assert not takes_everything([parse_matcher(text) for text in matchers])
