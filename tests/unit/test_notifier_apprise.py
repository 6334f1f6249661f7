"""Apprise: each URL is told once, one that hangs holds up no other, and no URL is shown."""

import asyncio
import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from pydantic import ValidationError

from taskwatch import telemetry
from taskwatch.clock import SystemClock
from taskwatch.engine.ports import DeliveryError, NoAlerts
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.model.event import Severity
from taskwatch.notifiers import apprise
from taskwatch.notifiers.apprise import AppriseNotifier, AppriseOptions, open_notifier
from tests.fakes.builders import quiet_log
from tests.fakes.letters import a_letter
from tests.fakes.logs import logs_restored
from tests.fakes.messages import HOSTILE
from tests.fakes.webhook_sink import Behaviour, WebhookSink, accept, answer, hang

# One of Apprise's services imports what Python gives up in 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NOWHERE: Final = "json://127.0.0.1:1/"
CANARY: Final = "canary"


def options(*urls: object, directory: Path | None = None, **keys: object) -> AppriseOptions:
    written = {"name": "chat", "type": "apprise", "timeout": "5s", "urls": list(urls), **keys}
    return AppriseOptions.model_validate(written, context=directory)


def notifier_of(*urls: object, **keys: Any) -> AppriseNotifier:
    return open_notifier(options(*urls, **keys), clock=SystemClock(), log=quiet_log(), alerts=NoAlerts())


async def failure(notifier: AppriseNotifier, message: Message | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await notifier.notify(message or a_letter())
    assert (raised.value.__context__, raised.value.__cause__) == (None, None)
    return raised.value


def at(sink: WebhookSink, path: str) -> str:
    """Return a URL of Apprise's that posts to this path, and waits long for the answer."""
    return f"json://{sink.url.split('/')[2]}/{path}?rto=60"


def paths(sink: WebhookSink) -> list[str]:
    return [post.path for post in sink.posts]


def at_path(path: str, behaviour: Behaviour) -> Callable[[web.Request], Behaviour | None]:
    return lambda request: behaviour if request.path == path else None


async def until(holds: Callable[[], object]) -> None:
    """Wait for what happens in a thread."""
    while not holds():
        await asyncio.sleep(0.005)


# What is sent


@pytest.mark.parametrize(
    ("severity", "kind"),
    [(Severity.CRITICAL, "failure"), (Severity.WARNING, "warning"), (Severity.INFO, "info")],
)
async def test_a_letter_arrives_with_its_severity(sink: WebhookSink, severity: Severity, kind: str) -> None:
    message = a_letter(subject="Größe", text="Zeile 1\nZeile 2 <b>&amp;</b>", severity=severity)
    await notifier_of(at(sink, "a")).notify(message)
    (post,) = sink.posts
    sent = json.loads(post.body)
    assert (sent["title"], sent["message"], sent["type"]) == ("Größe", "Zeile 1\nZeile 2 <b>&amp;</b>", kind)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_stays_text(sink: WebhookSink, text: str) -> None:
    await notifier_of(at(sink, "a")).notify(a_letter(subject=text, text=f"a {text} z"))
    (post,) = sink.posts
    sent = json.loads(post.body)
    assert sent["message"] == f"a {text} z"
    assert sent["title"].isprintable()


# Who is told


async def test_one_that_is_up_is_told_once_while_another_is_down(sink: WebhookSink) -> None:
    sink.choose_for = at_path("/down", answer(503))
    notifier = notifier_of(at(sink, "down"), at(sink, "up"))
    errors = [await failure(notifier) for _ in range(2)]
    sink.choose_for = lambda _: None
    await notifier.notify(a_letter())
    assert [(error.reason, error.scope) for error in errors] == [(Reason.REJECTED, Scope.PART)] * 2
    assert errors[0].detail.startswith("urls[0] did not take it: ")
    assert "error=503" in errors[0].detail
    assert sorted(paths(sink)) == ["/down", "/down", "/down", "/up"]


async def test_who_has_it_not_is_named_and_where_nobody_has_it_that_is_no_part(sink: WebhookSink) -> None:
    sink.choose = lambda: answer(503)
    error = await failure(notifier_of(at(sink, "a"), at(sink, "b"), at(sink, "c")))
    assert (error.reason, error.scope) == (Reason.REJECTED, Scope.EVENT)
    assert error.detail.startswith("urls[0] did not take it: ")
    assert error.detail.endswith(" (so with urls[1], urls[2])")


async def test_one_that_cannot_be_read_speaks_of_no_other(sink: WebhookSink) -> None:
    error = await failure(notifier_of(at(sink, "up"), "nonsense://"))
    assert (error.reason, error.scope) == (Reason.LOCAL, Scope.PART)
    assert paths(sink) == ["/up"]


async def test_what_is_over_is_forgotten_so_that_it_can_be_told_anew(sink: WebhookSink) -> None:
    notifier = notifier_of(at(sink, "a"))
    await notifier.notify(a_letter())
    await notifier.notify(a_letter())
    assert paths(sink) == ["/a", "/a"]


async def test_another_message_is_told_to_all_while_one_waits(sink: WebhookSink) -> None:
    sink.choose_for = at_path("/down", answer(503))
    notifier = notifier_of(at(sink, "down"), at(sink, "up"))
    await failure(notifier, a_letter("tw_1"))
    await failure(notifier, a_letter("tw_2"))
    await failure(notifier, a_letter("tw_1", replay=True))
    assert paths(sink).count("/up") == 3


async def test_nobody_there_is_told_without_the_url() -> None:
    error = await failure(notifier_of(NOWHERE.replace("//", f"//{CANARY}-user:{CANARY}-pass@")))
    assert error.reason is Reason.REJECTED
    assert (
        error.detail
        == "urls[0] did not take it: A Connection error occurred sending JSON notification to [secret]."
    )


# Those that hang


async def test_one_that_hangs_holds_up_no_other_and_is_not_told_twice(sink: WebhookSink) -> None:
    sink.choose_for = at_path("/slow", hang)
    notifier = notifier_of(at(sink, "slow"), at(sink, "up"), timeout="200ms")
    first = await failure(notifier)
    second = await failure(notifier)
    assert (first.reason, first.detail) == (Reason.TIMEOUT, "urls[0] did not answer in time")
    assert second.reason is Reason.TIMEOUT
    assert sorted(paths(sink)) == ["/slow", "/up"]

    sink.let_go()
    await until(lambda: not notifier._telling)
    await notifier.notify(a_letter())  # it has it by now: nobody is asked
    assert sorted(paths(sink)) == ["/slow", "/up"]


async def test_an_attempt_that_is_cut_off_is_remembered_too(sink: WebhookSink) -> None:
    sink.choose = lambda: hang
    notifier = notifier_of(at(sink, "a"))
    attempt = asyncio.create_task(notifier.notify(a_letter()))
    await until(lambda: sink.posts)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    sink.let_go()
    await until(lambda: not notifier._telling)
    await notifier.notify(a_letter())
    assert attempt.cancelled()
    assert paths(sink) == ["/a"]


async def test_while_all_threads_hang_nothing_more_is_begun(sink: WebhookSink) -> None:
    sink.choose = lambda: hang
    notifier = notifier_of(at(sink, "a"), timeout="200ms")
    for number in range(apprise.THREADS):
        await failure(notifier, a_letter(f"tw_{number}"))
    error = await failure(notifier, a_letter("tw_more"))
    assert (error.reason, error.scope) == (Reason.TIMEOUT, Scope.RECEIVER)
    assert error.detail == "all 2 threads wait for services that do not answer"
    with pytest.raises(DeliveryError):
        await notifier.connect()
    assert len(sink.posts) == apprise.THREADS

    sink.choose = lambda: accept
    sink.let_go()
    await until(lambda: not notifier._telling)
    await notifier.notify(a_letter("tw_more"))
    assert len(sink.posts) == apprise.THREADS + 1


async def test_no_more_than_a_few_are_told_at_once(sink: WebhookSink) -> None:
    sink.choose = lambda: hang
    notifier = notifier_of(*(at(sink, str(number)) for number in range(5)))
    attempt = asyncio.create_task(notifier.notify(a_letter()))
    await until(lambda: len(sink.posts) == apprise.THREADS)
    await asyncio.sleep(0.05)
    assert len(sink.posts) == apprise.THREADS
    sink.let_go()
    await attempt
    assert sorted(paths(sink)) == ["/0", "/1", "/2", "/3", "/4"]


# What can be wrong with a URL


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://canary-host/", "urls[1] is no URL that Apprise knows"),
        ("canary", "urls[1] is no URL that Apprise knows"),
        ("json://canary-a json://canary-b", "urls[1] holds several URLs; write each as one of urls"),
    ],
)
async def test_what_is_no_url_concerns_the_receiver(url: str, said: str) -> None:
    notifier = notifier_of("json://127.0.0.1", url)
    with pytest.raises(DeliveryError) as raised:
        await notifier.connect()
    assert (raised.value.reason, raised.value.scope) == (Reason.LOCAL, Scope.RECEIVER)
    assert raised.value.detail.startswith(said)
    assert CANARY not in raised.value.detail


async def test_urls_are_read_anew_at_each_attempt(sink: WebhookSink, tmp_path: Path) -> None:
    notifier = notifier_of({"file": "url"}, directory=tmp_path)
    error = await failure(notifier)
    assert (error.reason, error.scope) == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert error.detail.startswith(f"urls[0]: cannot read {tmp_path}/url: ")
    (tmp_path / "url").write_text(at(sink, "a"))
    await notifier.connect()
    assert sink.posts == []
    await notifier.notify(a_letter())
    assert paths(sink) == ["/a"]


async def test_a_service_that_raises_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_asset() -> None:
        raise LookupError(CANARY)

    monkeypatch.setattr(apprise, "_asset", no_asset)
    error = await failure(notifier_of(NOWHERE))
    assert (error.reason, error.detail) == (Reason.BROKEN, "urls[0]: Apprise raised LookupError")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_service_that_ends_its_thread_is_broken_and_leaves_the_thread_to_others(
    monkeypatch: pytest.MonkeyPatch, sink: WebhookSink
) -> None:
    left: list[threading.Thread] = []

    def leave() -> None:
        left.append(threading.current_thread())
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(apprise, "_asset", leave)
        notifier = notifier_of(at(sink, "a"))
        errors = [await failure(notifier) for _ in range(apprise.THREADS + 1)]
    for thread in left:
        thread.join(10)  # pytest tells of how it ended during whatever test runs then
    await notifier.notify(a_letter())
    assert {error.reason for error in errors} == {Reason.BROKEN}


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    notifier = notifier_of(NOWHERE)
    with pytest.raises(DeliveryError) as raised:
        await notifier.connect()
    for error in (await failure(notifier), raised.value):
        assert (error.reason, error.scope) == (Reason.LOCAL, Scope.RECEIVER)
        assert error.detail == 'apprise needs the library Apprise: pip install "taskwatch[apprise]"'


# What is shown


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    lines = io.StringIO()
    with logs_restored():
        telemetry.configure(format_="json", level="debug", stream=lines)
        yield lines


async def test_nothing_that_apprise_logs_reaches_the_log_or_an_error(
    sink: WebhookSink, log_lines: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    async def repeat(request: web.Request) -> web.StreamResponse:
        return web.Response(status=403, reason=request.path_qs, text=f"{request.url} {request.headers}")

    sink.choose = lambda: repeat
    host = sink.url.split("/")[2]
    url = f"json://{CANARY}-user:{CANARY}-pass@{host}/{CANARY}-path?+X-Key={CANARY}-header&-q={CANARY}-query"
    told = [await failure(notifier_of(written)) for written in (url, f"{CANARY}://{CANARY}-host")]
    logging.getLogger("apprise.of_a_thread_of_its_own").warning(CANARY)
    logging.getLogger("others").warning("still heard")
    shown = f"{told!r} {log_lines.getvalue()} {capfd.readouterr()}"
    assert CANARY not in shown
    assert "still heard" in shown
    assert "error=403" in told[0].detail


# What can be configured


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ([], "empty; write one at least"),
        (
            [f"json://h{number}" for number in range(21)],
            "21 URLs; write 20 at most, and the rest in another receiver",
        ),
        (
            [{"vault": "x"}],
            "kept in no way that is known; write the text, {file: PATH}, {env: NAME} or {credential: NAME}",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(urls: list[object], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        options(*urls)
    assert [error["msg"] for error in raised.value.errors()] == [said]


def test_all_of_a_url_is_a_secret() -> None:
    made = options(f"json://{CANARY}")
    assert CANARY not in f"{made!r} {made.model_dump()}"
    assert made.writes_to_people
