"""How each project and each receiver stands, as pages show it.

What the daemon knows by itself is newer than what is on record, and stands before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from taskwatch.clock import Clock
from taskwatch.engine.lane import Lane
from taskwatch.report.standing import Standing
from taskwatch.report.verdict import Level, Read, Reading, Taking, is_grave, level_of, reading_of
from taskwatch.server.standing import standing_of
from taskwatch.server.view import Observed
from taskwatch.store.rows import ProjectRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """How a project stands."""

    standing: Standing
    reading: Reading
    is_grave: bool

    @property
    def level(self) -> Level:
        return level_of(self.read)

    @property
    def read(self) -> Read:
        return Read(name=self.standing.name, reading=self.reading, is_grave=self.is_grave)

    @property
    def is_fresh(self) -> bool:
        return self.reading in (Reading.FRESH, Reading.PARTLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """How a receiver stands."""

    name: str
    taking: Taking
    since: datetime | None  # that this is so
    cause: str | None
    error: str | None
    pending: int
    held: int
    dead: int

    @property
    def level(self) -> Level:
        return Level.WARNING if self.taking in (Taking.FAILS, Taking.PAUSED) else Level.OK


def projects(observed: Observed, rows: Sequence[ProjectRow], now: datetime) -> list[Project]:
    """Return how the projects stand, the worst first, and of these the one that was read longest ago."""
    lasting = {
        (watch.poller.project.identity.host, watch.poller.project.identity.project_id)
        for watch in observed.watches
        if watch.ailment is not None and watch.ailment.is_lasting
    }
    found = [_project(one, now, lasting) for one in standing_of(observed, now)(rows)]
    return sorted(found, key=lambda one: (_badness(one), one.standing.read_at or now))


def _project(standing: Standing, now: datetime, lasting: set[tuple[str, str]]) -> Project:
    is_lasting = (standing.host, standing.project_id) in lasting
    return Project(
        standing=standing,
        reading=reading_of(standing, now),
        is_grave=is_grave(standing, now, is_lasting=is_lasting),
    )


def _badness(project: Project) -> tuple[int, int]:
    """Order by level, then by reading; what is watched no more comes last."""
    if project.reading is Reading.FORGOTTEN:
        return (len(Level), 0)
    levels, readings = list(Level), list(Reading)
    return (-levels.index(project.level), -readings.index(project.reading))


def receivers(lanes: Sequence[Lane], queues: Mapping[tuple[str, str], int], clock: Clock) -> list[Receiver]:
    """Return how the receivers stand, those that take nothing first; then those that only the queues know."""
    known = [_receiver(lane, queues, clock) for lane in lanes]
    others = {name for name, _ in queues} - {lane.receiver for lane in lanes}
    return [
        *sorted(known, key=lambda one: one.level is Level.OK),
        *(_of_queues(name, queues) for name in sorted(others)),
    ]


def _receiver(lane: Lane, queues: Mapping[tuple[str, str], int], clock: Clock) -> Receiver:
    ailment, works_since = lane.ailment, lane.works_since
    if lane.is_paused:
        taking = Taking.PAUSED
    elif ailment is not None:
        taking = Taking.FAILS
    else:
        taking = Taking.UNTRIED if works_since is None else Taking.WORKS
    since = None if ailment is None else ailment.since
    if ailment is None and works_since is not None:
        since = clock.now() - timedelta(seconds=clock.monotonic() - works_since)
    return replace(
        _of_queues(lane.receiver, queues),
        taking=taking,
        since=since,
        cause=None if ailment is None else ailment.cause,
        error=None if ailment is None else ailment.error,
    )


def _of_queues(name: str, queues: Mapping[tuple[str, str], int]) -> Receiver:
    pending, held, dead = (queues.get((name, state), 0) for state in ("pending", "held", "dead"))
    return Receiver(
        name=name,
        taking=Taking.GONE,
        since=None,
        cause=None,
        error=None,
        pending=pending,
        held=held,
        dead=dead,
    )
