"""One reading of a project: what is asked next, and what the answers are worth.

Invariants:
- Bytes equal to those of the last complete and clean reading are not decoded, as long as the question
  is the same. Once a page differs, all are: digests are exact or there are none.
- Whatever a plan asks for, its pages and their bytes have a bound.
"""

from array import array
from collections.abc import Hashable
from datetime import datetime
from typing import Final, Protocol

from xxhash import xxh3_64, xxh3_64_intdigest

from taskwatch.cloud.decode import Page, Row, decode_job, decode_page, encode_rows, parse_date, to_task
from taskwatch.cloud.errors import Asked, bad_answer
from taskwatch.cloud.paging import Reads
from taskwatch.cloud.plans import is_job
from taskwatch.errors import CloudError
from taskwatch.model.project import Check, Digests, Listing, PageDigest
from taskwatch.model.task import Task

MAX_PAGES: Final = 1000
MAX_LISTING_BYTES: Final = 64 * 1024 * 1024  # bodies are kept until the reading ends

_NO_DIGESTS: Final = Digests(pages=(), rows=b"", tasks=0)


class Plan(Protocol):
    """Says what is read: `read` yields places, and what came of it stands in the plan afterwards."""

    date: str | None  # the Date header of the first answer

    @property
    def is_full(self) -> bool: ...
    @property
    def is_over(self) -> bool:
        """Whether all that counts was read."""
        ...

    @property
    def is_repeatable(self) -> bool:
        """Whether the same pages would be asked for again, and say the same."""
        ...

    @property
    def failure(self) -> str | None: ...
    @property
    def missing(self) -> frozenset[str]: ...
    @property
    def check(self) -> Check | None: ...
    def read(self) -> Reads: ...


class Reading:
    """Takes the pages of one poll in their order and makes a Listing of them.

    `place` is what to ask for next; None: the reading has ended.
    """

    __slots__ = (
        "_asked", "_bytes", "_content", "_failure", "_kept", "_known", "_pages", "_plan", "_quarantined", "_question",
        "_reads", "_replays", "_rows", "number", "place", "requests",
    )  # fmt: skip

    def __init__(self, plan: Plan, question: Hashable, known: Digests | None, asked: Asked) -> None:
        """`question` stands for all that the plan's questions depend on but the answers."""
        self.requests = 0
        self.number = 0  # of pages that were read
        self._plan = plan
        self._question = question
        self._asked = asked
        self._known = known or _NO_DIGESTS
        self._kept: list[tuple[str, bytes]] = []  # not decoded yet, for as long as nothing has changed
        self._replays = bool(self._known.pages) and self._known.asked == question  # so far
        self.place: str | None
        if self._replays:
            self.place = self._known.pages[0].place
        else:
            self._begin()

    @property
    def cloud_date(self) -> datetime | None:
        return parse_date(self._plan.date)

    def add(self, place: str, body: bytes, date: str | None = None) -> None:
        """Take the page of the place that was named, with its Date header. Raises CloudError when it is none."""
        if self._plan.date is None:
            self._plan.date = date
        if not self._replays:
            self._take(place, body)
            return
        pages = self._known.pages
        number = len(self._kept)
        self._kept.append((place, body))
        if pages[number].digest == xxh3_64_intdigest(body):
            self.number += 1
            # Equal pages end where they ended before.
            self.place = pages[number + 1].place if number + 1 < len(pages) else None
            return
        self._read_anew()

    def refuse(self, place: str, error: CloudError) -> None:
        """Take that there is no such page, or none that can be read. Raises the error where the plan needs one."""
        if self._replays:
            self._read_anew()
        if self.place != place:
            raise error
        try:
            self.place = self._reads.throw(error)
        except StopIteration:
            self.place = None

    def listing(self, failure: CloudError | None) -> Listing:
        """Say what was read. `failure` is why no more pages came, if it was not the end."""
        if self._replays:
            if self.place is None:
                return Listing(
                    changed=(),
                    rows=self._known.tasks,
                    full=self._plan.is_full,
                    complete=True,
                    clean=True,
                    cloud_date=self.cloud_date,
                    digests=self._known,
                    pages=self.number,
                    requests=self.requests,
                )
            self._decode_kept()
        if self._plan.is_over:
            failure = None  # then it was of the check
        if why := self._failure or self._plan.failure:
            failure = failure or bad_answer(self._asked, why)
        return self._judged(failure)

    def _judged(self, failure: CloudError | None) -> Listing:
        complete = self._plan.is_over and failure is None
        clean = not self._quarantined
        content = self._content.intdigest()
        if content == self._known.content:  # known rows in other bytes: no need to look at each
            changed: tuple[Task, ...] = ()
            packed, tasks, exact = self._known.rows, self._known.tasks, complete
        else:
            hashes = array("q", map(hash, self._rows))
            packed = hashes.tobytes()
            ids = {row.job_id for row in self._rows}
            distinct = set(hashes)
            changed = self._changed(distinct.difference(array("q", self._known.rows)))
            # Two contents of one task: which of them is stored is not decided here.
            tasks, exact = len(ids), complete and len(distinct) == len(ids)
        return Listing(
            changed=changed,
            rows=tasks,
            full=self._plan.is_full,
            complete=complete,
            clean=clean,
            quarantined=self._quarantined,
            cloud_date=self.cloud_date,
            digests=Digests(
                asked=self._question,
                pages=tuple(self._pages) if clean and self._plan.is_repeatable else (),
                rows=packed,
                content=content,
                tasks=tasks,
            )
            if exact
            else None,
            missing=self._plan.missing,
            check=self._plan.check,
            failure=failure,
            pages=self.number,
            requests=self.requests,
        )

    def _changed(self, fresh: set[int]) -> tuple[Task, ...]:
        """Return the rows with these digests, and every other reading of the same tasks."""
        ids = {row.job_id for row in self._rows if hash(row) in fresh}
        # Of equal rows the last one stands: of two readings of one task the later counts more.
        distinct = reversed(dict.fromkeys(reversed(self._rows)))
        return tuple(to_task(row) for row in distinct if row.job_id in ids)

    def _begin(self) -> None:
        """Let the plan say what is read: nothing of this is needed while all is as it was."""
        self._replays, self.number = False, 0
        self._reads = self._plan.read()
        self._failure: str | None = None
        self._bytes = 0
        self._pages: list[PageDigest] = []
        self._rows: list[Row] = []
        self._content = xxh3_64()  # of the rows
        self._quarantined = 0
        self.place = next(self._reads)

    def _read_anew(self) -> None:
        """Let the plan go over the pages that were equal to the known ones: something else differs."""
        self._begin()
        while self.place is not None:
            at = next((at for at, (place, _) in enumerate(self._kept) if place == self.place), None)
            if at is None:
                return
            self._take(*self._kept.pop(at))

    def _decode_kept(self) -> None:
        """Let the plan have what came of the pages, for there are no more of them."""
        self._read_anew()
        self.place = None

    def _take(self, place: str, body: bytes) -> None:
        page: Page = (decode_job if is_job(place) else decode_page)(body, self._asked)
        self.number += 1
        self._bytes += len(body)
        if not self._plan.is_over:  # what a check reads is held against the listing, and no part of it
            self._pages.append(PageDigest(place=place, digest=page.digest))
            self._rows += page.rows
            self._content.update(encode_rows(page.rows))
            self._quarantined += page.quarantined
        try:
            self.place = self._reads.send(page)
        except StopIteration:
            self.place = None
        else:
            if self.number >= MAX_PAGES or self._bytes > MAX_LISTING_BYTES:
                self.place = None
                self._failure = f"the list is longer than can be read: {len(self._rows)} rows and no end"
