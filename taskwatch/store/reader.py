"""Reads a store beside its daemon, or without one, over a second connection that cannot write.

The write-ahead log lets it read while the daemon commits; neither waits for the other. Each method
reads one moment of the store, newest first.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import apsw

from taskwatch.core.quiet import Silence
from taskwatch.engine.ports import PollRecord, ProjectState
from taskwatch.errors import StoreFailedError, StoreUnusableError
from taskwatch.model.alert import Alert
from taskwatch.model.event import EventId
from taskwatch.model.project import Condition, Identity
from taskwatch.model.task import Known
from taskwatch.store import alerts, board, ledger, operations, silences, told
from taskwatch.store.board import Board, Dossier
from taskwatch.store.counts import Counts, counted
from taskwatch.store.instants import from_stored, to_stored
from taskwatch.store.opening import BUSY_MILLISECONDS, require_first_run, translated
from taskwatch.store.rows import (
    AlertRow,
    DeliveryRow,
    EventRow,
    OpenedAlertRow,
    PlaceOfTask,
    ProjectRow,
    RecordedEvent,
    TaskRow,
    ToldIn,
    ToldRow,
    task_of,
)
from taskwatch.store.schema import (
    load_migrations,
    require_not_newer,
    require_ours,
    require_whole,
    version_of,
)

# A filter that is not given is NULL, and its line is true: the text of a statement never changes.

_PROJECTS: Final = """
SELECT p.id, p.service, p.host, p.project_id, p.name, p.baseline_at, p.observed_at,
       (SELECT count(*) FROM tasks t WHERE t.project = p.id),
       (SELECT count(*) FROM tasks t WHERE t.project = p.id AND t.open = 1 AND t.gone = 0)
FROM projects p
WHERE (:project IS NULL OR p.name = :project)
ORDER BY p.id DESC LIMIT :limit
"""

_TASKS_THAT_MATCH: Final = """
SELECT t.project, p.name, t.revision, t.changed_at, t.gone,
       t.job_id, t.name, t.status, t.progress, t.fail_reason, t.created_at, t.ended_at,
       t.instance_id, t.instance_name, t.instance_status
FROM tasks t JOIN projects p ON p.id = t.project
WHERE (:project IS NULL OR p.name = :project)
  AND (:job_id IS NULL OR t.job_id = :job_id)
  AND (:status IS NULL OR t.status = :status COLLATE NOCASE)
  AND (:name IS NULL OR t.name GLOB :name)
  AND (:instance IS NULL OR :instance IN (t.instance_id, t.instance_name))
  AND (:since IS NULL OR t.changed_at >= :since)
"""
_TASKS: Final = f"""{_TASKS_THAT_MATCH}
ORDER BY coalesce(t.created_at, t.changed_at) DESC, t.job_id LIMIT :limit
"""
# By what does not change while a task does: its row is read at its place, however long that takes. NULL is the least.
_PAGE_OF_TASKS: Final = f"""{_TASKS_THAT_MATCH}
  AND (:key IS NULL
       OR (t.created_at IS :created_at AND (t.project, t.job_id) > (:key, :job))
       OR (:created_at IS NOT NULL AND (t.created_at < :created_at OR t.created_at IS NULL)))
ORDER BY t.created_at DESC, t.project, t.job_id LIMIT :limit
"""

# `coalesce`, and no `IS NULL OR`: so the search begins at the number, however much lies above it.
_EVENTS: Final = """
SELECT e.seq, e.id, p.name, e.subject, e.job_id, e.type, e.severity, e.summary, e.sequence, e.time, e.body
FROM events e
LEFT JOIN projects p ON p.id = e.project
LEFT JOIN tasks t ON t.project = e.project AND t.job_id = e.job_id
WHERE (:project IS NULL OR p.name = :project)
  AND (:event_id IS NULL OR e.id = :event_id)
  AND (:event_type IS NULL OR e.type IN (:event_type, 'taskwatch.' || :event_type))
  AND (:name IS NULL OR t.name GLOB :name)
  AND (:instance IS NULL OR :instance IN (t.instance_id, t.instance_name))
  AND (:since IS NULL OR e.time >= :since)
  AND e.seq < coalesce(:before, 9223372036854775807)
ORDER BY e.seq DESC LIMIT :limit
"""
_EVENTS_AFTER: Final = "SELECT seq, id, type, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?"

_ALERTS: Final = """
SELECT a.event, e.id, e.type, e.severity, e.summary, e.time, p.name, e.subject,
       a.acknowledged_at, a.acknowledged_by, a.acknowledged_until, a.acknowledgement,
       t.job_id, t.name, t.status, t.progress, t.fail_reason, t.created_at, t.ended_at,
       t.instance_id, t.instance_name, t.instance_status,
       (SELECT d.held_by FROM deliveries d WHERE d.event = a.event AND d.state = 'held' ORDER BY d.id LIMIT 1),
       EXISTS (SELECT 1 FROM deliveries d WHERE d.event = a.event AND d.state IN ('pending', 'delivered'))
         OR NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = a.event),
       e.body
FROM alerts a
JOIN events e ON e.seq = a.event
LEFT JOIN projects p ON p.id = a.project
LEFT JOIN tasks t ON t.project = a.project AND t.job_id = a.job_id
WHERE a.ended_at IS NULL
  AND (:project IS NULL OR p.name = :project)
  AND (:event_type IS NULL OR e.type IN (:event_type, 'taskwatch.' || :event_type))
  AND (:name IS NULL OR t.name GLOB :name)
  AND (:instance IS NULL OR :instance IN (t.instance_id, t.instance_name))
  AND (:since IS NULL OR e.time >= :since)
  AND a.event < coalesce(:before, 9223372036854775807)
ORDER BY a.event DESC LIMIT :limit
"""

# `substr`, for the ids of a cloud may hold what GLOB gives a meaning to.
_ALERTED_JOBS: Final = """
SELECT a.job_id, e.summary, max(a.event)
FROM alerts a JOIN events e ON e.seq = a.event
WHERE a.ended_at IS NULL AND substr(a.job_id, 1, length(:beginning)) = :beginning
GROUP BY a.job_id ORDER BY a.job_id != :beginning, a.job_id LIMIT :limit
"""  # of the row with the greatest: https://www.sqlite.org/lang_select.html#bareagg

# From the prefix up to what follows all that begin with it: ids are letters, digits and _, all below ~.
_EVENT_IDS: Final = (
    "SELECT id FROM events WHERE id >= :prefix AND id < :prefix || '~' ORDER BY id LIMIT :limit"
)

# Where systemd puts it for the unit that is shipped.
SERVICE_STORE: Final = Path("/var/lib/taskwatch/taskwatch.db")

_UNKNOWN: Final = ProjectState(
    key=0, revision=0, sequence=0, baseline_at=None, observed_at=None, open_tasks=frozenset()
)


class StoreReader:
    """A store, to be looked at. A context manager; used from one thread at a time.

    Filters that are not given let everything pass. `name` is a glob over the name of the task;
    `instance` is an id or a name; `event_type` stands with or without its `taskwatch.`.
    """

    def __init__(self, path: Path) -> None:
        """Open the store. Raises StoreFailedError if there is no store yet, or none that this user may read."""
        self._path = path.resolve()
        with readable(self._path):
            self._connection = connect(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def interrupt(self) -> None:
        """Let what is being read fail, if anything is. May be called from another thread."""
        self._connection.interrupt()

    def projects(self, *, project: str | None = None, limit: int = 100) -> list[ProjectRow]:
        """Return the projects ever enrolled, the latest first."""
        with readable(self._path), self._connection:  # two reads, one moment
            kept = ledger.freshness(self._connection)
            conditions = ledger.conditions(self._connection)
            rows: list[tuple[Any, ...]] = self._connection.execute(
                _PROJECTS, {"project": project, "limit": limit}
            ).fetchall()
        return [_project(row, kept.get(row[0]), conditions.get(row[0])) for row in rows]

    def tasks(
        self,
        *,
        project: str | None = None,
        job_id: str | None = None,
        status: str | None = None,
        name: str | None = None,
        instance: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[TaskRow]:
        """Return tasks by their creation; `since` is about when they changed last."""
        filters = {"project": project, "job_id": job_id, "status": status, "name": name, "instance": instance}
        return [_task(row) for _, *row in self._rows(_TASKS, filters, since=since, limit=limit)]

    def page_of_tasks(
        self,
        *,
        project: str | None = None,
        status: str | None = None,
        name: str | None = None,
        instance: str | None = None,
        since: datetime | None = None,
        after: PlaceOfTask | None = None,
        limit: int = 100,
    ) -> list[tuple[PlaceOfTask, TaskRow]]:
        """Return tasks with their places, those that were created last first; those of no known creation last."""
        created_at, key, job = after or (None, None, None)
        filters = {
            "project": project,
            "job_id": None,
            "status": status,
            "name": name,
            "instance": instance,
            "created_at": created_at,
            "key": key,
            "job": job,
        }
        found = self._rows(_PAGE_OF_TASKS, filters, since=since, limit=limit)
        rows = [(number, _task(row)) for number, *row in found]
        return [((to_stored(row.task.created_at), number, row.task.job_id), row) for number, row in rows]

    def events(
        self,
        *,
        project: str | None = None,
        event_id: str | None = None,
        event_type: str | None = None,
        name: str | None = None,
        instance: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[EventRow]:
        """Return events in the reverse order of their recording."""
        found = self.page_of_events(
            project=project,
            event_id=event_id,
            event_type=event_type,
            name=name,
            instance=instance,
            since=since,
            limit=limit,
        )
        return [row for _, row in found]

    def page_of_events(
        self,
        *,
        project: str | None = None,
        event_id: str | None = None,
        event_type: str | None = None,
        name: str | None = None,
        instance: str | None = None,
        since: datetime | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[tuple[int, EventRow]]:
        """Return events with the numbers of their recording, the last ones first."""
        filters = {
            "project": project,
            "event_id": event_id,
            "event_type": event_type,
            "name": name,
            "instance": instance,
            "before": before,
        }
        found = self._rows(_EVENTS, filters, since=since, limit=limit)
        return [(number, _event(row)) for number, *row in found]

    def events_after(self, number: int, *, limit: int) -> list[RecordedEvent]:
        """Return the events that were recorded after that number, in the order of their recording."""
        with readable(self._path):
            rows: list[tuple[Any, ...]] = self._connection.execute(_EVENTS_AFTER, (number, limit)).fetchall()
        return [RecordedEvent(number=seq, id=id_, type=type_, body=body) for seq, id_, type_, body in rows]

    def number_of(self, event_id: str) -> int | None:
        """Return the number of the event's recording; None: it is not on record."""
        with readable(self._path):
            found: int | None = self._connection.execute(
                "SELECT seq FROM events WHERE id = ?", (event_id,)
            ).get
        return found

    def last_number(self) -> int:
        """Return the number of the event that was recorded last; 0: none is on record."""
        with readable(self._path):
            found: int | None = self._connection.execute("SELECT max(seq) FROM events").get
        return found or 0

    def outcome(self, request: int) -> dict[str, Any] | None:
        """Return what became of a request to the daemon; None while nothing has."""
        with readable(self._path):
            return operations.outcome_of(self._connection, request)

    def alerts(
        self,
        *,
        project: str | None = None,
        event_type: str | None = None,
        name: str | None = None,
        instance: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[AlertRow]:
        """Return the alerts that have not ended, the latest first."""
        found = self.page_of_alerts(
            project=project, event_type=event_type, name=name, instance=instance, since=since, limit=limit
        )
        return [row for _, row in found]

    def page_of_alerts(
        self,
        *,
        project: str | None = None,
        event_type: str | None = None,
        name: str | None = None,
        instance: str | None = None,
        since: datetime | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[tuple[int, AlertRow]]:
        """Return the alerts that have not ended with the numbers of the events that opened them, the last ones first."""
        filters = {
            "project": project,
            "event_type": event_type,
            "name": name,
            "instance": instance,
            "before": before,
        }
        found = self._rows(_ALERTS, filters, since=since, limit=limit)
        return [(number, _alert(row)) for number, *row in found]

    def alerted_jobs(self, beginning: str, *, limit: int) -> dict[str, str]:
        """Return the ids of tasks with open alerts that begin so, and what the last alert says; the one that is it comes first."""
        with readable(self._path):
            rows: list[tuple[Any, ...]] = self._connection.execute(
                _ALERTED_JOBS, {"beginning": beginning, "limit": limit}
            ).fetchall()
        return {job_id: summary for job_id, summary, _ in rows}

    def each_event(self, *, since: datetime, limit: int) -> Iterator[EventRow]:
        """Yield the events since then one by one, the newest first, of one moment: many of them need no room."""
        nothing = dict.fromkeys(("project", "event_id", "event_type", "name", "instance", "before"))
        filters = {**nothing, "since": to_stored(since), "limit": limit}
        with readable(self._path):
            for _, *row in self._connection.execute(_EVENTS, filters):
                yield _event(row)

    def messages(self, prefix: str, *, limit: int) -> list[ToldIn]:
        """Return what the messages tell whose ids begin so, in the order of letters."""
        with readable(self._path), self._connection:  # several reads, one moment
            found: list[ToldIn] = told.messages_of(self._connection, prefix, limit=limit)
        return found

    def silences(self, *, since: datetime) -> list[Silence]:
        """Return the silences that end after this, the first one first."""
        with readable(self._path):
            return silences.since(self._connection, since)

    def event_ids(self, prefix: str, *, limit: int) -> list[EventId]:
        """Return ids of events that begin so, in the order of letters."""
        with readable(self._path):
            rows: list[tuple[Any, ...]] = self._connection.execute(
                _EVENT_IDS, {"prefix": prefix, "limit": limit}
            ).fetchall()
        return [EventId(event_id) for (event_id,) in rows]

    def deliveries(
        self,
        *,
        project: str | None = None,
        event_id: str | None = None,
        event_type: str | None = None,
        receiver: str | None = None,
        state: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[DeliveryRow]:
        """Return deliveries in the reverse order of their recording; `since` is about their events."""
        filters = {
            "project": project,
            "event_id": event_id,
            "event_type": event_type,
            "receiver": receiver,
            "state": state,
        }
        with readable(self._path):
            return told.deliveries(self._connection, {**filters, "since": to_stored(since), "limit": limit})

    def page_of_deliveries(
        self,
        *,
        project: str | None = None,
        event_type: str | None = None,
        receiver: str | None = None,
        state: str | None = None,
        since: datetime | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[DeliveryRow]:
        """Return deliveries in an order that stays: the last events first, and of each by receiver.

        `before` is the number of an event, and a receiver; `since` is about the events.
        """
        event, after = before or (None, None)
        filters = {
            "project": project,
            "event_id": None,
            "event_type": event_type,
            "receiver": receiver,
            "state": state,
            "event": event,
            "after": after,
        }
        with readable(self._path):
            return told.page_of_deliveries(
                self._connection, {**filters, "since": to_stored(since), "limit": limit}
            )

    def told(self, event: EventId, *, people: Collection[str]) -> list[ToldRow]:
        """Return what became of each delivery of an event, in the order of recording.

        `people` are the receivers that are told in groups.
        """
        with readable(self._path), self._connection:  # several reads, one moment
            rows: list[ToldRow] = told.of_event(self._connection, event, people=people)
        return rows

    def opened_alerts(self, events: Sequence[EventId]) -> list[OpenedAlertRow]:
        """Return the alerts that these events opened, over or not."""
        with readable(self._path):
            return told.opened_alerts(self._connection, events)

    def board(self, *, now: datetime, limit: int) -> Board:
        """Return what the status page shows, so many rows of each table at most."""
        with readable(self._path), self._connection:  # several reads, one moment
            found: Board = Board(
                projects=tuple(self.projects(limit=100_000)),
                alerts=board.open_alerts(self._connection, now=now, limit=limit),
                alert_counts=board.alert_counts(self._connection, now=now),
                running=board.running(self._connection, limit=limit),
                running_count=board.running_count(self._connection),
                events=tuple(self.events(limit=limit)),
                queues=board.queues(self._connection),
                dead=board.dead(self._connection, limit=limit),
            )
        return found

    def dossier(self, job_id: str, *, people: Collection[str], limit: int) -> Dossier:
        """Return all that is on record of the tasks of this id, and of so many of their events, the latest."""
        with readable(self._path), self._connection:  # several reads, one moment
            rows = board.events_of_job(self._connection, job_id, limit=limit)
            events = tuple(_event(row) for row in rows)
            found: Dossier = Dossier(
                projects=tuple(self.projects(limit=100_000)),
                tasks=board.tasks_of_job(self._connection, job_id, limit=limit),
                events=events,
                told={event.id: self.told(event.id, people=people) for event in events},
                alerts=tuple(self.opened_alerts([event.id for event in events])),
            )
        return found

    def counts(self, *, now: datetime) -> Counts:
        """Return the numbers of what waits, is held or dead, of open alerts and silences, and the sizes of the files."""
        with readable(self._path), self._connection:  # several reads, one moment
            found: Counts = counted(self._connection, self._path, now=now)
        return found

    def _rows(
        self, statement: str, filters: Mapping[str, str | int | None], *, since: datetime | None, limit: int
    ) -> list[tuple[Any, ...]]:
        with readable(self._path):
            return self._connection.execute(
                statement, {**filters, "since": to_stored(since), "limit": limit}
            ).fetchall()


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


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """As `translated`; what a reader may not do beside a store says so."""
    with translated(path):
        try:
            yield
        except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
            raise StoreFailedError(
                f"{path} cannot be read by uid {os.geteuid()}: without a running daemon SQLite has to write "
                f"{path.name}-shm beside it; run this as uid {path.stat().st_uid}"
            ) from error


def connect(path: Path, *, takes_older: bool = False, writes: bool = False) -> apsw.Connection:
    """Open the store beside its daemon; one of an older version only where the caller takes that."""
    if not path.exists():
        require_first_run(path)
        raise StoreFailedError(f"no store at {path} yet: start taskwatch run once{_another(path)}")
    way, need, flags = (
        ("written", os.R_OK | os.W_OK, apsw.SQLITE_OPEN_READWRITE)
        if writes
        else ("read", os.R_OK, apsw.SQLITE_OPEN_READONLY)
    )
    if not os.access(path, need, effective_ids=os.access in os.supports_effective_ids):
        # Not tried by opening it: closing any descriptor of the file would drop all locks that this process has on it.
        raise StoreFailedError(
            f"{path} cannot be {way} by uid {os.geteuid()}: run this as uid {path.stat().st_uid}"
        )
    connection = apsw.Connection(str(path), flags)
    try:
        if not writes:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # it may not, so it need not try
        connection.pragma("foreign_keys", "on")
        connection.set_busy_timeout(BUSY_MILLISECONDS)
        connection.pragma("trusted_schema", "off")
        _check(connection, path, takes_older=takes_older)
    except BaseException:
        connection.close()
        raise
    return connection


def _another(path: Path) -> str:
    """Say where the service's store is, to somebody who looks elsewhere: the unit alone knows by itself."""
    if path == SERVICE_STORE.resolve() or not SERVICE_STORE.exists():
        return ""
    return f"; the service's is {SERVICE_STORE}: name it in the configuration as store.path"


def _check(connection: apsw.Connection, path: Path, *, takes_older: bool) -> None:
    newest = load_migrations()[-1].number
    require_ours(connection, path)
    require_not_newer(connection, path, known=newest)
    require_whole(connection)
    if version_of(connection) < newest and not takes_older:
        raise StoreUnusableError(f"{path} is of an older taskwatch; taskwatch run brings it up to date")


def _project(row: tuple[Any, ...], kept: datetime | None, condition: Condition | None) -> ProjectRow:
    _, service, host, project_id, name, baseline_at, observed_at, tasks, open_tasks = row
    return ProjectRow(
        identity=Identity(service=service, host=host, project_id=project_id),
        name=name,
        baseline_at=from_stored(baseline_at),
        observed_at=ledger.latest(from_stored(observed_at), kept),
        tasks=tasks,
        open_tasks=open_tasks,
        condition=condition,
    )


def _task(row: Sequence[Any]) -> TaskRow:
    project, revision, changed_at, gone, *columns = row
    return TaskRow(
        project=project,
        task=task_of(tuple(columns)),
        revision=revision,
        changed_at=from_stored(changed_at),
        is_gone=bool(gone),
    )


def _event(row: Sequence[Any]) -> EventRow:
    event_id, project, subject, job_id, event_type, severity, summary, sequence, time, body = row
    return EventRow(
        id=EventId(event_id),
        project=project,
        subject=subject,
        job_id=job_id,
        type=event_type,
        severity=severity,
        summary=summary,
        sequence=sequence,
        time=from_stored(time),
        body=body,
    )


def _alert(row: Sequence[Any]) -> AlertRow:
    event_id, type_, severity, summary, time, project, subject, at, by, until, said, *columns = row
    *columns, held_by, is_told, body = columns
    return AlertRow(
        event_id=event_id,
        type=type_,
        severity=severity,
        summary=summary,
        since=from_stored(time),
        project=project,
        subject=subject,
        task=None if columns[0] is None else task_of(tuple(columns)),
        acknowledged_at=from_stored(at),
        acknowledged_by=by,
        acknowledged_until=from_stored(until),
        acknowledgement=said,
        held_by=held_by,
        is_told=bool(is_told),
        body=body,
    )
