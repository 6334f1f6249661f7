"""What all logins of one credential share: one login at a time, and the times in which none is tried.

Invariants:
- IAM locks an account after five refused logins within 15 minutes, and an access key after more
  than five in a row: neither is reached, however many projects ask. The rest is for commands that
  an operator runs beside the daemon.
- What was refused is tried again after a minute, then each 10 minutes, no more than twice in 15, and
  at once when it has changed.
- One project that IAM does not let in holds up no other, but in the first minute: after a success
  the first refusal is taken for the project's, and the second one, of another, for the credential's.
- Trouble is logged once, whatever the number of projects; and once more when it is another, or when
  what was changed is refused too.
"""

import asyncio
from collections import deque
from dataclasses import replace
from datetime import datetime
from typing import Final

from taskwatch.clock import Clock
from taskwatch.errors import CloudCause, CloudError
from taskwatch.telemetry import Logger

REFUSED: Final = (60.0, 600.0)  # seconds without a try after the first refusal, and after each further one
TROUBLED: Final = (5.0, 10.0, 20.0, 40.0, 60.0)  # the same where IAM came to no answer
_THROTTLED: Final = 60.0  # people are told "wait up to one minute" when they are throttled
_LONGEST: Final = 3600.0  # whatever a host asks for
_LOCKED: Final = 900.0  # a locked account opens after 15 minutes

_YIELDED: Final = 60.0  # the refused one lets the others try first
_SPAN: Final = 900.0  # within it
_MOST_REFUSALS: Final = 3  # so many refusals are risked,
_MOST_REPEATED: Final = 2  # and so many with what was refused before: the rest is for what changes

_UNAUTHORIZED: Final = 401
_REFUSALS: Final = (CloudCause.LOGIN, CloudCause.PERMISSION, CloudCause.NOT_FOUND, CloudCause.BAD_ANSWER)

Secrets = tuple[str, ...]


class PausedError(CloudError):
    """Nothing was asked: what was asked before has failed, and its time has not come."""


class Pause:
    """A time in which nothing is asked: longer each time, and over at once when what was refused has changed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._error: CloudError | None = None
        self._secrets: Secrets | None = None  # what was refused; None: nothing that could change
        self._since: datetime | None = None
        self._until = 0.0
        self._times = 0

    @property
    def has_begun(self) -> bool:
        """Whether nothing has succeeded since it began; its time may have passed."""
        return self._error is not None

    def is_of(self, secrets: Secrets) -> bool:
        """Tell whether it began with these."""
        return self.has_begun and self._secrets in (None, secrets)

    def begin(
        self,
        error: CloudError,
        secrets: Secrets | None,
        *,
        lengths: tuple[float, ...] = REFUSED,
        at_least: float = 0.0,
    ) -> float:
        """Begin, or begin once more and for longer. Returns for how many seconds."""
        now = self._clock.monotonic()
        if not self.has_begun or secrets != self._secrets:
            self._times, self._since, self._until = 0, self._clock.now(), now
        if now < self._until:  # asked before it began: that makes it no longer
            seconds = max(self._until - now, at_least)
        else:
            seconds = max(lengths[min(self._times, len(lengths) - 1)], at_least)
            self._times += 1
        self._error, self._secrets = error, secrets
        self._until = now + seconds
        return seconds

    def settle(self) -> None:
        """Begin with the shortest time again, when it begins anew; what is left of it stays."""
        self._times = 0

    def end(self) -> None:
        self._error = self._secrets = None

    def refusal(self, secrets: Secrets) -> PausedError | None:
        """Return what is said to who would try these, for as long as it holds."""
        left = self._until - self._clock.monotonic()
        if self._error is None or not self.is_of(secrets) or left <= 0:
            return None
        return paused(self._error, self._since, left, can_change=bool(self._secrets))


def paused(error: CloudError, since: datetime | None, left: float, *, can_change: bool) -> PausedError:
    """Return the error as those hear it who ask before the time has come."""
    begun = "" if since is None else f"since {since:%H:%M} UTC; "
    change = ", or as soon as what it logs in with changes" if can_change else ""
    return PausedError(
        error.cause,
        error.message,
        http_status=error.http_status,
        error_code=error.error_code,
        request_id=error.request_id,
        retry_after=left,
        prospect=f"{begun}next try in {left:.0f} s{change}",
        is_told=True,
    )


_Told = tuple[CloudCause, bool]  # and whether it says that the account is locked


class Standing:
    """How one login of an account stands: each has a project of its own, and may be refused for it."""

    def __init__(self, clock: Clock) -> None:
        self.pause = Pause(clock)
        self.told: tuple[int, _Told] | None = None  # in which trouble of the account what of it was logged


class Account:
    """The account of a credential, whose name it has."""

    def __init__(self, *, name: str, clock: Clock, log: Logger) -> None:
        self.name = name
        self.turn = asyncio.Lock()  # held by the login that is under way
        self._clock = clock
        self._log = log.bind(credential=name)
        self._is_proven = False  # it has been let in
        self._standings = 0  # as many as there ever were
        self._refused = Pause(clock)
        self._troubled = Pause(clock)
        self._row: set[Standing] = set()  # refused since the last success
        self._refusals: deque[tuple[float, str, CloudError]] = deque(maxlen=_MOST_REFUSALS)
        self._told: set[_Told] = set()  # logged since the last success,
        self._told_of: Secrets | None = None  # of these
        self._put_off: Secrets | None = None  # that these have to wait was logged
        self._trouble = 0  # counts the troubles of the whole account

    def __str__(self) -> str:
        return f"the credential {self.name}"

    @property
    def is_refused(self) -> bool:
        """Whether a login was refused, or what it signed, and none was accepted since."""
        return self._refused.has_begun or bool(self._row)

    def standing(self) -> Standing:
        """Return how one more login stands: well."""
        self._standings += 1
        return Standing(self._clock)

    def require(self, standing: Standing, secrets: Secrets, *, lockable: str = "") -> None:
        """Return when it may be tried with these. Raises PausedError when it may not.

        `lockable` is what refusals lock, where that is not the account: an access key by itself.
        """
        too_many = self._one_too_many(standing, secrets, lockable)
        if too_many is not None and secrets not in (self._told_of, self._put_off):
            self._tell_put_off(too_many, secrets)
        pauses = (self._troubled, self._refused, standing.pause)
        refusals = [too_many, *(pause.refusal(secrets) for pause in pauses)]
        if any(refusals):
            raise max(filter(None, refusals), key=lambda refusal: refusal.retry_after or 0.0)

    def accepted(self, standing: Standing) -> None:
        """Take it that a try succeeded: whatever was wrong with the account is over."""
        was_down = self._refused.has_begun or self._troubled.has_begun
        if (was_down and self._told) or self._has_told(standing):
            self._log.info("logged_in_again")
        if was_down:
            self._trouble += 1
        self._is_proven = True
        standing.told = None
        for pause in (self._refused, self._troubled, standing.pause):
            pause.end()
        self._row.clear()
        self._told.clear()

    def failed(
        self, standing: Standing, error: CloudError, secrets: Secrets, *, lockable: str = ""
    ) -> CloudError:
        """Take it that a try failed. Returns the error as it is to be told."""
        if isinstance(error, PausedError):  # of another account, which this one logs in through
            return error
        named = _named(error, self)
        seconds = self._begin_pause(standing, named, secrets, lockable)
        if not error.is_told:
            self._tell(standing, named, seconds, secrets)
        return paused(named, None, seconds, can_change=named.cause is CloudCause.LOGIN)

    def unready(self, standing: Standing, error: CloudError) -> CloudError:
        """Take it that there is nothing to try with. It costs nothing, so there is no pause."""
        named = _named(error, self)
        self._tell(standing, named, 0.0, None)
        return named

    def leave(self) -> None:
        """Take it that nothing logs in as this account any more: trouble that was told has no other end."""
        if self._told:
            self._log.info("login_not_needed_any_more")
        self._told.clear()
        self._trouble += 1

    def _one_too_many(self, standing: Standing, secrets: Secrets, lockable: str) -> PausedError | None:
        now = self._clock.monotonic()
        recent = [
            (refused_at, error)
            for refused_at, locked, error in self._refusals
            if locked == lockable and now - refused_at < _SPAN
        ]
        is_the_accounts = len(self._row) > 1 and self._refused.is_of(secrets)
        is_repeated = is_the_accounts or standing.pause.is_of(secrets)
        allowed = _MOST_REPEATED if is_repeated else _MOST_REFUSALS
        if len(recent) < allowed:
            return None
        refused_at, error = recent[-allowed]
        return paused(error, None, refused_at + _SPAN - now, can_change=allowed < _MOST_REFUSALS)

    def _begin_pause(self, standing: Standing, error: CloudError, secrets: Secrets, lockable: str) -> float:
        if not _is_refusal(error):
            asked_for = error.retry_after or _THROTTLED if error.cause is CloudCause.THROTTLED else 0.0
            changeable = secrets if error.cause is CloudCause.LOGIN else None  # nothing was asked with them
            return self._troubled.begin(
                error, changeable, lengths=TROUBLED, at_least=min(asked_for, _LONGEST)
            )
        if error.http_status != _UNAUTHORIZED:  # it knows us, and does not let us in there
            return standing.pause.begin(error, secrets)
        self._refusals.append((self._clock.monotonic(), lockable, error))
        self._row.add(standing)
        may_be_its_own = len(self._row) == 1 and not error.is_lockout
        if may_be_its_own and self._is_proven:
            return standing.pause.begin(error, secrets)
        lengths = REFUSED[:1] if may_be_its_own else REFUSED
        longest = _LOCKED if error.is_lockout else 0.0
        seconds = self._refused.begin(error, secrets, lengths=lengths, at_least=longest)
        yielded = _YIELDED if self._standings > 1 else 0.0
        standing.pause.begin(error, secrets, at_least=seconds + yielded)
        return seconds

    def _tell(self, standing: Standing, error: CloudError, seconds: float, secrets: Secrets | None) -> None:
        if secrets != self._told_of:  # somebody has changed them, and wants to know
            self._told.clear()
            self._told_of = secrets
            self._trouble += 1
        told = error.cause, error.is_lockout
        is_told = told in self._told or standing.told == (self._trouble, told)
        log = self._log.debug if is_told else self._log.warning
        if not is_told:
            standing.told = self._trouble, told
        self._told.add(told)
        if _is_refusal(error):
            log("login_refused", cause=error.cause.value, error=str(error), retry_in_seconds=round(seconds))
        else:
            log("login_failed", cause=error.cause.value, error=str(error), retry_in_seconds=round(seconds))

    def _has_told(self, standing: Standing) -> bool:
        return standing.told is not None and standing.told[0] == self._trouble

    def _tell_put_off(self, refusal: PausedError, secrets: Secrets) -> None:
        self._put_off = secrets
        self._log.warning(
            "login_put_off",
            cause=refusal.cause.value,
            error=f"{refusal.message}; what has changed since is not tried yet: a few more refusals would lock it",
            retry_in_seconds=round(refusal.retry_after or 0.0),
        )


def _is_refusal(error: CloudError) -> bool:
    """Tell whether the host itself answered, and the answer was no."""
    status = error.http_status
    return error.cause in _REFUSALS and status is not None and 400 <= status <= 499  # noqa: PLR2004


def _named(error: CloudError, account: Account) -> CloudError:
    return replace(error, message=f"credential {account.name}: {error.message}", is_told=True)
