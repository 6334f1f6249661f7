"""Events as they are recorded, as server-sent events.

Invariants:
- In the order of recording, none left out, none twice. Where a reader was cut off it goes on behind the last event that
  it has, by its id. An id that is not on record begins with the oldest: a receiver drops the ids it knows.
- A lost wake-up costs a pause, never an event: after each pause the store is asked again.
- A reader that takes nothing is cut off, and nothing waits for it.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from taskwatch.server.endpoint import Answer, Asked, Empty, Endpoint, Method, Parameters, endpoint
from taskwatch.server.parameters import Opaque, said
from taskwatch.server.problem import ProblemError
from taskwatch.server.records import Records
from taskwatch.server.site import Site
from taskwatch.store.reader import StoreReader
from taskwatch.store.rows import RecordedEvent

PATH: Final = "/api/v1/stream"
MOST: Final = 20  # streams at a time
BATCH: Final = 100  # events of one reading
PAUSE_SECONDS: Final = 15.0  # without an event, until a comment finds out whether somebody is there
TAKE_SECONDS: Final = 10.0  # for the reader to take what was written
CONTENT_TYPE: Final = "text/event-stream"
_LAST: Final = "Last-Event-ID"


class OfStream(Parameters):
    after: Opaque = said(f"begin behind this event, by its id; the header {_LAST} goes before it")


class Streams:
    """The streams of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open = 0

    async def stream(self, asked: Asked[OfStream, Empty]) -> web.StreamResponse:
        if self._open >= MOST:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MOST} streams are open, which is the most; close one, or ask again later",
                headers={"Retry-After": "30"},
            )
        self._open += 1
        try:
            return await self._tell(asked)
        finally:
            self._open -= 1

    async def _tell(self, asked: Asked[OfStream, Empty]) -> web.StreamResponse:
        request, records, gone = asked.request, self._site.records, self._site.gone
        last = request.headers.get(_LAST) or asked.parameters.after
        number = await records.read(lambda reader: _begin(reader, last))
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE, "X-Accel-Buffering": "no"})
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        following = asyncio.create_task(self._follow(records, response, number), name="stream")
        ending = asyncio.create_task(gone.wait(), name="end of stream")
        try:
            await asyncio.wait({following, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            ending.cancel()
            await asyncio.wait({following, ending})
        if not following.cancelled() and (error := following.exception()) is not None:
            self._note(error)
        await _end(request, response)
        return response

    async def _follow(self, records: Records, response: web.StreamResponse, number: int) -> None:
        """Write what was recorded after that number, for ever. Raises TimeoutError if the reader does not take it."""
        loop = asyncio.get_running_loop()
        await _write(response, b": events follow\n\n")
        due = loop.time() + PAUSE_SECONDS
        while True:
            word = self._site.word  # before the store is asked: what is recorded from here on is heard of
            batch = await records.read(_batch_after(number))
            for event in batch:
                await _write(response, _frame(event))
                number = event.number
                due = loop.time() + PAUSE_SECONDS
            if batch:
                continue
            try:
                async with asyncio.timeout_at(due):
                    await word.wait()
            except TimeoutError:
                await _write(response, b": nothing new\n\n")
                due = loop.time() + PAUSE_SECONDS

    def _note(self, error: BaseException) -> None:
        """Tell a mistake of ours; whoever reads has gone, is slow, or comes again: that is no news."""
        if not isinstance(error, ConnectionError | TimeoutError | ProblemError):
            self._site.log.error("stream_broken", exc_info=error)


def stream(site: Site) -> Endpoint:
    """Declare the stream."""
    return endpoint(
        Method.GET,
        PATH,
        Streams(site).stream,
        name="stream",
        summary=f"Follow the events as they are recorded; the header {_LAST} goes on behind an event",
        parameters=OfStream,
        body=Empty,
        answer=Answer(
            status=HTTPStatus.OK,
            description="server-sent events: id is the event's, event its type, data the event in one line",
            content_type=CONTENT_TYPE,
        ),
        clock=site.clock,
    )


def _begin(reader: StoreReader, last: str | None) -> int:
    """Return the number behind which to begin: that of the event, else that of what is recorded from now on."""
    return reader.last_number() if last is None else reader.number_of(last) or 0


def _batch_after(number: int) -> Callable[[StoreReader], list[RecordedEvent]]:
    return lambda reader: reader.events_after(number, limit=BATCH)


def _frame(event: RecordedEvent) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.encode(), event.body)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(TAKE_SECONDS):
        await response.write(data)


async def _end(request: web.Request, response: web.StreamResponse) -> None:
    """End the stream; whoever has not taken all of it is cut off: nothing waits for that, and it comes again."""
    transport = request.transport
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()
    else:
        await response.write_eof()
