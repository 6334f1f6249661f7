"""The client of `GET /v3/{project_id}/tasks`.

Invariants:
- Every wait ends with the deadline of the poll, every body and the number of pages has a bound.
- A page that fails says nothing; the pages before it still count.
"""

import asyncio
from urllib.parse import quote

from yarl import URL

from taskwatch.cloud.caller import Caller
from taskwatch.cloud.errors import too_late
from taskwatch.cloud.reading import LIMIT, MAX_PAGES, Reading
from taskwatch.errors import CloudError
from taskwatch.model.project import Digests, Listing


class TasksClient:
    """Reads the task list of one project. Never two polls of it at once."""

    def __init__(self, *, caller: Caller, endpoint: str, project_id: str, timeout: float) -> None:
        self._caller = caller
        self._timeout = timeout  # seconds, of one whole poll
        self._path = f"{endpoint.rstrip('/')}/v3/{quote(project_id, safe='')}/tasks"
        self._urls: dict[int, URL] = {}  # by offset: few, and dear to build

    async def fetch(self, known: Digests | None) -> Listing:
        """Read the whole list once, as the port TaskSource promises."""
        reading = Reading(known, self._caller.asked)
        before = self._caller.requests
        failure = None
        # Its turn is not the cloud's time: the deadline begins with the first request.
        await self._caller.turn()
        try:
            async with asyncio.timeout(self._timeout):
                await self._read_pages(reading)
        except CloudError as error:
            failure = error
        except TimeoutError:
            failure = too_late(self._caller.asked, self._timeout)
        reading.requests = self._caller.requests - before
        if failure is not None and not reading.has_pages():
            raise failure
        return reading.listing(failure)

    async def _read_pages(self, reading: Reading) -> None:
        while (offset := reading.next_offset) is not None:
            answer = await self._caller.get(self._url(offset))
            reading.date = reading.date or answer.date
            reading.add(answer.body)

    def _url(self, offset: int) -> URL:
        url = self._urls.get(offset)
        if url is None:
            if len(self._urls) >= MAX_PAGES:
                self._urls.clear()  # a service that ignores the limit of a page can make offsets without end
            url = self._urls[offset] = URL(f"{self._path}?offset={offset}&limit={LIMIT}", encoded=True)
        return url
