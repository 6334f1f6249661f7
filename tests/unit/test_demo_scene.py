"""What the demo reads of a store beside its daemon."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from taskwatch.cli.demo.scene import Onlooker
from taskwatch.clock import SystemClock
from taskwatch.core.events import task_event
from taskwatch.model.delivery import Delivered, DeliveryId, Outcome, Reason, Retry
from taskwatch.model.task import COMPLETED, FAILED, RUNNING, Task
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_known, a_project, a_reading, a_task, a_transition
from tests.fakes.records import a_record, routed

TASKS = (
    a_task("going", RUNNING, progress=40),
    a_task("done", COMPLETED),
    a_task("bad", FAILED, fail_reason="no space left"),
)
TROUBLE = Retry(reason=Reason.SERVER_ERROR, detail="it answered 503", poisoned=0, tried_seconds=1.0)
ARRIVED = Delivered()


@dataclass
class Kept:
    """An open store, with each task told to the receiver that the demo watches."""

    path: Path
    store: SqliteStore

    async def tell(self, *tasks: Task) -> None:
        project = a_project()
        state = await self.store.enrol(project.identity, project.name)
        reading = a_reading(SystemClock().now() - timedelta(minutes=5))
        events = [
            task_event(
                a_transition(task, from_status=None, revision=1),
                project=project, sequence=1, reading=reading, failure_severities=(),
            )
            for task in tasks
        ]  # fmt: skip
        await self.store.commit(
            a_record(
                state,
                tasks=[a_known(task) for task in tasks],
                events=[routed(event, "pipeline") for event in events],
            )
        )

    async def record(self, delivery: int, outcome: Outcome) -> None:
        await self.store.record(DeliveryId(delivery), outcome, SystemClock().now())


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    path = tmp_path / "taskwatch.db"
    store = open_store(path, clock=SystemClock())
    yield Kept(path, store)
    await store.close()


async def test_an_empty_store_is_a_scene_too(kept: Kept) -> None:
    with Onlooker(kept.path) as onlooker:
        scene = onlooker.look()

    assert (scene.projects, scene.running, scene.events, scene.queue.length) == ((), (), (), 0)


async def test_each_event_is_counted_once_however_often_one_looks(kept: Kept) -> None:
    await kept.tell(*TASKS)
    with Onlooker(kept.path) as onlooker:
        onlooker.look()
        await kept.tell(a_task("later", FAILED, fail_reason="again"))
        scene = onlooker.look()

    assert scene.told == {"started": 1, "completed": 1, "failed": 2}
    assert [event.kind for event in scene.events] == ["failed", "failed", "completed", "started"]
    assert [event.fail_reason for event in scene.events] == ["again", "no space left", None, None]
    assert [row.task.job_id for row in scene.running] == ["going"]


async def test_the_queue_is_in_trouble_as_long_as_what_was_tried_still_waits(kept: Kept) -> None:
    await kept.tell(*TASKS)
    with Onlooker(kept.path) as onlooker:
        fresh = onlooker.look().queue
        await kept.record(1, TROUBLE)
        troubled = onlooker.look().queue
        await kept.record(1, ARRIVED)
        mended = onlooker.look().queue

    assert [(queue.length, queue.trouble) for queue in (fresh, troubled, mended)] == [
        (3, None), (3, "it answered 503"), (2, None),
    ]  # fmt: skip
    assert (fresh.retried, mended.retried) == (0, 1)
    assert mended.history == (0, 3, 3, 2)


async def test_what_is_left_in_the_end_is_what_waits_and_what_took_more_than_one_try(kept: Kept) -> None:
    await kept.tell(*TASKS)
    await kept.record(1, TROUBLE)
    await kept.record(1, ARRIVED)
    await kept.record(2, ARRIVED)
    with Onlooker(kept.path) as onlooker:
        left = onlooker.left()

    assert (left.tasks, left.retried, left.pending) == (3, 1, 1)
    assert left.waiting == {("bad", "Failed")}
    assert left.watched == ()  # nothing was read completely
