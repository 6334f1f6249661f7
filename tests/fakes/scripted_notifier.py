"""A receiver that does what a script says, and remembers what it was sent, and when."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Message, Reason, Scope

Conduct = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One message as it arrived, and when (monotonic)."""

    message: Message
    at: float


@dataclass(slots=True)
class ScriptedNotifier:
    """Accepts all, unless `conduct` raises or waits. What it accepted is `accepted`."""

    conduct: Conduct | None = None
    attempts: list[Attempt] = field(default_factory=list)
    accepted: list[Message] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def repeat(self) -> None:
        """Repeat nothing."""

    async def notify(self, message: Message) -> None:
        self.attempts.append(Attempt(message=message, at=asyncio.get_running_loop().time()))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.conduct is not None:
                await self.conduct(message)
            self.accepted.append(message)
        finally:
            self.in_flight -= 1

    async def connect(self) -> None:
        """Connect to nothing: a script has no host."""

    async def close(self) -> None:
        return

    @property
    def times(self) -> list[float]:
        return [attempt.at for attempt in self.attempts]

    @property
    def tried(self) -> list[str]:
        return [attempt.message.event_id for attempt in self.attempts]

    @property
    def taken(self) -> list[str]:
        return [message.event_id for message in self.accepted]


class Tries:
    """Counts how often each event was tried, this time included."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def __call__(self, message: Message) -> int:
        self._seen[message.event_id] += 1
        return self._seen[message.event_id]


def server_error() -> DeliveryError:
    return DeliveryError(Reason.SERVER_ERROR, "host answered 503")


def no_connection() -> DeliveryError:
    return DeliveryError(Reason.NETWORK, "cannot reach host: connection refused")


def throttled(retry_after: float | None = None) -> DeliveryError:
    return DeliveryError(Reason.THROTTLED, "host answered 429", Scope.RECEIVER, retry_after)


def unauthorized() -> DeliveryError:
    return DeliveryError(Reason.UNAUTHORIZED, "host answered 401", Scope.RECEIVER)


def rejected() -> DeliveryError:
    return DeliveryError(Reason.REJECTED, "host answered 400")


def gone() -> DeliveryError:
    return DeliveryError(Reason.GONE, "host answered 410", Scope.PAUSED)


def fails_while(
    is_down: Callable[[], bool], error: Callable[[], DeliveryError] = no_connection, *, about: bytes = b""
) -> Conduct:
    """Refuse everything, or everything that says this, while `is_down` says so."""

    async def conduct(message: Message) -> None:
        await asyncio.sleep(0)
        if is_down() and about in message.body:
            raise error()

    return conduct


def fails_times(times: int, error: Callable[[], Exception] = server_error) -> Conduct:
    """Refuse the first attempts, then accept."""
    left = times

    async def conduct(_: Message) -> None:
        nonlocal left
        await asyncio.sleep(0)
        if left > 0:
            left -= 1
            raise error()

    return conduct


def takes(seconds: float) -> Conduct:
    """Accept after so many seconds."""

    async def conduct(_: Message) -> None:
        await asyncio.sleep(seconds)

    return conduct
