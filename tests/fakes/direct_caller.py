"""A caller without a network: the real client asks a ListService in the same process."""

import json
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime

from yarl import URL

from taskwatch.cloud.caller import Caller
from taskwatch.cloud.client import TasksClient
from taskwatch.cloud.errors import Asked, refusal
from taskwatch.cloud.paging import Numbering
from taskwatch.cloud.transport import Answer
from tests.fakes.list_service import ListService


class DirectCaller(Caller):
    def __init__(
        self,
        service: ListService,
        *,
        before: Callable[[int], None] = lambda _: None,
        date: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """`before` is called with the number of each request, from 1."""
        self.service = service
        self.asked = Asked(host="gaussdb.example", credential="the token")
        self.requests = 0
        self.places: list[str] = []  # path and query of each request, below the project
        self.rows = 0  # served so far
        self.before = before
        self._date = date

    async def turn(self) -> None:
        return

    async def get(self, url: URL, *, within: float | None = None) -> Answer:
        self.requests += 1
        self.places.append(f"{url.name}?{url.query_string}")
        self.before(self.requests)
        status, answer = self.service.answer(url.name, url.query)
        body = json.dumps(answer).encode()
        if status != 200:
            raise refusal(self.asked, status, {}, body)
        self.rows += len(answer.get("tasks", ()))
        date = self._date()
        return Answer(body=body, headers={} if date is None else {"Date": format_datetime(date, usegmt=True)})


def direct_client(caller: DirectCaller, *, numbering: Numbering = Numbering.AUTO) -> TasksClient:
    return TasksClient(
        caller=caller,
        endpoint="https://gaussdb.example",
        project_id="0611f1bd",
        timeout=3600,
        numbering=numbering,
    )
