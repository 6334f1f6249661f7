"""Lets go of what silences and windows hold back, once they have ended.

Invariants:
- What still needs attention is told then, once; what is over by then, or needed none, is not told.
- What another silence or window holds back too, stays held.
- What is held is looked at when something that held has ended, and now and then all the same.
"""

from collections.abc import Callable, Sequence
from typing import Final

from taskwatch.clock import Clock
from taskwatch.core.attributes import attributes_of
from taskwatch.core.quiet import Mute, Silence, held_by
from taskwatch.engine.ports import HoldingPen
from taskwatch.errors import StoreFailedError
from taskwatch.model.delivery import DeliveryId
from taskwatch.telemetry import Logger

LOOK_SECONDS: Final = 5.0  # whoever changes a silence hastens it
ANYWAY_SECONDS: Final = 60.0
BATCH: Final = 500


class Holding:
    """Looks after what is held back."""

    def __init__(
        self,
        *,
        pen: HoldingPen,
        mutes: Callable[[], Sequence[Mute]],
        clock: Clock,
        log: Logger,
        queued: Callable[[], None],
    ) -> None:
        """`mutes` are asked each time, for a reload may change them; `queued` is called when there is something to deliver."""
        self._pen = pen
        self._mutes = mutes
        self._clock = clock
        self._log = log
        self._queued = queued
        self._in_force: frozenset[Silence | Mute] | None = None  # None: all is to be looked at
        self._looked_at = 0.0  # monotonic, at all of it
        self._is_failing = False

    async def look(self) -> float:
        """Let go of what nothing holds any more; return the seconds to the next look."""
        try:
            await self._look()
        except StoreFailedError as error:
            log = self._log.debug if self._is_failing else self._log.warning
            log("held_not_looked_at", error=str(error))
            self._is_failing = True  # what was in force stays noted: the next look finds what ended since
        else:
            self._is_failing = False
        return LOOK_SECONDS

    async def _look(self) -> None:
        now, at = self._clock.monotonic(), self._clock.now()
        in_force = frozenset(hush for hush in await self._hushes() if hush.is_in_force(at))
        has_ended = self._in_force is None or not self._in_force <= in_force
        if not has_ended and now - self._looked_at < ANYWAY_SECONDS:
            self._in_force = in_force
            return
        await self._let_go()
        self._in_force, self._looked_at = in_force, now

    async def _let_go(self) -> None:
        after = DeliveryId(0)
        while held := await self._pen.held(after=after, limit=BATCH):
            after = held[-1].delivery
            hushes = await self._hushes()  # after what they hold: one that was added meanwhile is among them
            found: dict[DeliveryId, str | None] = {}
            for one in held:
                hush = held_by(hushes, attributes_of(one.body), self._clock.now())
                by = None if hush is None else str(hush)
                if by != one.by:
                    found[one.delivery] = by
            if found and await self._pen.settle_held(found):
                self._queued()

    async def _hushes(self) -> tuple[Silence | Mute, ...]:
        return (*await self._pen.silences(), *self._mutes())
