"""What every kind of receiver keeps, whatever it speaks. A kind without an other side here fails the first test."""

import asyncio
import base64
import io
import json
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
import structlog
from aiohttp import web
from apprise import Apprise

from taskwatch import telemetry
from taskwatch.clock import SystemClock
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import DeliveryError, Notifier
from taskwatch.model.delivery import Message
from taskwatch.notifiers.registry import NOTIFIERS
from tests.fakes.alert_book import AlertBookInMemory
from tests.fakes.alertmanager import FakeAlertmanager
from tests.fakes.letters import a_letter
from tests.fakes.messages import HOSTILE, a_message
from tests.fakes.pagerduty import FakePagerduty
from tests.fakes.smtp_server import Behaviour, FakeMailServer, Mail, saying
from tests.fakes.webhook_sink import WebhookSink, answer

# One of Apprise's services imports what Python gives up in 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

CANARY: Final = "canary"  # part of every secret
KEY: Final = "whsec_" + "Y2FuYXJ5" * 4  # its base64: the text of a signing secret is the secret


@dataclass
class OtherSide:
    """The far end of a kind, and how it is configured."""

    options: dict[str, Any]
    heard: Callable[[], list[str]]
    refuse: Callable[[], None] = lambda: None  # from now on, repeating all that was sent
    vanish: Callable[[], None] = lambda: None  # from now on nobody is there
    logins: tuple[dict[str, object], ...] = ({},)  # further options, each with other secrets


@asynccontextmanager
async def _log(lines: io.StringIO) -> AsyncIterator[OtherSide]:
    yield OtherSide({}, lambda: lines.getvalue().splitlines())


@asynccontextmanager
async def _webhook(_: io.StringIO) -> AsyncIterator[OtherSide]:
    async with WebhookSink() as sink:
        side = OtherSide(
            {
                "url": sink.url.replace("//", f"//user-{CANARY}:pass-{CANARY}@")
                + f"/path-{CANARY}/%63anary-written?token={CANARY}-query",
                "secret": KEY,
                "headers": {"X-Key": f"header-{CANARY}"},
            },
            lambda: [post.body.decode() for post in sink.posts if post.accepted],
            logins=(
                {},
                {"bearer": f"bearer-{CANARY}"},
                {"basic": {"username": f"name-{CANARY}", "password": f"{CANARY}-password"}},
            ),
        )

        def refuse() -> None:
            sink.choose = lambda: _repeat

        def vanish() -> None:
            side.options["url"] = side.options["url"].replace(sink.url.split("/")[2], "127.0.0.1:1")

        side.refuse, side.vanish = refuse, vanish
        yield side


@asynccontextmanager
async def _alertmanager(_: io.StringIO) -> AsyncIterator[OtherSide]:
    async with FakeAlertmanager() as server:
        side = OtherSide(
            {
                "urls": [
                    server.url.replace("//", f"//user-{CANARY}:pass-{CANARY}@") + f"?token={CANARY}-query"
                ],
                "headers": {"X-Key": f"header-{CANARY}"},
            },
            lambda: [str(alert) for alert in server.alerts],
            logins=(
                {},
                {"bearer": f"bearer-{CANARY}"},
                {"basic": {"username": f"name-{CANARY}", "password": f"{CANARY}-password"}},
            ),
        )

        def refuse() -> None:
            def repeat(request: web.Request) -> web.Response:
                sent = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
                return web.Response(status=403, text=f"{request.url} {request.raw_path}\n{sent}")

            server.answer = repeat

        def vanish() -> None:
            side.options["urls"] = [side.options["urls"][0].replace(server.url[7:], "127.0.0.1:1")]

        side.refuse, side.vanish = refuse, vanish
        yield side


@asynccontextmanager
async def _pagerduty(_: io.StringIO) -> AsyncIterator[OtherSide]:
    async with FakePagerduty() as server:
        side = OtherSide(
            {
                "url": server.url.replace("//", f"//user-{CANARY}:pass-{CANARY}@"),
                "routing_key": f"{CANARY}0123456789abcdef0123456789",
                "headers": {"X-Key": f"header-{CANARY}"},
            },
            lambda: [str(event) for event in server.events],
        )

        def refuse() -> None:
            async def repeat(request: web.Request) -> web.Response:
                sent = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
                return web.Response(status=403, text=f"{request.url}\n{sent}\n{await request.text()}")

            server.answer = repeat

        def vanish() -> None:
            side.options["url"] = "http://127.0.0.1:1/v2/enqueue"

        side.refuse, side.vanish = refuse, vanish
        yield side


@asynccontextmanager
async def _file(_: io.StringIO) -> AsyncIterator[OtherSide]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        side = OtherSide({"path": str(path)}, lambda: path.read_text().split("\n")[:-1])
        side.refuse = lambda: side.options.update(path=directory)
        side.vanish = lambda: side.options.update(path=f"{directory}/none/events.jsonl")
        yield side


@asynccontextmanager
async def _exec(_: io.StringIO) -> AsyncIterator[OtherSide]:
    with TemporaryDirectory() as directory:
        heard = Path(directory) / "heard"
        refusal = f"import os, sys; sys.exit(sys.stdin.read() + str(os.environ) + {CANARY[:3]!r})"
        take = f"import sys; open({str(heard)!r}, 'a').write(sys.stdin.read())"
        side = OtherSide(
            {"command": [sys.executable, "-I", "-c", take]}, lambda: heard.read_text().split("\n")[:-1]
        )
        side.refuse = lambda: side.options.update(command=[sys.executable, "-I", "-c", refusal])
        side.vanish = lambda: side.options.update(command=["/nonexistent/program"])
        yield side


@asynccontextmanager
async def _email(_: io.StringIO) -> AsyncIterator[OtherSide]:
    user, password = f"user-{CANARY}", f"pass-{CANARY}"
    async with FakeMailServer(login=(user, password)) as server:
        side = OtherSide(
            {
                "smtp": server.url,
                "from": "taskwatch@example.com",
                "to": ["dba@example.com", "boss@example.com"],
                "username": user,
                "password": password,
            },
            lambda: [_as_read(mail) for mail in server.mails],
            logins=({}, {"username": f"name-{CANARY}", "password": f"{CANARY}-password"}),
        )

        def refuse() -> None:
            def behave(command: str) -> Behaviour | None:
                verb, _, sent = command.partition(" ")
                if verb != "AUTH":
                    return None
                decoded = base64.b64decode(sent.split(" ")[-1]).decode()
                return saying(f"535 {sent} is {decoded}".replace("\0", " "))

            server.behave = behave

        def vanish() -> None:
            side.options["smtp"] = "smtp://127.0.0.1:1"

        side.refuse, side.vanish = refuse, vanish
        yield side
    assert server.problems == []


def _as_read(mail: Mail) -> str:
    return f"{mail.message['Message-ID']} {mail.message['Subject']} {json.dumps(mail.text)}"


@asynccontextmanager
async def _apprise(_: io.StringIO) -> AsyncIterator[OtherSide]:
    await asyncio.to_thread(
        Apprise().add, "json://localhost"
    )  # once a process, Apprise loads all its services
    async with WebhookSink() as sink:
        host = sink.url.split("/")[2]
        url = f"json://user-{CANARY}:pass-{CANARY}@{host}/path-{CANARY}?+X-Key=header-{CANARY}&-token={CANARY}-query"
        side = OtherSide(
            {"urls": [url]}, lambda: [post.body.decode() for post in sink.posts if post.accepted]
        )

        def refuse() -> None:
            sink.choose = lambda: _repeat

        def vanish() -> None:
            side.options["urls"] = [url.replace(host, "127.0.0.1:1")]

        side.refuse, side.vanish = refuse, vanish
        yield side


async def _repeat(request: web.Request) -> web.StreamResponse:
    sent = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    return await answer(403, f"{request.url} {request.raw_path} {request.path_qs}\n{sent}")(request)


OTHER_SIDES: Final[dict[str, Callable[[io.StringIO], AbstractAsyncContextManager[OtherSide]]]] = {
    "alertmanager": _alertmanager,
    "apprise": _apprise,
    "email": _email,
    "exec": _exec,
    "file": _file,
    "log": _log,
    "pagerduty": _pagerduty,
    "webhook": _webhook,
}


@dataclass
class Bench:
    kind: str
    side: OtherSide
    lines: io.StringIO = field(repr=False)
    opened: list[Notifier] = field(default_factory=list)
    book: AlertBookInMemory = field(default_factory=AlertBookInMemory)

    def message(self, reason: str = "no space left", job_id: str = "job-1") -> Message:
        """Return a message whose event opened an alert; for a kind that writes to people, the letter about it."""
        message = self.book.open(a_message(reason=reason, job_id=job_id))
        if not NOTIFIERS[self.kind].options.writes_to_people:
            return message
        return a_letter(message.event_id, subject=reason, text=f"{reason}\n{message.event_id}")

    def options(self, **further: object) -> ReceiverOptions:
        written = {"name": "r", "type": self.kind, "timeout": "2s", **self.side.options, **further}
        return NOTIFIERS[self.kind].options.model_validate(written)

    def open(self, **further: object) -> Notifier:
        options = self.options(**further)
        notifier = NOTIFIERS[self.kind].open(
            options, clock=SystemClock(), log=telemetry.logger(), alerts=self.book
        )
        self.opened.append(notifier)
        return notifier


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    lines = io.StringIO()
    telemetry.configure(format_="json", level="debug", stream=lines)
    yield lines
    structlog.reset_defaults()


@pytest.fixture(params=sorted(NOTIFIERS))
async def bench(request: pytest.FixtureRequest, log_lines: io.StringIO) -> AsyncIterator[Bench]:
    if request.param not in OTHER_SIDES:
        pytest.fail(f"the kind {request.param} has no other side in this file: nothing of it is tested")
    async with OTHER_SIDES[request.param](log_lines) as side:
        bench = Bench(request.param, side, log_lines)
        yield bench
        for notifier in bench.opened:
            await notifier.close()


async def test_a_delivered_message_reaches_the_other_side(bench: Bench) -> None:
    message = bench.message()

    await bench.open().notify(message)

    (heard,) = bench.side.heard()
    assert message.event_id in heard
    assert "no space left" in heard


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_of_an_event_stays_text(bench: Bench, text: str) -> None:
    message = bench.message(text)

    await bench.open().notify(message)

    (heard,) = bench.side.heard()  # one: no line and no request was begun by the text
    assert message.event_id in heard
    assert "\x1b" not in heard
    assert "\n" not in heard


async def test_several_messages_at_once_all_arrive(bench: Bench) -> None:
    notifier = bench.open()
    messages = [bench.message(f"reason {number}", f"job-{number}") for number in range(8)]

    await asyncio.gather(*(notifier.notify(message) for message in messages))

    heard = " ".join(bench.side.heard())
    assert [number for number in range(8) if f"reason {number}" not in heard] == []


async def test_a_refusal_that_repeats_all_secrets_shows_none(bench: Bench) -> None:
    for login in bench.side.logins:
        notifier = bench.open(**login)
        bench.side.refuse()

        assert CANARY not in await _all_that_is_shown(notifier, bench)


async def test_nobody_there_is_told_without_secrets(bench: Bench) -> None:
    bench.side.vanish()

    assert CANARY not in await _all_that_is_shown(bench.open(), bench)


async def test_after_close_nothing_is_open_and_a_second_close_is_no_harm(bench: Bench) -> None:
    notifier = bench.open()
    await notifier.notify(bench.message())

    await notifier.close()
    await notifier.close()  # what is still open would be a ResourceWarning, and so an error


async def test_options_that_are_shown_show_no_secret(bench: Bench) -> None:
    for login in bench.side.logins:
        options = bench.options(**login)

        shown = f"{options!r} {options} {options.model_dump()}"
        assert CANARY not in shown
        assert KEY not in shown


async def _all_that_is_shown(notifier: Notifier, bench: Bench) -> str:
    """Return every text that an operator or a developer could come to see of one attempt."""
    try:
        await notifier.notify(bench.message())
    except DeliveryError as error:
        told = [str(error), repr(error), *traceback.format_exception(error)]
    else:
        told = []
    return "\n".join([*told, repr(notifier), bench.lines.getvalue()])
