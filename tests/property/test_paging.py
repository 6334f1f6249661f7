"""A list that moves while it is read: a reading that says complete has seen whatever stood throughout it.

Kept out, because no reader of these answers can tell it from a list that stands still:
- where pages are numbered, a record deleted beyond the first page while the total is missing or wrong,
  or while a task that begins makes up for it;
- where offset is to be found out, more than half a page of changes while that is done.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskwatch.cloud.paging import Numbering
from taskwatch.engine.ports import Ask
from taskwatch.model.project import Digests, Listing
from tests.fakes.direct_caller import DirectCaller, direct_client
from tests.fakes.list_service import ORDERS, ListService, Row, stamp
from tests.fakes.tasks_endpoint import row

SIZES: Final = (0, 1, 99, 100, 101, 189, 190, 199, 200, 250)
NUMBERINGS: Final = ("record", "page0", "page1")
TOTALS: Final = (..., None, 7, 99_999, "many")
MOST_CHANGES: Final = 49
START: Final = datetime(2026, 11, 1, tzinfo=UTC)

Move = tuple[str, int]  # begins or is deleted; where, in thousandths of the list


def a_row(number: int) -> Row:
    return row(f"job-{number:05d}", created_at=stamp(START + timedelta(minutes=number)))


def listed(count: int) -> list[Row]:
    return [a_row(number) for number in range(count)]


class Moving:
    """A list, and what becomes of it before each request."""

    def __init__(self, service: ListService, moves: Sequence[Sequence[Move]]) -> None:
        self.service = service
        self.moves = moves
        self.stood = {one["job_id"] for one in service.rows}
        self._next = 100_000

    def __call__(self, request: int) -> None:
        for what, where in self.moves[request - 2] if 2 <= request < len(self.moves) + 2 else ():
            rows = self.service.rows
            if what == "begins":
                rows.append(a_row(self._next))  # its id puts it anywhere, where ids say the order
                self._next += 1
            elif rows:
                gone = sorted(rows, key=ORDERS[self.service.order or "newest"])[where * len(rows) // 1000]
                rows.remove(gone)
                self.stood.discard(gone["job_id"])


def read(
    service: ListService,
    moves: Sequence[Sequence[Move]] = (),
    *,
    numbering: Numbering = Numbering.AUTO,
    known: Digests | None = None,
) -> tuple[Listing, Moving, DirectCaller]:
    moving = Moving(service, moves)
    caller = DirectCaller(service, before=moving)
    listing = asyncio.run(direct_client(caller, numbering=numbering).fetch(Ask(known=known)))
    return listing, moving, caller


def moves(*kinds: str) -> st.SearchStrategy[list[list[Move]]]:
    move = st.tuples(st.sampled_from(kinds), st.integers(0, 999))
    gap = st.lists(move, max_size=MOST_CHANGES // 3)
    return st.lists(gap, max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    size=st.sampled_from(SIZES),
    order=st.sampled_from(sorted(ORDERS)),
    total=st.sampled_from(TOTALS),
    configured=st.sampled_from([Numbering.AUTO, Numbering.RECORD]),
    moved=moves("begins", "is deleted"),
)
@example(size=190, order="newest", total=None, configured=Numbering.AUTO, moved=[[("is deleted", 0)] * 10])
def test_a_complete_reading_by_rows_has_seen_all_that_stood(
    size: int, order: str, total: object, configured: Numbering, moved: list[list[Move]]
) -> None:
    listing, moving, _ = read(
        ListService(listed(size), order=order, total=total), moved, numbering=configured
    )
    if listing.complete:
        assert moving.stood <= {task.job_id for task in listing.changed}


@settings(max_examples=300, deadline=None)
@given(
    size=st.sampled_from(SIZES),
    order=st.sampled_from(sorted(ORDERS)),
    numbering=st.sampled_from(["page0", "page1"]),
    configured=st.sampled_from([Numbering.AUTO, None]),  # None: what it is
    moved=st.tuples(st.sampled_from(TOTALS), moves("begins")) | st.tuples(st.just(...), moves("is deleted")),
)
@example(
    size=250, order="oldest", numbering="page0", configured=None, moved=(..., [[], [("is deleted", 500)]])
)
def test_a_complete_reading_by_numbered_pages_has_seen_all_that_stood(
    size: int,
    order: str,
    numbering: str,
    configured: Numbering | None,
    moved: tuple[object, list[list[Move]]],
) -> None:
    listing, moving, _ = read(
        ListService(listed(size), numbering=numbering, order=order, total=moved[0]),
        moved[1],
        numbering=configured or Numbering(numbering),
    )
    if listing.complete:
        assert moving.stood <= {task.job_id for task in listing.changed}


@pytest.mark.parametrize("numbering", NUMBERINGS)
@pytest.mark.parametrize("size", [*SIZES, 5000])
def test_a_list_that_stands_still_is_complete_in_as_many_requests_as_the_formula_says(
    size: int, numbering: str
) -> None:
    by_rows = 1 if size < 100 else floor((size - 100) / 90) + 2
    by_pages = 1 if size < 100 else floor(size / 100) + 2
    expected = {"record": by_rows, "page0": by_pages, "page1": by_pages}[numbering]
    to_find_out = 0 if size < 100 else NUMBERINGS.index(numbering)
    service = ListService(listed(size), numbering=numbering)
    caller = DirectCaller(service)
    client = direct_client(caller)

    first = asyncio.run(client.fetch(Ask()))
    assert (first.rows, first.complete, first.requests) == (size, True, expected + to_find_out)
    second = asyncio.run(client.fetch(Ask(known=first.digests)))
    assert (second.changed, second.complete, second.requests) == ((), True, expected)
    third = asyncio.run(client.fetch(Ask(known=second.digests)))
    assert third.digests is second.digests
    assert third.requests == expected


@pytest.mark.parametrize("numbering", NUMBERINGS)
@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("size", [100, 101, 200, 250])
def test_a_total_of_any_kind_neither_loses_a_row_nor_keeps_a_list_from_being_whole(
    size: int, total: object, numbering: str
) -> None:
    if size == 100 and total == 99_999 and numbering != "record":
        pytest.skip("an empty page after the first of many is not taken for the end: see test_cloud_reading")
    service = ListService(listed(size), numbering=numbering, total=total)
    for _ in range(3):  # what was found out must not stand in the way of the next reading
        listing, _, _ = read(service)
        assert (listing.rows, listing.complete) == (size, True)


@pytest.mark.parametrize("numbering", NUMBERINGS)
@pytest.mark.parametrize("total", [..., 99_999])
@pytest.mark.parametrize("most", [2, 3, 10, 50])
def test_a_service_that_ignores_the_limit_is_read_whole_or_said_not_to_be(
    most: int, total: object, numbering: str
) -> None:
    service = ListService(listed(120), numbering=numbering, most=most, total=total)
    listing, _, _ = read(service)
    assert listing.rows == 120 or not listing.complete


@pytest.mark.parametrize("numbering", ["page0", "page1"])
def test_an_unsuspecting_service_may_refuse_page_0(numbering: str) -> None:
    service = ListService(listed(250), numbering=numbering, refuses_page_0=True)
    listing, _, _ = read(service)
    assert (listing.rows, listing.complete) == (250, True)


def test_a_service_that_comes_to_count_otherwise_loses_no_row_silently() -> None:
    service = ListService(listed(450))
    caller = DirectCaller(service)
    client = direct_client(caller)
    for before in NUMBERINGS:
        for after in NUMBERINGS:
            service.numbering = before
            for _ in range(2):
                asyncio.run(client.fetch(Ask()))
            service.numbering = after
            listing = asyncio.run(client.fetch(Ask()))
            assert listing.rows == 450 or not listing.complete, (before, after)
            assert asyncio.run(client.fetch(Ask())).complete
