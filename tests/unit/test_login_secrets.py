"""Nothing that a login is made of shows its secrets, however it is printed: in a log, a traceback, a debugger."""

import asyncio
import base64
import json
import os
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import pytest
import structlog
from pydantic import TypeAdapter
from yarl import URL

from taskwatch.app.access import Access
from taskwatch.clock import SystemClock
from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.auth.aksk import Keys, SecretKeys, Signer
from taskwatch.cloud.auth.clouds import CloudEntry
from taskwatch.cloud.auth.login import Authentication
from taskwatch.cloud.auth.password import PasswordSource
from taskwatch.cloud.auth.renewed import RenewedLogin
from taskwatch.cloud.auth.token import TokenLogin, authentication_by
from taskwatch.cloud.connection import read_proxy
from taskwatch.cloud.errors import Asked
from taskwatch.cloud.iam import Iam, Scope, Token, User
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.signing import signed
from taskwatch.cloud.transport import Answer, Request, Transport
from taskwatch.config.configuration import Credential
from taskwatch.config.schema import AnyCredential
from taskwatch.errors import CloudError, SecretUnreadableError
from taskwatch.secret import Kept, Secret, hidden

CORE: Final = "c4n4ry"
CANARY: Final = f"{CORE}-of-a-login"
CLOCK: Final = SystemClock()
KEYS: Final = Keys(access=CANARY, secret=CANARY, security_token=CANARY)
TOKEN: Final = Token(text=CANARY, life=60.0)


def _account() -> Account:
    return Account(name="otc", clock=CLOCK, log=structlog.get_logger())


class _Source:
    def secrets(self) -> tuple[str, ...]:
        return (CANARY,)

    async def obtain(self, secrets: tuple[str, ...]) -> Token:
        assert secrets == (CANARY,)
        return TOKEN


PARTS: Final = {
    "Keys": KEYS,
    "SecretKeys": SecretKeys(
        access_key=Secret.text(CANARY), secret_key=Secret.text(CANARY), security_token=None
    ),
    "CloudEntry": CloudEntry(auth_url="https://iam.example/v3", region="eu-de", keys=KEYS),
    "Token": TOKEN,
    "TokenLogin": TokenLogin(Secret.text(CANARY)),
    "Authentication by token": authentication_by(CANARY, said="the token"),
    "Authentication by signature": Authentication(
        headers=signed(
            Request(url=URL("https://h/")), {}, access_key=CANARY, secret_key=CANARY, now=CLOCK.now()
        ),
        secrets=KEYS.secrets,
    ),
    "Asked": Asked(host="iam.example", credential="the credential otc", secrets=(CANARY,)),
    "Request": Request(url=URL("https://h/"), headers={"X-Subject-Token": CANARY}, body=CANARY.encode()),
    "Answer": Answer(body=CANARY.encode(), headers={"X-Subject-Token": CANARY}),
    "Proxy": read_proxy(Secret.text(f"http://{CANARY}:{CANARY}@proxy.example:3128")),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
def test_no_part_of_a_login_shows_its_secrets(part: object) -> None:
    assert CORE not in f"{part} {part!r} {[part]}"


CREDENTIALS: Final[dict[str, dict[str, Any]]] = {
    "password": {
        "auth_url": "https://iam.example/v3", "username": "u", "user_domain_name": "OTC1", "password": CANARY,
    },
    "token": {"token": CANARY},
    "aksk": {"access_key": CANARY, "secret_key": CANARY, "security_token": CANARY},
}  # fmt: skip


@pytest.mark.parametrize(("kind", "keys"), CREDENTIALS.items(), ids=CREDENTIALS.keys())
def test_neither_a_credential_nor_what_it_gives_access_to_shows_its_secrets(
    kind: str, keys: dict[str, Any]
) -> None:
    adapter: TypeAdapter[Credential] = TypeAdapter(AnyCredential)
    credential = adapter.validate_python({"type": kind, **keys}, context=Path())
    access = Access(
        name="otc", credential=credential, account=_account(), via=None, limiter=lambda _: Limiter(1, CLOCK, structlog.get_logger()), clock=CLOCK,
        log=structlog.get_logger(),
    )  # fmt: skip
    assert CORE not in f"{credential} {credential!r} {access} {access!r} {vars(access)}"


async def test_a_login_that_holds_a_token_shows_neither_it_nor_what_it_was_bought_with() -> None:
    login = RenewedLogin(_Source(), account=_account(), clock=CLOCK)
    waiting = asyncio.create_task(login._renewed())
    held = await waiting

    assert CORE not in f"{login} {login!r} {vars(login)} {held!r} {replace(held)} {waiting!r}"
    assert held.token.text == CANARY


async def test_neither_a_source_nor_a_signer_shows_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", CANARY)
    session: Any = object()
    iam = Iam(
        auth_url="https://iam.example", credential="otc", transport=Transport(session=session),
        limiter=Limiter(1, CLOCK, structlog.get_logger()),
    )  # fmt: skip
    source = PasswordSource(
        iam=iam, user=User(name="u", domain_name="d"), password=Secret(Kept.ENV, "PASSWORD"), scope=Scope()
    )
    keys: Any = type("Source", (), {"read": lambda _: KEYS})()
    signer = Signer(keys, account=_account(), clock=CLOCK, log=structlog.get_logger())
    signer._accepted = KEYS

    assert CORE not in f"{source!r} {vars(source)} {signer!r} {vars(signer)}"


def test_a_signature_that_the_cloud_repeats_is_hidden_like_the_keys() -> None:
    keys: Any = type("Source", (), {"read": lambda _: KEYS})()
    signer = Signer(keys, account=_account(), clock=CLOCK, log=structlog.get_logger())
    shown = signer._signed(Request(url=URL("https://h/")), KEYS, None)
    said = hidden(str(dict(shown.headers)), shown.secrets, shortest=8)

    assert "Signature=[secret]" in said
    assert "Access=[secret]" in said
    assert "'X-Security-Token': '[secret]'" in said


# A secret as passwords are: with letters that are escaped somewhere.

PASSWORD: Final = f"{CORE} \"x\\'ä&<y>/+=%-of-a-login"
SPELLINGS: Final = {
    "itself": PASSWORD,
    "JSON": json.dumps(PASSWORD),
    "JSON in UTF-8": json.dumps(PASSWORD, ensure_ascii=False),
    "JSON as Go writes it": json.dumps(PASSWORD, ensure_ascii=False)
    .replace("&", "\\u0026")
    .replace("<", "\\u003c")
    .replace(">", "\\u003e"),
    "JSON as PHP writes it": json.dumps(PASSWORD).replace("/", "\\/"),
    "Python": repr(PASSWORD),
    "Python, in a list": repr([f"{PASSWORD}"]),
    "URL": quote(PASSWORD, safe=""),
    "path": quote(PASSWORD),
    "form": quote_plus(PASSWORD),
    "HTML": escape(PASSWORD),
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_password_is_hidden_in_each_spelling(spelled: str) -> None:
    said = hidden(f"you sent {spelled}, wrong", [PASSWORD], shortest=8)
    assert CORE not in said
    assert "[secret]" in said


def test_a_variable_that_is_no_text_is_told_by_its_name_and_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PASSWORD", os.fsdecode(f"{CORE}\xff".encode("latin-1")))
    with pytest.raises(
        SecretUnreadableError, match=r"^environment variable PASSWORD is not UTF-8 text"
    ) as told:
        Secret(Kept.ENV, "PASSWORD").reveal()
    assert told.value.__context__ is None


def test_what_repeats_a_secret_that_no_url_can_hold_is_searched_all_the_same() -> None:
    secret = f"{CORE}\udcff-of-a-login"
    assert hidden(f"you sent {secret}", [secret], shortest=8) == "you sent [secret]"


def test_user_and_password_of_a_proxy_are_hidden_apart_and_together() -> None:
    proxy = read_proxy(Secret.text(f"http://{CANARY}-user:{CANARY}-word@proxy.example"))
    only_user = read_proxy(Secret.text(f"http://{CANARY}@proxy.example"))
    assert {f"{CANARY}-user", f"{CANARY}-word"} < {*proxy.secrets}
    assert CANARY in only_user.secrets


def test_the_login_of_a_proxy_is_hidden_as_it_is_sent() -> None:
    proxy = read_proxy(Secret.text("http://user:p%C3%A4ssword@proxy.example"))
    assert base64.b64encode("user:pässword".encode("latin-1")).decode() in proxy.secrets


def test_a_login_that_no_proxy_can_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(CloudError, match="letters that cannot be sent") as refused:
        read_proxy(Secret.text(f"http://user:{CANARY}€@proxy.example"))
    assert CORE not in str(refused.value)
    assert refused.value.__context__ is None
