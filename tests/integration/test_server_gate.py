"""Who may ask the server, and what strangers can make of it: refused or bounded, and said in words."""

import asyncio
import base64
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from taskwatch.clock import SystemClock
from taskwatch.server.listener import IDLE_SECONDS, MAX_CONNECTIONS
from taskwatch.server.server import Server
from tests.fakes.builders import captured_log
from tests.fakes.inline_writer import Disk
from tests.fakes.leaping_time import in_leaping_time, leaping_clock, living
from tests.fakes.scene import Scene
from tests.fakes.served import Seen, read_answer, section, served
from tests.fakes.tasks_endpoint import Exchange, TasksEndpoint
from tests.fakes.webhook_sink import WebhookSink

TOKEN = "canary-token-2f1e"
NOWHERE = "/nothing/is/here"  # where nothing is served: 404 says that the gate was passed
EVENTS = {"Content-Type": "application/json"}


def bearer(token: str) -> dict[str, str | None]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, password: str) -> dict[str, str | None]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


OPEN = section()
NAMED = section(hosts=["tw.example"], external_url="https://status.example/tw")
GUARDED = section(token=TOKEN)

# Of which server, what is asked → the status.
REQUESTS: list[tuple[str, Mapping[str, str | None], str, int]] = [
    ("open", {}, "GET", 404),
    ("open", {"Host": "127.0.0.1:9720"}, "GET", 404),
    ("open", {"Host": "[::1]:9720"}, "GET", 404),
    ("open", {"Host": "localhost"}, "GET", 404),
    ("open", {"Host": "10.0.0.7"}, "GET", 404),  # an address is nothing that could be made to lead here
    ("open", {"Host": "evil.example"}, "GET", 421),
    ("open", {"Host": "127.0.0.1.evil.example"}, "GET", 421),
    ("open", {"Host": "localhost.evil.example:9720"}, "GET", 421),
    ("open", {"Host": ""}, "GET", 421),
    ("open", {"Host": "evil@127.0.0.1"}, "GET", 421),
    ("open", {"Host": "evil.example:x@127.0.0.1:9720"}, "GET", 421),
    ("open", {"Host": "127.0.0.1/evil.example"}, "GET", 421),
    ("open", {"Host": "[::1]evil.example"}, "GET", 421),
    ("open", {"Host": "127.0.0.1:x"}, "GET", 421),
    ("open", {"Host": None}, "GET", 400),
    ("open", {"Host": "[::1"}, "GET", 421),
    ("open", {"Host": "tw.example"}, "GET", 421),
    ("named", {"Host": "tw.example"}, "GET", 404),
    ("named", {"Host": "TW.example:443"}, "GET", 404),
    ("named", {"Host": "status.example"}, "GET", 404),
    ("open", {}, "POST", 403),  # changes without a token
    ("open", {}, "DELETE", 403),
    ("open", {}, "PUT", 403),
    ("open", {"X-HTTP-Method-Override": "POST"}, "GET", 404),
    ("guarded", {}, "GET", 401),
    ("guarded", {}, "POST", 401),
    ("guarded", {"Host": "evil.example"} | bearer(TOKEN), "GET", 421),
    ("guarded", bearer(TOKEN), "GET", 404),
    ("guarded", {"Authorization": f"bearer  {TOKEN}"}, "GET", 404),
    ("guarded", bearer(TOKEN[:-1]), "GET", 401),
    ("guarded", bearer(TOKEN + "x"), "GET", 401),
    ("guarded", bearer(""), "GET", 401),
    ("guarded", {"Authorization": TOKEN}, "GET", 401),
    ("guarded", {"Authorization": "Bearer \xff\xfe"}, "GET", 401),
    ("guarded", basic("anybody", TOKEN), "GET", 404),
    ("guarded", basic(TOKEN, ""), "GET", 401),
    ("guarded", {"Authorization": "Basic not*base64"}, "GET", 401),
    ("guarded", bearer(TOKEN), "POST", 404),
    ("guarded", bearer(TOKEN) | {"Origin": "http://127.0.0.1"}, "POST", 404),
    ("guarded", bearer(TOKEN) | {"Origin": "https://evil.example"}, "POST", 403),
    ("guarded", bearer(TOKEN) | {"Origin": "null"}, "POST", 403),
    ("guarded", basic("x", TOKEN) | {"Origin": "http://127.0.0.1:81"}, "DELETE", 403),
    ("guarded", bearer(TOKEN) | {"Origin": "http://[x"}, "POST", 403),
    ("guarded", basic("x", TOKEN) | {"Sec-Fetch-Site": "cross-site"}, "POST", 403),
    ("guarded", basic("x", TOKEN) | {"Sec-Fetch-Site": "same-site"}, "POST", 403),
    ("guarded", basic("x", TOKEN) | {"Sec-Fetch-Site": "same-origin"}, "POST", 404),
]
SERVERS = {"open": OPEN, "named": NAMED, "guarded": GUARDED}


@pytest.mark.parametrize(("of", "headers", "method", "status"), REQUESTS)
async def test_a_request_is_let_in_or_refused(
    of: str, headers: Mapping[str, str | None], method: str, status: int
) -> None:
    async with served(SERVERS[of]) as server:
        answer = await server.ask(NOWHERE, method=method, headers=headers)

    assert answer.problem["status"] == status
    assert TOKEN not in answer.text
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("of", SERVERS)
@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
async def test_health_is_told_to_everybody_under_any_name(of: str, path: str) -> None:
    async with served(SERVERS[of], seen=Seen()) as server:
        answer = await server.ask(path, headers={"Host": "10-0-0-7.pod.cluster.local"})

    assert (answer.status, answer.text) == (200, path.removeprefix("/-/") + "\n")


async def test_a_behind_a_proxy_the_external_url_is_an_origin_of_ours() -> None:
    of = section(token=TOKEN, external_url="https://status.example")
    async with served(of) as server:
        headers = bearer(TOKEN) | {"Origin": "https://status.example"}
        assert (await server.ask(NOWHERE, method="POST", headers=headers)).status == 404


async def test_every_answer_forbids_what_a_browser_could_do_with_it() -> None:
    async with served(OPEN, seen=Seen()) as server:
        for path in ("/-/healthy", NOWHERE):
            headers = (await server.ask(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "access-control-allow-origin" not in headers
            assert headers["server"] == "taskwatch"


async def test_a_token_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "server.token"
    file.write_text("first\n")
    async with served(section(token={"file": str(file)})) as server:
        assert (await server.ask(NOWHERE, headers=bearer("first"))).status == 404
        file.write_text("second\n")
        assert (await server.ask(NOWHERE, headers=bearer("first"))).status == 401
        assert (await server.ask(NOWHERE, headers=bearer("second"))).status == 404
        file.unlink()
        refused = await server.ask(NOWHERE, headers=bearer("second"))

        await server.ask(NOWHERE, headers=bearer("second"))
        (line,) = server.said("server_token_unreadable")

    assert refused.status == 503
    assert str(tmp_path) not in refused.text
    assert str(file) in line["error"]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory that everybody may enter."""
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(0o711)
    return tmp_path


async def test_a_token_that_everybody_can_read_is_not_taken_and_the_one_before_stays(shared: Path) -> None:
    file = shared / "server.token"
    file.touch(0o600)
    file.write_text("first")
    async with served(section(token={"file": str(file)})) as server:
        file.chmod(0o644)
        file.write_text("second")
        for _ in range(2):
            assert (await server.ask(NOWHERE, headers=bearer("first"))).status == 404
            assert (await server.ask(NOWHERE, headers=bearer("second"))).status == 401
        (line,) = server.said("server_token_exposed")
        file.chmod(0o600)
        assert (await server.ask(NOWHERE, headers=bearer("first"))).status == 401
        assert (await server.ask(NOWHERE, headers=bearer("second"))).status == 404
        file.chmod(0o644)
        await server.ask(NOWHERE)
        assert len(server.said("server_token_exposed")) == 2

    assert "everybody on this machine can read" in line["error"]
    assert line["remedy"] == "until then the one before is asked for"


async def test_where_no_token_was_fit_to_be_used_nobody_is_let_in(shared: Path) -> None:
    file = shared / "server.token"
    file.write_text("exposed")
    file.chmod(0o644)
    async with served(section(token={"file": str(file)})) as server:
        assert (await server.ask(NOWHERE, headers=bearer("exposed"))).status == 503
        (line,) = server.said("server_token_exposed")

    assert line["remedy"] == "until then nobody is let in"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"\r\n\r\nGARBAGE\r\n\r\n",
    ],
    ids=["header", "line", "headers", "lengths", "tls", "garbage"],
)
async def test_what_is_no_request_within_bounds_is_a_problem_and_the_end(data: bytes) -> None:
    async with served(OPEN) as server:
        answer = await server.send(data)

        assert answer.problem["status"] == 400
        assert "GARBAGE" not in answer.text
        assert (await server.ask(NOWHERE)).status == 404
        assert not server.said("answer_broken")


async def test_what_expects_something_else_than_to_go_on_is_a_problem() -> None:
    async with served(OPEN) as server:
        answer = await server.ask(NOWHERE, headers={"Expect": "miracles"})

        assert answer.problem["status"] == 417
        assert "miracles" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"


@in_leaping_time
async def test_a_connection_that_asks_nothing_is_closed() -> None:
    async with served(OPEN) as server:
        connections = [await server.connect() for _ in range(2)]
        connections[1][1].write(b"GET / HTTP/1.1\r\nHost: 127.")  # and never more
        began = asyncio.get_running_loop().time()
        for reader, writer in connections:
            assert await reader.read() == b""
            writer.close()

        assert asyncio.get_running_loop().time() - began <= 2 * IDLE_SECONDS


@in_leaping_time
async def test_of_connections_that_ask_nothing_the_oldest_make_place() -> None:
    async with served(OPEN) as server:
        held = [await server.connect() for _ in range(200)]
        assert (await server.ask(NOWHERE)).status == 404
        assert [await reader.read() for reader, _ in held[:100]] == [b""] * 100
        for _, writer in held:
            writer.close()


@in_leaping_time
async def test_where_all_connections_ask_for_something_the_next_are_told_to_come_again() -> None:
    head = f"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    async with served(GUARDED) as server:
        held = [await server.connect() for _ in range(MAX_CONNECTIONS)]
        for _, writer in held:
            writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n".encode())
        await asyncio.sleep(0.1)
        assert (await server.ask(NOWHERE)).problem["status"] == 503
        for _, writer in held:
            writer.close()
        await asyncio.sleep(1)
        assert (await server.ask(NOWHERE, headers=bearer(TOKEN))).status == 404


async def test_a_body_that_is_too_large_is_not_waited_for() -> None:
    async with served(GUARDED) as server:
        headers = bearer(TOKEN) | {"Content-Length": "99999999", "Content-Type": "application/json"}
        answer = await server.ask("/-/reload", method="POST", headers=headers)
    assert answer.problem["status"] == 413


@in_leaping_time
async def test_polls_go_on_beside_strangers_who_take_every_connection(tmp_path: Path) -> None:
    """One virtual hour at the usual interval; what the strangers do changes neither the number of polls nor their times."""
    alone, beset = [await moments_of_polls(tmp_path, strangers=strangers) for strangers in (0, 200)]

    assert len(alone) > 50
    assert beset == alone


async def moments_of_polls(directory: Path, *, strangers: int) -> list[float]:
    """Return when a project was polled, in seconds since the first."""
    clock = leaping_clock()
    moments: list[float] = []

    async def note(exchange: Exchange) -> web.StreamResponse:
        moments.append(clock.monotonic())
        return web.Response(body=exchange.body, content_type="application/json")

    async with TasksEndpoint() as cloud, WebhookSink() as sink, served(OPEN, clock=clock) as server:
        scene = Scene(directory, cloud, sink, interval="60s")
        scene.write()
        cloud.always = note
        async with living(scene, Disk(), server=server.server):
            held = [await server.connect() for _ in range(strangers)]
            for number, (_, writer) in enumerate(held):
                writer.write(b"GET /-/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"[: number % 50])
            await asyncio.sleep(3600)
        for _, writer in held:
            writer.close()
    return [round(moment - moments[0], 1) for moment in moments]


# Over a Unix socket.


async def test_over_a_socket_the_daemons_own_user_needs_no_token_to_change_things(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    async with served(section(f"unix:{path}", token=TOKEN)) as server:
        answer = await server.ask(NOWHERE, method="POST", headers={"Host": "whatever"})
        assert path.stat().st_mode & 0o777 == 0o660

    assert answer.status == 404
    assert not path.exists()


@pytest.mark.parametrize("header", ["Forwarded", "x-forwarded-for", "Via"])
async def test_over_a_socket_a_proxy_is_asked_for_the_token_whoever_it_runs_as(
    tmp_path: Path, header: str
) -> None:
    async with served(section(f"unix:{tmp_path}/server.sock", token=TOKEN)) as server:
        assert (await server.ask(NOWHERE, headers={header: "for=192.0.2.1"})).status == 401
        assert (await server.ask(NOWHERE, headers={header: "for=192.0.2.1"} | bearer(TOKEN))).status == 404


@in_leaping_time
async def test_over_a_socket_those_who_take_no_answers_make_place_for_others(tmp_path: Path) -> None:
    asked = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000
    async with served(section(f"unix:{tmp_path}/server.sock")) as server:
        deaf = [await server.connect() for _ in range(MAX_CONNECTIONS)]
        for reader, writer in deaf:
            reader.set_exception(ConnectionError("it does not listen"))
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a stream
            writer.write(asked)
        await asyncio.sleep(5 * IDLE_SECONDS)
        assert (await server.ask(NOWHERE)).status == 404
        for _, writer in deaf:
            writer.transport.abort()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_over_a_socket_another_user_reads_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(0o711)
    async with served(section(f"unix:{path}")) as server:
        path.chmod(0o666)
        seen = [await as_nobody(path, f"{method} {NOWHERE} HTTP/1.1\r\n") for method in ("GET", "POST")]
        assert (await server.ask(NOWHERE, method="POST")).status == 404

    assert [answer.status for answer in map(read_answer, seen)] == [404, 403]


async def as_nobody(path: Path, request: str) -> bytes:
    program = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.settimeout(30); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode());"
        "sys.stdout.buffer.write(s.makefile('rb').read())"
    )
    rest = "Host: x\r\nConnection: close\r\n\r\n"
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", "-c", program, str(path), request + rest, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out


async def test_a_socket_that_a_dead_daemon_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with served(section(f"unix:{path}")) as server:
        assert (await server.ask(NOWHERE)).status == 404


# Where it listens.


@in_leaping_time
async def test_an_address_that_somebody_has_is_told_once_and_taken_when_it_is_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(first_answer(f"127.0.0.1:{port}"))
            await asyncio.sleep(30)
            assert not serving.done()
            other.close()
    log, status = serving.result()

    assert status == 404
    assert [line["event"] for line in log] == ["server_not_listening", "server_listening"]
    assert log[0]["listen"] == f"127.0.0.1:{port}"


async def first_answer(listen: str) -> tuple[list[dict[str, str]], int]:
    async with served(section(listen)) as server:
        return list(server.log), (await server.ask(NOWHERE)).status


@pytest.mark.parametrize("kind", ["file", "alive"])
async def test_what_is_not_a_forsaken_socket_is_not_taken_away(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX) as other:
        if kind == "alive":
            other.bind(str(path))
            other.listen()
        else:
            path.write_text("kept")
        log, lines = captured_log()
        server = Server(section(f"unix:{path}"), clock=SystemClock(), log=log)
        running = asyncio.create_task(server.run())
        async with asyncio.timeout(30):
            while not lines:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})

        assert [line["event"] for line in lines] == ["server_not_listening"]
        assert path.exists()


async def test_a_reload_moves_the_server_to_another_address(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    async with served(OPEN, seen=Seen()) as server:
        server.server.adopt(section(f"unix:{path}"))
        async with asyncio.timeout(30):
            while len(server.said("server_listening")) < 2:
                await asyncio.sleep(0.01)
        assert server.server.url is None
        server.section = section(f"unix:{path}")
        assert (await server.ask("/-/ready")).status == 200


async def test_a_server_that_is_switched_off_lets_go_of_its_address() -> None:
    async with served(OPEN) as server:
        server.server.adopt(section("off"))
        async with asyncio.timeout(30):
            while server.server.url is not None:
                await asyncio.sleep(0.01)


@contextmanager
def taken_address() -> Iterator[str]:
    """Yield an address that somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


@in_leaping_time
async def test_where_the_new_address_cannot_be_had_the_old_one_goes_on_as_it_was_until_it_can() -> None:
    """Also the token: the new, narrower section has none, and the old address is not let go."""
    async with served(GUARDED, seen=Seen()) as server:
        with taken_address() as address:
            server.server.adopt(moved := section(address))
            said = await server.server.adopted()
            assert (await server.ask(NOWHERE)).status == 401
            assert (await server.ask(NOWHERE, headers=bearer(TOKEN))).status == 404
            assert server.server.misplaced == said
            await asyncio.sleep(60)
            (line,) = server.said("server_not_listening")
        async with asyncio.timeout(60):
            while server.server.misplaced is not None:
                await asyncio.sleep(1)
        assert server.server.url == f"http://{moved.listen}"
        assert (await server.ask(NOWHERE)).status == 404

    assert (
        said
        == f"the server cannot listen at {address} (Address already in use); it is served at 127.0.0.1:0, as before"
    )
    assert (line["listen"], line["remains"]) == (address, "it is served at 127.0.0.1:0, as before")


@in_leaping_time
async def test_what_cannot_be_had_is_forgotten_with_the_reload_that_takes_it_back() -> None:
    async with served(OPEN, seen=Seen()) as server:
        with taken_address() as address:
            server.server.adopt(section(address))
            assert await server.server.adopted() is not None
            server.server.adopt(section(token=TOKEN))
            assert await server.server.adopted() is None

            assert server.server.misplaced is None
            assert (await server.ask(NOWHERE)).status == 401


WIDER = [
    ("127.0.0.1", "0.0.0.0"),  # noqa: S104
    ("0.0.0.0", "127.0.0.1"),  # noqa: S104
    ("127.0.0.1", "[::]"),
    ("localhost", "127.0.0.1"),
]


@pytest.mark.parametrize(("old", "new"), WIDER)
async def test_an_address_that_is_a_part_of_the_other_is_taken_without_a_gap(old: str, new: str) -> None:
    """They are in each other's way; and still no request of a client that asks all the time is refused."""
    async with served(section(f"{old}:0", token=TOKEN), seen=Seen()) as server:
        assert server.server.url is not None
        port = urlsplit(server.server.url).port
        answers: list[int] = []
        asking = asyncio.create_task(keep_asking(port, answers))
        for host in (new, old, new):
            before = len(answers)
            server.server.adopt(section(f"{host}:{port}", token=TOKEN))
            assert await server.server.adopted() is None
            async with asyncio.timeout(60):
                while len(answers) < before + 20 and not asking.done():
                    await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait({asking})
        assert not server.said("server_not_listening")

    assert asking.cancelled(), asking.exception()
    assert set(answers) == {200}


async def keep_asking(port: int | None, answers: list[int]) -> None:
    """Ask over a connection each; note each status."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /-/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            answers.append(read_answer(await reader.read()).status)
        finally:
            writer.close()


async def test_a_reload_that_changes_the_token_alone_keeps_address_and_connections() -> None:
    async with served(OPEN, seen=Seen()) as server:
        reader, writer = await server.connect()
        for status in (404, 401):
            writer.write(f"GET {NOWHERE} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            await reader.readexactly(int(re.findall(r"Content-Length: (\d+)", head)[0]))
            assert head.startswith(f"HTTP/1.1 {status} ")
            server.server.adopt(section(token=TOKEN))
            await server.server.adopted()
        writer.close()


async def test_a_server_that_does_not_run_keeps_no_reload_waiting() -> None:
    server = Server(OPEN, clock=SystemClock(), log=captured_log()[0])
    server.adopt(section("127.0.0.1:1"))

    assert await server.adopted() is None


async def test_whoever_asks_while_the_store_is_waited_for_is_told_what_for() -> None:
    async with served(OPEN) as server:
        server.server.wait_for("/x/taskwatch.db is held by pid 812 on db-watch")
        for path in ("/", "/api/v1/tasks"):
            answer = await server.ask(path)
            assert (answer.status, "held by pid 812 on db-watch" in answer.text) == (503, True)
        assert (await server.ask("/-/ready")).text == "unready\n"
