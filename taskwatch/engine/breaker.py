"""What the answers of one receiver say about the receiver: whether it is down, and when to ask again.

Invariants:
- A receiver that is down is asked one event at a time; any success ends it.
- What the receiver asked for by Retry-After is not shortened, not even by a success; only an operator
  does that, who gives it another configuration or tries it with success.
"""

from collections.abc import Callable
from typing import Final

from taskwatch.core.backoff import clamp_retry_after
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason, Scope

DOWN_AFTER: Final = 5  # failures in a row


class Breaker:
    """Takes the outcome of each attempt. All times are monotonic seconds."""

    def __init__(self, *, delay: Callable[[int], float], initial: float) -> None:
        """`delay` tells how long to wait after so many failures; `initial` is the shortest of them."""
        self._delay = delay
        self._initial = initial
        self.failures = 0  # in a row
        self.successes = 0
        self.is_down = False
        self.is_paused = False  # until an operator acts
        self.failing_since: float | None = None  # without a success in between
        self.works_since: float | None = None  # without a failure in between
        self._resume_at = 0.0  # any success ends it
        self._asked_until = 0.0
        self._failed_at = 0.0

    def forget(self, *, initial: float) -> None:
        """Think well of the receiver again: it is another one now, or somebody has seen to it."""
        self.failures, self.is_down, self.is_paused = 0, False, False
        self.failing_since = None
        self._resume_at = self._asked_until = 0.0
        self._initial = initial

    def succeeded(self, *, now: float) -> None:
        self.successes += 1
        self.failing_since = None
        self.works_since = now if self.works_since is None else self.works_since
        self.failures, self.is_down, self._resume_at = 0, False, 0.0

    def failed(self, failure: DeliveryError, *, attempts: int, now: float) -> None:
        """Take a failure of an event that was tried so many times."""
        self.failures += 1
        self.failing_since = now if self.failing_since is None else self.failing_since
        self.works_since = None
        self._failed_at = now
        self.is_paused |= failure.scope is Scope.PAUSED
        if failure.scope is not Scope.EVENT or self.failures >= DOWN_AFTER:
            self.is_down = True
            if failure.retry_after is None:
                self._resume_at = now + self._delay(self.failures)
        if failure.retry_after is not None:
            self._ask_not_before(now + clamp_retry_after(failure.retry_after))
        elif failure.reason is Reason.THROTTLED:
            # No success of another event is a reason to ask sooner.
            self._ask_not_before(now + self._delay(attempts))

    def hold(self, until: float) -> None:
        """Let nothing through until then, for a reason of our own."""
        self._resume_at = max(self._resume_at, until)

    def opens_at(self, *, untried_since: float | None) -> float:
        """Return when the next event is let through. `untried_since`: it is new, and came then.

        One bad event must not hold up those that come after it: a new one that came after the last
        failure probes after `initial`.
        """
        resume_at = self._resume_at
        if self.is_down and untried_since is not None and untried_since >= self._failed_at:
            resume_at = min(resume_at, self._failed_at + self._initial)
        return max(resume_at, self._asked_until)

    def _ask_not_before(self, instant: float) -> None:
        self._asked_until = max(self._asked_until, instant)
