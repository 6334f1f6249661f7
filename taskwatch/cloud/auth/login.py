"""How a request is authenticated: what every kind of login promises."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from taskwatch.cloud.transport import Answer, Request
from taskwatch.errors import CloudCause, CloudError, SecretUnreadableError
from taskwatch.secret import Secret

_NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """What says who asks, and what of it no error may show."""

    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


Send = Callable[[Authentication], Awaitable[Answer]]


class Login(Protocol):
    """Authenticates requests. `str()` of it says, for errors, what to check."""

    async def ready(self) -> None:
        """Return when no request would wait for a login: hundreds may be in line, and none is to blame for that.

        Raises CloudError when it is refused, or nothing answers.
        """
        ...

    async def send(self, request: Request, send: Send) -> Answer:
        """Send the request as this login: `send` does it, once for each call.

        A refusal that others would not meet with a renewed login is tried once more, and only once.
        Raises CloudError, with cause login when there is nothing to log in with or it is refused.
        """
        ...


class NoLogin:
    """For endpoints that ask for nothing."""

    def __str__(self) -> str:
        return "the credential (its type is none)"

    async def ready(self) -> None:
        return

    async def send(self, request: Request, send: Send) -> Answer:  # noqa: ARG002  (nothing of it is signed)
        return await send(_NOBODY)


_NOBODY: Final = Authentication()


def revealed(secret: Secret, *, said: str) -> str:
    """Return a secret as it is now. Raises CloudError (login); `said` names what is missing."""
    try:
        return secret.reveal()
    except SecretUnreadableError as error:
        problem = f"no {said}: {error}"
    # Raised out here, and so without a context: the error of a file that is no text holds its bytes.
    raise CloudError(CloudCause.LOGIN, problem)


def sendable(text: str, *, said: str) -> str:
    """Return the text if a header can hold it. Raises CloudError (login) otherwise; `said` names it."""
    if not (text and text.isascii() and text.isprintable()):
        raise CloudError(
            CloudCause.LOGIN,
            f"{said} is empty or holds characters that none has: a line end, another control"
            " character, or a letter outside ASCII; was more than that copied?",
        )
    return text
