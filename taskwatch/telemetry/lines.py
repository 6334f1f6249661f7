"""Lines on a stream whose reader may be slow, stopped or gone: none of that may stop the daemon."""

import errno
import io
import os
import select
from typing import Final, TextIO

from taskwatch.telemetry.room import Room

_ATOMIC: Final = select.PIPE_BUF  # so much a pipe that has room takes without blocking


class Lines:
    """Writes each line at once, or raises OSError, or ValueError when the stream is closed."""

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None when standard error was closed from the start."""
        self._stream = stream
        self._room = Room()
        self._is_torn = False  # the last line has no end

    def write(self, line: str) -> None:
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            # Asked each time: the number of a file that was closed may be another's.
            descriptor = self._stream.fileno()
        except io.UnsupportedOperation:
            self._stream.write(line + "\n")
            self._stream.flush()
        else:
            self._write(descriptor, line)

    def _write(self, descriptor: int, line: str) -> None:
        start = "\n" if self._is_torn else ""
        left = memoryview(f"{start}{line}\n".encode(errors="backslashreplace"))
        while left:
            self._room.wait(descriptor)
            left = left[os.write(descriptor, left[:_ATOMIC]) :]
            self._is_torn = bool(left)
