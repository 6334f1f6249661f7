"""Secrets: read where they are kept, read again when they change, shown nowhere.

A `Secret` prints as `Secret(file:/run/token)`: where it is kept, never what it is.
"""

import os
from enum import StrEnum
from pathlib import Path

from taskwatch.errors import SecretUnreadableError

MAX_SECRET_BYTES = 64 * 1024


class Kept(StrEnum):
    """Where a secret is kept."""

    TEXT = "text"  # in the configuration itself
    FILE = "file"
    ENV = "env"
    CREDENTIAL = "credential"  # a file below systemd's $CREDENTIALS_DIRECTORY


class Secret:
    """Text that is read when it is needed. Files are read again when they have changed."""

    __slots__ = ("_kept", "_read", "_stamp", "_where")

    def __init__(self, kept: Kept, where: str) -> None:
        self._kept = kept
        self._where = where  # the text itself, a path, or a name
        self._read: str | None = None
        self._stamp: tuple[int, int, int] | None = None

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
                value = os.environ.get(self._where)
                if not value:
                    raise SecretUnreadableError(f"environment variable {self._where} is not set")
                return value.strip()
            case Kept.FILE:
                return self._from_file(Path(self._where))
            case Kept.CREDENTIAL:
                directory = os.environ.get("CREDENTIALS_DIRECTORY")
                if not directory:
                    raise SecretUnreadableError(
                        f"credential {self._where} is not readable here: $CREDENTIALS_DIRECTORY is set "
                        "only by systemd (LoadCredential=)"
                    )
                return self._from_file(Path(directory) / self._where)

    def _from_file(self, path: Path) -> str:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if self._read is None or stamp != self._stamp:
                if status.st_size > MAX_SECRET_BYTES:
                    raise SecretUnreadableError(
                        f"{path} is larger than {MAX_SECRET_BYTES} bytes: not a secret"
                    )
                self._read = path.read_text("utf-8").strip()
                self._stamp = stamp
        except OSError as error:
            raise SecretUnreadableError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise SecretUnreadableError(f"{path} is not UTF-8 text") from None  # the cause holds the bytes
        if not self._read:
            raise SecretUnreadableError(f"{path} is empty")
        return self._read
