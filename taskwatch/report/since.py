"""Since when: a duration back from now, or a time, as people write it to commands and to the API."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from taskwatch.config.fields import parse_duration

_EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_WAYS: Final = "neither a duration (30m, 24h, 7d) nor a time (2026-11-23, 2026-11-23T10:00:00Z)"


def parse_since(text: str, *, now: datetime, zone: tzinfo | None) -> datetime:
    """Read it; a time without a zone is in this one, None: in that of this host. Raises ValueError, which says what to write.

    What lies beyond all calendars is their beginning, or their end.
    """
    try:
        return now - timedelta(seconds=parse_duration(text))
    except OverflowError:
        return _EARLIEST
    except ValueError:
        pass
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_WAYS) from None
    try:
        placed = given if given.tzinfo is not None or zone is None else given.replace(tzinfo=zone)
        return placed.astimezone(UTC)
    except (OverflowError, ValueError):  # the latter of what the clock of this host cannot place
        return _EARLIEST if given.year == _EARLIEST.year else _LATEST
