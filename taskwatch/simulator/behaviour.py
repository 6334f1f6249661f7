"""How the cloud behaves where the documentation is silent, contradicts itself, or is not kept to.

One value, changed as a whole: `cloud.behave(offset="page1")`, or PATCH `/_simulator/behaviour` with
the same names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final

DATE: Final = "date"  # a Retry-After that is a date, a minute from now
_LONGEST_SKEW = 10 * 366 * 86_400.0
_MOST_CHURN = 100
_MAX_TEXT = 100
_MAX_NUMBER = 10**12
_MOST_REQUESTS = 10_000
_LONGEST_THROTTLE = 3_600.0


class Offset(StrEnum):
    """What `offset` counts."""

    RECORD = "record"
    PAGE0 = "page0"
    PAGE1 = "page1"  # 0 is the first page too, unless it is refused


class Order(StrEnum):
    """In which order tasks are listed."""

    NEWEST = "newest"
    OLDEST = "oldest"
    JOB_ID = "job_id"


class Total(StrEnum):
    """What `total_count` is."""

    RIGHT = "right"
    MISSING = "missing"
    WRONG = "wrong"  # by `total_error`
    TEXT = "text"


class Window(StrEnum):
    """What `start_time` and `end_time` filter on."""

    CREATED = "created"
    ENDED = "ended"  # what has not ended is not listed then
    IGNORED = "ignored"


class ForeignProject(StrEnum):
    """How a token of another project is refused."""

    MISMATCH = "mismatch"  # 401, badRequest
    INVALID = "invalid"  # 403, DBS.280056


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The documented cloud, unless told otherwise. Raises ValueError for what makes no sense."""

    offset: Offset = Offset.RECORD
    refuses_offset_zero: bool = False  # where pages are counted from 1
    order: Order = Order.NEWEST
    total: Total = Total.RIGHT
    total_error: int = 0
    window: Window = Window.CREATED
    requires_end_time: bool = False  # with a start_time
    unknown_job_status: int = 404
    foreign_project: ForeignProject = ForeignProject.MISMATCH
    date_skew_seconds: float = 0.0  # by how much the header Date lies; nothing else does
    churn_inserts: int = 0  # new tasks, and records of ended tasks deleted, before each page is served
    churn_deletes: int = 0
    throttle_requests: int | None = None  # of one credential within throttle_seconds
    throttle_seconds: float = 1.0
    retry_after: int | str | None = None  # told when throttled, text as it stands; "date" is a date

    def __post_init__(self) -> None:
        _require(
            not self.refuses_offset_zero or self.offset is Offset.PAGE1,
            f"refuses_offset_zero goes with the offset {Offset.PAGE1}",
        )
        _require(self.unknown_job_status in (400, 404), "unknown_job_status must be 400 or 404")
        _require(
            abs(self.date_skew_seconds) <= _LONGEST_SKEW,
            f"date_skew_seconds must be within {_LONGEST_SKEW:.0f}",
        )
        for name in ("churn_inserts", "churn_deletes"):
            _require(0 <= getattr(self, name) <= _MOST_CHURN, f"{name} must be 0 to {_MOST_CHURN}")
        _require(
            self.throttle_requests is None or 1 <= self.throttle_requests <= _MOST_REQUESTS,
            f"throttle_requests must be 1 to {_MOST_REQUESTS}, or null",
        )
        _require(
            0 < self.throttle_seconds <= _LONGEST_THROTTLE,
            f"throttle_seconds must be more than 0 and at most {_LONGEST_THROTTLE:.0f}",
        )
        _require(abs(self.total_error) <= _MAX_NUMBER, f"total_error must be within {_MAX_NUMBER}")
        _require(is_header_text(self.retry_after), "retry_after must be one line of text, or a number")

    def changed(self, changes: Mapping[str, object]) -> "Behaviour":
        """Return this behaviour with some of it changed. Raises ValueError, in one line."""
        known = {field.name for field in fields(self)}
        if unknown := sorted(changes.keys() - known):
            raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        parsed = {name: _parsed(name, value, getattr(self, name)) for name, value in changes.items()}
        return replace(self, **parsed)  # type: ignore[arg-type]  # each was parsed as its field has it

    def start(self, offset: int | None, limit: int) -> int | None:
        """Return which record a page begins with; None if this offset is refused."""
        match self.offset:
            case Offset.RECORD:
                return offset or 0
            case Offset.PAGE0:
                return (offset or 0) * limit
            case Offset.PAGE1:
                if offset == 0 and self.refuses_offset_zero:
                    return None
                return (max(offset or 1, 1) - 1) * limit

    def total_count(self, found: int) -> int | str | None:
        """Return what is told instead of the true number; None tells nothing."""
        match self.total:
            case Total.RIGHT:
                return found
            case Total.MISSING:
                return None
            case Total.WRONG:
                return max(found + self.total_error, 0)
            case Total.TEXT:
                return str(found)


def is_header_text(value: int | str | None) -> bool:
    """Return whether this can stand in a header."""
    if isinstance(value, str):
        return 0 < len(value) <= _MAX_TEXT and value.isprintable() and value.isascii()
    return value is None or abs(value) <= _MAX_NUMBER


def _parsed(name: str, value: object, present: object) -> object:
    """Return the value as the field of this name has it."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if name == "retry_after":
        is_right = value is None or is_whole or isinstance(value, str)
        _require(is_right, f"{name} must be a whole number, text or null")
        return value
    if name == "throttle_requests":
        _require(value is None or is_whole, f"{name} must be a whole number or null")
        return value
    match present:
        case bool():
            _require(isinstance(value, bool), f"{name} must be true or false")
            return value
        case StrEnum():
            kind = type(present)
            is_known = isinstance(value, str) and value in set(kind)
            _require(is_known, f"{name} must be one of: {', '.join(kind)}")
            return kind(str(value))
        case float():
            _require(is_whole or isinstance(value, float), f"{name} must be a number")
            return float(value)  # type: ignore[arg-type]  # it is a number
        case _:
            _require(is_whole, f"{name} must be a whole number")
            return value


def _require(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as the claim it checks
    if not holds:
        raise ValueError(message)
