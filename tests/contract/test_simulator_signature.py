"""The simulator's judgement of signatures, held against nine requests that the public SDK signed."""

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskwatch.simulator.signature import (
    Authorization,
    WireRequest,
    canonical_request,
    is_signed_with,
    string_to_sign,
)

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("signing_vectors.json").read_text())[
    "cases"
]
BY_NAME = {vector["name"]: vector for vector in VECTORS}


def received(vector: dict[str, Any]) -> WireRequest:
    """Return the request as a server gets it: from the URL and headers alone."""
    path, _, query = vector["url"].partition("://")[2].partition("/")[2].partition("?")
    headers = [(name.lower(), value) for name, value in vector["request_headers"].items()]
    return WireRequest(
        method=vector["method"],
        path=f"/{path}",
        query=query,
        headers=[*headers, ("authorization", vector["authorization"])],
        body=vector["body"].encode(),
    )


def claimed(request: WireRequest) -> Authorization:
    authorization = Authorization.parse(request.header("authorization") or "")
    assert authorization
    return authorization


def is_accepted(request: WireRequest, vector: dict[str, Any]) -> bool:
    return is_signed_with(vector["sk"], request, claimed(request))


def with_header(request: WireRequest, name: str, value: str) -> WireRequest:
    return replace(request, headers=[(key, value if key == name else old) for key, old in request.headers])


@pytest.mark.parametrize("vector", VECTORS, ids=BY_NAME)
def test_what_the_sdk_signed_is_accepted(vector: dict[str, Any]) -> None:
    request = received(vector)

    assert canonical_request(request, claimed(request).signed) == vector["canonical_request"]
    assert string_to_sign(request, vector["canonical_request"]) == vector["string_to_sign"]
    assert claimed(request).access == vector["ak"]
    assert is_accepted(request, vector)


@pytest.mark.parametrize("vector", VECTORS, ids=BY_NAME)
def test_another_secret_did_not_sign_it(vector: dict[str, Any]) -> None:
    request = received(vector)

    assert not is_signed_with(vector["sk"] + "x", request, claimed(request))


SIGNED = [(vector["name"], name) for vector in VECTORS for name in vector["signed_headers"].split(";")]


@pytest.mark.parametrize(("case", "name"), SIGNED)
def test_a_signed_header_cannot_be_changed_or_left_out(case: str, name: str) -> None:
    vector = BY_NAME[case]
    request = received(vector)
    left_out = [(key, value) for key, value in request.headers if key != name]

    assert not is_accepted(with_header(request, name, "another"), vector)
    assert not is_accepted(replace(request, headers=left_out), vector)


@pytest.mark.parametrize("vector", VECTORS, ids=BY_NAME)
def test_method_path_query_and_body_are_signed(vector: dict[str, Any]) -> None:
    request = received(vector)

    for changed in (
        replace(request, method="DELETE"),
        replace(request, path=request.path + "x"),
        replace(request, query=f"{request.query}&limit=7"),
        replace(request, body=request.body + b" "),
    ):
        assert not is_accepted(changed, vector)


@pytest.mark.parametrize("name", ["tasks_query", "encoding", "value_order", "iam_projects"])
def test_a_query_that_was_left_out_is_missed(name: str) -> None:
    request = received(BY_NAME[name])

    assert not is_accepted(replace(request, query=""), BY_NAME[name])


def test_the_order_in_which_parameters_are_sent_does_not_matter() -> None:
    vector = BY_NAME["tasks_query"]
    request = received(vector)
    turned = "&".join(reversed(request.query.split("&")))

    assert turned != request.query
    assert is_accepted(replace(request, query=turned), vector)


def test_a_plus_is_no_space() -> None:
    vector = BY_NAME["encoding"]
    request = received(vector)
    assert "%20" in request.query

    assert not is_accepted(replace(request, query=request.query.replace("%20", "+")), vector)


@pytest.mark.parametrize(
    ("names", "is_right"),
    [
        ("host;x-sdk-date", True),
        ("x-sdk-date", False),
        ("host", False),
        ("x-sdk-date;host", False),
        ("host;host;x-sdk-date", False),
    ],
)
def test_host_and_date_must_be_signed_and_the_names_in_order(names: str, *, is_right: bool) -> None:
    vector = BY_NAME["minimal_no_query"]
    request = received(vector)
    canonical = canonical_request(request, names.split(";"))
    assert canonical
    text = string_to_sign(request, canonical).encode()
    signature = hmac.new(vector["sk"].encode(), text, hashlib.sha256).hexdigest()
    signed = Authorization(access=vector["ak"], signed=tuple(names.split(";")), signature=signature)

    assert is_signed_with(vector["sk"], request, signed) == is_right


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer abc",
        "SDK-HMAC-SHA256",
        "SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=short",
        f"SDK-HMAC-SHA256 Access=AK, Signature={'0' * 64}",
        f"V11-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature={'0' * 64}",
    ],
)
def test_another_authorization_is_none_of_this_algorithm(text: str) -> None:
    assert Authorization.parse(text) is None
