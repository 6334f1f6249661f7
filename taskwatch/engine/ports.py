"""What the engine asks of the world. Each port is as narrow as its one consumer."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskwatch.core.quiet import Silence
from taskwatch.core.route import Hop
from taskwatch.core.since import Since
from taskwatch.errors import TaskwatchError
from taskwatch.model.alert import Alert, Ended
from taskwatch.model.delivery import DeliveryId, Message, Outcome, Queued, Reason, Scope
from taskwatch.model.event import Event, EventId
from taskwatch.model.outage import Outage, Place
from taskwatch.model.project import Digests, Identity, Listing
from taskwatch.model.task import Known


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that had not ended when it was read last, and when it began, if that is known."""

    job_id: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a poll wants to know."""

    known: Digests | None = None  # what it knows already
    since: Since | None = None  # None: the whole list
    open_tasks: tuple[OpenTask, ...] = ()  # the listing says which of them nothing showed
    checks: bool = False  # a long whole list is held against what an incremental poll would read


class TaskSource(Protocol):
    """Reads the task list of one project."""

    @property
    def manner(self) -> Hashable:
        """Where it reads, and how it understands what it is answered.

        What was found out about lists through one source holds for another of the same manner.
        """
        ...

    async def fetch(self, ask: Ask) -> Listing:
        """Read the list once: the whole of it, or what began in the span, what runs, and the open tasks.

        An incremental poll may turn into one of the whole list; the listing says so. Raises CloudError
        when nothing usable was read. When a later page fails, what the pages before it said still
        counts: the listing is then not complete and carries the failure.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectState:
    """Where the store stands with a project."""

    key: int  # the store's own number of the project
    revision: int  # counts its commits; a commit must name the one it is built upon
    sequence: int  # of the events about the project itself
    baseline_at: (
        datetime | None
    )  # the cloud's Date at the baseline, else our own clock's; None: no baseline yet
    observed_at: datetime | None  # the last complete reading on record
    open_tasks: frozenset[str]  # ids of the tasks that had not ended, and are not gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """An event, and where it goes."""

    event: Event
    job_id: str | None  # None: about the project itself
    hops: tuple[Hop, ...]
    ends: Ended | None = None  # the alert that is over: the event goes to those who were told of it
    follows: tuple[
        EventId, ...
    ] = ()  # it goes to those who were told of these; where that is not on record, to hops


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRecord:
    """All that one poll changes; recorded in one transaction or not at all."""

    project: int
    revision: int  # of the ProjectState this is built upon
    tasks: Sequence[Known]  # rows to insert or replace
    events: Sequence[Routed]  # in the order of recording
    observed_at: datetime | None  # the last complete reading, this one included
    baseline_at: datetime | None = None  # set by the poll that is the baseline
    sequence: int | None = None  # of the project itself, where one of these events is about it


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an event is about that is about no task."""

    place: Place
    project: int | None  # the store's number, where it is one project


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageRecord:
    """What is told of an outage, and how it is remembered; recorded in one transaction or not at all."""

    outage: Outage
    is_over: bool
    subject: Subject
    told: Routed | None  # None: there is nothing to tell


class StaleStateError(TaskwatchError):
    """The project was changed by somebody else since its state was read; read it again."""


class Ledger(Protocol):
    """The poller's side of the store."""

    async def enrol(self, identity: Identity, name: str) -> ProjectState:
        """Return the state of the project, new or known. The name may have changed."""
        ...

    async def known(self, project: int, job_ids: Iterable[str]) -> dict[str, Known]:
        """Return what is remembered of these tasks."""
        ...

    async def expected(self, project: int, since: datetime) -> dict[str, datetime | None]:
        """Return when each task began that began since then, or had not ended; not those that are gone."""
        ...

    async def open_alerts(self, project: int) -> list[Alert]:
        """Return the alerts of the project's tasks that have not ended, in the order in which they were opened."""
        ...

    async def silences(self) -> list[Silence]:
        """Return the silences that have not ended."""
        ...

    async def commit(self, record: PollRecord) -> None:
        """Make all of it durable, or nothing. Raises StaleStateError or StoreFailedError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A delivery that a silence or a window holds back."""

    delivery: DeliveryId
    by: str  # of them
    body: bytes  # of its event


class HoldingPen(Protocol):
    """Where deliveries are that are held back."""

    async def silences(self) -> list[Silence]:
        """Return the silences that have not ended."""
        ...

    async def held(self, *, after: DeliveryId, limit: int) -> list[Held]:
        """Return what is held back with numbers above `after`, in the order of recording."""
        ...

    async def settle_held(self, found: Mapping[DeliveryId, str | None]) -> int:
        """Hold these on, by what is named, or no longer: what needs attention is queued, the rest is never told.

        Returns how many were queued.
        """
        ...


class Outbox(Protocol):
    """The lane's side of the store."""

    async def pending(self, receiver: str, *, after: DeliveryId, limit: int) -> list[Queued]:
        """Return pending deliveries with ids above `after`, in the order of recording."""
        ...

    async def body(self, delivery: DeliveryId) -> bytes | None:
        """Return the frozen body of a delivery that is still pending; None once it is not."""
        ...

    async def record(self, delivery: DeliveryId, outcome: Outcome, at: datetime) -> None:
        """Make the outcome of one attempt durable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingGroup:
    """A group in which something waits to be told."""

    key: str
    since: datetime  # when the first of it was recorded
    is_open: bool  # its last message is not delivered yet: what waits, waits for that
    last_at: datetime | None  # when its last message was delivered, or composed


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPart:
    """A delivery that may go into a message now."""

    delivery: DeliveryId
    event_id: EventId
    type: str  # of the event
    time: datetime
    body: bytes | None  # of the event; None: a message is to count it only
    is_over: bool  # it opened an alert that has ended by now


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """What a receiver is being told."""

    messages: int
    groups: frozenset[str]  # that they are of: what waits in these, waits for them


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An open alert of which a receiver was told, and which nobody has acknowledged."""

    group: str
    event_id: EventId
    body: bytes
    last_at: datetime  # when the receiver was told of it, or reminded, last
    is_reminded: bool  # by a message that is not delivered yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A message to people, as it is recorded: what it tells, or what it reminds of."""

    event_id: EventId  # made of its content
    receiver: str
    groups: tuple[str, ...]
    at: datetime
    body: bytes
    deliveries: tuple[DeliveryId, ...] = ()
    reminds: tuple[EventId, ...] = ()


class MessageBook(Protocol):
    """What waits to be told to people, and in which messages it is."""

    async def under_way(self, receiver: str) -> UnderWay:
        """Return what is not delivered yet."""
        ...

    async def last_number(self) -> int:
        """Return the number of the last message; 0: there was none."""
        ...

    async def waiting_groups(self, receiver: str) -> list[WaitingGroup]:
        """Return the groups in which something waits, in the order of their first events."""
        ...

    async def free_groups(self, receiver: str, keys: Collection[str]) -> list[str]:
        """Return those of these groups in which something may be told, if all are told; the first may in any case."""
        ...

    async def waiting_parts(self, receiver: str, keys: Collection[str], *, limit: int) -> list[WaitingPart]:
        """Return what of these groups may be told now, in the order of recording; `limit` of it with bodies."""
        ...

    async def unacknowledged(self, receiver: str) -> list[Open]:
        """Return the open alerts that the receiver was told of and that nobody has acknowledged."""
        ...

    async def bind(self, message: Bound) -> None:
        """Record a message. Raises StaleStateError where what it tells is not to be told like this any more."""
        ...

    async def drop_outdated(self, receiver: str) -> list[EventId]:
        """Put away reminders that would say that something is open which is over; return all that they remind of."""
        ...

    async def silences(self) -> list[Silence]:
        """Return the silences that have not ended."""
        ...


class Gatherer(Protocol):
    """Makes messages of what waits for one receiver."""

    async def gather(self, *, at_once: bool = False) -> float:
        """Make those that are due; return in how many seconds there may be another. Raises StoreFailedError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an alert stands with a receiver that keeps it."""

    event_id: EventId  # of the event that opened it
    body: bytes  # of that event
    ended_at: datetime | None
    labels: Mapping[str, str] | None  # under which the receiver knows it; None: it has not heard of it
    fired_seconds: float  # for which it was repeated
    acknowledged_by: str | None = None


class AlertBook(Protocol):
    """What receivers that keep state were told of alerts."""

    async def standing(self, receiver: str, events: Collection[EventId] | None = None) -> list[Standing]:
        """Return the alerts that the receiver was told of and is to keep, or those of them that these events opened."""
        ...

    async def freeze(self, receiver: str, labels: Mapping[EventId, Mapping[str, str]]) -> None:
        """Keep the labels of alerts, for as long as they live."""
        ...

    async def fired(self, receiver: str, *, seconds: float) -> None:
        """Count that the open ones were repeated for so much longer."""
        ...

    async def settle(self, receiver: str, events: Collection[EventId]) -> None:
        """Note that the receiver need not hear of these any more."""
        ...


class NoAlerts:
    """The book of whoever was told nothing."""

    async def standing(
        self,
        receiver: str,  # noqa: ARG002  (the port's)
        events: Collection[EventId] | None = None,  # noqa: ARG002
    ) -> list[Standing]:
        return []

    async def freeze(self, receiver: str, labels: Mapping[EventId, Mapping[str, str]]) -> None:
        """Nothing is kept."""

    async def fired(self, receiver: str, *, seconds: float) -> None:
        """Nothing was repeated."""

    async def settle(self, receiver: str, events: Collection[EventId]) -> None:
        """Nothing is left."""


@dataclass(eq=False)
class DeliveryError(TaskwatchError):
    """A notifier could not deliver. Says why, and whom it speaks of; never shows a secret."""

    reason: Reason
    detail: str
    scope: Scope = Scope.EVENT
    retry_after: float | None = None  # seconds, as the receiver asked

    def __str__(self) -> str:
        return self.detail


class TemplateFailedError(TaskwatchError):
    """A template of the configuration made no text. Says why; printable."""


class Renderer(Protocol):
    """Fills in the templates that people write. They are foreign code: they run beside this process."""

    async def render(self, source: str, facts: bytes, *, is_html: bool = False) -> str:
        """Return the text of a template over these facts, a JSON object. Raises TemplateFailedError."""
        ...


class Notifier(Protocol):
    """Talks to one receiver. Returning means that the receiver has the message."""

    async def notify(self, message: Message) -> str | None:
        """Deliver once. Raises DeliveryError; the lane decides whether and when to try again.

        Returns what people are to know of a message that was taken, as that some of its readers were refused for
        good: it stands with the delivery. Most often there is nothing to say.
        """
        ...

    async def repeat(self) -> None:
        """Say again what has to be said again, where the receiver forgets. Called each minute; never twice at once."""
        ...

    async def connect(self) -> None:
        """Find out whether the receiver can be reached, and send it nothing. Raises DeliveryError."""
        ...

    async def close(self) -> None: ...
