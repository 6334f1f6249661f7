"""A task as one reading of the cloud showed it, and what is remembered of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

PENDING: Final = "Pending"
RUNNING: Final = "Running"
COMPLETED: Final = "Completed"
FAILED: Final = "Failed"
CANCELED: Final = "Canceled"

ENDED: Final = frozenset({COMPLETED, FAILED, CANCELED})


def is_ended(status: str) -> bool:
    """Tell whether a task of this status has ended. An unknown status has not.

    `ended_at` is not asked: sibling services fill it with the planned end of running tasks.
    """
    return status in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """The database instance that a task works on. All of it is opaque text of the cloud."""

    id: str | None = None
    name: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of the task list, parsed. The set of statuses and names is open."""

    job_id: str
    name: str
    status: str
    progress: int | None = None  # percent, 0 to 100
    fail_reason: str | None = None
    created_at: datetime | None = None  # aware, UTC
    ended_at: datetime | None = None  # aware, UTC
    instance: Instance = Instance()

    @property
    def has_ended(self) -> bool:
        return is_ended(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is remembered of a task: its last accepted reading and where its chain stands.

    `revision` counts its statuses, `sequence` its events, both from 1 (sequence 0: none yet).
    """

    task: Task
    revision: int
    sequence: int
    pending_status: str | None = None  # a step backwards that waits for confirmation
    pending_count: int = 0  # in how many polls it was read so far
    is_gone: bool = False  # whole lists do not show it any more; when one does, it is compared with this
    losses: int = 0  # how often that was told
