"""What notifiers over HTTP share: a session that goes only where it was told, and one bounded exchange."""

import asyncio
import base64
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from taskwatch import __version__
from taskwatch.clock import Clock
from taskwatch.core.verdict import refusal
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason, Scope
from taskwatch.secret import hidden
from taskwatch.telemetry import printable

MAX_ANSWER_BYTES: Final = 64 * 1024
ANSWER_SECONDS: Final = 1.0  # for what follows the status: it decides nothing
SHOWN_ANSWER: Final = 200  # characters of a refusal that are shown
SHORTEST_SECRET: Final = 6  # anything shorter would take ordinary words apart
KEEPALIVE_SECONDS: Final = 120.0

# Where clouds keep credentials for those who ask from inside. Loopback and private networks are
# where receivers live, so they are not refused.
_FORBIDDEN: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254/128",
        "100.100.100.200/32",
        "0.0.0.0/32",
        "::/128",
    )
)


class ForbiddenAddressError(OSError):
    """The name resolved to an address that no receiver has."""


def open_session(timeout: float) -> aiohttp.ClientSession:
    """Open a session without cookies, without proxies from the environment, and within `timeout` seconds a request."""
    connector = aiohttp.TCPConnector(
        resolver=ThreadedResolver(),  # an installed aiodns would take over silently
        keepalive_timeout=KEEPALIVE_SECONDS,
        socket_factory=_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"taskwatch/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=timeout),
        trust_env=False,
        auto_decompress=False,  # an answer is shown in part or not at all; nothing to inflate
    )


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    # Checked on the resolved address, at the moment of connecting: a name may resolve twice differently.
    family, kind, protocol, _, target = address
    host = ipaddress.ip_address(str(target[0]).partition("%")[0])
    mapped = getattr(host, "ipv4_mapped", None) or host
    if any(mapped.version == network.version and mapped in network for network in _FORBIDDEN):
        raise ForbiddenAddressError(f"{mapped} is a link-local or metadata address; no receiver lives there")
    return socket.socket(family, kind, protocol)


async def post(
    session: aiohttp.ClientSession,
    url: str,
    *,
    body: bytes,
    headers: Mapping[str, str],
    secrets: Iterable[str],
    clock: Clock,
) -> None:
    """Send one POST. Returns when the receiver answered 2xx; raises DeliveryError otherwise.

    Redirects are never followed. No text of the error holds the URL, for its path or query may be a
    secret, nor any of `secrets`, even where the receiver repeats them.
    """
    target = _target(url)
    host = target.host_port_subcomponent
    if "Authorization" in headers:
        target = target.with_user(None)  # what is configured beside the URL counts
    try:
        async with session.post(target, data=body, headers=headers, allow_redirects=False) as response:
            refused = refusal(response.status)
            if refused is None:
                return  # the receiver has it; what else it says, and how slowly, decides nothing
            said = await _beginning(response)
            text = _shown(said, {*secrets, url, *_parts(URL(url))})
            failure = DeliveryError(
                refused.reason,
                f"{host} answered {response.status}{': ' + text if text else ''}",
                refused.scope,
                _retry_after(response.headers.get("Retry-After"), clock.now()),
            )
    except TimeoutError:
        failure = DeliveryError(Reason.TIMEOUT, f"{host} did not answer in time")
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        failure = DeliveryError(Reason.TLS, f"TLS with {host} failed: {_why(error)}")
    except (aiohttp.ClientError, OSError) as error:
        failure = DeliveryError(Reason.NETWORK, f"cannot reach {host}: {_why(error)}")
    # Raised out here, and so without a context: aiohttp's errors hold the URL and the headers.
    raise failure


def _target(url: str) -> URL:
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        # From a file or the environment; what stands in the configuration was checked there.
        raise DeliveryError(
            Reason.NETWORK, "what should be a URL is none; write https://HOST/…", Scope.RECEIVER
        )
    return parsed


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Read the answer as far as it may go. The status stands, whatever becomes of the rest."""
    raw = bytearray()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while len(raw) < MAX_ANSWER_BYTES:
                chunk = await response.content.read(MAX_ANSWER_BYTES - len(raw))
                if not chunk:
                    return bytes(raw)
                raw += chunk
    except (aiohttp.ClientError, OSError):  # a time-out is an OSError
        pass
    response.close()  # the rest is not worth a connection
    return bytes(raw)


def _shown(said: bytes, secrets: Iterable[str]) -> str:
    """Return what is worth showing of an answer, without the secrets it may repeat."""
    # Before the cut: a secret cut in the middle would not be found any more.
    text = hidden(said.decode("utf-8", "replace"), secrets, shortest=SHORTEST_SECRET)
    return printable(" ".join(text[: 4 * SHOWN_ANSWER].split()), SHOWN_ANSWER)


def _parts(url: URL) -> set[str]:
    """Return all parts of the URL but its host, as they are written and as they are read."""
    texts = {url.raw_path, url.raw_query_string, url.raw_path_qs, url.path, url.query_string, url.path_qs}
    texts |= {*url.parts, *url.query.keys(), *url.query.values()}
    if url.user:
        login = f"{url.user}:{url.password or ''}".encode()
        texts |= {url.user, url.password or "", base64.b64encode(login).decode("ascii")}
    return texts


def _why(error: Exception) -> str:
    """Return the cause in words, the system's own: what aiohttp and asyncio say may hold the URL."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _certificate_problem(error.certificate_error)
        case aiohttp.ClientConnectorDNSError():
            return "its name cannot be resolved"
        case aiohttp.InvalidURL():
            return "that is no host that can be asked"
        case aiohttp.ClientResponseError():
            return "its answer is no HTTP"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
    cause = getattr(error, "os_error", None) or error
    match cause:
        case ForbiddenAddressError():
            return str(cause)
        case ssl.SSLError():
            return (cause.reason or "no TLS").replace("_", " ").lower()
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case _:
            return type(cause).__name__


def _certificate_problem(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({error.verify_message})"
    return "its certificate is refused"


def _retry_after(text: str | None, now: datetime) -> float | None:
    """Read Retry-After (RFC 9110, section 10.2.3): seconds or a date; None where it makes no sense."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    aware = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
