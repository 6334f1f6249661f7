"""The client of `GET /v3/{project_id}/tasks`, and of `GET /v3/{project_id}/jobs` for single tasks.

Invariants:
- Every wait ends with the deadline of the poll, every body and the number of pages has a bound.
- A page that fails says nothing; the pages before it still count.
- What `offset` was found to mean is a hint for the next reading, kept by a complete one only.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from yarl import URL

from taskwatch.cloud.caller import Caller
from taskwatch.cloud.decode import decode_page, parse_date
from taskwatch.cloud.errors import too_late
from taskwatch.cloud.paging import Numbering, Paging
from taskwatch.cloud.plans import Recent, Whole
from taskwatch.cloud.reading import Reading
from taskwatch.engine.ports import Ask
from taskwatch.errors import CloudError
from taskwatch.model.project import Listing


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What one page shows."""

    tasks: int  # on the whole list, as far as the cloud says
    cloud_date: datetime | None


_URLS = 16  # the few that a project asks for again and again are dear to build


class TasksClient:
    """Reads the task list of one project. Never two polls of it at once."""

    def __init__(
        self,
        *,
        caller: Caller,
        endpoint: str,
        project_id: str,
        timeout: float,
        numbering: Numbering = Numbering.AUTO,
    ) -> None:
        self._caller = caller
        self._timeout = timeout  # seconds, of one whole poll
        self._base = f"{endpoint.rstrip('/')}/v3/{quote(project_id, safe='')}/"
        self._urls: dict[str, URL] = {}  # by place
        self._numbering = numbering
        self._hint = Numbering.AUTO
        self.manner: Hashable = (self._base, numbering)

    async def fetch(self, ask: Ask) -> Listing:
        """Read what is asked once, as the port TaskSource promises."""
        plan: Whole | Recent
        question: Hashable
        if ask.since is None:
            plan = Whole(numbering=self._numbering, hint=self._hint, sought=ask.open_tasks, checks=ask.checks)
            question = self._numbering
        else:
            plan = Recent(ask.since, ask.open_tasks, numbering=self._numbering, hint=self._hint)
            question = (self._numbering, ask.since, ask.open_tasks)
        reading = Reading(plan, question, ask.known, self._caller.asked)
        listing = await self._read(reading)
        if isinstance(plan, Whole) and plan.is_over and plan.list.pages > 1:
            self._hint = plan.list.numbering if plan.failure is None else Numbering.AUTO
        return listing

    async def glance(self) -> Glance:
        """Read one page, to see whether the list can be read. Raises CloudError."""
        await self._caller.turn()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._first_page()
        except TimeoutError:
            pass
        raise too_late(self._caller.asked, self._timeout)

    async def _first_page(self) -> Glance:
        reads = Paging(configured=self._numbering).read_first()
        place = next(reads)
        while True:
            try:
                answer = await self._caller.get(self._url(place), within=self._timeout)
                page = decode_page(answer.body, self._caller.asked)
            except CloudError as error:
                place = reads.throw(error)  # another place to begin at, or the error
                continue
            return Glance(
                tasks=max(page.size, page.total_count or 0),
                cloud_date=parse_date(answer.date),
            )

    async def _read(self, reading: Reading) -> Listing:
        before = self._caller.requests
        failure = None
        # Its turn is not the cloud's time: the deadline begins with the first request.
        await self._caller.turn()
        try:
            async with asyncio.timeout(self._timeout):
                while (place := reading.place) is not None:
                    try:
                        answer = await self._caller.get(self._url(place), within=self._timeout)
                        reading.add(place, answer.body, answer.date)
                    except CloudError as error:
                        reading.refuse(place, error)
        except CloudError as error:
            failure = error
        except TimeoutError:
            failure = too_late(self._caller.asked, self._timeout)
        reading.requests = self._caller.requests - before
        if failure is not None and not reading.number:
            raise failure
        return reading.listing(failure)

    def _url(self, place: str) -> URL:
        url = self._urls.get(place)
        if url is None:
            if len(self._urls) >= _URLS:
                self._urls.clear()
            url = self._urls[place] = URL(self._base + place, encoded=True)
        return url
