"""What the server sees of the daemon that it shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from taskwatch.config.configuration import Config
from taskwatch.engine.lane import Lane
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudError


class Observed(Protocol):
    """A daemon. Each is asked anew whenever it is shown: all of it may change with a reload."""

    config: Config

    @property
    def path(self) -> Path:
        """Where the store lies."""
        ...

    @property
    def watches(self) -> Sequence[Watch]: ...

    @property
    def lanes(self) -> Sequence[Lane]: ...

    @property
    def unnamed(self) -> Mapping[str, CloudError]:
        """Why projects that are configured by their name have no id yet."""
        ...

    def hanging(self) -> str | None:
        """Name what makes no progress."""
        ...

    def unwritable(self) -> str | None:
        """Say why nothing new can be recorded, as far as is known."""
        ...
