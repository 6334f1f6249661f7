"""A small disk: a tmpfs in a mount namespace of the daemon's own, which goes when the daemon does.

It is filled and freed through /proc, as an operator would see it.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.fakes.daemon import Daemon
from tests.fakes.host import need, need_root
from tests.fakes.watched import Watched, pid_of

SIZE: Final = "16m"


class SmallDisk:
    """The directory `small` of a place, as the daemon that runs `under` it sees it."""

    def __init__(self, place: Watched, *, meanwhile: str = "true") -> None:
        need_root()
        need("unshare", "mount")
        self.directory = place.directory / "small"
        self.directory.mkdir()
        mount = f"mount -t tmpfs -o size={SIZE} none {self.directory} && {meanwhile}"
        self.under: Final = ("unshare", "-m", "sh", "-c", f'{mount}; exec "$@"', "sh")

    def fill(self, daemon: Daemon) -> None:
        with suppress(OSError), self._filler(daemon).open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self, daemon: Daemon) -> None:
        self._filler(daemon).unlink()

    def _filler(self, daemon: Daemon) -> Path:
        return self.seen_by(daemon, "filler")

    def seen_by(self, daemon: Daemon, file: str) -> Path:
        return Path(f"/proc/{pid_of(daemon)}/root{self.directory}/{file}")
