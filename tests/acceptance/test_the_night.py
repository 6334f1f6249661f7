"""Nights that operators know, each with every message that a receiver hears.

A message is shown by its type, its task, and of an alert that is over: why, and by which task or whom.
"""

import getpass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from taskwatch import telemetry
from tests.fakes.builders import captured_log
from tests.fakes.commands import until
from tests.fakes.in_process import Ask
from tests.fakes.scene import Scene, posted, watching
from tests.fakes.tasks_endpoint import Row, TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink

BACKUP = "BackupSnapshotGaussDBV5InInstance"
CREATE = "CreateGaussDBV5Instance"
DELETE = "DeleteGaussDBV5Instance"
RESTORE = "RestoreGaussDBV5InInstance"
RECEIVERS = ("pager", "chat")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the daemon's log, in this process, apart from what commands print."""
    log, _ = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)


@pytest.fixture
def scene(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink) -> Scene:
    scene = Scene(tmp_path, cloud, sink, receivers={name: f"/{name}" for name in RECEIVERS})
    scene.write()
    return scene


def attempt(job_id: str, name: str, *, minute: int, instance: str = "in-1", **changes: Any) -> Row:
    return row(
        job_id,
        name=name,
        status="Running",
        created_at=f"2026-11-23T03:{minute:02}:00+0000",
        ended_at=None,
        instance_info={"instance_id": instance, "instance_name": "orders", "instance_status": "active"},
        **changes,
    )


def heard(sink: WebhookSink, receiver: str) -> list[str]:
    """Say what the receiver was told, without the baseline."""
    return [said(event) for event in posted(sink, f"/{receiver}") if "task" in event["data"]]


def said(event: dict[str, Any]) -> str:
    data = event["data"]
    what = f"{event['type'].removeprefix('taskwatch.task.')} {event['subject']}"
    return f"{what} {data['why']} by {data['by'].split(' ')[0]}" if "why" in data else what


async def pager_heard(scene: Scene, message: str) -> None:
    await until(lambda: message in heard(scene.sink, "pager"), message)


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


def ended(task: Row, status: str, *, reason: str | None = None) -> None:
    task |= {"status": status, "ended_at": "2026-11-23T03:59:00+0000", "fail_reason": reason}


async def test_a_restore_that_fails_at_three_and_succeeds_at_the_third_try(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    first, second, third = (attempt(f"job-{n}", RESTORE, minute=n) for n in (1, 2, 3))
    async with watching(scene):
        cloud.rows.append(first)
        await everybody_heard(scene, "started job-1")
        ended(first, "Failed", reason="disk broken")
        await everybody_heard(scene, "started job-1", "failed job-1")
        acknowledged = await ask("ack", "job-1", "--comment", "on it")
        shown = await ask("alerts")
        cloud.rows.append(second)
        await everybody_heard(scene, "started job-1", "failed job-1", "started job-2")
        ended(second, "Failed", reason="disk broken")
        night = [
            "started job-1",
            "failed job-1",
            "started job-2",
            "failed job-2",
            "resolved job-1 superseded by job-2",
        ]
        await everybody_heard(scene, *night)
        one_left = await ask("alerts", "--json")
        cloud.rows.append(third)
        await everybody_heard(scene, *night, "started job-3")
        ended(third, "Completed")
        morning = [*night, "started job-3", "completed job-3", "resolved job-2 succeeded by job-3"]
        await everybody_heard(scene, *morning)
        peace = await ask("alerts")

    assert acknowledged.err == "1 task acknowledged\n"
    assert getpass.getuser() in shown.out
    assert one_left.out.count("\n") == 1
    assert '"job-2"' in one_left.out
    assert (peace.out, peace.err) == ("", "Nothing needs attention.\n")


async def test_a_create_that_failed_is_over_when_its_instance_is_deleted(
    scene: Scene, cloud: TasksEndpoint
) -> None:
    create, delete = attempt("job-1", CREATE, minute=1), attempt("job-2", DELETE, minute=2)
    async with watching(scene):
        cloud.rows.append(create)
        await everybody_heard(scene, "started job-1")
        ended(create, "Failed")
        await everybody_heard(scene, "started job-1", "failed job-1")
        cloud.rows.append(delete)
        await everybody_heard(scene, "started job-1", "failed job-1", "started job-2")
        ended(delete, "Completed")
        await everybody_heard(
            scene,
            "started job-1", "failed job-1", "started job-2", "completed job-2", "resolved job-1 deleted by job-2",
        )  # fmt: skip


async def test_a_failed_backup_is_over_with_the_next_nights_good_one_and_not_with_anothers(
    scene: Scene, cloud: TasksEndpoint
) -> None:
    failed, others = attempt("job-1", BACKUP, minute=1), attempt("job-2", BACKUP, minute=2, instance="in-2")
    good = attempt("job-3", BACKUP, minute=3)
    async with watching(scene):
        for task, end in ((failed, "Failed"), (others, "Completed"), (good, "Completed")):
            cloud.rows.append(task)
            await pager_heard(scene, f"started {task['job_id']}")
            ended(task, end)
            await pager_heard(scene, f"{end.lower()} {task['job_id']}")
        await everybody_heard(
            scene,
            "started job-1", "failed job-1", "started job-2", "completed job-2",
            "started job-3", "completed job-3", "resolved job-1 succeeded by job-3",
        )  # fmt: skip


async def test_a_restore_that_was_solved_by_hand_is_resolved_by_its_operator(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    restore = attempt("job-1", RESTORE, minute=1)
    async with watching(scene):
        cloud.rows.append(restore)
        await everybody_heard(scene, "started job-1")
        ended(restore, "Failed")
        await everybody_heard(scene, "started job-1", "failed job-1")
        resolved = await ask("resolve", "job-1", "--comment", "restored from last week")
        me = resolved_by(scene)
        await everybody_heard(scene, "started job-1", "failed job-1", f"resolved job-1 operator by {me}")
        again = await ask("resolve", "job-1")
        # The chain goes on: what operators say stands in it.
        restore["status"] = "Running"
        await until(lambda: len(heard(scene.sink, "pager")) == 4, "the restart")

    assert (resolved.code, resolved.err) == (0, "1 task resolved\n")
    assert (again.code, again.err) == (
        1,
        "taskwatch: no open alert of job-1; taskwatch alerts shows those there are\n",
    )
    (told,) = [event for event in posted(scene.sink, "/chat") if event["type"].endswith("resolved")]
    assert told["data"]["comment"] == "restored from last week"
    assert "restored from last week" in told["data"]["summary"]
    sequences = [
        event["data"]["sequence"] for event in posted(scene.sink, "/pager") if "task" in event["data"]
    ]
    assert sequences == [1, 2, 3, 4]


def resolved_by(_: Scene) -> str:
    return getpass.getuser()


async def test_without_a_daemon_it_is_resolved_now_and_told_by_the_next_one(
    scene: Scene, cloud: TasksEndpoint, ask: Ask
) -> None:
    restore = attempt("job-1", RESTORE, minute=1)
    async with watching(scene):
        cloud.rows.append(restore)
        await everybody_heard(scene, "started job-1")
        ended(restore, "Failed")
        await everybody_heard(scene, "started job-1", "failed job-1")
    resolved = await ask("resolve", "job-1", "no-such-job")
    nothing = await ask("alerts")
    async with watching(scene):
        await everybody_heard(
            scene, "started job-1", "failed job-1", f"resolved job-1 operator by {resolved_by(scene)}"
        )

    assert resolved.code == 1
    assert resolved.err.splitlines() == [
        "1 task resolved",
        "taskwatch: no open alert of no-such-job; taskwatch alerts shows those there are",
    ]
    assert (nothing.out, nothing.err) == ("", "Nothing needs attention.\n")
