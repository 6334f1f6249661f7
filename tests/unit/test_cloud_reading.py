"""How pages become a listing: where it ends, when it is complete, what has changed."""

import json
from typing import Any

import pytest

from taskwatch.cloud import reading as reading_module
from taskwatch.cloud.errors import Asked
from taskwatch.cloud.reading import LIMIT, MAX_PAGES, OVERLAP, Reading
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.project import Digests, Listing

ASKED = Asked(host="gaussdb.example", credential="the token")


def _row(job_id: object, status: str = "Completed", **fields: Any) -> dict[str, Any]:
    return {"job_id": job_id, "status": status, "name": "Backup", **fields}


def _rows(start: int, stop: int) -> list[dict[str, Any]]:
    return [_row(f"job-{number}") for number in range(start, stop)]


def _body(rows: list[Any], total: object = None) -> bytes:
    return json.dumps({"tasks": rows} | ({} if total is None else {"total_count": total})).encode()


def _read(*bodies: bytes, known: Digests | None = None) -> Listing:
    """Give all pages, and nothing after the reading says that it has ended."""
    reading = Reading(known, ASKED)
    for body in bodies:
        assert reading.next_offset is not None
        reading.add(body)
    assert reading.next_offset is None
    return reading.listing(None)


FIRST, SECOND = _body(_rows(0, 100)), _body(_rows(90, 150))


def _ids(listing: Listing) -> list[str]:
    return [task.job_id for task in listing.changed]


def test_one_short_page_is_the_whole_list() -> None:
    listing = _read(_body(_rows(0, 99)))
    assert (listing.rows, listing.complete, listing.clean, listing.pages) == (99, True, True, 1)
    assert len(listing.changed) == 99
    assert listing.digests is not None


def test_an_empty_list_is_complete() -> None:
    listing = _read(_body([], total=0))
    assert (listing.rows, listing.complete, listing.changed) == (0, True, ())


def test_the_next_page_overlaps_the_one_before() -> None:
    reading = Reading(None, ASKED)
    reading.add(FIRST)
    assert reading.next_offset == LIMIT - OVERLAP


def test_rows_that_two_pages_share_count_once() -> None:
    listing = _read(FIRST, SECOND)
    assert (listing.rows, len(listing.changed), listing.pages) == (150, 150, 2)


def test_pages_that_do_not_join_are_not_complete_and_their_rows_count() -> None:
    listing = _read(FIRST, _body(_rows(100, 150)))
    assert (listing.complete, listing.rows, listing.digests) == (False, 150, None)
    assert "do not join" in str(listing.failure)


def test_a_page_that_comes_again_for_ever_ends_the_reading() -> None:
    body = _body(_rows(0, 100), total=100)
    assert (_read(body, body).complete, _read(body, body).rows) == (True, 100)


def test_a_page_that_comes_again_and_no_word_of_how_many_there_are_is_not_complete() -> None:
    listing = _read(FIRST, FIRST)
    assert (listing.complete, listing.rows) == (False, 100)
    assert "the same page came again" in str(listing.failure)


def test_a_short_page_of_a_longer_list_is_read_on_from_where_it_ended() -> None:
    listing = _read(_body(_rows(0, 50), total=80), _body(_rows(40, 80), total=80))
    assert (listing.complete, listing.rows) == (True, 80)


def test_a_short_list_under_a_total_that_is_too_high_is_never_asked_for_below_its_beginning() -> None:
    # An equal first page went its own way to the next offset, and that way led to -5.
    body = _body(_rows(0, 5), total=7)
    known = _read(body, body).digests
    reading = Reading(known, ASKED)
    offsets = []
    for _ in range(2):
        reading.add(body)
        offsets.append(reading.next_offset)
    assert offsets == [0, None]
    assert reading.listing(None).digests == known


def test_a_list_that_becomes_empty_between_two_pages_is_not_complete() -> None:
    listing = _read(_body(_rows(0, 5), total=7), _body([], total=0))
    assert not listing.complete
    assert "became shorter" in str(listing.failure)


def test_a_total_that_is_too_high_costs_one_more_request_and_no_row() -> None:
    listing = _read(_body(_rows(0, 5), total=7), _body(_rows(0, 5), total=7))
    assert (listing.complete, listing.rows) == (True, 5)


def test_a_page_that_comes_again_although_there_are_more_tasks_is_not_complete() -> None:
    body = _body(_rows(0, 100), total=250)
    listing = _read(body, body)
    assert not listing.complete
    assert "100 of 250 tasks" in str(listing.failure)


def test_a_service_that_ignores_the_limit_is_read_to_the_end() -> None:
    body = _body(_rows(0, 250), total=250)
    listing = _read(body, body)
    assert (listing.complete, listing.rows) == (True, 250)


def test_an_empty_page_while_there_are_more_tasks_means_that_offset_counts_pages() -> None:
    listing = _read(_body(_rows(0, 100), total=250), _body([], total=250))
    assert (listing.complete, listing.rows) == (False, 100)
    assert "no rows at offset 90 of 250 tasks: offset seems to count pages" in str(listing.failure)


def test_an_empty_first_page_while_there_are_tasks_is_no_baseline() -> None:
    listing = _read(_body([], total=3))
    assert not listing.complete
    assert "no rows at offset 0 of 3 tasks" in str(listing.failure)


def test_an_empty_page_after_exactly_all_tasks_is_the_end_by_either_reading_of_offset() -> None:
    assert _read(_body(_rows(0, 100), total=100), _body([], total=100)).complete


def test_an_empty_page_where_rows_were_is_a_list_that_moved() -> None:
    listing = _read(FIRST, _body([]))
    assert not listing.complete
    assert "became shorter" in str(listing.failure)


@pytest.mark.parametrize("total", [0, 1, 7, "99999", "many", None, -3, [], {"a": 1}, 1e99])
def test_a_wrong_total_never_ends_a_reading(total: object) -> None:
    pages = [_body(_rows(0, 100), total=total), _body(_rows(90, 150), total=total)]
    if total == "99999":
        pages.append(_body(_rows(140, 150), total=total))  # the end, once more
    listing = _read(*pages)
    assert (listing.complete, listing.rows) == (True, 150)


def test_a_list_without_end_is_left_at_a_bound() -> None:
    reading = Reading(None, ASKED)
    pages = 0
    while (offset := reading.next_offset) is not None:
        reading.add(_body(_rows(offset, offset + LIMIT)))
        pages += 1
    listing = reading.listing(None)
    assert (pages, listing.complete) == (MAX_PAGES, False)
    assert "longer than can be read" in str(listing.failure)


def test_pages_of_many_bytes_are_left_at_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "MAX_LISTING_BYTES", len(FIRST) * 5 // 2)
    listing = _read(FIRST, _body(_rows(90, 190)), _body(_rows(180, 280)))
    assert not listing.complete


# -- what has changed


def _known(*bodies: bytes) -> Digests:
    digests = _read(*bodies).digests
    assert digests is not None
    return digests


def test_equal_pages_change_nothing_and_keep_the_very_digests() -> None:
    known = _known(FIRST, SECOND)
    listing = _read(FIRST, SECOND, known=known)
    assert (listing.changed, listing.rows, listing.complete, listing.clean) == ((), 150, True, True)
    assert listing.digests is known


def test_equal_bytes_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    known = _known(FIRST, SECOND)
    monkeypatch.delattr(reading_module, "decode_page")
    assert _read(FIRST, SECOND, known=known).digests is known


@pytest.mark.parametrize("place", [0, 50, 95, 149])
def test_only_the_row_that_differs_has_changed(place: int) -> None:
    rows = _rows(0, 150)
    rows[place] = _row(f"job-{place}", "Failed")
    listing = _read(_body(rows[:100]), _body(rows[90:]), known=_known(FIRST, SECOND))
    assert [(task.job_id, task.status) for task in listing.changed] == [(f"job-{place}", "Failed")]
    assert listing.complete


def test_rows_in_another_order_have_not_changed() -> None:
    listing = _read(_body(list(reversed(_rows(0, 50)))), known=_known(_body(_rows(0, 50))))
    assert (listing.changed, listing.complete) == ((), True)
    assert listing.digests is not None


def test_a_listing_that_grew_by_a_page_is_decoded_as_a_whole() -> None:
    known = _known(FIRST, SECOND)
    listing = _read(FIRST, _body(_rows(90, 190)), _body(_rows(180, 200)), known=known)
    assert sorted(_ids(listing)) == sorted(f"job-{number}" for number in range(150, 200))
    assert (listing.rows, listing.complete, listing.pages) == (200, True, 3)


def test_a_listing_that_shrank_by_a_page_is_complete() -> None:
    listing = _read(_body(_rows(0, 60)), known=_known(FIRST, SECOND))
    assert (listing.changed, listing.rows, listing.complete) == ((), 60, True)


def test_a_task_that_vanished_and_came_back_is_compared_with_the_store_again() -> None:
    without = _known(_body(_rows(0, 9)))
    assert _ids(_read(_body(_rows(0, 10)), known=without)) == ["job-9"]


def test_all_readings_of_a_task_with_two_contents_are_told_and_nothing_is_remembered() -> None:
    known = _known(_body(_rows(0, 3)))
    listing = _read(_body([*_rows(0, 3), _row("job-1", "Failed")]), known=known)
    assert [(task.job_id, task.status) for task in listing.changed] == [
        ("job-1", "Completed"),
        ("job-1", "Failed"),
    ]
    assert (listing.complete, listing.digests, listing.rows) == (True, None, 3)


def test_of_readings_that_came_back_the_last_stands_last() -> None:
    listing = _read(_body([_row("a", "Running"), _row("a", "Failed"), _row("a", "Running")]))
    assert [task.status for task in listing.changed] == ["Failed", "Running"]


def test_equal_rows_twice_are_one_task() -> None:
    listing = _read(_body([*_rows(0, 3), *_rows(0, 3)]))
    assert (listing.rows, len(listing.changed)) == (3, 3)
    assert listing.digests is not None


def test_a_quarantined_row_makes_equal_bytes_be_read_again() -> None:
    body = _body([_row("a"), _row(None), _row("b")])
    first = _read(body)
    assert (first.complete, first.clean, first.quarantined, first.rows) == (True, False, 1, 2)
    assert first.digests is not None
    assert first.digests.pages == ()
    second = _read(body, known=first.digests)
    assert (second.changed, second.clean, second.quarantined) == ((), False, 1)


def test_a_page_of_bad_rows_does_not_end_the_reading() -> None:
    bad = [_row(None, str(number)) for number in range(90)]
    listing = _read(FIRST, _body([*_rows(90, 100), *bad]), _body([*bad[-10:], _row("z"), _row("job-1")]))
    assert (listing.rows, listing.clean, listing.complete) == (101, False, True)


def test_a_page_that_fails_after_equal_ones_leaves_what_they_said() -> None:
    reading = Reading(_known(FIRST, SECOND), ASKED)
    reading.add(FIRST)
    with pytest.raises(CloudError):
        reading.add(b"<html>")
    failure = CloudError(CloudCause.BAD_ANSWER, "x")
    listing = reading.listing(failure)
    assert (listing.changed, listing.rows, listing.complete, listing.digests) == ((), 100, False, None)
    assert listing.failure is failure


def test_columns_that_are_not_used_change_nothing() -> None:
    known = _known(_body([_row("a", extra=1)]))
    assert _read(_body([_row("a", extra=2)]), known=known).changed == ()
