"""The secrets of a configuration and its certificates: where they stand, and whether they can be read here and now.

Loading reads none of them, so that commands which need only the store work without them; what is about
to use them inspects first.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from taskwatch.config.document import Document, KeyPath, Place, Problem
from taskwatch.config.network import find_tls
from taskwatch.errors import SecretUnreadableError
from taskwatch.secret import Kept, Secret
from taskwatch.tls import TlsUnusableError, Trust, open_context

SERVER_TOKEN: Final = ("server", "token")
LEAST_OF_TOKEN: Final = 16  # characters: whoever reaches the server may guess for as long as they like


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSecret:
    """A secret, and where the configuration speaks of it."""

    source: Path  # the file of the configuration
    path: KeyPath
    place: Place
    secret: Secret

    def problem(self, text: str) -> Problem:
        """Say what is wrong with it."""
        return Problem(file=self.source, place=self.place, path=self.path, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTrust:
    """A TLS section that says anything, and where it stands."""

    source: Path
    path: KeyPath
    places: Mapping[str, Place]  # of the keys that are written
    place: Place
    trust: Trust

    def problem(self, key: str, text: str) -> Problem:
        """Say what is wrong with one of its keys; with none of them: with the whole."""
        path = (*self.path, key) if key else self.path
        return Problem(file=self.source, place=self.places.get(key, self.place), path=path, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What came of it, as printable lines."""

    exposed: tuple[str, ...] = ()  # readable by everybody on this machine: never to be used
    unreadable: tuple[str, ...] = ()  # now; the next minute may mend it
    notes: tuple[str, ...] = ()  # what cannot be told from here

    def joined(self, other: "Inspection") -> "Inspection":
        return Inspection(
            exposed=self.exposed + other.exposed,
            unreadable=self.unreadable + other.unreadable,
            notes=self.notes + other.notes,
        )


def find_secrets(parsed: BaseModel, document: Document) -> tuple[PlacedSecret, ...]:
    """Find all secrets and URLs that are read when they are used."""
    return tuple(_placed(path, secret, document) for path, secret in secrets_in(parsed, ()))


def find_trusts(parsed: BaseModel, document: Document) -> tuple[PlacedTrust, ...]:
    """Find all TLS sections that say anything."""
    return tuple(
        PlacedTrust(
            source=document.file,
            path=path,
            place=document.place(path),
            places={key: document.place((*path, key)) for key in section.model_fields_set},
            trust=section.trust,
        )
        for path, section in find_tls(parsed)
        if section.trust != Trust()
    )


def inspect_trusts(trusts: Iterable[PlacedTrust]) -> Inspection:
    """Read the certificates and keys once, as a connection would."""
    exposed: list[str] = []
    unreadable: list[str] = []
    problems: dict[Trust, str | None] = {}  # many sections may say the same
    for placed in trusts:
        if placed.trust not in problems:
            problems[placed.trust] = _problem(placed.trust)
        if (problem := problems[placed.trust]) is not None:
            unreadable.append(placed.problem("", problem).line())
        file = placed.trust.secret
        if file is not None and _is_readable_by_all(file):
            key = "key" if placed.trust.key is not None else "cert"
            exposed.append(placed.problem(key, _exposed(file)).line())
    return Inspection(exposed=tuple(exposed), unreadable=tuple(unreadable))


def _problem(trust: Trust) -> str | None:
    try:
        open_context(trust)
    except TlsUnusableError as error:
        return str(error)
    return None


def inspect_secrets(secrets: Iterable[PlacedSecret]) -> Inspection:
    """Read every secret once and forget it."""
    exposed: list[str] = []
    unreadable: list[str] = []
    notes: list[str] = []
    for placed in secrets:
        if placed.secret.kept is Kept.CREDENTIAL and not os.environ.get("CREDENTIALS_DIRECTORY"):
            text = "not readable here; systemd hands it to the daemon alone (LoadCredential=)"
            notes.append(placed.problem(text).line())
            continue
        try:
            text = placed.secret.reveal()
        except SecretUnreadableError as error:
            unreadable.append(placed.problem(str(error)).line())
            continue
        if not text.isprintable():
            text = "holds a line end or another control character, which no request can carry; write it as one line"
            unreadable.append(placed.problem(text).line())
        if placed.path == SERVER_TOKEN and len(text) < LEAST_OF_TOKEN:
            text = f"fewer than {LEAST_OF_TOKEN} characters can be guessed; write what openssl rand -hex 32 prints"
            unreadable.append(placed.problem(text).line())
        if (why := exposure(placed.secret)) is not None:
            exposed.append(placed.problem(why).line())
    return Inspection(exposed=tuple(exposed), unreadable=tuple(unreadable), notes=tuple(notes))


def exposure(secret: Secret) -> str | None:
    """Say that everybody on this machine can read the file that keeps it, if they can: then it is not to be used."""
    if secret.kept is not Kept.FILE:
        return None
    file = Path(secret.place)
    return _exposed(file) if _is_readable_by_all(file) else None


def secrets_in(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Secret]]:
    """Yield all secrets in a part of a configuration, and where they stand in it."""
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from secrets_in(item, (*path, str(key)))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from secrets_in(item, (*path, number))


def _placed(path: KeyPath, secret: Secret, document: Document) -> PlacedSecret:
    path = document.written(path)
    return PlacedSecret(source=document.file, path=path, place=document.place(path), secret=secret)


def _exposed(file: Path) -> str:
    return f"everybody on this machine can read {file}; chmod 600 it, or 640 with a group that the daemon has"


def _is_readable_by_all(file: Path) -> bool:
    try:
        found = file.resolve()
        ways = [parent.stat().st_mode & stat.S_IXOTH for parent in found.parents]
        return bool(found.stat().st_mode & stat.S_IROTH) and all(ways)
    except OSError:
        return False  # gone since it was read
