"""`wait`: for pipelines. Beside a daemon it looks into the store, without one it asks the cloud."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Final

import apsw
import pytest

from taskwatch.cli.options import Footing
from taskwatch.cli.vigil import LOOK_SECONDS, CloudView, Sight, StoreView, Vigil
from taskwatch.cli.wait import _follow, _tell, _wait
from taskwatch.config.configuration import Config
from taskwatch.engine.poller import Poller
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError, StoreFailedError, TaskwatchError
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, RUNNING, Task
from taskwatch.store.files import sibling
from taskwatch.store.lock import acquire, is_watched
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import T0, a_known, a_project, a_task, at, everything_to, quiet_log, some_rules
from tests.fakes.commands import taskwatch
from tests.fakes.config_files import SMALLEST, loaded
from tests.fakes.memory_store import MemoryStore
from tests.fakes.messages import HOSTILE
from tests.fakes.records import StillClock, a_record
from tests.fakes.scripted_source import ScriptedSource
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.virtual_time import in_virtual_time, virtual_clock

DENIED: Final = CloudError(CloudCause.PERMISSION, "gauss.example denies it")
DOWN: Final = CloudError(CloudCause.NETWORK, "cannot reach gauss.example")


def a_vigil(*job_ids: str) -> tuple[Vigil, list[str]]:
    """Return a vigil, and what it tells."""
    told: list[str] = []

    def tell(sight: Sight) -> None:
        told.append(f"{sight.task.job_id} {sight.task.status} {sight.task.progress}")

    return Vigil(job_ids, tell=tell), told


def seen(task: Task, minute: float = 0) -> Sight:
    return Sight(project="prod", task=task, at=at(minute))


# What is waited for


def test_all_of_them_have_to_end_and_all_to_complete() -> None:
    vigil, _ = a_vigil("a", "b")

    vigil.take(seen(a_task("a", FAILED)))
    assert (vigil.is_over, vigil.open) == (False, ["b"])
    vigil.take(seen(a_task("b", COMPLETED)))
    assert (vigil.is_over, vigil.is_success) == (True, False)


@pytest.mark.parametrize(("status", "is_success"), [(COMPLETED, True), (FAILED, False), (CANCELED, False)])
def test_only_completion_is_success(status: str, is_success: bool) -> None:  # noqa: FBT001
    vigil, _ = a_vigil("a", "a")

    vigil.take(seen(a_task("a", status)))

    assert (vigil.is_over, vigil.is_success) == (True, is_success)


def test_a_change_of_status_or_progress_is_told_once() -> None:
    vigil, told = a_vigil("a")

    for status, progress in ((RUNNING, 1), (RUNNING, 1), (RUNNING, 2), ("Frozen", 2), (COMPLETED, None)):
        vigil.take(seen(a_task("a", status, progress=progress)))
    vigil.take(seen(a_task("a", FAILED)))

    assert told == ["a Running 1", "a Running 2", "a Frozen 2", "a Completed None"]


def test_an_older_reading_does_not_take_a_newer_one_back_unless_it_is_the_end() -> None:
    vigil, told = a_vigil("a")
    vigil.take(seen(a_task("a", progress=75), minute=5))

    vigil.take(seen(a_task("a", progress=40), minute=4))
    assert told == ["a Running 75"]
    vigil.take(seen(a_task("a", COMPLETED), minute=3))
    assert vigil.is_over, "the clock was set back, perhaps"


# Without a daemon


def a_watch(name: str, source: ScriptedSource, *, active: float = 15.0) -> Watch:
    clock = virtual_clock()
    poller = Poller(
        project=a_project(name, project_id=name),
        rules=some_rules(active=active),
        source=source,
        ledger=MemoryStore(),
        routing=everything_to("hook"),
        clock=clock,
        told=lambda _: None,
    )
    return Watch(poller=poller, credential="c", clock=clock, log=quiet_log())


async def watched(vigil: Vigil, view: CloudView | StoreView) -> float:
    """Look until it is over; return how long that took."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while not vigil.is_over:
        await asyncio.sleep(await view.look(vigil))
    return loop.time() - begin


NO_STORE: Final = Path("/nowhere/taskwatch.db")


@in_virtual_time
async def test_the_cloud_is_asked_at_the_interval_of_the_project_until_the_task_ends() -> None:
    vigil, told = a_vigil("a")
    source = ScriptedSource.of(
        [a_task("a", progress=1)], [a_task("a", progress=60)], [a_task("a", COMPLETED)]
    )

    seconds = await watched(vigil, CloudView([a_watch("prod", source)], store=NO_STORE))

    assert told == ["a Running 1", "a Running 60", "a Completed None"]
    assert 30 <= seconds < 31


@in_virtual_time
async def test_a_project_is_asked_no_more_once_all_tasks_are_known_to_be_elsewhere() -> None:
    vigil, _ = a_vigil("a")
    elsewhere = ScriptedSource.of([])
    here = ScriptedSource.of([a_task("a")], [a_task("a")], [a_task("a", COMPLETED)])
    watches = [a_watch("here", here), a_watch("elsewhere", elsewhere, active=1)]

    await watched(vigil, CloudView(watches, store=NO_STORE))

    assert len(elsewhere.served) == 1


@in_virtual_time
async def test_a_task_that_no_project_lists_twice_is_unknown() -> None:
    vigil, _ = a_vigil("a", "typo")
    sources = [ScriptedSource.of([a_task("a")]), ScriptedSource.of([])]
    view = CloudView([a_watch(str(n), source) for n, source in enumerate(sources)], store=NO_STORE)

    with pytest.raises(TaskwatchError, match="no project lists a task typo"):
        await watched(vigil, view)

    assert [len(source.served) for source in sources] == [2, 2]


@in_virtual_time
async def test_an_incomplete_poll_is_no_evidence_that_a_task_is_unknown() -> None:
    vigil, _ = a_vigil("a")
    source = ScriptedSource.of([])
    source.complete = False
    view = CloudView([a_watch("prod", source)], store=NO_STORE)

    for _ in range(5):
        await asyncio.sleep(await view.look(vigil))

    source.complete = True
    source.then([a_task("a", COMPLETED)])
    await watched(vigil, view)


@in_virtual_time
async def test_a_task_that_is_listed_no_more_before_it_ended_is_said_so() -> None:
    vigil, _ = a_vigil("a")
    source = ScriptedSource.of([a_task("a", progress=7)], [])

    with pytest.raises(TaskwatchError, match="a is listed no more, and was Running, 7 % when"):
        await watched(vigil, CloudView([a_watch("prod", source)], store=NO_STORE))

    assert len(source.served) == 4


@in_virtual_time
async def test_trouble_that_may_pass_is_told_once_and_asked_through() -> None:
    vigil, told = a_vigil("a")
    source = ScriptedSource.of(DOWN, DOWN, [a_task("a")], DOWN, [a_task("a", COMPLETED)])

    await watched(vigil, CloudView([a_watch("prod", source)], store=NO_STORE))

    assert told == ["a Running None", "a Completed None"]


@in_virtual_time
async def test_a_refusal_ends_the_wait_unless_the_task_is_elsewhere() -> None:
    vigil, _ = a_vigil("a")
    denied = a_watch("denied", ScriptedSource.of(DENIED))
    here = a_watch("here", ScriptedSource.of([a_task("a")], [a_task("a", COMPLETED)]))
    await watched(vigil, CloudView([denied, here], store=NO_STORE))

    unknown, _ = a_vigil("b")
    with pytest.raises(CloudError, match="denies it"):
        await watched(unknown, CloudView([denied, here], store=NO_STORE))


def test_what_the_cloud_has_forgotten_the_store_may_know(tmp_path: Path) -> None:
    path = tmp_path / "taskwatch.db"
    recorded(path, a_task("a", COMPLETED))

    @in_virtual_time
    async def wait() -> None:
        vigil, told = a_vigil("a")
        await watched(vigil, CloudView([a_watch("prod", ScriptedSource.of([]))], store=path))
        assert told == ["a Completed None"]

    wait()


# Beside a daemon


def recorded(path: Path, *tasks: Task) -> None:
    async def record() -> None:
        store = open_store(path, clock=StillClock())
        state = await store.enrol(a_project().identity, "prod")
        await store.commit(a_record(state, tasks=[a_known(task) for task in tasks]))
        await store.close()

    asyncio.run(record())


def changed(path: Path, **columns: str | int) -> None:
    """Change the only task, as the daemon would."""
    connection = apsw.Connection(str(path))
    for name, value in columns.items():
        connection.execute(f"UPDATE tasks SET {name} = ?", (value,))  # noqa: S608 - a column of ours
    connection.close()


def test_the_store_is_looked_at_each_second(tmp_path: Path) -> None:
    path = tmp_path / "taskwatch.db"
    recorded(path, a_task("a", progress=3))

    @in_virtual_time
    async def wait() -> None:
        vigil, told = a_vigil("a")
        view = StoreView(path, patience=10)
        assert await view.look(vigil) == LOOK_SECONDS
        changed(path, progress=50)
        await view.look(vigil)
        changed(path, status=FAILED, open=0)
        await view.look(vigil)
        assert told == ["a Running 3", "a Running 50", "a Failed 50"]
        assert (vigil.is_over, vigil.is_success) == (True, False)

    wait()


def test_a_task_that_the_daemon_does_not_come_to_know_is_unknown_after_a_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "taskwatch.db"
    recorded(path, a_task("a"))

    @in_virtual_time
    async def wait() -> None:
        vigil, _ = a_vigil("a", "typo")
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with pytest.raises(TaskwatchError, match="no task typo is known, after 160s"):
            await watched(vigil, StoreView(path, patience=160))
        assert 160 < loop.time() - begin < 163

    wait()


def test_a_store_that_cannot_be_read_is_an_error_at_first_and_borne_with_later(tmp_path: Path) -> None:
    path = tmp_path / "taskwatch.db"
    recorded(path, a_task("a"))

    @in_virtual_time
    async def wait() -> None:
        vigil, _ = a_vigil("a")
        with pytest.raises(StoreFailedError):
            await StoreView(tmp_path / "none.db", patience=10).look(vigil)
        view = StoreView(path, patience=10)
        await view.look(vigil)
        path.rename(tmp_path / "elsewhere.db")
        for suffix in (".id", "-wal", "-shm"):
            sibling(path, suffix).unlink()
        await view.look(vigil)
        (tmp_path / "elsewhere.db").rename(path)
        changed(path, status=COMPLETED, open=0)
        await watched(vigil, view)

    wait()


def test_looking_whether_a_store_is_held_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "taskwatch.db"
    assert not is_watched(path)
    assert list(tmp_path.iterdir()) == []

    lock = acquire(path, since=T0)
    assert is_watched(path)
    lock.release()
    assert not is_watched(path)
    acquire(path, since=T0).release()


def standing_on(config: Config) -> Footing:
    return Footing(file=config.path, store=config.store, config=config)


def test_while_a_daemon_holds_the_store_no_cloud_is_asked(tmp_path: Path) -> None:
    config = loaded(tmp_path, f"store: {{path: taskwatch.db}}\n{SMALLEST}")
    recorded(config.store.path, a_task("a", COMPLETED))
    lock = acquire(config.store.path, since=T0)

    @in_virtual_time  # which has no sockets: a request would be an error
    async def wait() -> None:
        vigil, _ = a_vigil("a")
        async with AsyncExitStack() as stack:
            await _follow(vigil, standing_on(config), stack)
        assert vigil.is_success

    wait()
    lock.release()


def test_a_timeout_says_how_the_tasks_stand(tmp_path: Path) -> None:
    config = loaded(tmp_path, f"store: {{path: taskwatch.db}}\n{SMALLEST}")
    recorded(config.store.path, a_task("a", progress=40))
    lock = acquire(config.store.path, since=T0)

    @in_virtual_time
    async def wait() -> None:
        vigil, _ = a_vigil("a", "b")
        with pytest.raises(TaskwatchError) as caught:
            await _wait(vigil, standing_on(config), timedelta(minutes=1).total_seconds())
        assert str(caught.value) == "not over after 1m: a is Running, 40 %, b was not seen"

    wait()
    lock.release()


# What is printed


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_change_is_one_line_whatever_the_cloud_says(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    _tell(seen(a_task(f"a{text}"[:100], FAILED, name=text, fail_reason=text)))

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.removesuffix("\n").isprintable()


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[TasksEndpoint]:
    async with TasksEndpoint(token="t") as cloud:
        cloud.rows += [row("good"), row("bad", status="Failed"), row("going", status="Running", process="12")]
        (tmp_path / "taskwatch.yaml").write_text(f"""\
store: {{path: taskwatch.db}}
log: {{format: json, level: info}}
credentials: {{c: {{type: token, token: t, rate: 1000/s}}}}
projects: [{{name: prod, endpoint: "{cloud.url}", project_id: abc, interval: 100ms}}]
""")
        yield cloud


async def test_the_exit_code_says_how_they_ended_and_nothing_is_recorded(
    cloud: TasksEndpoint, tmp_path: Path
) -> None:
    completed = await taskwatch("wait", "good", cwd=tmp_path)
    failed = await taskwatch("wait", "good", "bad", "--json", cwd=tmp_path)
    unknown = await taskwatch("wait", "nobody", cwd=tmp_path)
    late = await taskwatch("wait", "going", "--timeout", "3s", cwd=tmp_path)

    assert (completed.code, completed.out) == (0, "")
    assert "good  Completed" in completed.err
    changes = [json.loads(line) for line in failed.out.splitlines()]
    assert (failed.code, failed.err) == (1, "")
    assert [(change["job_id"], change["status"], change["ended"]) for change in changes] == [
        ("good", "Completed", True),
        ("bad", "Failed", True),
    ]
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err.count("\n") == 1
    assert late.code == 1
    assert late.err.splitlines()[-1] == "taskwatch: not over after 3s: going is Running, 12 %"
    assert os.listdir(tmp_path) == ["taskwatch.yaml"]  # noqa: PTH208 - which the loop may wait for


async def test_a_timeout_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    assert (await taskwatch("wait", "a", "--timeout", "soon", cwd=tmp_path)).code == 2
    assert (await taskwatch("wait", cwd=tmp_path)).code == 2
