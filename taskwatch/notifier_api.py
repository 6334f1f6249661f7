"""What authors of notifiers import. docs/notifiers.md begins with a whole notifier.

Promises to them:
- What stands in `__all__` keeps its name and its meaning. A change that could break a notifier counts API_VERSION up.
- A notifier is made, called and closed on one event loop, that of a thread of its own: what it does there waits for
  nobody else and holds up nobody else. Up to four messages are under way at once, of different tasks.
- Every call has a deadline, the receiver's `timeout`; then it is cancelled.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Self

from pydantic import ConfigDict, ValidationError

from taskwatch.config.fields import Duration, FilePath, Switch, Text, between
from taskwatch.config.kept import SecretText, SecretUrl
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.section import default
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Message, Reason, Scope

__all__ = [
    "API_VERSION",
    "DeliveryError",
    "Duration",
    "FilePath",
    "Message",
    "Notifier",
    "Options",
    "Reason",
    "Scope",
    "SecretText",
    "SecretUrl",
    "Switch",
    "Text",
    "between",
    "default",
]

API_VERSION: Final = 1


class Options(ReceiverOptions):
    """The keys of a receiver: those of every receiver (name, type, timeout, retry …) and those that a subclass adds.

    Its docstring and the descriptions of its keys are for people. Keys that are secrets are SecretText or SecretUrl:
    `reveal()` gives their text, and is called each time anew, because they are kept in files that change.
    """

    model_config = ConfigDict(defer_build=False)  # what cannot be built shows at the import of the plug-in

    @classmethod
    def model_validate(cls, *arguments: Any, **keywords: Any) -> Self:
        """Read the keys. A mistake in a validator is one of this receiver, and no end of reading the configuration."""
        try:
            return super().model_validate(*arguments, **keywords)
        except ValidationError:
            raise
        except Exception as error:  # noqa: BLE001  (foreign code may raise anything; its text may hold a secret)
            raise ValueError(
                f"the plug-in could not read this: {type(error).__name__} in its code; tell its author"
            ) from None


class Notifier(ABC):
    """Talks to one receiver. An entry point in the group `taskwatch.notifiers` names a subclass of it."""

    options: ClassVar[type[Options]] = Options
    """The keys it takes. The name of the entry point is the `type` of such receivers."""

    def __init__(self, options: Any) -> None:  # noqa: B027  (a notifier without options needs none)
        """Take the options, an instance of the class that `options` names. The loop runs already; connect later."""

    @abstractmethod
    async def notify(self, message: Message) -> None:
        """Deliver once, and return when the receiver has it: it is not sent again then.

        `message.body` is the CloudEvent, as bytes of JSON that never change; `message.event_id` is the same whenever
        it is sent again, which happens when nobody knows whether it arrived. Raises DeliveryError, whose detail is
        shown to people and must hold no secret. Of any other exception only the name of its class is shown.
        """

    async def connect(self) -> None:  # noqa: B027  (optional)
        """Find out whether the receiver can be reached, and send it nothing: for `taskwatch check --online`.

        Raises DeliveryError. What cannot be found out without sending anything counts as reached.
        """

    async def close(self) -> None:  # noqa: B027  (optional)
        """Close what is open. Nothing is called after it; it is given two seconds."""
