"""Values with sane defaults: a test names only what it is about."""

import logging
import zlib
from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import structlog

from taskwatch.core.cadence import Cadence
from taskwatch.core.detect import Baseline, BaselinePolicy
from taskwatch.core.route import Route, Routing
from taskwatch.engine.poller import PollRules
from taskwatch.model.event import Reading, Severity, Transition
from taskwatch.model.project import Check, Digests, Identity, Listing, Project
from taskwatch.model.task import RUNNING, Instance, Known, Task, is_ended
from taskwatch.telemetry import Logger

T0: Final = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
CREATED: Final = T0 + timedelta(minutes=1)  # after the line: news


def at(minutes: float) -> datetime:
    """Return the instant so many minutes after the baseline."""
    return T0 + timedelta(minutes=minutes)


def a_task(
    job_id: str = "job-1",
    status: str = RUNNING,
    *,
    name: str = "CreateGaussDBV5Instance",
    progress: int | None = None,
    fail_reason: str | None = None,
    created_at: datetime | None = CREATED,
    ended_at: datetime | Literal["if ended"] | None = "if ended",
    instance: Instance | None = None,
) -> Task:
    if ended_at == "if ended":
        ended_at = at(60) if is_ended(status) else None
    return Task(
        job_id=job_id,
        name=name,
        status=status,
        progress=progress,
        fail_reason=fail_reason,
        created_at=created_at,
        ended_at=ended_at,
        instance=instance or Instance(id="in-1", name="db-1", status="normal"),
    )


def a_known(
    task: Task | None = None,
    *,
    revision: int = 1,
    sequence: int = 1,
    pending_status: str | None = None,
    pending_count: int = 0,
    is_gone: bool = False,
    losses: int = 0,
) -> Known:
    return Known(
        task=task or a_task(),
        revision=revision,
        sequence=sequence,
        pending_status=pending_status,
        pending_count=pending_count,
        is_gone=is_gone,
        losses=losses,
    )


def a_line(moment: datetime = T0, policy: BaselinePolicy = BaselinePolicy.QUIET) -> Baseline:
    return Baseline(at=moment, policy=policy)


def a_project(
    name: str = "prod",
    *,
    service: str = "gaussdb",
    host: str = "gaussdb.eu-de.otc.t-systems.com",
    project_id: str = "0611f1bd8b00d5d32f17c017f15b599f",
    labels: dict[str, str] | None = None,
) -> Project:
    return Project(
        identity=Identity(service=service, host=host, project_id=project_id), name=name, labels=labels or {}
    )


def a_reading(
    observed_at: datetime = T0,
    *,
    previous_observed_at: datetime | None = None,
    gap_seconds: float | None = None,
    late: bool = False,
) -> Reading:
    return Reading(
        observed_at=observed_at,
        previous_observed_at=previous_observed_at,
        gap_seconds=gap_seconds,
        late=late,
    )


def a_transition(
    task: Task | None = None, from_status: str | None = RUNNING, revision: int = 2
) -> Transition:
    task = task or a_task(status="Failed")
    return Transition(task=task, from_status=from_status, to_status=task.status, revision=revision)


def some_rules(
    *,
    active: float = 15.0,
    idle: float = 60.0,
    full_poll: float = 900.0,
    baseline: BaselinePolicy = BaselinePolicy.QUIET,
    failure_severities: tuple[tuple[str, Severity], ...] = (),
    include: tuple[str, ...] = ("*",),
    exclude: tuple[str, ...] = (),
) -> PollRules:
    return PollRules(
        cadence=Cadence(active=active, idle=idle),
        full_poll=full_poll,
        baseline=baseline,
        failure_severities=failure_severities,
        include=include,
        exclude=exclude,
    )


def everything_to(*receivers: str) -> Routing:
    return Routing(root=Route(receivers=receivers))


def a_listing(
    rows: Sequence[Task],
    known: Digests | None = None,
    *,
    complete: bool = True,
    clean: bool = True,
    cloud_date: datetime | None = T0,
    full: bool = True,
    missing: Iterable[str] = (),
    check: Check | None = None,
    pages: int = 1,
) -> Listing:
    """Make the listing that an exact client makes of these rows, given what it is told to know."""
    unchanged = set(array("q", known.rows)) if known is not None else set()
    moved = {row.job_id for row in rows if _digest(row) not in unchanged}
    digests = array("q", (_digest(row) for row in rows))
    ids = {row.job_id for row in rows}
    is_exact = complete and len(set(digests)) == len(ids)
    return Listing(
        changed=tuple(row for row in rows if row.job_id in moved),
        rows=len(ids),
        full=full,
        complete=complete,
        clean=clean,
        cloud_date=cloud_date,
        digests=Digests(pages=(), rows=digests.tobytes(), tasks=len(ids)) if is_exact else None,
        missing=frozenset(missing),
        check=check,
        failure=None if complete else RuntimeError("page 2 failed"),
        pages=pages,
        requests=pages,
    )


def _digest(row: Task) -> int:
    return zlib.crc32(repr(row).encode())


def quiet_log() -> Logger:
    """Return a logger that says nothing below critical, and costs nothing."""
    silent: Logger = structlog.wrap_logger(
        None, processors=[], wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )
    return silent


def captured_log() -> tuple[Logger, list[structlog.typing.EventDict]]:
    """Return a logger and the list of what it is told."""
    capture = structlog.testing.LogCapture()
    log: Logger = structlog.wrap_logger(
        None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
    )
    return log, capture.entries


def essence(tasks: Iterable[Known]) -> dict[str, str]:
    """Return the status of each task."""
    return {known.task.job_id: known.task.status for known in tasks}
