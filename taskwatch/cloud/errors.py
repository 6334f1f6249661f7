"""What the cloud says when it does not give a task list, told in one line that a colleague could act on.

Invariants:
- No secret stands in any error: whatever the cloud says is searched for the secrets that were sent.
- What the cloud says is shown escaped and cut; what aiohttp says is not shown at all, for its errors
  hold the request with its headers.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import hidden

MAX_SAID: Final = 256  # characters of the cloud's own words in one error
_MAX_NESTING: Final = 3
_MAX_DIGITS: Final = 12  # of a number of seconds: beyond is beyond reason
_SHORTEST_SECRET: Final = 8  # anything shorter would take ordinary words apart

_CODES: Final = ("error_code", "errorCode", "errCode", "code")
_MESSAGES: Final = ("error_msg", "errorMsg", "errMsg", "externalMessage", "message")
_REQUEST_IDS: Final = ("request_id", "requestId")

# Phases of an exchange in which the host has been reached.
UNCONNECTED: Final = "no TCP or TLS connection to it yet"
UNANSWERED: Final = "connected, and no answer yet"
UNFINISHED: Final = "its answer began, and did not end"

_UNAUTHORIZED: Final = 401
_LOCKED: Final = (
    "too many logins were refused, and for a while none is accepted; find who else still logs in with an old"
    " password; the daemon waits, and tries again by itself"
)
_INVALID_TOKEN_CODE: Final = "DBS.280056"  # noqa: S105  # the service's code for "Invalid token": it comes as a 403
_LOCKED_OUT: Final = re.compile(r"\block(?:ed|out)\b", re.IGNORECASE)
_SIGNATURE: Final = re.compile(r"\bak\b|aksk|signature|secret ?key", re.IGNORECASE)  # the gateway's words
_KEY_LOCKED: Final = re.compile(r"reach the limit", re.IGNORECASE)
_OF_THE_HOST: Final = (CloudCause.CLOUD, CloudCause.THROTTLED)  # a page in front of it says the same
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_DATE_LENGTH: Final = len("Sun, 06 Nov 1994 08:49:37 GMT")


@dataclass(slots=True, kw_only=True)
class Asked:
    """Who was asked and as whom: all that it takes to tell an error well and safely.

    Its owner replaces `secrets` for each request, the transport adds those of a proxy; everybody else only reads.
    """

    host: str
    credential: str  # in words, as Login says it
    secrets: tuple[str, ...] = field(default=(), repr=False)
    setting: str = "endpoint"  # what in the configuration names the host
    asked_for: str = ""  # of a login: what for, in words
    phase: str = ""  # of the exchange under way, in words
    # Where they are not those of a task list.
    remedies: Mapping[CloudCause, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an answer that is no task list says of itself: escaped, cut, without secrets."""

    code: str | None = None
    message: str
    request_id: str | None = None
    is_quoted: bool = True  # False: the message is ours, about an answer that says nothing
    is_page: bool = False  # for people with a browser: no API has answered

    def __str__(self) -> str:
        message = f'"{self.message}"' if self.is_quoted else self.message
        return f"{self.code} {message}" if self.code else message


def refusal(asked: Asked, status: int, headers: Mapping[str, str], body: bytes) -> CloudError:
    """Say what an answer with another status than 200 means, and what to do."""
    said = what_it_says(asked, body)
    cause = _cause(status, said)
    is_lockout = status == _UNAUTHORIZED and _LOCKED_OUT.search(said.message) is not None
    remedy = _LOCKED if is_lockout else _remedy(asked, cause, status, said)
    words = replace(said, code=None) if said.code == str(status) else said  # once is enough
    return CloudError(
        cause,
        f"{asked.host} answered {status} {words}: {remedy}",
        http_status=status,
        error_code=said.code if said.code != str(status) else None,  # Keystone says its status twice
        request_id=_header(asked, headers, "X-Request-Id") or said.request_id,
        retry_after=_retry_after(headers),
        answered_at=http_date(headers.get("Date", "")),
        is_lockout=is_lockout,
        asked_for=asked.asked_for,
    )


def no_task_list(asked: Asked, why: str, body: bytes) -> CloudError:
    """Say what a 200 that holds no task list holds instead."""
    said = what_it_says(asked, body)
    return CloudError(
        CloudCause.BAD_ANSWER,
        f"{asked.host} answered 200 without a task list ({why}): {said}; check endpoint and project_id",
        http_status=200,
        error_code=said.code,
        request_id=said.request_id,
    )


def bad_answer(asked: Asked, why: str) -> CloudError:
    """Say that an answer cannot be used; `why` is ours and holds nothing of the cloud's words."""
    return CloudError(CloudCause.BAD_ANSWER, f"{asked.host}: {why}")


def too_late(asked: Asked, seconds: float) -> CloudError:
    return CloudError(
        CloudCause.TIMEOUT,
        f"{asked.host} did not give the whole task list within {seconds:g} s{stopped(asked, longer='timeout')}",
    )


def stopped(asked: Asked, *, longer: str = "") -> str:
    """Say in which phase time ran out, and what to do. `longer` is the setting that gives more of it."""
    if not asked.phase:
        return ""
    said = f": {asked.phase}"
    if asked.phase not in (UNANSWERED, UNFINISHED):
        return said
    more = f", or write a longer {longer}" if longer else ""
    return f"{said}; it is up and slow, or hangs: look at its status page and at a proxy on the way{more}"


def what_it_says(asked: Asked, body: bytes) -> Said:
    """Read the code and the message out of any of the shapes in which the cloud words an error."""
    text = body.decode("utf-8", "replace").strip()
    try:
        answer = json.loads(text, parse_int=str, parse_float=str)  # as text: a number may have any length
    except (ValueError, RecursionError):
        return _without_shape(asked, text)
    found = _find(answer, nesting=0) if isinstance(answer, dict) else None
    if found is None:
        # Not quoted: escaped, a secret would not be found.
        return Said(message="JSON that names no error", is_quoted=False)
    code, message = found
    request_id = _first(answer, _REQUEST_IDS)
    return Said(
        code=one_line(asked, code) if code else None,
        message=one_line(asked, message) if message else "no message",
        request_id=one_line(asked, request_id) if request_id else None,
        is_quoted=message is not None,
    )


def _without_shape(asked: Asked, text: str) -> Said:
    if not text:
        return Said(message="an empty body", is_quoted=False)
    if text[:256].lower().startswith(("<!doctype", "<html", "<?xml")):
        return Said(message="an HTML page", is_quoted=False, is_page=True)
    if text.startswith(("{", "[", '"')):
        return Said(message="broken JSON", is_quoted=False)  # not quoted for the same reason
    return Said(message=one_line(asked, text))


def _find(answer: dict[str, object], *, nesting: int) -> tuple[str | None, str | None] | None:
    code, message = _first(answer, _CODES), _first(answer, _MESSAGES)
    if code or message:
        return code, message
    if nesting == _MAX_NESTING:
        return None
    inner = (value for value in answer.values() if isinstance(value, dict))
    return next((found for value in inner if (found := _find(value, nesting=nesting + 1))), None)


def _first(answer: dict[str, object], names: tuple[str, ...]) -> str | None:
    texts = (answer.get(name) for name in names)
    return next((text for text in texts if isinstance(text, str) and text), None)


def one_line(asked: Asked, text: str) -> str:
    """Make foreign text fit to be shown: no secret, one line, nothing that steers a terminal, cut."""
    # Secrets go first: one cut in the middle would not be found any more.
    harmless = hidden(text, asked.secrets, shortest=_SHORTEST_SECRET)
    line = " ".join(harmless[: 4 * MAX_SAID].split())
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return escaped if len(escaped) <= MAX_SAID else f"{escaped[: MAX_SAID - 1]}…"


def _cause(status: int, said: Said) -> CloudCause:
    match status:
        case 401:
            return CloudCause.LOGIN
        case 403 if said.code == _INVALID_TOKEN_CODE or "invalid token" in said.message.lower():
            return CloudCause.LOGIN
        case 403:
            return CloudCause.PERMISSION
        case 404:
            return CloudCause.NOT_FOUND
        case 429:
            return CloudCause.THROTTLED
        case _ if 500 <= status <= 599:  # noqa: PLR2004  # the class of server errors
            return CloudCause.CLOUD
        case _:
            return CloudCause.BAD_ANSWER


def _remedy(asked: Asked, cause: CloudCause, status: int, said: Said) -> str:
    if 300 <= status <= 399:  # noqa: PLR2004  # the class of redirects
        return f"redirect refused, what logs in goes to the configured host only; check {asked.setting}"
    if status < 300 or (said.is_page and cause not in _OF_THE_HOST):  # noqa: PLR2004  # the classes of success
        return f"that is no answer of its API; check {asked.setting}, and a proxy on the way"
    if (remedy := asked.remedies.get(cause)) is not None:
        return remedy
    match cause:
        case CloudCause.LOGIN if _SIGNATURE.search(said.message) is not None:
            return _of_signature(asked, said)
        case CloudCause.LOGIN:
            return f"check {asked.credential}, and that endpoint is of its region"
        case CloudCause.PERMISSION:
            return "check project_id; the credential needs the permission to list the tasks of this project"
        case CloudCause.NOT_FOUND:
            return "check project_id and endpoint"
        case CloudCause.THROTTLED:
            return "no requests for a while; lower the rate of the credential if this comes often"
        case CloudCause.CLOUD:
            lasting = f"; if it lasts, check {asked.setting}" if said.is_page else ""
            return f"the service has trouble of its own{lasting}"
        case _:
            return "check project_id and endpoint"


def _of_signature(asked: Asked, said: Said) -> str:
    if _KEY_LOCKED.search(said.message) is not None:
        return (
            "more than five signatures in a row were refused, and for some minutes none is accepted; find who else"
            f" still signs with an old secret_key, and check that of {asked.credential}"
        )
    return (
        f"check secret_key, then access_key, of {asked.credential}; the clock of this host; and that {asked.setting}"
        " is of its region"
    )


def _header(asked: Asked, headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    return one_line(asked, value) if value else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After asks for; a date is counted from the answer's own Date."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_DIGITS])
    until, now = http_date(text), http_date(headers.get("Date", ""))
    if until is None or now is None:
        return None
    return max(0.0, (until - now).total_seconds())


@lru_cache(maxsize=16)  # the answers of one second carry one date
def http_date(text: str) -> datetime | None:
    """Read the one form of date that HTTP servers send today; None for anything else."""
    if len(text) != _DATE_LENGTH or not text.endswith(" GMT"):
        return None
    try:
        return datetime(
            int(text[12:16]), _MONTHS[text[8:11]], int(text[5:7]),
            int(text[17:19]), int(text[20:22]), int(text[23:25]), tzinfo=UTC,
        )  # fmt: skip
    except (ValueError, KeyError):
        return None
