"""The API of a real daemon: what is changed over it, who it was, and that it says what the commands say."""

import json
import re
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.typing import EventDict

from taskwatch import telemetry
from taskwatch.runtime import attendant
from tests.fakes.api import Api, api_of_a_daemon
from tests.fakes.builders import captured_log
from tests.fakes.commands import until
from tests.fakes.in_process import Ask
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink

BY: Final = "the server's token, from 127.0.0.1"
MUTE: Final = "mute: [{name: weekend, matchers: [task = x], weekly: 'Sat 00:00 - Mon 06:00', timezone: Europe/Berlin}]\n"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


async def fail(cloud: TasksEndpoint, sink: WebhookSink, *job_ids: str) -> None:
    """Let tasks begin and fail, and wait until the receiver was told."""
    cloud.rows += [
        row(job_id, status="Failed", created_at=now(), ended_at=now(), fail_reason="no space")
        for job_id in job_ids
    ]
    told = set(job_ids)
    await until(lambda: told <= {post.event["subject"] for post in sink.accepted}, "the failures are told")


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    """What the daemon logs; it looks after operators more often than usual."""
    monkeypatch.setattr(attendant, "LOOK_SECONDS", 0.02)
    log, lines = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)
    return lines


@pytest.fixture
async def api(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink) -> AsyncIterator[Api]:
    """A daemon that knows two tasks that failed."""
    cloud.rows = [row("old")]
    async with api_of_a_daemon(tmp_path, cloud, sink, more=MUTE) as api:
        await fail(cloud, sink, "bad-1", "bad-2")
        yield api


async def alerts(api: Api) -> dict[str, dict[str, Any]]:
    return {one["job_id"]: one for one in (await api.get("alerts")).items}


@pytest.mark.parametrize(
    ("noun", "command"),
    [
        ("tasks", "tasks"),
        ("events", "events"),
        ("deliveries", "deliveries"),
        ("alerts", "alerts"),
        ("silences", "silence list"),
    ],
)
async def test_the_api_shows_what_the_command_prints(api: Api, ask: Ask, noun: str, command: str) -> None:
    await api.ask("POST", "/api/v1/silences", body={"matchers": ["task = x"], "for": "1h", "comment": "é"})
    printed = await ask(*command.split(), "--json")
    listed = await api.all(noun, {"limit": "2"})

    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert sorted(map(json.dumps, listed)) == sorted(map(json.dumps, lines))
    assert listed


async def test_a_project_is_shown_as_the_command_prints_it_and_as_it_is_now(api: Api, ask: Ask) -> None:
    (printed,) = map(json.loads, (await ask("projects", "--json")).out.splitlines())
    (listed,) = (await api.get("projects")).items
    moving = ("read_at", "next_poll_at")

    assert list(listed) == list(printed)
    assert {key: listed[key] for key in listed if key not in moving} == {
        key: printed[key] for key in printed if key not in moving
    }
    api.daemon.watches[0]._fails("project_unreadable", cause="cloud", error="503")
    assert (await api.get("projects")).items[0]["error"] == "503"  # the store has yet to hear of it


async def test_an_alert_that_is_acknowledged_shows_who_has_it_and_until_when(api: Api) -> None:
    reply = await api.ask("POST", "/api/v1/tasks/bad-1/ack", body={"comment": "on it", "for": "4h"})
    shown = await alerts(api)

    until_ = datetime.fromisoformat(reply.json["until"])
    assert abs(until_ - datetime.now(UTC) - timedelta(hours=4)) < timedelta(minutes=5)
    assert (reply.status, reply.json) == (
        200,
        {"job_id": "bad-1", "by": BY, "until": reply.json["until"], "comment": "on it"},
    )
    assert (shown["bad-1"]["acknowledged_by"], shown["bad-1"]["comment"]) == (BY, "on it")
    assert not shown["bad-2"]["acknowledged"]


async def test_who_changed_what_is_in_the_daemons_log(lines: list[EventDict], api: Api) -> None:
    await api.ask("POST", "/api/v1/tasks/bad-1/ack", body={"comment": "mine"})
    added = await api.ask("POST", "/api/v1/silences", body={"matchers": ["task = x"], "for": "1h"})
    await api.ask("DELETE", f"/api/v1/silences/{added.json['silence']}")
    await api.ask("POST", "/api/v1/tasks/bad-1/resolve")
    await api.ask("POST", "/-/reload")

    acted = [line for line in lines if line["event"] == "operator_acted"]
    assert [line["action"] for line in acted] == ["ack", "silence", "expire", "resolve", "reload"]
    assert {line["by"] for line in acted} == {BY}
    assert "mine" in acted[0]["argument"]


async def test_alerts_that_are_resolved_are_over_and_told_to_be(api: Api, sink: WebhookSink) -> None:
    reply = await api.ask("POST", "/api/v1/tasks/bad-1/resolve", body={"comment": "by hand"})

    assert (reply.status, reply.json) == (200, {"job_id": "bad-1", "by": BY, "comment": "by hand"})
    assert set(await alerts(api)) == {"bad-2"}
    await until(
        lambda: any(post.event["type"] == "taskwatch.task.resolved" for post in sink.accepted), "it is told"
    )
    (told,) = [post.event["data"] for post in sink.accepted if post.event["type"].endswith("task.resolved")]
    assert (told["why"], told["by"], told["comment"]) == ("operator", BY, "by hand")


@pytest.mark.parametrize("change", ["ack", "resolve"])
async def test_a_task_without_an_open_alert_is_not_found(api: Api, change: str) -> None:
    reply = await api.ask("POST", f"/api/v1/tasks/old/{change}")

    assert (reply.status, reply.problem["detail"]) == (
        404,
        "the task has no open alert; GET /api/v1/alerts lists those there are, with their job_id",
    )


async def test_a_silence_holds_back_until_it_is_ended(
    api: Api, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    added = await api.ask(
        "POST", "/api/v1/silences", body={"matchers": ['job_id = "held"'], "for": "2h", "comment": "upgrade"}
    )
    number = added.json["silence"]
    assert (added.status, added.json["by"], added.json["in_force"]) == (201, BY, True)
    assert [one["silence"] for one in (await api.get("silences")).items] == [number, None]

    cloud.rows.append(row("held", status="Failed", created_at=now(), ended_at=now()))
    await fail(cloud, sink, "bad-3")
    (held,) = (await api.get("deliveries", {"state": "held"})).items
    assert (held["subject"], held["held_by"]) == ("held", f"silence {number}")

    assert (await api.ask("DELETE", f"/api/v1/silences/{number}")).status == 204
    await until(lambda: "held" in {post.event["subject"] for post in sink.accepted}, "it is told in the end")
    again = await api.ask("DELETE", f"/api/v1/silences/{number}")
    assert again.problem["detail"].startswith(f"no silence in force has the number {number}; GET ")
    assert len(await api.all("silences", {"all": "true"})) == 2


async def test_a_configuration_that_was_refused_is_told_until_one_is_taken(api: Api, ask: Ask) -> None:
    file = api.directory / "taskwatch.yaml"
    right = file.read_text()
    assert (await ask("projects")).err == ""
    for wrong in ("stoer: {}", "projects: ["):
        file.write_text(f"{right}{wrong}\n")
        assert (await api.ask("POST", "/-/reload")).status == 422
    (line,) = api.daemon.unheeded
    page = (await api.ask("GET", "/")).body.decode()
    told = (await ask("projects")).err
    metrics = (await api.ask("GET", "/metrics")).body.decode()
    file.write_text(right)
    await api.ask("POST", "/-/reload")

    since = re.match(
        r"the configuration of (\S+ \S+) UTC goes on; since (\S+ \S+) UTC what is written is refused: ", line
    )
    assert since is not None
    assert since[1] <= since[2]
    assert "taskwatch.yaml:9:1: not YAML" in line
    assert told.splitlines()[-1] == f"T{line[1:]}"  # behind that the file cannot be read now
    assert "he configuration is not in force as it is written" in page
    assert "taskwatch.yaml:9:1: not YAML" in page
    assert "taskwatch_config_last_reload_successful 0.0" in metrics
    assert api.daemon.unheeded == []
    assert "not in force" not in (await api.ask("GET", "/")).body.decode()
    assert (await ask("projects")).err == ""


async def test_a_new_address_that_cannot_be_had_is_told_by_the_reload_and_on_the_page(
    api: Api, ask: Ask
) -> None:
    file = api.directory / "taskwatch.yaml"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        file.write_text(file.read_text().replace("127.0.0.1:0", taken))
        reply = await api.ask("POST", "/-/reload")
        page = (await api.ask("GET", "/")).body.decode()
        told = (await ask("projects")).err

    line = f"the server cannot listen at {taken} (Address already in use); it is served at 127.0.0.1:0, as before"
    assert (reply.status, reply.json) == (200, {"changes": ["server: listen changed", line]})
    assert line[1:] in page
    assert told == f"T{line[1:]}\n"


async def test_the_reload_that_moves_the_server_is_answered_over_the_old_address(api: Api) -> None:
    file = api.directory / "taskwatch.yaml"
    file.write_text(file.read_text().replace("127.0.0.1:0", f"unix:{api.directory}/api.sock"))

    assert (await api.ask("POST", "/-/reload")).json == {"changes": ["server: listen changed"]}
    assert (api.directory / "api.sock").is_socket()


async def test_a_resolve_that_finds_no_alert_says_so_in_the_log(lines: list[EventDict], api: Api) -> None:
    for job_id, status in (("old", 404), ("bad-1", 200)):
        assert (await api.ask("POST", f"/api/v1/tasks/{job_id}/resolve")).status == status

    acted = [line for line in lines if line["event"] == "operator_acted"]
    assert [(line["action"], line["found"]) for line in acted] == [("resolve", 0), ("resolve", 1)]


async def test_a_reload_says_what_changed_or_what_is_wrong(api: Api) -> None:
    file = api.directory / "taskwatch.yaml"
    text = file.read_text()
    assert (await api.ask("POST", "/-/reload")).json == {"changes": []}

    file.write_text(text.replace("interval: 100ms", "interval: 200ms"))
    changed = await api.ask("POST", "/-/reload")
    assert (changed.status, len(changed.json["changes"])) == (200, 1)

    file.write_text(text + "token: c4n4ry\n")
    refused = await api.ask("POST", "/-/reload")
    assert (refused.status, len(refused.problem["problems"])) == (422, 1)
    assert "unknown key" in refused.problem["problems"][0]
    assert b"c4n4ry" not in refused.body
    assert (await api.get("projects")).items[0]["configured_interval_seconds"] == 0.2  # it goes on


async def test_what_the_daemon_does_not_answer_in_time_is_said(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskwatch.server.api_changes.WAIT_SECONDS", 0.0)
    reply = await api.ask("POST", "/-/reload")

    assert reply.status == 503
    assert reply.problem["detail"].startswith("the daemon has not answered within 0 s; its log says more")


async def test_over_a_socket_the_daemons_own_user_changes_without_a_token(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    async with api_of_a_daemon(tmp_path, cloud, sink, server="{listen: 'unix:api.sock'}", token=None) as api:
        await fail(cloud, sink, "bad")
        reply = await api.ask("POST", "/api/v1/tasks/bad/ack")

    assert reply.json["by"].endswith(" over the server's socket")


async def test_on_loopback_without_a_token_one_reads_and_changes_nothing(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    async with api_of_a_daemon(tmp_path, cloud, sink, server="{listen: '127.0.0.1:0'}", token=None) as api:
        await fail(cloud, sink, "bad")
        assert [one["job_id"] for one in (await api.get("alerts")).items] == ["bad"]
        for path in ("/-/reload", "/api/v1/silences", "/api/v1/tasks/bad/ack", "/api/v1/tasks/bad/resolve"):
            assert (await api.ask("POST", path)).problem["status"] == 403
        assert (await api.ask("DELETE", "/api/v1/silences/1")).problem["status"] == 403


async def test_a_recorded_event_is_in_the_stream_and_in_the_list_as_the_webhook_got_it(
    api: Api, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    async with api.session.get("/api/v1/stream") as stream:
        await fail(cloud, sink, "bad-4")
        text = b""
        while b'"subject":"bad-4"' not in text or not text.endswith(b"\n\n"):
            text += await stream.content.readany()
    (post,) = [post for post in sink.accepted if post.event["subject"] == "bad-4"]

    assert b"id: %b\nevent: taskwatch.task.failed\ndata: %b\n\n" % (post.id.encode(), post.body) in text
    assert post.body in (await api.get("events")).body
