"""Reads a store beside its daemon, or without one, over a second connection that cannot write.

Each method reads one moment of the store, newest first.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw

from taskwatch.core.quiet import Silence
from taskwatch.model.event import EventId
from taskwatch.store import attention, board, events, operations, projects, silences, tasks, told
from taskwatch.store.beside import connect, readable
from taskwatch.store.board import Board, Dossier
from taskwatch.store.counts import Counts, counted
from taskwatch.store.instants import to_stored
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
)

Row = TypeVar("Row")


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
            rows: list[ProjectRow] = projects.enrolled(self._connection, project=project, limit=limit)
        return rows

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
        return self._found(tasks.chosen, filters, since=since, limit=limit)

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
        return self._found(tasks.page, filters, since=since, limit=limit)

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
        return self._found(events.each, filters, since=since, limit=limit)

    def events_after(self, number: int, *, limit: int) -> list[RecordedEvent]:
        """Return the events that were recorded after that number, in the order of their recording."""
        with readable(self._path):
            return events.after(self._connection, number, limit=limit)

    def number_of(self, event_id: str) -> int | None:
        """Return the number of the event's recording; None: it is not on record."""
        with readable(self._path):
            return events.number_of(self._connection, event_id)

    def last_number(self) -> int:
        """Return the number of the event that was recorded last; 0: none is on record."""
        with readable(self._path):
            return events.last_number(self._connection)

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
        return self._found(attention.page, filters, since=since, limit=limit)

    def alerted_jobs(self, beginning: str, *, limit: int) -> dict[str, str]:
        """Return the ids of tasks with open alerts that begin so, and what the last alert says; the one that is it comes first."""
        with readable(self._path):
            return attention.jobs(self._connection, beginning, limit=limit)

    def each_event(self, *, since: datetime, limit: int) -> Iterator[EventRow]:
        """Yield the events since then one by one, the newest first, of one moment: many of them need no room."""
        nothing = dict.fromkeys(("project", "event_id", "event_type", "name", "instance", "before"))
        filters = {**nothing, "since": to_stored(since), "limit": limit}
        with readable(self._path):
            for _, row in events.each(self._connection, filters):
                yield row

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
            return events.ids(self._connection, prefix, limit=limit)

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
        return self._found(told.deliveries, filters, since=since, limit=limit)

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
        return self._found(told.page_of_deliveries, filters, since=since, limit=limit)

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
            latest = tuple(map(events.event_of, rows))
            found: Dossier = Dossier(
                projects=tuple(self.projects(limit=100_000)),
                tasks=board.tasks_of_job(self._connection, job_id, limit=limit),
                events=latest,
                told={event.id: self.told(event.id, people=people) for event in latest},
                alerts=tuple(self.opened_alerts([event.id for event in latest])),
            )
        return found

    def counts(self, *, now: datetime) -> Counts:
        """Return the numbers of what waits, is held or dead, of open alerts and silences, and the sizes of the files."""
        with readable(self._path), self._connection:  # several reads, one moment
            found: Counts = counted(self._connection, self._path, now=now)
        return found

    def _found(
        self,
        find: Callable[[apsw.Connection, Mapping[str, object]], Iterable[Row]],
        filters: Mapping[str, object],
        *,
        since: datetime | None,
        limit: int,
    ) -> list[Row]:
        with readable(self._path):
            return list(find(self._connection, {**filters, "since": to_stored(since), "limit": limit}))
