"""One file of a configuration as it was read: text, lists and mappings, and where each of them stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from taskwatch.telemetry import printable

Value = str | list["Value"] | dict[str, "Value"]
KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """Where something stands in its file: line and column, both counted from 1."""

    line: int
    column: int


START: Final = Place(1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake: where, under which keys, what is wrong and what to write instead."""

    file: Path
    place: Place | None  # none where the file as a whole is meant
    path: KeyPath
    text: str

    def line(self) -> str:
        """Return the one line that is printed, harmless to a terminal."""
        where = f"{self.file}:{self.place.line}:{self.place.column}" if self.place else str(self.file)
        return printable(": ".join(part for part in (where, spell_path(self.path), self.text) if part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file, with the mistakes that were found in reading it."""

    file: Path
    root: dict[str, Value]
    places: Mapping[KeyPath, Place]  # of the key in a mapping, of the item in a list
    problems: tuple[Problem, ...] = ()
    is_whole: bool = True  # whether it was read to its end; if not, it holds one problem and nothing else

    @property
    def directory(self) -> Path:
        """Where relative paths of this file start."""
        return self.file.absolute().parent

    def value(self, path: KeyPath) -> Value | None:
        """Return what stands at the path, if anything does."""
        found: Value | None = self.root
        for part in path:
            if isinstance(found, dict) and isinstance(part, str):
                found = found.get(part)
            elif isinstance(found, list) and isinstance(part, int) and part < len(found):
                found = found[part]
            else:
                return None
        return found

    def written(self, path: KeyPath) -> KeyPath:
        """Return the path without the numbers of a list that was written as its one item."""
        while path and isinstance(path[-1], int) and path not in self.places:
            path = path[:-1]
        return path

    def place(self, path: KeyPath) -> Place:
        """Return the place of the path, or of the nearest of its parents that is written down."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path, START)

    def problem(self, path: KeyPath, text: str) -> Problem:
        """Say what is wrong at the path."""
        return Problem(file=self.file, place=self.place(path), path=path, text=text)

    def spot(self, path: KeyPath, seen_from: "Document") -> str:
        """Name the path to people who look at a file: `projects[0] in line 3`, `projects[0] in b.yaml:3`."""
        line = self.place(path).line
        return f"{spell_path(path)} in " + (f"line {line}" if self is seen_from else f"{self.file}:{line}")


def in_order(problems: Iterable[Problem], documents: Iterable[Document]) -> list[Problem]:
    """Sort the problems as a reader meets them: file by file, from top to bottom."""
    files = list(dict.fromkeys(document.file for document in documents))
    order = {file: number for number, file in enumerate(files)}
    return sorted(problems, key=lambda problem: (order[problem.file], problem.place or START))


def spell_path(path: KeyPath) -> str:
    """Write a path as people read it: `projects[0].endpoint`."""
    spelt = ""
    for part in path:
        if isinstance(part, int):
            spelt += f"[{part}]"
        else:
            spelt += f".{part}" if spelt else part
    return spelt
