"""Secrets: read where they are kept, each time they are used, shown nowhere.

A `Secret` prints as `Secret(file:/run/token)`: where it is kept, never what it is.
"""

import html
import json
import os
import re
import stat
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from taskwatch.errors import SecretUnreadableError

MAX_SECRET_BYTES: Final = 64 * 1024
_HIDDEN: Final = "[secret]"
_AS_GO_WRITES_IT: Final = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "<>&"})


class Kept(StrEnum):
    """Where a secret is kept."""

    TEXT = "text"  # in the configuration itself
    FILE = "file"
    ENV = "env"
    CREDENTIAL = "credential"  # a file below systemd's $CREDENTIALS_DIRECTORY


class Secret:
    """Text that is read when it is needed, so that what others renew is new here too."""

    __slots__ = ("_kept", "_where")

    def __init__(self, kept: Kept, where: str) -> None:
        self._kept = kept
        self._where = where  # the text itself, a path, or a name

    @classmethod
    def text(cls, value: str) -> "Secret":
        return cls(Kept.TEXT, value)

    @property
    def kept(self) -> Kept:
        return self._kept

    @property
    def place(self) -> str:
        """Where it is kept, as people say it."""
        match self._kept:
            case Kept.TEXT:
                return "the configuration"
            case Kept.FILE:
                return self._where
            case Kept.ENV:
                return f"${self._where}"
            case Kept.CREDENTIAL:
                return f"the credential {self._where}"

    def __repr__(self) -> str:
        return "Secret(text)" if self._kept is Kept.TEXT else f"Secret({self._kept}:{self._where})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._kept, self._where) == (other._kept, other._where)

    def __hash__(self) -> int:
        return hash((self._kept, self._where))

    def reveal(self) -> str:
        """Return the secret as it is now, without the line end that editors add.

        Raises SecretUnreadableError, whose text names the place and never the value.
        """
        match self._kept:
            case Kept.TEXT:
                return self._where
            case Kept.ENV:
                value = os.environ.get(self._where, "").strip()
                if not value:
                    raise SecretUnreadableError(
                        f"environment variable {self._where} is not set; set it where the daemon is started"
                    )
                if not value.isascii() and not _is_text(value):
                    raise SecretUnreadableError(
                        f"environment variable {self._where} is not UTF-8 text; set it to text"
                    )
                return value
            case Kept.FILE:
                return _read(
                    Path(self._where), if_missing="write it there, readable for the daemon's user alone"
                )
            case Kept.CREDENTIAL:
                directory = os.environ.get("CREDENTIALS_DIRECTORY")
                if not directory:
                    raise SecretUnreadableError(
                        f"credential {self._where} is not readable here: $CREDENTIALS_DIRECTORY is set "
                        "only by systemd (LoadCredential=)"
                    )
                return _read(
                    Path(directory) / self._where, if_missing="name it in LoadCredential= of the unit"
                )


def hidden(text: str, secrets: Iterable[str], *, shortest: int) -> str:
    """Return what others say without these secrets, escaped or not, also where it ends in the midst of one.

    A secret of fewer than `shortest` characters stays: it would take ordinary words apart.
    """
    known = {spelling for secret in secrets if len(secret) >= shortest for spelling in _spellings(secret)}
    longest_first = sorted(known, key=len, reverse=True)
    for secret in longest_first:
        text = text.replace(secret, _HIDDEN)
    for secret in longest_first:
        text = _without_beginning(text, secret, shortest=shortest)
    return text


def _spellings(secret: str) -> set[str]:
    """Return the ways in which those who repeat a secret write it: as it is, in JSON, in a URL, in HTML, in Python."""
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    in_json |= {text.translate(_AS_GO_WRITES_IT) for text in in_json} | {
        text.replace("/", "\\/") for text in in_json
    }
    in_url = {
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
        quote(secret, errors="replace"),
    }
    in_lower_case = {re.sub("%..", lambda escape: escape[0].lower(), text) for text in in_url}
    return {secret, html.escape(secret), repr(secret)[1:-1], *in_json, *in_url, *in_lower_case}


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # it holds the value
        return False
    return True


def _without_beginning(text: str, secret: str, *, shortest: int) -> str:
    start = text.find(secret[:shortest], max(0, len(text) - len(secret)))
    while start >= 0:
        if secret.startswith(text[start:]):
            return text[:start] + _HIDDEN
        start = text.find(secret[:shortest], start + 1)
    return text


def _read(path: Path, *, if_missing: str) -> str:
    # Nothing is remembered: an edit within one tick of the file system's clock leaves no trace to
    # see it by, and of a file that has gone nobody knows whether its secret still holds.
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would be waited for
            raise SecretUnreadableError(f"{path} is not a regular file; write the secret into one")
        with path.open("rb") as stream:
            content = stream.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SecretUnreadableError(
            f"cannot read {path}: {error.strerror}; {_remedy(error, if_missing=if_missing)}"
        ) from error
    if len(content) > MAX_SECRET_BYTES:
        raise SecretUnreadableError(
            f"{path} is larger than {MAX_SECRET_BYTES} bytes: not a secret; write the secret alone into it"
        )
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise SecretUnreadableError(
            f"{path} is not UTF-8 text; write the secret as text"
        ) from None  # it holds the bytes
    if not text:
        raise SecretUnreadableError(f"{path} is empty; write the secret into it")
    return text


def _remedy(error: OSError, *, if_missing: str) -> str:
    match error:
        case FileNotFoundError():
            return if_missing
        case IsADirectoryError():
            return "name a file in it"
        case PermissionError():
            return f"let user id {os.geteuid()} read it"
        case _:
            return "mend that, or keep the secret elsewhere"
