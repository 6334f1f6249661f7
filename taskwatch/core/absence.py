"""Which tasks are gone: what may be concluded from whole lists that do not show them.

Invariants:
- Evidence is a census only: a whole list, read to its end, without a bad row, every row of which was looked at.
- A task is gone when CENSUSES of them in a row, over at least GONE_SECONDS, did not show it, nor any poll in between.
- When many are missing at once, more likely the list is wrong than they are gone: then that takes SHRUNK_SECONDS,
  and what such a census lacks counts for nothing else.
- Time is monotonic, and counts while somebody looks. After a run, or a gap that makes a reading late, all begins anew.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
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
    """A task that is missing: since when, by the monotonic clock, and from how many censuses in a row.

    The same is counted anew from the last census on that lacked too much to be believed.
    """

    since: float
    censuses: int
    believed_since: float | None  # None: the last one was not believed
    believed: int

    def is_gone(self, now: float) -> bool:
        return _is_enough(self.believed_since, self.believed, GONE_SECONDS, now) or _is_enough(
            self.since, self.censuses, SHRUNK_SECONDS, now
        )


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
    seen = {job_id: _missed(absences.get(job_id), now, is_believed=not shrinks) for job_id in sorted(missing)}
    gone = frozenset(job_id for job_id, absence in seen.items() if absence.is_gone(now))
    left = {job_id: absence for job_id, absence in seen.items() if job_id not in gone}
    return Census(absences=left, gone=gone, shrinks=shrinks and bool(left))


def _missed(before: Absence | None, now: float, *, is_believed: bool) -> Absence:
    known = before or Absence(since=now, censuses=0, believed_since=None, believed=0)
    if not is_believed:
        return replace(known, censuses=known.censuses + 1, believed_since=None, believed=0)
    believed_since = now if known.believed_since is None else known.believed_since
    return replace(
        known, censuses=known.censuses + 1, believed_since=believed_since, believed=known.believed + 1
    )


def _is_enough(since: float | None, censuses: int, seconds: float, now: float) -> bool:
    return since is not None and censuses >= CENSUSES and now - since >= seconds
