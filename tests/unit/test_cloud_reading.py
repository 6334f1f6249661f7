"""How pages become a listing: where it ends, when it is complete, what has changed."""

import json
from typing import Any

import pytest

from taskwatch.cloud import reading as reading_module
from taskwatch.cloud.errors import Asked
from taskwatch.cloud.paging import LIMIT, OVERLAP, Numbering
from taskwatch.cloud.plans import Whole
from taskwatch.cloud.reading import MAX_PAGES, Reading
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.project import Digests, Listing

ASKED = Asked(host="gaussdb.example", credential="the token")


def _row(job_id: object, status: str = "Completed", **fields: Any) -> dict[str, Any]:
    return {"job_id": job_id, "status": status, "name": "Backup", **fields}


def _rows(start: int, stop: int) -> list[dict[str, Any]]:
    return [_row(f"job-{number}") for number in range(start, stop)]


def _body(rows: list[Any], total: object = None) -> bytes:
    return json.dumps({"tasks": rows} | ({} if total is None else {"total_count": total})).encode()


def _read(*bodies: bytes, known: Digests | None = None, numbering: Numbering = Numbering.AUTO) -> Listing:
    """Give all pages, and nothing after the reading says that it has ended."""
    reading = _reading(known, numbering)
    for body in bodies:
        _add(reading, body)
    assert reading.place is None
    return reading.listing(None)


def _reading(known: Digests | None = None, numbering: Numbering = Numbering.AUTO) -> Reading:
    return Reading(Whole(numbering=numbering, hint=Numbering.AUTO), numbering, known, ASKED)


def _add(reading: Reading, body: bytes) -> None:
    assert reading.place is not None
    reading.add(reading.place, body)


def _offset(reading: Reading) -> int | None:
    """Where the next page begins; None: the reading has ended."""
    if reading.place is None:
        return None
    return int(reading.place.removeprefix("tasks?offset=").removesuffix("&limit=100"))


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
    reading = _reading()
    _add(reading, FIRST)
    assert _offset(reading) == LIMIT - OVERLAP


def test_rows_that_two_pages_share_count_once() -> None:
    listing = _read(FIRST, SECOND)
    assert (listing.rows, len(listing.changed), listing.pages) == (150, 150, 2)


def test_pages_that_do_not_join_are_not_complete_and_their_rows_count() -> None:
    listing = _read(FIRST, _body(_rows(100, 150)), numbering=Numbering.RECORD)
    assert (listing.complete, listing.rows, listing.digests) == (False, 150, None)
    assert "do not join" in str(listing.failure)


def test_pages_that_do_not_join_where_the_next_two_offsets_give_nearly_the_first_page_are_a_list_that_moved() -> (
    None
):
    listing = _read(FIRST, _body(_rows(100, 150)), _body(_rows(1, 101)), _body(_rows(2, 102)))
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
    bodies = _body(_rows(0, 5), total=7), _body(_rows(3, 5), total=7)
    known = _read(*bodies).digests
    reading = _reading(known)
    offsets = []
    for body in bodies:
        _add(reading, body)
        offsets.append(_offset(reading))
    assert offsets == [3, None]
    assert reading.listing(None).digests == known


def test_a_list_that_becomes_empty_between_two_pages_is_not_complete() -> None:
    empty = _body([], total=0)
    listing = _read(_body(_rows(0, 5), total=7), empty, numbering=Numbering.RECORD)
    assert not listing.complete
    assert "became shorter" in str(listing.failure)
    assert not _read(_body(_rows(0, 5), total=7), empty, empty, empty).complete


def test_a_total_that_is_too_high_costs_one_more_request_and_no_row() -> None:
    listing = _read(_body(_rows(0, 5), total=7), _body(_rows(3, 5), total=7))
    assert (listing.complete, listing.rows) == (True, 5)


def test_one_task_under_a_total_that_is_too_high_is_the_whole_list() -> None:
    body = _body(_rows(0, 1), total=7)
    assert _read(body, body).complete


def test_a_short_page_that_comes_again_at_another_offset_although_there_are_more_tasks_is_not_complete() -> (
    None
):
    body = _body(_rows(0, 5), total=7)
    assert not _read(body, body).complete


def test_a_page_that_comes_again_although_there_are_more_tasks_is_not_complete() -> None:
    body = _body(_rows(0, 100), total=250)
    listing = _read(body, body)
    assert not listing.complete
    assert "100 of 250 tasks" in str(listing.failure)


def test_a_service_that_ignores_the_limit_is_read_to_the_end() -> None:
    body = _body(_rows(0, 250), total=250)
    listing = _read(body, body)
    assert (listing.complete, listing.rows) == (True, 250)


def test_an_empty_page_while_there_are_more_tasks_says_that_offset_may_count_pages() -> None:
    empty = _body([], total=250)
    listing = _read(_body(_rows(0, 100), total=250), empty, numbering=Numbering.RECORD)
    assert (listing.complete, listing.rows) == (False, 100)
    assert "no rows at offset 90 of 250 tasks" in str(listing.failure)
    assert "see offset in the configuration" in str(listing.failure)


def test_an_empty_first_page_while_there_are_tasks_is_no_baseline() -> None:
    listing = _read(_body([], total=3))
    assert not listing.complete
    assert "no rows at the beginning of 3 tasks" in str(listing.failure)


def test_an_empty_page_after_exactly_all_tasks_is_the_end_by_either_reading_of_offset() -> None:
    first, empty = _body(_rows(0, 100), total=100), _body([], total=100)
    assert _read(first, empty, numbering=Numbering.RECORD).complete
    assert _read(first, empty, empty, first).complete


def test_an_empty_page_where_rows_were_is_a_list_that_moved() -> None:
    listing = _read(FIRST, _body([]), numbering=Numbering.RECORD)
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
    reading = _reading()
    pages = 0
    while (offset := _offset(reading)) is not None:
        _add(reading, _body(_rows(offset, offset + LIMIT)))
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
    reading = _reading(_known(FIRST, SECOND))
    _add(reading, FIRST)
    with pytest.raises(CloudError):
        _add(reading, b"<html>")
    failure = CloudError(CloudCause.BAD_ANSWER, "x")
    listing = reading.listing(failure)
    assert (listing.changed, listing.rows, listing.complete, listing.digests) == ((), 100, False, None)
    assert listing.failure is failure


# -- offsets that count pages: places are asserted, answers are given in their order


def _places(
    *bodies: bytes, numbering: Numbering = Numbering.AUTO, hint: Numbering = Numbering.AUTO
) -> list[int]:
    reading = Reading(Whole(numbering=numbering, hint=hint), numbering, None, ASKED)
    places = []
    for body in bodies:
        place = _offset(reading)
        assert place is not None
        places.append(place)
        _add(reading, body)
    assert _offset(reading) is None
    assert reading.listing(None).complete
    return places


LAST, NONE = _body(_rows(100, 150)), _body([])


def test_pages_counted_from_0_are_found_out_in_one_more_request() -> None:
    assert _places(FIRST, NONE, LAST, FIRST) == [0, 90, 1, 0]


def test_pages_counted_from_1_are_found_out_in_two_more_requests() -> None:
    assert _places(FIRST, NONE, FIRST, LAST, FIRST) == [0, 90, 1, 2, 1]


def test_what_was_found_out_is_not_asked_again() -> None:
    assert _places(FIRST, LAST, FIRST, hint=Numbering.PAGE0) == [0, 1, 0]
    assert _places(FIRST, LAST, FIRST, hint=Numbering.PAGE1) == [0, 2, 1]


def test_what_is_configured_is_taken_at_its_word() -> None:
    assert _places(FIRST, LAST, FIRST, numbering=Numbering.PAGE0) == [0, 1, 0]
    assert _places(FIRST, LAST, FIRST, numbering=Numbering.PAGE1) == [1, 2, 1]
    assert _places(FIRST, SECOND, numbering=Numbering.RECORD) == [0, 90]


def test_a_second_page_that_is_nearly_the_first_contradicts_what_was_found_out() -> None:
    shifted = _body(_rows(1, 101))
    assert _places(FIRST, shifted, SECOND, hint=Numbering.PAGE0) == [0, 1, 90]


def test_a_page_beyond_the_list_may_be_refused() -> None:
    reading = _reading()
    _add(reading, FIRST)
    reading.refuse(reading.place or "", CloudError(CloudCause.BAD_ANSWER, "x", http_status=400))
    for body in (LAST, FIRST):
        _add(reading, body)
    assert reading.listing(None).complete


def test_any_other_refusal_ends_the_reading() -> None:
    reading = _reading()
    _add(reading, FIRST)
    with pytest.raises(CloudError):
        reading.refuse(reading.place or "", CloudError(CloudCause.CLOUD, "x", http_status=503))


def test_page_0_may_be_refused() -> None:
    reading = _reading()
    reading.refuse(reading.place or "", CloudError(CloudCause.BAD_ANSWER, "x", http_status=400))
    assert _offset(reading) == 1
    _add(reading, _body(_rows(0, 5)))
    assert reading.listing(None).complete


def test_of_two_refusals_the_first_is_told() -> None:
    reading = _reading()
    first = CloudError(CloudCause.BAD_ANSWER, "no such project", http_status=400)
    reading.refuse(reading.place or "", first)
    with pytest.raises(CloudError, match="no such project"):
        reading.refuse(reading.place or "", CloudError(CloudCause.CLOUD, "x", http_status=503))


def test_a_first_page_that_is_another_at_the_end_is_a_list_that_moved() -> None:
    listing = _read(FIRST, NONE, LAST, _body([_row("new"), *_rows(0, 99)]))
    assert (listing.complete, listing.rows) == (False, 151)
    assert "its first page is another" in str(listing.failure)


def test_a_task_on_two_numbered_pages_is_a_list_that_moved() -> None:
    listing = _read(FIRST, NONE, _body(_rows(99, 150)), FIRST)
    assert (listing.complete, listing.rows) == (False, 150)
    assert "on two pages" in str(listing.failure)


def test_numbered_pages_that_name_different_totals_are_a_list_that_moved() -> None:
    first = _body(_rows(0, 100), total=150)
    listing = _read(first, NONE, _body(_rows(100, 149), total=149), first)
    assert not listing.complete
    assert "different totals" in str(listing.failure)


def test_a_task_of_the_first_page_that_changed_meanwhile_is_told_and_the_list_did_not_move() -> None:
    listing = _read(FIRST, NONE, LAST, _body([_row("job-0", "Failed"), *_rows(1, 100)]))
    assert (listing.complete, listing.digests) == (True, None)
    assert [task.status for task in listing.changed if task.job_id == "job-0"] == ["Completed", "Failed"]


def test_a_numbered_page_that_comes_again_for_ever_ends_the_reading() -> None:
    listing = _read(FIRST, NONE, _body(_rows(100, 200)), _body(_rows(100, 200)), FIRST)
    assert (listing.complete, listing.rows) == (False, 200)


def test_no_rows_after_the_first_page_of_a_longer_list_are_not_taken_for_its_end() -> None:
    first = _body(_rows(0, 100), total=250)
    listing = _read(first, NONE, NONE, first)
    assert not listing.complete
    assert "no rows after the first 100 of 250 tasks" in str(listing.failure)


def test_fewer_tasks_than_there_are_by_what_an_earlier_reading_found_out_are_not_all() -> None:
    # Page 2 by a hint that pages count from 1, of a service that counts them from 0 by now.
    first = _body(_rows(0, 100), total=250)
    reading = Reading(Whole(numbering=Numbering.AUTO, hint=Numbering.PAGE1), Numbering.AUTO, None, ASKED)
    for body in (first, _body(_rows(200, 250), total=250), first):
        _add(reading, body)
    assert not reading.listing(None).complete


def test_equal_numbered_pages_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(known: Digests | None) -> Listing:
        reading = Reading(Whole(numbering=Numbering.AUTO, hint=Numbering.PAGE0), Numbering.AUTO, known, ASKED)
        for body in (FIRST, LAST, FIRST):
            _add(reading, body)
        return reading.listing(None)

    known = read(None).digests
    monkeypatch.delattr(reading_module, "decode_page")
    assert read(known).digests is known


def test_pages_read_to_find_out_are_not_asked_for_again() -> None:
    digests = _read(FIRST, NONE, LAST, FIRST).digests
    assert digests is not None
    assert digests.pages == ()


def test_digests_of_another_question_stand_for_no_page() -> None:
    known = _known(_body(_rows(0, 5)))
    reading = Reading(Whole(numbering=Numbering.PAGE1, hint=Numbering.AUTO), Numbering.PAGE1, known, ASKED)
    assert _offset(reading) == 1


def test_a_service_that_gives_fewer_rows_than_were_asked_for_is_read_to_the_end() -> None:
    reading = _reading()
    while (offset := _offset(reading)) is not None:
        _add(reading, _body(_rows(offset, min(offset + 10, 250)), total=250))
    assert (reading.listing(None).rows, reading.listing(None).complete) == (250, True)


def test_columns_that_are_not_used_change_nothing() -> None:
    known = _known(_body([_row("a", extra=1)]))
    assert _read(_body([_row("a", extra=2)]), known=known).changed == ()
