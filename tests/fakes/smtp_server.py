"""A mail server on loopback: it refuses what RFC 5321 forbids, misbehaves on request, and keeps each mail."""

import asyncio
import base64
import email
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from types import TracebackType
from typing import Final, Self

END: Final = "."  # what stands for the end of the data, among the commands
GREETING: Final = ""
LINE: Final = 1000  # RFC 5321, section 4.5.3.1.6: with its end
ONCE: Final = ("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "MIME-Version")

Behaviour = Callable[["Line"], Awaitable[str | None]]


@dataclass(frozen=True)
class Mail:
    """One mail that was taken."""

    sender: str
    to: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.raw, EmailMessage, policy=SMTP)

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        assert part is not None
        content: str = part.get_content()
        return content


@dataclass
class Line:
    """A command and the connection it came by."""

    command: str  # as it was written; END, GREETING
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def drop(line: Line) -> str | None:
    """Break the connection off."""
    line.writer.transport.abort()
    return None


async def hang(line: Line) -> str | None:
    """Say nothing, until the other side goes."""
    with suppress(OSError):
        await line.reader.read()
    return None


async def flood(line: Line) -> str | None:
    """Answer in a line that does not end."""
    with suppress(OSError):
        for _ in range(1 << 14):
            line.writer.write(b"250-" + b"x" * 65532)
            await line.writer.drain()
    return None


def saying(text: str) -> Behaviour:
    async def say(_: Line) -> str | None:
        return text

    return say


@dataclass
class FakeMailServer:
    """Serves SMTP. `behave` picks what is done instead of answering a command; None: answer it."""

    tls: ssl.SSLContext | None = None
    is_tls_from_the_start: bool = False
    login: tuple[str, str] | None = None  # demanded before a mail
    methods: str = "PLAIN LOGIN"
    behave: Callable[[str], Behaviour | None] = lambda _: None
    mails: list[Mail] = field(default_factory=list)  # taken
    commands: list[str] = field(default_factory=list)
    in_clear: list[str] = field(default_factory=list)  # the commands that came without TLS
    logins: list[tuple[str, str, str]] = field(default_factory=list)  # tried: how, user, password
    protocols: list[str | None] = field(default_factory=list)  # that TLS agreed upon
    problems: list[str] = field(default_factory=list)  # what came that must not
    connections: int = 0
    port: int = 0

    async def __aenter__(self) -> Self:
        self._talking: set[asyncio.Task[None]] = set()
        tls = self.tls if self.is_tls_from_the_start else None
        self._server = await asyncio.start_server(self._began, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await asyncio.sleep(0)
        for task in [*self._talking]:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"{'smtps' if self.is_tls_from_the_start else 'smtp'}://127.0.0.1:{self.port}"

    async def all_have_gone(self) -> None:
        """Wait until nobody is connected any more."""
        await asyncio.gather(*self._talking)

    def greylist(self, *recipients: str) -> None:
        """Take these the second time."""
        seen: set[str] = set()

        def behave(command: str) -> Behaviour | None:
            for recipient in recipients:
                if command == f"RCPT TO:<{recipient}>" and recipient not in seen:
                    seen.add(recipient)
                    return saying("451 4.7.1 greylisted, come again")
            return None

        self.behave = behave

    def answer(self, begins: str, behaviour: Behaviour) -> None:
        """Do this with each command that begins so."""
        self.behave = lambda command: (
            behaviour if command.startswith(begins) and (begins or not command) else None
        )

    def _began(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._talking.add(task)
        task.add_done_callback(self._talking.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Conversation(self, reader, writer).run()
        except (OSError, EOFError):
            pass  # it went
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class _Conversation:
    def __init__(
        self, server: FakeMailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.is_tls = server.is_tls_from_the_start
        self.is_logged_in = server.login is None
        self.said_hello = False
        self.sender: str | None = None
        self.to: list[str] = []

    async def run(self) -> None:
        self._note_protocol()
        if not await self._instead(GREETING):
            await self._say("220 mail.example ESMTP")
        while True:
            command = await self._line()
            self.server.commands.append(command)
            if not self.is_tls:
                self.server.in_clear.append(command)
            if await self._instead(command):
                continue
            if command == "QUIT":
                await self._say("221 2.0.0 bye")
                return
            await self._do(command)

    async def _do(self, command: str) -> None:
        verb, _, argument = command.partition(" ")
        match verb:
            case "EHLO":
                self._require(re.fullmatch(r"\[[0-9.]+\]|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", argument), command)
                self.said_hello = True
                await self._say(*_lines(250, "mail.example", *self._extensions()))
            case "STARTTLS" if self.server.tls is not None and not self.is_tls:
                await self._say("220 go ahead")
                await self.writer.start_tls(self.server.tls)
                self.is_tls, self.said_hello = True, False
                self._note_protocol()
            case "AUTH" if self.said_hello:
                await self._authenticate(*argument.split(" "))
            case _ if not self.said_hello:
                await self._say("503 5.5.1 EHLO first")
            case _ if not self.is_logged_in:
                await self._say("530 5.7.0 authentication required")
            case "MAIL":
                sender = re.fullmatch(r"FROM:<([^<>\s]+)>", argument)
                self._require(sender, command)
                self.sender = sender[1] if sender else None
                await self._say("250 2.1.0 ok")
            case "RCPT" if self.sender is not None:
                recipient = re.fullmatch(r"TO:<([^<>\s]+)>", argument)
                self._require(recipient, command)
                self.to += [recipient[1]] if recipient else []
                await self._say("250 2.1.5 ok")
            case "DATA" if self.to:
                await self._say("354 go ahead")
                await self._data()
            case _:
                await self._say("503 5.5.1 not now")

    def _extensions(self) -> Iterator[str]:
        yield "SIZE 10485760"
        if self.server.tls is not None and not self.is_tls:
            yield "STARTTLS"
        if self.server.login is not None:
            yield f"AUTH {self.server.methods}"

    async def _authenticate(self, method: str, first: str = "") -> None:
        if method == "PLAIN":
            _, user, password = base64.b64decode(first).decode().split("\0")
        else:
            user = base64.b64decode(first).decode()
            await self._say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(await self._line()).decode()
        self.server.logins.append((method, user, password))
        self.is_logged_in = (user, password) == self.server.login
        await self._say("235 2.7.0 welcome" if self.is_logged_in else "535 5.7.8 wrong user or password")

    async def _data(self) -> None:
        lines = []
        while (line := await self.reader.readuntil(b"\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        raw = b"".join(lines)
        self.server.commands.append(END)
        if await self._instead(END):
            return
        problems = [*problems_of(raw)]
        self.server.problems += problems
        if problems:
            await self._say(f"554 5.6.0 {problems[0]}")
        else:
            self._take(raw)
            await self._say("250 2.0.0 taken")

    def _take(self, raw: bytes) -> None:
        assert self.sender is not None
        self.server.mails.append(Mail(self.sender, tuple(self.to), raw))
        self.sender, self.to = None, []

    async def _instead(self, command: str) -> bool:
        behaviour = self.server.behave(command)
        if behaviour is None:
            return False
        answer = await behaviour(Line(command, self.reader, self.writer))
        if answer is None:
            raise EOFError
        await self._say(answer)
        return True

    async def _line(self) -> str:
        line = await self.reader.readuntil(b"\n")
        self._require(line.endswith(b"\r\n") and b"\r" not in line[:-2], "a bare line end in a command")
        return line.strip().decode("ascii")

    async def _say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape"))
        await self.writer.drain()

    def _require(self, holds: object, problem: str) -> None:
        if not holds:
            self.server.problems.append(problem)

    def _note_protocol(self) -> None:
        tls = self.writer.get_extra_info("ssl_object")
        if tls is not None:
            self.server.protocols.append(tls.selected_alpn_protocol())


def _lines(code: int, *lines: str) -> Iterator[str]:
    for line in lines[:-1]:
        yield f"{code}-{line}"
    yield f"{code} {lines[-1]}"


def problems_of(raw: bytes) -> Iterator[str]:
    """Yield what RFC 5321 and RFC 5322 forbid."""
    if re.search(rb"(?<!\r)\n|\r(?!\n)", raw):
        yield "a bare line end"
    if any(len(line) + 2 > LINE for line in raw.split(b"\r\n")):
        yield "a line is too long"
    if not raw.isascii():
        yield "8 bits without 8BITMIME"
    if b"\0" in raw:
        yield "a NUL"
    head, _, _ = raw.partition(b"\r\n\r\n")
    names = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            continue
        named = re.match(rb"([!-9;-~]+):(?: |$)", line)
        if named is None:
            yield f"a line of the head without a name: {line!r}"
        else:
            names.append(named[1].decode().lower())
    for name in ONCE:
        if names.count(name.lower()) != 1:
            yield f"{name} stands {names.count(name.lower())} times in the head"
