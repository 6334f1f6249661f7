"""Instants as the store keeps them: whole microseconds since 1970 in UTC.

Integers are exact over the whole range of datetime, compare and index in the order of time, and
leave no doubt about a zone.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, overload

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@overload
def to_stored(instant: datetime) -> int: ...
@overload
def to_stored(instant: datetime | None) -> int | None: ...
def to_stored(instant: datetime | None) -> int | None:
    """Return what is stored for an aware datetime. A naive one raises TypeError."""
    return None if instant is None else (instant - _EPOCH) // _MICROSECOND


@overload
def from_stored(stored: int) -> datetime: ...
@overload
def from_stored(stored: int | None) -> datetime | None: ...
def from_stored(stored: int | None) -> datetime | None:
    """Return the aware UTC datetime, to the microsecond."""
    return None if stored is None else _EPOCH + timedelta(microseconds=stored)
