"""One exchange with a host of the cloud: bounded, never redirected, told in our own words when it fails.

Invariants:
- What authenticates a request goes to the host it was meant for only: redirects are refused, proxies
  of the environment ignored.
- No error holds aiohttp's own: those hold the request with its headers.
- Each phase of an exchange ends by itself, and an error says in which it stopped.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp import hdrs
from yarl import URL

import taskwatch
from taskwatch.cloud.body import read_page, read_refusal
from taskwatch.cloud.connection import (
    ASKED,
    BRIEF,
    TIMEOUTS,
    Connector,
    read_proxy,
    refused_by_proxy,
    unanswered,
)
from taskwatch.cloud.errors import UNFINISHED, Asked, refusal
from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import Secret
from taskwatch.tls import Tls, TlsUnusableError

_KEEPALIVE_SECONDS: Final = 300.0  # longer than intervals are: a poll opens no connection
_MAX_HEADER: Final = 64 * 1024  # tokens come in headers and can be longer than 8 KB
_MAX_CONNECTIONS: Final = 512  # one a project in flight; below the usual limit of open files
_NO_HEADERS: Final[Mapping[str, str]] = {}

Session = aiohttp.ClientSession


def open_session(timeouts: aiohttp.ClientTimeout = TIMEOUTS) -> Session:
    """Open the connections that all projects share. Polls have deadlines of their own."""
    return aiohttp.ClientSession(
        connector=Connector(keepalive_timeout=_KEEPALIVE_SECONDS, limit=_MAX_CONNECTIONS),
        headers={
            hdrs.ACCEPT: "application/json",
            hdrs.ACCEPT_ENCODING: "identity",  # inflating costs more than the bytes it saves
            hdrs.USER_AGENT: f"taskwatch/{taskwatch.__version__}",
        },
        timeout=timeouts,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        max_line_size=_MAX_HEADER,
        max_field_size=_MAX_HEADER,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a host, before anybody says who asks. The URL is sent as it stands."""

    url: URL
    method: str = hdrs.METH_GET
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS, repr=False)
    body: bytes | None = field(default=None, repr=False)  # of a login: it holds the password
    expected: int = 200  # the one status that is no refusal
    within: float | None = None  # seconds after which whoever asks gives up, if that is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer with the expected status, its body read and inflated."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)  # names in any case; of a login: one of them is the token

    @property
    def date(self) -> str | None:
        return self.headers.get(hdrs.DATE)


class Transport:
    """How the hosts of a cloud are reached: over which connections, trusting whom, through which proxy."""

    def __init__(self, *, session: Session, tls: Tls | None = None, proxy: Secret | None = None) -> None:
        """Without `tls` the system's CAs are trusted. `proxy` is a URL, and read again for each request."""
        self._session = session
        self._tls = tls
        self.proxy = proxy

    async def send(self, request: Request, headers: Mapping[str, str], asked: Asked) -> Answer:
        """Send the request with these further headers. Raises CloudError for any other status than the expected.

        It ends with the deadline of its caller.
        """
        ASKED.set(asked)
        tls = True if self._tls is None else await _trusted(self._tls, asked)
        proxy = read_proxy(self.proxy) if self.proxy is not None else None
        if proxy is not None:
            asked.secrets = (*asked.secrets, *proxy.secrets)  # it may answer in the place of the host
        timeouts = self._timeouts_of(request)
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers={**request.headers, **headers},
                data=request.body,
                allow_redirects=False,
                ssl=tls,
                proxy=None if proxy is None else proxy.url,
                timeout=timeouts,
            ) as response:
                asked.phase = UNFINISHED
                if response.status == request.expected:
                    return Answer(body=await read_page(response, asked), headers=response.headers)
                said = await read_refusal(response)
                by_proxy = None if proxy is None else refused_by_proxy(asked, proxy, response.status)
                failure = by_proxy or refusal(asked, response.status, response.headers, said)
        except (aiohttp.ClientError, OSError) as error:
            failure = unanswered(asked, error, proxy=proxy, timeouts=timeouts)
        # Raised out here, and so without a context: aiohttp's errors hold the request's headers.
        raise failure

    def _timeouts_of(self, request: Request) -> aiohttp.ClientTimeout:
        usual = self._session.timeout
        if request.within is None or usual.sock_read is None or usual.sock_read < request.within:
            return usual
        return BRIEF


async def _trusted(tls: Tls, asked: Asked) -> ssl.SSLContext:
    asked.phase = "its certificates were not read yet"
    try:
        return await tls.context()
    except TlsUnusableError as error:
        problem = f"no TLS connection: {error}"
    raise CloudError(CloudCause.TLS, problem)
