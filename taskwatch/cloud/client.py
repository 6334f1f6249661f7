"""The client of `GET /v3/{project_id}/tasks`.

Invariants:
- The token goes to the configured host only: redirects are refused, proxies of the environment ignored.
- Every wait ends with the deadline of the poll, every body and the number of pages has a bound.
- A page that fails says nothing; the pages before it still count.
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import aiohttp
from aiohttp import hdrs
from yarl import URL

import taskwatch
from taskwatch.cloud.auth import Login
from taskwatch.cloud.body import read_page, read_refusal
from taskwatch.cloud.errors import Asked, broken, refusal, too_late
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.reading import LIMIT, MAX_PAGES, Reading
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.project import Digests, Listing

_OK: Final = 200
_KEEPALIVE_SECONDS: Final = 300.0  # longer than intervals are: a poll opens no connection
_MAX_HEADER: Final = 64 * 1024  # tokens come in headers and can be longer than 8 KB
_MAX_CONNECTIONS: Final = 512  # one a project in flight; below the usual limit of open files


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


class TasksClient:
    """Reads the task list of one project. Never two polls of it at once."""

    def __init__(
        self,
        *,
        session: Session,
        endpoint: str,
        project_id: str,
        login: Login,
        limiter: Limiter,
        timeout: float,
    ) -> None:
        self._session = session
        self._login = login
        self._limiter = limiter
        self._timeout = timeout  # seconds, of one whole poll
        self._path = f"{endpoint.rstrip('/')}/v3/{quote(project_id, safe='')}/tasks"
        self._urls: dict[int, URL] = {}  # by offset: few, and dear to build
        self._headers: Mapping[str, str] | None = None
        self._asked = Asked(host=_host_of(endpoint), credential=str(login))

    async def fetch(self, known: Digests | None) -> Listing:
        """Read the whole list once, as the port TaskSource promises."""
        reading = Reading(known, self._asked)
        failure = None
        # Its turn is not the cloud's time: the deadline begins with the first request.
        await self._limiter.acquire()
        try:
            async with asyncio.timeout(self._timeout):
                await self._read_pages(reading)
        except CloudError as error:
            failure = error
        except TimeoutError:
            failure = too_late(self._asked, self._timeout)
        if failure is not None and not reading.has_pages():
            raise failure
        return reading.listing(failure)

    async def _read_pages(self, reading: Reading) -> None:
        while (offset := reading.next_offset) is not None:
            reading.add(await self._page(offset, reading))

    async def _page(self, offset: int, reading: Reading) -> bytes:
        url = self._url(offset)
        headers = self._current_headers()
        try:
            return await self._get(url, headers, reading)
        except CloudError as error:
            if error.cause is not CloudCause.LOGIN:
                raise
            renewed = self._current_headers()
            if renewed is headers:
                raise
        # The token was rotated since: once more, and only once, with the new one.
        return await self._get(url, renewed, reading)

    async def _get(self, url: URL, headers: Mapping[str, str], reading: Reading) -> bytes:
        if reading.requests:
            await self._limiter.acquire(first=True)
        reading.requests += 1
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                reading.date = reading.date or response.headers.get(hdrs.DATE)
                if response.status == _OK:
                    return await read_page(response, self._asked)
                failure = refusal(
                    self._asked, response.status, response.headers, await read_refusal(response)
                )
        except (aiohttp.ClientError, OSError) as error:
            failure = broken(self._asked, error)
        if failure.cause is CloudCause.THROTTLED:
            self._limiter.pause(failure.retry_after)
        # Raised out here, and so without a context: aiohttp's errors hold the request's headers.
        raise failure

    def _url(self, offset: int) -> URL:
        url = self._urls.get(offset)
        if url is None:
            if len(self._urls) >= MAX_PAGES:
                self._urls.clear()  # a service that ignores the limit of a page can make offsets without end
            url = self._urls[offset] = URL(f"{self._path}?offset={offset}&limit={LIMIT}", encoded=True)
        return url

    def _current_headers(self) -> Mapping[str, str]:
        headers = self._login.headers()
        if headers is not self._headers:
            self._headers = headers
            self._asked.secrets = tuple(headers.values())
        return headers


def _host_of(endpoint: str) -> str:
    url = URL(endpoint)
    return url.host_port_subcomponent or "the endpoint"
