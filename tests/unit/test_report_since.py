"""Since when: what people write, and what it becomes; the same for commands and for the API."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

import pytest

from taskwatch.report.since import parse_since

NOW: Final = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
EAST: Final = timezone(timedelta(hours=8))
FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
LAST: Final = datetime.max.replace(tzinfo=UTC)

WRITTEN: Final[list[tuple[str, tzinfo, datetime]]] = [
    ("2h", UTC, NOW - timedelta(hours=2)),
    ("0s", UTC, NOW),
    ("999999999d", UTC, FIRST),
    ("2026-11-22", UTC, datetime(2026, 11, 22, tzinfo=UTC)),
    ("2026-11-22", EAST, datetime(2026, 11, 21, 16, tzinfo=UTC)),
    ("2026-11-22T10:00", EAST, datetime(2026, 11, 22, 2, tzinfo=UTC)),
    ("2026-11-22T10:00Z", EAST, datetime(2026, 11, 22, 10, tzinfo=UTC)),
    ("0001-01-01", EAST, FIRST),
    ("0001-01-01T00:00:00+08:00", UTC, FIRST),
    ("9999-12-31T23:59:59-08:00", UTC, LAST),
]


@pytest.mark.parametrize(("text", "zone", "expected"), WRITTEN)
def test_a_duration_counts_back_and_a_time_without_a_zone_is_in_the_one_of_whoever_reads_it(
    text: str, zone: tzinfo, expected: datetime
) -> None:
    assert parse_since(text, now=NOW, zone=zone) == expected


@pytest.mark.parametrize("text", ["2026-11-22T10:00", "0001-01-01", "9999-12-31"])
def test_without_a_zone_it_is_the_time_of_this_host(text: str) -> None:
    found = parse_since(text, now=NOW, zone=None)

    assert abs(found.replace(tzinfo=None) - datetime.fromisoformat(text)) <= timedelta(days=1)


@pytest.mark.parametrize("text", ["", "soon", "-1h", "2026-13-01", "10:00", "1.5.2026"])
def test_what_is_neither_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither a duration \(30m, 24h, 7d\) nor a time"):
        parse_since(text, now=NOW, zone=UTC)
