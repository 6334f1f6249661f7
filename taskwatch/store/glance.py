"""What is known, for a poll that keeps nothing."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from taskwatch.core.quiet import Silence
from taskwatch.engine.ports import PollRecord, ProjectState
from taskwatch.errors import StoreFailedError
from taskwatch.model.alert import Alert
from taskwatch.model.project import Identity
from taskwatch.model.task import Known
from taskwatch.store import alerts, ledger
from taskwatch.store.beside import connect, readable
from taskwatch.store.opening import require_first_run

_UNKNOWN: Final = ProjectState(
    key=0, revision=0, sequence=0, baseline_at=None, observed_at=None, open_tasks=frozenset()
)


class ReadOnlyLedger:
    """The ledger of a poll that keeps nothing: reads what is known, if there is a store at all.

    A context manager. What it knows is of the moment in which each method is called.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        with readable(self._path):
            if not self._path.exists():
                require_first_run(self._path)
            self._connection = connect(self._path) if self._path.exists() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    async def enrol(self, identity: Identity, name: str) -> ProjectState:  # noqa: ARG002 - the port's
        """Return the state of the project; that of a new one if it is unknown."""
        with readable(self._path):
            state = None if self._connection is None else ledger.state_of(self._connection, identity)
        return state or _UNKNOWN

    async def known(self, project: int, job_ids: Iterable[str]) -> dict[str, Known]:
        """Return what is remembered of these tasks."""
        if self._connection is None:
            return {}
        with readable(self._path):
            return ledger.known(self._connection, project, job_ids)

    async def expected(self, project: int, since: datetime) -> dict[str, datetime | None]:
        """Return when each task began that began since then, or had not ended; not those that are gone."""
        if self._connection is None:
            return {}
        with readable(self._path):
            return ledger.expected(self._connection, project, since)

    async def open_alerts(self, project: int) -> list[Alert]:
        """Return the alerts of the project's tasks that have not ended."""
        if self._connection is None:
            return []
        with readable(self._path):
            return alerts.of_project(self._connection, project)

    async def silences(self) -> list[Silence]:
        """Return none: nothing is told."""
        return []

    async def commit(self, record: PollRecord) -> None:  # noqa: ARG002 - the port's
        """Refuse."""
        raise StoreFailedError(f"{self._path} was opened to be read, nothing is recorded")
