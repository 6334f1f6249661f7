"""The secrets of a configuration: where they stand, and whether they can be read here and now.

Loading reads no secret, so that commands which need only the store work without them; what is about
to use them inspects first.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from taskwatch.config.document import Document, KeyPath, Place, Problem
from taskwatch.config.fields import beside
from taskwatch.errors import SecretUnreadableError
from taskwatch.secret import Kept, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSecret:
    """A secret, and where the configuration speaks of it."""

    path: KeyPath
    place: Place
    secret: Secret
    file: Path | None = None  # where it is kept, if in a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What came of it, as printable lines."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]  # what cannot be told from here


def find_secrets(parsed: BaseModel, document: Document) -> tuple[PlacedSecret, ...]:
    """Find all secrets and URLs that are read when they are used."""
    return tuple(_placed(path, secret, document) for path, secret in _secrets(parsed, ()))


def inspect_secrets(file: Path, secrets: Iterable[PlacedSecret]) -> Inspection:
    """Read every secret of the configuration `file` once and forget it."""
    problems: list[str] = []
    notes: list[str] = []
    for placed in secrets:
        if placed.secret.kept is Kept.CREDENTIAL and not os.environ.get("CREDENTIALS_DIRECTORY"):
            text = "not readable here; systemd hands it to the daemon alone (LoadCredential=)"
            notes.append(_line(file, placed, text))
        elif (obstacle := _obstacle(placed)) is not None:
            problems.append(_line(file, placed, obstacle))
    return Inspection(problems=tuple(problems), notes=tuple(notes))


def _secrets(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, Secret]]:
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(item, (*path, str(key)))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _secrets(item, (*path, number))


def _placed(path: KeyPath, secret: Secret, document: Document) -> PlacedSecret:
    path = document.written(path)
    value = document.value(path)
    file = value.get("file") if isinstance(value, dict) else None
    return PlacedSecret(
        path=path,
        place=document.place(path),
        secret=secret,
        file=beside(document.directory, file) if isinstance(file, str) else None,
    )


def _line(file: Path, placed: PlacedSecret, text: str) -> str:
    return Problem(place=placed.place, path=placed.path, text=text).line(file)


def _obstacle(placed: PlacedSecret) -> str | None:
    """Say why the secret cannot be used, and the remedy; None if it can."""
    try:
        placed.secret.reveal()
    except SecretUnreadableError as error:
        return f"{error}; {_remedy(placed.secret.kept)}"
    if placed.file is not None and _is_readable_by_all(placed.file):
        return f"everybody on this machine can read {placed.file}; chmod 600 it, for the daemon's user alone"
    return None


def _remedy(kept: Kept) -> str:
    match kept:
        case Kept.FILE:
            return "write it there, readable for the daemon's user alone"
        case Kept.ENV:
            return "set it where the daemon is started"
        case Kept.CREDENTIAL | Kept.TEXT:
            return "name it in LoadCredential= of the unit"


def _is_readable_by_all(file: Path) -> bool:
    try:
        found = file.resolve()
        ways = [parent.stat().st_mode & stat.S_IXOTH for parent in found.parents]
        return bool(found.stat().st_mode & stat.S_IROTH) and all(ways)
    except OSError:
        return False  # gone since it was read
