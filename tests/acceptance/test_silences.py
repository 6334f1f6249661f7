"""Nights in which operators, or the configuration, want to hear nothing; each with every message that a receiver hears."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from taskwatch import telemetry
from taskwatch.engine import holding
from taskwatch.store.reader import StoreReader
from tests.fakes.builders import captured_log
from tests.fakes.commands import until
from tests.fakes.in_process import Ask
from tests.fakes.scene import Scene, posted, watching
from tests.fakes.tasks_endpoint import Row, TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink

RESTORE = "RestoreGaussDBV5InInstance"
RECEIVERS = ("pager", "chat")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often at what is held; keep the daemon's log, in this process, apart from what commands print."""
    monkeypatch.setattr(holding, "LOOK_SECONDS", 0.02)
    log, _ = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)


@pytest.fixture
def scene(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink) -> Scene:
    scene = Scene(tmp_path, cloud, sink, receivers={name: f"/{name}" for name in RECEIVERS})
    scene.write()
    return scene


def restore(job_id: str, *, minute: int = 1, instance: str = "in-1") -> Row:
    return row(
        job_id,
        name=RESTORE,
        status="Running",
        created_at=f"2026-11-23T03:{minute:02}:00+0000",
        ended_at=None,
        instance_info={"instance_id": instance, "instance_name": "orders", "instance_status": "active"},
    )


def ended(task: Row, status: str) -> None:
    task |= {"status": status, "ended_at": "2026-11-23T03:59:00+0000", "fail_reason": None}


def heard(sink: WebhookSink, receiver: str) -> list[str]:
    """Say what the receiver was told, without the baseline."""
    return [
        f"{event['type'].removeprefix('taskwatch.task.')} {event['subject']}"
        for event in posted(sink, f"/{receiver}")
        if "task" in event["data"]
    ]


async def everybody_heard(scene: Scene, *messages: str) -> None:
    """Wait until each receiver was told exactly this, in this order."""
    for receiver in RECEIVERS:
        await until(
            partial(_is_told, scene, receiver, len(messages)),
            f"{len(messages)} messages to {receiver}",
            said=lambda: str({name: heard(scene.sink, name) for name in RECEIVERS}),
        )
        assert heard(scene.sink, receiver) == list(messages)


def _is_told(scene: Scene, receiver: str, messages: int) -> bool:
    return len(heard(scene.sink, receiver)) >= messages


async def a_marker(scene: Scene) -> str:
    """Let something happen that nothing holds, and wait until all heard it; return what they heard.

    What is held is looked at many times meanwhile.
    """
    scene.cloud.rows.append(restore("marker", instance="in-2"))
    marker = "started marker"
    await until(
        lambda: all(marker in heard(scene.sink, receiver) for receiver in RECEIVERS), "the marker everywhere"
    )
    return marker


async def recorded(scene: Scene, *events: str) -> None:
    """Wait until these events are on record."""

    def are() -> bool:
        with StoreReader(scene.store) as reader:
            there = {f"{row.type.removeprefix('taskwatch.task.')} {row.subject}" for row in reader.events()}
        return there.issuperset(events)

    await until(are, f"{events} on record")


def states(scene: Scene, state: str) -> list[str]:
    """Return the events of which deliveries are in this state, one for each receiver."""
    with StoreReader(scene.store) as reader:
        return sorted(
            f"{row.type.removeprefix('taskwatch.task.')} {row.subject}"
            for row in reader.deliveries(state=state)
            if row.type.startswith("taskwatch.task.")
        )


ON_IN_1 = 'instance_id = "in-1"'


async def test_a_failure_under_a_silence_is_told_once_when_that_is_expired(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    task = restore("job-1")
    async with watching(scene):
        added = await ask("silence", "add", ON_IN_1, "--for", "2h", "--comment", "upgrade")
        cloud.rows.append(task)
        await recorded(scene, "started job-1")
        ended(task, "Failed")
        await recorded(scene, "failed job-1")
        marker = await a_marker(scene)
        await everybody_heard(scene, marker)
        held = states(scene, "held")
        alerts = await ask("alerts", "--json")
        expired = await ask("silence", "expire", "1")
        await everybody_heard(scene, marker, "failed job-1")
        await until(lambda: states(scene, "held") == [], "the end of all that was held")

    assert (added.code, added.err) == (0, "")
    assert added.out.startswith("silence 1 holds back what matches until ")
    assert held == ["failed job-1"] * 2 + ["started job-1"] * 2
    assert json.loads(alerts.out)["job_id"] == "job-1", (
        "it needs attention, whether somebody hears of it or not"
    )
    assert (expired.code, expired.err) == (0, "1 silence ended\n")
    assert states(scene, "suppressed") == ["started job-1"] * 2
    await everybody_heard(scene, marker, "failed job-1")


async def test_of_work_that_succeeds_before_the_end_nobody_hears_that_it_had_failed(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    first, second = restore("job-1"), restore("job-2", minute=2)
    async with watching(scene):
        await ask("silence", "add", ON_IN_1, "--for", "2h")
        cloud.rows.append(first)
        await recorded(scene, "started job-1")
        ended(first, "Failed")
        await recorded(scene, "failed job-1")
        cloud.rows.append(second)
        await recorded(scene, "started job-2")
        ended(second, "Completed")
        await recorded(scene, "completed job-2", "resolved job-1")
        await ask("silence", "expire", "1")
        await until(lambda: states(scene, "held") == [], "the end of all that was held")
        marker = await a_marker(scene)

    await everybody_heard(scene, marker)
    assert set(states(scene, "suppressed")) == {
        "started job-1",
        "failed job-1",
        "started job-2",
        "completed job-2",
    }


async def test_that_it_is_over_is_told_during_a_silence_to_those_who_knew_before(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    first, second = restore("job-1"), restore("job-2", minute=2)
    before = ["started job-1", "failed job-1"]
    async with watching(scene):
        cloud.rows.append(first)
        await everybody_heard(scene, "started job-1")
        ended(first, "Failed")
        await everybody_heard(scene, *before)
        foretold = await ask("silence", "add", ON_IN_1, "--for", "2h", "--dry-run")
        await ask("silence", "add", ON_IN_1, "--for", "2h")
        cloud.rows.append(second)
        await recorded(scene, "started job-2")
        ended(second, "Completed")
        await everybody_heard(scene, *before, "resolved job-1")
        await ask("silence", "expire", "1")
        await until(lambda: states(scene, "held") == [], "the end of all that was held")
        marker = await a_marker(scene)

    await everybody_heard(scene, *before, "resolved job-1", marker)
    assert "Open alerts that match: 1\nThey were told already and stay open" in foretold.out


async def test_a_silence_that_ends_while_no_daemon_runs_is_over_for_the_next_one(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    task = restore("job-1")
    async with watching(scene):
        await ask("silence", "add", ON_IN_1, "--for", "2h")
        cloud.rows.append(task)
        await recorded(scene, "started job-1")
        ended(task, "Failed")
        await recorded(scene, "failed job-1")
    expired = await ask("silence", "expire", "1")
    assert heard(scene.sink, "pager") == []
    async with watching(scene):
        await everybody_heard(scene, "failed job-1")

    assert (
        expired.err
        == "1 silence ended\nNo daemon is running: the next taskwatch run tells what was held back.\n"
    )


async def test_a_window_of_the_configuration_holds_back_until_a_reload_takes_it_away(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    today, tomorrow = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 2))
    windows = [
        {"name": "now", "matchers": [ON_IN_1], "weekly": f"{today:%a} 00:00 - {tomorrow:%a} 00:00"},
        {"name": "other", "matchers": [ON_IN_1], "weekly": f"{tomorrow:%a} 00:00 - {tomorrow:%a} 00:01"},
    ]
    scene.write()
    without = scene.file.read_text()
    scene.file.write_text(f"{without}mute: {json.dumps(windows)}\n")
    task = restore("job-1")
    async with watching(scene) as daemon:
        cloud.rows.append(task)
        await recorded(scene, "started job-1")
        ended(task, "Failed")
        await recorded(scene, "failed job-1")
        marker = await a_marker(scene)
        await everybody_heard(scene, marker)
        listed = [json.loads(line) for line in (await ask("silence", "list", "--json")).out.splitlines()]
        scene.file.write_text(without)
        await daemon.reload()
        await everybody_heard(scene, marker, "failed job-1")

    assert [(one["mute"], one["in_force"]) for one in listed] == [("now", True), ("other", False)]


async def test_an_alert_that_was_told_does_not_end_by_a_failure_that_nobody_hears_of(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    first, second = restore("job-1"), restore("job-2", minute=2)
    before = ["started job-1", "failed job-1"]
    async with watching(scene):
        cloud.rows.append(first)
        await everybody_heard(scene, "started job-1")
        ended(first, "Failed")
        await everybody_heard(scene, *before)
        await ask("silence", "add", ON_IN_1, "--for", "2h")
        cloud.rows.append(second)
        await recorded(scene, "started job-2")
        ended(second, "Failed")
        await recorded(scene, "failed job-2", "resolved job-1")
        # To whoever was told of the first, the second takes its place at once, silence or not.
        await until(lambda: "failed job-2" in heard(scene.sink, "pager"), "the second failure")

    told = heard(scene.sink, "pager")
    assert "resolved job-1" not in told[: told.index("failed job-2")], "to the pager all was well meanwhile"
