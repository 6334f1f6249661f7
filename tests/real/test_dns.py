"""Names that cannot be looked up, under the real daemon: its own hosts file, and a name server that fails or is silent."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import yarl
from aiohttp import web

from tests.fakes.commands import until
from tests.fakes.host import need, need_root
from tests.fakes.tasks_endpoint import Exchange
from tests.fakes.watched import Watched, lines, watched

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

SERVER: Final = ("127.0.1.53", 53)
NAME: Final = "gauss.test"
A_WHILE: Final = 3.0  # seconds, in which polls are counted
BY_NAME, BY_ADDRESS = "0611f1bd8b00d5d32f17c017f15b599f", "by-address"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as place:
        yield place


@contextmanager
def silent_server() -> Iterator[None]:
    """Be a name server that takes each question and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(SERVER)
        yield


async def hang_up_by_name(exchange: Exchange) -> web.StreamResponse:
    """End what was connected while the name was known; serve the others."""
    if exchange.request.host.startswith(NAME) and exchange.request.transport is not None:
        exchange.request.transport.abort()
    return web.Response(body=exchange.body, content_type="application/json")


async def polls(place: Watched) -> Counter[str]:
    """Count the requests of a while, per project."""
    before = len(place.cloud.requests)
    await asyncio.sleep(A_WHILE)
    return Counter(request.path.split("/")[2] for request in place.cloud.requests[before:])


@pytest.mark.parametrize("server", ["absent", "silent"])
async def test_a_name_that_is_not_found_stops_no_other_project_and_is_found_again_by_itself(
    place: Watched, server: str
) -> None:
    need_root()
    need("unshare", "mount")
    hosts, servers = place.directory / "hosts", place.directory / "resolv.conf"
    servers.write_text(f"nameserver {SERVER[0]}\noptions timeout:2 attempts:1\n")
    hosts.write_text(f"127.0.0.1 {NAME}\n")
    place.begin("job")
    endpoint = place.cloud.url
    place.cloud.url = str(yarl.URL(endpoint).with_host(NAME))
    by_address = f'  - {{name: other, endpoint: "{endpoint}", project_id: {BY_ADDRESS}, interval: 100ms}}'
    place.configure(projects=by_address)
    mounts = f"mount --bind {hosts} /etc/hosts && mount --bind {servers} /etc/resolv.conf"
    with silent_server() if server == "silent" else socket.socket():
        async with place.daemon("unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh") as daemon:
            await until(lambda: len(place.sink.accepted) == 2, "both baselines", said=daemon.said)
            usual = await polls(place)
            assert min(usual[BY_NAME], usual[BY_ADDRESS]) > 0

            hosts.write_text("")
            place.cloud.always = hang_up_by_name
            place.end("job")
            async with asyncio.timeout(30):  # what was looked up is believed for ten seconds
                while (now := await polls(place))[BY_NAME]:
                    pass
            assert any(line["event"] == "project_unreadable" for line in lines(daemon))
            assert now[BY_ADDRESS] > usual[BY_ADDRESS] / 2, "the other project waits with it"

            place.cloud.always = None
            hosts.write_text(f"127.0.0.1 {NAME}\n")
            await until(
                lambda: any(post.event["subject"] == "job" for post in place.sink.accepted),
                "the failure",
                said=daemon.said,
            )
