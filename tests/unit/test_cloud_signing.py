"""Signatures, against vectors that Huawei's SDK made."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest
from yarl import URL

from taskwatch.cloud.signing import signed
from taskwatch.cloud.transport import Request

VECTORS: Final = Path(__file__).parents[1] / "contract" / "signing_vectors.json"
CASES: Final[list[dict[str, Any]]] = json.loads(VECTORS.read_text("utf-8"))["cases"]
NOW: Final = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def _signed(case: dict[str, Any], now: datetime) -> dict[str, str]:
    ours = {"Host", "X-Sdk-Date"}
    headers = {name: value for name, value in case["request_headers"].items() if name not in ours}
    request = Request(
        url=URL(case["url"], encoded=True), method=case["method"], body=case["body"].encode() or None
    )
    return signed(request, headers, access_key=case["ak"], secret_key=case["sk"], now=now)


def test_there_are_nine_vectors() -> None:
    assert len(CASES) == 9


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_a_request_is_signed_as_the_sdk_signs_it(case: dict[str, Any]) -> None:
    moment = datetime.strptime(case["date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    headers = _signed(case, moment)
    assert headers["Authorization"] == case["authorization"]
    assert headers | {"Authorization": ""} == case["request_headers"] | {"Authorization": ""}


def test_the_query_is_signed_sorted_however_it_is_sent() -> None:
    case = CASES[1]
    address, _, query = case["url"].partition("?")
    turned = case | {"url": f"{address}?{'&'.join(reversed(query.split('&')))}"}
    assert _signed(turned, NOW)["Authorization"] == case["authorization"]


def test_the_date_is_utc_whatever_the_clock_says_it_in() -> None:
    berlin = NOW.astimezone(timezone(timedelta(hours=1)))
    assert _signed(CASES[0], berlin)["X-Sdk-Date"] == "20261123T100000Z"


def test_the_requests_own_headers_are_signed_too() -> None:
    case = CASES[-1]  # a POST with a body
    request = Request(
        url=URL(case["url"], encoded=True),
        method="POST",
        headers={"Content-Type": "application/json"},
        body=case["body"].encode(),
    )
    headers = signed(request, {}, access_key=case["ak"], secret_key=case["sk"], now=NOW)
    assert headers["Authorization"] == case["authorization"]
