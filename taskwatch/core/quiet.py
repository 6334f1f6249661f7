"""What nobody is told of for now: silences, which operators set, and mute windows, which the configuration has.

Invariants:
- What is held is told later or not at all, but never lost: whoever asks here decides nothing for good.
- Both are wall time by nature: a window is read off the clock on the wall of its zone, also on the days on which that is set.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from taskwatch.core.matchers import Matcher, parse_matcher

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LONGEST: Final = timedelta(days=365)  # of a silence
_DAY_MINUTES: Final = 24 * 60
_SPAN: Final = re.compile(r"(\w+) (\d\d):(\d\d) ?- ?(\w+) (\d\d):(\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of each week, in minutes since Monday 00:00; the end is not in it. It may reach over Sunday night."""

    begin: int
    end: int

    def __str__(self) -> str:
        return f"{_spelt(self.begin)} - {_spelt(self.end)}"

    def holds(self, minute: int) -> bool:
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


def parse_span(text: str) -> Span:
    """Read `Sat 00:00 - Mon 06:00`. Raises ValueError, whose text says what to write."""
    written = _SPAN.fullmatch(text.strip())
    begin = None if written is None else _minute(*written.groups()[:3])
    end = None if written is None else _minute(*written.groups()[3:])
    if begin is None or end is None:
        raise ValueError('not a part of a week; write it as "Sat 00:00 - Mon 06:00"')
    if begin == end:
        raise ValueError("begins when it ends; write another end")
    return Span(begin=begin, end=end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """An operator's word that for a time nobody is to be told of some events."""

    id: int
    matchers: tuple[Matcher, ...]
    begins_at: datetime
    ends_at: datetime
    by: str
    comment: str | None = None

    def __str__(self) -> str:
        return f"silence {self.id}"

    def is_in_force(self, at: datetime) -> bool:
        return self.begins_at <= at < self.ends_at

    def covers(self, attributes: Mapping[str, str], at: datetime) -> bool:
        return self.is_in_force(at) and _all_match(self.matchers, attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """A window that comes again each week."""

    name: str
    matchers: tuple[Matcher, ...]
    weekly: tuple[Span, ...]
    zone: ZoneInfo

    def __str__(self) -> str:
        return f"mute {self.name}"

    def is_in_force(self, at: datetime) -> bool:
        local = at.astimezone(self.zone)
        minute = local.weekday() * _DAY_MINUTES + local.hour * 60 + local.minute
        return any(span.holds(minute) for span in self.weekly)

    def covers(self, attributes: Mapping[str, str], at: datetime) -> bool:
        return self.is_in_force(at) and _all_match(self.matchers, attributes)


def held_by(
    hushes: Sequence[Silence | Mute], attributes: Mapping[str, str], at: datetime
) -> Silence | Mute | None:
    """Return the first of them that says that nobody is to be told of such an event now."""
    return next((hush for hush in hushes if hush.covers(attributes, at)), None)


def takes_everything(matchers: Sequence[Matcher]) -> bool:
    """Tell whether they match an event of which nothing is known: then most likely they match too much."""
    return _all_match(matchers, {})


class SilenceError(ValueError):
    """No silence can be set like this; says what to write."""


def matchers_of(texts: Sequence[str]) -> tuple[Matcher, ...]:
    """Read the matchers of a silence. Raises MatcherError, or SilenceError where they match too much."""
    matchers = tuple(parse_matcher(text) for text in texts)
    if takes_everything(matchers):
        raise SilenceError(
            "these matchers match also an event of which nothing is known, so most likely too much; add one that "
            """does not, as 'project = "prod"', or 'type =~ ".+"' if you mean it"""
        )
    return matchers


def require_end(ends_at: datetime, *, now: datetime) -> None:
    """Refuse an end that a silence cannot have. Raises SilenceError."""
    if ends_at <= now:
        written = f"{ends_at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
        raise SilenceError(f"a silence that ends at {written} is over; write a time to come")
    if ends_at - now > LONGEST:
        raise SilenceError(
            "a silence lasts 365d at most; what nobody is ever to be told of, leave out of the routes of the configuration"
        )


def _all_match(matchers: Sequence[Matcher], attributes: Mapping[str, str]) -> bool:
    return all(matcher.matches(attributes) for matcher in matchers)


def _minute(day: str, hour: str, minute: str) -> int | None:
    if day.capitalize() not in DAYS or int(minute) > 59 or int(hour) * 60 + int(minute) > _DAY_MINUTES:  # noqa: PLR2004  (of an hour)
        return None
    since_monday = DAYS.index(day.capitalize()) * _DAY_MINUTES + int(hour) * 60 + int(minute)
    return since_monday % (7 * _DAY_MINUTES)


def _spelt(minute: int) -> str:
    day, rest = divmod(minute, _DAY_MINUTES)
    return f"{DAYS[day]} {rest // 60:02}:{rest % 60:02}"
