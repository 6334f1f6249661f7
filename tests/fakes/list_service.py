"""The task list of a service, as any reading of its documentation may have it: no HTTP, no time.

    service = ListService(rows, numbering="page1", window="ended")
    service.answer("tasks", {"offset": "1", "limit": "100"})  # (200, {"tasks": [...], "total_count": 250})

It shares no code with taskwatch. `rows` may change between any two answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

Row = dict[str, Any]
Found = tuple[int, dict[str, Any]]


@lru_cache(maxsize=65_536)  # lists are long, and sorted for each page
def _instant(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()


ORDERS: dict[str, Callable[[Row], Any]] = {
    "newest": lambda row: (-_instant(row["created_at"]), row["job_id"]),
    "oldest": lambda row: (_instant(row["created_at"]), row["job_id"]),
    "by id": lambda row: row["job_id"][::-1],  # of ids that count up: as good as random
}


@dataclass
class ListService:
    rows: list[Row] = field(default_factory=list)
    numbering: str = "record"  # record, page0, page1
    refuses_page_0: bool = False
    order: str | None = None  # newest, oldest, by id; None: that of `rows`
    window: str = "created"  # the time that start_time and end_time mean: created, ended, ignored, refused
    filters_status: bool = True
    total: object = ...  # what to say instead of the true total_count; None: say nothing
    most: int = 100  # rows a page, whatever the limit
    tells_jobs: bool = True
    reach: timedelta | None = None  # a start_time further back from `now` is refused
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def answer(self, path: str, query: Mapping[str, str]) -> Found:
        if path == "jobs":
            return self._job(query["id"])
        if "start_time" in query and self.window == "refused":
            return _refused("DBS.200001", "Parameter error.")
        if self._reaches_too_far(query):
            return _refused("DBS.200001", "Parameter error.")
        found = [row for row in self.rows if self._matches(row, query)]
        if self.order is not None:
            found.sort(key=ORDERS[self.order])
        offset, limit = int(query.get("offset", "0")), min(int(query.get("limit", "100")), self.most)
        if self.numbering == "page1" and offset == 0 and self.refuses_page_0:
            return _refused("DBS.200001", "Parameter error.")
        start = {"record": offset, "page0": offset * limit, "page1": max(0, offset - 1) * limit}[
            self.numbering
        ]
        page: dict[str, Any] = {"tasks": found[start : start + limit]}
        total = len(found) if self.total is ... else self.total
        return 200, page if total is None else page | {"total_count": total}

    def _matches(self, row: Row, query: Mapping[str, str]) -> bool:
        if "name" in query and row.get("name") != query["name"]:
            return False
        if self.filters_status and "status" in query and row.get("status") != query["status"]:
            return False
        if "start_time" not in query or self.window == "ignored":
            return True
        try:
            at = 1000 * _instant(str(row.get("created_at" if self.window == "created" else "ended_at")))
        except ValueError:
            return False
        return int(query["start_time"]) <= at <= int(query["end_time"])

    def _reaches_too_far(self, query: Mapping[str, str]) -> bool:
        if self.reach is None or "start_time" not in query:
            return False
        return int(query["start_time"]) < 1000 * (self.now() - self.reach).timestamp()

    def _job(self, job_id: str) -> Found:
        row = next((row for row in self.rows if row["job_id"] == job_id), None)
        if row is None or not self.tells_jobs:
            return 404, {"error_code": "DBS.200543", "error_msg": "The job does not exist."}
        instance = row.get("instance_info") or {}
        return 200, {
            "job": {
                "id": row["job_id"],
                "name": row["name"],
                "status": row["status"],
                "created": row["created_at"],
                "ended": row["ended_at"],
                "progress": f"{row['process']}%" if row["process"] else "",
                "instance": {"id": instance.get("instance_id"), "name": instance.get("instance_name")},
                "fail_reason": row["fail_reason"],
            }
        }


def stamp(at: datetime) -> str:
    """Write an instant as the service does."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _refused(code: str, message: str) -> Found:
    return 400, {"error_code": code, "error_msg": message}
