"""How each project stands: the configuration, the store and the daemon's last word put together."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from taskwatch.config.configuration import Config, NamedProject, WatchedProject
from taskwatch.model.project import Condition, Identity
from taskwatch.store.rows import ProjectRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One row of `taskwatch projects`."""

    name: str
    state: str
    service: str
    host: str
    project_id: str | None  # None: the login service has not said it yet
    baseline_at: datetime | None
    read_at: datetime | None  # completely, as far as is on record
    interval_seconds: float | None  # that is kept, longer than configured where the rate carries no more
    configured_interval_seconds: float | None  # None: it is configured no more
    next_poll_at: datetime | None  # None: nobody polls it
    tasks: int
    running: int
    cause: str | None
    error: str | None
    since: datetime | None  # of the trouble

    @property
    def identity(self) -> Identity | None:
        """Which project it is; None: the login service has not said it yet."""
        if self.project_id is None:
            return None
        return Identity(service=self.service, host=self.host, project_id=self.project_id)


class Daemon(StrEnum):
    """What is known of who watches."""

    ANSWERS = "answers"
    SILENT = "silent"  # it holds the store, and does not answer
    NONE = "none"


def standings(
    config: Config | None, rows: Sequence[ProjectRow], *, now: datetime, daemon: Daemon
) -> list[Standing]:
    """Return the configured projects in their order, then those that are configured no more.

    Where the configuration is not known, those that are on record, as the daemon knows them.
    """
    if config is None:
        return [_recorded(row, now=now, daemon=daemon) for row in reversed(rows)]
    known = {row.identity: row for row in rows}
    by_name = {(row.name, row.identity.service, row.identity.host): row.identity for row in reversed(rows)}
    return [
        *(
            _configured(watched, known.pop(watched.project.identity, None), now=now, daemon=daemon)
            for watched in config.projects
        ),
        *(_named(named, _row_of(named, known, by_name), daemon=daemon, now=now) for named in config.named),
        *_forgotten(known.values()),
    ]


def _row_of(
    named: NamedProject, known: dict[Identity, ProjectRow], by_name: Mapping[tuple[str, str, str], Identity]
) -> ProjectRow | None:
    """Take out what is on record of a project whose id only the daemon knows: by the name that it had last."""
    identity = by_name.get((named.name, named.service, named.endpoint.host))
    return None if identity is None else known.pop(identity, None)


def _named(named: NamedProject, row: ProjectRow | None, *, now: datetime, daemon: Daemon) -> Standing:
    """Return how a project stands that is configured by its name in the cloud: unknown until it was asked for once."""
    if row is not None:
        return _configured(named.identified(row.identity.project_id), row, now=now, daemon=daemon)
    return Standing(
        name=named.name,
        state="no id yet" if daemon is Daemon.ANSWERS else _state(None, None, daemon),
        service=named.service,
        host=named.endpoint.host,
        project_id=None,
        baseline_at=None,
        read_at=None,
        interval_seconds=named.interval.idle,
        configured_interval_seconds=named.interval.idle,
        next_poll_at=None,
        tasks=0,
        running=0,
        cause=None,
        error=f"{named.in_cloud} was not found by the login service yet; the log says why"
        if daemon is Daemon.ANSWERS
        else None,
        since=None,
    )


def _configured(
    watched: WatchedProject, row: ProjectRow | None, *, now: datetime, daemon: Daemon
) -> Standing:
    condition = row.condition if row is not None else None
    trouble = condition.trouble if condition is not None else None
    configured = watched.interval.interval(is_active=row is not None and row.open_tasks > 0)
    return Standing(
        name=watched.project.name,
        state=_state(row, condition, daemon),
        service=watched.project.identity.service,
        host=watched.project.identity.host,
        project_id=watched.project.identity.project_id,
        baseline_at=None if row is None else row.baseline_at,
        read_at=None if row is None else row.observed_at,
        interval_seconds=configured
        if condition is None or daemon is not Daemon.ANSWERS
        else condition.interval,
        configured_interval_seconds=configured,
        next_poll_at=_next(condition, now) if condition is not None and daemon is Daemon.ANSWERS else None,
        tasks=0 if row is None else row.tasks,
        running=0 if row is None else row.open_tasks,
        cause=None if trouble is None else trouble.cause,
        error=None if trouble is None else trouble.error,
        since=None if trouble is None else trouble.since,
    )


def _recorded(row: ProjectRow, *, now: datetime, daemon: Daemon) -> Standing:
    """Return how a project stands by what is on record of it alone."""
    condition = row.condition
    trouble = condition.trouble if condition is not None else None
    is_polled = condition is not None and daemon is Daemon.ANSWERS
    return Standing(
        name=row.name,
        state=_state(row, condition, daemon),
        service=row.identity.service,
        host=row.identity.host,
        project_id=row.identity.project_id,
        baseline_at=row.baseline_at,
        read_at=row.observed_at,
        interval_seconds=condition.interval if condition is not None and is_polled else None,
        configured_interval_seconds=None,
        next_poll_at=_next(condition, now) if condition is not None and is_polled else None,
        tasks=row.tasks,
        running=row.open_tasks,
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
            service=row.identity.service,
            host=row.identity.host,
            project_id=row.identity.project_id,
            baseline_at=row.baseline_at,
            read_at=row.observed_at,
            interval_seconds=None,
            configured_interval_seconds=None,
            next_poll_at=None,
            tasks=row.tasks,
            running=row.open_tasks,
            cause=None,
            error=None,
            since=None,
        )
