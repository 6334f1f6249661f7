"""From bytes to rows to tasks: the documented, the odd and the hostile."""

import json
import random
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskwatch.cloud import decode
from taskwatch.cloud.decode import MAX_TEXT, Row, decode_job, decode_page, to_task
from taskwatch.cloud.errors import Asked
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.task import Instance, Task
from tests.fakes.fuzzed_bodies import DOCUMENTED, fuzzed

ASKED = Asked(host="gaussdb.example", credential="the token")


def _page(*tasks: object, **more: object) -> bytes:
    return json.dumps({"tasks": list(tasks), **more}).encode()


def _tasks(body: bytes) -> list[Task]:
    return [to_task(row) for row in decode_page(body, ASKED).rows]


def _one(**fields: Any) -> Task:
    (task,) = _tasks(_page({"job_id": "a", "status": "Running", **fields}))
    return task


def test_the_documented_example_is_read_as_documented() -> None:
    page = decode_page(DOCUMENTED.encode(), ASKED)
    assert (page.size, page.quarantined, page.total_count) == (2, 0, 2)
    assert [to_task(row) for row in page.rows] == [
        Task(
            job_id="03bc055a-135c-4245-8bd8-b0bc6d3350b3",
            name="CreateGaussDBV5Instance",
            status="Failed",
            fail_reason="An exception occurs when the ECS processes services.",
            created_at=datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC),
            ended_at=datetime(2022, 8, 8, 19, 6, 52, tzinfo=UTC),
            instance=Instance(
                id="ce2dce50f365430abe161bab79495a6ein14", name="gauss-6568-zzh", status="creating"
            ),
        ),
        Task(
            job_id="2cc16e0b-75ab-4a28-9453-16517e990bba",
            name="DeleteGaussDBV5Instance",
            status="Completed",
            created_at=datetime(2022, 8, 6, 1, 15, 7, tzinfo=UTC),
            ended_at=datetime(2022, 8, 9, 19, 6, 52, tzinfo=UTC),
            instance=Instance(
                id="20ba433bd7ee40da9cf35064f04f9e4cin14", name="gauss-7875-lt-m", status="deleted"
            ),
        ),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"tasks"',
        b'{"tasks": null}',
        b'{"tasks": {}}',
        b'{"tasks": "[]"}',
        b'{"Tasks": []}',
        b"<html>Bad gateway</html>",
        b'{"tasks": []',
        b'{"tasks": []}}',
        b'{"tasks": [], "x": NaN}',
        b'{"tasks": [{"job_id": "a", "status": "Running", "process": Infinity}]}',
        b"\x00\xff",
    ],
)
def test_a_200_without_a_tasks_array_is_an_error(body: bytes) -> None:
    with pytest.raises(CloudError) as refused:
        decode_page(body, ASKED)
    assert refused.value.cause is CloudCause.BAD_ANSWER


def test_a_200_that_is_shaped_like_an_error_is_told_as_what_it_is() -> None:
    with pytest.raises(CloudError, match=r'DBS\.200022 "The token is odd\."') as refused:
        decode_page(b'{"error_code":"DBS.200022","error_msg":"The token is odd."}', ASKED)
    assert refused.value.error_code == "DBS.200022"


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"tasks": [{"x":', '{"tasks": [], "total_count":'])
def test_a_body_nested_100000_deep_is_an_error(opening: str) -> None:
    with pytest.raises(CloudError) as refused:
        decode_page(opening.encode() * 100_000, ASKED)
    assert refused.value.cause is CloudCause.BAD_ANSWER


def test_deep_nesting_beside_the_tasks_is_refused_too() -> None:
    with pytest.raises(CloudError, match="nested deeper than 64"):
        decode_page(b'{"tasks": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ASKED)


def test_brackets_within_texts_nest_nothing() -> None:
    reason = "[{" * 500 + '\\"' + "\udcff"  # a lone surrogate sends the page to the tolerant path
    assert decode_page(_page({"job_id": "a", "status": "Running", "fail_reason": reason}), ASKED).size == 1


def test_a_page_of_millions_of_empty_values_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(CloudError, match="more than 500000 values"):
        decode_page(b'{"tasks": [' + b"{}," * 600_000 + b"{}]}", ASKED)


@pytest.mark.parametrize(
    "bad",
    [
        None, 1, "text", [], {}, {"status": "Running"}, {"job_id": "x"}, {"job_id": "", "status": "Running"},
        {"job_id": None, "status": "Running"}, {"job_id": True, "status": "Running"},
        {"job_id": {"id": 1}, "status": "Running"}, {"job_id": "x" * 257, "status": "Running"},
        {"job_id": "x", "status": ""}, {"job_id": "x", "status": None}, {"job_id": "x", "status": 5},
        {"job_id": "x", "status": ["Running"]}, {"job_id": "x", "status": "S" * 129},
    ],
)  # fmt: skip
def test_a_bad_row_is_quarantined_alone(bad: object) -> None:
    page = decode_page(
        _page({"job_id": "a", "status": "Running"}, bad, {"job_id": "b", "status": "Failed"}), ASKED
    )
    assert ([row.job_id for row in page.rows], page.quarantined, page.size) == (["a", "b"], 1, 3)


def test_ids_and_statuses_of_the_longest_kind_are_good() -> None:
    page = decode_page(_page({"job_id": "x" * 256, "status": "S" * 128}), ASKED)
    assert page.quarantined == 0


@pytest.mark.parametrize(("number", "text"), [(12, "12"), (-1, "-1"), (10**60, "1" + "0" * 60)])
def test_a_number_as_id_is_its_digits(number: int, text: str) -> None:
    (task,) = _tasks(_page({"job_id": number, "status": "Running"}))
    assert task.job_id == text
    assert type(task.job_id) is str


def test_a_number_of_a_million_digits_harms_its_row_only() -> None:
    body = (
        b'{"tasks":[{"job_id":'
        + b"9" * 1_000_000
        + b',"status":"Running"},{"job_id":"b","status":"Running"}]}'
    )
    page = decode_page(body, ASKED)
    assert ([row.job_id for row in page.rows], page.quarantined) == (["b"], 1)


def test_a_lone_surrogate_becomes_a_replacement_character_and_its_page_is_read() -> None:
    body = rb'{"tasks":[{"job_id":"a","status":"Fai\ud800led","fail_reason":"\udfff \ud83d\ude00"},'
    tasks = _tasks(body + rb'{"job_id":"b","status":"Running"}]}')
    assert [(task.job_id, task.status, task.fail_reason) for task in tasks] == [
        ("a", "Fai\ufffdled", "\ufffd 😀"),
        ("b", "Running", None),
    ]


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    (task,) = _tasks(b'{"tasks":[{"job_id":"a","status":"Running","name":"\xff\xfe"}]}')
    assert task.name == "\ufffd\ufffd"


def test_a_byte_order_mark_is_no_reason_to_refuse() -> None:
    assert decode_page(b"\xef\xbb\xbf" + _page(), ASKED).size == 0


@pytest.mark.parametrize("text", ["\x1b[31mred", "nul \x00", "😀", "\u202eodd", "'; --", "{{7*7}}", "a\nb"])
def test_texts_are_data_and_stay_as_they_are(text: str) -> None:
    assert (_one(name=text, status=text).name, _one(status=text).status) == (text, text)


def test_a_text_that_is_too_long_is_cut_with_a_mark() -> None:
    assert _one(fail_reason="x" * 10_000).fail_reason == "x" * MAX_TEXT + "… (10000 characters)"
    assert _one(fail_reason="x" * MAX_TEXT).fail_reason == "x" * MAX_TEXT


def test_duplicate_keys_are_harmless() -> None:
    (task,) = _tasks(b'{"tasks":[{"job_id":1,"job_id":"b","status":"Running","status":"Failed"}]}')
    assert (task.job_id, task.status) == ("b", "Failed")


@pytest.mark.parametrize("status", ["Pending", "Canceled", "Unauthorized", "läuft", "RUNNING"])
def test_unknown_statuses_are_data(status: str) -> None:
    assert _one(status=status).status == status


@pytest.mark.parametrize(
    ("process", "progress"),
    [
        (None, None), ("", None), ("60", 60), ("60%", 60), (" 60 % ", 60), (60, 60), (0, 0), ("100%", 100),
        ("60.5", 60), (60.5, 60), ("n/a", None), ("101", None), ("-1", None), (-1, None), (True, None), ({}, None),
        (10**50, None), ("٦٠", None), ("1e1", None),
    ],
)  # fmt: skip
def test_progress_is_read_leniently(process: object, progress: int | None) -> None:
    assert _one(process=process).progress == progress


_MOMENT = datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2022-08-05T08:15:07+0800", _MOMENT),
        ("2022-08-05T08:15:07+08:00", _MOMENT),
        ("2022-08-05T00:15:07Z", _MOMENT),
        ("2022-08-05T00:15:07.503Z", _MOMENT.replace(microsecond=503000)),
        ("2022-08-05T00:15:07.123456789Z", _MOMENT.replace(microsecond=123456)),
        ("", None),
        (None, None),
        ("soon", None),
        ("2022-08-05T08:15:07", None),
        ("2022-13-45T99:99:99Z", None),
        ("0001-01-01T00:00:00+0800", None),
        ("9999-12-31T23:59:59-0800", None),
        ("99999-12-31T23:59:59Z", None),
        ("9999-12-31T00:00:00Z", None),
        ("9000-01-01T00:00:00Z", None),
        ("8999-12-31T23:59:59Z", datetime(8999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("1971-01-01T00:00:00Z", datetime(1971, 1, 1, tzinfo=UTC)),
        ("1970-12-31T23:59:59Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        (1659658507000, None),
        ({}, None),
    ],
)
def test_times_are_instants_in_utc_or_nothing(text: object, moment: datetime | None) -> None:
    task = _one(created_at=text, ended_at=text)
    assert (task.created_at, task.ended_at) == (moment, moment)


def test_ended_is_decided_by_the_status_alone() -> None:
    assert not _one(status="Running", ended_at="2022-08-05T08:15:07+0800").has_ended
    assert _one(status="Failed", ended_at=None).has_ended


@pytest.mark.parametrize("info", [None, {}, [], "x", 5, {"instance_id": 7.5}])
def test_an_odd_instance_info_harms_nothing(info: object) -> None:
    assert _one(instance_info=info).instance in (Instance(), Instance(id="7.5"))


@pytest.mark.parametrize(
    ("total", "count"),
    [
        ("2", 2),
        ('"2"', 2),
        ("null", None),
        ('"two"', None),
        ("-1", None),
        ("2.5", None),
        ("[2]", None),
        ("{}", None),
    ],
)
@pytest.mark.parametrize("row", ["", "{}"], ids=["typed path", "tolerant path"])
def test_total_count_is_read_leniently(total: str, count: int | None, row: str) -> None:
    assert decode_page(f'{{"tasks": [{row}], "total_count": {total}}}'.encode(), ASKED).total_count == count


def test_a_total_count_of_5000_digits_is_none() -> None:
    assert decode_page(b'{"tasks": [], "total_count": 1' + b"0" * 5000 + b"}", ASKED).total_count is None


_texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_good_rows = st.fixed_dictionaries(
    {
        "job_id": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256),
        "status": st.sampled_from(["Running", "Completed", "Failed", "läuft", "\x00", "😀"]),
    },
    optional={
        "name": _texts,
        "process": _texts,
        "fail_reason": _texts,
        "created_at": _texts,
        "ended_at": _texts,
        "unknown": st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3
        ),
        "instance_info": st.none()
        | st.fixed_dictionaries(
            {}, optional={"instance_id": _texts, "instance_name": _texts, "more": _texts}
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(raw=st.lists(_good_rows, max_size=4), escape=st.sampled_from([True, False]))
def test_both_paths_give_the_same_value_for_the_same_good_row(
    raw: list[dict[str, Any]], *, escape: bool
) -> None:
    text = json.dumps({"tasks": raw, "total_count": len(raw)}, ensure_ascii=escape)
    body = text.encode("utf-8", "replace")
    fast = decode._typed.decode(body).tasks
    tolerant = decode._decode_tolerantly(body, ASKED)
    assert tolerant.rows == fast
    assert [hash(row) for row in tolerant.rows] == [hash(row) for row in fast]
    assert tolerant.quarantined == 0


def test_a_bad_neighbour_does_not_change_what_a_good_row_is() -> None:
    good = json.loads(DOCUMENTED)["tasks"]
    alone, beside = decode_page(_page(*good), ASKED), decode_page(_page(*good, {"job_id": None}), ASKED)
    assert alone.rows == beside.rows
    assert list(map(hash, alone.rows)) == list(map(hash, beside.rows))


def test_5000_fuzzed_bodies_neither_crash_nor_make_up_a_task() -> None:
    rng = random.Random(20260805)
    for _ in range(5000):
        try:
            page = decode_page(fuzzed(rng), ASKED)
        except CloudError as error:
            assert error.cause is CloudCause.BAD_ANSWER  # noqa: PT017  # most of them are refused, and rightly
            continue
        for row in page.rows:
            task = to_task(row)
            assert task.job_id
            assert task.status
            _assert_encodable(row)


def _assert_encodable(row: Row) -> None:
    for text in (row.job_id, row.status, row.name, row.fail_reason):
        (text or "").encode()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_any_bytes_are_a_page_or_an_error(body: bytes) -> None:
    try:
        decode_page(body, ASKED)
    except CloudError as error:
        assert error.cause is CloudCause.BAD_ANSWER  # noqa: PT017  # a random body is almost never a page


# -- the answer about a single task, which names the same columns otherwise


def _job(**fields: object) -> bytes:
    return json.dumps({"job": {"id": "a", "status": "Running", **fields}}).encode()


def test_the_answer_about_a_single_task_is_read_as_a_row_of_the_list() -> None:
    page = decode_job(
        _job(
            name="CreateGaussDBV5Instance",
            created="2022-08-05T08:15:07+0800",
            ended="",
            progress="60%",
            instance={"id": "in-1", "name": "db-1"},
            fail_reason=None,
        ),
        ASKED,
    )
    assert [to_task(row) for row in page.rows] == [
        Task(
            job_id="a",
            name="CreateGaussDBV5Instance",
            status="Running",
            progress=60,
            created_at=datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC),
            instance=Instance(id="in-1", name="db-1"),
        )
    ]


@pytest.mark.parametrize(
    "fields",
    [{"id": 7}, {"instance": None}, {"instance": []}, {"created": 5}, {"name": "\ud800"}, {"progress": ""}],
)
def test_odd_columns_of_a_single_task_harm_only_themselves(fields: dict[str, object]) -> None:
    (row,) = decode_job(_job(**fields), ASKED).rows
    assert (row.job_id, row.status) == (str(fields.get("id", "a")), "Running")


@pytest.mark.parametrize(
    "fields", [{"id": None}, {"id": ""}, {"status": None}, {"status": 1}, {"status": ""}]
)
def test_a_single_task_of_which_nothing_can_be_said_is_quarantined(fields: dict[str, object]) -> None:
    page = decode_job(_job(**fields), ASKED)
    assert (page.rows, page.quarantined) == ([], 1)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"job": null}', b'{"job": []}', b'{"tasks": []}', b"<html>"]
)
def test_an_answer_that_holds_no_single_task_is_an_error(body: bytes) -> None:
    with pytest.raises(CloudError) as refused:
        decode_job(body, ASKED)
    assert refused.value.cause is CloudCause.BAD_ANSWER
