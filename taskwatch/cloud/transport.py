"""One exchange with a host of the cloud: bounded, never redirected, told in our own words when it fails.

Invariants:
- What authenticates a request goes to the host it was meant for only: redirects are refused, proxies
  of the environment ignored.
- No error holds aiohttp's own: those hold the request with its headers.
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
from taskwatch.cloud.errors import Asked, broken, refusal

_KEEPALIVE_SECONDS: Final = 300.0  # longer than intervals are: a poll opens no connection
_MAX_HEADER: Final = 64 * 1024  # tokens come in headers and can be longer than 8 KB
_MAX_CONNECTIONS: Final = 512  # one a project in flight; below the usual limit of open files
_NO_HEADERS: Final[Mapping[str, str]] = {}

Session = aiohttp.ClientSession


def open_session() -> Session:
    """Open the connections that all projects share. It waits for nothing by itself: polls have deadlines."""
    connector = aiohttp.TCPConnector(
        # Named, for aiohttp takes another one where aiodns is installed, and that ignores nsswitch.
        resolver=aiohttp.ThreadedResolver(),
        keepalive_timeout=_KEEPALIVE_SECONDS,
        limit=_MAX_CONNECTIONS,
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={
            hdrs.ACCEPT: "application/json",
            hdrs.ACCEPT_ENCODING: "identity",  # inflating costs more than the bytes it saves
            hdrs.USER_AGENT: f"taskwatch/{taskwatch.__version__}",
        },
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
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
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    body: bytes | None = None
    expected: int = 200  # the one status that is no refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer with the expected status, its body read and inflated."""

    body: bytes
    headers: Mapping[str, str]  # names in any case

    @property
    def date(self) -> str | None:
        return self.headers.get(hdrs.DATE)


class Transport:
    """How the hosts of a cloud are reached: over which connections, trusting whom, through which proxy."""

    def __init__(
        self, *, session: Session, tls: ssl.SSLContext | bool = True, proxy: URL | None = None
    ) -> None:
        self._session = session
        self._tls = tls
        self._proxy = proxy

    async def send(self, request: Request, headers: Mapping[str, str], asked: Asked) -> Answer:
        """Send the request with these further headers. Raises CloudError for any other status than the expected.

        It ends with the deadline of its caller.
        """
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers={**request.headers, **headers},
                data=request.body,
                allow_redirects=False,
                ssl=self._tls,
                proxy=self._proxy,
            ) as response:
                if response.status == request.expected:
                    return Answer(body=await read_page(response, asked), headers=response.headers)
                failure = refusal(asked, response.status, response.headers, await read_refusal(response))
        except (aiohttp.ClientError, OSError) as error:
            failure = broken(asked, error)
        # Raised out here, and so without a context: aiohttp's errors hold the request's headers.
        raise failure
