"""The webhook: what is sent, byte by byte, and what each answer, or none, means."""

import asyncio
import base64
import datetime as dt
import random
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from taskwatch.clock import Clock, SystemClock
from taskwatch.core.verdict import refusal
from taskwatch.engine.lane import Lane, LaneRules
from taskwatch.engine.ports import DeliveryError, NoAlerts
from taskwatch.model.delivery import Delivered, Reason, Retry, Scope
from taskwatch.notifiers import http
from taskwatch.notifiers.webhook import WebhookNotifier, WebhookOptions, open_notifier
from tests.fakes.builders import T0, quiet_log
from tests.fakes.memory_store import MemoryStore, Session
from tests.fakes.messages import a_message
from tests.fakes.peers import alerting, forwarding, listening, saying, telling
from tests.fakes.records import StillClock
from tests.fakes.webhook_sink import WebhookSink, answer, hang, hang_up

OLD_KEY: Final = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW_KEY: Final = "whsec_" + base64.b64encode(b"n" * 24).decode()


def options(
    url: str = "http://127.0.0.1:1/", directory: Path | None = None, **keys: object
) -> WebhookOptions:
    written = {"name": "hook", "type": "webhook", "timeout": "2s", "url": url, **keys}
    return WebhookOptions.model_validate(written, context=directory)


@asynccontextmanager
async def opened(
    url: str, directory: Path | None = None, *, clock: Clock | None = None, **keys: object
) -> AsyncIterator[WebhookNotifier]:
    notifier = open_notifier(
        options(url, directory, **keys), clock=clock or SystemClock(), log=quiet_log(), alerts=NoAlerts()
    )
    try:
        yield notifier
    finally:
        await notifier.close()


async def failure(notifier: WebhookNotifier) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await notifier.notify(a_message())
    return raised.value


async def refused(url: str, **keys: Any) -> DeliveryError:
    async with opened(url, **keys) as notifier:
        return await failure(notifier)


# What is sent


async def test_the_bytes_that_arrive_are_the_bytes_of_the_event() -> None:
    message = a_message(reason="Grüße \u202e \u0000 \U0001f4a5")
    async with WebhookSink() as sink, opened(sink.url) as notifier:
        await notifier.notify(message)

    (post,) = sink.posts
    assert post.body == message.body
    assert post.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert post.id == message.event_id
    assert "webhook-signature" not in post.headers


@pytest.mark.parametrize(
    "date", ["soon", "", "Mon, 01 Jan 99999999999999 00:00:00 GMT", "0 Jan 1 0:0:0 +9999999"]
)
async def test_what_was_taken_is_delivered_whatever_date_the_answer_has(date: str) -> None:
    async with WebhookSink() as sink, opened(sink.url) as notifier:
        sink.choose = lambda: answer(200, headers={"Date": date})
        await notifier.notify(a_message())


async def test_what_arrives_is_a_cloudevent() -> None:
    message = a_message()
    async with WebhookSink() as sink, opened(sink.url) as notifier:
        await notifier.notify(message)

    (post,) = sink.posts
    event = from_http_event(HTTPMessage(headers=dict(post.headers), body=post.body))
    assert (event.get_id(), event.get_specversion()) == (message.event_id, "1.0")
    assert event.get_type() == "taskwatch.task.failed"


async def test_the_signature_verifies_over_the_bytes_that_arrived() -> None:
    async with WebhookSink() as sink, opened(sink.url, secret=OLD_KEY) as notifier:
        await notifier.notify(a_message(reason="Grüße"))

    (post,) = sink.posts
    Webhook(OLD_KEY).verify(post.body, dict(post.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD_KEY).verify(post.body + b" ", dict(post.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW_KEY).verify(post.body, dict(post.headers))


async def test_with_two_secrets_a_receiver_that_knows_either_is_content() -> None:
    async with WebhookSink() as sink, opened(sink.url, secret=[OLD_KEY, NEW_KEY]) as notifier:
        await notifier.notify(a_message())

    (post,) = sink.posts
    for key in (OLD_KEY, NEW_KEY):
        Webhook(key).verify(post.body, dict(post.headers))


async def test_a_secret_that_its_file_changes_between_attempts_signs_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(OLD_KEY + "\n")
    async with WebhookSink() as sink, opened(sink.url, tmp_path, secret={"file": "key"}) as notifier:
        await notifier.notify(a_message())
        file.write_text(NEW_KEY + "\n")
        await notifier.notify(a_message())

    first, second = sink.posts
    Webhook(OLD_KEY).verify(first.body, dict(first.headers))
    Webhook(NEW_KEY).verify(second.body, dict(second.headers))
    assert (first.id, first.body) == (second.id, second.body)


async def test_configured_headers_and_logins_are_sent() -> None:
    async with WebhookSink() as sink:
        for login in ({"bearer": "t-1"}, {"basic": {"username": "u", "password": "p:w"}}):
            async with opened(sink.url, headers={"X-Team": "db"}, **login) as notifier:
                await notifier.notify(a_message())
        async with opened(sink.url.replace("//", "//u:p@")) as notifier:
            await notifier.notify(a_message())

    bearer, basic, userinfo = sink.posts
    assert (bearer.headers["X-Team"], bearer.headers["Authorization"]) == ("db", "Bearer t-1")
    assert basic.headers["Authorization"] == "Basic " + base64.b64encode(b"u:p:w").decode()
    assert userinfo.headers["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()


async def test_a_bearer_token_counts_more_than_what_the_url_holds() -> None:
    async with WebhookSink() as sink, opened(sink.url.replace("//", "//u:p@"), bearer="t-1") as notifier:
        await notifier.notify(a_message())

    assert sink.posts[0].headers["Authorization"] == "Bearer t-1"


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WebhookSink() as proxy, WebhookSink() as sink:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        async with opened(sink.url) as notifier:
            await notifier.notify(a_message())

    assert (len(proxy.posts), len(sink.posts)) == (0, 1)


# What answers mean


async def test_each_status_means_what_the_verdict_says() -> None:
    status = 200
    sink = WebhookSink(choose=lambda: answer(status))
    judged, expected = {}, {}
    async with sink, opened(sink.url) as notifier:
        for status in range(200, 600):
            try:
                await notifier.notify(a_message())
            except DeliveryError as error:
                judged[status] = (error.reason, error.scope)
            if (verdict := refusal(status)) is not None:
                expected[status] = (verdict.reason, verdict.scope)

    assert judged == expected
    assert min(judged) == 300
    assert judged[410] == (Reason.GONE, Scope.PAUSED)
    assert judged[401] == judged[403] == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert judged[302] == (Reason.REDIRECTED, Scope.EVENT)
    assert judged[503] == (Reason.SERVER_ERROR, Scope.EVENT)


async def test_a_refusal_says_host_status_and_the_beginning_of_the_answer() -> None:
    async with WebhookSink(choose=lambda: answer(422, "no field\x1b[31m\n summary " + "x" * 900)) as sink:
        error = await refused(sink.url)

    assert re.match(r"127\.0\.0\.1:\d+ answered 422: no field\\x1b\[31m summary xxx", error.detail)
    assert len(error.detail) < 300


async def test_a_login_of_the_url_that_the_receiver_repeats_is_not_shown_as_it_was_sent() -> None:
    async def repeat(request: web.Request) -> web.StreamResponse:
        return await answer(400, f"headers: {request.headers['Authorization']}")(request)

    async with WebhookSink(choose=lambda: repeat) as sink:
        error = await refused(sink.url.replace("//", "//hook:s3cr3t-canary@"))

    assert base64.b64encode(b"hook:s3cr3t-canary").decode() not in error.detail
    assert "headers: Basic [secret]" in error.detail


async def test_a_token_that_the_receiver_repeats_is_not_shown() -> None:
    async with WebhookSink(choose=lambda: answer(401, "bad token s3cret-token at /hook/long-path")) as sink:
        error = await refused(sink.url + "/long-path", bearer="s3cret-token")

    assert "bad token [secret] at" in error.detail
    assert "long-path" not in error.detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with WebhookSink() as other:
        redirect = answer(status, headers={"Location": other.url})
        async with WebhookSink(choose=lambda: redirect) as sink:
            error = await refused(sink.url)

    assert error.reason is Reason.REDIRECTED
    assert other.url not in error.detail
    assert other.posts == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        (format_datetime(T0 + dt.timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(T0 - dt.timedelta(hours=1), usegmt=True), 0.0),
        ("9" * 400, 999_999_999.0),
        ("-5", None),
        ("soon", None),
        ("1e3", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("Mon, 32 Foo 2026 99:99:99 GMT", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("", None),
    ],
)
async def test_retry_after_is_read_where_it_makes_sense(text: str, seconds: float | None) -> None:
    async with WebhookSink(choose=lambda: answer(429, headers={"Retry-After": text})) as sink:
        error = await refused(sink.url, clock=StillClock(T0))

    assert (error.reason, error.retry_after) == (Reason.THROTTLED, seconds)


@given(st.text(max_size=60))
def test_no_retry_after_breaks_anything(text: str) -> None:
    seconds = http._retry_after(text, T0)

    assert seconds is None or seconds >= 0


# Answers that do not end, and none at all

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def a_server(converse: Conversation) -> AsyncIterator[int]:
    """Serve raw connections; yield the port."""
    conversations: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        conversations.add(current)
        try:
            await converse(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


def says(head: str, block: bytes, sent: list[int]) -> Conversation:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode())
        while True:
            writer.write(block)
            await writer.drain()
            sent.append(len(block))
            await asyncio.sleep(0)

    return converse


async def test_an_endless_answer_is_read_within_a_bound() -> None:
    sent: list[int] = []
    head = "HTTP/1.1 500 No\r\nContent-Length: 1073741824\r\n\r\n"
    async with a_server(says(head, b"no! " * 16_384, sent)) as port:
        error = await refused(f"http://127.0.0.1:{port}/")

    assert error.reason is Reason.SERVER_ERROR
    assert len(error.detail) < 300
    assert sum(sent) < 64 * 1024 * 1024  # what the buffers of two sockets hold, and no more


async def test_what_follows_an_acceptance_cannot_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.05)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n.")
        await reader.read()  # until the other side has had enough

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbut")

    for converse in (drip, cut):
        async with a_server(converse) as port, opened(f"http://127.0.0.1:{port}/") as notifier:
            await notifier.notify(a_message())  # returns: it is delivered


async def test_an_acceptance_that_trickles_for_ever_is_delivered_within_any_time_out() -> None:
    store = MemoryStore()
    delivery = store.enqueue("hook", "task-1")

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with a_server(trickle) as port, opened(f"http://127.0.0.1:{port}/") as notifier:
        lane = a_lane(notifier, store, timeout=http.ANSWER_SECONDS / 2)
        await lane.drained(patience=10.0)

    ((outcome, _),) = delivery.outcomes
    assert outcome == Delivered()


async def test_an_answer_that_is_no_http_is_a_failure_of_the_network() -> None:
    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\x01\x02 220 smtp ready\r\n\r\n")

    async with a_server(garble) as port:
        error = await refused(f"http://127.0.0.1:{port}/secret-path")

    assert error.reason is Reason.NETWORK
    assert "secret-path" not in error.detail


def a_lane(notifier: WebhookNotifier, store: MemoryStore, *, timeout: float) -> Lane:
    return Lane(
        receiver="hook",
        notifier=notifier,
        outbox=Session(store),
        rules=LaneRules(timeout=timeout, initial=60.0, maximum=60.0, horizon=3600.0),
        clock=SystemClock(),
        rng=random.Random(1),
        log=quiet_log(),
    )


async def test_a_receiver_that_hangs_costs_the_lane_its_time_out_and_no_more() -> None:
    store = MemoryStore()
    delivery = store.enqueue("hook", "task-1")
    async with WebhookSink(choose=lambda: hang) as sink, opened(sink.url, timeout="100ms") as notifier:
        await a_lane(notifier, store, timeout=0.1).drained(patience=10.0)

    ((outcome, _),) = delivery.outcomes
    assert isinstance(outcome, Retry)
    assert outcome.reason is Reason.TIMEOUT


# Nobody there, or the wrong one


def a_port_nobody_listens_on() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


async def test_a_refused_connection_says_so_with_the_host_and_without_the_url() -> None:
    error = await refused(f"http://127.0.0.1:{a_port_nobody_listens_on()}/secret-path?token=secret-query")

    assert (error.reason, error.scope) == (Reason.NETWORK, Scope.EVENT)
    assert re.fullmatch(r"cannot reach 127\.0\.0\.1:\d+: Connection refused", error.detail)


async def test_a_connection_that_breaks_is_a_failure_of_the_network() -> None:
    async with WebhookSink(choose=lambda: hang_up) as sink:
        error = await refused(sink.url)

    assert error.reason is Reason.NETWORK
    assert re.match(r"cannot reach 127\.0\.0\.1:\d+: ", error.detail)


@pytest.mark.parametrize("greeting", [b"220 smtp ready\r\n", b"", b"\x15\x03\x01\x00\x02\x02\x28"])
async def test_what_is_no_tls_is_told_as_tls_or_as_network(greeting: bytes) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(greeting)

    async with a_server(converse) as port:
        error = await refused(f"https://127.0.0.1:{port}/secret-path")

    assert error.reason is (Reason.TLS if greeting else Reason.NETWORK)
    assert "secret-path" not in error.detail
    assert "127.0.0.1" in error.detail


class Names(AbstractResolver):
    """A name service whose answers are a script: each asking gets the next, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return


def resolve_by(names: Names, notifier: WebhookNotifier) -> None:
    """Put the names in the place of the system's; connecting stays as it is."""
    connector: Any = notifier._session.connector
    connector._resolver = names
    connector._use_dns_cache = False


async def test_a_name_that_nobody_knows_is_a_failure_of_the_network() -> None:
    async with opened("http://hooks.example/secret-path") as notifier:
        resolve_by(Names([]), notifier)
        error = await failure(notifier)

    assert error.reason is Reason.NETWORK
    assert error.detail == "cannot reach hooks.example: its name cannot be resolved"


# Where no receiver lives


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "0xa9fea9fe",
        "169.254.0.1",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104 - nothing is bound to it
        "[::]",
    ],
)
async def test_link_local_and_metadata_addresses_are_refused_however_they_are_written(host: str) -> None:
    error = await refused(f"http://{host}:80/latest/meta-data")

    assert error.reason is Reason.NETWORK
    assert "is a link-local or metadata address" in error.detail


@pytest.mark.parametrize("host", ["2852039166", "0251.0376.0251.0376", "169.254.43518", "0"])
async def test_numbers_that_are_no_address_as_it_is_usually_written_are_no_host_at_all(host: str) -> None:
    error = await refused(f"http://{host}:80/latest/meta-data")

    assert error.reason is Reason.NETWORK
    assert error.detail == f"cannot reach {host}: that is no host that can be asked"


async def test_a_name_is_judged_by_where_it_leads_at_the_moment_of_connecting() -> None:
    async with WebhookSink() as sink:
        port = sink.url.rpartition(":")[2]
        async with opened(f"http://hooks.example:{port}") as notifier:
            resolve_by(Names(["127.0.0.1"], ["169.254.169.254"]), notifier)
            await notifier.notify(a_message())
            await _lose_connections(notifier)
            error = await failure(notifier)

    assert error.detail == (
        f"cannot reach hooks.example:{port.partition('/')[0]}: 169.254.169.254 is a link-local or metadata address; no receiver lives there"
    )
    assert len(sink.posts) == 1


async def test_a_name_with_only_forbidden_addresses_is_refused_for_the_first_of_them() -> None:
    async with opened("http://hooks.example/") as notifier:
        resolve_by(Names(["169.254.169.254", "fe80::1"]), notifier)
        error = await failure(notifier)

    assert error.reason is Reason.NETWORK


async def _lose_connections(notifier: WebhookNotifier) -> None:
    connector: Any = notifier._session.connector
    for connections in list(connector._conns.values()):
        for protocol, _ in list(connections):
            protocol.transport.close()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_loopback_is_where_receivers_may_live(host: str) -> None:
    async with WebhookSink() as sink, opened(sink.url.replace("127.0.0.1", host)) as notifier:
        await notifier.notify(a_message())

    assert len(sink.posts) == 1


# Secrets and headers that cannot be


@pytest.mark.parametrize(
    "name",
    ["X\r\nY", "X\n", "X Y", "X:", "", "X\0", "Ü", "Host", "Content-Length", "Webhook-Id", "authorization"],
)
def test_a_header_name_that_could_begin_another_header_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        options(headers={name: "v"})


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "a\tb", "a\x7fb", "a\u2028b"])
@pytest.mark.parametrize("place", ["headers", "bearer", "basic"])
async def test_a_value_with_a_line_end_is_never_sent(value: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(value.encode())
    kept = {"file": "value"}
    keys: dict[str, object] = {
        "headers": {"X-Team": kept},
        "bearer": kept,
        "basic": {"username": "u", "password": kept},
    }
    async with WebhookSink() as sink:
        error = await refused(sink.url, directory=tmp_path, **{place: keys[place]})

    assert (error.reason, error.scope) == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert "no header takes it" in error.detail
    assert sink.posts == []


BAD_KEYS: Final = {
    "one byte": "whsec_QQ==",
    "23 bytes": "whsec_" + base64.b64encode(b"x" * 23).decode(),
    "65 bytes": "whsec_" + base64.b64encode(b"x" * 65).decode(),
    "no prefix": base64.b64encode(b"x" * 32).decode(),
    "no base64": "whsec_" + "!" * 40,
    "nothing": "whsec_====",
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS.keys())
async def test_a_signing_secret_that_is_none_is_refused_when_it_is_read(key: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(key)
    async with WebhookSink() as sink:
        error = await refused(sink.url, directory=tmp_path, secret={"file": "key"})

    assert (error.reason, error.scope) == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert "openssl rand -base64 32" in error.detail
    assert key not in error.detail
    assert sink.posts == []


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_a_signing_secret_that_is_none_is_refused_by_the_configuration(key: str) -> None:
    with pytest.raises(ValidationError) as raised:
        options(secret=key)

    assert key not in str(raised.value)


def test_a_third_signing_secret_and_a_second_login_are_refused() -> None:
    for keys in (
        {"secret": [OLD_KEY, NEW_KEY, OLD_KEY]},
        {"bearer": "t", "basic": {"username": "u", "password": "p"}},
    ):
        with pytest.raises(ValidationError):
            options(**keys)


@pytest.mark.parametrize("where", ["secret", "url", "bearer"])
async def test_what_cannot_be_read_waits_for_whoever_mends_it(where: str, tmp_path: Path) -> None:
    async with WebhookSink() as sink:
        keys: dict[str, Any] = {"url": sink.url, where: {"file": "missing"}}
        error = await refused(keys.pop("url"), directory=tmp_path, **keys)

    assert (error.reason, error.scope) == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert str(tmp_path / "missing") in error.detail
    assert sink.posts == []


@pytest.mark.parametrize(
    "written",
    [
        "hooks.example/secret-path",
        "ftp://hooks.example/secret-path",
        "http://[secret-path",
        "http:///secret-path",
        "http://h:secret-path/",
    ],
)
async def test_a_url_from_a_file_that_is_none_is_told_without_it(written: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(written)
    error = await refused({"file": "url"}, directory=tmp_path)  # type: ignore[arg-type]  # as it is written

    assert (error.reason, error.scope) == (Reason.NETWORK, Scope.RECEIVER)
    assert "secret-path" not in error.detail


async def test_close_ends_the_connections() -> None:
    ended = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        while await reader.read(65536):
            pass
        ended.set()

    async with a_server(converse) as port:
        async with opened(f"http://127.0.0.1:{port}/") as notifier:
            await notifier.notify(a_message())
            assert not ended.is_set()
        async with asyncio.timeout(5):
            await ended.wait()


# TLS and proxies


TAKEN: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def secured(authority: trustme.CA, *, demands: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if demands:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_receiver_that_the_own_ca_has_signed_is_told(authority: trustme.CA, ca: Path) -> None:
    async with listening(saying(TAKEN), tls=secured(authority)) as peer:
        async with opened(f"https://{peer.host}/", tls={"ca": ca}) as notifier:
            await notifier.notify(a_message())
        error = await refused(f"https://{peer.host}/")
        assert error.reason is Reason.TLS
        assert len(peer.heard) == 1
        async with opened(f"https://{peer.host}/", tls={"verify": False}) as notifier:
            await notifier.notify(a_message())


async def test_a_receiver_that_demands_a_certificate_of_ours_gets_it(
    authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "me.pem"
    )
    with alerting(secured(authority, demands=True)) as host:
        assert (await refused(f"https://{host}/", tls={"ca": ca})).reason is Reason.TLS
        async with opened(f"https://{host}/", tls={"ca": ca, "cert": tmp_path / "me.pem"}) as notifier:
            await notifier.notify(a_message())


async def test_certificates_that_cannot_be_used_concern_the_receiver(tmp_path: Path) -> None:
    error = await refused("https://127.0.0.1:1/", tls={"ca": tmp_path / "gone.pem"})
    assert (error.reason, error.scope) == (Reason.TLS, Scope.RECEIVER)
    assert "write it there, or name another" in error.detail


async def test_a_proxy_lets_an_event_through_and_cannot_read_it(authority: trustme.CA, ca: Path) -> None:
    async with listening(saying(TAKEN), tls=secured(authority)) as peer, listening(forwarding()) as proxy:
        login = f"http://user:canary-pw@{proxy.host}"
        async with opened(f"https://{peer.host}/canary-path", tls={"ca": ca}, proxy=login) as notifier:
            await notifier.notify(a_message())
        (head,) = proxy.heard
    assert head.startswith(f"CONNECT {peer.host} ".encode())
    assert b"canary-path" not in head


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_a_proxy_refuses_is_told_without_its_password(scheme: str) -> None:
    async with listening(telling(407)) as proxy:
        error = await refused(f"{scheme}://hooks.example/", proxy=f"http://user:canary-pw@{proxy.host}")
    assert "407" in error.detail
    login = base64.b64encode(b"user:canary-pw").decode()
    assert [secret for secret in ("canary-pw", login) if secret in error.detail] == []


async def test_a_login_of_a_proxy_that_cannot_be_sent_concerns_the_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROXY", "http://user:canary€@127.0.0.1:1")
    error = await refused("https://hooks.example/", proxy={"env": "PROXY"})
    assert error.scope is Scope.RECEIVER
    assert "the proxy in $PROXY holds letters that cannot be sent" in error.detail
    assert "canary" not in f"{error!r} {error.__cause__!r}"


async def test_a_login_in_a_url_that_cannot_be_sent_concerns_the_receiver() -> None:
    error = await refused("http://user:canary€@127.0.0.1:1/")
    assert error.scope is Scope.RECEIVER
    assert "write basic instead" in error.detail
    assert "canary" not in f"{error!r} {error.__cause__!r} {error.__context__!r}"


async def test_a_proxy_that_nobody_runs_is_named() -> None:
    error = await refused("https://hooks.example/", proxy="http://user:canary-pw@127.0.0.1:1")
    assert error.detail == "cannot reach the proxy 127.0.0.1:1: Connection refused"
