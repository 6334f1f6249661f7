"""The simulated cloud without its network: projects with seeded lives, in simulated time.

It stands for the real cloud when a configuration is tried, in the demo and in tests, so it shares
no code with the client that reads it.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from random import Random
from typing import Final

from taskwatch.clock import Clock, SystemClock
from taskwatch.simulator.catalogue import BACKUP
from taskwatch.simulator.faults import Faults
from taskwatch.simulator.life import Life
from taskwatch.simulator.pages import Pages
from taskwatch.simulator.work import Task, Transition

DEFAULT_TOKEN: Final = "simulated-token"  # noqa: S105 - protects nothing, and is printed for all to paste
_NAMES = ("shop", "billing", "analytics", "identity", "search", "logistics", "payments", "portal")
_STAGES = ("prod", "staging")
_FOLLOW_SECONDS = 0.2
_TICK = timedelta(milliseconds=1)  # of simulated time


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project of the simulated cloud: what a configuration says about it."""

    name: str
    project_id: str


class Cloud:
    """Projects and what happens in them.

    Simulated time starts at `began` (now, unless told otherwise) and runs `speed` times as fast as
    the clock; it counts whole milliseconds. The token is what the cloud asks for, None lets
    everybody in.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        projects: int = 3,
        speed: float = 1.0,
        token: str | None = DEFAULT_TOKEN,
        tasks_per_day: int = 40,
        clock: Clock | None = None,
        began: datetime | None = None,
        zone: tzinfo = UTC,
    ) -> None:
        self._clock = clock or SystemClock()
        self._start = self._clock.monotonic()
        self._speed = speed
        self.token = token
        self.began = (began or self._clock.now()).replace(microsecond=0)
        self.faults = Faults(clock=self._clock, seed=seed)
        self.projects = _projects(seed, projects)
        self._lives = {
            project.project_id: Life(
                seed=seed, project_id=project.project_id, began=self.began, tasks_per_day=tasks_per_day
            )
            for project in self.projects
        }
        self._pages = {project_id: Pages(life, zone) for project_id, life in self._lives.items()}

    def now(self) -> datetime:
        """Return simulated time."""
        return datetime.fromtimestamp(self.moment(), UTC)

    def moment(self) -> float:
        """Return simulated time in seconds since the epoch."""
        elapsed = (self._clock.monotonic() - self._start) * self._speed
        return math.floor((self.began.timestamp() + elapsed) * 1000) / 1000

    def find(self, name_or_id: str) -> Project | None:
        """Return the project of this name or id."""
        return next((p for p in self.projects if name_or_id in (p.name, p.project_id)), None)

    def tasks(self, project_id: str) -> list[Task]:
        """Return what the whole list of a project holds now, newest first."""
        return self._lives[project_id].tasks(self.now())

    def page(self, project_id: str, query: str) -> bytes | None:
        """Return one page as it is served; None for a project that does not exist here."""
        pages = self._pages.get(project_id)
        return None if pages is None else pages.answer(query, self.moment())

    def transitions(
        self, since: datetime, until: datetime | None = None, project_id: str | None = None
    ) -> list[Transition]:
        """Return what happened from `since` on and before `until`, or up to and with this moment.

        Only what lies before now is settled: until time moves on, a task can still be provoked.
        """
        end = self.now() + _TICK if until is None else until
        lives = self._lives.values() if project_id is None else [self._lives[project_id]]
        happened = [transition for life in lives for transition in life.transitions(since, end)]
        return sorted(happened, key=lambda transition: transition.at)

    async def follow(self, stop: asyncio.Event) -> AsyncIterator[Transition]:
        """Yield each transition from now on, once, soon after it happened, until told to stop."""
        since = self.now()
        while not stop.is_set():
            until = self.now()
            for transition in self.transitions(since, until):
                yield transition
            since = until
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _FOLLOW_SECONDS)

    def provoke(
        self,
        project_id: str,
        *,
        name: str = BACKUP,
        seconds: float = 30.0,
        fail_reason: str | None = None,
        instance_name: str | None = None,
    ) -> Task:
        """Create a task now, that ends after so many simulated seconds; failed if a reason is given."""
        moment = self.moment()
        work = self._lives[project_id].provoke(
            moment, name=name, seconds=seconds, fail_reason=fail_reason, instance_name=instance_name
        )
        return work.seen(moment)


def _projects(seed: int, count: int) -> tuple[Project, ...]:
    random = Random(f"{seed}/projects")
    return tuple(
        Project(name=_project_name(number), project_id=f"{random.getrandbits(128):032x}")
        for number in range(count)
    )


def _project_name(number: int) -> str:
    stages, name = divmod(number, len(_NAMES))
    round_, stage = divmod(stages, len(_STAGES))
    suffix = f"-{round_ + 1}" if round_ else ""
    return f"{_NAMES[name]}-{_STAGES[stage]}{suffix}"
