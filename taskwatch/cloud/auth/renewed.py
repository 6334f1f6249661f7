"""Tokens that taskwatch obtains itself and renews before they expire.

Invariants:
- However many polls want a token, one login is under way: they all wait for it, and none that gives
  up waiting ends it for the others.
- A token is used until it expires, also while a renewal fails.
- A token that the service refuses is replaced once; a new one that is refused too is not, until its
  time has come: a wrong region would be a login for each poll.
- A token's life is counted on the monotonic clock.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final, Protocol

from taskwatch.clock import Clock
from taskwatch.cloud.auth.account import Account, Pause, PausedError, Secrets
from taskwatch.cloud.auth.login import Authentication, Send
from taskwatch.cloud.auth.token import authentication_by
from taskwatch.cloud.iam import Token
from taskwatch.cloud.transport import Answer, Request
from taskwatch.errors import CloudCause, CloudError

_LONGEST_MARGIN: Final = 1800.0  # seconds before its end; a token that is about to expire may fail
_SHARE: Final = 4  # of a life that is shorter


class TokenSource(Protocol):
    """Where tokens come from. It logs in when it is asked to, and remembers nothing."""

    def secrets(self) -> Secrets:
        """Return what it logs in with, as it is now. Raises CloudError when that cannot be read."""
        ...

    async def obtain(self, secrets: Secrets) -> Token:
        """Log in with these, within a bounded time. Raises CloudError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A token in use. Its moments are monotonic."""

    token: Token
    authentication: Authentication
    renewed_from: float
    expires_at: float


class RenewedLogin:
    """A token of one credential for one scope. `close` ends what is under way."""

    def __init__(self, source: TokenSource, *, account: Account, clock: Clock) -> None:
        self._source = source
        self._account = account
        self._clock = clock
        self._standing = account.standing()
        self._distrust = Pause(clock)  # while new tokens are refused too
        self._held: _Held | None = None
        self._login: asyncio.Task[_Held | CloudError] | None = None
        self._is_closed = False

    def __str__(self) -> str:
        return str(self._account)

    @property
    def expires_in(self) -> float | None:
        """Seconds until its token expires, negative when it has; None: it has none."""
        return None if self._held is None else self._held.expires_at - self._clock.monotonic()

    async def ready(self) -> None:
        await self._current()

    async def send(self, request: Request, send: Send) -> Answer:  # noqa: ARG002  (nothing of it is signed)
        held = await self._current()
        try:
            answer = await send(held.authentication)
        except CloudError as error:
            if error.cause is not CloudCause.LOGIN:
                raise
            renewed = await self._replaced(held, error)
            answer = await send(renewed.authentication)
        self._distrust.settle()
        return answer

    async def token(self) -> Token:
        """Return a token that holds. Raises CloudError."""
        return (await self._current()).token

    def secrets(self) -> Secrets:
        """Return what it logs in with: another login goes through this one. Raises CloudError."""
        return self._source.secrets()

    async def close(self) -> None:
        """End the login that is under way, if any; who waits for it gets an error."""
        self._is_closed = True
        if self._login is not None:
            self._login.cancel()
            await asyncio.wait([self._login])

    async def _current(self) -> _Held:
        held, now = self._held, self._clock.monotonic()
        if held is None or now >= held.expires_at:
            return await self._renewed()
        if now >= held.renewed_from:
            self._under_way()  # nobody waits for it: this token still holds
        return held

    async def _replaced(self, held: _Held, refusal: CloudError) -> _Held:
        """Return another token than the one that was refused. Raises CloudError."""
        if self._held is not held:  # somebody was faster
            return await self._current()
        if (pause := self._distrust.refusal(self._source.secrets())) is not None:
            raise _refused_again(refusal, pause)
        return await self._renewed(refusal)

    async def _renewed(self, refusal: CloudError | None = None) -> _Held:
        login = self._under_way(refusal)
        await asyncio.wait([login])  # cancelled, this ends the waiting and not the login
        if login.cancelled():
            raise CloudError(CloudCause.LOGIN, f"{self} is not in use any more: reloaded, or stopping")
        outcome = login.result()
        if isinstance(outcome, CloudError):
            raise outcome
        return outcome

    def _under_way(self, refusal: CloudError | None = None) -> "asyncio.Task[_Held | CloudError]":
        """Return the login that is under way, begun now if there was none."""
        if self._login is None:
            self._login = asyncio.create_task(self._log_in(refusal), name=f"login {self._account.name}")
            self._login.add_done_callback(self._ended)
            if self._is_closed:
                self._login.cancel()
        return self._login

    def _ended(self, _: object) -> None:
        self._login = None

    async def _log_in(self, refusal: CloudError | None) -> _Held | CloudError:
        """Log in, if its time has come. `refusal` is what the service said to the token in use."""
        async with self._account.turn:
            try:
                secrets = self._source.secrets()
            except CloudError as error:
                return self._account.unready(self._standing, error)
            try:
                self._account.require(self._standing, secrets)
            except PausedError as error:
                return error
            asked_at = self._clock.monotonic()
            try:
                held = self._holding(await self._source.obtain(secrets), asked_at)
            except CloudError as error:
                return self._account.failed(self._standing, error, secrets)
            self._account.accepted(self._standing)
        self._held = held
        if refusal is not None:
            self._distrust.begin(refusal, secrets)
        return held

    def _holding(self, token: Token, asked_at: float) -> _Held:
        return _Held(
            token=token,
            authentication=authentication_by(token.text, said=f"the token that {self} was given"),
            renewed_from=asked_at + token.life - min(_LONGEST_MARGIN, token.life / _SHARE),
            expires_at=asked_at + token.life,
        )


def _refused_again(refusal: CloudError, pause: PausedError) -> CloudError:
    left = pause.retry_after or 0.0
    prospect = f"a new token was refused as well, or the last one not long ago: next login in {left:.0f} s"
    return replace(refusal, prospect=prospect, retry_after=left)
