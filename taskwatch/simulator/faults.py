"""Faults on demand: which kind strikes the next request of a project."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from taskwatch.clock import Clock
from taskwatch.simulator.behaviour import is_header_text

MAX_FAULTS = 100  # orders in force at once
IAM = "iam"  # in place of a project: the fault strikes what IAM is asked
_LONGEST_RETRY_AFTER = 86_400
_LONGEST_AGE = 86_400.0
_USUAL_AGE = 60.0


class FaultKind(StrEnum):
    """What can go wrong on the way to a task list."""

    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    THROTTLED = "429"
    SERVER_FAILURE = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    GATEWAY_TIMEOUT = "504"
    HTML = "html-200"  # a proxy's page, as success
    EMPTY = "empty-200"
    NULL_TASKS = "null-tasks"
    OBJECT_TASKS = "object-tasks"
    ERROR_AS_SUCCESS = "error-200"
    GARBAGE = "garbage"  # not JSON
    CUT = "cut"  # the connection ends in the middle of the body
    RESET = "reset"
    SLOW = "slow"  # a few bytes each second
    SILENCE = "silence"  # no answer at all
    STALE = "stale"  # the list as it was some time ago, of a replica that lags
    ANY = "any"  # one of the above that can be told from an honest answer, drawn anew for each request


_TELLING = [kind for kind in FaultKind if kind not in (FaultKind.STALE, FaultKind.ANY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What strikes one request."""

    kind: FaultKind
    retry_after: int | str | None = None  # told with a 429 only: seconds, or text as it stands
    age_seconds: float = 0.0  # simulated, of a stale answer only


@dataclass(slots=True, kw_only=True)
class _Order:
    kind: FaultKind
    project_id: str | None
    count: int | None
    until: float | None  # on the monotonic clock
    probability: float | None
    retry_after: int | str | None
    age_seconds: float


class Faults:
    """The orders in force; the oldest that applies to a request strikes it."""

    def __init__(self, *, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._random = Random(f"{seed}/faults")
        self._orders: list[_Order] = []

    def add(
        self,
        kind: str,
        *,
        project_id: str | None = None,
        count: int | None = None,
        seconds: float | None = None,
        probability: float | None = None,
        retry_after: int | str | None = None,
        age_seconds: float | None = None,
    ) -> None:
        """Order a fault for one project, for all, or for IAM (which the orders for all leave alone).

        It strikes `count` requests, those within so many (real) seconds, or each with a
        probability; what is given together holds together, and with none of them it strikes one
        request. Raises ValueError for an order that makes no sense.
        """
        _require(kind in set(FaultKind), f"kind must be one of: {', '.join(FaultKind)}")
        _require(count is None or count >= 1, "count must be at least 1")
        _require(seconds is None or seconds > 0, "seconds must be more than 0")
        _require(probability is None or 0 < probability <= 1, "probability must be more than 0 and at most 1")
        _require(
            not isinstance(retry_after, int) or 0 <= retry_after <= _LONGEST_RETRY_AFTER,
            f"retry_after must be 0 to {_LONGEST_RETRY_AFTER}, or text",
        )
        _require(is_header_text(retry_after), "retry_after must be one line of text, or a number")
        _require(
            age_seconds is None or (kind == FaultKind.STALE and 0 < age_seconds <= _LONGEST_AGE),
            f"age_seconds goes with {FaultKind.STALE} and must be more than 0 and at most {_LONGEST_AGE:.0f}",
        )
        self._forget_spent()
        _require(len(self._orders) < MAX_FAULTS, f"at most {MAX_FAULTS} faults at once")
        is_once = count is None and seconds is None and probability is None
        self._orders.append(
            _Order(
                kind=FaultKind(kind),
                project_id=project_id,
                count=1 if is_once else count,
                until=None if seconds is None else self._clock.monotonic() + seconds,
                probability=probability,
                retry_after=retry_after,
                age_seconds=age_seconds or _USUAL_AGE,
            )
        )

    def clear(self) -> None:
        """End all faults."""
        self._orders.clear()

    def strike(self, project_id: str) -> Fault | None:
        """Return the fault that strikes this request, and count it."""
        if not self._orders:
            return None
        self._forget_spent()
        for order in self._orders:
            if order.project_id != project_id and (order.project_id is not None or project_id == IAM):
                continue
            if order.probability is not None and self._random.random() >= order.probability:
                continue
            if order.count is not None:
                order.count -= 1
            kind = self._random.choice(_TELLING) if order.kind is FaultKind.ANY else order.kind
            return Fault(
                kind=kind,
                retry_after=order.retry_after,
                age_seconds=order.age_seconds if kind is FaultKind.STALE else 0.0,
            )
        return None

    def in_force(self) -> list[dict[str, object]]:
        """Return the orders that may still strike, as plain values for display."""
        self._forget_spent()
        now = self._clock.monotonic()
        return [
            {
                "kind": order.kind,
                "project_id": order.project_id,
                "count": order.count,
                "seconds": None if order.until is None else order.until - now,
                "probability": order.probability,
                "retry_after": order.retry_after,
                "age_seconds": order.age_seconds if order.kind is FaultKind.STALE else None,
            }
            for order in self._orders
        ]

    def _forget_spent(self) -> None:
        now = self._clock.monotonic()
        self._orders = [
            order
            for order in self._orders
            if (order.count is None or order.count > 0) and (order.until is None or now < order.until)
        ]


def _require(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as the claim it checks
    if not holds:
        raise ValueError(message)
