"""The host's clocks, of which the wall clock can be set."""

from datetime import datetime, timedelta, tzinfo
from typing import Self

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.interval
import pytest

from taskwatch.clock import SystemClock


class JumpingClock(SystemClock):
    """`offset` is what somebody set the wall clock forward by, or back."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        return super().now() + self.offset


def apscheduler_under(clock: JumpingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let APScheduler live under this wall clock. Its timers stay monotonic, as on a real host."""

    class Set(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + clock.offset

    for module in (apscheduler.schedulers.base, apscheduler.executors.base, apscheduler.triggers.interval):
        monkeypatch.setattr(module, "datetime", Set)
