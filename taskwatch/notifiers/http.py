"""What notifiers over HTTP share: a session that goes only where it was told, and one bounded exchange."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from taskwatch.clock import Clock
from taskwatch.core.verdict import refusal
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason
from taskwatch.telemetry import printable

MAX_ANSWER_BYTES: Final = 64 * 1024
SHOWN_ANSWER: Final = 200  # characters of a refusal that are shown
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
    session: aiohttp.ClientSession, url: str, *, body: bytes, headers: Mapping[str, str], clock: Clock
) -> None:
    """Send one POST. Returns when the receiver answered 2xx; raises DeliveryError otherwise.

    Redirects are never followed. No text of the error holds the URL: its path or query may be a secret.
    """
    host = URL(url).host or "?"
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            refused = refusal(response.status)
            text = await _beginning(response)
            if refused is None:
                return
            raise DeliveryError(
                refused.reason,
                f"{host} answered {response.status}{': ' + text if text else ''}",
                refused.scope,
                _retry_after(response.headers.get("Retry-After"), clock.now()),
            )
    except TimeoutError as error:
        raise DeliveryError(Reason.TIMEOUT, f"{host} did not answer in time") from error
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise DeliveryError(Reason.TLS, f"TLS with {host} failed: {_why(error)}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise DeliveryError(Reason.NETWORK, f"cannot reach {host}: {_why(error)}") from error


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Read the answer as far as it may go, and return what of it is worth showing."""
    try:
        raw = bytearray()
        while len(raw) < MAX_ANSWER_BYTES:
            chunk = await response.content.read(MAX_ANSWER_BYTES - len(raw))
            if not chunk:
                break
            raw += chunk
        else:
            response.close()  # the rest is not worth a connection
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
        # The status stands: the receiver has said what it has to say.
        response.close()
        return ""
    return printable(" ".join(raw[: 4 * SHOWN_ANSWER].decode("utf-8", "replace").split()), SHOWN_ANSWER)


def _why(error: Exception) -> str:
    """Return the cause in words, from the error's own system text: never its URL."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, ForbiddenAddressError):
        return str(cause)
    strerror = getattr(cause, "strerror", None)
    return (
        printable(strerror, SHOWN_ANSWER) if isinstance(strerror, str) and strerror else type(cause).__name__
    )


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
