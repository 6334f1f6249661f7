"""What operators do to a running system, beyond what a statement in the store can: one function each."""

from taskwatch.clock import Clock
from taskwatch.core.events import receiver_test_event
from taskwatch.engine.attempt import try_once
from taskwatch.engine.ports import Notifier
from taskwatch.model.delivery import Message
from taskwatch.model.event import Event


async def try_receiver(notifier: Notifier, *, receiver: str, timeout: float, clock: Clock) -> Event:  # noqa: ASYNC109  (the receiver's own)
    """Send a clearly marked event to a receiver, once, and close the notifier. Raises DeliveryError."""
    event = receiver_test_event(receiver, at=clock.now())
    try:
        failure = await try_once(notifier, Message(event_id=event.id, body=event.body), timeout=timeout)
    finally:
        await notifier.close()
    if failure is not None:
        raise failure
    return event
