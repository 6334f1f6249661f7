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
READABLE: Final = 24  # characters that a column of free text wants at least
COLOURS: Final = {
    "Failed": "red", "dead": "red", "critical": "red",
    "Canceled": "yellow", "warning": "yellow", "pending": "yellow",
    "Running": "cyan", "Completed": "green", "delivered": "green",
}  # fmt: skip


def is_coloured() -> bool:
    """Colour only on a terminal that knows colours, and never against NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, word: str | None = None) -> str:
    """Return the text in the colour of a status, severity or state; `word` where it is not the text itself."""
    colour = COLOURS.get(word if word is not None else text)
    return click.style(text, fg=colour) if colour and is_coloured() else text


def print_json(rows: Iterable[Mapping[str, object]]) -> None:
    """Print one JSON object a line. ASCII only: nothing in it can harm a terminal."""
    for row in rows:
        click.echo(json.dumps(dict(row), default=_plain))


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    empty: str,
    spare: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Print aligned columns, whole when piped.

    On a terminal too narrow for them the `spare` ones are left out, in their order: they stand whole or
    not at all. What is left is cut, but for the `whole` ones: a command takes what they hold.
    """
    if not rows:
        click.echo(empty, err=True)
        return
    texts = [[_shown(value) for value in row] for row in rows]
    widths = {
        heading: max(len(heading), *(len(row[i]) for row in texts)) for i, heading in enumerate(headings)
    }
    if sys.stdout.isatty():
        _fit(widths, shutil.get_terminal_size().columns, spare, whole)
    click.echo(_line(list(widths), list(widths.values()), bare=True))
    for row in texts:
        cells = [text for heading, text in zip(headings, row, strict=True) if heading in widths]
        click.echo(_line(cells, list(widths.values())))


def _fit(widths: dict[str, int], terminal: int, spare: Sequence[str], whole: Sequence[str]) -> None:
    texts = [heading for heading in widths if heading not in (*spare, *whole)]
    least = {
        heading: min(width, READABLE) if heading in texts else width for heading, width in widths.items()
    }
    for heading in spare:
        if sum(least.values()) + len(GAP) * (len(least) - 1) > terminal:
            del widths[heading], least[heading]
    excess = sum(widths.values()) + len(GAP) * (len(widths) - 1) - terminal
    while excess > 0 and max(widths[text] for text in texts) > MIN_COLUMN:
        widest = max(texts, key=lambda text: widths[text])
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
            return value.astimezone(UTC).strftime("%m-%d %H:%M:%SZ")
        case StrEnum():
            return value.value
        case str():
            return printable(value)
        case _:
            return str(value)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def few(names: Sequence[str], *, shown: int = 5) -> str:
    """Return the names in one line, the first few of many: a, b, c and 17 more."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
