"""One list in pages: what is asked next, where the list ends, whether all of it was seen.

The documentation counts rows in `offset`; a client of the vendor's own counts pages from 1, and lists of
sibling services count pages from 0. Which of them holds is found out, once a list is longer than a page.

Invariants:
- Rows of every page count, whatever its number was taken for.
- Offsets that count rows let pages overlap. A page that shares no row with those before it means that
  the list moved by more than the overlap, or that offset does not count rows.
- Numbered pages cannot overlap: the first is read again last. If its tasks moved, if a task came on two
  pages, or if the pages do not agree on how many tasks there are, not all of the list was seen.
- `total_count` never ends a reading of several pages; it can only say that an end which looked like one was none.

Requests for n tasks: one below 100; from 100 on floor((n - 100) / 90) + 2 where offset counts rows, and
floor(n / 100) + 2 where it counts pages, with one more to find out that from 0 and two more that from 1.

Not to be told apart: a list that is shorter than a page from one of which a page holds fewer rows than
were asked for and which says of no more; a list in which rows trade places from a list that does not
change; and, where pages are numbered, a record deleted beyond the first page from none, if the total is
missing or a task that began at the same time made up for it.
"""

from collections.abc import Callable, Generator
from enum import StrEnum
from functools import lru_cache
from typing import Final

from taskwatch.cloud.decode import Page, Row
from taskwatch.errors import CloudError

LIMIT: Final = 100  # rows a page; the most that the service gives
OVERLAP: Final = 10  # rows that two pages share, so that a list which moves a little shows that it did

_BAD_REQUEST: Final = 400
_EMPTY: Final = Page(rows=[])
_TWICE: Final = "the list moved while it was read: a task came on two pages; the next poll reads it again"

Reads = Generator[str, Page, None]  # yields places, is sent their pages, or thrown the error there was


class Numbering(StrEnum):
    """What the service means by `offset`."""

    AUTO = "auto"  # to be found out
    RECORD = "record"  # rows before the page
    PAGE0 = "page0"  # pages before the page
    PAGE1 = "page1"  # the number of the page, from 1


@lru_cache(maxsize=4096)  # all projects share the texts of the usual few
def place(query: str, offset: int) -> str:
    """Name a page of a list: path and query below the project."""
    return f"tasks?{query}offset={offset}&limit={LIMIT}"


class Paging:
    """Reads one list to its end. After `read`, `failure` says why not all of it was seen."""

    __slots__ = (
        "_bad", "_configured", "_expects", "_first", "_hint", "_odd", "_query", "_totals",
        "failure", "has_strayed", "ids", "is_probed", "numbering", "pages", "rows",
    )  # fmt: skip

    def __init__(
        self,
        query: str = "",
        *,
        configured: Numbering = Numbering.AUTO,
        hint: Numbering = Numbering.AUTO,
        expects: Callable[[Row], bool] | None = None,
    ) -> None:
        """`query` says which tasks, and ends in `&`. `hint` is what an earlier reading has found.

        With `expects`, a page with a row that does not belong to the list ends the reading at once.
        """
        self._query = query
        self._configured = configured
        self._hint = hint
        self._expects = expects
        self._first = _EMPTY
        self._bad = 0
        self._odd: list[int] = []  # digests of pages with bad rows
        self._totals: set[int | None] = set()
        self.numbering = Numbering.AUTO  # what this reading found it to be; the question may never arise
        self.is_probed = False  # pages were asked for to find that out
        self.has_strayed = False
        self.failure: str | None = None
        self.pages = 0
        self.rows: list[Row] = []
        self.ids: set[str] = set()  # of the rows; none of a list that is one page

    def read(self) -> Reads:
        first = yield from self.read_first()
        self._first = first
        self.pages = 1
        if first.size < LIMIT and (first.total_count or 0) <= first.size:
            # The whole list in one page: nothing to join, nothing that could repeat.
            self.rows = first.rows
            self._look(first)
            return
        self._take(first)
        if first.size == 0:
            self._fail(f"no rows at the beginning of {first.total_count} tasks")
            return
        if self.has_strayed:
            return
        match self._configured:
            case Numbering.RECORD:
                second = yield from self._next(self._after(0, first))
                yield from self._read_records(second)
            case Numbering.PAGE0 | Numbering.PAGE1:
                yield from self._read_numbered(self._configured, None)
            case Numbering.AUTO:
                yield from self._read_either()

    def all_ids(self) -> set[str]:
        return {row.job_id for row in self.rows}

    def read_first(self) -> Generator[str, Page, Page]:
        """Read the first page alone."""
        if self._configured is Numbering.PAGE1:
            return (yield place(self._query, 1))
        try:
            return (yield place(self._query, 0))
        except CloudError as error:
            if self._configured is not Numbering.AUTO or error.http_status != _BAD_REQUEST:
                raise
            refused = error
        # Where pages are counted from 1 there may be no page 0. Never the first choice: where rows are
        # counted it would leave out the newest one.
        try:
            return (yield place(self._query, 1))
        except CloudError:
            raise refused from None

    def _read_either(self) -> Reads:
        """Go on by the hint; find out where there is none, or where it is contradicted."""
        if self._hint in {Numbering.PAGE0, Numbering.PAGE1}:
            second = yield from self._probe(_number_of_second(self._hint))
            if second is not None and not self._is_mostly_first(second):
                yield from self._read_numbered(self._hint, second)
                if self._says_more(self._first):
                    # Either the total is wrong, or by now offset means something else: found out anew next time.
                    self._fail(
                        f"{self._seen} of {self._first.total_count} tasks seen; the next poll reads them again"
                    )
                return
            self.is_probed = True
        yield from self._find_out()

    def _find_out(self) -> Reads:
        overlapping = (yield from self._probe(self._after(0, self._first))) or _EMPTY
        if not _ids(overlapping).isdisjoint(self._ids_of_first):
            yield from self._read_records(overlapping)
            return
        self.is_probed = True
        for numbering in (Numbering.PAGE0, Numbering.PAGE1):
            second = yield from self._probe(_number_of_second(numbering))
            if second is not None and not self._is_mostly_first(second):
                yield from self._read_numbered(numbering, second)
                if self._says_more(self._first):
                    self.numbering = Numbering.AUTO  # good enough for this reading, not for those to come
                    if not second.size:
                        self._fail(f"no rows after the first {self._seen} of {self._first.total_count} tasks")
                return
        # The pages at 1 and at 2 are nearly the first one: rows are counted, and the list moved.
        yield from self._read_records(overlapping)

    def _read_records(self, second: Page) -> Reads:
        self.numbering = Numbering.RECORD
        before, page = self._first, second
        at = self._after(0, before)
        while self._goes_on_after(page, at, before):
            at = self._after(at, page)
            before, page = page, (yield from self._next(at))

    def _goes_on_after(self, page: Page, at: int, before: Page) -> bool:
        """Take a page that overlaps the one before it. Tell whether there may be another."""
        if page.size == 0:
            if self._says_more(page):
                self._fail(
                    f"no rows at offset {at} of {page.total_count} tasks: the list became shorter while it was"
                    " read, or offset counts pages here; see offset in the configuration"
                )
            elif page.total_count != self._seen:
                self._fail("the list became shorter while it was read; the next poll reads it again")
            return False
        is_repeated = self._is_repeated(page)
        if _ids(page).isdisjoint(self.ids):
            self._fail(
                "the list moved while it was read: two pages do not join; the next poll reads it again"
            )
        self._take(page)
        if self.has_strayed:
            return False
        if page.size < LIMIT:
            # Short, yet there is said to be more: a cloud that gives fewer rows than were asked for, or
            # a wrong total. The next page tells which: at the end of a list it holds the last rows once more.
            if page.size > 1 and _ids(page) == _ids(before):
                self._end_repeated(page)
            return not is_repeated and self._says_more(page)
        if is_repeated:
            self._end_repeated(page)
        return not is_repeated

    def _read_numbered(self, numbering: Numbering, second: Page | None) -> Reads:
        self.numbering = numbering
        number = _number_of_second(numbering)
        page = (yield from self._next(number)) if second is None else second
        while page.size:
            if self._is_repeated(page):
                self._end_repeated(page)
                break
            if not _ids(page).isdisjoint(self.ids):
                self._fail(_TWICE)
            self._take(page)
            if self.has_strayed:
                return
            if page.size < self._first.size:
                break
            number += 1
            page = yield from self._next(number)
        # Nobody asks the service for page 0 that has refused it.
        again = yield place(self._query, 1 if numbering is Numbering.PAGE1 else 0)
        self._totals.add(again.total_count)
        if (_ids(again), again.size) != (self._ids_of_first, self._first.size):
            self._fail(
                "the list moved while it was read: its first page is another; the next poll reads it again"
            )
        if len(self._totals) > 1:
            self._fail("the list moved while it was read: its pages name different totals")

    def _next(self, offset: int) -> Generator[str, Page, Page]:
        self.pages += 1
        return (yield place(self._query, offset))

    def _probe(self, offset: int) -> Generator[str, Page, Page | None]:
        """Ask for a page which the service may refuse: None."""
        try:
            return (yield from self._next(offset))
        except CloudError as error:
            if error.http_status != _BAD_REQUEST:
                raise
            return None

    def _take(self, page: Page) -> None:
        self.rows += page.rows
        self.ids |= _ids(page)
        self._totals.add(page.total_count)
        if page.quarantined:
            self._bad += page.quarantined
            self._odd.append(page.digest)
        self._look(page)

    def _look(self, page: Page) -> None:
        if self._expects is not None:
            self.has_strayed = not all(map(self._expects, page.rows))

    @property
    def _ids_of_first(self) -> set[str]:
        return _ids(self._first)

    def _is_mostly_first(self, page: Page) -> bool:
        """Tell whether half of the page's rows, or more, stood on the first page."""
        ids = _ids(page)
        return bool(ids) and 2 * len(ids & self._ids_of_first) >= len(ids)

    def _is_repeated(self, page: Page) -> bool:
        return _ids(page) <= self.ids and (not page.quarantined or page.digest in self._odd)

    def _end_repeated(self, page: Page) -> None:
        if page.total_count is None or self._says_more(page):
            total = "an unknown number" if page.total_count is None else str(page.total_count)
            self._fail(f"the same page came again, with {self._seen} of {total} tasks seen")

    @staticmethod
    def _after(at: int, page: Page) -> int:
        """Let the next page begin with the last rows of this one."""
        return at + page.size - min(OVERLAP, max(1, page.size // 2))

    @property
    def _seen(self) -> int:
        """Tasks seen, those with bad rows included."""
        return len(self.ids) + self._bad

    def _says_more(self, page: Page) -> bool:
        return page.total_count is not None and page.total_count > self._seen

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why


def _ids(page: Page) -> set[str]:
    return {row.job_id for row in page.rows}


def _number_of_second(numbering: Numbering) -> int:
    return 2 if numbering is Numbering.PAGE1 else 1
