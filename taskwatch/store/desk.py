"""Where operators write: a second connection beside a daemon, or without one; short transactions.

It changes deliveries and the record of operations, never what is known of tasks.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw

from taskwatch.errors import StoreFailedError
from taskwatch.model.delivery import DeliveryState
from taskwatch.model.operation import Action
from taskwatch.store import alerts, operations, silences
from taskwatch.store.beside import connect, readable
from taskwatch.store.lock import watcher

T = TypeVar("T")


class Desk:
    """One operator at a store. A context manager; used from one thread at a time."""

    def __init__(self, path: Path, *, by: str) -> None:
        """Open the store. Raises StoreFailedError if there is none yet, or none that this user may write."""
        self._path = path.resolve()
        self._by = by
        with readable(self._path):
            self._connection = connect(self._path, writes=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def replay(
        self, *, state: DeliveryState, receiver: str | None, events: Sequence[str], at: datetime
    ) -> Counter[str]:
        """Queue deliveries again: those in this state, of this receiver and these events where any are given.

        Returns how many, by receiver.
        """
        replay = partial(operations.replay, at=at)
        return self._change(Action.REPLAY, replay, state=state, receiver=receiver, events=events, at=at)

    def drop(
        self, *, state: DeliveryState, receiver: str | None, events: Sequence[str], at: datetime
    ) -> Counter[str]:
        """Put deliveries away, chosen as by `replay`; return how many, by receiver."""
        drop = partial(operations.drop, at=at)
        return self._change(Action.DROP, drop, state=state, receiver=receiver, events=events, at=at)

    def ask(self, action: Action, argument: Mapping[str, Any], *, at: datetime) -> int:
        """Ask the running daemon to do something; return the number of the request."""
        return self._transact(
            lambda connection: operations.record(
                connection, action=action, by=self._by, at=at, argument=argument, outcome=None
            )
        )

    def acknowledge(
        self, jobs: Sequence[str], *, until: datetime | None, comment: str | None, at: datetime
    ) -> list[str]:
        """Note that the operator has the open alerts of these tasks; return the tasks that have any."""

        def work(connection: apsw.Connection) -> list[str]:
            found = alerts.acknowledge(connection, jobs, by=self._by, at=at, until=until, comment=comment)
            if found:
                told = {
                    "jobs": found,
                    "until": None if until is None else until.isoformat(timespec="seconds"),
                    "comment": comment,
                }
                operations.record(
                    connection, action=Action.ACK, by=self._by, at=at, argument=told, outcome={}
                )
            return found

        return self._transact(work)

    def silence(
        self, matchers: Sequence[str], *, ends_at: datetime, comment: str | None, at: datetime
    ) -> int:
        """Silence, from now to that end, the events that all of these matchers match; return its number."""

        def work(connection: apsw.Connection) -> int:
            number = silences.add(
                connection, matchers, by=self._by, begins_at=at, ends_at=ends_at, comment=comment
            )
            told = {
                "silence": number,
                "matchers": list(matchers),
                "ends_at": ends_at.isoformat(timespec="seconds"),
                "comment": comment,
            }
            operations.record(
                connection, action=Action.SILENCE, by=self._by, at=at, argument=told, outcome={}
            )
            return number

        return self._transact(work)

    def expire(self, numbers: Sequence[int], *, at: datetime) -> list[int]:
        """End these silences now; return those that had not ended."""

        def work(connection: apsw.Connection) -> list[int]:
            ended = silences.expire(connection, numbers, at=at)
            if ended:
                operations.record(
                    connection,
                    action=Action.EXPIRE,
                    by=self._by,
                    at=at,
                    argument={"silences": ended},
                    outcome={},
                )
            return ended

        return self._transact(work)

    def withdraw(self, request: int) -> None:
        """Leave no trace of a request."""
        self._transact(lambda connection: operations.withdraw(connection, request))

    def outcome(self, request: int) -> dict[str, Any] | None:
        """Return what became of a request; None while nothing has."""
        with readable(self._path):
            return operations.outcome_of(self._connection, request)

    def _change(
        self,
        action: Action,
        change: Callable[[apsw.Connection, Sequence[int]], None],
        *,
        state: DeliveryState,
        receiver: str | None,
        events: Sequence[str],
        at: datetime,
    ) -> Counter[str]:
        argument = {"state": state, "receiver": receiver, "events": list(events)}

        def work(connection: apsw.Connection) -> Counter[str]:
            chosen = operations.select(connection, state=state, receiver=receiver, events=events)
            if chosen:
                change(connection, list(chosen))
                told = argument | {"deliveries": len(chosen)}
                operations.record(connection, action=action, by=self._by, at=at, argument=told, outcome={})
            return Counter(chosen.values())

        return self._transact(work)

    def _other(self) -> str:
        """Name who most likely has the lock for writing: a daemon that was stopped in the midst of a write keeps it."""
        daemon = watcher(self._path)
        return "somebody else" if daemon is None else f"somebody else, most likely the daemon, {daemon},"

    def _transact(self, work: Callable[[apsw.Connection], T]) -> T:
        with readable(self._path):
            try:
                with _immediate(self._connection):
                    return work(self._connection)
            except apsw.BusyError as error:
                raise StoreFailedError(
                    f"{self._other()} is writing to {self._path}; nothing was changed, try again"
                ) from error
            except apsw.FullError as error:
                raise StoreFailedError(f"the disk of {self._path} is full; nothing was changed") from error


@contextmanager
def _immediate(connection: apsw.Connection) -> Iterator[None]:
    """Write in one transaction that has its lock from the beginning, so that it waits rather than fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if not connection.get_autocommit():  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
