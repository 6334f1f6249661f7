"""How a request is authenticated: what every kind of login promises."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from taskwatch.cloud.transport import Answer, Request

_NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """What says who asks, and what of it no error may show."""

    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    secrets: tuple[str, ...] = ()


Send = Callable[[Authentication], Awaitable[Answer]]


class Login(Protocol):
    """Authenticates requests. `str()` of it says, for errors, what to check."""

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

    async def send(self, request: Request, send: Send) -> Answer:  # noqa: ARG002  (nothing of it is signed)
        return await send(_NOBODY)


_NOBODY: Final = Authentication()
