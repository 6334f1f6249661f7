"""The stream of events: in their order, none lost, none twice; whoever was cut off goes on where he was."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from taskwatch.server import stream
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.commands import until
from tests.fakes.config_files import SMALLEST, loaded
from tests.fakes.records import PROD, StillClock, a_record, an_event, routed
from tests.fakes.served import PATIENCE, Seen, Served, section, served

TOLD: Final = "id: "


class Recorder:
    """A store, and a server that shows it."""

    def __init__(self, store: SqliteStore, server: Served) -> None:
        self.store = store
        self.server = server
        self.recorded: list[str] = []

    async def record(self, count: int, *, body: bytes | None = None, wakes: bool = True) -> None:
        state = await self.store.enrol(PROD, "prod")
        first = len(self.recorded) + 1
        ids = [f"tw_{number}" for number in range(first, first + count)]
        events = [routed(an_event(id_, subject=id_, body=body)) for id_ in ids]
        await self.store.commit(a_record(state, events=events))
        self.recorded += ids
        if wakes:
            self.server.server.wake()


@dataclass
class Reader:
    """What reads a stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    told: list[str] = field(default_factory=list)  # ids
    comments: list[str] = field(default_factory=list)

    async def head(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def block(self) -> dict[str, str]:
        """Read an event, or a comment; raises IncompleteReadError at the end."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            text = (await self.reader.readexactly(size + 2))[:-2].decode()
        if not size:
            raise asyncio.IncompleteReadError(b"", None)
        assert text.endswith("\n\n")
        if text.startswith(":"):
            self.comments.append(text.strip(": \n"))
            return {}
        fields = dict(line.split(": ", 1) for line in text[:-2].split("\n"))
        self.told.append(fields["id"])
        return fields

    async def until(self, count: int) -> None:
        while len(self.told) < count:
            await self.block()

    async def until_comment(self, count: int) -> None:
        while len(self.comments) < count:
            await self.block()

    async def until_end(self) -> None:
        try:
            while True:
                await self.block()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return


@asynccontextmanager
async def following(
    server: Served, *, query: str = "", headers: Mapping[str, str] | None = None, begins: bool = True
) -> AsyncIterator[Reader]:
    """Read a stream; it has begun when the block does."""
    reader, writer = await server.connect()
    sent = {"Host": "127.0.0.1", **(headers or {})}
    lines = [
        f"GET {stream.PATH}{query} HTTP/1.1",
        *(f"{name}: {text}" for name, text in sent.items()),
        "",
        "",
    ]
    writer.write("\r\n".join(lines).encode())
    found = Reader(reader, writer)
    try:
        if begins:
            head = await found.head()
            assert head.startswith("HTTP/1.1 200"), head
            assert "Content-Type: text/event-stream\r\n" in head
            await found.until_comment(1)
        yield found
    finally:
        writer.transport.abort()


@pytest.fixture
async def recorder(tmp_path: Path) -> AsyncIterator[Recorder]:
    store = open_store(tmp_path / "taskwatch.db", clock=StillClock())
    seen = Seen(path=tmp_path / "taskwatch.db", config=loaded(tmp_path, SMALLEST))
    async with served(section(), seen=seen) as server:
        yield Recorder(store, server)
    await store.close()


async def test_a_stream_begins_with_what_is_recorded_from_then_on(recorder: Recorder) -> None:
    await recorder.record(2)
    async with following(recorder.server) as reader:
        await recorder.record(1)
        fields = await reader.block()

    assert fields == {"id": "tw_3", "event": "taskwatch.task.started", "data": '{"id": "tw_3"}'}


@pytest.mark.parametrize("by", ["header", "query", "both"])
async def test_a_stream_goes_on_behind_the_event_that_is_named(recorder: Recorder, by: str) -> None:
    await recorder.record(5)
    headers = {"Last-Event-ID": "tw_3"} if by != "query" else {}
    query = {"header": "", "query": "?after=tw_3", "both": "?after=tw_1"}[by]  # who comes again sends both
    async with following(recorder.server, query=query, headers=headers) as reader:
        await reader.until(2)

    assert reader.told == ["tw_4", "tw_5"]


async def test_behind_an_event_that_is_not_on_record_comes_all_that_is(recorder: Recorder) -> None:
    await recorder.record(3)
    async with following(recorder.server, headers={"Last-Event-ID": "tw_of_another_store"}) as reader:
        await reader.until(3)

    assert reader.told == recorder.recorded


async def test_thousands_of_events_come_in_their_order_none_lost_and_none_twice(recorder: Recorder) -> None:
    async with following(recorder.server) as first:
        reading = asyncio.create_task(first.until(3_000))
        for _ in range(20):
            await recorder.record(75)
        async with following(recorder.server, query="?after=none") as second:
            also = asyncio.create_task(second.until(3_000))
            for _ in range(20):
                await recorder.record(75)
            await asyncio.gather(reading, also)

    assert first.told == recorder.recorded
    assert second.told == recorder.recorded


async def test_whoever_is_cut_off_again_and_again_gets_each_event_once(recorder: Recorder) -> None:
    await recorder.record(1)
    told = ["tw_1"]
    for _ in range(10):
        async with following(recorder.server, headers={"Last-Event-ID": told[-1]}) as reader:
            await recorder.record(30)
            await reader.until(7)
        told += reader.told[:7]

    assert told == recorder.recorded[:71]


async def test_a_word_that_is_lost_costs_a_pause_and_no_event(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PAUSE_SECONDS", 0.05)
    async with following(recorder.server) as reader:
        await recorder.record(2, wakes=False)
        await reader.until(2)

    assert reader.told == recorder.recorded


async def test_while_nothing_happens_comments_find_out_whether_somebody_is_there(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PAUSE_SECONDS", 0.05)
    async with following(recorder.server) as reader:
        waking = asyncio.create_task(wake_again_and_again(recorder))  # of which none brings an event
        await reader.until_comment(4)
        waking.cancel()

    assert reader.comments == ["events follow", *["nothing new"] * 3]


async def wake_again_and_again(recorder: Recorder) -> None:
    while True:
        recorder.server.server.wake()
        await asyncio.sleep(0.01)


async def test_a_reader_that_takes_nothing_is_cut_off_and_goes_on_later(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "TAKE_SECONDS", 0.1)
    url = urlsplit(recorder.server.server.url or "")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((url.hostname, url.port))
        slow.sendall(f"GET {stream.PATH}?after=none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await recorder.record(200, body=b'"%b"' % (b"x" * 50_000))
        slow.setblocking(False)
        async with following(
            recorder.server, query="?after=tw_199"
        ) as other:  # nobody waits for the slow one
            await other.until(1)
        await until(lambda: len(connections(recorder.server)) == 0, "the slow reader is cut off")
        got = await everything(slow)
    last = [line for line in got.split(b"\n") if line.startswith(b"id: ")][-1].decode().removeprefix(TOLD)

    assert last != "tw_200"
    async with following(recorder.server, headers={"Last-Event-ID": last}) as reader:
        await reader.until(200 - recorder.recorded.index(last) - 1)
    assert reader.told == recorder.recorded[recorder.recorded.index(last) + 1 :]


def connections(server: Served) -> list[Any]:
    listener = server.server._listener
    assert listener is not None
    assert listener._runner.server is not None
    return list(listener._runner.server.connections)


async def everything(slow: socket.socket) -> bytes:
    """Read what has arrived at a connection that was cut."""
    found = b""
    while True:
        try:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(slow, 65_536), PATIENCE)
        except ConnectionError:
            return found
        if not data:
            return found
        found += data


async def test_more_streams_than_the_most_are_refused_until_one_ends(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST", 2)
    async with following(recorder.server):
        async with following(recorder.server):
            refused = await recorder.server.ask(stream.PATH)
        assert refused.problem["detail"].startswith("2 streams are open, which is the most")
        assert refused.headers["retry-after"] == "30"
        await until(lambda: len(connections(recorder.server)) == 1, "the second one is gone")
        async with following(recorder.server):
            pass


async def test_streams_end_at_once_when_the_daemon_stops(recorder: Recorder) -> None:
    async with following(recorder.server) as reader:
        await recorder.server.server.hide()
        await reader.until_end()
        answer = await recorder.server.ask(stream.PATH)

    assert answer.problem["status"] == 503


async def test_a_head_of_the_stream_ends(recorder: Recorder) -> None:
    answer = await recorder.server.ask(stream.PATH, method="HEAD")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream"


async def test_what_goes_wrong_in_a_stream_is_logged_and_ends_it(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(stream, "_frame", broken)
    async with following(recorder.server) as reader:
        await recorder.record(1)
        await reader.until_end()

    assert len(recorder.server.said("stream_broken")) == 1


async def test_the_events_of_a_poll_are_told_as_they_are_to_a_webhook(recorder: Recorder) -> None:
    body = json.dumps({"id": "tw_1", "text": "one\ntwo\u2028three\u0085"}).encode()
    async with following(recorder.server) as reader:
        await recorder.record(1, body=body)
        fields = await reader.block()

    assert fields["data"].encode() == body


async def test_a_stream_goes_on_for_a_while_where_the_server_moves_to_another_address(
    recorder: Recorder, tmp_path: Path
) -> None:
    server = recorder.server.server
    async with following(recorder.server) as reader:
        server.adopt(section(f"unix:{tmp_path}/server.sock"))
        assert await server.adopted() is None
        assert server.url is None
        await recorder.record(3)
        await reader.until(3)

        assert reader.told == recorder.recorded
