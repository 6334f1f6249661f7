"""Tokens: read where they are kept, refused when they cannot be sent, shown nowhere."""

from pathlib import Path

import pytest

from taskwatch.cloud.auth import NoLogin, TokenLogin
from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import Kept, Secret

CANARY = "MIIcanary0123456789"


def test_a_token_goes_into_its_header() -> None:
    assert TokenLogin(Secret.text(CANARY)).headers() == {"X-Auth-Token": CANARY}


def test_no_login_adds_no_header() -> None:
    assert NoLogin().headers() == {}


def test_the_headers_are_the_same_object_until_the_file_is_rotated(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    login = TokenLogin(Secret(Kept.FILE, str(file)))
    before = login.headers()
    assert login.headers() is before
    file.write_text("a-second-token\n")
    assert login.headers() == {"X-Auth-Token": "a-second-token"}


def test_a_token_that_cannot_be_read_is_an_error_of_login(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"no token: cannot read .*nowhere") as refused:
        TokenLogin(Secret(Kept.FILE, str(tmp_path / "nowhere"))).headers()
    assert refused.value.cause is CloudCause.LOGIN


@pytest.mark.parametrize(
    "token", ["", f"{CANARY}\r\nHost: x", f"{CANARY}\x00", f"{CANARY}é", f"{CANARY}\x7f"]
)
def test_a_token_that_no_header_can_hold_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(CloudError, match="characters that no token has") as refused:
        TokenLogin(Secret.text(token)).headers()
    assert refused.value.cause is CloudCause.LOGIN
    assert CANARY not in str(refused.value)


def test_a_login_says_where_to_look_and_not_what_is_there() -> None:
    assert str(TokenLogin(Secret(Kept.FILE, "/run/token"))) == "the token in /run/token"
    assert str(TokenLogin(Secret.text(CANARY))) == "the token in the configuration"
