"""What the server sees of the daemon that it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from taskwatch.config.configuration import Config
from taskwatch.engine.lane import Lane
from taskwatch.engine.tally import LoginState, Tally
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudError


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How the daemon itself is, in numbers."""

    tally: Tally
    logins: Mapping[str, LoginState]  # by credential, of those that are in use
    commits: int
    loop_lag_seconds: float  # at worst, in the last minute
    running_seconds: float
    reloaded_at: datetime  # with success; at first the start
    is_reload_refused: bool  # the last one was
    heartbeat_age_seconds: float | None  # since it was taken last, else since the start; None: nobody is told


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
    def vitals(self) -> Vitals: ...

    @property
    def unheeded(self) -> Sequence[str]:
        """Say in a printable line each what the configuration says, as it is written now, and is not in force."""
        ...

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
