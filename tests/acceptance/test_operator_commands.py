"""The commands that act: beside a running daemon, which is a process of its own, and without one."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from taskwatch.store.reader import StoreReader
from tests.fakes.commands import Ended, until
from tests.fakes.daemon import Daemon
from tests.fakes.in_process import Ask
from tests.fakes.scene import Scene, posted, subjects
from tests.fakes.tasks_endpoint import TasksEndpoint, row, status
from tests.fakes.webhook_sink import WebhookSink, answer

pytestmark = pytest.mark.real


@pytest.fixture
def scene(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink) -> Scene:
    scene = Scene(tmp_path, cloud, sink, receivers={"hook": "/first"})
    scene.write()
    return scene


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[Daemon]:
    async with Daemon(scene.file, scene.directory / "log") as daemon:
        await until(lambda: "watching" in daemon.said(), "the daemon's start", said=daemon.said)
        await until(lambda: len(scene.sink.posts) > 0, "the baseline", said=daemon.said)
        yield daemon


def objects(ended: Ended) -> list[dict[str, object]]:
    assert ended.code == 0, ended
    return [json.loads(line) for line in ended.out.splitlines()]


async def test_reload_says_what_changed_and_refuses_a_wrong_file_with_78(scene: Scene, ask: Ask) -> None:
    async with running(scene) as daemon:
        unchanged = await ask("reload")
        scene.receivers["second"] = "/second"
        scene.write()
        changed = await ask("reload")
        right = scene.file.read_text()
        scene.file.write_text(right + "nonsense: 1\n")
        wrong = await ask("reload")
        said = daemon.said()

    assert (unchanged.code, unchanged.out) == (0, "nothing changed\n")
    assert (changed.code, changed.out) == (0, "receiver second added\n")
    assert (wrong.code, wrong.out) == (78, "")
    assert "nonsense: unknown key" in wrong.err
    assert wrong.err.endswith("taskwatch: the daemon refused it, and goes on with what it had\n")
    assert said.count('"action": "reload"') == 3, "the daemon itself refused it"


async def test_reload_without_a_daemon_says_that_there_is_none(scene: Scene, ask: Ask) -> None:
    ended = await ask("reload")

    assert (ended.code, ended.err.count("no daemon holds")) == (1, 1)


async def test_reload_of_a_file_with_another_store_says_how_its_daemon_is_reached(
    scene: Scene, ask: Ask
) -> None:
    async with running(scene):
        scene.file.write_text(scene.file.read_text().replace("taskwatch.db", "elsewhere.db"))
        ended = await ask("reload")

    assert ended.code == 1
    assert "started with another store.path cannot be found by this file" in ended.err
    assert "systemctl reload taskwatch" in ended.err


async def test_a_daemon_that_ends_before_it_answers_is_not_waited_for(scene: Scene, ask: Ask) -> None:
    async with running(scene) as daemon:
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGSTOP)  # it holds the store, and answers nothing
        asked = asyncio.ensure_future(ask("reload"))
        await until(lambda: _is_asked(scene), "the request")
        await daemon.kill()
        ended = await asked

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.endswith("the daemon ended before it answered; nothing is known of what it did\n")


def _is_asked(scene: Scene) -> bool:
    with closing(apsw.Connection(str(scene.store), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return bool(connection.execute("SELECT 1 FROM operations").get)


async def test_projects_tells_how_fresh_each_is_and_what_is_in_the_way(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    scene.projects["other"] = "2"
    scene.write()
    before = await ask("projects")
    async with running(scene) as daemon:
        cloud.rows.append(row("a", status="Running"))
        await until(
            lambda: daemon.said().count("project.baseline") == 0 and len(scene.sink.posts) >= 4, "polls"
        )
        cloud.always = status(503)
        await until(lambda: daemon.said().count("project_unreadable") == 2, "the trouble", said=daemon.said)
        await until(lambda: _trouble(scene) == 2, "the trouble on record", said=daemon.said)
        table = await ask("projects")
        rows = objects(await ask("projects", "--json"))
        one = objects(await ask("projects", "--project", "other", "--json"))
    after = await ask("projects")

    assert (before.code, before.err.count("no store at")) == (1, 1)
    assert table.out.splitlines()[0].split()[:4] == ["PROJECT", "STATE", "READ", "EVERY"]
    assert [line.split(":")[0] for line in table.out.splitlines() if "answered 503" in line] == [
        "prod, other"
    ]
    assert [row["name"] for row in rows] == ["prod", "other"]
    assert {(row["state"], row["cause"], row["running"]) for row in rows} == {("in trouble", "cloud", 1)}
    assert all(row["next_poll_at"] and row["read_at"] and row["since"] for row in rows)
    assert [row["name"] for row in one] == ["other"]
    assert "No daemon is running" in after.err
    assert after.out.count("not watched") == 2


async def test_projects_is_as_fresh_as_the_daemon_and_says_when_that_does_not_answer(
    scene: Scene, ask: Ask
) -> None:
    async with running(scene) as daemon:
        began = datetime.now(UTC)
        await asyncio.sleep(2)
        (fresh,) = objects(await ask("projects", "--json"))
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGSTOP)
        silent = await ask("projects")
        daemon.process.send_signal(signal.SIGCONT)
        said = daemon.said()

    read_at = datetime.fromisoformat(str(fresh["read_at"]))
    assert read_at > began, "the store alone knows of the first poll only for half a minute"
    assert (silent.code, "does not answer" in silent.err, "no answer" in silent.out) == (0, True, True)
    assert "operator_acted" not in said, "a question is no act"


def _trouble(scene: Scene) -> int:
    with StoreReader(scene.store) as reader:
        conditions = [project.condition for project in reader.projects()]
    return sum(condition is not None and condition.trouble is not None for condition in conditions)


async def test_dead_deliveries_are_sent_again_or_dropped_by_event_or_by_receiver(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    scene.horizon = "10ms"
    scene.write()
    scene.sink.choose = lambda: answer(503)
    async with running(scene) as daemon:
        cloud.rows.extend([row("a", status="Running"), row("b", status="Running")])
        await until(lambda: daemon.said().count('"delivery_dead"') == 3, "the deaths", said=daemon.said)
        scene.sink.choose = WebhookSink().choose
        dead = objects(await ask("deliveries", "--state", "dead", "--json"))
        (first,) = [str(line["event_id"]) for line in dead if line["subject"] == "a"]
        which = await ask("deliveries", "replay")
        replayed = await ask("deliveries", "replay", first[:20])
        await until(lambda: subjects(posted(scene.sink, "/first")) == ["a"], "the replay", said=daemon.said)
        dropped = await ask("deliveries", "drop", "--receiver", "hook")
        again = await ask("deliveries", "drop", "--all")
        left = objects(await ask("deliveries", "--json"))

    assert (which.code, "say which" in which.err) == (2, True)
    assert (replayed.code, replayed.out) == (0, "1 delivery queued again\n")
    assert (dropped.code, dropped.out) == (0, "2 deliveries dropped\n")
    assert (again.code, again.out) == (0, "No dead deliveries match.\n")
    assert sorted((str(line["state"]), line["replay"]) for line in left) == [
        ("delivered", True),
        ("dropped", False),
        ("dropped", False),
    ]
    assert [post.headers.get("webhook-replay") for post in scene.sink.accepted] == ["1"]


async def test_a_receiver_is_tried_by_the_daemon_and_without_one_and_shown_dry(
    scene: Scene, ask: Ask
) -> None:
    dry = objects(await ask("receiver", "test", "hook", "--dry-run"))
    assert scene.sink.posts == []
    alone = await ask("receiver", "test", "hook")
    async with running(scene) as daemon:
        beside = await ask("receiver", "test", "hook")
        scene.sink.choose = lambda: answer(401, "who are you?")
        refused = await ask("receiver", "test", "hook")
        unknown = await ask("receiver", "test", "hok")
        assert daemon.said().count('"action": "receiver_test"') == 2

    assert dry[0]["type"] == "taskwatch.receiver.test"
    assert (alone.code, beside.code) == (0, 0)
    types = [post.event["type"] for post in scene.sink.accepted]
    assert types == ["taskwatch.receiver.test", "taskwatch.project.baseline", "taskwatch.receiver.test"]
    assert (refused.code, "answered 401: who are you?" in refused.err) == (1, True)
    assert (unknown.code, "did you mean hook?" in unknown.err) == (2, True)


async def test_a_receiver_of_type_log_is_tried_too(scene: Scene, ask: Ask) -> None:
    scene.file.write_text(
        scene.file.read_text().replace("receivers: [", 'receivers: [{"name": "lines", "type": "log"}, ')
    )

    ended = await ask("receiver", "test", "lines")

    assert (ended.code, ended.err.count("This is a test of the receiver lines")) == (0, 1)


async def test_a_receiver_that_cannot_be_reached_is_told_in_one_line(scene: Scene, ask: Ask) -> None:
    scene.file.write_text(scene.file.read_text().replace(scene.sink.url, "http://127.0.0.1:1"))

    ended = await ask("receiver", "test", "hook")

    assert (ended.code, ended.err) == (1, "taskwatch: cannot reach 127.0.0.1:1: Connection refused\n")
