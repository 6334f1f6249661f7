"""One attempt at a receiver: the only place where an exception becomes an outcome."""

import asyncio

from taskwatch.engine.ports import DeliveryError, Notifier
from taskwatch.model.delivery import Delivered, Message, Reason


async def try_once(notifier: Notifier, message: Message, *, timeout: float) -> Delivered | DeliveryError:  # noqa: ASYNC109  (the receiver's own)
    """Try once, for so many seconds. Returns that the receiver has it, or why it failed."""
    try:
        async with asyncio.timeout(timeout):
            return Delivered(remark=await notifier.notify(message))
    except DeliveryError as error:
        return error
    except TimeoutError:
        return DeliveryError(Reason.TIMEOUT, f"no answer within {timeout:g} s")
    except asyncio.CancelledError:
        if (trying := asyncio.current_task()) is not None and trying.cancelling():
            raise  # meant for us, not a mistake of the notifier
        return DeliveryError(Reason.BROKEN, "the notifier raised CancelledError")
    except Exception as error:  # noqa: BLE001  (a notifier's mistake is an outcome; its text may hold a secret)
        return DeliveryError(Reason.BROKEN, f"the notifier raised {type(error).__name__}")
