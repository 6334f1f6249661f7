"""Mail: what is sent, who gets it, and what each answer of a mail server, or none, means."""

import asyncio
import hashlib
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from taskwatch.clock import SystemClock
from taskwatch.engine.ports import DeliveryError, NoAlerts
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.model.letter import read_letter
from taskwatch.notifiers import connection, parts, relay, talk
from taskwatch.notifiers.email import EmailNotifier, EmailOptions, open_notifier
from taskwatch.notifiers.mail import written
from taskwatch.telemetry import Logger
from tests.fakes.builders import captured_log, quiet_log
from tests.fakes.letters import a_letter
from tests.fakes.messages import HOSTILE
from tests.fakes.smtp_server import (
    END,
    GREETING,
    Behaviour,
    FakeMailServer,
    Mail,
    drop,
    flood,
    hang,
    problems_of,
    saying,
)

DBA: Final = "dba@example.com"
MAIL: Final = hashlib.sha256(b"mail").hexdigest()[:12]  # the receiver
BOSS: Final = "boss@example.com"
LOGIN: Final[dict[str, Any]] = {"username": "canary-user", "password": "canary-password"}
CANARIES: Final = ("canary", "Y2FuYXJ5")  # the latter in base64


def options(smtp: str = "smtp://127.0.0.1:1", **keys: object) -> EmailOptions:
    directory = keys.pop("directory", None)
    written_keys = {"name": "mail", "type": "email", "timeout": "2s", "smtp": smtp, **keys}
    written_keys.setdefault("from", "Täskwatch <taskwatch@example.com>")
    written_keys.setdefault("to", DBA)
    return EmailOptions.model_validate(written_keys, context=directory)


def problem(**keys: object) -> str:
    with pytest.raises(ValidationError) as raised:
        options(**keys)  # type: ignore[arg-type]  # what people write may be anything
    (error,) = raised.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg'].removeprefix('Value error, ')}"


def notifier_of(smtp: str, *, log: Logger | None = None, **keys: object) -> EmailNotifier:
    return open_notifier(
        options(smtp, **keys), clock=SystemClock(), log=log or quiet_log(), alerts=NoAlerts()
    )


async def failure(notifier: EmailNotifier, message: Message | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await notifier.notify(message or a_letter())
    assert raised.value.__context__ is None
    return raised.value


@asynccontextmanager
async def serving(**keys: Any) -> AsyncIterator[FakeMailServer]:
    async with FakeMailServer(**keys) as server:
        yield server
    assert server.problems == []


# What is sent


async def test_a_letter_arrives_as_it_was_written() -> None:
    message = a_letter(
        subject="Sicherung von Bestellungen gescheitert: Größe", text="Zeile 1\nZeile 2: §2 … Ende\n"
    )
    async with serving() as server:
        await notifier_of(server.url, to=["Die DBAs <dba@example.com>", BOSS]).notify(message)
    (mail,) = server.mails
    assert mail.sender == "taskwatch@example.com"
    assert mail.to == (DBA, BOSS)
    head = mail.message
    assert head["From"] == "Täskwatch <taskwatch@example.com>"
    assert head["To"] == "Die DBAs <dba@example.com>, boss@example.com"
    assert head["Subject"] == "Sicherung von Bestellungen gescheitert: Größe"
    assert parsedate_to_datetime(head["Date"]) == read_letter(message.body).at.replace(microsecond=0)
    assert mail.text == "Zeile 1\r\nZeile 2: §2 … Ende\r\n"


async def test_the_head_holds_ids_and_what_is_configured_and_nothing_else() -> None:
    async with serving() as server:
        await notifier_of(server.url).notify(a_letter())
    head = server.mails[0].message
    assert head["Message-ID"] == f"<tw_nbswy3dpeb3w64tmmqqho33snrscc.{MAIL}@example.com>"
    assert head["References"] == head["In-Reply-To"] == "<tw_ifbegrcfizdg@example.com>"
    assert head["Auto-Submitted"] == "auto-generated"
    assert set(head.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted"),
        *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
    }


async def test_ids_that_are_longer_than_a_line_stay_as_they_are() -> None:
    long = "tw_" + "a" * 52
    raw = written(a_letter(long, thread=long), **_people(sender="taskwatch@notifications.example.com"))
    thread = f"<{long}@notifications.example.com>".encode()
    own = f"<{long}.{MAIL}@notifications.example.com>".encode()
    heads = (b"Message-ID: " + own, b"References: " + thread, b"In-Reply-To: " + thread)
    assert [raw.count(head) for head in heads] == [1, 1, 1]


async def test_two_receivers_of_one_event_write_two_mails_of_one_thread() -> None:
    async with serving() as server:
        for name in ("mail", "on call 📟"):
            await notifier_of(server.url, name=name).notify(a_letter())
    first, second = (mail.message for mail in server.mails)
    assert first["Message-ID"] != second["Message-ID"]
    assert first["References"] == second["References"]


async def test_a_letter_with_html_has_both_and_its_bytes_are_the_same_on_every_attempt() -> None:
    message = a_letter(text="plain", html="<p>schön &amp; gut</p>")
    async with serving() as server:
        for _ in range(2):
            await notifier_of(server.url).notify(message)
    first, second = server.mails
    assert first.raw == second.raw
    html = first.message.get_body(("html",))
    assert html is not None
    assert html.get_content() == "<p>schön &amp; gut</p>\r\n"
    assert first.text == "plain\r\n"
    assert first.message.get_content_type() == "multipart/alternative"


async def test_a_replay_says_so_and_bears_the_same_id() -> None:
    async with serving() as server:
        notifier = notifier_of(server.url)
        await notifier.notify(a_letter())
        await notifier.notify(a_letter(replay=True))
    first, replayed = (mail.message for mail in server.mails)
    assert (first["X-Taskwatch-Replay"], replayed["X-Taskwatch-Replay"]) == (None, "1")
    assert first["Message-ID"] == replayed["Message-ID"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_begins_no_header_and_no_command(text: str) -> None:
    lines = f"{text}\r\n.\r\nMAIL FROM:<x@y>\r\n..\r\nFrom me"
    async with serving() as server:
        await notifier_of(server.url).notify(a_letter(subject=text, text=lines, html=lines))
    (mail,) = server.mails
    subject = mail.message["Subject"]
    assert subject.isprintable()
    assert len(subject) <= parts.SUBJECT + len("… (10000 characters)")
    assert subject[:20] == parts.subject_of(read_letter(a_letter(subject=text).body))[:20]
    assert mail.text.splitlines() == lines.splitlines()
    assert "Bcc" not in mail.message
    assert "webhook-id" not in mail.message


@given(subject=st.text(max_size=400), text=st.text(max_size=3000), html=st.none() | st.text(max_size=300))
def test_whatever_a_letter_holds_is_read_as_it_was_meant(subject: str, text: str, html: str | None) -> None:
    raw = written(a_letter(subject=subject, text=text, html=html), **_people())
    assert [*problems_of(raw)] == []
    mail = Mail("a@b", (), raw)
    meant = parts.subject_of(read_letter(a_letter(subject=subject).body))
    assert mail.message["Subject"] == meant
    assert _lines(mail.text) == _lines(text)


def _lines(text: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", re.sub(r"(\r\n|\r|\n)\Z", "", text))


def _people(sender: str = "taskwatch@example.com") -> Any:
    made = options(**{"from": sender})
    return {"receiver": made.name, "sender": made.from_, "to": made.to}


# Who gets it


async def test_who_is_greylisted_is_asked_again_alone() -> None:
    async with serving() as server:
        server.greylist(BOSS)
        notifier = notifier_of(server.url, to=[DBA, BOSS])
        error = await failure(notifier)
        await notifier.notify(a_letter())
    assert (error.reason, error.scope) == (Reason.SERVER_ERROR, Scope.PART)
    assert error.detail == (
        f"not yet for {BOSS}: 127.0.0.1:{server.port} answered 451: 4.7.1 greylisted, come again"
    )
    assert [mail.to for mail in server.mails] == [(DBA,), (BOSS,)]
    assert server.mails[0].raw == server.mails[1].raw


async def test_where_all_are_put_off_nobody_has_it() -> None:
    async with serving() as server:
        server.greylist(DBA, BOSS)
        error = await failure(notifier_of(server.url, to=[DBA, BOSS]))
    assert (error.reason, error.scope) == (Reason.SERVER_ERROR, Scope.EVENT)
    assert error.detail.startswith(f"not yet for {DBA}, {BOSS}: ")


async def test_one_that_is_put_off_while_the_other_is_refused_leaves_it_with_nobody() -> None:
    def behave(command: str) -> Behaviour | None:
        answers = {f"RCPT TO:<{DBA}>": "550 no such user", f"RCPT TO:<{BOSS}>": "451 later"}
        return saying(answers[command]) if command in answers else None

    async with serving(behave=behave) as server:
        error = await failure(notifier_of(server.url, to=[DBA, BOSS]))
    assert error.scope is Scope.EVENT
    assert error.detail.startswith(f"not yet for {BOSS}: ")


@pytest.mark.parametrize("said", ["452 4.2.2 mailbox full", "552 5.2.2 mailbox full"])
async def test_what_is_said_of_a_letter_to_those_who_are_left_speaks_of_them_alone(said: str) -> None:
    async with serving() as server:
        server.greylist(BOSS)
        notifier = notifier_of(server.url, to=[DBA, BOSS])
        await failure(notifier)
        server.answer(END, saying(said))
        error = await failure(notifier)
        server.answer(END, drop)
        broken = await failure(notifier)
    assert error.scope is Scope.PART
    assert error.detail.startswith(f"not yet for {BOSS}: ")
    assert (broken.reason, broken.scope) == (Reason.NETWORK, Scope.EVENT)


async def test_what_is_over_is_forgotten_so_that_it_can_be_told_anew() -> None:
    async with serving() as server:
        server.greylist(BOSS)
        notifier = notifier_of(server.url, to=[DBA, BOSS])
        await failure(notifier)
        await notifier.notify(a_letter())
        await notifier.notify(a_letter())
    assert [mail.to for mail in server.mails] == [(DBA,), (BOSS,), (DBA, BOSS)]


async def test_a_replay_goes_to_all_also_to_those_who_had_it() -> None:
    async with serving() as server:
        server.greylist(BOSS)
        notifier = notifier_of(server.url, to=[DBA, BOSS])
        await failure(notifier)
        await notifier.notify(a_letter(replay=True))
    assert [mail.to for mail in server.mails] == [(DBA,), (DBA, BOSS)]


async def test_of_more_messages_than_are_remembered_the_oldest_goes_to_all_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "REMEMBERED", 1)
    async with serving() as server:
        notifier = notifier_of(server.url, to=[DBA, BOSS])
        server.answer(f"RCPT TO:<{BOSS}>", saying("451 later"))
        await failure(notifier, a_letter("tw_1"))
        await failure(notifier, a_letter("tw_2"))
        server.behave = lambda _: None
        await notifier.notify(a_letter("tw_2"))
        await notifier.notify(a_letter("tw_1"))
    assert [mail.to for mail in server.mails[2:]] == [(BOSS,), (DBA, BOSS)]


async def test_one_of_two_refused_for_good_is_told_once_and_the_letter_is_delivered() -> None:
    log, lines = captured_log()
    async with serving() as server:
        server.answer(f"RCPT TO:<{BOSS}>", saying("550 5.1.1 no such \x1b[31muser"))
        remark = await notifier_of(server.url, log=log, to=[DBA, BOSS]).notify(a_letter())
        port = server.port
    assert remark == f"not for {BOSS}: 127.0.0.1:{port} answered 550: 5.1.1 no such \\x1b[31muser"
    assert [mail.to for mail in server.mails] == [(DBA,)]
    (line,) = lines
    assert line == {
        "log_level": "warning",
        "event": "recipient_refused",
        "receiver": "mail",
        "event_id": a_letter().event_id,
        "count": 1,
        "recipients": [BOSS],
        "error": f"127.0.0.1:{port} answered 550: 5.1.1 no such \\x1b[31muser",
    }


async def test_who_is_refused_is_said_too_where_the_others_had_it_before() -> None:
    async with serving() as server:
        server.greylist(BOSS)
        notifier = notifier_of(server.url, to=[DBA, BOSS])
        await failure(notifier)
        server.answer(f"RCPT TO:<{BOSS}>", saying("550 no"))
        remark = await notifier.notify(a_letter())
    assert remark is not None
    assert remark.startswith(f"not for {BOSS}: ")


async def test_where_all_have_it_there_is_nothing_to_say() -> None:
    async with serving() as server:
        assert await notifier_of(server.url, to=[DBA, BOSS]).notify(a_letter()) is None


async def test_all_refused_for_good_is_a_failure_of_the_letter() -> None:
    async with serving() as server:
        server.answer("RCPT", saying("550 5.1.1 no such user"))
        error = await failure(notifier_of(server.url, to=[DBA, BOSS]))
    assert (error.reason, error.scope) == (Reason.REJECTED, Scope.EVENT)
    assert END not in server.commands


async def test_too_many_for_one_mail_are_left_for_the_next() -> None:
    async with serving() as server:
        server.answer(f"RCPT TO:<{BOSS}>", saying("552 too many recipients"))
        notifier = notifier_of(server.url, to=[DBA, BOSS])
        assert (await failure(notifier)).reason is Reason.SERVER_ERROR
        server.behave = lambda _: None
        await notifier.notify(a_letter())
    assert [mail.to for mail in server.mails] == [(DBA,), (BOSS,)]


async def test_an_address_that_stands_twice_is_asked_for_once() -> None:
    async with serving() as server:
        await notifier_of(server.url, to=[DBA, f"DBA <{DBA}>"]).notify(a_letter())
    assert [mail.to for mail in server.mails] == [(DBA,)]


async def test_a_connection_that_breaks_after_the_data_is_tried_again_under_the_same_id() -> None:
    async with serving() as server:
        server.answer(END, drop)
        notifier = notifier_of(server.url)
        error = await failure(notifier)
        server.behave = lambda _: None
        await notifier.notify(a_letter())
    assert (error.reason, error.scope) == (Reason.NETWORK, Scope.EVENT)
    assert error.detail.endswith("it closed the connection")
    assert server.commands.count(END) == 2
    assert [mail.message["Message-ID"] for mail in server.mails] == [
        f"<{a_letter().event_id}.{MAIL}@example.com>"
    ]


@pytest.mark.parametrize("behaviour", [drop, hang, saying("421 going"), saying("nonsense")])
async def test_how_the_server_says_good_bye_decides_nothing(
    behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "QUIT_SECONDS", 0.05)
    async with serving() as server:
        server.answer("QUIT", behaviour)
        await notifier_of(server.url).notify(a_letter())
    assert len(server.mails) == 1


async def test_what_was_taken_before_a_cancellation_is_not_sent_again() -> None:
    async with serving() as server:
        at_the_end = asyncio.Event()

        async def stall(line: Any) -> str | None:
            at_the_end.set()
            return await hang(line)

        server.answer("QUIT", stall)
        notifier = notifier_of(server.url)
        attempt = asyncio.create_task(notifier.notify(a_letter()))
        await at_the_end.wait()
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        await notifier.notify(a_letter())
    assert attempt.cancelled()
    assert len(server.mails) == 1


async def test_an_attempt_that_is_cut_off_closes_its_connection() -> None:
    async with serving() as server:
        server.answer(END, hang)
        attempt = asyncio.create_task(notifier_of(server.url).notify(a_letter()))
        while END not in server.commands:
            await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        await server.all_have_gone()
    assert attempt.cancelled()


# What the answers mean

E_, R_ = Scope.EVENT, Scope.RECEIVER


@pytest.mark.parametrize(
    ("command", "answer", "reason", "scope"),
    [
        (GREETING, "421 4.3.2 shutting down", Reason.SERVER_ERROR, E_),
        (GREETING, "554 no mail from you", Reason.REJECTED, R_),
        ("EHLO", "502 what", Reason.REJECTED, R_),
        ("EHLO", "421 busy", Reason.SERVER_ERROR, E_),
        ("MAIL", "451 4.3.0 later", Reason.SERVER_ERROR, E_),
        ("MAIL", "530 5.7.0 log in first", Reason.UNAUTHORIZED, R_),
        ("MAIL", "550 5.7.1 not as this sender", Reason.REJECTED, R_),
        ("MAIL", "552 too large", Reason.REJECTED, E_),
        ("RCPT", "421 going", Reason.SERVER_ERROR, E_),
        ("RCPT", "450 4.2.0 greylisted", Reason.SERVER_ERROR, E_),
        ("RCPT", "452 full", Reason.SERVER_ERROR, E_),
        ("RCPT", "530 5.7.0 log in first", Reason.UNAUTHORIZED, R_),
        ("DATA", "451 later", Reason.SERVER_ERROR, E_),
        ("DATA", "554 no", Reason.REJECTED, E_),
        (END, "452 4.3.1 disk full", Reason.SERVER_ERROR, E_),
        (END, "554 5.7.1 looks like spam", Reason.REJECTED, E_),
        (END, "999 what", Reason.REJECTED, E_),
        (END, "25x what", Reason.NETWORK, E_),
        (END, "nonsense", Reason.NETWORK, E_),
    ],
)
async def test_each_answer_has_its_meaning(command: str, answer: str, reason: Reason, scope: Scope) -> None:
    async with serving() as server:
        server.answer(command, saying(answer))
        error = await failure(notifier_of(server.url))
    assert (error.reason, error.scope) == (reason, scope)
    assert f"127.0.0.1:{server.port}" in error.detail
    assert server.mails == []
    # RFC 5321, section 4.1.1.10: none that can still be said goes without it.
    is_over = reason is Reason.NETWORK or command == GREETING or answer.startswith("421")
    assert ("QUIT" in server.commands) is not is_over


@pytest.mark.parametrize("command", [GREETING, "EHLO", "MAIL", "RCPT", "DATA", END])
async def test_a_connection_that_breaks_is_the_networks(command: str) -> None:
    async with serving() as server:
        server.answer(command, drop)
        error = await failure(notifier_of(server.url))
    assert (error.reason, error.scope) == (Reason.NETWORK, Scope.EVENT)


@pytest.mark.parametrize("command", [GREETING, "EHLO", "RCPT", END])
async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_timeout(command: str) -> None:
    async with serving() as server:
        server.answer(command, hang)
        error = await failure(notifier_of(server.url, timeout="200ms"))
    assert (error.reason, error.detail) == (Reason.TIMEOUT, f"127.0.0.1:{server.port} did not answer in time")


@pytest.mark.parametrize("command", [GREETING, "EHLO", "RCPT", END])
async def test_an_answer_without_an_end_is_cut_off(command: str) -> None:
    async with serving() as server:
        server.answer(command, flood)
        error = await failure(notifier_of(server.url))
    assert error.reason is Reason.NETWORK
    assert error.detail.endswith("its answer is no SMTP")


async def test_of_a_long_answer_the_first_line_is_shown_and_cut() -> None:
    async with serving() as server:
        server.answer("MAIL", saying(f"550-\u202e{'x' * 900}\r\n550 second"))
        error = await failure(notifier_of(server.url))
    assert "\\u202exxx" in error.detail
    assert "second" not in error.detail
    assert len(error.detail) < 300


async def test_nobody_there_and_no_such_name_are_the_networks() -> None:
    refused = await failure(notifier_of("smtp://127.0.0.1:1"))
    unknown = await failure(notifier_of("smtp://mail.invalid"))
    assert (refused.reason, unknown.reason) == (Reason.NETWORK, Reason.NETWORK)
    assert refused.detail == "cannot reach 127.0.0.1:1: Connection refused"
    assert unknown.detail.startswith("cannot reach mail.invalid:587: its name cannot be resolved")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.1.1]", "0.0.0.0"])  # noqa: S104  (none is listened on)
async def test_addresses_where_clouds_keep_credentials_are_refused(host: str) -> None:
    error = await failure(notifier_of(f"smtp://{host}"))
    assert error.reason is Reason.NETWORK
    assert "no receiver lives there" in error.detail


async def test_an_address_that_refuses_is_passed_over_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda _host, port, **_: [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
                for host in ("127.0.0.2", "127.0.0.1")
            ],
        )
        await notifier_of(f"smtp://mail.example:{server.port}").notify(a_letter())
    assert len(server.mails) == 1


async def test_an_address_that_says_nothing_is_passed_over_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.2", 0), backlog=0) as full:
        port = full.getsockname()[1]
        async with serving() as server, _filled(port):
            monkeypatch.setattr(
                socket,
                "getaddrinfo",
                lambda _host, _port, **_: [
                    (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
                    for host in ("127.0.0.2", "127.0.0.1")
                ],
            )
            error = await failure(notifier_of(f"smtp://mail.example:{port}"))
    assert error.detail.endswith("Connection refused")  # of the second: nobody listens there on this port
    assert server.mails == []


@asynccontextmanager
async def _filled(port: int) -> AsyncIterator[None]:
    """Fill the queue of a listener that takes nobody."""
    waiting = []
    try:
        for _ in range(4):
            opened = socket.socket()
            opened.setblocking(False)
            opened.connect_ex(("127.0.0.2", port))
            waiting.append(opened)
        await asyncio.sleep(0.05)
        yield
    finally:
        for opened in waiting:
            opened.close()


# TLS and logins


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def secured(authority: trustme.CA, name: str = "127.0.0.1", *, demands: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    context.set_alpn_protocols(["http/1.1", "smtp"])
    if demands:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize("is_from_the_start", [False, True], ids=["STARTTLS", "SMTPS"])
@pytest.mark.parametrize("methods", ["PLAIN LOGIN", "LOGIN", "XOAUTH2 LOGIN"])
async def test_a_login_goes_over_tls(
    authority: trustme.CA, ca: Path, methods: str, *, is_from_the_start: bool
) -> None:
    async with serving(
        tls=secured(authority),
        is_tls_from_the_start=is_from_the_start,
        login=(LOGIN["username"], LOGIN["password"]),
        methods=methods,
    ) as server:
        notifier = notifier_of(server.url, tls={"ca": ca}, **LOGIN)
        await notifier.connect()
        assert server.commands[-1] == "QUIT"
        assert server.mails == []
        await notifier.notify(a_letter())
    assert len(server.mails) == 1
    assert {login[1:] for login in server.logins} == {(LOGIN["username"], LOGIN["password"])}
    assert [command.split(" ")[0] for command in server.in_clear] == (
        [] if is_from_the_start else ["EHLO", "STARTTLS"] * 2
    )


async def test_no_web_protocol_is_offered_to_a_mail_server(authority: trustme.CA, ca: Path) -> None:
    async with serving(tls=secured(authority)) as server:
        await notifier_of(server.url, tls={"ca": ca}).notify(a_letter())
    assert server.protocols == ["smtp"]  # Exim breaks off where another is offered


@pytest.mark.parametrize("is_from_the_start", [False, True], ids=["STARTTLS", "SMTPS"])
async def test_a_certificate_that_is_refused_concerns_the_receiver(
    authority: trustme.CA, ca: Path, *, is_from_the_start: bool
) -> None:
    keys: dict[str, Any] = {"is_tls_from_the_start": is_from_the_start, "login": ("a", "b")}
    async with serving(tls=secured(authority), **keys) as server:
        unknown = await failure(notifier_of(server.url, **LOGIN))
    async with serving(tls=secured(authority, "mail.example"), **keys) as other:
        elsewhere = await failure(notifier_of(other.url, tls={"ca": ca}, **LOGIN))
    for error in (unknown, elsewhere):
        assert (error.reason, error.scope) == (Reason.TLS, Scope.RECEIVER)
        assert "its certificate is refused" in error.detail
    assert server.logins == other.logins == []


async def test_a_certificate_is_not_looked_at_where_that_is_switched_off(authority: trustme.CA) -> None:
    async with serving(tls=secured(authority, "mail.example")) as server:
        await notifier_of(server.url, tls={"verify": False}).notify(a_letter())
    assert len(server.mails) == 1


async def test_a_server_that_demands_a_certificate_of_ours_gets_it(
    authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    me = tmp_path / "me.pem"
    authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(me)
    async with serving(tls=secured(authority, demands=True)) as server:
        await notifier_of(server.url, tls={"ca": ca, "cert": me}).notify(a_letter())
        without = await failure(notifier_of(server.url, tls={"ca": ca}))
    assert len(server.mails) == 1
    assert without.reason in (Reason.TLS, Reason.NETWORK)  # whether the alert arrives is the server's


async def test_certificates_that_cannot_be_used_concern_the_receiver(tmp_path: Path) -> None:
    error = await failure_with_cause(notifier_of("smtp://127.0.0.1:1", tls={"ca": tmp_path / "gone.pem"}))
    assert (error.reason, error.scope) == (Reason.TLS, Scope.RECEIVER)
    assert "write it there, or name another" in error.detail


async def failure_with_cause(notifier: EmailNotifier) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await notifier.notify(a_letter())
    return raised.value


async def test_a_server_on_this_host_may_go_without_tls_when_it_offers_none() -> None:
    async with serving(login=(LOGIN["username"], LOGIN["password"])) as server:
        await notifier_of(server.url, **LOGIN).notify(a_letter())
    assert len(server.mails) == 1


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the servers of a test count as others than this host."""
    monkeypatch.setattr(talk, "is_loopback", lambda _: False)


@pytest.mark.usefixtures("far_away")
async def test_a_server_elsewhere_that_offers_no_tls_is_given_no_mail() -> None:
    async with serving() as server:
        error = await failure(notifier_of(server.url))
    assert (error.reason, error.scope) == (Reason.TLS, Scope.RECEIVER)
    assert "offers no STARTTLS; write smtps://, or starttls: false" in error.detail
    assert [command.split(" ")[0] for command in server.commands] == ["EHLO"]


@pytest.mark.usefixtures("far_away")
async def test_a_relay_without_tls_is_given_mail_where_that_is_said_but_never_a_login(
    authority: trustme.CA,
) -> None:
    async with serving(tls=secured(authority), login=("a", "b")) as server:
        error = await failure(notifier_of(server.url, starttls=False, **LOGIN))
    async with serving(tls=secured(authority)) as relay:
        await notifier_of(relay.url, starttls=False).notify(a_letter())
    assert (error.reason, error.scope) == (Reason.TLS, Scope.RECEIVER)
    assert "username and password are not sent" in error.detail
    assert server.logins == []
    assert [len(relay.mails), relay.protocols] == [1, []]


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_this_host_is_known_by_its_address(address: str, *, is_ours: bool) -> None:
    assert talk.is_loopback(address) is is_ours


async def test_a_wrong_password_is_tried_once_and_concerns_the_receiver() -> None:
    async with serving(login=("canary-user", "another")) as server:
        error = await failure(notifier_of(server.url, **LOGIN))
    assert (error.reason, error.scope) == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert error.detail.endswith("answered 535: 5.7.8 wrong user or password")
    assert len(server.logins) == 1  # accounts are locked after a few


async def test_a_login_that_is_not_possible_now_is_tried_later() -> None:
    async with serving(login=("a", "b")) as server:
        server.answer("AUTH", saying("454 4.7.0 temporary failure"))
        error = await failure(notifier_of(server.url, **LOGIN))
    assert (error.reason, error.scope) == (Reason.SERVER_ERROR, Scope.EVENT)


async def test_a_server_that_knows_no_login_of_ours_concerns_the_receiver() -> None:
    async with serving(login=("a", "b"), methods="GSSAPI") as server:
        error = await failure(notifier_of(server.url, **LOGIN))
    assert (error.reason, error.scope) == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert "offers no login that is known here (PLAIN, LOGIN, CRAM-MD5)" in error.detail


async def test_a_login_and_a_server_are_read_anew_at_each_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("old\n")
    async with serving(login=("u", "new")) as server:
        monkeypatch.setenv("MAIL", "smtp://127.0.0.1:1")
        keys: Any = {"smtp": {"env": "MAIL"}, "username": "u", "password": {"file": "password"}}
        notifier = notifier_of(directory=tmp_path, **keys)
        assert (await failure(notifier)).reason is Reason.NETWORK
        monkeypatch.setenv("MAIL", server.url)
        assert (await failure(notifier)).reason is Reason.UNAUTHORIZED
        (tmp_path / "password").write_text("new\n")
        await notifier.notify(a_letter())
        (tmp_path / "password").unlink()
        gone = await failure_with_cause(notifier)
    assert (gone.reason, gone.scope) == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert "password" in gone.detail


@pytest.mark.parametrize("url", ["https://mail.example", "smtp://canary:canary@mail.example", "canary"])
async def test_what_is_kept_elsewhere_and_is_no_server_concerns_the_receiver(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL", url)
    keys: Any = {"smtp": {"env": "MAIL"}}
    with pytest.raises(DeliveryError) as raised:
        await notifier_of(**keys).connect()
    assert (raised.value.reason, raised.value.scope) == (Reason.LOCAL, Scope.RECEIVER)
    assert raised.value.detail.startswith("smtp in $MAIL: ")
    assert "canary" not in raised.value.detail


@pytest.mark.parametrize("command", ["AUTH", "MAIL", "RCPT", "DATA", END])
async def test_a_server_that_repeats_the_login_shows_it_to_nobody(command: str) -> None:
    async with serving(login=(LOGIN["username"], LOGIN["password"])) as server:

        async def repeat(_: object) -> str:
            sent = " ".join(server.commands)
            tried = " ".join(" ".join(login) for login in server.logins)
            return f"550-{sent} {tried}\r\n550 {sent}"

        server.answer(command, repeat)
        error = await failure(notifier_of(server.url, **LOGIN))
    assert "[secret]" in error.detail
    assert [canary for canary in CANARIES if canary in f"{error!r} {error.__cause__!r}"] == []


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiosmtplib", None)
    notifier = notifier_of("smtp://127.0.0.1:1")
    for attempt in (notifier.notify(a_letter()), notifier.connect()):
        with pytest.raises(DeliveryError) as raised:
            await attempt
        assert (raised.value.reason, raised.value.scope) == (Reason.LOCAL, Scope.RECEIVER)
        assert raised.value.detail == 'email needs aiosmtplib: pip install "taskwatch[mail]"'


# What can be configured


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"smtp": "https://mail.example"}, "smtp: not a URL; write smtps://HOST or smtp://HOST"),
        ({"smtp": "mail.example:25"}, "smtp: not a URL; write smtps://HOST or smtp://HOST"),
        (
            {"smtp": "smtps://u:canary@mail.example"},
            "smtp: a login in the URL; write username and password as keys of their own",
        ),
        (
            {"smtp": "smtp://mail.example/canary"},
            "smtp: more than a host and its port; write smtps://HOST or smtp://HOST:PORT",
        ),
        (
            {"smtp": "smtp://mail.example?canary"},
            "smtp: more than a host and its port; write smtps://HOST or smtp://HOST:PORT",
        ),
        (
            {"smtp": "smtp://mail.example\r\nx"},
            "smtp: a URL with spaces or control characters; write it without",
        ),
        ({"from": "a@b\nBcc: c@d"}, "from: not an address; write a@example.com, or NAME <a@example.com>"),
        ({"from": "a@"}, "from: not an address; write a@example.com, or NAME <a@example.com>"),
        (
            {"from": "=?utf-8?q?x=0d=0a?= <a@b>"},
            "from: not an address; write a@example.com, or NAME <a@example.com>",
        ),
        ({"from": ["a@b"]}, "from: not an address; write a@example.com, or NAME <a@example.com>"),
        ({"to": "a@b, c@d"}, "to.0: not an address; write a@example.com, or NAME <a@example.com>"),
        ({"to": ["a@b", "x\0@d"]}, "to.1: not an address; write a@example.com, or NAME <a@example.com>"),
        ({"to": ["a@bücher.example"]}, "to.0: not an address; write a@example.com, or NAME <a@example.com>"),
        ({"to": []}, "to: empty; write one at least"),
        ({"to": [f"a{n}@b" for n in range(51)]}, "to: 51 addresses; write 50 at most, or that of a list"),
        ({"username": "u"}, ": half a login; write both username and password, or neither"),
        ({"password": "canary"}, ": half a login; write both username and password, or neither"),
        ({"starttls": "maybe"}, "starttls: neither true nor false; write one of them"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(keys: dict[str, Any], said: str) -> None:
    assert problem(**keys) == said


def test_ports_and_addresses_are_understood_as_people_write_them() -> None:
    relays = {
        url: relay.read_relay(url)
        for url in ("smtps://mail.example", "smtp://mail.example/", "smtp://[::1]:25")
    }
    assert [(relay.port, relay.is_tls, str(relay)) for relay in relays.values()] == [
        (465, True, "mail.example:465"),
        (587, False, "mail.example:587"),
        (25, False, "[::1]:25"),
    ]
    made = options(to=["a@b", '"Ops, night" <ops@b>', "<c@d>"])
    assert [(address.display_name, address.addr_spec) for address in made.to] == [
        ("", "a@b"),
        ("Ops, night", "ops@b"),
        ("", "c@d"),
    ]


def test_a_password_in_the_file_is_a_secret_and_the_server_is_no_more_than_an_address() -> None:
    made = options("smtps://mail.example", **LOGIN)
    assert "canary" not in f"{made!r} {made.model_dump()}"
    assert made.writes_to_people
