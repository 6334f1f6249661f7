"""What notifiers over HTTP share: one bounded exchange."""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from yarl import URL

from taskwatch.clock import Clock
from taskwatch.core.verdict import refusal
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason, Scope
from taskwatch.notifiers.connection import Way, unconnected, why
from taskwatch.secret import hidden
from taskwatch.telemetry import printable
from taskwatch.urls import has_sendable_login, login_secrets

MAX_ANSWER_BYTES: Final = 64 * 1024
ANSWER_SECONDS: Final = 1.0  # for what follows the status: it decides nothing
SHOWN_ANSWER: Final = 200  # characters of a refusal that are shown
FIRST_DATE: Final = datetime(1971, 1, 1, tzinfo=UTC)
LAST_DATE: Final = datetime(9000, 1, 1, tzinfo=UTC)
SHORTEST_SECRET: Final = 6  # anything shorter would take ordinary words apart


async def post(
    session: aiohttp.ClientSession,
    way: Way,
    *,
    body: bytes,
    headers: Mapping[str, str],
    secrets: Iterable[str],
    clock: Clock,
) -> datetime | None:
    """Send one POST. Returns when the receiver answered 2xx; raises DeliveryError otherwise.

    The time that the answer tells (its Date) is returned, if it tells one.

    Redirects are never followed. No text of the error holds the URL, for its path or query may be a
    secret, nor any of `secrets`, even where the receiver repeats them.
    """
    target, proxy = way.target, way.proxy
    unsaid = {*secrets, way.url, *_parts(URL(way.url)), *(() if proxy is None else proxy.secrets)}
    host = target.host_port_subcomponent
    if "Authorization" in headers:
        target = target.with_user(None)  # what is configured beside the URL counts
    if not has_sendable_login(target):
        raise DeliveryError(
            Reason.UNAUTHORIZED,
            "the user or the password in the URL holds letters that cannot be sent there; write basic instead",
            Scope.RECEIVER,
        )
    try:
        async with session.post(
            target,
            data=body,
            headers=headers,
            allow_redirects=False,
            ssl=way.tls,
            proxy=None if proxy is None else proxy.url,
        ) as response:
            refused = refusal(response.status)
            if refused is None:
                # The receiver has it; what else it says, and how slowly, decides nothing.
                return _date(response.headers.get("Date"))
            said = await _beginning(response)
            text = _shown(said, unsaid)
            failure = DeliveryError(
                refused.reason,
                f"{host} answered {response.status}{': ' + text if text else ''}",
                refused.scope,
                _retry_after(response.headers.get("Retry-After"), clock.now()),
            )
    except TimeoutError:
        failure = DeliveryError(Reason.TIMEOUT, f"{host} did not answer in time")
    except (aiohttp.ClientHttpProxyError, aiohttp.ClientConnectorError) as error:
        failure = unconnected(host, error, proxy)
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        failure = DeliveryError(Reason.TLS, f"TLS with {host} failed: {why(error)}")
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(
            error.__cause__, ssl.SSLError
        ):  # with TLS 1.3 a refusal of ours comes after the handshake
            failure = DeliveryError(Reason.TLS, f"TLS with {host} failed: {why(error.__cause__)}")
        else:
            failure = DeliveryError(Reason.NETWORK, f"cannot reach {host}: {why(error)}")
    # Raised out here, and so without a context: aiohttp's errors hold the URL and the headers.
    raise failure


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
    return texts | {*url.parts, *url.query.keys(), *url.query.values(), *login_secrets(url)}


def _retry_after(text: str | None, now: datetime) -> float | None:
    """Read Retry-After (RFC 9110, section 10.2.3): seconds or a date; None where it makes no sense."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:9])
    until = _date(text)
    return None if until is None else max(0.0, (until - now).total_seconds())


def _date(text: str | None) -> datetime | None:
    """Read a date of HTTP; None where it makes no sense, or is none with which one can reckon."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (TypeError, ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware if FIRST_DATE <= aware < LAST_DATE else None
