"""Time, as a collaborator: wall time for people and storage, monotonic time for waiting."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The two clocks. Waiting is done on the event loop's clock, which is monotonic too."""

    def now(self) -> datetime:
        """Aware UTC wall time. Decides nothing."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...


class SystemClock:
    """The clocks of the host."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
