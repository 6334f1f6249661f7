"""Space set aside beside the store, so that a full disk stops new events and not the record of what was sent.

A poll that is not recorded finds the same again; a delivery that is not recorded is sent again. When
the disk is full the reserve is given up for what has to be recorded, and what adds to the store waits
until it can be set aside anew.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from taskwatch.store.files import PRIVATE, adopt, sibling

# What SQLite's log holds when it is moved into the store (1,000 pages of 4 KiB): with that much room it always
# can be, and then goes on from its beginning, within the space that it has.
BYTES: Final = 4 * 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reserve:
    """The reserve of one store. Used by whoever holds the store's lock, from one thread at a time."""

    def __init__(self, store: Path) -> None:
        self._path = sibling(store, ".reserve")
        self.is_spent = False

    def set_aside(self) -> None:
        """Take the space, or find it taken. A disk that has not so much left counts as full: it is spent.

        A disk that knows no reserve, or refuses it for another reason, is used without one.
        """
        self.is_spent = False
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
            try:
                os.posix_fallocate(descriptor, 0, BYTES)
            finally:
                os.close(descriptor)
            adopt(self._path)
        except OSError as error:
            self._remove()
            self.is_spent = error.errno in _FULL

    def has_room(self) -> bool:
        """Tell whether the disk has as much again beside it: whether what grows would find room."""
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return False
        return not self.is_spent and found.f_bavail * found.f_frsize >= BYTES

    def spend(self) -> bool:
        """Give the space back to the disk; tell whether there was any left to give."""
        was_spent, self.is_spent = self.is_spent, True
        self._remove()
        return not was_spent

    def _remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()
