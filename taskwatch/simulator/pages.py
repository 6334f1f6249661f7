"""The pages of one project's task list, as bytes.

What was rendered is kept until the next moment at which something changes; a row that has ended
is rendered once. So a page that is asked for again costs a look into a dictionary.
"""

import json
from dataclasses import dataclass
from datetime import datetime, tzinfo
from urllib.parse import parse_qsl

from taskwatch.simulator.behaviour import Behaviour, Order, Window
from taskwatch.simulator.catalogue import STATUSES
from taskwatch.simulator.life import Life
from taskwatch.simulator.work import Task, Work

MAX_LIMIT = 100
MAX_OFFSET = 2**31 - 1
_MAX_MILLISECONDS = 10**15
_MAX_KEPT = 256  # answers per project and moment


class ParameterError(ValueError):
    """The query is not one that the documentation allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The documented parameters of a listing. Times are seconds; what they filter on is the cloud's."""

    status: str | None = None
    name: str | None = None
    start: float | None = None
    end: float | None = None
    offset: int | None = None
    limit: int = MAX_LIMIT

    @classmethod
    def parse(cls, text: str) -> "Query":
        """Read the query part of a URL. Raises ParameterError."""
        given = dict(parse_qsl(text, keep_blank_values=True))
        status = given.get("status")
        if status is not None and status not in STATUSES:
            raise ParameterError("status")
        offset = given.get("offset")
        return cls(
            status=status,
            name=given.get("name"),
            start=_seconds(given.get("start_time")),
            end=_seconds(given.get("end_time")),
            offset=None if offset is None else _number(offset, 0, MAX_OFFSET),
            limit=_number(given.get("limit", str(MAX_LIMIT)), 1, MAX_LIMIT),
        )

    def start_record(self, behaviour: Behaviour) -> int:
        """Return with which record the page begins. Raises ParameterError for what this cloud does not take."""
        if behaviour.requires_end_time and self.start is not None and self.end is None:
            raise ParameterError("end_time")
        record = behaviour.start(self.offset, self.limit)
        if record is None:
            raise ParameterError("offset")
        return record

    def matches(self, work: Work, now: float, window: Window) -> bool:
        return (
            (self.status is None or self.status == work.status(now))
            and (self.name is None or self.name == work.name)
            and self._is_within(work, now, window)
        )

    def _is_within(self, work: Work, now: float, window: Window) -> bool:
        if (self.start is None and self.end is None) or window is Window.IGNORED:
            return True
        if window is Window.ENDED and now < work.ended:
            return False
        moment = work.created if window is Window.CREATED else work.ended
        return (self.start is None or self.start <= moment) and (self.end is None or moment <= self.end)


def _seconds(text: str | None) -> float | None:
    return None if text is None else _number(text, 0, _MAX_MILLISECONDS) / 1000


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_MILLISECONDS))):
        raise ParameterError(text)
    number = int(text)
    if not least <= number <= most:
        raise ParameterError(text)
    return number


class Pages:
    """Answers the queries to one project."""

    def __init__(self, life: Life, zone: tzinfo) -> None:
        self._life = life
        self._zone = zone
        self._window: list[Work] = []
        self._since = self._until = 0.0  # the moments between which all that is kept holds
        self._revision = life.revision
        self._behaviour = Behaviour()
        self._answers: dict[str, bytes] = {}
        self._ended_rows: dict[str, bytes] = {}

    def answer(self, query: str, now: float, behaviour: Behaviour) -> bytes:
        """Return the body for the query part of a URL. Raises ParameterError."""
        if not (
            self._since <= now < self._until
            and self._revision == self._life.revision
            and self._behaviour is behaviour
        ):
            self._renew(now, behaviour)
        body = self._answers.get(query)
        if body is None:
            body = self._render(Query.parse(query), now)
            if len(self._answers) >= _MAX_KEPT:
                self._answers.clear()
            self._answers[query] = body
        return body

    def _renew(self, now: float, behaviour: Behaviour) -> None:
        self._window = _ordered(self._life.window(now), behaviour.order)
        self._behaviour = behaviour
        self._since, self._until = now, self._life.next_change(now)
        self._revision = self._life.revision
        self._answers.clear()
        if len(self._ended_rows) > 2 * len(self._window):  # most of them have left the window
            self._ended_rows.clear()

    def _render(self, query: Query, now: float) -> bytes:
        start = query.start_record(self._behaviour)
        found = self._window
        if query != Query(offset=query.offset, limit=query.limit):
            found = [work for work in found if query.matches(work, now, self._behaviour.window)]
        rows = [self._row(work, now) for work in found[start : start + query.limit]]
        told = self._behaviour.total_count(len(found))
        total = b"" if told is None else b',"total_count":' + json.dumps(told).encode()
        return b'{"tasks":[%s]%s}' % (b",".join(rows), total)

    def _row(self, work: Work, now: float) -> bytes:
        if now < work.ended:
            return _rendered(work.seen(now), self._zone)
        row = self._ended_rows.get(work.job_id)
        if row is None:
            row = self._ended_rows[work.job_id] = _rendered(work.seen(now), self._zone)
        return row


def _ordered(newest_first: list[Work], order: Order) -> list[Work]:
    match order:
        case Order.NEWEST:
            return newest_first
        case Order.OLDEST:
            return newest_first[::-1]
        case Order.JOB_ID:
            return sorted(newest_first, key=lambda work: work.job_id)


def _rendered(task: Task, zone: tzinfo) -> bytes:
    """Render a row with the keys and in the order of the documentation."""
    return json.dumps(
        {
            "instance_info": {
                "instance_id": task.instance_id,
                "instance_name": task.instance_name,
                "instance_status": task.instance_status,
            },
            "job_id": task.job_id,
            "name": task.name,
            "status": task.status,
            "process": None if task.progress is None else f"{task.progress}%",
            "fail_reason": task.fail_reason,
            "created_at": _time_text(task.created_at, zone),
            "ended_at": None if task.ended_at is None else _time_text(task.ended_at, zone),
        }
    ).encode()


def _time_text(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S%z")
