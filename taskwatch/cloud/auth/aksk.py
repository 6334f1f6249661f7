"""Access keys (AK/SK): no token, each request is signed.

Invariants:
- More than five refused signatures in a row lock a key for everybody who uses it. So one request at a
  time goes out until one was accepted, then a few at once, and after a refusal none for a while.
- A key that is not accepted yet lets nothing past its one request, however long the answer takes: it
  ends with the deadline of its poll, and the next in the row goes out.
- Each attempt has a date of its own, by the cloud's clock where this host's turned out to be wrong.
- Keys are read for each request: temporary ones, which live for minutes, count as soon as they change.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from taskwatch.clock import Clock
from taskwatch.cloud.auth.account import Account, PausedError, Secrets, Standing
from taskwatch.cloud.auth.login import Authentication, Send, revealed, sendable
from taskwatch.cloud.signing import signed
from taskwatch.cloud.transport import Answer, Request
from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import Secret
from taskwatch.telemetry import Logger

_MOST_IN_FLIGHT: Final = 3  # all may be refused, and one more tried: less than what locks
_MOST_DOUBTED: Final = 2  # besides them, and of those that are late: the pause begins with the second refusal
_HELD_SECONDS: Final = 1.0  # a request that has no answer by then is late: it may wait for the service behind
_WRONG_BY: Final = timedelta(minutes=5)  # signatures are refused for clocks that are 15 minutes apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """An access key and its secret key; a temporary one has a security token too."""

    access: str = field(repr=False)
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> Secrets:
        return (self.access, self.secret, self.security_token or "")


class KeySource(Protocol):
    """Where keys are kept."""

    def read(self) -> Keys:
        """Return the keys as they are now. Raises CloudError (login)."""
        ...


class SecretKeys:
    """Keys that are kept as secrets."""

    def __init__(self, *, access_key: Secret, secret_key: Secret, security_token: Secret | None) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._security_token = security_token

    def read(self) -> Keys:
        token = self._security_token
        return Keys(
            access=sendable(revealed(self._access_key, said="access key"), said="the access key"),
            secret=revealed(self._secret_key, said="secret key"),
            security_token=None
            if token is None
            else sendable(revealed(token, said="security token"), said="the security token"),
        )


class Signer:
    """Signs as one credential, for all of its projects."""

    def __init__(self, keys: KeySource, *, account: Account, clock: Clock, log: Logger) -> None:
        self.account = account
        self._keys = keys
        self._clock = clock
        self._log = log.bind(credential=account.name)
        self._few = _Slots(_MOST_IN_FLIGHT)
        self._one = asyncio.Lock()
        self._accepted: Keys | None = None  # by the last answer
        self._cloud_clock: tuple[datetime, float] | None = None  # and the monotonic time when it was read

    async def send(
        self, request: Request, send: Send, *, project_id: str | None, standing: Standing
    ) -> Answer:
        """Send the request signed; once more if the keys, or the time, have changed what was refused."""
        keys, cloud_clock = self._read(standing), self._cloud_clock
        try:
            return await self._sent(request, send, keys, project_id=project_id, standing=standing)
        except CloudError as error:
            if error.cause is not CloudCause.LOGIN or isinstance(error, PausedError):
                raise
            refusal = error
        renewed = self._read(standing)
        is_corrected = self._cloud_clock is not cloud_clock or self._learn(refusal)
        if renewed == keys and not is_corrected:
            raise self._refused(standing, refusal, keys)
        try:
            return await self._sent(request, send, renewed, project_id=project_id, standing=standing)
        except CloudError as error:
            if error.cause is not CloudCause.LOGIN or isinstance(error, PausedError):
                raise
            refusal = error
        raise self._refused(standing, refusal, renewed)

    def _read(self, standing: Standing) -> Keys:
        try:
            return self._keys.read()
        except CloudError as error:
            problem = self.account.unready(standing, error)
        raise problem

    async def _sent(
        self, request: Request, send: Send, keys: Keys, *, project_id: str | None, standing: Standing
    ) -> Answer:
        while True:  # whether they are accepted may change while it waits
            if keys == self._accepted:
                async with self._few.one():
                    if keys == self._accepted:
                        return await self._attempt(
                            request, send, keys, project_id=project_id, standing=standing
                        )
            else:
                async with self._one, self._few.one():
                    if keys != self._accepted:
                        return await self._attempt(
                            request, send, keys, project_id=project_id, standing=standing
                        )

    async def _attempt(
        self, request: Request, send: Send, keys: Keys, *, project_id: str | None, standing: Standing
    ) -> Answer:
        self.account.require(standing, keys.secrets, lockable=keys.access)
        try:
            answer = await send(self._signed(request, keys, project_id))
        except CloudError as error:
            if error.cause is CloudCause.LOGIN:
                self._accepted = None
            raise
        self._accepted = keys
        self._few.prove()
        self.account.accepted(standing)
        return answer

    def _signed(self, request: Request, keys: Keys, project_id: str | None) -> Authentication:
        headers = {}
        if project_id is not None:
            headers["X-Project-Id"] = project_id
        if keys.security_token is not None:
            headers["X-Security-Token"] = keys.security_token
        headers = signed(request, headers, access_key=keys.access, secret_key=keys.secret, now=self._now())
        # A signature can be sent again, by whoever reads it, for as long as its date is taken for now.
        signature = headers["Authorization"].rpartition("=")[2]
        return Authentication(headers=headers, secrets=(*keys.secrets, signature))

    def _now(self) -> datetime:
        if self._cloud_clock is None:
            return self._clock.now()
        date, read_at = self._cloud_clock
        return date + timedelta(seconds=self._clock.monotonic() - read_at)

    def _learn(self, refusal: CloudError) -> bool:
        """Take over the cloud's time where it is another; tell whether it is."""
        date = refusal.answered_at
        if date is None or abs(self._now() - date) < _WRONG_BY:
            return False
        self._cloud_clock = (date, self._clock.monotonic())
        self._log.warning("clock_found_wrong", error=self._apart())
        return True

    def _apart(self) -> str:
        ahead = (self._clock.now() - (self._now())).total_seconds()
        side = "ahead of" if ahead > 0 else "behind"
        return f"this host's clock is {abs(ahead):.0f} s {side} the cloud's, whose time is used; set it (NTP)"

    def _refused(self, standing: Standing, refusal: CloudError, keys: Keys) -> CloudError:
        if self._cloud_clock is not None and abs(self._clock.now() - self._now()) >= _WRONG_BY:
            refusal.message = f"{refusal.message}; {self._apart()}"
        return self.account.failed(standing, refusal, keys.secrets, lockable=keys.access)


class AkskLogin:
    """Signs the requests of one project, or of none (IAM's)."""

    def __init__(self, signer: Signer, *, project_id: str | None) -> None:
        self._signer = signer
        self._project_id = project_id
        self._standing = signer.account.standing()

    def __str__(self) -> str:
        return str(self._signer.account)

    async def ready(self) -> None:
        return

    async def send(self, request: Request, send: Send) -> Answer:
        return await self._signer.send(request, send, project_id=self._project_id, standing=self._standing)


class _Slots:
    """So many at once. One that is late makes room when another is accepted after it was sent.

    Without that, two make room for one more each: those behind which nothing answers hold up no other,
    and of those that are refused late there are no more than a key outlives.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._proofs = 0
        self._waiting: dict[object, Callable[[], None]] = {}  # late ones that still hold their slot
        self._doubted: set[object] = set()  # and those that made room unproven

    def prove(self) -> None:
        """Take it that the key was accepted now."""
        self._proofs += 1
        self._doubted.clear()
        for release in tuple(self._waiting.values()):
            release()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        await self._free.acquire()
        me, proofs, is_held = object(), self._proofs, True

        def release() -> None:
            nonlocal is_held
            self._waiting.pop(me, None)
            if is_held:
                is_held = False
                self._free.release()

        def be_late() -> None:
            if self._proofs > proofs:
                release()
            elif len(self._doubted) < _MOST_DOUBTED:
                self._doubted.add(me)
                release()
            else:
                self._waiting[me] = release

        timer = asyncio.get_running_loop().call_later(_HELD_SECONDS, be_late)
        try:
            yield
        finally:
            timer.cancel()
            self._doubted.discard(me)
            release()
