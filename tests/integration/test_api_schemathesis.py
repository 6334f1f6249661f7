"""The API keeps its own description, whatever is sent to it: schemathesis finds nothing that it does otherwise.

Its requests are made from the document that the server gives, right ones and wrong ones; a real daemon answers them.
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema
from structlog.typing import EventDict

from taskwatch import telemetry
from taskwatch.runtime import attendant
from taskwatch.server import api_changes, stream
from tests.fakes.api import TOKEN, Api, api_of_a_daemon
from tests.fakes.builders import captured_log
from tests.fakes.commands import until
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink

EXAMPLES: Final = 20  # of each operation, beside one for each border of each parameter
SEED: Final = 20261128

# What no schema can say of what is right, and the beginnings of the answers that do: where a cursor comes from,
# which patterns there are, and when is now.
BEYOND_SCHEMAS: Final = (
    "cursor: none of a page of",
    "for: out of bounds",
    "a silence that ends at",
    "a silence lasts 365d at most",
    "these matchers match also",
)
NO_MATCHER: Final = ("is not a matcher; write", "is nothing that a matcher sees", "is not an RE2 pattern")


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    """What the daemon logs; it looks after operators more often than usual."""
    monkeypatch.setattr(attendant, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(api_changes, "LOOK_SECONDS", 0.01)
    log, lines = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)
    return lines


@pytest.mark.parametrize("token", [TOKEN, None], ids=["a token", "none"])
async def test_the_api_does_what_its_description_says(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink, lines: list[EventDict], token: str | None
) -> None:
    guarded = "" if token is None else f", token: {token}"
    server = f"{{listen: '127.0.0.1:0'{guarded}}}"
    cloud.rows = [row("old")]
    async with api_of_a_daemon(tmp_path, cloud, sink, server=server, token=token) as api:
        cloud.rows += [
            row(f"job-{number}", status=("Failed", "Running", "Canceled")[number % 3]) for number in range(30)
        ]
        await until(lambda: len(sink.accepted) > 10, "events")
        description = (await api.get("openapi.json")).json
        faults, asked = await asyncio.to_thread(faults_of, api, description, token)

    assert faults == []
    assert asked > 300
    assert [line for line in (*lines, *api.lines) if "exc_info" in line] == []


def faults_of(api: Api, description: dict[str, Any], token: str | None) -> tuple[list[str], int]:
    """Return what schemathesis finds, and how much it has asked."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "base-url": str(api.session._base_url).rstrip("/"),
            "request-timeout": 30.0,
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
            **({"headers": {"Authorization": f"Bearer {token}"}} if token is not None else {}),
        }
    )
    schema = schemathesis.openapi.from_dict(description, config=config)
    found: list[str] = []
    asked = 0
    for event in from_schema(schema.exclude(path=stream.PATH)).execute():  # which has no end
        if isinstance(event, events.NonFatalError | events.FatalError):
            found.append(str(event))
        if isinstance(event, events.ScenarioFinished):
            asked += len(event.recorder.interactions)
            found += _failures(event.recorder)
    return found, asked


def _failures(recorder: Any) -> list[str]:
    found = []
    for case, checks in recorder.checks.items():
        response: Response | None = recorder.interactions[case].response
        for check in checks:
            if check.failure_info is None or (
                check.name == "positive_data_acceptance"
                and response is not None
                and _is_beyond_schemas(response)
            ):
                continue
            found.append(f"{check.name}: {check.failure_info.failure} {check.failure_info.code_sample}")
    return found


def _is_beyond_schemas(response: Response) -> bool:
    detail: str = json.loads(response.content)["detail"]
    return detail.startswith(BEYOND_SCHEMAS) or any(text in detail for text in NO_MATCHER)
