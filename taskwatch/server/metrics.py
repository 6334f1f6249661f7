"""What Prometheus reads: `/metrics`, of one moment.

- What the daemon knows is looked up on the loop, and is quickly done. The store is read beside it, once for each
  answer and for a bounded time; where that fails, the answer says so and has the rest.
- The text is written in a thread. Its library is imported when it is asked for first.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from taskwatch.server.families import families
from taskwatch.server.problem import ProblemError
from taskwatch.server.site import Site
from taskwatch.store.counts import Counts

if TYPE_CHECKING:
    from taskwatch.server.exposition import Exposition

PATH: Final = "/metrics"
STORE_SECONDS: Final = 4.0  # that an answer waits for the store: Prometheus gives up after 10
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def routes(site: Site) -> list[web.RouteDef]:
    metrics = _Metrics(site)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=await metrics.text(), headers={"Content-Type": _TYPE})

    return [web.get(PATH, answer)]


class _Metrics:
    """The metrics of one site; who asks while an answer is written waits for it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._turn = asyncio.Lock()
        self._exposition: Exposition | None = None
        self._reading: asyncio.Task[Counts | None] | None = None

    async def text(self) -> bytes:
        async with self._turn:
            if self._exposition is None:
                self._exposition = await asyncio.to_thread(_opened)
            counts = await self._counts()
            shown = families(self._site.observed, counts, now=self._site.clock.now())
            return await asyncio.to_thread(self._exposition.text, shown)

    async def _counts(self) -> Counts | None:
        """Return what the store says, if it does in time. A reading that takes longer is ended by the records."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="read for metrics")
            self._reading.add_done_callback(self._ended)
        reading = self._reading
        await asyncio.wait({reading}, timeout=STORE_SECONDS)
        return reading.result() if reading.done() and not reading.cancelled() else None

    async def _read(self) -> Counts | None:
        now = self._site.clock.now()
        try:
            return await self._site.records.read(lambda reader: reader.counts(now=now))
        except ProblemError:
            return None

    def _ended(self, _: object) -> None:
        self._reading = None


def _opened() -> "Exposition":
    from taskwatch.server.exposition import Exposition  # noqa: PLC0415 - it takes a tenth of a second

    return Exposition()
