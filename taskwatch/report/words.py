"""How numbers, names and times are said to people, in the same words everywhere."""

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return the number with its noun: 1 task, 2 tasks. The plural is given where an s does not make it."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def age(since: datetime, now: datetime) -> str:
    """Return how long ago, in the two words people use: 3 s, 12 min, 5 h, 8 d. The future is no time ago."""
    whole = max(0, int((now - since).total_seconds()))
    for unit, size in _UNITS:
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def moment(instant: datetime) -> str:
    """Return the exact instant as people read it: 2026-11-23 10:00:00 UTC."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
