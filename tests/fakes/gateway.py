"""A gateway in virtual time that knows one access key, and locks it as the real one does.

It shares no code with taskwatch: it trusts that what signs is the secret key, which the tests of
signatures prove, and looks at who asks, when, and how often it said no.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from taskwatch.cloud.auth.login import Authentication
from taskwatch.cloud.transport import Answer
from taskwatch.errors import CloudCause, CloudError

LOCKS_AFTER = 6  # "more than five in a row"
LOCK_SECONDS = 300.0
FORGETS_AFTER = 900.0
MOST_APART = 900.0


@dataclass
class FakeGateway:
    """`accepted` is the access key that is good. `now` is the cloud's own clock."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    accepted: str = "AK-FIRST"
    seconds: float = 0.1
    hanging: set[str] = field(default_factory=set)  # projects behind which nothing answers
    foreign: set[str] = field(default_factory=set)  # projects that are not the key's
    served: int = 0
    refused: list[float] = field(default_factory=list)
    locks: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    _row: list[float] = field(default_factory=list)
    _locked_until: float = 0.0

    async def serve(self, shown: Authentication) -> Answer:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
            self._judge(shown)
            if shown.headers["X-Project-Id"] in self.hanging:
                await asyncio.sleep(1e6)
        finally:
            self.in_flight -= 1
        self.served += 1
        return Answer(body=b"", headers={})

    def _judge(self, shown: Authentication) -> None:
        now = self.monotonic()
        access = shown.headers["Authorization"].partition("Access=")[2].partition(",")[0]
        signed_at = datetime.strptime(shown.headers["X-Sdk-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        is_late = abs((signed_at - self.now()).total_seconds()) > MOST_APART
        is_foreign = shown.headers["X-Project-Id"] in self.foreign
        if now >= self._locked_until and access == self.accepted and not is_late and not is_foreign:
            self._row.clear()
            return
        self.refused.append(now)
        self._row = [moment for moment in self._row if now - moment < FORGETS_AFTER] + [now]
        if len(self._row) >= LOCKS_AFTER:
            self._locked_until = now + LOCK_SECONDS
            self._row.clear()
            self.locks += 1
        raise CloudError(
            CloudCause.LOGIN,
            "gaussdb.example answered 401 verify aksk signature fail",
            http_status=401,
            answered_at=self.now().replace(microsecond=0),
        )
