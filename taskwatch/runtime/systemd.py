"""What the service manager is told, and how its watchdog is fed: sd_notify(3), one datagram each.

Told, never waited for: a manager that is busy, deaf or absent costs the daemon nothing.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final, Self

from taskwatch.telemetry import Logger, printable

MAX_STATUS: Final = 200  # characters: one line of `systemctl status`
FEEDINGS: Final = 3  # in each watchdog time: one may come late, and one more be lost
_DIGITS: Final = len(str(2**64))


class Systemd:
    """The service manager that started this process, if one did. Never raises, never blocks.

    What it could not take goes with the next message: a READY=1 that is lost would end in a restart.
    """

    def __init__(self, *, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        """`address` as in NOTIFY_SOCKET. `watchdog_seconds`: how often it must be fed at least; None: not asked."""
        self._address = address
        self.watchdog_seconds = watchdog_seconds
        self._untold: dict[str, str] = {}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        return cls(address=environ.get("NOTIFY_SOCKET"), watchdog_seconds=_watchdog_seconds(environ))

    def ready(self, status: str) -> None:
        """Tell that the start, or a reload, is done."""
        self._tell(READY="1", STATUS=_line(status))

    def starting(self, seconds: float) -> None:
        """Tell that the start goes on, and ask for at least so much time from now on."""
        self._tell(EXTEND_TIMEOUT_USEC=str(int(seconds * 1e6)))

    def status(self, text: str) -> None:
        self._tell(STATUS=_line(text))

    def reloading(self) -> None:
        """Tell that a reload begins; `ready` tells its end."""
        self._tell(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))

    def stopping(self) -> None:
        self._tell(STOPPING="1")

    def alive(self) -> None:
        self._tell(WATCHDOG="1")

    def _tell(self, **assignments: str) -> None:
        if self._address is None:
            return
        for name, value in assignments.items():
            self._untold.pop(name, None)  # the manager heeds the last of READY, RELOADING and STOPPING
            self._untold[name] = value
        message = "\n".join(f"{name}={value}" for name, value in self._untold.items())
        if _sent(message, self._address):
            self._untold.clear()


async def feed(systemd: Systemd, hanging: Callable[[], str | None], *, log: Logger) -> None:
    """Feed the watchdog until cancelled, as long as `hanging` names nothing that makes no progress.

    It runs on the event loop: while that is blocked, nothing is fed.
    """
    if systemd.watchdog_seconds is None:
        await asyncio.Event().wait()
        return
    known: str | None = None
    while True:
        hangs = hanging()
        if hangs is None:
            systemd.alive()
        if hangs != known:
            _log_edge(log, hangs)
        known = hangs
        await asyncio.sleep(systemd.watchdog_seconds / FEEDINGS)


def _log_edge(log: Logger, hangs: str | None) -> None:
    if hangs is None:
        log.info("watchdog_fed_again")
    else:
        log.error("watchdog_not_fed", hangs=hangs)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Return what sd_watchdog_enabled(3) would: the time is meant for the process that it names."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    microseconds = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0
    return microseconds / 1e6 if microseconds else None


def _line(text: str) -> str:
    return printable(text, MAX_STATUS)


def _sent(message: str, address: str) -> bool:
    """Send one datagram. An address with @ in front is in the abstract namespace."""
    name = os.fsencode("\0" + address[1:] if address.startswith("@") else address)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(message.encode(), name)
    except OSError:
        return False
    return True
