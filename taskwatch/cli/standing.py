"""How each project stands: the configuration, the store and the daemon's last word put together."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from taskwatch.config.configuration import Config, WatchedProject
from taskwatch.model.project import Condition
from taskwatch.store.rows import ProjectRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One row of `taskwatch projects`."""

    name: str
    state: str
    host: str
    project_id: str
    baseline_at: datetime | None
    read_at: datetime | None  # completely, as far as is on record
    interval_seconds: float | None  # None: it is configured no more
    next_poll_at: datetime | None  # None: nobody polls it
    tasks: int
    running: int
    cause: str | None
    error: str | None
    since: datetime | None  # of the trouble


class Daemon(StrEnum):
    """What is known of who watches."""

    ANSWERS = "answers"
    SILENT = "silent"  # it holds the store, and does not answer
    NONE = "none"


def standings(config: Config, rows: Sequence[ProjectRow], *, now: datetime, daemon: Daemon) -> list[Standing]:
    """Return the configured projects in their order, then those that are configured no more."""
    known = {row.identity: row for row in rows}
    return [
        *(
            _configured(watched, known.pop(watched.project.identity, None), now=now, daemon=daemon)
            for watched in config.projects
        ),
        *_forgotten(known.values()),
    ]


def _configured(
    watched: WatchedProject, row: ProjectRow | None, *, now: datetime, daemon: Daemon
) -> Standing:
    condition = row.condition if row is not None else None
    trouble = condition.trouble if condition is not None else None
    is_active = row is not None and row.open_tasks > 0
    return Standing(
        name=watched.project.name,
        state=_state(row, condition, daemon),
        host=watched.project.identity.host,
        project_id=watched.project.identity.project_id,
        baseline_at=None if row is None else row.baseline_at,
        read_at=None if row is None else row.observed_at,
        interval_seconds=watched.interval.interval(is_active=is_active),
        next_poll_at=_next(condition, now) if condition is not None and daemon is Daemon.ANSWERS else None,
        tasks=0 if row is None else row.tasks,
        running=0 if row is None else row.open_tasks,
        cause=None if trouble is None else trouble.cause,
        error=None if trouble is None else trouble.error,
        since=None if trouble is None else trouble.since,
    )


def _state(row: ProjectRow | None, condition: Condition | None, daemon: Daemon) -> str:
    if daemon is not Daemon.ANSWERS:
        return "not watched" if daemon is Daemon.NONE else "no answer"
    if condition is not None and condition.trouble is not None:
        return "in trouble"
    if row is None or row.baseline_at is None:
        return "no baseline yet"
    return "watched"


def _next(condition: Condition, now: datetime) -> datetime:
    """Return when the next poll is due: the daemon's word may be half a minute old, the polls go on at their interval."""
    missed = math.ceil(max(0.0, (now - condition.next_poll_at).total_seconds()) / condition.interval)
    return condition.next_poll_at + timedelta(seconds=missed * condition.interval)


def _forgotten(rows: Iterable[ProjectRow]) -> Iterator[Standing]:
    for row in rows:
        yield Standing(
            name=row.name,
            state="not configured",
            host=row.identity.host,
            project_id=row.identity.project_id,
            baseline_at=row.baseline_at,
            read_at=row.observed_at,
            interval_seconds=None,
            next_poll_at=None,
            tasks=row.tasks,
            running=row.open_tasks,
            cause=None,
            error=None,
            since=None,
        )
