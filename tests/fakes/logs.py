"""Readers of logs, each with code of its own: a journal that takes datagrams, and a parser of console lines."""

import json
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from tests.fakes.messages import HOSTILE

FOREIGN = HOSTILE | {"surrogates": "\ud83d alone \udc00", "megabyte": "é" * 1_000_000, "empty": ""}


@contextmanager
def logs_restored() -> Iterator[None]:
    """Leave no configuration of the logs behind."""
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.root.handlers[:], logging.root.level = handlers, level


class Journald:
    """The journal's socket, at a path of the test's. It may go, and come again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self.path.unlink()

    def entries(self) -> list[dict[str, str]]:
        """Return what came since the last call."""
        assert self._socket is not None
        found = []
        while True:
            try:
                found.append(entry(self._socket.recv(1 << 20)))
            except BlockingIOError:
                return found


def entry(datagram: bytes) -> dict[str, str]:
    """Read a datagram as https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ says."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size, datagram = int.from_bytes(datagram[:8], "little"), datagram[8:]
            value, datagram = datagram[:size], datagram[size:]
            assert datagram[:1] == b"\n", "no end after the value"
            datagram = datagram[1:]
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name), name
        assert name.decode() not in fields, name
        fields[name.decode()] = value.decode()
    return fields


_CONSOLE = re.compile(
    r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d (?P<level>[A-Z]{4,5}) +(?P<event>\S+) *(?P<rest>.*)"
)
_FIELD = re.compile(r'(?:(?P<name>\w+)=)?(?P<value>"(?:\\.|[^"\\])*"|[^\s"=]+)(?: |$)')


def console_fields(line: str) -> dict[str, str]:
    """Read a line of the console; a value without a name is the summary."""
    whole = _CONSOLE.fullmatch(line)
    assert whole, line
    fields = {"level": whole["level"], "event": whole["event"]}
    rest = whole["rest"]
    while rest:
        field = _FIELD.match(rest)
        assert field, rest
        value = field["value"]
        fields[field["name"] or "summary"] = json.loads(value) if value.startswith('"') else value
        rest = rest[field.end() :]
    return fields
