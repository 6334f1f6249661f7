"""taskwatch's own tests of every notifier, run against a Redis that knows as much as is needed here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from taskwatch.notifier_api import Notifier
from taskwatch.notifier_contract import CANARY, NotifierContract, OtherSide

from taskwatch_redis import RedisNotifier, RedisOptions


class FakeRedis:
    """Takes AUTH, PING and XADD."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.refuses = False
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while count := await reader.readline():
            words = []
            for _ in range(int(count[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2].decode())
            writer.write(self.answer(words).encode())
        writer.close()

    def answer(self, words: list[str]) -> str:
        if self.refuses:
            return f"-ERR unknown command, with args beginning with: {' '.join(words)}\r\n"
        if words[0] != "XADD":
            return "+OK\r\n"
        self.events.append(words[-1])
        return "$15\r\n1526919030474-0\r\n"

    def refuse(self) -> None:
        self.refuses = True


@asynccontextmanager
async def fake_redis() -> AsyncIterator[FakeRedis]:
    redis = FakeRedis()
    async with await asyncio.start_server(redis.serve, "127.0.0.1", 0) as server:
        redis.port = server.sockets[0].getsockname()[1]
        yield redis


class TestRedis(NotifierContract):
    @asynccontextmanager
    async def other_side(self) -> AsyncIterator[OtherSide]:
        async with fake_redis() as redis:
            yield OtherSide(
                open=partial(_opened, redis),
                heard=lambda: redis.events,
                refuse=redis.refuse,
                vanish=partial(setattr, redis, "port", 1),
            )


def _opened(redis: FakeRedis) -> Notifier:
    keys = {"name": "stream", "type": "redis", "port": redis.port, "password": f"{CANARY}-password"}
    return RedisNotifier(RedisOptions.model_validate(keys))
