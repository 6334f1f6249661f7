"""What operators did and ask for: recorded with who and when, in the transaction of the change itself.

Each function is the body of one transaction. A command runs it on a connection of its own beside the
daemon, which notices (`PRAGMA data_version`), logs it, and does what only a running daemon can do.
"""

import json
import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import apsw

from taskwatch.model.delivery import DeliveryState
from taskwatch.model.operation import Action, Operation
from taskwatch.store import attempts, messages
from taskwatch.store.instants import from_stored, to_stored

# What the daemon did not come to is not done by a later one: whoever asked has gone by then.
UNANSWERED: Final = json.dumps({"error": "the daemon that was asked has ended"})

_RECORD: Final = "INSERT INTO operations (action, argument, by, at, outcome) VALUES (?, ?, ?, ?, ?)"
_NEW: Final = """
SELECT id, action, argument, by, at, outcome FROM operations WHERE logged = 0 ORDER BY id LIMIT ?
"""

_SELECTED: Final = """
SELECT d.id, d.receiver FROM deliveries d JOIN events e ON e.seq = d.event
WHERE d.state = :state
  AND (:receiver IS NULL OR d.receiver = :receiver)
  AND (:events IS NULL OR e.id IN (SELECT value FROM json_each(:events)))
ORDER BY d.id
"""

# A delivery that is sent again gets a new number, at the end of its receiver's queue: lanes load by
# number, upwards, and numbers are never used twice.
_COLUMNS: Final = "event, receiver, path, group_key, held_by, first_attempt_at, last_attempt_at, last_reason, last_detail, body"
_TAKE: Final = f"DELETE FROM deliveries WHERE id = ? RETURNING {_COLUMNS}"  # noqa: S608 - our own columns
_QUEUE: Final = f"INSERT INTO deliveries ({_COLUMNS}, replay) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"  # noqa: S608 - the same
_MESSAGES: Final = """
SELECT DISTINCT message FROM deliveries
WHERE id IN (SELECT value FROM json_each(?)) AND message IS NOT NULL ORDER BY message
"""
_SINGLE: Final = """
SELECT id FROM deliveries WHERE id IN (SELECT value FROM json_each(?)) AND message IS NULL ORDER BY id
"""

_DROP: Final = """
UPDATE deliveries SET state = 'dropped', why = 'operator', done_at = ? WHERE id = ?
"""


def operator() -> str:
    """Return who runs this process, as the record of operations names people.

    Of the environment only what sudo said to root is believed: the rest anybody may set.
    """
    uid = os.getuid()
    name = os.environ.get("SUDO_USER") if uid == 0 else None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = "?"
    return f"{f'{name} as {user}' if name else user} (uid {uid}) on {socket.gethostname()}"


def record(
    connection: apsw.Connection,
    *,
    action: Action,
    by: str,
    at: datetime,
    argument: Mapping[str, Any],
    outcome: Mapping[str, Any] | None,
) -> int:
    """Record an operation; without an outcome it is a request to the daemon. Returns its number."""
    told = None if outcome is None else json.dumps(dict(outcome))
    connection.execute(_RECORD, (action, json.dumps(dict(argument)), by, to_stored(at), told))
    return connection.last_insert_rowid()


def unlogged(connection: apsw.Connection, *, limit: int) -> list[Operation]:
    """Return the operations that the daemon has not logged yet, in their order."""
    return [_operation(row) for row in connection.execute(_NEW, (limit,))]


def mark_logged(connection: apsw.Connection, operations: Sequence[int]) -> None:
    connection.executemany(
        "UPDATE operations SET logged = 1 WHERE id = ?", [(number,) for number in operations]
    )


def answer(connection: apsw.Connection, operation: int, outcome: Mapping[str, Any]) -> None:
    """Write what became of a request."""
    connection.execute(
        "UPDATE operations SET outcome = ? WHERE id = ?", (json.dumps(dict(outcome)), operation)
    )


def withdraw(connection: apsw.Connection, operation: int) -> None:
    """Forget a request: it was a question, and is answered, or nobody waits for the answer any more."""
    connection.execute("DELETE FROM operations WHERE id = ?", (operation,))


def give_up_requests(connection: apsw.Connection) -> None:
    """Answer what an earlier daemon was asked and did not do."""
    connection.execute("UPDATE operations SET outcome = ? WHERE outcome IS NULL", (UNANSWERED,))


def outcome_of(connection: apsw.Connection, operation: int) -> dict[str, Any] | None:
    """Return what became of a request; None while nothing has."""
    found: str | None = connection.execute("SELECT outcome FROM operations WHERE id = ?", (operation,)).get
    return None if found is None else dict(json.loads(found))


def select(
    connection: apsw.Connection, *, state: DeliveryState, receiver: str | None, events: Sequence[str]
) -> dict[int, str]:
    """Return the deliveries in this state, of this receiver and these events where any are given, and their receivers."""
    selection = {
        "state": state,
        "receiver": receiver,
        "events": json.dumps(list(events)) if events else None,
    }
    rows: list[tuple[Any, ...]] = connection.execute(_SELECTED, selection).fetchall()
    return {delivery: of for delivery, of in rows}  # noqa: C416  (dict() does not see that they are pairs)


def replay(connection: apsw.Connection, deliveries: Sequence[int], *, at: datetime) -> None:
    """Put these deliveries, which are dead, into their queues again; those that one message told, as that message."""
    chosen = json.dumps(list(deliveries))
    for number in _numbers(connection, _MESSAGES, chosen):
        messages.replay(connection, number, at=at)
    for delivery in _numbers(connection, _SINGLE, chosen):
        tried = attempts.taken(connection, delivery)
        row = connection.execute(_TAKE, (delivery,)).fetchall()[0]
        connection.execute(_QUEUE, row)
        attempts.give(connection, connection.last_insert_rowid(), tried)


def drop(connection: apsw.Connection, deliveries: Sequence[int], *, at: datetime) -> None:
    """Put these deliveries away. One that is being sent at this moment may still arrive.

    A message that tells one of them is dissolved: what else it tells waits for another. One that was tried already
    goes as it stands.
    """
    for number in _numbers(connection, _MESSAGES, json.dumps(list(deliveries))):
        messages.dissolve_untried(connection, number, why="operator", at=at)
    connection.executemany(_DROP, [(to_stored(at), delivery) for delivery in deliveries])


def _numbers(connection: apsw.Connection, query: str, chosen: str) -> list[int]:
    rows: list[tuple[Any, ...]] = connection.execute(query, (chosen,)).fetchall()
    return [number for (number,) in rows]


def _operation(row: tuple[Any, ...]) -> Operation:
    number, action, argument, by, at, outcome = row
    return Operation(
        id=number,
        action=action,
        argument=_object(argument),
        by=by,
        at=from_stored(at),
        outcome=None if outcome is None else _object(outcome),
    )


def _object(text: str) -> dict[str, Any]:
    """Read a JSON object; what is none was written by nobody who is known, and says nothing."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
