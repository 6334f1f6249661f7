"""What `taskwatch wait` waits for, and the two places where it can be seen.

No command but `wait` imports this.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import click

from taskwatch.config.fields import spell_duration
from taskwatch.engine.poller import Poll
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError, StoreFailedError, TaskwatchError
from taskwatch.model.task import COMPLETED, Task
from taskwatch.store.reader import StoreReader
from taskwatch.telemetry import printable

LOOK_SECONDS: Final = 1.0  # from one look into the store to the next
UNKNOWN_POLLS: Final = 2  # complete ones in a row that do not list a task nobody has heard of
GONE_POLLS: Final = 3  # the same for a task that was listed before
REFUSALS: Final = frozenset({CloudCause.LOGIN, CloudCause.PERMISSION, CloudCause.NOT_FOUND})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A task as it was last seen."""

    project: str
    task: Task
    at: datetime  # when it was read


class Vigil:
    """The tasks that are waited for, and what is known of them."""

    def __init__(self, job_ids: Sequence[str], *, tell: Callable[[Sight], None]) -> None:
        self.seen: dict[str, Sight] = {}
        self._ids = tuple(dict.fromkeys(job_ids))
        self._tell = tell

    @property
    def open(self) -> list[str]:
        """The ids of those that have not ended, as far as is known."""
        return [id_ for id_ in self._ids if id_ not in self.seen or not self.seen[id_].task.has_ended]

    @property
    def is_over(self) -> bool:
        return not self.open

    @property
    def is_success(self) -> bool:
        return all(id_ in self.seen and self.seen[id_].task.status == COMPLETED for id_ in self._ids)

    def take(self, sight: Sight) -> None:
        """Take what was read of a task; tell it if that is a change."""
        task, known = sight.task, self.seen.get(sight.task.job_id)
        if task.job_id not in self.open:
            return
        if known is not None and sight.at < known.at and not task.has_ended:
            return  # a daemon that has just started again still shows what was
        self.seen[task.job_id] = sight
        if known is None or (known.task.status, known.task.progress) != (task.status, task.progress):
            self._tell(sight)

    def rest(self) -> str:
        """Say how those stand that have not ended."""
        return ", ".join(
            f"{id_} is {status_of(self.seen[id_].task)}" if id_ in self.seen else f"{id_} was not seen"
            for id_ in self.open
        )


class View(Protocol):
    """Where tasks are seen."""

    async def look(self, vigil: Vigil) -> float:
        """Let the vigil take what is to be seen now; return the seconds to the next look.

        Raises TaskwatchError where it makes no sense to go on.
        """
        ...


class StoreView:
    """Sees what a running daemon has recorded."""

    def __init__(self, path: Path, *, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._since: float | None = None

    async def look(self, vigil: Vigil) -> float:
        now = asyncio.get_running_loop().time()
        try:
            with StoreReader(self._path) as reader:
                for job_id in vigil.open:
                    for row in reader.tasks(job_id=job_id):
                        vigil.take(Sight(project=row.project, task=row.task, at=row.changed_at))
                        if row.is_gone and not row.task.has_ended:
                            raise _gone(row.task)
        except StoreFailedError:
            if self._since is None:  # later the daemon may be restarting, or the disk be busy
                raise
        self._since = now if self._since is None else self._since
        unknown = [job_id for job_id in vigil.open if job_id not in vigil.seen]
        if unknown and now - self._since > self._patience:
            raise TaskwatchError(
                f"no task {unknown[0]} is known, after {spell_duration(self._patience)} in which the daemon could "
                "have read of it; see the id, and whether its project is configured and its name excluded"
            )
        return LOOK_SECONDS


class CloudView:
    """Sees what the cloud lists, polling each project at its own interval; records nothing."""

    def __init__(self, watches: Sequence[Watch], *, store: Path) -> None:
        self._watches = watches
        self._store = store
        self._due: dict[str, float] = {}  # by project, on the monotonic clock
        self._missed: Counter[tuple[str, str]] = Counter()  # complete polls in a row: project, id
        self._told: dict[str, str] = {}  # the trouble of a project that was told last

    async def look(self, vigil: Vigil) -> float:
        loop = asyncio.get_running_loop()
        due = [watch for watch in self._asked(vigil) if self._due.get(_name(watch), 0.0) <= loop.time()]
        results = await asyncio.gather(
            *(watch.poller.poll(commits=False) for watch in due), return_exceptions=True
        )
        for watch, result in zip(due, results, strict=True):
            self._due[_name(watch)] = loop.time() + watch.poller.rules.cadence.active
            if not isinstance(result, BaseException):
                self._take(_name(watch), result, vigil)
        for watch, result in zip(due, results, strict=True):
            if isinstance(result, BaseException) and watch in self._asked(vigil):
                self._fails(_name(watch), result)
        self._require_known(vigil)
        next_look = min((self._due[_name(watch)] for watch in self._asked(vigil)), default=0.0)
        return max(0.0, next_look - loop.time())

    def _asked(self, vigil: Vigil) -> list[Watch]:
        """Return what can say something new."""
        places = {place for job_id in vigil.open for place in self._places(job_id, vigil)}
        return [watch for watch in self._watches if _name(watch) in places]

    def _places(self, job_id: str, vigil: Vigil) -> list[str]:
        """Return the project that the task was seen in, or all: it may be in any."""
        names = [_name(watch) for watch in self._watches]
        known = vigil.seen.get(job_id)
        return [known.project] if known is not None and known.project in names else names

    def _take(self, project: str, poll: Poll, vigil: Vigil) -> None:
        self._told.pop(project, None)
        listed = {task.job_id: task for task in poll.listing.changed}
        for job_id in vigil.open:
            if job_id in listed:
                self._missed[project, job_id] = 0
                vigil.take(Sight(project=project, task=listed[job_id], at=datetime.now(UTC)))
            elif poll.listing.complete:
                self._missed[project, job_id] += 1

    def _fails(self, project: str, error: BaseException) -> None:
        """Tell trouble that may pass, once; raise what waiting will not mend."""
        if not isinstance(error, CloudError) or error.cause in REFUSALS:
            raise error
        if self._told.get(project) != error.cause:
            click.echo(printable(f"{project}: {error}; asking again"), err=True)
            self._told[project] = error.cause

    def _require_known(self, vigil: Vigil) -> None:
        for job_id in vigil.open:
            known = vigil.seen.get(job_id)
            fewest = min(self._missed[project, job_id] for project in self._places(job_id, vigil))
            if known is None and fewest >= UNKNOWN_POLLS and not self._remembered(job_id, vigil):
                raise TaskwatchError(
                    f"no project lists a task {job_id}; see the id, and whether its project is configured"
                )
            if known is not None and fewest >= GONE_POLLS:
                raise _gone(known.task)

    def _remembered(self, job_id: str, vigil: Vigil) -> bool:
        """Tell whether the store knows how the task ended: the cloud forgets after a month."""
        if not self._store.exists():
            return False
        with StoreReader(self._store) as reader:
            rows = [row for row in reader.tasks(job_id=job_id) if row.task.has_ended]
        for row in rows:
            vigil.take(Sight(project=row.project, task=row.task, at=row.changed_at))
        return bool(rows)


def _gone(task: Task) -> TaskwatchError:
    return TaskwatchError(f"{task.job_id} is listed no more, and was {status_of(task)} when it was seen last")


def _name(watch: Watch) -> str:
    return watch.poller.project.name


def status_of(task: Task) -> str:
    return task.status if task.progress is None else f"{task.status}, {task.progress} %"
