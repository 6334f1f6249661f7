"""How long a line waits for its reader: hardly, and only for one that was not stuck before."""

import errno
import os
import select
from typing import Final

PATIENCE_SECONDS: Final = (
    0.1  # a reader that is only slow reads meanwhile; one that is stuck may take it once
)


class Room:
    """Waits until a descriptor takes more."""

    def __init__(self) -> None:
        self._is_stuck = False

    def wait(self, descriptor: int) -> None:
        """Return when it takes more, or is broken: writing will tell. Raises BlockingIOError when it is stuck."""
        room = select.poll()
        room.register(descriptor, select.POLLOUT)
        patience = 0.0 if self._is_stuck else PATIENCE_SECONDS
        self._is_stuck = not room.poll(patience * 1000)
        if self._is_stuck:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
