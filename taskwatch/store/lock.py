"""The lock of a store: one daemon at a time.

It is an flock, so the death of its holder releases it, however it died. The file is never deleted:
two processes could otherwise each hold a lock of that name. What it says is for people; whether the
store is held is decided by the flock alone.
"""

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from taskwatch.errors import StoreFailedError, StoreHeldError
from taskwatch.store.files import PRIVATE, adopt, sibling

_TEXT_BOUND: Final = 4096
_TRIES: Final = 25
_INSTANT: Final = 0.04  # seconds: a second for all tries, on a host that has other things to do


class Role(StrEnum):
    """What a holder does with the store."""

    DAEMON = "daemon"  # stays, and attends to requests
    COMMAND = "command"  # one that writes for itself, and ends soon


class StoreLock:
    """A held lock. It ends with `release` or with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def acquire(store: Path, *, since: datetime, role: Role = Role.DAEMON) -> StoreLock:
    """Take the lock of the store. Raises StoreHeldError, which names the holder, where another has it."""
    path = sibling(store, ".lock")
    # O_CLOEXEC: a program that the daemon starts must not hold the store after it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        adopt(path)
        _lock(descriptor)
        _sign(descriptor, since, role)
    except BlockingIOError as error:
        text = os.pread(descriptor, _TEXT_BOUND, 0)
        os.close(descriptor)
        raise StoreHeldError(
            f"{store} is held by {_holder(text)}; stop it, or point store.path elsewhere"
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return StoreLock(descriptor)


def is_watched(store: Path) -> bool:
    """Tell whether a daemon holds the store. It takes nothing away that lasts, and leaves no file behind."""
    return watcher(store) is not None


def watcher(store: Path) -> str | None:
    """Return which daemon holds the store, as people are told it; None: none does. Looks as `is_watched`."""
    path = sibling(store.resolve(), ".lock")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise StoreFailedError(
            f"{path} cannot be read by uid {os.geteuid()}: run this as the user of the daemon, or as root"
        ) from error
    except OSError as error:
        raise StoreFailedError(f"{path} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, _TEXT_BOUND, 0)
        return _holder(text) if _role(text) is Role.DAEMON else None
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int) -> None:
    """Take the lock. Whoever only asks whether it is held (`is_watched`) has it for an instant: that is not meant."""
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_INSTANT)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sign(descriptor: int, since: datetime, role: Role) -> None:
    holder = {"role": role, "pid": os.getpid(), "host": socket.gethostname(), "since": since.isoformat()}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _role(text: bytes) -> Role:
    try:
        return Role(json.loads(text)["role"])
    except (
        ValueError,
        TypeError,
        KeyError,
    ):  # it is being written at this moment, or an older version wrote it
        return Role.DAEMON


def _holder(text: bytes) -> str:
    try:
        holder = json.loads(text)
        pid, host = int(holder["pid"]), str(holder["host"])
        since = datetime.fromisoformat(holder["since"]).astimezone(UTC)
    except (ValueError, TypeError, KeyError):  # it is being written at this moment
        return "another process"
    return f"pid {pid} on {host} since {since:%Y-%m-%d %H:%M:%S} UTC"
