"""Pages of the task list, from bytes to rows, and rows to tasks.

Invariants:
- A page is a JSON object with an array `tasks`. A 200 that holds anything else is an error: taken
  for an empty list it would make every running task look gone.
- A typed decoder reads what the documentation promises. Whatever it refuses goes to a slower path
  that is tolerant row by row: a bad row harms only itself. For a good row both give the same value.
- All work is bounded: the body's size by `body`, nesting and number of values here. No digits are
  converted: numbers stay text.
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from xxhash import xxh3_64_intdigest

from taskwatch.cloud.errors import Asked, bad_answer, http_date, no_task_list
from taskwatch.model.task import Instance, Task

MAX_JOB_ID: Final = 256
MAX_STATUS: Final = 128
MAX_TEXT: Final = 4096  # characters kept of any text
MAX_DEPTH: Final = 64
MAX_VALUES: Final = 500_000  # of a page that the tolerant path takes apart; a usual page has 1,200

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_MAX_COUNT_DIGITS: Final = 12
_ALL: Final = 100  # percent

# Outside of it a moment is a placeholder (the zero of Unix and of Go, the end of the calendar), and one
# could not reckon with it: days before and after a moment are still to be moments themselves.
_SANE: Final = (datetime(1971, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))

_STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NO_STRUCTURE = re.compile(r"[^\[\]{},]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_PERCENT = re.compile(r"\s*([0-9]{1,3})(?:\.[0-9]*)?\s*%?\s*")


class InstanceInfo(msgspec.Struct, frozen=True, gc=False):
    """`instance_info` of a row, as it was sent."""

    instance_id: str | None = None
    instance_name: str | None = None
    instance_status: str | None = None


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row as it was sent, and only what is used of it. Its hash is its digest."""

    job_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_JOB_ID)]
    status: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_STATUS)]
    name: str | None = None
    process: str | None = None
    fail_reason: str | None = None
    created_at: str | None = None
    ended_at: str | None = None
    instance_info: InstanceInfo | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page: its good rows, and how many others it had."""

    rows: list[Row]
    quarantined: int = 0
    total_count: int | None = None  # a hint
    digest: int = 0  # of the bytes

    @property
    def size(self) -> int:
        """Rows as the cloud counts them: good and bad."""
        return len(self.rows) + self.quarantined


class _Answer(msgspec.Struct, gc=False):
    tasks: list[Row]
    total_count: msgspec.Raw = msgspec.Raw()


class _Number(str):
    """A number of the JSON text, in its own digits."""

    __slots__ = ()


_typed = msgspec.json.Decoder(_Answer)
_encoder = msgspec.json.Encoder()


def decode_page(body: bytes, asked: Asked) -> Page:
    """Return the rows of a page. Raises CloudError (bad_answer) when it is no task list."""
    answer = _decode_typed(body)
    return _decode_tolerantly(body, asked) if answer is None else answer


def decode_job(body: bytes, asked: Asked) -> Page:
    """Return the one row of the answer about a single task, which has other names for the same columns.

    Raises CloudError (bad_answer) when it is no such answer.
    """
    job = _parse_tolerantly(body, asked).get("job")
    if not isinstance(job, dict):
        raise no_task_list(asked, "no object named job", body)
    row = _row(_as_listed(job))
    return Page(
        rows=[] if row is None else [row], quarantined=int(row is None), digest=xxh3_64_intdigest(body)
    )


def encode_rows(rows: list[Row]) -> bytes:
    """Return the same bytes for equal rows, however they were sent."""
    return _encoder.encode(rows)


def to_task(row: Row) -> Task:
    """Parse a row. What cannot be parsed is None: only the id and the status decide anything."""
    return Task(
        job_id=row.job_id,
        name=_cut(row.name) or "",
        status=row.status,
        progress=_progress(row.process),
        fail_reason=_cut(row.fail_reason),
        created_at=parse_time(row.created_at),
        ended_at=parse_time(row.ended_at),
        instance=_instance(row.instance_info),
    )


# Parsers are asked in functions of their own, so that no error of ours is raised while theirs is
# handled: it would be chained to them, and they hold the body, which may repeat the token.


def _decode_typed(body: bytes) -> Page | None:
    try:
        answer = _typed.decode(body)
    except (ValueError, RecursionError):  # msgspec's own errors and UnicodeDecodeError are ValueErrors
        return None
    total_count = bytes(answer.total_count).decode("utf-8", "replace").strip('"')
    return Page(rows=answer.tasks, total_count=_count(total_count), digest=xxh3_64_intdigest(body))


def _parse(text: str) -> object:
    """Return the JSON value; None for what is no JSON, and for null."""
    try:
        return json.loads(
            text, strict=False, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        return None


def _decode_tolerantly(body: bytes, asked: Asked) -> Page:
    answer = _parse_tolerantly(body, asked)
    tasks = answer.get("tasks")
    if not isinstance(tasks, list):
        raise no_task_list(asked, "no array named tasks", body)
    rows = [row for row in map(_row, tasks) if row is not None]
    return Page(
        rows=rows,
        quarantined=len(tasks) - len(rows),
        total_count=_count(answer.get("total_count")),
        digest=xxh3_64_intdigest(body),
    )


def _parse_tolerantly(body: bytes, asked: Asked) -> dict[str, object]:
    text = body.decode("utf-8", "replace").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    _check_structure(text, asked)
    answer = _parse(text)
    if not isinstance(answer, dict):
        raise no_task_list(asked, "no JSON object", body)
    return answer


def _as_listed(job: dict[str, object]) -> dict[str, object]:
    """Name the columns of a single task as the list does."""
    instance = job.get("instance")
    return {
        "job_id": job.get("id"),
        "status": job.get("status"),
        "name": job.get("name"),
        "process": job.get("progress"),
        "fail_reason": job.get("fail_reason"),
        "created_at": job.get("created"),
        "ended_at": job.get("ended"),
        "instance_info": {"instance_id": instance.get("id"), "instance_name": instance.get("name")}
        if isinstance(instance, dict)
        else None,
    }


def _check_structure(text: str, asked: Asked) -> None:
    """Refuse before parsing what would exhaust the stack or the memory while it is parsed."""
    structure = _NO_STRUCTURE.sub("", _STRINGS.sub("", text))
    if len(structure) > MAX_VALUES:
        raise bad_answer(asked, f"the answer has more than {MAX_VALUES} values")
    depth = 0
    for character in structure:
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise bad_answer(asked, f"the answer is nested deeper than {MAX_DEPTH}")
        elif character != ",":
            depth -= 1


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _row(raw: object) -> Row | None:
    """Return the row, or None for one of which nothing can be said: no usable id, or no status text."""
    if not isinstance(raw, dict):
        return None
    job_id, status = _text(raw.get("job_id")), raw.get("status")
    if not job_id or len(job_id) > MAX_JOB_ID:
        return None
    if not isinstance(status, str) or isinstance(status, _Number) or not 0 < len(status) <= MAX_STATUS:
        return None
    return Row(
        job_id=job_id,
        status=_without_surrogates(status),
        name=_text(raw.get("name")),
        process=_text(raw.get("process")),
        fail_reason=_text(raw.get("fail_reason")),
        created_at=_text(raw.get("created_at")),
        ended_at=_text(raw.get("ended_at")),
        instance_info=_instance_info(raw.get("instance_info")),
    )


def _instance_info(raw: object) -> InstanceInfo | None:
    if not isinstance(raw, dict):
        return None
    return InstanceInfo(
        instance_id=_text(raw.get("instance_id")),
        instance_name=_text(raw.get("instance_name")),
        instance_status=_text(raw.get("instance_status")),
    )


def _text(value: object) -> str | None:
    return _without_surrogates(str(value)) if isinstance(value, str) else None


def _without_surrogates(text: str) -> str:
    # A lone surrogate can be written in JSON and in nothing else: neither stored, matched nor sent.
    return text if text.isascii() else _SURROGATES.sub(_REPLACEMENT, text)


def _count(value: object) -> int | None:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        return None
    return int(value) if len(value) <= _MAX_COUNT_DIGITS else None


def _instance(info: InstanceInfo | None) -> Instance:
    if info is None:
        return Instance()
    return Instance(
        id=_cut(info.instance_id), name=_cut(info.instance_name), status=_cut(info.instance_status)
    )


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _progress(text: str | None) -> int | None:
    """Read percent out of "60", "60%" and the like; the field is null, empty or text, as it pleases."""
    found = _PERCENT.fullmatch(text) if text else None
    if found is None:
        return None
    percent = int(found[1])
    return percent if percent <= _ALL else None


def parse_time(text: str | None) -> datetime | None:
    """Read `2022-08-05T08:15:07+0800` and its relatives. Without a zone, or not sane, it is no instant: None."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return sane(moment.astimezone(UTC)) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def parse_date(text: str | None) -> datetime | None:
    """Read a Date header; None where there is none, or none that is sane."""
    return sane(http_date(text)) if text else None


def sane(moment: datetime | None) -> datetime | None:
    """Return the moment if it is one with which one can reckon."""
    return moment if moment is not None and _SANE[0] <= moment < _SANE[1] else None
