"""Tokens: read where they are kept, refused when they cannot be sent, shown nowhere."""

from pathlib import Path

import pytest
from yarl import URL

from taskwatch.cloud.auth.login import Authentication, Login, NoLogin
from taskwatch.cloud.auth.token import TokenLogin
from taskwatch.cloud.transport import Answer, Request
from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import Kept, Secret

CANARY = "MIIcanary0123456789"


async def _sent(login: Login) -> list[Authentication]:
    """Send one request that is taken; return what came with it."""
    sent: list[Authentication] = []

    async def send(authentication: Authentication) -> Answer:
        sent.append(authentication)
        return Answer(body=b"", headers={})

    await login.send(Request(url=URL("https://cloud.example/v3/p/tasks")), send)
    return sent


async def test_a_token_goes_into_its_header() -> None:
    (authentication,) = await _sent(TokenLogin(Secret.text(CANARY)))
    assert authentication.headers == {"X-Auth-Token": CANARY}
    assert authentication.secrets == (CANARY,)


async def test_no_login_adds_no_header() -> None:
    (authentication,) = await _sent(NoLogin())
    assert authentication.headers == {}


async def test_a_rotated_file_counts_with_the_next_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    login = TokenLogin(Secret(Kept.FILE, str(file)))
    await _sent(login)
    file.write_text("a-second-token\n")
    (authentication,) = await _sent(login)
    assert authentication.headers == {"X-Auth-Token": "a-second-token"}


async def test_a_token_that_cannot_be_read_is_an_error_of_login(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"no token: cannot read .*nowhere") as refused:
        await _sent(TokenLogin(Secret(Kept.FILE, str(tmp_path / "nowhere"))))
    assert refused.value.cause is CloudCause.LOGIN


@pytest.mark.parametrize(
    "token", ["", f"{CANARY}\r\nHost: x", f"{CANARY}\x00", f"{CANARY}é", f"{CANARY}\x7f"]
)
async def test_a_token_that_no_header_can_hold_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(CloudError, match="characters that none has") as refused:
        await _sent(TokenLogin(Secret.text(token)))
    assert refused.value.cause is CloudCause.LOGIN
    assert CANARY not in str(refused.value)


def test_a_login_says_where_to_look_and_not_what_is_there() -> None:
    assert str(TokenLogin(Secret(Kept.FILE, "/run/token"))) == "the token in /run/token"
    assert str(TokenLogin(Secret.text(CANARY))) == "the token in the configuration"
