"""`taskwatch wait`: for pipelines, until tasks have ended."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from taskwatch.cli.options import config_option

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.engine.poller import Poll
    from taskwatch.engine.watch import Watch
    from taskwatch.model.task import Task

LOOK_SECONDS: Final = 1.0  # from one look into the store to the next
UNKNOWN_POLLS: Final = 2  # complete ones in a row that do not list a task nobody has heard of
GONE_POLLS: Final = 3  # the same for a task that was listed before
NOT_COMPLETED: Final = 1  # the exit code


class _Duration(click.ParamType[float]):
    """A duration as the configuration writes it, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from taskwatch.config.fields import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(epilog="Example: taskwatch wait 03bc055a-135c-4245-8bd8-b0bc6d3350b3 --timeout 2h")
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@config_option
@click.option(
    "--timeout", type=_Duration(), metavar="DURATION", help="Give up after so long, as 30m. Exit 1."
)
@click.option("--json", "as_json", is_flag=True, help="Print each change as a JSON Line.")
def wait(job_ids: tuple[str, ...], config: Path | None, timeout: float | None, as_json: bool) -> int:
    """Wait until these tasks have ended.

    Exit 0 if all of them completed, 1 if one failed or was canceled. Each change is told on standard
    error. While the daemon runs, its store is looked at; else the cloud itself is asked, and nothing is
    recorded.
    """
    import asyncio

    from taskwatch import telemetry
    from taskwatch.app import kinds
    from taskwatch.config.load import find, load

    loaded = load(find(config), kinds())
    telemetry.configure(format_=loaded.log.format, level=loaded.log.level)
    vigil = Vigil(job_ids, tell=_tell_json if as_json else _tell)
    asyncio.run(_wait(vigil, loaded, timeout))
    return 0 if vigil.is_success else NOT_COMPLETED


async def _wait(vigil: "Vigil", config: "Config", seconds: float | None) -> None:
    import asyncio

    from taskwatch.config.fields import spell_duration
    from taskwatch.errors import TaskwatchError

    try:
        async with asyncio.timeout(seconds), AsyncExitStack() as stack:
            await _follow(vigil, config, stack)
    except TimeoutError as error:
        raise TaskwatchError(f"not over after {spell_duration(seconds or 0)}: {vigil.rest()}") from error


async def _follow(vigil: "Vigil", config: "Config", stack: AsyncExitStack) -> None:
    """Look where there is something to see, daemon or cloud, until all is over."""
    import asyncio

    from taskwatch.store.lock import is_held

    store = StoreView(config.store.path, patience=_patience(config))
    cloud: CloudView | None = None
    while not vigil.is_over:
        view: View = store
        if not is_held(config.store.path.resolve()):
            cloud = cloud or await _open_cloud(config, stack)
            view = cloud
        pause = await view.look(vigil)
        if not vigil.is_over:
            await asyncio.sleep(pause)


def _patience(config: "Config") -> float:
    """Return in which time a daemon has certainly read every project twice, if it can be read."""
    return 2 * max(watched.interval.idle + watched.timeout for watched in config.projects)


async def _open_cloud(config: "Config", stack: AsyncExitStack) -> "CloudView":
    from taskwatch import telemetry
    from taskwatch.app import pollers
    from taskwatch.clock import SystemClock
    from taskwatch.store.reader import ReadOnlyLedger

    ledger = stack.enter_context(ReadOnlyLedger(config.store.path))
    opened = pollers(
        config,
        ledger=ledger,
        told=lambda events: None,  # noqa: ARG005  (nobody is to hear of it)
        clock=SystemClock(),
        log=telemetry.logger(),
    )
    return CloudView(await stack.enter_async_context(opened), store=config.store.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A task as it was last seen."""

    project: str
    task: "Task"
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
        from taskwatch.model.task import COMPLETED

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
            f"{id_} is {_status(self.seen[id_].task)}" if id_ in self.seen else f"{id_} was not seen"
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
        import asyncio

        from taskwatch.config.fields import spell_duration
        from taskwatch.errors import StoreFailedError, TaskwatchError
        from taskwatch.store.reader import StoreReader

        now = asyncio.get_running_loop().time()
        try:
            with StoreReader(self._path) as reader:
                for job_id in vigil.open:
                    for row in reader.tasks(job_id=job_id):
                        vigil.take(Sight(project=row.project, task=row.task, at=row.changed_at))
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

    def __init__(self, watches: "Sequence[Watch]", *, store: Path) -> None:
        self._watches = watches
        self._store = store
        self._due: dict[str, float] = {}  # by project, on the monotonic clock
        self._missed: Counter[tuple[str, str]] = Counter()  # complete polls in a row: project, id
        self._told: dict[str, str] = {}  # the trouble of a project that was told last

    async def look(self, vigil: Vigil) -> float:
        import asyncio

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

    def _asked(self, vigil: Vigil) -> "list[Watch]":
        """Return what can say something new."""
        places = {place for job_id in vigil.open for place in self._places(job_id, vigil)}
        return [watch for watch in self._watches if _name(watch) in places]

    def _places(self, job_id: str, vigil: Vigil) -> list[str]:
        """Return the project that the task was seen in, or all: it may be in any."""
        names = [_name(watch) for watch in self._watches]
        known = vigil.seen.get(job_id)
        return [known.project] if known is not None and known.project in names else names

    def _take(self, project: str, poll: "Poll", vigil: Vigil) -> None:
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
        from taskwatch.errors import CloudCause, CloudError
        from taskwatch.telemetry import printable

        lasting = {CloudCause.LOGIN, CloudCause.PERMISSION, CloudCause.NOT_FOUND}
        if not isinstance(error, CloudError) or error.cause in lasting:
            raise error
        if self._told.get(project) != error.cause:
            click.echo(printable(f"{project}: {error}; asking again"), err=True)
            self._told[project] = error.cause

    def _require_known(self, vigil: Vigil) -> None:
        from taskwatch.errors import TaskwatchError

        for job_id in vigil.open:
            known = vigil.seen.get(job_id)
            fewest = min(self._missed[project, job_id] for project in self._places(job_id, vigil))
            if known is None and fewest >= UNKNOWN_POLLS and not self._remembered(job_id, vigil):
                raise TaskwatchError(
                    f"no project lists a task {job_id}; see the id, and whether its project is configured"
                )
            if known is not None and fewest >= GONE_POLLS:
                raise TaskwatchError(
                    f"{job_id} is listed no more, and was {_status(known.task)} when it was seen last"
                )

    def _remembered(self, job_id: str, vigil: Vigil) -> bool:
        """Tell whether the store knows how the task ended: the cloud forgets after a month."""
        from taskwatch.store.reader import StoreReader

        if not self._store.exists():
            return False
        with StoreReader(self._store) as reader:
            rows = [row for row in reader.tasks(job_id=job_id) if row.task.has_ended]
        for row in rows:
            vigil.take(Sight(project=row.project, task=row.task, at=row.changed_at))
        return bool(rows)


def _name(watch: "Watch") -> str:
    return watch.poller.project.name


def _tell(sight: Sight) -> None:
    from taskwatch.cli.output import coloured
    from taskwatch.telemetry import printable

    task = sight.task
    work = f"{task.name} of {task.instance.name}" if task.instance.name else task.name
    why = f": {task.fail_reason}" if task.has_ended and task.fail_reason else ""
    status = coloured(printable(_status(task)), task.status)
    click.echo(
        f"{datetime.now(UTC):%H:%M:%SZ}  {printable(task.job_id)}  {status}{printable(why)}  "
        f"({printable(work)} in {printable(sight.project)})",
        err=True,
    )


def _tell_json(sight: Sight) -> None:
    from taskwatch.cli.output import print_json

    task = sight.task
    print_json(
        [
            {
                "time": datetime.now(UTC),
                "project": sight.project,
                "job_id": task.job_id,
                "name": task.name,
                "status": task.status,
                "progress": task.progress,
                "fail_reason": task.fail_reason,
                "ended": task.has_ended,
            }
        ]
    )


def _status(task: "Task") -> str:
    return task.status if task.progress is None else f"{task.status}, {task.progress} %"
