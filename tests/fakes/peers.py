"""Whoever answers on a socket: hosts with TLS that say exactly what they are told to, and a proxy."""

import asyncio
import base64
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Peer:
    """One that listens on loopback."""

    port: int
    connections: int = 0  # TCP or, with TLS, those whose TLS came about
    heard: list[bytes] = field(default_factory=list)  # the heads of all requests

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


def saying(*parts: bytes, then_wait: bool = False) -> Callable[["Peer"], Talk]:
    """Read a request and say these bytes; for each request of a connection, until it is closed."""

    def of(peer: Peer) -> Talk:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                peer.heard.append(await reader.readuntil(b"\r\n\r\n"))
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                if then_wait:
                    await reader.read()
                    return

        return talk

    return of


def repeating(block: bytes, *, after: bytes = b"", times: int = 1 << 20) -> Callable[["Peer"], Talk]:
    """Read a request and say the same over and over."""

    def of(peer: Peer) -> Talk:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer.heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(after)
            for _ in range(times):
                writer.write(block)
                await writer.drain()

        return talk

    return of


def forwarding(*, answer: bytes = b"") -> Callable[["Peer"], Talk]:
    """Be a proxy: connect through to whom the request names, or answer with this instead."""

    def of(peer: Peer) -> Talk:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            peer.heard.append(head)
            if answer:
                writer.write(answer)
                return
            _, target, _ = head.split(b" ", 2)
            host, _, port = target.decode().rpartition(":")
            from_there, to_there = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(_copy(reader, to_there), _copy(from_there, writer))
            finally:
                to_there.close()

        return talk

    return of


def telling(status: int) -> Callable[["Peer"], Talk]:
    """Be a proxy that refuses, and repeats the login that it was sent wherever it can: as it came, and decoded."""

    def of(peer: Peer) -> Talk:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            peer.heard.append(head)
            _, _, login = head.partition(b"Proxy-Authorization: Basic ")
            login, _, _ = login.partition(b"\r\n")
            said = b"%s is %s" % (login, base64.b64decode(login))
            writer.write(b"HTTP/1.1 %d %s\r\nX-Request-Id: %s\r\n" % (status, said, said))
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(said), said))

        return talk

    return of


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65536):
        writer.write(block)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def listening(
    talk: Callable[[Peer], Talk], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """Listen on loopback for as long as the block lasts."""
    peer = Peer(port=0)
    talking: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        try:
            await talk(peer)(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # it went
        finally:
            writer.close()

    def began(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(accept(reader, writer))
        talking.add(task)
        task.add_done_callback(talking.discard)

    server = await asyncio.start_server(began, "127.0.0.1", 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in [*talking]:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        await server.wait_closed()


@contextmanager
def alerting(tls: ssl.SSLContext) -> Iterator[str]:
    """Listen in a thread, and say why TLS does not come about: asyncio's servers only hang up."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            connection.settimeout(10)
            talking: socket.socket
            talking = secure = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with suppress(OSError):
                try:
                    secure.do_handshake()
                    talking.recv(65536)
                    talking.sendall(ANSWER)
                except ssl.SSLError:
                    talking = _read_to_its_end(secure)
            talking.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _read_to_its_end(talking: ssl.SSLSocket) -> socket.socket:
    """Read what is left: a connection that is closed before that takes the alert along."""
    plain = socket.socket(fileno=talking.detach())
    plain.settimeout(10)
    plain.shutdown(socket.SHUT_WR)
    with suppress(OSError):
        while plain.recv(65536):
            pass
    return plain
