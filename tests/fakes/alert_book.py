"""A book of alerts in memory, as the store keeps it for one receiver."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from taskwatch.engine.ports import Standing
from taskwatch.model.delivery import Message
from taskwatch.model.event import EventId


@dataclass
class AlertBookInMemory:
    """Holds the alerts that messages opened."""

    rows: dict[EventId, Standing] = field(default_factory=dict)

    def open(self, message: Message) -> Message:
        """Let the event of the message have opened an alert; return the message."""
        self.rows[message.event_id] = Standing(
            event_id=message.event_id, body=message.body, ended_at=None, labels=None, fired_seconds=0.0
        )
        return message

    def acknowledge(self, event_id: EventId, by: str) -> None:
        self.rows[event_id] = replace(self.rows[event_id], acknowledged_by=by)

    def end(self, event_id: EventId, at: datetime) -> None:
        self.rows[event_id] = replace(self.rows[event_id], ended_at=at)

    async def standing(self, receiver: str, events: Collection[EventId] | None = None) -> list[Standing]:
        return [row for event_id, row in self.rows.items() if events is None or event_id in events]

    async def freeze(self, receiver: str, labels: Mapping[EventId, Mapping[str, str]]) -> None:
        for event_id, kept in labels.items():
            if self.rows[event_id].labels is None:
                self.rows[event_id] = replace(self.rows[event_id], labels=kept)

    async def fired(self, receiver: str, *, seconds: float) -> None:
        self.rows = {
            event_id: replace(
                row, fired_seconds=row.fired_seconds + (seconds if row.ended_at is None else 0.0)
            )
            for event_id, row in self.rows.items()
        }

    async def settle(self, receiver: str, events: Collection[EventId]) -> None:
        for event_id in events:
            del self.rows[event_id]
