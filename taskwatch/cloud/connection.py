"""What happens between us and a host before it answers, in words that say where it stopped.

Invariants:
- What a proxy does is told as the proxy's; nothing of its user and password is shown.
- Nothing of aiohttp's own words is shown: they hold the request with its headers.
"""

import base64
import ssl
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

from taskwatch.cloud.errors import Asked, broken
from taskwatch.errors import CloudCause, CloudError, SecretUnreadableError
from taskwatch.names import NameTimeoutError
from taskwatch.secret import Secret

TIMEOUTS: Final = aiohttp.ClientTimeout(
    connect=10.0,  # seconds, for the name, the connection and TLS together
    sock_read=60.0,  # between two bytes, the first one included; most polls have a nearer deadline
)

_PROXY_LOGIN: Final = 407
_SENT_AS: Final = "latin-1"  # aiohttp's choice for the login of a proxy
_LOGIN_ENCODINGS: Final = (_SENT_AS, "utf-8")  # a proxy may write it anew
_OWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})  # X509_V_ERR_*: nobody we trust has signed it
_EXPIRED: Final = 10
_WRONG_HOST: Final = frozenset({62, 64})  # name, address
_NO_CERTIFICATE_OF_OURS: Final = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE")
_TOO_OLD: Final = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy as it is now."""

    url: URL = field(repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.url.host_port_subcomponent}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of it no error may show."""
        if self.url.user is None and self.url.password is None:
            return ()
        login = f"{self.url.user or ''}:{self.url.password or ''}"
        in_base64 = (
            base64.b64encode(login.encode(encoding)).decode("ascii") for encoding in _LOGIN_ENCODINGS
        )
        return tuple(text for text in (self.url.user, self.url.password, *in_base64) if text)

    def is_at(self, error: aiohttp.ClientConnectorError) -> bool:
        return (error.host, error.port) == (self.url.host, self.url.port)


def read_proxy(secret: Secret) -> Proxy:
    """Return the proxy as it is kept. Raises CloudError."""
    try:
        url = URL(secret.reveal())
    except SecretUnreadableError as error:
        raise CloudError(CloudCause.NETWORK, f"no proxy: {error}") from None
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise CloudError(
            CloudCause.NETWORK, f"what {secret.place} holds is no proxy; write http://HOST:PORT there"
        )
    if not all(_is_sendable(text) for text in (url.user, url.password) if text):
        raise CloudError(
            CloudCause.NETWORK,
            f"the user or the password of the proxy in {secret.place} holds letters that cannot be sent to it;"
            " have it take others",
        )
    return Proxy(url)


def _is_sendable(text: str) -> bool:
    try:
        text.encode(_SENT_AS)
    except UnicodeEncodeError:  # it holds the text
        return False
    return True


def phases() -> aiohttp.TraceConfig:
    """Return what keeps the phase of an exchange in its Asked."""
    config = aiohttp.TraceConfig()

    async def begin_connecting(_: object, context: object, __: object) -> None:
        _note(context, "no TCP or TLS connection to it yet")

    async def begin_lookup(_: object, context: object, __: object) -> None:
        _note(context, "its name was not resolved yet")

    async def end_lookup(_: object, context: object, __: object) -> None:
        _note(context, "no TCP or TLS connection to it yet")

    async def sent(_: object, context: object, __: object) -> None:
        _note(context, "connected, and no answer yet")

    config.on_connection_create_start.append(begin_connecting)
    config.on_dns_resolvehost_start.append(begin_lookup)
    config.on_dns_resolvehost_end.append(end_lookup)
    config.on_dns_cache_hit.append(end_lookup)
    config.on_request_headers_sent.append(sent)
    return config


def _note(context: object, phase: str) -> None:
    asked = getattr(context, "trace_request_ctx", None)
    if isinstance(asked, Asked):
        asked.phase = phase


def unanswered(
    asked: Asked, error: Exception, *, proxy: Proxy | None, timeouts: aiohttp.ClientTimeout
) -> CloudError:
    """Say why there is no whole answer, and who is to blame."""
    match error:
        case aiohttp.ClientHttpProxyError(status=status) if proxy is not None:
            return CloudError(CloudCause.NETWORK, f"{asked.host}: {_refused_by(proxy, status)}")
        case aiohttp.ClientConnectorError() if proxy is not None and proxy.is_at(error):
            there = broken(Asked(host=str(proxy), credential="", setting="proxy"), error)
            return CloudError(CloudCause.NETWORK, f"{asked.host}: {there}")
        case aiohttp.ClientConnectorDNSError(os_error=NameTimeoutError() as slow):
            return CloudError(CloudCause.TIMEOUT, f"{asked.host}: its name was not resolved: {slow}")
        case aiohttp.ConnectionTimeoutError():
            return CloudError(
                CloudCause.TIMEOUT, f"{asked.host}: {asked.phase}, after {timeouts.connect:g} s{_by(proxy)}"
            )
        case aiohttp.SocketTimeoutError():
            return CloudError(
                CloudCause.TIMEOUT,
                f"{asked.host}: {asked.phase}, and {timeouts.sock_read:g} s of silence{_by(proxy)}",
            )
        case aiohttp.ClientConnectorCertificateError(certificate_error=problem):
            return CloudError(CloudCause.TLS, f"{asked.host}: {_refused_certificate(asked, problem)}")
        case aiohttp.ClientConnectorSSLError(os_error=ssl.SSLError() as problem) | (
            ssl.SSLError() as problem
        ):
            return _without_tls(asked, problem)
        case aiohttp.ClientOSError() if isinstance(error.__cause__, ssl.SSLError):
            return _without_tls(asked, error.__cause__)
        case _:
            return broken(asked, error)


def refused_by_proxy(asked: Asked, proxy: Proxy, status: int) -> CloudError | None:
    """Return what an answer that came through a proxy in clear says of the proxy itself, if it does."""
    if status != _PROXY_LOGIN:
        return None
    return CloudError(CloudCause.NETWORK, f"{asked.host}: {_refused_by(proxy, status)}", http_status=status)


def _refused_by(proxy: Proxy, status: int) -> str:
    if status == _PROXY_LOGIN:
        return (
            f"{proxy} wants a user and a password, or others ({status}); write http://USER:PASSWORD@HOST:PORT"
        )
    return f"{proxy} refused to connect to it ({status}); check proxy, and what it lets through"


def _by(proxy: Proxy | None) -> str:
    return "" if proxy is None else f" (through {proxy})"


def _refused_certificate(asked: Asked, problem: Exception) -> str:
    if not isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is refused; check {asked.setting}"
    said = f"its certificate is refused ({problem.verify_message.rstrip('.')})"
    if problem.verify_code in _OWN_ISSUER:
        return f"{said}; if a CA of your own signed it, write tls: {{ca: FILE}}"
    if problem.verify_code == _EXPIRED:
        return f"{said}; its owner has to renew it, unless the clock of this host is wrong"
    if problem.verify_code in _WRONG_HOST:
        return f"{said}; check {asked.setting}: the certificate is that of another host"
    return f"{said}; check {asked.setting}"


def _without_tls(asked: Asked, problem: ssl.SSLError) -> CloudError:
    reason = problem.reason or ""
    if any(word in reason for word in _TOO_OLD):
        what = "it speaks nothing newer than TLS 1.1, which is not safe; its owner has to allow TLS 1.2"
    elif any(word in reason for word in _NO_CERTIFICATE_OF_OURS):
        what = "it ended TLS, and may want a certificate of ours, or another one; write tls: {cert: FILE, key: FILE}"
    else:
        what = f"no TLS connection; check the scheme and the port of {asked.setting}"
    return CloudError(CloudCause.TLS, f"{asked.host}: {what}")
