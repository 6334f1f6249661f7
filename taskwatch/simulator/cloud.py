"""The simulated cloud without its network: projects with seeded lives, in simulated time.

It stands for the real cloud when a configuration is tried, in the demo and in tests, so it shares
no code with the client that reads it.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from random import Random
from typing import Final

from taskwatch.clock import Clock, SystemClock
from taskwatch.simulator.behaviour import Behaviour
from taskwatch.simulator.catalogue import BACKUP, KINDS
from taskwatch.simulator.counters import Counters
from taskwatch.simulator.faults import Faults
from taskwatch.simulator.identity import Identity
from taskwatch.simulator.jobs import job
from taskwatch.simulator.life import Life
from taskwatch.simulator.pages import Pages, Query
from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.projects import Project as Project  # noqa: PLC0414 - the demo knows it from here
from taskwatch.simulator.projects import new_projects
from taskwatch.simulator.throttle import Throttle
from taskwatch.simulator.work import Task, Transition

DEFAULT_TOKEN: Final = "simulated-token"  # noqa: S105 - protects nothing, and is printed for all to paste
_FOLLOW_SECONDS = 0.2
_MAX_READINGS: Final = 100_000  # remembered of each project
_TICK = timedelta(milliseconds=1)  # of simulated time


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Somebody began to read a list: when by the clock, and which simulated moment was shown."""

    at: datetime
    moment: datetime
    query: Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """The record of a task was deleted. It is no transition: the task stays what it was."""

    at: datetime
    project_id: str
    task: Task


class Cloud:
    """Projects and what happens in them.

    Simulated time starts at `began` (now, unless told otherwise) and runs `speed` times as fast as
    the clock; it counts whole milliseconds.

    Who may read: whoever has the token; with accounts also who has a token of IAM or signs with a
    key pair. With neither token nor accounts everybody may.

    `before_page` is called before each page is served, to move the list between two of them.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        projects: int = 3,
        speed: float = 1.0,
        token: str | None = DEFAULT_TOKEN,
        accounts: Accounts | None = None,
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
        self.projects = new_projects(seed, projects)
        self._lives = {
            project.project_id: Life(
                seed=seed, project_id=project.project_id, began=self.began, tasks_per_day=tasks_per_day
            )
            for project in self.projects
        }
        self._zone = zone
        self._pages = {project_id: Pages(life, zone) for project_id, life in self._lives.items()}
        self._stale_pages = {project_id: Pages(life, zone) for project_id, life in self._lives.items()}
        self._readings: dict[str, deque[Reading]] = {
            project_id: deque(maxlen=_MAX_READINGS) for project_id in self._lives
        }
        self._churning = Random(f"{seed}/churn")
        self.before_page: Callable[[str, Query], None] | None = None
        self.behaviour = Behaviour()
        self.throttle = Throttle(self._clock)
        self.counters = Counters()
        self._identity = (
            None
            if accounts is None
            else Identity(
                accounts,
                projects={project.project_id: project.iam_name for project in self.projects},
                seed=seed,
                now=self.now,
                counters=self.counters,
            )
        )

    @property
    def has_accounts(self) -> bool:
        return self._identity is not None

    @property
    def identity(self) -> Identity:
        """The accounts, of a cloud that has some."""
        if self._identity is None:
            raise RuntimeError("this cloud has no accounts: make it with accounts=Accounts()")
        return self._identity

    def behave(self, **changes: object) -> None:
        """Change how the cloud behaves, by the names of Behaviour. Raises ValueError."""
        self.behaviour = self.behaviour.changed(changes)

    def now(self) -> datetime:
        """Return simulated time."""
        return datetime.fromtimestamp(self.moment(), UTC)

    def moment(self) -> float:
        """Return simulated time in seconds since the epoch."""
        elapsed = (self._clock.monotonic() - self._start) * self._speed
        return math.floor((self.began.timestamp() + elapsed) * 1000) / 1000

    def told_moment(self) -> float:
        """Return the time that the header Date tells, true or not."""
        return self.moment() + self.behaviour.date_skew_seconds

    def find(self, name_or_id: str) -> Project | None:
        """Return the project of this name or id."""
        return next((p for p in self.projects if name_or_id in (p.name, p.project_id)), None)

    def tasks(self, project_id: str) -> list[Task]:
        """Return what the whole list of a project holds now, newest first."""
        return self._lives[project_id].tasks(self.now())

    def page(self, project_id: str, query: str, *, age_seconds: float = 0.0) -> bytes | None:
        """Return one page as it is served; None for a project that does not exist here.

        With an age it is the page as it was so long ago. Raises ParameterError.
        """
        if project_id not in self._lives:
            return None
        asked = Query.parse(query)
        self._move_list(project_id, asked)
        moment = round(self.moment() - age_seconds, 3)
        if asked.start_record(self.behaviour) == 0:
            shown = datetime.fromtimestamp(moment, UTC)
            self._readings[project_id].append(Reading(at=self._clock.now(), moment=shown, query=asked))
        pages = self._stale_pages if age_seconds else self._pages
        return pages[project_id].answer(query, moment, self.behaviour)

    def job(self, project_id: str, job_id: str, *, age_seconds: float = 0.0) -> bytes | None:
        """Return one task as it is served when asked for by its id; None if it cannot be had so."""
        moment = round(self.moment() - age_seconds, 3)
        try:
            return job(self._lives[project_id].listed(moment, job_id).seen(moment), self._zone)
        except KeyError:
            return None

    def readings(self, project_id: str) -> Sequence[Reading]:
        """Return when the list was read from its beginning, as far back as is remembered."""
        return tuple(self._readings[project_id])

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

    def deletions(self, since: datetime, project_id: str | None = None) -> list[Deletion]:
        """Return which records were deleted from `since` on, up to and with this moment."""
        chosen = self._lives.values() if project_id is None else [self._lives[project_id]]
        deleted = [
            Deletion(at=at, project_id=life.project_id, task=task)
            for life in chosen
            for at, task in life.deletions(since, self.now() + _TICK)
        ]
        return sorted(deleted, key=lambda deletion: deletion.at)

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
        progress: int | None = None,
    ) -> Task:
        """Create a task now, that ends after so many simulated seconds; failed if a reason is given.

        With infinite seconds it runs until `steer` ends it.
        """
        moment = self.moment()
        work = self._lives[project_id].provoke(
            moment,
            name=name,
            seconds=seconds,
            fail_reason=fail_reason,
            instance_name=instance_name,
            progress=progress,
        )
        return work.seen(moment)

    def steer(
        self,
        job_id: str,
        *,
        outcome: str | None = None,
        fail_reason: str | None = None,
        progress: int | None = None,
    ) -> Task:
        """End a running task now, or set its progress. Raises KeyError if none is listed, ValueError if it has ended."""
        moment = self.moment()
        life = self._life_with(job_id, moment)
        return life.steer(moment, job_id, outcome=outcome, fail_reason=fail_reason, progress=progress).seen(
            moment
        )

    def delete(self, job_id: str) -> Task:
        """Delete the record of a task; return how it stood. Raises KeyError if none is listed."""
        moment = self.moment()
        return self._life_with(job_id, moment).delete(moment, job_id).seen(moment)

    def _move_list(self, project_id: str, asked: Query) -> None:
        """Let happen what shall happen between two pages."""
        if self.before_page is not None:
            self.before_page(project_id, asked)
        for _ in range(self.behaviour.churn_inserts):
            self.provoke(project_id, name=self._churning.choice(list(KINDS)))
        if self.behaviour.churn_deletes:
            moment, life = self.moment(), self._lives[project_id]
            ended = [work.job_id for work in life.window(moment) if work.ended <= moment]
            for job_id in self._churning.sample(ended, min(self.behaviour.churn_deletes, len(ended))):
                life.delete(moment, job_id)

    def _life_with(self, job_id: str, moment: float) -> Life:
        for life in self._lives.values():
            if any(work.job_id == job_id for work in life.window(moment)):
                return life
        raise KeyError(job_id)
