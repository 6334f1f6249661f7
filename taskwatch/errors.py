"""Every error that taskwatch raises on purpose.

An error's text is one line that a colleague could act on. No secret, no query of a URL and no
userinfo may stand in it; whoever raises sees to that.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TaskwatchError(Exception):
    """Root of all errors of taskwatch. The commands print its text and exit with `exit_code`."""

    exit_code = 1


class ConfigError(TaskwatchError):
    """The configuration is wrong. `problems` holds one printable line per mistake."""

    exit_code = 78

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreUnusableError(TaskwatchError):
    """The store cannot be used, and waiting will not mend it (exit 78)."""

    exit_code = 78


class StoreHeldError(TaskwatchError):
    """Another daemon holds the store (exit 75); the text says which."""

    exit_code = 75


class StoreFailedError(TaskwatchError):
    """This read or write did not happen; nothing of it is on disk. Later ones may succeed."""


class StoreLostError(TaskwatchError):
    """The disk refused to make a commit durable: what it holds is unknown until it is read anew.

    The process ends; the restart reads the truth from disk.
    """


class RequestError(TaskwatchError):
    """The running daemon could not do what it was asked to, or gave no answer."""


class SecretUnreadableError(TaskwatchError):
    """A secret could not be read. The text names where it should be, never what it is."""


class CloudCause(StrEnum):
    """Why a project could not be read. A bounded set: logs and metrics use it as a label."""

    LOGIN = "login"  # 401, or a 403 that means an invalid token
    PERMISSION = "permission"  # 403
    NOT_FOUND = "not_found"  # 404: wrong endpoint, project or region
    THROTTLED = "throttled"  # 429
    CLOUD = "cloud"  # 5xx
    BAD_ANSWER = "bad_answer"  # an answer that is not a task list
    NETWORK = "network"  # no connection, reset, name not found
    TLS = "tls"
    TIMEOUT = "timeout"


@dataclass(eq=False)
class CloudError(TaskwatchError):
    """One request to the cloud did not give a task list. Never a statement about a task."""

    cause: CloudCause
    message: str  # one line: what happened, at which host, and the remedy if there is one
    http_status: int | None = None
    error_code: str | None = None  # the service's own code, as APIGW.0301
    request_id: str | None = None
    retry_after: float | None = None  # seconds
    answered_at: datetime | None = None  # by the clock of the host that answered
    prospect: str = ""  # when it is tried again, where that is not the next poll
    is_told: bool = False  # the login, which many projects may share, has logged it
    is_lockout: bool = False  # of a login: the account takes none for a while, not even the right one
    asked_for: str = ""  # what a login was for, where others that share it hear of the error too

    def __str__(self) -> str:
        asked_for = f"asked for {self.asked_for}" if self.asked_for else ""
        beside = "; ".join(text for text in (asked_for, self.prospect) if text)
        return f"{self.message} ({beside})" if beside else self.message
