"""How each project and each receiver stands, as pages show it.

What the daemon knows by itself is newer than what is on record, and stands before it. It is looked at on the loop;
putting the store's rows to it, which takes a tenth of a second for thousands of projects, may be done in another thread.
"""

from collections.abc import Callable, Mapping, Sequence
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
    pending: int = 0
    held: int = 0
    dead: int = 0

    @property
    def level(self) -> Level:
        return Level.WARNING if self.taking in (Taking.FAILS, Taking.PAUSED) else Level.OK


def projects_of(observed: Observed, now: datetime) -> Callable[[Sequence[ProjectRow]], list[Project]]:
    """Look at the daemon, and return what says how the projects stand, by the store's rows.

    The worst come first, and of these the one that was read longest ago.
    """
    stand = standing_of(observed, now)
    lasting = {
        watch.poller.project.identity
        for watch in observed.watches
        if watch.ailment is not None and watch.ailment.is_lasting
    }

    def projects(rows: Sequence[ProjectRow]) -> list[Project]:
        found = [_project(one, now, is_lasting=one.identity in lasting) for one in stand(rows)]
        return sorted(found, key=lambda one: (_badness(one), one.standing.read_at or now))

    return projects


def _project(standing: Standing, now: datetime, *, is_lasting: bool) -> Project:
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


def receivers_of(
    lanes: Sequence[Lane], clock: Clock
) -> Callable[[Mapping[tuple[str, str], int]], list[Receiver]]:
    """Look at the lanes, and return what says how the receivers stand, by the store's queues.

    Those that take nothing come first, and last those that only the queues know.
    """
    known = sorted((_receiver(lane, clock) for lane in lanes), key=lambda one: one.level is Level.OK)

    def receivers(queues: Mapping[tuple[str, str], int]) -> list[Receiver]:
        others = {name for name, _ in queues} - {one.name for one in known}
        return [_queued(one, queues) for one in (*known, *map(_gone, sorted(others)))]

    return receivers


def _receiver(lane: Lane, clock: Clock) -> Receiver:
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
    return Receiver(
        name=lane.receiver,
        taking=taking,
        since=since,
        cause=None if ailment is None else ailment.cause,
        error=None if ailment is None else ailment.error,
    )


def _gone(name: str) -> Receiver:
    return Receiver(name=name, taking=Taking.GONE, since=None, cause=None, error=None)


def _queued(receiver: Receiver, queues: Mapping[tuple[str, str], int]) -> Receiver:
    pending, held, dead = (queues.get((receiver.name, state), 0) for state in ("pending", "held", "dead"))
    return replace(receiver, pending=pending, held=held, dead=dead)
