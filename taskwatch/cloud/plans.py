"""What a poll reads: the whole list, or only what may have changed since the last reading of it.

Which time `start_time` and `end_time` mean is not documented. An incremental poll believes that they
mean the creation, and a full one can check that: it reads the lists of an incremental poll after its
own and holds them against it. Whatever a list is found to be, nothing is concluded from what it lacks:
a known open task that no list shows is looked for by itself, and where that does not find it, the poll
says that it is missing.

Requests of an incremental poll: one for each 100 tasks that began within the last hour before the newest
one, one for each 100 that run, and at most SEARCHES for open tasks in neither list (and as many again
where a service that counts pages from 1 refuses an offset of 0). It does not matter how many have ended.
A search is one request by the second in which the task began, where that is known, and one by its id. A
task that the cloud has forgotten while it was open costs that in each incremental poll until the engine
gives it up (`engine.incremental.LOST_SECONDS`).

A poll that searches reads no whole list afterwards: the next one does, with all of its time before it.
"""

import math
from collections.abc import Collection, Generator
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from taskwatch.cloud.decode import Page, Row, parse_date, parse_time
from taskwatch.cloud.paging import Numbering, Paging, Reads
from taskwatch.core.since import Since, since
from taskwatch.engine.ports import OpenTask
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.project import Check
from taskwatch.model.task import RUNNING

# Requests for open tasks that are in neither list; beyond, the whole list is less to read.
SEARCHES: Final = 20
CHECKED_FROM: Final = 3  # requests of a full poll; a shorter list is read whole each time

_RUNNING: Final = f"status={RUNNING}&"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
# Answers of a service that takes no such question: no window so far back, no task by its id.
_NO_EVIDENCE: Final = frozenset({400, 404})


class Whole:
    """The whole list; after it, if `checks`, the lists of an incremental poll.

    Requests of the check: fewer than those of the list and the searches together.
    """

    is_full = True

    def __init__(
        self,
        *,
        numbering: Numbering,
        hint: Numbering,
        sought: Collection[OpenTask] = (),
        checks: bool = False,
    ) -> None:
        self._numbering = numbering
        self._hint = hint
        self._sought = sought
        self._checks = checks
        self.date: str | None = None
        self.is_over = False  # all that counts was asked for; what comes then is the check
        self.failure: str | None = None
        self.check: Check | None = None
        self.missing: frozenset[str] = frozenset()

    @property
    def is_repeatable(self) -> bool:
        return not self.list.is_probed

    def read(self) -> Reads:
        self.list = Paging(configured=self._numbering, hint=self._hint)
        yield from self.list.read()
        self.failure = self.list.failure
        if self._sought:
            self.missing = frozenset(task.job_id for task in self._sought) - self.list.all_ids()
        self.is_over = True
        if self._checks and self.failure is None and self.list.pages >= CHECKED_FROM:
            try:
                yield from self._check()
            except CloudError as error:
                # A service that takes no such question; any other error says nothing of the lists.
                self.check = Check.DISAGREES if error.http_status in _NO_EVIDENCE else None

    def _check(self) -> Reads:
        created = {row.job_id: parse_time(row.created_at) for row in self.list.rows}
        newest = max((moment for moment in created.values() if moment is not None), default=None)
        if newest is None:
            self.check = Check.DISAGREES  # nothing to go by
            return
        asked = since(newest=newest, latest=newest, date=parse_date(self.date))
        lists = _Lists(asked, numbering=self._numbering, hint=self._hint)
        yield from lists.read()
        if lists.failure is not None:
            return
        begun = {
            job_id for job_id, at in created.items() if at is not None and asked.start <= at <= asked.until
        }
        running = {row.job_id for row in self.list.rows if row.status == RUNNING}
        if lists.have_strayed or not begun <= lists.recent.all_ids():
            self.check = Check.DISAGREES
            return
        unseen = [OpenTask(job_id, created[job_id]) for job_id in sorted(running - lists.all_ids())]
        # They may have ended since they were read.
        search = _Search(unseen, numbering=self._numbering, hint=self._hint)
        yield from search.read()
        if search.is_given_up or search.missing or any(row.status == RUNNING for row in search.found):
            self.check = Check.DISAGREES
        else:
            self.check = Check.PAYS if lists.pages < self.list.pages else Check.DEAR


class Recent:
    """The tasks that began lately, those that run, and known open ones that are in neither list."""

    def __init__(
        self, asked: Since, open_tasks: Collection[OpenTask], *, numbering: Numbering, hint: Numbering
    ) -> None:
        self._open = open_tasks
        self._numbering = numbering
        self._hint = hint
        self._asked = asked
        self.date: str | None = None
        self.is_full = False
        self.is_over = False
        self.failure: str | None = None
        self.check: Check | None = None
        self.missing: frozenset[str] = frozenset()

    @property
    def is_repeatable(self) -> bool:
        # A task that is missing is looked for again: the search found nothing that could be known again.
        return not (self.is_full or self.missing or self._lists.are_probed)

    def read(self) -> Reads:
        self._lists = _Lists(self._asked, numbering=self._numbering, hint=self._hint)
        try:
            yield from self._lists.read()
        except CloudError as error:
            if error.http_status not in _NO_EVIDENCE:
                raise
            self.check = Check.DISAGREES
        if self._lists.have_strayed:
            self.check = Check.DISAGREES
        if self.check is not None:
            yield from self._read_whole()
            return
        self.failure = self._lists.failure
        seen = self._lists.all_ids()
        search = _Search(
            [task for task in self._open if task.job_id not in seen],
            numbering=self._numbering,
            hint=self._hint,
        )
        yield from search.read()
        if search.is_given_up:
            yield from self._read_whole()
            return
        self.missing = frozenset(search.missing)
        self.is_over = True

    def _read_whole(self) -> Reads:
        whole = Whole(numbering=self._numbering, hint=self._hint, sought=self._open)
        self.is_full = True
        yield from whole.read()
        self.failure, self.missing = whole.failure, whole.missing
        self.is_over = True


class _Lists:
    """The two lists of an incremental poll."""

    def __init__(self, asked: Since, *, numbering: Numbering, hint: Numbering) -> None:
        def has_begun_since(row: Row) -> bool:
            created_at = parse_time(row.created_at)
            return created_at is None or created_at >= asked.start - _SECOND

        self.recent = Paging(
            _window(asked.start, asked.until), configured=numbering, hint=hint, expects=has_begun_since
        )
        self.running = Paging(_RUNNING, configured=numbering, hint=hint, expects=_runs)

    def read(self) -> Reads:
        yield from self.recent.read()
        if not self.recent.has_strayed:
            yield from self.running.read()

    @property
    def have_strayed(self) -> bool:
        return self.recent.has_strayed or self.running.has_strayed

    @property
    def failure(self) -> str | None:
        return self.recent.failure or self.running.failure

    @property
    def are_probed(self) -> bool:
        return self.recent.is_probed or self.running.is_probed

    @property
    def pages(self) -> int:
        return self.recent.pages + self.running.pages

    def all_ids(self) -> set[str]:
        return self.recent.all_ids() | self.running.all_ids()


class _Search:
    """Looks for tasks one by one: among those of the second in which each began, then by its id.

    All by their seconds first, which finds whatever is on the list in one request each. What that leaves
    is asked for by its id as far as the bound goes, and is missing beyond it: the next poll is a whole one.
    """

    def __init__(self, tasks: Collection[OpenTask], *, numbering: Numbering, hint: Numbering) -> None:
        self._tasks = tasks
        self._numbering = numbering
        self._hint = hint
        self._left = SEARCHES
        self.is_given_up = len(tasks) > SEARCHES  # before anything was asked for
        self.found: list[Row] = []
        self.missing: list[str] = []

    def read(self) -> Reads:
        if self.is_given_up:
            return
        unseen: list[str] = []
        for task in self._tasks:
            rows = (yield from self._begun_with(task.created_at)) if task.created_at is not None else []
            if not self._take(task.job_id, rows):
                unseen.append(task.job_id)
        for job_id in unseen:
            rows = (yield from self._of_id(job_id)) if self._left > 0 else []
            if not self._take(job_id, rows):
                self.missing.append(job_id)

    def _take(self, job_id: str, rows: Collection[Row]) -> bool:
        found = [row for row in rows if row.job_id == job_id]
        self.found += found
        return bool(found)

    def _begun_with(self, created_at: datetime) -> Generator[str, Page, list[Row]]:
        """Read what began in this second: one page, for whoever is not on it has an id."""
        window = _window(created_at - _SECOND, created_at + _SECOND)
        self._left -= 1  # what is refused was asked for as well
        try:
            page = yield from Paging(window, configured=self._numbering, hint=self._hint).read_first()
        except CloudError as error:
            if error.http_status not in _NO_EVIDENCE:
                raise
            return []
        return page.rows

    def _of_id(self, job_id: str) -> Generator[str, Page, list[Row]]:
        self._left -= 1
        try:
            job = yield job_place(job_id)
        except CloudError as error:
            if error.http_status not in _NO_EVIDENCE and error.cause is not CloudCause.BAD_ANSWER:
                raise
            return []
        return job.rows


def job_place(job_id: str) -> str:
    return f"jobs?id={quote(job_id, safe='')}"


def is_job(place: str) -> bool:
    return place.startswith("jobs?")


def _runs(row: Row) -> bool:
    return row.status == RUNNING


def _window(start: datetime, until: datetime) -> str:
    """Ask for what began between the two, in whole seconds: both ends, or the service may refuse."""
    first = max(0, math.floor((start - _EPOCH) / _SECOND))
    last = max(0, math.ceil((until - _EPOCH) / _SECOND))
    return f"start_time={first}000&end_time={last}000&"
