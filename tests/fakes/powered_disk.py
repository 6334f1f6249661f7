"""A disk whose power is cut: what was not synced is there, or not, or half of it.

SQLite's own file system, with a journal of what it was told to write. `after_a_cut` builds the files as a disk
could hold them afterwards: all that was synced, and of the rest any part, in pieces of a sector.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

_NAME: Final = "powered"
_REAL: Final = "unix"
SECTOR: Final = 512


@dataclass(frozen=True, slots=True)
class Write:
    file: str
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    file: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody was told that so many commits are durable."""

    commits: int


Entry = Write | Truncate | Sync | Answered


class PoweredDisk(apsw.VFS):
    """Writes down what it does in `journal`."""

    def __init__(self) -> None:
        super().__init__(_NAME, _REAL)
        self.journal: list[Entry] = []

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's
        return _File(self.journal, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, journal: list[Entry], name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(_REAL, name, flags)
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(text or "").name
        self._journal = journal if self._name else []  # what has no name ends with the process

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's
        super().xWrite(data, offset)
        self._journal.append(Write(self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's
        super().xTruncate(newsize)
        self._journal.append(Truncate(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's
        super().xSync(flags)
        self._journal.append(Sync(self._name))


@contextmanager
def powered_disk() -> Iterator[PoweredDisk]:
    """Every database that is opened meanwhile is written down."""
    disk = PoweredDisk()
    apsw.set_default_vfs(_NAME)
    try:
        yield disk
    finally:
        apsw.set_default_vfs(_REAL)
        disk.unregister()


def after_a_cut(files: dict[str, bytes], journal: Sequence[Entry], rng: random.Random) -> dict[str, bytes]:
    """Return the files as they may be when the power is cut at the end of this journal."""
    synced = {entry.file: number for number, entry in enumerate(journal) if isinstance(entry, Sync)}
    held = {name: bytearray(content) for name, content in files.items()}
    for number, entry in enumerate(journal):
        if isinstance(entry, Write | Truncate):
            is_certain = number < synced.get(entry.file, -1)
            for kept in (entry,) if is_certain else _luck(entry, rng):
                _apply(held.setdefault(kept.file, bytearray()), kept)
    return {name: bytes(content) for name, content in held.items()}


def _luck(entry: Write | Truncate, rng: random.Random) -> Iterable[Write | Truncate]:
    match rng.random():
        case luck if luck < 0.4:
            return [entry]
        case luck if luck < 0.7 and isinstance(entry, Write):
            size = rng.randrange(0, len(entry.content) + 1, SECTOR)
            return [Write(entry.file, entry.offset, entry.content[:size])]
        case _:
            return []


def _apply(content: bytearray, entry: Write | Truncate) -> None:
    if isinstance(entry, Truncate):
        del content[entry.size :]
        return
    content.extend(bytes(max(0, entry.offset - len(content))))
    content[entry.offset : entry.offset + len(entry.content)] = entry.content
