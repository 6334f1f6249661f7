"""Deliveries: an event on its way to a receiver."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from taskwatch.model.event import EventId

DeliveryId = NewType("DeliveryId", int)


class DeliveryState(StrEnum):
    PENDING = "pending"
    HELD = "held"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"
    SUPPRESSED = "suppressed"


class Reason(StrEnum):
    """Why an attempt failed. A bounded set: logs and metrics use it as a label."""

    NETWORK = "network"
    TIMEOUT = "timeout"
    TLS = "tls"
    SERVER_ERROR = "server_error"  # 5xx
    THROTTLED = "throttled"  # 429
    UNAUTHORIZED = "unauthorized"  # 401, 403, or a secret that cannot be read
    NOT_FOUND = "not_found"  # 404
    GONE = "gone"  # 410
    REDIRECTED = "redirected"  # 3xx, never followed
    REJECTED = "rejected"  # any other answer
    LOCAL = "local"  # this host refused: a file cannot be written, a program not started
    BROKEN = "broken"  # the notifier itself raised


class Scope(StrEnum):
    """Whom a failed attempt speaks of."""

    EVENT = "event"  # this event; others may pass
    PART = "part"  # some of those whom the receiver writes to: the others have it
    RECEIVER = "receiver"  # all of them wait
    PAUSED = "paused"  # all of them wait until an operator acts (410)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a notifier is given: one event, rendered."""

    event_id: EventId
    body: bytes  # the CloudEvent
    replay: bool = False  # an operator sends it again; it stands outside the order


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A pending delivery as its lane holds it. The body stays in the store until it is sent."""

    id: DeliveryId
    event_id: EventId
    task: str  # what order is kept for: the project and the subject of the event
    attempts: int = 0
    poisoned: int = 0  # failures while others succeeded
    tried_seconds: float = 0.0  # time since the first attempt in which taskwatch ran
    replay: bool = False
    in_part: bool = False  # some have it already


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The receiver said that it has it."""

    remark: str | None = None  # of what it did not take of it, and never will


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Not yet, or not all of it. `poisoned` and `tried_seconds` are the new totals."""

    reason: Reason
    detail: str
    poisoned: int
    tried_seconds: float
    in_part: bool = False  # some have it: the others alone are asked again, and nothing else waits for them


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """Given up; kept, counted and told."""

    reason: Reason
    detail: str
    why: str  # horizon or poison
    poisoned: int
    tried_seconds: float


Outcome = Delivered | Retry | Dead


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedReceiver:
    """A receiver that is configured no more, for which deliveries wait."""

    name: str
    since: datetime | None  # when it was noted that it is; None: not yet
    pending: int
