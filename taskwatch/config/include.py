"""The files of a configuration: the main one and those that it includes.

Invariants:
- The main file comes first, then the others: pattern by pattern as they are written, each sorted by
  name; a file that two patterns find is read once.
- Included files include no others, and their number is bounded.
"""

import fnmatch
import glob
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from taskwatch.config.document import Document, KeyPath
from taskwatch.config.fields import is_off
from taskwatch.config.parse import read, remedy

MAX_FILES: Final = 1000


def read_files(main: Path) -> tuple[Document, ...]:
    """Read the file and all that it includes. Nothing is raised: each document holds its problems.

    What should have been there and was not is a document that is not whole.
    """
    document = read(main)
    files = {os.path.realpath(main): main}
    missing: list[Document] = []
    for path, pattern in _patterns(document):
        try:
            for file in _found(document, pattern):
                files.setdefault(os.path.realpath(file), file)
        except ValueError as error:
            missing.append(_missing(document, path, str(error)))
    if len(files) > MAX_FILES:
        text = f"more than {MAX_FILES} files; write several projects in each"
        return document, _missing(document, ("include",), text)
    _, *included = files.values()
    return document, *(read(file) for file in included), *missing


def _patterns(document: Document) -> Iterator[tuple[KeyPath, str]]:
    written = document.root.get("include", "")
    if isinstance(written, str) and not is_off(written):
        yield ("include",), written
    for number, pattern in enumerate(written if isinstance(written, list) else []):
        if isinstance(pattern, str):
            yield ("include", number), pattern


def _missing(document: Document, path: KeyPath, text: str) -> Document:
    problem = document.problem(path, text)
    return Document(file=document.file, root={}, places={}, problems=(problem,), is_whole=False)


def _found(document: Document, pattern: str) -> list[Path]:
    """Return the files of one pattern. Raises ValueError, whose text says what to write."""
    try:
        path = Path(pattern).expanduser()
        matching = _matching(document.file.parent / path.anchor, path.relative_to(path.anchor).parts)
        found = sorted(islice(matching, MAX_FILES + 1))
        # A link that leads nowhere is kept and told of: left out in silence, its projects would be.
        found = [file for file in found if file.is_file() or not file.exists()]
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}; {remedy(error)}") from None
    except (ValueError, RuntimeError):
        raise ValueError("not a path; write a file, or a pattern as conf.d/*.yaml") from None
    if not found and not _is_pattern(pattern):
        raise ValueError("no such file; write it, or a pattern as conf.d/*.yaml, which may find none")
    return found


def _is_pattern(text: str) -> bool:
    return glob.escape(text) != text


def _matching(directory: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    if not parts:
        yield directory
        return
    for name in _names(directory, parts[0]):
        yield from _matching(directory / name, parts[1:])


def _names(directory: Path, part: str) -> list[str]:
    # glob.glob() would take a directory that cannot be listed for an empty one.
    try:
        if _is_pattern(part):
            shown = [entry.name for entry in directory.iterdir() if not entry.name.startswith(".")]
            return fnmatch.filter(shown, part)
        (directory / part).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [part]
