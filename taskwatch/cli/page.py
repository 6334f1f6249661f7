"""A page of 80 columns: words on the left, what there is to say beside them."""

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from taskwatch.telemetry import printable

WIDTH: Final = 80
INDENT: Final = 12  # of what stands beside a word


def beside(word: str, text: object, *, indent: int = INDENT, at_most: int | None = None) -> Iterator[str]:
    """Yield the text in lines that fit, beside the word; no more lines than `at_most`."""
    lines = textwrap.wrap(
        printable(str(text)), WIDTH - indent, break_on_hyphens=False, max_lines=at_most, placeholder=" …"
    )
    first, *others = lines or [""]
    yield word.ljust(indent) + first
    for line in others:
        yield " " * indent + line


def hanging(text: str, *, indent: int) -> Iterator[str]:
    """Yield the text in lines that fit, those after the first one further in."""
    yield from textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 4),
        break_on_hyphens=False,
    )


def moment(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
