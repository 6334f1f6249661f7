"""IAM and a gateway in virtual time, for logins: they lock like the real ones, and count everything.

They share no code with taskwatch. `Iam.obtain` takes what a login sends; `Iam.serve` what a request shows.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from taskwatch.clock import Clock
from taskwatch.cloud.auth.login import Authentication
from taskwatch.cloud.iam import Token
from taskwatch.cloud.transport import Answer
from taskwatch.errors import CloudCause, CloudError

LOCKS_AFTER = 5
LOCK_SECONDS = 900.0
LOCKED = "The account is locked."
ANSWER = Answer(body=b"", headers={})


def refused(message: str = "The username or password is wrong.", *, status: int = 401) -> CloudError:
    return CloudError(
        CloudCause.LOGIN,
        f"iam.example answered {status} {message}",
        http_status=status,
        is_lockout=message == LOCKED,
    )


def unreachable() -> CloudError:
    return CloudError(CloudCause.NETWORK, "iam.example: cannot connect")


def throttled(seconds: float | None) -> CloudError:
    return CloudError(CloudCause.THROTTLED, "too many requests", http_status=429, retry_after=seconds)


@dataclass
class FakeIam:
    """One account of IAM. Tokens live for `life` seconds; `seconds` is how long a login takes."""

    clock: Clock
    password: str = "right-password"
    life: float = 86_400.0
    seconds: float = 0.2
    trouble: Callable[[], CloudError | None] = lambda: None
    unknown: set[str] = field(default_factory=set)  # projects that it lets nobody into
    tries: list[float] = field(default_factory=list)  # when somebody tried to log in
    granted: Counter[str] = field(default_factory=Counter)  # by project
    locks: int = 0
    at_once: int = 0
    most_at_once: int = 0
    _alive: dict[str, tuple[str, float]] = field(default_factory=dict)
    _refusals: deque[float] = field(default_factory=lambda: deque(maxlen=LOCKS_AFTER))
    _locked_until: float = 0.0

    async def obtain(self, password: str, project: str) -> Token:
        self.tries.append(self.clock.monotonic())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        return self._answer(password, project)

    def _answer(self, password: str, project: str) -> Token:
        now = self.clock.monotonic()
        if (trouble := self.trouble()) is not None:
            raise trouble
        if now < self._locked_until:
            raise refused(LOCKED)
        if password != self.password:
            self._refusals.append(now)
            if len(self._refusals) == LOCKS_AFTER and now - self._refusals[0] <= LOCK_SECONDS:
                self._locked_until = now + LOCK_SECONDS
                self.locks += 1
            raise refused()
        if project in self.unknown:
            raise refused("The request you have made requires authentication.")
        self.granted[project] += 1
        token = f"token-{project}-{sum(self.granted.values()):06d}"
        self._alive[token] = (project, now + self.life)
        return Token(text=token, life=self.life)

    def serve(self, shown: Authentication, project: str) -> Answer:
        """Answer a request about a project; a CloudError if the token is not good for it."""
        known = self._alive.get(shown.headers["X-Auth-Token"])
        if known is None or known[0] != project or self.clock.monotonic() >= known[1]:
            raise CloudError(CloudCause.LOGIN, "gaussdb.example answered 401", http_status=401)
        return ANSWER

    def kill_tokens(self) -> None:
        self._alive.clear()

    @property
    def logins(self) -> int:
        return sum(self.granted.values())

    def tries_within(self, seconds: float) -> int:
        """Return how many logins were tried within the busiest span of so many seconds."""
        return max(
            (sum(1 for other in self.tries if 0 <= other - start <= seconds) for start in self.tries),
            default=0,
        )


@dataclass
class FakeSource:
    """A source of tokens for one project, whose password may be changed at any time, as a file may."""

    iam: FakeIam
    project: str
    keeper: "PasswordFile"

    def secrets(self) -> tuple[str, ...]:
        return (self.keeper.read(),)

    async def obtain(self, secrets: tuple[str, ...]) -> Token:
        return await self.iam.obtain(secrets[0], self.project)


@dataclass
class PasswordFile:
    """What an operator edits."""

    password: str = "right-password"
    is_readable: bool = True

    def read(self) -> str:
        if not self.is_readable:
            raise CloudError(CloudCause.LOGIN, "no password: cannot read /run/password")
        return self.password
