"""What the pages show, gathered at one moment: one reading of the store, and the daemon's own word.

Invariants:
- The daemon is looked at first, on the loop; the store is asked once, and both are put together beside it.
- All of it is bounded: of each table so many rows, and how many there are.
- What is old is not called fresh: each task comes with how its project stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from taskwatch.model.event import EventId
from taskwatch.report.verdict import Situation, Took, Verdict, verdict
from taskwatch.server.parts import Project, Receiver, projects_of, receivers_of
from taskwatch.server.site import Site
from taskwatch.store.board import Board, DeadDelivery, Dossier, OpenAlert, PlacedTask
from taskwatch.store.reader import StoreReader
from taskwatch.store.rows import EventRow, OpenedAlertRow, ToldRow

ROWS: Final = 50  # of each table

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Generic[T]):
    """The first rows of something."""

    rows: tuple[T, ...]
    total: int | None  # None: there are more, nobody has counted them

    @property
    def hides(self) -> bool:
        return self.total is None or self.total > len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A task, and how its project stands; None: it is not known."""

    placed: PlacedTask
    project: Project | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that the status page shows."""

    at: datetime
    verdict: Verdict
    unwritable: str | None
    unheeded: Sequence[str]  # lines about the configuration that is not in force
    acknowledged: int
    alerts: Table[OpenAlert]
    projects: Table[Project]  # the worst first
    receivers: Table[Receiver]  # the same
    running: Table[Shown]
    events: Table[EventRow]
    dead: Table[DeadDelivery]
    oldest: (
        datetime | None
    )  # the last reading of the project that was read longest ago, of those that are fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that the page of a task shows."""

    at: datetime
    job_id: str
    tasks: tuple[Shown, ...]
    events: Table[EventRow]
    told: Mapping[EventId, Sequence[ToldRow]]
    alerts: tuple[OpenedAlertRow, ...]

    @property
    def is_open(self) -> bool:
        """Whether an alert of it has not ended."""
        return any(alert.ended_at is None for alert in self.alerts)


async def overview(site: Site) -> Overview:
    """Gather the status page. Raises ProblemError where the store cannot be read now."""
    observed, now = site.seen, site.clock.now()
    projects, receivers = projects_of(observed, now), receivers_of(observed.lanes, site.clock)
    hanging, unwritable, unheeded = observed.hanging(), observed.unwritable(), observed.unheeded

    def read(reader: StoreReader) -> Overview:
        board = reader.board(now=now, limit=ROWS)
        stood, taking = projects(board.projects), receivers(board.queues)
        situation = Situation(
            projects=[project.read for project in stood],
            receivers=[Took(name=receiver.name, taking=receiver.taking) for receiver in taking],
            alerts=board.alert_counts.open,
            critical=board.alert_counts.critical,
            acknowledged=board.alert_counts.acknowledged,
            dead=_dead(board),
            hanging=hanging,
            unwritable=unwritable,
            is_unheeded=bool(unheeded),
        )
        return _overview(board, stood, taking, situation, unheeded=unheeded, now=now)

    return await site.records.read(read)


async def story(site: Site, job_id: str) -> Story | None:
    """Gather the page of a task; None: nothing of this id is on record. Raises ProblemError as `overview` does."""
    observed, now = site.seen, site.clock.now()
    people, projects = observed.config.routing.people, projects_of(observed, now)

    def read(reader: StoreReader) -> Story | None:
        dossier = reader.dossier(job_id, people=people, limit=ROWS + 1)
        if not (dossier.tasks or dossier.events):
            return None
        return _story(dossier, projects(dossier.projects), job_id, now=now)

    return await site.records.read(read)


def _dead(board: Board) -> int:
    return sum(count for (_, state), count in board.queues.items() if state == "dead")


def _overview(
    board: Board,
    stood: Sequence[Project],
    taking: Sequence[Receiver],
    situation: Situation,
    *,
    unheeded: Sequence[str],
    now: datetime,
) -> Overview:
    counts = board.alert_counts
    fresh = [project.standing.read_at for project in stood if project.is_fresh]
    return Overview(
        at=now,
        verdict=verdict(situation),
        unwritable=situation.unwritable,
        unheeded=unheeded,
        acknowledged=counts.acknowledged,
        alerts=Table(rows=board.alerts, total=counts.open),
        projects=Table(rows=tuple(stood[:ROWS]), total=len(stood)),
        receivers=Table(rows=tuple(taking[:ROWS]), total=len(taking)),
        running=Table(rows=_shown(board.running, stood), total=board.running_count),
        events=Table(rows=board.events, total=len(board.events) if len(board.events) < ROWS else None),
        dead=Table(rows=board.dead, total=situation.dead),
        oldest=min((read_at for read_at in fresh if read_at is not None), default=None),
    )


def _story(dossier: Dossier, stood: Sequence[Project], job_id: str, *, now: datetime) -> Story:
    events = dossier.events
    return Story(
        at=now,
        job_id=job_id,
        tasks=_shown(dossier.tasks, stood),
        events=Table(rows=events[:ROWS], total=len(events) if len(events) <= ROWS else None),
        told=dossier.told,
        alerts=dossier.alerts,
    )


def _shown(tasks: Sequence[PlacedTask], stood: Sequence[Project]) -> tuple[Shown, ...]:
    known = {one.standing.identity: one for one in stood}
    return tuple(Shown(placed=task, project=known.get(task.identity)) for task in tasks)
