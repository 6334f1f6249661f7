"""What commands print: a table for people, JSON Lines for programs."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import click

from taskwatch.telemetry import printable

GAP: Final = "  "
MIN_COLUMN: Final = 8
COLOURS: Final = {
    "Failed": "red", "dead": "red", "critical": "red",
    "Canceled": "yellow", "warning": "yellow", "pending": "yellow",
    "Running": "cyan", "Completed": "green", "delivered": "green",
}  # fmt: skip


def is_coloured() -> bool:
    """Colour only on a terminal, and never against NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(text: str, word: str | None = None) -> str:
    """Return the text in the colour of a status, severity or state; `word` where it is not the text itself."""
    colour = COLOURS.get(word if word is not None else text)
    return click.style(text, fg=colour) if colour and is_coloured() else text


def print_json(rows: Iterable[Mapping[str, object]]) -> None:
    """Print one JSON object a line. ASCII only: nothing in it can harm a terminal."""
    for row in rows:
        click.echo(json.dumps({name: _plain(value) for name, value in row.items()}))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print aligned columns, cut to the terminal's width on a terminal, whole when piped."""
    if not rows:
        click.echo(empty, err=True)
        return
    texts = [[_shown(value) for value in row] for row in rows]
    widths = [max(len(heading), *(len(row[i]) for row in texts)) for i, heading in enumerate(headings)]
    if sys.stdout.isatty():
        _fit(widths, shutil.get_terminal_size().columns)
    click.echo(_line(list(headings), widths, bare=True))
    for row in texts:
        click.echo(_line(row, widths))


def _fit(widths: list[int], terminal: int) -> None:
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - terminal
    while excess > 0 and max(widths) > MIN_COLUMN:
        widest = widths.index(max(widths))
        widths[widest] -= 1
        excess -= 1


def _line(cells: list[str], widths: list[int], *, bare: bool = False) -> str:
    shown = []
    for text, width in zip(cells, widths, strict=True):
        cut = text if len(text) <= width else text[: width - 1] + "…"
        padded = cut.ljust(width)
        shown.append(padded if bare else coloured(padded, text))
    return GAP.join(shown).rstrip()


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case StrEnum():
            return value.value
        case str():
            return printable(value)
        case _:
            return str(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: 1 task, 2 tasks."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def age(since: datetime, now: datetime) -> str:
    """Return how long ago, in the two words people use: 3 s, 12 min, 5 h, 8 d."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
