"""Error bodies in every shape seen, and what is made of them."""

import json

import pytest

from taskwatch.cloud.errors import MAX_SAID, Asked, http_date, refusal, too_late, what_it_says
from taskwatch.errors import CloudCause

CANARY = "MIIcanary/0123456789+=="
ASKED = Asked(host="gaussdb.example", credential="the token (file:/run/token)", secrets=(CANARY,))

SHAPES = [
    ({"error_code": "DBS.200022", "error_msg": "Wrong."}, "DBS.200022", "Wrong."),
    (
        {"error_msg": "The token must be updated", "error_code": "APIGW.0307", "request_id": "42267f"},
        "APIGW.0307",
        "The token must be updated",
    ),
    (
        {"error": {"code": 401, "message": "The request requires authentication.", "title": "Unauthorized"}},
        "401",
        "The request requires authentication.",
    ),
    (
        {"error": {"code": "111401001", "message": "Invalid token.", "ext_message": None}},
        "111401001",
        "Invalid token.",
    ),
    ({"badRequest": {"message": "Malformed request URL", "code": "401"}}, "401", "Malformed request URL"),
    ({"code": 401, "element": "Unauthorized", "message": "No.", "details": {"code": "c"}}, "401", "No."),
    (
        {"message": "Authorization information is wrong", "request_id": "r"},
        None,
        "Authorization information is wrong",
    ),
    ({"errorCode": "X.1", "errorMsg": "camel"}, "X.1", "camel"),
    ({"errCode": "DBS.280001", "externalMessage": "Parameter error."}, "DBS.280001", "Parameter error."),
    ({"error_code": "X.2"}, "X.2", "no message"),
]


@pytest.mark.parametrize(("body", "code", "message"), SHAPES)
def test_code_and_message_are_found_in_every_shape(body: object, code: str | None, message: str) -> None:
    said = what_it_says(ASKED, json.dumps(body).encode())
    assert (said.code, said.message) == (code, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "an empty body"),
        (b"  \n", "an empty body"),
        (b"<!DOCTYPE html><html>...", "an HTML page"),
        (b"<HTML><h1>502</h1>", "an HTML page"),
        (b"upstream connect error", "upstream connect error"),
        (b'"text"', "JSON that names no error"),
        (b'{"reason": "none that is known"}', "JSON that names no error"),
        (b'{"error_code": "X.1", "error_msg"', "broken JSON"),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
        (b"[" * 100_000, "broken JSON"),
        (b'{"a":' * 50 + b'{"error_code":"X.1"}' + b"}" * 50, "JSON that names no error"),
        (b"x" * 999, "x" * (MAX_SAID - 1) + "…"),
    ],
)
def test_a_body_without_a_shape_is_said_in_words(body: bytes, message: str) -> None:
    assert what_it_says(ASKED, body).message == message


def test_only_words_of_the_cloud_stand_in_quotes() -> None:
    assert str(refusal(ASKED, 502, {}, b"<html>")).startswith("gaussdb.example answered 502 an HTML page: ")
    assert str(refusal(ASKED, 502, {}, b"no upstream")).startswith(
        'gaussdb.example answered 502 "no upstream": '
    )


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (401, {}, CloudCause.LOGIN),
        (403, {"error_code": "DBS.200010", "error_msg": "not authorized"}, CloudCause.PERMISSION),
        (403, {"error_code": "DBS.280056", "error_msg": "x"}, CloudCause.LOGIN),
        (403, {"error_code": "any", "error_msg": "Invalid Token."}, CloudCause.LOGIN),
        (404, {"error_code": "APIGW.0101", "error_msg": "API not found"}, CloudCause.NOT_FOUND),
        (429, {}, CloudCause.THROTTLED),
        (500, {}, CloudCause.CLOUD),
        (503, {}, CloudCause.CLOUD),
        (302, {}, CloudCause.BAD_ANSWER),
        (204, {}, CloudCause.BAD_ANSWER),
        (400, {"error_code": "DBS.280001"}, CloudCause.BAD_ANSWER),
        (494, {}, CloudCause.BAD_ANSWER),
    ],
)
def test_the_status_decides_the_cause_and_a_403_may_mean_the_token(
    status: int, body: object, cause: CloudCause
) -> None:
    error = refusal(ASKED, status, {}, json.dumps(body).encode())
    assert (error.cause, error.http_status) == (cause, status)


def test_an_error_says_the_host_the_words_of_the_cloud_and_the_remedy() -> None:
    body = b'{"error_msg":"The token must be updated","error_code":"APIGW.0307","request_id":"42267f"}'
    error = refusal(ASKED, 401, {}, body)
    assert str(error) == (
        'gaussdb.example answered 401 APIGW.0307 "The token must be updated": '
        "check the token (file:/run/token), and that endpoint is of its region"
    )
    assert (error.error_code, error.request_id) == ("APIGW.0307", "42267f")


def test_the_request_id_of_the_header_comes_first() -> None:
    assert refusal(ASKED, 500, {"X-Request-Id": "h"}, b'{"request_id":"b"}').request_id == "h"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Wed, 05 Aug 2026 10:01:30 GMT", 90),
        ("Wed, 05 Aug 2026 09:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
        ("Wed, 99 Aug 2026 09:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_counted_from_the_date_of_the_answer(
    value: str, seconds: float | None
) -> None:
    headers = {"Retry-After": value, "Date": "Wed, 05 Aug 2026 10:00:00 GMT"}
    assert refusal(ASKED, 429, headers, b"").retry_after == seconds


def test_a_huge_retry_after_is_a_number_all_the_same() -> None:
    assert (refusal(ASKED, 429, {"Retry-After": "9" * 5000}, b"").retry_after or 0) > 1e9


def test_a_retry_after_date_without_a_date_of_the_answer_says_nothing() -> None:
    assert refusal(ASKED, 429, {"Retry-After": "Wed, 05 Aug 2026 10:01:30 GMT"}, b"").retry_after is None


def test_hostile_words_become_one_harmless_line() -> None:
    said = what_it_says(
        ASKED, json.dumps({"error_msg": "a\r\nb\x1b[31m\x00\u202e\u2028\ud800" + "x" * 9999}).encode()
    )
    assert said.message.startswith(r"a b\x1b[31m\x00\u202e \ud800xxx")
    assert len(said.message) == MAX_SAID
    assert said.message.isprintable()


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": CANARY, "error_msg": f"bad token {CANARY}", "request_id": CANARY},
        {"message": "x" * (MAX_SAID - 10) + CANARY},
        f"plain {CANARY}",
    ],
)
def test_a_cloud_that_repeats_the_token_is_not_quoted(body: object) -> None:
    raw = json.dumps(body).replace("/", "\\/").encode()
    error = refusal(ASKED, 401, {"X-Request-Id": f"id-{CANARY}"}, raw)
    shown = repr(error) + str(error) + str(error.__dict__)
    assert CANARY[:8] not in shown


def test_a_deadline_is_told_in_seconds() -> None:
    assert str(too_late(ASKED, 20.0)) == "gaussdb.example did not give the whole task list within 20 s"


@pytest.mark.parametrize(
    "text", ["", "x" * 29, "Sun, 06 Nov 1994 08:49:37 EST", "Sun, 06 Xyz 1994 08:49:37 GMT"]
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert http_date(text) is None
