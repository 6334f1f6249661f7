"""One reading of a list in pages: where it goes on, when it ends, what it is worth.

Invariants:
- Pages overlap. A page without a row that was seen before means that the list moved by more than the
  overlap, or that it is not what was asked for: the reading is not complete.
- `total_count` never ends a reading; it can only say that an end which looked like one was none.
- Bytes equal to those of the last complete and clean reading are not decoded. Once a page differs,
  all are: digests are exact or there are none.
"""

from array import array
from datetime import datetime
from typing import Final

from xxhash import xxh3_64_intdigest

from taskwatch.cloud.decode import Page, Row, decode_page, to_task
from taskwatch.cloud.errors import Asked, bad_answer, http_date
from taskwatch.errors import CloudError
from taskwatch.model.project import Digests, Listing, PageDigest
from taskwatch.model.task import Task

LIMIT: Final = 100  # rows a page; the most that the service gives
OVERLAP: Final = 10  # rows that two pages share, so that a list which moves a little shows that it did
MAX_PAGES: Final = 1000
MAX_LISTING_BYTES: Final = 64 * 1024 * 1024  # bodies are kept until the reading ends

_NO_DIGESTS: Final = Digests(pages=(), rows=b"", tasks=0)


class Reading:
    """Takes the pages of one poll in their order and makes a Listing of them."""

    __slots__ = (
        "_asked", "_bodies", "_bytes", "_ended", "_failure", "_ids", "_known", "_offset", "_pages", "_quarantined",
        "_rows", "_unchanged", "date", "requests",
    )  # fmt: skip

    def __init__(self, known: Digests | None, asked: Asked) -> None:
        self.requests = 0
        self.date: str | None = None  # the Date header of the first answer
        self._asked = asked
        self._known = known or _NO_DIGESTS
        self._unchanged = bool(self._known.pages)  # so far
        self._ended = False
        self._failure: CloudError | None = None
        self._offset = 0
        self._bytes = 0
        self._bodies: list[bytes] = []  # not decoded yet, for as long as nothing has changed
        self._pages: list[PageDigest] = []
        self._rows: list[Row] = []
        self._ids: set[str] = set()  # of all rows but those of a list that is one page
        self._quarantined = 0

    @property
    def next_offset(self) -> int | None:
        """Where the next page begins; None: the reading has ended."""
        return None if self._ended else self._offset

    def has_pages(self) -> bool:
        return bool(self._pages)

    def add(self, body: bytes) -> None:
        """Take the next page. Raises CloudError when it is no page of a task list."""
        if self._unchanged:
            number = len(self._pages)
            page = self._known.pages[number]
            if page.digest == xxh3_64_intdigest(body):
                self._bodies.append(body)
                self._pages.append(page)
                self._advance(page.rows)
                self._ended = number + 1 == len(self._known.pages)  # equal pages end where they ended before
                return
            self._decode_kept()
        self._take(body)

    def listing(self, failure: CloudError | None) -> Listing:
        """Say what was read. `failure` is why no more pages came, if it was not the end of the list."""
        if self._unchanged and self._ended:
            return Listing(
                changed=(),
                rows=self._known.tasks,
                complete=True,
                clean=True,
                cloud_date=self._cloud_date(),
                digests=self._known,
                pages=len(self._pages),
                requests=self.requests,
            )
        self._decode_kept()
        return self._judged(failure or self._failure)

    def _judged(self, failure: CloudError | None) -> Listing:
        complete = self._ended and failure is None
        clean = not self._quarantined
        hashes = array("q", map(hash, self._rows))
        packed = hashes.tobytes()
        if packed == self._known.rows:  # the usual case by far: known rows in other bytes
            changed: tuple[Task, ...] = ()
            tasks, exact = self._known.tasks, complete
        else:
            ids = {row.job_id for row in self._rows}
            distinct = set(hashes)
            changed = self._changed(distinct.difference(array("q", self._known.rows)))
            # Two contents of one task: which of them is stored is not decided here.
            tasks, exact = len(ids), complete and len(distinct) == len(ids)
        return Listing(
            changed=changed,
            rows=tasks,
            complete=complete,
            clean=clean,
            quarantined=self._quarantined,
            cloud_date=self._cloud_date(),
            digests=Digests(pages=tuple(self._pages) if clean else (), rows=packed, tasks=tasks)
            if exact
            else None,
            failure=failure,
            pages=len(self._pages),
            requests=self.requests,
        )

    def _changed(self, fresh: set[int]) -> tuple[Task, ...]:
        """Return the rows with these digests, and every other reading of the same tasks."""
        ids = {row.job_id for row in self._rows if hash(row) in fresh}
        # Of equal rows the last one stands: of two readings of one task the later counts more.
        distinct = reversed(dict.fromkeys(reversed(self._rows)))
        return tuple(to_task(row) for row in distinct if row.job_id in ids)

    def _cloud_date(self) -> datetime | None:
        return http_date(self.date) if self.date else None

    def _decode_kept(self) -> None:
        """Decode the pages that were equal to the known ones: something else differs."""
        if not self._unchanged:
            return
        bodies = self._bodies
        self._unchanged, self._ended, self._offset = False, False, 0
        self._bodies, self._pages = [], []
        for body in bodies:
            self._take(body)

    def _take(self, body: bytes) -> None:
        page = decode_page(body, self._asked)
        is_first = not self._pages
        digest = PageDigest(digest=xxh3_64_intdigest(body), rows=page.size)
        if is_first and 0 < page.size < LIMIT and (page.total_count or 0) <= page.size:
            # The whole list in one page: nothing to join, nothing that could repeat.
            self._pages.append(digest)
            self._rows, self._quarantined, self._ended = page.rows, page.quarantined, True
            return
        ids = {row.job_id for row in page.rows}
        is_repeated = ids <= self._ids and (not page.quarantined or digest in self._pages)
        is_joined = is_first or not ids.isdisjoint(self._ids)

        self._pages.append(digest)
        self._rows += page.rows
        self._ids |= ids
        self._quarantined += page.quarantined
        self._bytes += len(body)
        at = self._offset
        self._advance(page.size)

        if page.size == 0:
            self._end_empty(page, at=at, is_first=is_first)
            return
        if not is_joined:
            self._fail(
                "the list moved while it was read: two pages do not join; the next poll reads it again"
            )
        if page.size < LIMIT:
            # Short, yet there is said to be more: a cloud that gives fewer rows than were asked for, or
            # a wrong total. The next page tells which.
            self._ended = is_repeated or not self._has_more(page)
        elif is_repeated:
            self._end_repeated(page)
        elif len(self._pages) >= MAX_PAGES or self._bytes > MAX_LISTING_BYTES:
            self._ended = True
            self._fail(f"the list is longer than can be read: {len(self._ids)} tasks and no end")

    def _advance(self, rows: int) -> None:
        """Let the next page begin with the last rows of this one."""
        self._offset = max(self._offset + rows - OVERLAP, 0)

    def _end_empty(self, page: Page, *, at: int, is_first: bool) -> None:
        self._ended = True
        if self._has_more(page):
            self._fail(
                f"no rows at offset {at} of {page.total_count} tasks: offset seems to count pages"
                " here, and this version reads offsets that count rows only"
            )
        elif not is_first and page.total_count != self._seen:
            self._fail("the list became shorter while it was read; the next poll reads it again")

    def _end_repeated(self, page: Page) -> None:
        self._ended = True
        if page.total_count is None or self._has_more(page):
            total = "an unknown number" if page.total_count is None else str(page.total_count)
            self._fail(f"the same page came again, with {self._seen} of {total} tasks seen")

    @property
    def _seen(self) -> int:
        return len(self._ids) + self._quarantined

    def _has_more(self, page: Page) -> bool:
        return page.total_count is not None and page.total_count > self._seen

    def _fail(self, why: str) -> None:
        self._failure = self._failure or bad_answer(self._asked, why)
