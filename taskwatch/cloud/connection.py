"""What happens between us and a host before it answers, in words that say where it stopped.

Invariants:
- What a proxy does is told as the proxy's; nothing of its user and password is shown.
- Nothing of aiohttp's own words is shown: they hold the request with its headers.
"""

import os
import socket
import ssl
from contextvars import ContextVar
from typing import Final

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from taskwatch import urls
from taskwatch.cloud.errors import UNANSWERED, UNCONNECTED, Asked
from taskwatch.errors import CloudCause, CloudError, SecretUnreadableError
from taskwatch.names import Names, NameTimeoutError
from taskwatch.secret import Secret
from taskwatch.urls import Proxy

TIMEOUTS: Final = aiohttp.ClientTimeout(
    connect=10.0,  # seconds, for the name, the connection and TLS together
    sock_read=60.0,  # between two bytes, the first one included; most polls have a nearer deadline
)

# Where the caller's own deadline comes first: timers for silence are two a request.
BRIEF: Final = aiohttp.ClientTimeout(connect=TIMEOUTS.connect)
# Of the exchange under way in this asyncio.Task, for those that aiohttp calls on its behalf.
ASKED: Final[ContextVar[Asked]] = ContextVar("asked")

_PROXY_LOGIN: Final = 407
_OWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})  # X509_V_ERR_*: nobody we trust has signed it
_EXPIRED: Final = 10
_WRONG_HOST: Final = frozenset({62, 64})  # name, address
_NO_CERTIFICATE_OF_OURS: Final = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE")
_TOO_OLD: Final = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE")


def read_proxy(secret: Secret) -> Proxy:
    """Return the proxy as it is kept. Raises CloudError."""
    try:
        return urls.read_proxy(secret)
    except SecretUnreadableError as error:
        problem = str(error)
    # Raised out here, and so without a context: the error of a file that is no text holds its bytes.
    raise CloudError(CloudCause.NETWORK, problem)


class Connector(aiohttp.TCPConnector):
    """Opens and keeps connections, and says in the Asked of an exchange how far that has come.

    aiohttp's traces would say it too, at a tenth of what a whole poll costs.
    """

    def __init__(self, *, keepalive_timeout: float, limit: int) -> None:
        super().__init__(resolver=_Lookups(), keepalive_timeout=keepalive_timeout, limit=limit)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  (aiohttp's own)
    ) -> Connection:
        ASKED.get().phase = UNCONNECTED
        connection = await super().connect(req, traces, timeout)
        ASKED.get().phase = UNANSWERED
        return connection


class _Lookups(Names):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        asked = ASKED.get()
        asked.phase = "its name was not resolved yet"
        found = await super().resolve(host, port, family)
        asked.phase = UNCONNECTED
        return found


def unanswered(
    asked: Asked,
    error: Exception,
    *,
    proxy: Proxy | None = None,
    timeouts: aiohttp.ClientTimeout = TIMEOUTS,
) -> CloudError:
    """Say why there is no whole answer, and who is to blame."""
    cause, what = _why(asked, error, proxy, timeouts)
    return CloudError(cause, f"{asked.host}: {what}")


def _why(
    asked: Asked, error: Exception, proxy: Proxy | None, timeouts: aiohttp.ClientTimeout
) -> tuple[CloudCause, str]:
    match error:
        case aiohttp.ClientHttpProxyError(status=status) if proxy is not None:
            return CloudCause.NETWORK, _refused_by(proxy, status)
        case aiohttp.ClientConnectorError() if proxy is not None and proxy.is_at(error.host, error.port):
            there = Asked(host=str(proxy), credential="", setting="proxy")
            return CloudCause.NETWORK, str(unanswered(there, error, timeouts=timeouts))
        case aiohttp.ClientConnectorDNSError(os_error=NameTimeoutError() as slow):
            return CloudCause.TIMEOUT, f"its name was not resolved: {slow}"
        case aiohttp.ConnectionTimeoutError():
            return CloudCause.TIMEOUT, f"{asked.phase}, after {timeouts.connect:g} s{_by(proxy)}"
        case aiohttp.SocketTimeoutError():
            return CloudCause.TIMEOUT, f"{asked.phase}, and {timeouts.sock_read:g} s of silence{_by(proxy)}"
        case _:
            return _unconnected(asked, error)


def _unconnected(asked: Asked, error: Exception) -> tuple[CloudCause, str]:
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=problem):
            return CloudCause.TLS, _refused_certificate(asked, problem)
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return CloudCause.TLS, _without_tls(asked, getattr(error, "os_error", error))
        case aiohttp.ClientOSError() if isinstance(error.__cause__, ssl.SSLError):
            return CloudCause.TLS, _without_tls(asked, error.__cause__)
        case aiohttp.ClientConnectorDNSError():
            return (
                CloudCause.NETWORK,
                f"its name cannot be resolved; check {asked.setting} and the name service",
            )
        case aiohttp.ClientConnectorError():
            reason = _reason(error.os_error)
            return CloudCause.NETWORK, f"cannot connect ({reason}); check {asked.setting}, and the firewall"
        case _:
            return _broken(asked, error)


def _broken(asked: Asked, error: Exception) -> tuple[CloudCause, str]:
    match error:
        case TimeoutError():
            return CloudCause.TIMEOUT, "no answer in time"
        case aiohttp.ClientPayloadError():
            return CloudCause.NETWORK, "the answer was cut short"
        case aiohttp.ServerDisconnectedError():
            return CloudCause.NETWORK, "closed the connection without an answer"
        case aiohttp.ClientResponseError():
            return CloudCause.BAD_ANSWER, f"the answer is not HTTP as it should be; check {asked.setting}"
        case aiohttp.InvalidURL():
            return CloudCause.NETWORK, f"is no host that can be asked; check {asked.setting}"
        case OSError():
            return CloudCause.NETWORK, f"the connection broke ({_reason(error)})"
        case _:
            return CloudCause.NETWORK, f"the connection broke ({type(error).__name__})"


def _reason(error: OSError) -> str:
    # The text of aiohttp's own errors may hold addresses and more; the system's word is enough.
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else type(error).__name__


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


def _without_tls(asked: Asked, problem: OSError) -> str:
    reason = getattr(problem, "reason", None) or ""
    if any(word in reason for word in _TOO_OLD):
        return "it speaks nothing newer than TLS 1.1, which is not safe; its owner has to allow TLS 1.2"
    if any(word in reason for word in _NO_CERTIFICATE_OF_OURS):
        return "it ended TLS, and may want a certificate of ours, or another one; write tls: {cert: FILE, key: FILE}"
    return f"no TLS connection; check the scheme and the port of {asked.setting}"
