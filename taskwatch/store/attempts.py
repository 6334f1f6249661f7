"""Attempts that failed: the last few of each delivery or message, for `explain`."""

from collections.abc import Sequence
from typing import Any, Final

import apsw

KEPT: Final = 20  # of one delivery or message

_ADD: Final = "INSERT INTO attempts (delivery, message, at, reason, detail) VALUES (?, ?, ?, ?, ?)"
_FORGET_DELIVERY: Final = """
DELETE FROM attempts WHERE delivery = ?1 AND id <= (
    SELECT id FROM attempts WHERE delivery = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2
)
"""
_FORGET_MESSAGE: Final = """
DELETE FROM attempts WHERE message = ?1 AND id <= (
    SELECT id FROM attempts WHERE message = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2
)
"""


def add(
    connection: apsw.Connection,
    *,
    delivery: int | None = None,
    message: int | None = None,
    at: int,
    reason: str,
    detail: str,
) -> None:
    """Note a failed attempt of the one or the other; forget the oldest beyond KEPT."""
    connection.execute(_ADD, (delivery, message, at, reason, detail))
    forget, number = (_FORGET_DELIVERY, delivery) if message is None else (_FORGET_MESSAGE, message)
    connection.execute(forget, (number, KEPT))


def taken(connection: apsw.Connection, delivery: int) -> Sequence[tuple[Any, ...]]:
    """Return those of a delivery, to be given back under another number."""
    return connection.execute(
        "SELECT at, reason, detail FROM attempts WHERE delivery = ? ORDER BY id", (delivery,)
    ).fetchall()


def give(connection: apsw.Connection, delivery: int, rows: Sequence[tuple[Any, ...]]) -> None:
    """Note these of a delivery."""
    connection.executemany(_ADD, [(delivery, None, *row) for row in rows])


def move_message(connection: apsw.Connection, old: int, new: int) -> None:
    """Let those of a message be those of another."""
    connection.execute("UPDATE attempts SET message = ? WHERE message = ?", (new, old))
