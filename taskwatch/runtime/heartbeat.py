"""The dead man's switch: somebody far away is told again and again that all is well, and raises the alarm when that stops.

It is told only while every loop makes progress, what happens can be recorded, and some receiver works:
silence is the one message that also a dead host can send.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from taskwatch.clock import Clock
from taskwatch.config.serving import Heartbeat as Section
from taskwatch.engine.ports import DeliveryError
from taskwatch.telemetry import Logger

SETTLED_SECONDS: Final = (
    60.0  # from the start until it is said that all is well: a daemon that dies by then never says it
)
IDLE_SECONDS: Final = 86_400.0  # where nobody is told; a reload hastens it

Ping = Callable[[Section], Awaitable[None]]


class Heartbeat:
    """Tells it, or withholds it. `sent_at` is the monotonic time of the last one that was taken."""

    def __init__(
        self,
        *,
        ping: Ping,
        section: Callable[[], Section | None],
        fault: Callable[[], str | None],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`ping` raises DeliveryError. `fault` says why nobody is to be told that all is well."""
        self._began = clock.monotonic()
        self.sent_at: float | None = None
        self.failure: str | None = None  # why the last one was not sent, or not taken
        self._ping = ping
        self._section = section
        self._fault = fault
        self._clock = clock
        self._log = log

    async def beat(self) -> float:
        """Tell it once, if it is true; return the seconds to the next."""
        section = self._section()
        if section is None:
            self.failure = self.sent_at = None
            return IDLE_SECONDS
        left = self._began + min(section.every, SETTLED_SECONDS) - self._clock.monotonic()
        if left > 0:
            return left
        fault = self._fault()
        if fault is not None:
            self._edge("heartbeat_withheld", fault)
            return section.every
        try:
            await self._ping(section)
        except DeliveryError as error:
            self._edge("heartbeat_failed", str(error))
        except Exception as error:  # noqa: BLE001  (a mistake of ours in a ping must not end the watch)
            self._edge("heartbeat_failed", f"{type(error).__name__} (a bug in taskwatch)", bug=error)
        else:
            self.sent_at = self._clock.monotonic()
            if self.failure is not None:
                self._log.info("heartbeat_sent_again")
            self.failure = None
        return section.every

    def _edge(self, event: str, why: str, *, bug: Exception | None = None) -> None:
        log = self._log.warning if self.failure is None else self._log.debug
        log(event, error=why, **({} if bug is None else {"exc_info": bug}))
        self.failure = why
