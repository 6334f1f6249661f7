"""How the hosts of a cloud are reached: TLS, proxies, names, and hosts that say too much or nothing."""

import asyncio
import base64
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import trustme
from yarl import URL

from taskwatch import names
from taskwatch.cloud.body import MAX_BODY_BYTES
from taskwatch.cloud.errors import Asked
from taskwatch.cloud.transport import Answer, Request, Transport, open_session
from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import Kept, Secret
from taskwatch.tls import Tls, TlsPool, Trust
from tests.fakes.builders import captured_log
from tests.fakes.peers import ANSWER, Peer, Talk, alerting, forwarding, listening, repeating, saying, telling

CANARY = "canary-token-5f2c"
TOKEN = {"X-Auth-Token": CANARY}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    session = open_session(aiohttp.ClientTimeout(connect=0.5, sock_read=0.5))
    yield session
    await session.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def _server(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def _tls(trust: Trust) -> Tls:
    return Tls(trust, log=captured_log()[0])


async def _ask(
    session: aiohttp.ClientSession, url: str, *, trust: Trust | None = None, proxy: Secret | None = None
) -> Answer:
    tls = None if trust is None else _tls(trust)
    return await _send(Transport(session=session, tls=tls, proxy=proxy), url)


async def _send(transport: Transport, url: str) -> Answer:
    target = URL(url)
    asked = Asked(host=str(target.host_port_subcomponent), credential="the token in f", secrets=(CANARY,))
    return await transport.send(Request(url=target), TOKEN, asked)


async def _refused(
    session: aiohttp.ClientSession, url: str, *, trust: Trust | None = None, proxy: Secret | None = None
) -> CloudError:
    with pytest.raises(CloudError) as raised:
        await _ask(session, url, trust=trust, proxy=proxy)
    shown = f"{raised.value!r} {raised.value} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert CANARY not in shown
    return raised.value


# --- TLS


async def test_a_host_that_the_own_ca_has_signed_is_asked(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path
) -> None:
    async with listening(saying(ANSWER), tls=_server(authority.issue_cert("127.0.0.1"))) as peer:
        answer = await _ask(session, f"https://{peer.host}/", trust=Trust(ca=ca))
    assert answer.body == b"{}"


async def _untrusted(session: aiohttp.ClientSession, server: ssl.SSLContext, trust: Trust) -> str:
    async with listening(saying(ANSWER), tls=server) as peer:
        error = await _refused(session, f"https://{peer.host}/", trust=trust)
        assert peer.heard == []  # the token was not sent
    assert error.cause is CloudCause.TLS
    return str(error).replace(peer.host, "HOST")


async def test_a_certificate_that_nobody_known_has_signed_is_refused_with_the_remedy(
    session: aiohttp.ClientSession,
) -> None:
    text = await _untrusted(session, _server(trustme.CA().issue_cert("127.0.0.1")), Trust())
    assert text.startswith("HOST: its certificate is refused (")
    assert text.endswith("if a CA of your own signed it, write tls: {ca: FILE}")


async def test_the_own_ca_is_trusted_alone(session: aiohttp.ClientSession, ca: Path) -> None:
    text = await _untrusted(session, _server(trustme.CA().issue_cert("127.0.0.1")), Trust(ca=ca))
    assert "its certificate is refused" in text


async def test_an_expired_certificate_is_refused(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path
) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    expired = authority.issue_cert("127.0.0.1", not_before=past - timedelta(days=1), not_after=past)
    text = await _untrusted(session, _server(expired), Trust(ca=ca))
    assert text == (
        "HOST: its certificate is refused (certificate has expired); "
        "its owner has to renew it, unless the clock of this host is wrong"
    )


async def test_a_certificate_of_another_host_is_refused(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path
) -> None:
    text = await _untrusted(session, _server(authority.issue_cert("gauss.example")), Trust(ca=ca))
    assert text.endswith("check endpoint: the certificate is that of another host")


async def test_a_host_that_knows_no_tls_1_2_is_refused(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path
) -> None:
    server = _server(authority.issue_cert("127.0.0.1"))
    server.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        server.minimum_version = server.maximum_version = ssl.TLSVersion.TLSv1_1
    with alerting(server) as host:
        error = await _refused(session, f"https://{host}/", trust=Trust(ca=ca))
    assert error.cause is CloudCause.TLS
    assert "it speaks nothing newer than TLS 1.1" in str(error)


async def test_plain_http_where_tls_was_expected_is_no_tls(session: aiohttp.ClientSession) -> None:
    def at_once(_: object) -> Talk:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

        return talk

    async with listening(at_once) as peer:
        error = await _refused(session, f"https://{peer.host}/", trust=Trust())
    assert error.cause is CloudCause.TLS
    assert "check the scheme and the port of endpoint" in str(error)


async def test_without_verification_anybody_is_asked(session: aiohttp.ClientSession) -> None:
    async with listening(saying(ANSWER), tls=_server(trustme.CA().issue_cert("other.example"))) as peer:
        answer = await _ask(session, f"https://{peer.host}/", trust=Trust(verify=False))
    assert answer.body == b"{}"


def _demanding(authority: trustme.CA) -> ssl.SSLContext:
    server = _server(authority.issue_cert("127.0.0.1"))
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    return server


def _client_pair(authority: trustme.CA, directory: Path) -> tuple[Path, Path]:
    pair = authority.issue_cert("client@example.com")
    cert, key = directory / "cert.pem", directory / "key.pem"
    pair.cert_chain_pems[0].write_to_path(cert)
    pair.private_key_pem.write_to_path(key)
    return cert, key


async def test_a_host_that_demands_a_certificate_of_ours_says_so_and_gets_it(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    cert, key = _client_pair(authority, tmp_path)
    with alerting(_demanding(authority)) as host:
        error = await _refused(session, f"https://{host}/", trust=Trust(ca=ca))
        assert error.cause is CloudCause.TLS
        assert "write tls: {cert: FILE, key: FILE}" in str(error)
        answer = await _ask(session, f"https://{host}/", trust=Trust(ca=ca, cert=cert, key=key))
    assert answer.body == b"{}"


async def test_certificate_and_key_may_stand_in_one_file(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(both)
    async with listening(saying(ANSWER), tls=_demanding(authority)) as peer:
        assert (await _ask(session, f"https://{peer.host}/", trust=Trust(ca=ca, cert=both))).body == b"{}"


async def test_a_renewed_certificate_counts_without_a_restart(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path
) -> None:
    log, lines = captured_log()
    transport = Transport(session=session, tls=Tls(Trust(ca=ca), log=log))
    async with listening(saying(ANSWER), tls=_server(authority.issue_cert("127.0.0.1"))) as peer:
        await _send(transport, f"https://{peer.host}/")
    renewed = trustme.CA()
    renewed.cert_pem.write_to_path(ca)
    async with listening(saying(ANSWER), tls=_server(renewed.issue_cert("127.0.0.1"))) as peer:
        await _send(transport, f"https://{peer.host}/")
    assert [line["event"] for line in lines] == ["certificates_renewed"]


async def test_half_a_file_leaves_the_certificates_as_they_were_and_is_told_once(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path
) -> None:
    log, lines = captured_log()
    transport = Transport(session=session, tls=Tls(Trust(ca=ca), log=log))
    whole = authority.cert_pem.bytes()
    async with listening(saying(ANSWER), tls=_server(authority.issue_cert("127.0.0.1"))) as peer:
        await _send(transport, f"https://{peer.host}/")
        trustme.Blob(whole[: len(whole) // 2]).write_to_path(ca)
        await _send(transport, f"https://{peer.host}/")
        await _send(transport, f"https://{peer.host}/")
        assert [(line["event"], line["log_level"]) for line in lines] == [
            ("certificates_unusable", "warning")
        ]
        authority.cert_pem.write_to_path(ca)
        await _send(transport, f"https://{peer.host}/")
    assert [line["event"] for line in lines[1:]] == ["certificates_renewed"]


async def test_a_certificate_that_is_not_there_is_an_error_that_names_it(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    error = await _refused(session, "https://127.0.0.1:1/", trust=Trust(ca=tmp_path / "gone.pem"))
    assert error.cause is CloudCause.TLS
    assert str(error) == (
        f"no TLS connection: cannot read {tmp_path / 'gone.pem'}: No such file or directory; "
        "write it there, or name another"
    )


async def test_a_reading_that_was_cancelled_leaves_the_others_their_certificates(ca: Path) -> None:
    tls = _tls(Trust(ca=ca))
    first, second = asyncio.create_task(tls.context()), asyncio.create_task(tls.context())
    await asyncio.sleep(0)
    first.cancel()
    assert isinstance(await second, ssl.SSLContext)


def test_all_that_trust_alike_share_their_connections(ca: Path) -> None:
    pool = TlsPool(log=captured_log()[0])
    assert pool.of(Trust(ca=ca)) is pool.of(Trust(ca=ca))
    assert pool.of(Trust(ca=ca)) is not pool.of(Trust())


async def test_projects_that_trust_alike_share_one_connection(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path
) -> None:
    pool = TlsPool(log=captured_log()[0])
    projects = [Transport(session=session, tls=pool.of(Trust(ca=ca))) for _ in range(2)]
    async with listening(saying(ANSWER), tls=_server(authority.issue_cert("127.0.0.1"))) as peer:
        for number in range(200):
            await _send(projects[number % 2], f"https://{peer.host}/")
        assert (peer.connections, len(peer.heard)) == (1, 200)


# --- proxies


def _proxy(host: str, login: str = "") -> Secret:
    return Secret(Kept.TEXT, f"http://{login}{host}")


async def test_a_proxy_lets_through_and_sees_no_token(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path
) -> None:
    server = _server(authority.issue_cert("127.0.0.1"))
    async with listening(saying(ANSWER), tls=server) as peer, listening(forwarding()) as proxy:
        url = f"https://{peer.host}/"
        answer = await _ask(session, url, trust=Trust(ca=ca), proxy=_proxy(proxy.host, "user:pass@"))
        assert answer.body == b"{}"
        [head] = proxy.heard
    assert head.startswith(f"CONNECT {peer.host} ".encode())
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in head
    assert CANARY.encode() not in head
    assert b"Proxy-Authorization" not in peer.heard[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_a_login_is_told_as_such_without_that_of_ours(
    session: aiohttp.ClientSession, scheme: str
) -> None:
    answer = b"HTTP/1.1 407 No\r\nContent-Length: 9\r\n\r\npass-wrod"
    async with listening(forwarding(answer=answer)) as proxy:
        login = _proxy(proxy.host, "user:pass-wrod@")
        error = await _refused(session, f"{scheme}://gauss.example/", proxy=login)
    assert error.cause is CloudCause.NETWORK
    assert str(error) == (
        f"gauss.example: the proxy {proxy.host} wants a user and a password, or others (407); "
        "write http://USER:PASSWORD@HOST:PORT"
    )


async def test_a_proxy_that_refuses_to_connect_is_told_as_such(session: aiohttp.ClientSession) -> None:
    async with listening(forwarding(answer=b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")) as proxy:
        error = await _refused(session, "https://gauss.example/", proxy=_proxy(proxy.host))
    assert str(error) == (
        f"gauss.example: the proxy {proxy.host} refused to connect to it (403); "
        "check proxy, and what it lets through"
    )


@pytest.mark.parametrize("status", [403, 407, 502])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_a_proxy_repeats_of_its_login_is_not_shown(
    session: aiohttp.ClientSession, scheme: str, status: int
) -> None:
    async with listening(telling(status)) as proxy:
        login = _proxy(proxy.host, "a-canary-user:a-cänary-password@")
        error = await _refused(session, f"{scheme}://gauss.example/", proxy=login)
        (head,) = proxy.heard
    in_base64 = base64.b64encode("a-canary-user:a-cänary-password".encode("latin-1")).decode()
    assert in_base64.encode() in head
    assert str(status) in str(error)
    shown = f"{error!r} {error} {error.request_id} {error.__cause__!r} {error.__context__!r}"
    assert [secret for secret in ("canary", "nary-password", in_base64) if secret in shown] == []


async def test_a_proxy_that_nobody_runs_is_told_as_such(session: aiohttp.ClientSession) -> None:
    error = await _refused(session, "https://gauss.example/", proxy=_proxy("127.0.0.1:1", "u:canary-pw@"))
    assert (
        str(error)
        == "gauss.example: the proxy 127.0.0.1:1: cannot connect (Connection refused); check proxy, and the firewall"
    )


async def test_a_proxy_whose_place_cannot_be_read_is_an_error_that_names_the_place(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    trustme.Blob(b"proxy.example:3128").write_to_path(tmp_path / "proxy")
    error = await _refused(
        session, "https://gauss.example/", proxy=Secret(Kept.FILE, str(tmp_path / "proxy"))
    )
    assert str(error) == f"what {tmp_path}/proxy holds is no proxy; write http://HOST:PORT there"


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_away_from_tls_is_refused_and_nobody_else_hears_of_it(
    session: aiohttp.ClientSession, authority: trustme.CA, ca: Path, status: int
) -> None:
    async with listening(saying(ANSWER)) as other:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: http://{other.host}/\r\nContent-Length: 0\r\n\r\n"
        server = _server(authority.issue_cert("127.0.0.1"))
        async with listening(saying(head.encode()), tls=server) as peer:
            error = await _refused(session, f"https://{peer.host}/", trust=Trust(ca=ca))
        assert (other.connections, other.heard) == (0, [])
    assert "redirect refused" in str(error)


# --- hosts that say too much, or nothing


async def _hangs(session: aiohttp.ClientSession, talk: Callable[[Peer], Talk], url: str = "http") -> str:
    async with listening(talk) as peer:
        error = await _refused(session, f"{url}://{peer.host}/")
    assert error.cause is CloudCause.TIMEOUT
    return str(error).replace(peer.host, "HOST")


async def test_a_host_that_begins_no_tls_is_told_as_that(session: aiohttp.ClientSession) -> None:
    said = await _hangs(session, saying(b""), "https")
    assert said == "HOST: no TCP or TLS connection to it yet, after 0.5 s"


async def test_a_host_that_takes_the_request_and_says_nothing_is_told_as_that(
    session: aiohttp.ClientSession,
) -> None:
    said = await _hangs(session, saying(b"", then_wait=True))
    assert said == "HOST: connected, and no answer yet, and 0.5 s of silence"


async def test_a_host_that_falls_silent_in_its_answer_is_told_as_that(session: aiohttp.ClientSession) -> None:
    said = await _hangs(session, saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", then_wait=True))
    assert said == "HOST: its answer began, and did not end, and 0.5 s of silence"


async def test_whose_caller_gives_up_sooner_is_not_ended_by_silence(session: aiohttp.ClientSession) -> None:
    asked = Asked(host="h", credential="c")
    async with listening(saying(b"", then_wait=True)) as peer:
        request = Request(url=URL(f"http://{peer.host}/"), within=0.5)
        sending = asyncio.create_task(Transport(session=session).send(request, {}, asked))
        await _refused(session, f"http://{peer.host}/")  # asked later, and by its own silence ended sooner
        assert not sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert asked.phase == "connected, and no answer yet"


async def test_a_deadline_from_outside_finds_the_phase_that_it_ended(session: aiohttp.ClientSession) -> None:
    asked = Asked(host="h", credential="c")
    async with listening(saying(b"", then_wait=True)) as peer:
        request = Request(url=URL(f"http://{peer.host}/"))
        sending = asyncio.create_task(Transport(session=session).send(request, {}, asked))
        while not peer.heard:
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert asked.phase == "connected, and no answer yet"


async def test_headers_without_end_are_left(session: aiohttp.ClientSession) -> None:
    talk = repeating(b"X-More: " + b"a" * 1000 + b"\r\n", after=b"HTTP/1.1 200 OK\r\n")
    async with listening(talk) as peer:
        error = await _refused(session, f"http://{peer.host}/")
    assert error.cause is CloudCause.BAD_ANSWER


async def test_one_header_without_end_is_left(session: aiohttp.ClientSession) -> None:
    async with listening(repeating(b"a" * 65536, after=b"HTTP/1.1 200 OK\r\nX-More: ")) as peer:
        error = await _refused(session, f"http://{peer.host}/")
    assert error.cause is CloudCause.BAD_ANSWER


async def test_a_header_as_long_as_tokens_can_be_is_taken(session: aiohttp.ClientSession) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Subject-Token: " + b"M" * 60_000 + b"\r\n\r\n{}"
    async with listening(saying(head)) as peer:
        answer = await _ask(session, f"http://{peer.host}/")
    assert len(answer.headers["X-Subject-Token"]) == 60_000


async def test_a_body_of_a_gigabyte_is_left_after_what_a_page_may_have(
    session: aiohttp.ClientSession,
) -> None:
    block = b"a" * (1 << 20)
    sent = 0

    def counting(_: object) -> Talk:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
            for _ in range(1024):
                writer.write(block)
                await writer.drain()
                sent += len(block)

        return talk

    async with listening(counting) as peer:
        error = await _refused(session, f"http://{peer.host}/")
    assert error.cause is CloudCause.BAD_ANSWER
    assert sent < 4 * MAX_BODY_BYTES


# --- names


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names below `hang.example` are looked up for ever; the rest is loopback. Holds what was asked."""
    asked: list[str] = []
    never = threading.Event()

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        if host.endswith("hang.example"):
            never.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(names, "SECONDS", 0.3)
    return asked


async def test_names_that_hang_delay_no_other_name_and_no_thread_of_others(
    session: aiohttp.ClientSession, hanging: list[str]
) -> None:
    async with listening(saying(ANSWER)) as peer:
        asking = [
            asyncio.create_task(_refused(session, f"http://{number}.hang.example/")) for number in range(50)
        ]
        async with asyncio.timeout(10):
            while len(hanging) < 50:
                await asyncio.sleep(0)
        answer = await _ask(session, f"http://healthy.example:{peer.port}/")
        assert answer.body == b"{}"
        assert await asyncio.to_thread(lambda: "free") == "free"
        assert not any(task.done() for task in asking)
        errors = await asyncio.gather(*asking)
    assert {error.cause for error in errors} == {CloudCause.TIMEOUT}
    assert str(errors[0]).endswith("its name was not resolved: the name service did not answer within 0.3 s")


async def test_a_name_that_hangs_is_looked_up_once_however_often_it_is_asked_for(
    session: aiohttp.ClientSession, hanging: list[str]
) -> None:
    for _ in range(3):
        await _refused(session, "http://hang.example/")
    assert hanging == ["hang.example"]


async def test_lookups_that_hang_are_bounded(
    session: aiohttp.ClientSession, hanging: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "MAX_LOOKUPS", 2)
    errors = await asyncio.gather(*(_refused(session, f"http://{n}.hang.example/") for n in range(5)))
    assert len(hanging) == 2
    assert {error.cause for error in errors} == {CloudCause.TIMEOUT}


async def test_a_name_that_nobody_has_is_an_error_of_the_network(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = await _refused(session, "http://gone.example/")
    assert error.cause is CloudCause.NETWORK
    assert "its name cannot be resolved" in str(error)


async def test_a_name_that_is_none_is_an_error_like_one_that_nobody_has() -> None:
    with pytest.raises(socket.gaierror):
        await names.Names().resolve("a" * 64 + ".example", 443, socket.AF_UNSPEC)


async def test_a_link_local_address_keeps_its_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 443, 0, 3))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [found])
    [address] = await names.Names().resolve("h", 443, socket.AF_UNSPEC)
    assert address["host"] == "fe80::1%3"
