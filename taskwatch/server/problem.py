"""Errors as programs read them: problem details, RFC 9457, which say what is wrong and what to do."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from taskwatch.errors import TaskwatchError

CONTENT_TYPE: Final = "application/problem+json"


class ProblemError(TaskwatchError):
    """A request is not answered. Says why, and what its sender can do; shows no secret."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """`more` are further members of the problem, as JSON has them."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.more = more

    def answer(self) -> web.Response:
        told = {"title": self.status.phrase, "status": self.status.value, "detail": self.detail, **self.more}
        return web.Response(
            status=self.status,
            body=json.dumps(told).encode(),
            content_type=CONTENT_TYPE,
            headers=self.headers,
        )
