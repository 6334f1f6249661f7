"""How a receiver over HTTP is reached: connections that go only where they were told, and words for what stops them."""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from taskwatch import __version__
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason, Scope
from taskwatch.names import Names, NameTimeoutError
from taskwatch.urls import Proxy

KEEPALIVE_SECONDS: Final = 120.0
PATIENCE_SECONDS: Final = 3.0  # for an address that says nothing, while the host has another

Used = TypeVar("Used")

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
        resolver=Names(),
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
    # Through a proxy this is the proxy's address: where it lets us go is for the proxy to say.
    family, kind, protocol, _, target = address
    host = ipaddress.ip_address(str(target[0]).partition("%")[0])
    mapped = getattr(host, "ipv4_mapped", None) or host
    if any(mapped.version == network.version and mapped in network for network in _FORBIDDEN):
        raise ForbiddenAddressError(f"{mapped} is a link-local or metadata address; no receiver lives there")
    return socket.socket(family, kind, protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way to a receiver. Its URLs may hold secrets."""

    url: str = field(repr=False)
    tls: ssl.SSLContext | bool = True
    proxy: Proxy | None = None

    @property
    def target(self) -> URL:
        """The URL. Raises DeliveryError where it is none."""
        return _target(self.url)


async def try_connection(way: Way, *, timeout: float) -> None:  # noqa: ASYNC109  (the receiver's own)
    """Connect, TLS included, and close; send nothing. Through a proxy: to the proxy. Raises DeliveryError."""
    first = way.target if way.proxy is None else way.proxy.url
    who = str(way.proxy or first.host_port_subcomponent)
    try:
        async with asyncio.timeout(timeout):
            await _connect(first, way.tls)
    except TimeoutError:
        failure = DeliveryError(Reason.TIMEOUT, f"{who} did not answer in time")
    except ssl.SSLError as error:
        failure = DeliveryError(Reason.TLS, f"TLS with {who} failed: {why(error)}")
    except OSError as error:
        failure = DeliveryError(Reason.NETWORK, f"cannot reach {who}: {why(error)}")
    else:
        return
    raise failure


async def _connect(target: URL, tls: ssl.SSLContext | bool) -> None:  # noqa: FBT001  (True: the usual trust)
    host, port = target.host or "", target.port or 0

    async def open_and_close(opened: socket.socket) -> None:
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol,
            sock=opened,
            ssl=tls if target.scheme == "https" else None,
            server_hostname=host if target.scheme == "https" else None,
        )
        transport.abort()

    await reach(host, port, open_and_close, names=Names())


async def reach(
    host: str, port: int, use: Callable[[socket.socket], Awaitable[Used]], *, names: Names
) -> Used:
    """Try the addresses of the host in their order; return what `use` makes of the first that serves.

    Whoever returns from `use` owns the socket. Raises the last one's error, an OSError.
    """
    failure: OSError = OSError("no address")
    addresses = await names.resolve(host, port, socket.AF_UNSPEC)
    for number, address in enumerate(addresses, start=1):
        spot = (address["host"], port)
        try:
            opened = _socket((address["family"], socket.SOCK_STREAM, address["proto"], "", spot))
        except OSError as error:
            failure = error
            continue
        opened.setblocking(False)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if number < len(addresses) else None):
                await asyncio.get_running_loop().sock_connect(opened, spot)
            return await use(opened)
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
    raise failure


def unconnected(
    host: str | None, error: aiohttp.ClientHttpProxyError | aiohttp.ClientConnectorError, proxy: Proxy | None
) -> DeliveryError:
    who, reason = host, Reason.TLS if isinstance(error, aiohttp.ClientSSLError) else Reason.NETWORK
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return DeliveryError(reason, f"cannot reach {host}: {proxy} refused ({error.status}); check proxy")
    if proxy is not None and proxy.is_at(error.host, error.port):
        who = str(proxy)
    if reason is Reason.TLS:
        return DeliveryError(reason, f"TLS with {who} failed: {why(error)}")
    return DeliveryError(reason, f"cannot reach {who}: {why(error)}")


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


def why(error: Exception) -> str:
    """Return the cause in words, the system's own: what aiohttp and asyncio say may hold the URL."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _certificate_problem(error.certificate_error)
        case aiohttp.InvalidURL():
            return "that is no host that can be asked"
        case aiohttp.ClientResponseError():
            return "its answer is no HTTP"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
    return _system_word(getattr(error, "os_error", None) or error)


def _system_word(cause: Exception) -> str:
    match cause:
        case ForbiddenAddressError():
            return str(cause)
        case NameTimeoutError():
            return f"its name cannot be resolved: {cause}"
        case socket.gaierror():
            return "its name cannot be resolved"
        case ssl.SSLCertVerificationError():
            return _certificate_problem(cause)
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
