"""What operators do beside a running daemon, by the store alone: it is logged, done, and answered."""

import asyncio
import os
import pwd
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from structlog.typing import EventDict

from taskwatch import telemetry
from taskwatch.errors import StoreFailedError
from taskwatch.model.delivery import DeliveryState
from taskwatch.model.operation import Action
from taskwatch.runtime import attendant
from taskwatch.store import operations
from taskwatch.store.desk import Desk
from taskwatch.store.operations import operator
from taskwatch.store.reader import StoreReader
from taskwatch.store.retention import BATCH
from taskwatch.store.upkeep import begin_anew
from tests.fakes.builders import captured_log
from tests.fakes.commands import until
from tests.fakes.scene import Scene, posted, subjects, watching
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink, answer

ME = "ada (uid 1000) on here"
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def scene(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink) -> Scene:
    scene = Scene(tmp_path, cloud, sink, receivers={"hook": "/first"})
    scene.write()
    return scene


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    monkeypatch.setattr(attendant, "LOOK_SECONDS", 0.02)
    log, lines = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)
    return lines


FAILED = "job-0"


def now() -> datetime:
    return datetime.now(UTC)


async def asked(scene: Scene, action: Action, argument: dict[str, Any]) -> dict[str, Any]:
    """Ask the daemon, and return its answer."""
    with Desk(scene.store, by=ME) as desk:
        request = desk.ask(action, argument, at=now())
        await until(lambda: desk.outcome(request) is not None, f"an answer to {action}")
        return desk.outcome(request) or {}


def states(scene: Scene) -> list[str]:
    with StoreReader(scene.store) as reader:
        return [row.state for row in reader.deliveries()]


async def die(scene: Scene, cloud: TasksEndpoint) -> None:
    """Let the deliveries of three tasks to the receiver die."""
    scene.sink.choose = lambda: answer(503)
    scene.horizon = "10ms"
    scene.write()
    async with watching(scene):
        cloud.rows.extend(row(f"job-{number}", status="Running") for number in range(3))
        await until(lambda: states(scene).count("dead") == 4, "the deliveries' end")
    scene.sink.choose = WebhookSink().choose
    scene.sink.posts.clear()


async def test_what_is_replayed_is_sent_again_by_the_running_daemon_under_its_id_and_says_so(
    scene: Scene, cloud: TasksEndpoint, lines: list[EventDict]
) -> None:
    await die(scene, cloud)
    async with watching(scene):
        with Desk(scene.store, by=ME) as desk:
            assert desk.replay(state=DeliveryState.DEAD, receiver="hook", events=[], at=now()) == {"hook": 4}
        await until(lambda: states(scene) == ["delivered"] * 4, "the replay")

    assert subjects(posted(scene.sink, "/first")) != []
    assert {post.headers.get("webhook-replay") for post in scene.sink.accepted} == {"1"}
    with StoreReader(scene.store) as reader:
        assert {post.id for post in scene.sink.accepted} == {event.id for event in reader.events()}
    (acted,) = [line for line in lines if line["event"] == "operator_acted"]
    assert (acted["action"], acted["by"]) == ("replay", ME)


async def test_what_is_replayed_while_no_daemon_runs_is_sent_by_the_next_one_which_logs_who_did_it(
    scene: Scene, cloud: TasksEndpoint, lines: list[EventDict]
) -> None:
    await die(scene, cloud)
    with StoreReader(scene.store) as reader:
        first = reader.events()[-1].id
    with Desk(scene.store, by=ME) as desk:
        assert desk.replay(state=DeliveryState.DEAD, receiver=None, events=[first], at=now()) == {"hook": 1}
        assert desk.replay(state=DeliveryState.DEAD, receiver=None, events=[first], at=now()) == {}
    async with watching(scene):
        await until(lambda: len(scene.sink.accepted) == 1, "the replay")
        await until(lambda: any(line["event"] == "operator_acted" for line in lines), "the log line")

    assert [post.id for post in scene.sink.accepted] == [first]


async def test_a_replay_waits_for_nothing_and_holds_up_nothing(scene: Scene, cloud: TasksEndpoint) -> None:
    """Its receiver refuses it again and again; the next event of the same task passes."""
    await die(scene, cloud)
    refused = answer(422)
    scene.horizon = "1h"
    scene.write()
    async with watching(scene):
        scene.sink.choose_for = lambda request: refused if "webhook-replay" in request.headers else None
        with Desk(scene.store, by=ME) as desk:
            desk.replay(state=DeliveryState.DEAD, receiver="hook", events=[], at=now())
        await until(lambda: len(scene.sink.posts) >= 4, "refusals")
        cloud.rows[0] = row("job-0", status="Failed")
        await until(lambda: subjects(posted(scene.sink, "/first")) == ["job-0"], "the next event of the task")


async def test_what_is_dropped_is_not_sent(scene: Scene, cloud: TasksEndpoint) -> None:
    scene.sink.choose = lambda: answer(503)
    async with watching(scene):
        cloud.rows.append(row("a", status="Running"))
        await until(lambda: states(scene) == ["pending", "pending"], "the queue")
        with Desk(scene.store, by=ME) as desk:
            assert desk.drop(state=DeliveryState.PENDING, receiver="hook", events=[], at=now()) == {"hook": 2}
        await asyncio.sleep(0.2)
        scene.sink.choose = WebhookSink().choose
        cloud.rows.append(row("b", status="Running"))
        await until(lambda: subjects(posted(scene.sink, "/first")) == ["b"], "what came later")

    assert sorted(states(scene)) == ["delivered", "dropped", "dropped"]


async def test_a_reload_is_answered_with_what_changed_or_with_what_is_wrong(scene: Scene) -> None:
    async with watching(scene):
        scene.receivers["new"] = "/second"
        scene.write()
        assert await asked(scene, Action.RELOAD, {}) == {"changes": ["receiver new added"]}
        scene.file.write_text("projects: [")
        refused = await asked(scene, Action.RELOAD, {})

    (problem,) = refused["problems"]
    assert problem.startswith(f"{scene.file}:2:1: not YAML")


async def test_a_poll_is_answered_with_its_events(scene: Scene, cloud: TasksEndpoint) -> None:
    scene.interval = "1h"
    scene.write()
    async with watching(scene):
        cloud.rows.append(row("a", status="Running"))
        outcome = await asked(scene, Action.POLL, {"projects": ["prod"]})
        cloud.rows.clear()
        cloud.always = None
        with StoreReader(scene.store) as reader:
            newest = reader.events()[0]

    assert outcome["polls"] == [{"project": "prod", "rows": 1, "events": [newest.id], "error": None}]
    assert newest.subject == "a"


async def test_a_receiver_that_is_tried_with_success_goes_on_after_a_410(
    scene: Scene, lines: list[EventDict]
) -> None:
    scene.sink.choose = lambda: answer(410)
    async with watching(scene):
        await until(lambda: any(line["event"] == "receiver_paused" for line in lines), "the pause")
        failed = await asked(scene, Action.RECEIVER_TEST, {"receiver": "hook"})
        assert "410" in failed["error"]
        scene.sink.choose = WebhookSink().choose
        tried = await asked(scene, Action.RECEIVER_TEST, {"receiver": "hook"})
        await until(lambda: len(scene.sink.accepted) == 2, "what waited")

    sample, waited = scene.sink.accepted
    assert (sample.id, sample.event["type"]) == (tried["event_id"], "taskwatch.receiver.test")
    assert waited.event["type"] == "taskwatch.project.baseline"


async def test_every_action_is_logged_once_with_who_did_it_and_what(
    scene: Scene, cloud: TasksEndpoint, lines: list[EventDict]
) -> None:
    begin_anew(scene.store, by=ME, at=now())
    await die(scene, cloud)
    with StoreReader(scene.store) as reader:
        first = reader.events()[-1].id
    async with watching(scene):
        with Desk(scene.store, by=ME) as desk:
            assert desk.drop(state=DeliveryState.DEAD, receiver="hook", events=[first], at=now()) == {
                "hook": 1
            }
            assert desk.replay(state=DeliveryState.DEAD, receiver="hook", events=[], at=now()) == {"hook": 3}
        await asked(scene, Action.RELOAD, {})
        await asked(scene, Action.POLL, {"projects": ["prod"]})
        await asked(scene, Action.RECEIVER_TEST, {"receiver": "hook"})
        cloud.rows[0] |= {"status": "Failed", "ended_at": "2026-08-05T09:15:07+0800"}
        await until(lambda: _alerts(scene) == [FAILED], "the failure")
        with Desk(scene.store, by=ME) as desk:
            assert desk.acknowledge([FAILED], until=None, comment="mine", at=now()) == [FAILED]
            later = now() + timedelta(hours=1)
            silence = desk.silence(['project = "elsewhere"'], ends_at=later, comment=None, at=now())
            assert desk.expire([silence], at=now()) == [silence]
        assert await asked(scene, Action.RESOLVE, {"jobs": [FAILED], "comment": None}) == {
            "resolved": [FAILED]
        }
        await until(lambda: Action.RESOLVE in _logged(lines), "the last line")

    acted = [line for line in lines if line["event"] == "operator_acted"]
    assert sorted(line["action"] for line in acted) == sorted(set(Action) - {Action.FRESHEN})  # a question
    assert {line["by"] for line in acted} == {ME}
    about = {line["action"]: line["argument"] for line in acted}
    assert first in about["drop"]
    assert "hook" in about["replay"]
    assert "hook" in about["receiver_test"]
    assert "prod" in about["poll"]
    assert str(scene.store) in about["state_init"]
    assert "mine" in about["ack"]
    assert FAILED in about["resolve"]
    assert "elsewhere" in about["silence"]
    assert str(silence) in about["expire"]


def _logged(lines: list[EventDict]) -> list[str]:
    return [line["action"] for line in lines if line["event"] == "operator_acted"]


def _alerts(scene: Scene) -> list[str]:
    with StoreReader(scene.store) as reader:
        return [row.subject for row in reader.alerts()]


@pytest.mark.parametrize(
    ("uid", "who"),
    [
        (0, "anna as root (uid 0) on "),
        (NOBODY.pw_uid, f"{NOBODY.pw_name} (uid {NOBODY.pw_uid}) on "),
        (4_000_000, "? (uid 4000000) on "),
    ],
    ids=["root", "another", "unknown"],
)
def test_sudo_says_who_became_root_and_nobody_else_can_say_so(
    monkeypatch: pytest.MonkeyPatch, uid: int, who: str
) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    monkeypatch.setenv("LOGNAME", "root-or-so")
    monkeypatch.setattr(os, "getuid", lambda: uid)

    assert operator() == who + socket.gethostname()


async def test_what_a_daemon_was_asked_before_its_end_is_not_done_by_the_next_one(scene: Scene) -> None:
    async with watching(scene):
        pass
    with Desk(scene.store, by=ME) as desk:
        request = desk.ask(Action.RECEIVER_TEST, {"receiver": "hook"}, at=now())
        async with watching(scene):
            await until(lambda: desk.outcome(request) is not None, "an answer")
        assert "has ended" in (desk.outcome(request) or {})["error"]

    assert [post.event["type"] for post in scene.sink.accepted] == ["taskwatch.project.baseline"]


async def test_what_was_dead_under_a_former_name_is_replayed_to_the_present_one(
    scene: Scene, cloud: TasksEndpoint
) -> None:
    await die(scene, cloud)
    async with watching(scene) as daemon:
        scene.receivers = {"pipeline": "/first"}
        scene.write()
        await daemon.reload()
        with Desk(scene.store, by=ME) as desk:
            replayed = desk.replay(state=DeliveryState.DEAD, receiver=None, events=[], at=now())
            assert replayed == {"pipeline": 4}
        await until(lambda: len(scene.sink.accepted) == 4, "the replay")


async def test_a_request_is_done_although_the_store_failed_when_it_was_looked_at_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(scene) as daemon:
        real, failures = daemon.store.mark_logged, iter([True])

        async def mark(logged: Iterable[int]) -> None:
            if next(failures, False):
                raise StoreFailedError("disk full")
            await real(logged)

        monkeypatch.setattr(daemon.store, "mark_logged", mark)
        assert await asked(scene, Action.RELOAD, {}) == {"changes": []}


async def test_however_many_operations_there_are_each_is_logged(scene: Scene, lines: list[EventDict]) -> None:
    async with watching(scene):
        pass
    with Desk(scene.store, by=ME) as desk:
        for number in range(BATCH + 5):
            desk._transact(
                partial(
                    operations.record, action=Action.DROP, by=ME, at=now(), argument={"n": number}, outcome={}
                )
            )
    lines.clear()
    async with watching(scene):
        await until(
            lambda: sum(line["event"] == "operator_acted" for line in lines) == BATCH + 5, "all lines"
        )


async def test_what_only_a_newer_command_knows_is_answered_and_ends_nothing(scene: Scene) -> None:
    async with watching(scene):
        with Desk(scene.store, by=ME) as desk:
            request = desk.ask(cast("Action", "polish"), {}, at=now())
            await until(lambda: desk.outcome(request) is not None, "an answer")
            assert "has no polish: restart it" in (desk.outcome(request) or {})["error"]
        assert await asked(scene, Action.RELOAD, {}) == {"changes": []}


async def test_a_receiver_that_is_removed_while_it_is_tried_is_no_mistake(scene: Scene) -> None:
    gate = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response(status=204)

    async with watching(scene) as daemon:
        await until(lambda: len(scene.sink.accepted) == 1, "the baseline")
        scene.sink.choose = lambda: slow
        trial = asyncio.create_task(asked(scene, Action.RECEIVER_TEST, {"receiver": "hook"}))
        await until(lambda: len(scene.sink.posts) == 2, "the trial")
        scene.receivers = {"other": "/other"}
        scene.write()
        reload = asyncio.create_task(daemon.reload())
        await until(lambda: "hook" not in daemon._lanes, "the removal")
        gate.set()
        await reload
        assert "event_id" in await trial


async def test_a_poll_with_a_bad_row_is_no_failure(scene: Scene, cloud: TasksEndpoint) -> None:
    async with watching(scene):
        cloud.rows.append({"status": "Running"})
        cloud.rows.append(row("a", status="Running"))
        await until(lambda: subjects(posted(scene.sink, "/first")) == ["a"], "the good row")
        outcome = await asked(scene, Action.POLL, {"projects": ["prod"]})

    assert outcome["polls"] == [{"project": "prod", "rows": 1, "events": [], "error": None}]
