"""What a project is, and what one poll of it read."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from taskwatch.model.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A project is a tenant of a service at a host. Its name is a label and may change."""

    service: str
    host: str  # host, with the port where it is not the scheme's
    project_id: str

    def __str__(self) -> str:
        return f"{self.service}/{self.host}/{self.project_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A configured project, as events name it."""

    identity: Identity
    name: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageDigest:
    """One page as it was read last: enough to know it again, nothing to read from it."""

    place: str  # what was asked: path and query below the project
    digest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """Digests of the rows of a listing, each of which is what the store holds of its task now.

    That, or they are not kept at all: the digest of an earlier state would hide the way back to it
    for ever.
    """

    asked: Hashable = None  # pages are an answer to this question; under another they are not compared
    pages: tuple[PageDigest, ...]
    rows: bytes  # of each row as it was read, in order, 8 bytes each: a fiftieth of what the rows would take
    content: int | None = None  # of all rows at once, in their order and as they came in pages
    tasks: int  # distinct ones among the rows


class Check(StrEnum):
    """What the lists of an incremental poll were found to be, held against the whole list."""

    PAYS = "pays"  # they say what the whole list says, in fewer requests
    DEAR = "dear"  # they say it, in as many
    DISAGREES = "disagrees"  # they leave out what they should hold, or hold what they should leave out


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What one poll read.

    `changed` holds the rows that differ from the digests the poll was given, and every other
    reading of the same ids in this listing. An id may stand in it more than once.
    """

    changed: tuple[Task, ...]
    rows: int  # distinct tasks read, changed or not
    full: bool = True  # the whole list was asked for, not only what may have changed
    complete: bool  # every page was read
    clean: bool  # no row was quarantined
    quarantined: int = 0
    cloud_date: datetime | None = (
        None  # the Date header of the first page: what ended after it may be on no page
    )
    digests: Digests | None = None  # None: the next poll compares every row with the store
    missing: frozenset[str] = frozenset()  # of the open tasks it was asked about, those that nothing showed
    check: Check | None = None  # None: there was none, or it came to no end
    failure: Exception | None = None  # why it is not complete
    pages: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a project could not be read rightly by its last poll, and since when that is so."""

    cause: str
    error: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How the watching of a project goes, as its daemon said last."""

    interval: float  # seconds from poll to poll
    next_poll_at: datetime
    trouble: Trouble | None = None
