"""Which tasks are gone: what may be concluded from whole lists that do not show them.

Invariants:
- Evidence is a census only: a whole list, read to its end, without a bad row, every row of which was looked at.
- A task is gone when CENSUSES of them in a row, over at least GONE_SECONDS, did not show it.
- When many are missing at once, more likely the list is wrong than they are gone: then that takes SHRUNK_SECONDS.
- Time is monotonic. What is not concluded yet ends with the run: the next one begins to count anew.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

CENSUSES: Final = 3
GONE_SECONDS: Final = 600.0
SHRUNK_SECONDS: Final = 3600.0
SHRUNK_TASKS: Final = 10  # so many may be missing at once whatever their share
SHRUNK_SHARE: Final = 0.2
REACH: Final = timedelta(days=29)  # the list reaches back a month; what is older leaves it by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A task that is missing: since when, by the monotonic clock, and from how many censuses in a row."""

    since: float
    censuses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What a census says of the tasks that were known before it."""

    absences: Mapping[str, Absence]  # those that are missing and do not count as gone yet
    gone: frozenset[str]
    shrinks: bool  # too many are missing at once for the list to be believed


def take_census(
    absences: Mapping[str, Absence],
    *,
    expected: Mapping[str, datetime | None],
    shown: Collection[str],
    reach: datetime,
    now: float,
) -> Census:
    """Judge which of the tasks that should be on the list are missing and which are gone.

    `expected` holds when each of them began: those that the list reaches back to, and those that had not ended.
    """
    missing = expected.keys() - set(shown)
    young = {job_id for job_id, created_at in expected.items() if created_at is None or created_at >= reach}
    young_missing = len(missing & young)
    shrinks = young_missing > max(SHRUNK_TASKS, SHRUNK_SHARE * len(young))
    seen = {job_id: _missed(absences.get(job_id), now) for job_id in sorted(missing)}
    enough = SHRUNK_SECONDS if shrinks else GONE_SECONDS
    gone = frozenset(
        job_id
        for job_id, absence in seen.items()
        if absence.censuses >= CENSUSES and now - absence.since >= enough
    )
    left = {job_id: absence for job_id, absence in seen.items() if job_id not in gone}
    return Census(absences=left, gone=gone, shrinks=shrinks and bool(left))


def _missed(before: Absence | None, now: float) -> Absence:
    if before is None:
        return Absence(since=now, censuses=1)
    return Absence(since=before.since, censuses=before.censuses + 1)
