"""Which poll comes next, the whole list or only what may have changed, and what it is asked with.

Invariants:
- A list of up to two pages is always read whole: that costs no more.
- The first poll of a run is whole, and so is each after which something was found missing, after the
  state or the rules were changed by others, and when `full_poll` seconds have passed on the monotonic clock.
- A census, a whole poll that looks at each row, comes as often as a whole poll is due; while a task is
  missing from the last one, each CENSUS_SECONDS.
- While a step backwards waits for confirmation, polls are whole: a task that has ended may be on no
  incremental list, and a fresh answer that cannot contradict the step would let stale ones add up.
- An open task that a whole list does not show is looked for by each incremental poll, until whole lists
  have not shown it for LOST_SECONDS: a replica may lag for two polls. Then only whole lists can show it.
- Only a complete poll moves the line from which the next incremental one reads.
- The digests of one kind of poll are dropped when another kind changes anything: they would be of an
  earlier state.
- No clock is believed that is ahead: the line is never later than the cloud's own Date at that reading.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from taskwatch.core.detect import Change
from taskwatch.core.since import LAG, since
from taskwatch.engine.ports import Ask, OpenTask
from taskwatch.model.event import Transition
from taskwatch.model.project import Check, Digests, Listing
from taskwatch.model.task import Task, is_ended

DISAGREEMENTS: Final = 3  # in a row, after which whole lists are read until the project is read otherwise
# A task gone for good costs two requests an incremental poll until then, and one where this run never saw
# it; more of them than can be searched for make polls whole for so long.
LOST_SECONDS: Final = 600.0
CENSUS_SECONDS: Final = 120.0
_LONG: Final = 3  # pages


@dataclass(slots=True)
class Course:
    """What this run knows of the polls of one project so far."""

    _newest: datetime | None = None
    _latest: datetime | None = None
    _begun: dict[str, datetime | None] | None = None  # when the known open tasks began
    _whole: Digests | None = None
    _recent: Digests | None = None
    full_at: tuple[datetime, float] | None = None  # the last complete whole poll: wall, monotonic
    _is_stale: bool = False  # what was known of the list is no longer to be built upon
    _pays: bool = False
    _checked_at: float | None = None
    _disagreements: int = 0  # in a row
    _missing: frozenset[str] = frozenset()  # open tasks that the last poll found nowhere
    # Those that a whole list did not show either, with the monotonic time of the first such list.
    _absent: dict[str, float] = field(default_factory=dict)
    _lost: frozenset[str] = frozenset()  # those of them that are not looked for any more
    _census_at: float | None = None  # monotonic: when every row of the whole list was looked at last
    _misses: bool = False  # that census did not show a task that it should
    _pending: frozenset[str] = frozenset()  # tasks of which a step backwards waits for confirmation

    @property
    def has_given_up(self) -> bool:
        """Whether incremental polls were found not to say what the whole list says."""
        return self._disagreements >= DISAGREEMENTS

    @property
    def is_held(self) -> bool:
        """Whether a step backwards waits for confirmation: equal bytes are then fresh evidence."""
        return bool(self._pending)

    def next(self, *, now: float, date: Callable[[], datetime], full_poll: float, checks: bool) -> Ask:
        """Say what to ask at this monotonic time; `date` tells the cloud's. Without `checks` no check is due."""
        is_due = self.full_at is None or now - self.full_at[1] >= full_poll
        within = min(full_poll, CENSUS_SECONDS) if self._misses else full_poll
        is_census_due = self._census_at is None or now - self._census_at >= within
        must_be_whole = self._is_stale or self._missing or self._pending or is_census_due
        if is_due or must_be_whole or not self._pays or self._newest is None:
            is_unchecked = self._checked_at is None or now - self._checked_at >= full_poll
            sought = self._missing | (self._absent.keys() - self._lost) if self._absent else self._missing
            return Ask(
                # What is missing is looked for among all rows.
                known=None if sought or is_census_due else self._whole,
                open_tasks=self._open(sought),
                checks=checks and not self.has_given_up and (is_unchecked or self._disagreements > 0),
            )
        return Ask(
            known=self._recent,
            since=since(newest=self._newest, latest=self._latest or self._newest, date=date()),
            open_tasks=self._open((self._begun or {}).keys() - self._lost),
        )

    def covers(self, step: Transition, *, last: datetime | None) -> bool:
        """Tell whether an incremental poll would have shown this change as soon as the cloud did.

        `last` is the cloud's time at the last reading on record. Of an earlier run no more is known than
        that: what began after it cannot have been there before.
        """
        if step.from_status is not None:
            return not is_ended(step.from_status) and step.task.job_id not in self._absent
        created_at = step.task.created_at
        if self.full_at is None:
            return created_at is not None and last is not None and created_at >= last
        return self._newest is None or (created_at is not None and created_at >= self._newest - LAG)

    def read(self, ask: Ask, listing: Listing, *, at: datetime, now: float) -> None:
        """Take what came of the reading, once what it changed is recorded. `at` is the wall clock's time."""
        self._judge(ask, listing, now)
        if not listing.complete:
            return
        if listing.full:
            self.full_at = (at, now)
            if ask.known is None:
                self._census_at = now
            self._is_stale = False
            if listing.missing:
                self._absent |= dict.fromkeys(listing.missing - self._absent.keys(), now)
                self._lost |= {id_ for id_ in listing.missing if now - self._absent[id_] >= LOST_SECONDS}
            self._missing = frozenset()
        else:
            self._missing = listing.missing - self._absent.keys()
        self._note(listing.changed, listing.cloud_date or at)

    def _judge(self, ask: Ask, listing: Listing, now: float) -> None:
        if listing.check is not None:
            self._checked_at = now
            self._pays = listing.check is Check.PAYS
            self._disagreements = self._disagreements + 1 if listing.check is Check.DISAGREES else 0
        elif listing.full and listing.complete and listing.pages < _LONG:
            self._pays = False
        elif listing.full and ask.since is not None and not listing.missing:
            self._pays = False  # too many were looked for one by one

    def _note(self, rows: Iterable[Task], date: datetime) -> None:
        for row in rows:
            if row.created_at is not None:
                self._latest = max(self._latest or row.created_at, row.created_at)
                self._newest = max(self._newest or row.created_at, row.created_at)
        if self._newest is not None:
            # What is said to begin later must not hide what begins sooner.
            self._newest = min(self._newest, date)

    def follow(self, open_tasks: frozenset[str], rows: Iterable[Task]) -> None:
        """Take the ids of the open tasks as they are recorded now, and the rows that were read just before."""
        seen = {row.job_id: row.created_at for row in rows}
        before = self._begun or {}
        self._begun = {job_id: seen.get(job_id, before.get(job_id)) for job_id in open_tasks}
        unseen = open_tasks - seen.keys()
        self._absent = {job_id: at for job_id, at in self._absent.items() if job_id in unseen}
        self._lost &= unseen
        self._missing &= open_tasks

    def miss(self, *, any_task: bool) -> None:
        """Take whether the last census did not show a task that it should."""
        self._misses = any_task

    def hold(self, changes: Iterable[Change], listing: Listing) -> None:
        """Take which steps backwards wait for confirmation after these changes."""
        waits = {change.known.task.job_id: change.known.pending_count > 0 for change in changes}
        # A whole list that does not show such a task is all that could have been read of it.
        others = frozenset() if listing.full and listing.complete else self._pending - waits.keys()
        self._pending = others | {job_id for job_id, is_pending in waits.items() if is_pending}

    def keep(self, ask: Ask, listing: Listing) -> None:
        """Know the rows of this listing again: the store holds each of them."""
        if ask.since is None:
            self._whole = listing.digests
        else:
            self._recent = listing.digests

    def forget(self) -> None:
        """Know no rows any more: the next reading of each kind is compared with the store."""
        self._whole = self._recent = None

    def begin_anew(self) -> None:
        """Build upon nothing that was read so far: the next poll reads the whole list."""
        self.forget()
        self._is_stale = True

    def doubt(self) -> None:
        """Find out anew what incremental polls are worth: the list is read otherwise from now on."""
        self.begin_anew()
        self._pays = False
        self._checked_at = None
        self._disagreements = 0

    def _open(self, job_ids: Collection[str]) -> tuple[OpenTask, ...]:
        if not job_ids:
            return ()
        begun = self._begun or {}
        return tuple(OpenTask(job_id, begun.get(job_id)) for job_id in sorted(job_ids))
