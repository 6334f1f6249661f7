"""The outbox of a receiver that is sent what a template makes of an event.

The text is made before the first attempt and frozen: it is the same in all of them, whatever becomes of the template.
Where the template makes none, that is told once and the event itself is sent.
"""

from datetime import datetime
from typing import Protocol

import msgspec

from taskwatch.core.letters import contents_of, facts
from taskwatch.engine.ports import Outbox, Renderer, TemplateFailedError
from taskwatch.model.delivery import DeliveryId, Outcome, Queued
from taskwatch.model.rendered import Rendered
from taskwatch.telemetry import Logger


class FrozenOutbox(Outbox, Protocol):
    """An outbox that keeps a body for a delivery."""

    async def frozen(self, delivery: DeliveryId) -> bytes | None:
        """Return the body of its own that a delivery has."""
        ...

    async def freeze_body(self, delivery: DeliveryId, body: bytes) -> None:
        """Let this be the body of a delivery from now on."""
        ...


class TemplatedOutbox:
    """What waits for one receiver, rendered."""

    def __init__(
        self,
        outbox: FrozenOutbox,
        *,
        receiver: str,
        source: str,
        content_type: str,
        renderer: Renderer,
        log: Logger,
    ) -> None:
        self._outbox = outbox
        self._source = source
        self._content_type = content_type
        self._renderer = renderer
        self._log = log.bind(receiver=receiver)
        self._has_failed = False

    async def pending(self, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
        """Return pending deliveries with ids above `after`, in the order of recording."""
        return await self._outbox.pending(receiver, after=after, limit=limit)

    async def body(self, delivery: DeliveryId) -> bytes | None:
        """Return the frozen body of a delivery that is still pending; None once it is not."""
        event = await self._outbox.body(delivery)
        if event is None:
            return None
        own = await self._outbox.frozen(delivery)
        if own is None:
            own = await self._made_of(event)
            await self._outbox.freeze_body(delivery, own)
        return own

    async def record(self, delivery: DeliveryId, outcome: Outcome, at: datetime) -> None:
        """Make the outcome of one attempt durable."""
        await self._outbox.record(delivery, outcome, at)

    async def _made_of(self, event: bytes) -> bytes:
        try:
            text = await self._renderer.render(self._source, facts(contents_of(event)))
        except TemplateFailedError as error:
            log = self._log.debug if self._has_failed else self._log.warning
            log("template_failed", error=str(error), instead="the event itself")
            self._has_failed = True
            return event
        self._has_failed = False
        return msgspec.json.encode(Rendered(content_type=self._content_type, text=text))
