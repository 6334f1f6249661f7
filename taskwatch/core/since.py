"""The span of creation that an incremental poll asks for."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

LAG: Final = timedelta(hours=1)  # by which a task may come onto the list later than one that began after it
_AHEAD: Final = timedelta(days=1)
_ROUND_SECONDS: Final = 6 * 3600  # for so long the question stays the same, and equal bytes can be known
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """A span of creation: what began in it is read by an incremental poll. Whole seconds."""

    start: datetime
    until: datetime


def since(*, newest: datetime, latest: datetime, date: datetime | None) -> Since:
    """Return the span in which whatever began since a reading must lie.

    `newest` is the latest creation read so far that was not in the future when it was read, `latest`
    simply the latest, `date` the time. The end lies beyond all of them: it is there because a start
    without an end may be refused.
    """
    start = min(newest, date or newest) - LAG
    end = max(newest, latest, date or latest) + _AHEAD
    rounded = -(-(end - _EPOCH).total_seconds() // _ROUND_SECONDS) * _ROUND_SECONDS
    return Since(start=max(start, _EPOCH).replace(microsecond=0), until=_EPOCH + timedelta(seconds=rounded))
