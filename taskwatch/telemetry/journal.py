"""The journal of systemd in its native protocol: one datagram a line, each field a field of the journal.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/. The socket is systemd's and outlives a restart of the
journal; each line looks for it anew, so there is nothing to reconnect.
"""

import errno
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from taskwatch.telemetry.room import Room
from taskwatch.telemetry.text import details, printable

SOCKET: Final = Path("/run/systemd/journal/socket")
IDENTIFIER: Final = "taskwatch"
SHORT: Final = 100  # characters of each field in a line that was too large
_PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_MAX_NAME: Final = 64
_FOREIGN: Final = re.compile(r"[^A-Z0-9_]")


class Journal:
    """Sends lines to the journal; raises OSError when it does not take one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._room = Room()

    def write(self, fields: Mapping[str, Any]) -> None:
        try:
            self._send(datagram(fields))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            short = {
                name: printable(value, SHORT) if isinstance(value, str) else value
                for name, value in fields.items()
            }
            self._send(datagram(short))

    def _send(self, payload: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(str(self._path))
            self._room.wait(sender.fileno())
            sender.send(payload)


def datagram(fields: Mapping[str, Any]) -> bytes:
    """Return the line as the journal wants it: a sentence, its priority, and each field under TASKWATCH_."""
    entries: dict[str, object] = {
        "MESSAGE": f"{fields['event']} {details(fields)}".rstrip(),
        "PRIORITY": _PRIORITIES[fields["level"]],
        "SYSLOG_IDENTIFIER": IDENTIFIER,
    }
    for name, value in fields.items():
        if name not in {"timestamp", "level"}:  # the journal's own
            entries[_name(name)] = "" if value is None else value
    return b"".join(_entry(name, str(value)) for name, value in entries.items())


def _name(field: str) -> str:
    return _FOREIGN.sub("_", f"TASKWATCH_{field}".upper())[:_MAX_NAME]


def _entry(name: str, value: str) -> bytes:
    content = value.encode(errors="backslashreplace")
    if b"\n" not in content:
        return b"%s=%s\n" % (name.encode(), content)
    return b"%s\n%s%s\n" % (name.encode(), len(content).to_bytes(8, "little"), content)


def leads_to_journal(stream: TextIO | None) -> bool:
    """Tell whether systemd connected this stream with its journal: systemd.exec(5), $JOURNAL_STREAM."""
    if stream is None:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file, or closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
