"""What an error advises: one thing to change first, that which the answer speaks for."""

import json

import pytest

from taskwatch.cloud.errors import UNANSWERED, UNFINISHED, Asked, refusal, stopped, too_late
from taskwatch.errors import CloudCause


def asked(phase: str = "") -> Asked:
    return Asked(host="gaussdb.example", credential="the credential otc", phase=phase)


def advice(status: int, said: str) -> str:
    body = json.dumps({"error_code": "APIGW.0301", "error_msg": said}).encode()
    return str(refusal(asked(), status, {}, body)).rpartition('": ')[2]


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect IAM authentication information: verify aksk signature fail",
        "Incorrect IAM authentication information: Get secretKey failed,ak:HWA1,err:ak not exist",
        "Signature does not match",
    ],
)
def test_a_signature_that_is_refused_makes_the_secret_key_the_first_suspect(said: str) -> None:
    assert advice(401, said).startswith("check secret_key, then access_key, of the credential otc; ")
    assert "clock" in advice(401, said)
    assert "region" in advice(401, said)


def test_a_key_that_is_locked_is_told_from_a_wrong_one() -> None:
    said = "Incorrect IAM authentication information: AK access failed to reach the limit,forbidden."
    assert "find who else still signs with an old secret_key" in advice(401, said)


@pytest.mark.parametrize(
    "said", ["decrypt token fail", "token expires, expires_at:x", "x-auth-token not found"]
)
def test_a_token_that_is_refused_does_not_make_anybody_look_for_keys(said: str) -> None:
    assert advice(401, said) == "check the credential otc, and that endpoint is of its region"


def test_only_a_refused_login_can_be_a_lockout() -> None:
    body = b'{"message": "The instance is locked."}'
    assert refusal(asked(), 401, {}, body).is_lockout
    assert not refusal(asked(), 403, {}, body).is_lockout
    assert not refusal(asked(), 400, {}, body).is_lockout


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404])
def test_a_page_for_people_is_no_answer_of_an_api(status: int) -> None:
    said = str(refusal(asked(), status, {}, b"<html>"))
    assert said.endswith("an HTML page: that is no answer of its API; check endpoint, and a proxy on the way")


@pytest.mark.parametrize(
    ("status", "cause", "advised"),
    [
        (429, CloudCause.THROTTLED, "no requests for a while"),
        (502, CloudCause.CLOUD, "the service has trouble of its own; if it lasts, check endpoint"),
    ],
)
def test_a_page_of_what_stands_before_the_host_is_its_trouble_at_first(
    status: int, cause: CloudCause, advised: str
) -> None:
    error = refusal(asked(), status, {}, b"<html>")
    assert error.cause is cause
    assert f"an HTML page: {advised}" in str(error)


@pytest.mark.parametrize("phase", [UNANSWERED, UNFINISHED])
def test_a_host_that_is_reached_and_says_nothing_has_a_remedy(phase: str) -> None:
    assert str(too_late(asked(phase), 20.0)) == (
        f"gaussdb.example did not give the whole task list within 20 s: {phase}; it is up and slow, or hangs: look at"
        " its status page and at a proxy on the way, or write a longer timeout"
    )


def test_what_no_setting_makes_longer_names_none() -> None:
    assert "timeout" not in stopped(asked(UNANSWERED))


def test_time_that_ran_out_before_the_host_was_reached_is_no_fault_of_the_host() -> None:
    assert stopped(asked("the login took too long")) == ": the login took too long"
