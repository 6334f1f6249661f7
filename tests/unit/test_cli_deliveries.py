"""`deliveries replay` and `drop`: what they choose, and what they say becomes of it."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from taskwatch.core.events import task_event
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, Reason
from taskwatch.model.task import FAILED
from taskwatch.store.lock import acquire
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import T0, a_known, a_project, a_reading, a_task, a_transition, at
from tests.fakes.in_process import Run, runner
from tests.fakes.records import StillClock, a_record, routed

CONFIGURATION: Final = """\
store: {path: taskwatch.db}
credentials: {c: {type: none}}
projects: [{name: prod, endpoint: https://gauss.example, project_id: abc}]
receivers: [{name: journal, type: log}, {name: hook, type: log}]
"""
WITHOUT_HOOK: Final = CONFIGURATION.replace(", {name: hook, type: log}", "")
NEXT_RUN: Final = "No daemon is running: the next taskwatch run sends them.\n"
HOOK_IS_GONE: Final = "hook is configured no more: its deliveries wait for a receiver of that name\n"


async def record(path: Path) -> None:
    """Let a store hold two events, dead for two receivers each."""
    store = open_store(path, clock=StillClock())
    project = a_project()
    state = await store.enrol(project.identity, project.name)
    tasks = [a_task("a", FAILED), a_task("b", FAILED)]
    events = [
        task_event(
            a_transition(task, from_status=None, revision=1),
            project=project, sequence=1, reading=a_reading(T0), failure_severities=(),
        )
        for task in tasks
    ]  # fmt: skip
    hops = [routed(event, "journal", "hook") for event in events]
    await store.commit(a_record(state, tasks=[a_known(task) for task in tasks], events=hops))
    end = Dead(reason=Reason.REJECTED, detail="422", why="poison", poisoned=10, tried_seconds=1.0)
    for number in range(1, 5):
        await store.record(DeliveryId(number), end, at(61))
    await store.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    asyncio.run(record(tmp_path / "taskwatch.db"))
    return runner(monkeypatch, capsys, tmp_path)


def dead(directory: Path) -> list[str]:
    """Return the receivers of what is dead."""
    with StoreReader(directory / "taskwatch.db") as reader:
        return sorted(row.receiver for row in reader.deliveries(state="dead"))


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize(
    "given",
    ["--receiver hook", "--project prod", "--state dead", "--type task.failed", "--since 1h", "--limit 100", "--json"],
)  # fmt: skip
def test_a_filter_before_a_command_is_refused_lest_all_be_taken(
    given: str, command: str, run: Run, tmp_path: Path
) -> None:
    ended = run("deliveries", *given.split(), command, "--all")

    assert (ended.code, ended.out) == (2, "")
    assert f"{given.split(maxsplit=1)[0]} before {command} has no effect there; put it behind" in ended.err
    assert dead(tmp_path) == ["hook", "hook", "journal", "journal"]


def test_a_filter_behind_a_command_chooses(run: Run, tmp_path: Path) -> None:
    assert run("deliveries", "drop", "--receiver", "hook", "--all").out == "2 deliveries dropped\n"
    assert dead(tmp_path) == ["journal", "journal"]


def test_the_configuration_may_stand_before_a_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").rename(tmp_path / "other.yaml")

    assert run("deliveries", "-c", "other.yaml", "replay", "--all").code == 0
    assert dead(tmp_path) == []


def test_without_a_daemon_a_replay_says_who_sends_it(run: Run) -> None:
    ended = run("deliveries", "replay", "--all")

    assert (ended.code, ended.out, ended.err) == (0, "4 deliveries queued again\n", NEXT_RUN)


def test_beside_a_daemon_a_replay_needs_no_word_more(run: Run, tmp_path: Path) -> None:
    lock = acquire(tmp_path / "taskwatch.db", since=T0)
    ended = run("deliveries", "replay", "--all")
    lock.release()

    assert (ended.code, ended.err) == (0, "")


def test_a_replay_says_what_waits_for_a_receiver_that_is_configured_no_more(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(WITHOUT_HOOK)

    assert run("deliveries", "replay", "--receiver", "hook").err == HOOK_IS_GONE
    assert run("deliveries", "replay", "--receiver", "journal").err == NEXT_RUN


def test_a_replay_of_both_says_both(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(WITHOUT_HOOK)

    assert run("deliveries", "replay", "--all").err == HOOK_IS_GONE + NEXT_RUN


def test_a_drop_is_over_and_says_so_only(run: Run) -> None:
    ended = run("deliveries", "drop", "--all")

    assert (ended.code, ended.out, ended.err) == (0, "4 deliveries dropped\n", "")


def event_of(directory: Path, subject: str) -> str:
    with StoreReader(directory / "taskwatch.db") as reader:
        return next(row.event_id for row in reader.deliveries() if row.subject == subject)


async def told(path: Path, number: int) -> None:
    """Let what is queued under this number be delivered."""
    store = open_store(path, clock=StillClock())
    await store.record(DeliveryId(number), Delivered(), at(120))
    await store.close()


def test_of_what_is_not_dead_a_replay_says_what_it_is(run: Run, tmp_path: Path) -> None:
    event_id = event_of(tmp_path, "a")
    run("deliveries", "replay", event_id)
    asyncio.run(told(tmp_path / "taskwatch.db", 5))
    ended = run("deliveries", "replay", event_id)

    assert (ended.code, ended.out) == (0, "No dead deliveries match.\n")
    assert ended.err.splitlines() == [
        f"{event_id[:10]} to journal: delivered {at(120):%Y-%m-%d %H:%M:%SZ} already, and not sent again; taskwatch events --json has what was told",
        f"{event_id[:10]} to hook: pending; it goes by itself, and drop --state pending puts it away",
    ]


def test_beside_what_is_dead_a_replay_says_what_else_was_named(run: Run, tmp_path: Path) -> None:
    first, second = event_of(tmp_path, "a"), event_of(tmp_path, "b")
    run("deliveries", "drop", first)
    ended = run("deliveries", "replay", first, second, "--receiver", "hook")

    assert ended.out == "1 delivery queued again\n"
    assert ended.err.startswith(f"{first[:10]} to hook: dropped ")
    assert ended.err.endswith(f"; that is for good, and taskwatch explain {first} says why\n{NEXT_RUN}")


def test_a_receiver_that_is_misspelt_is_no_receiver_without_dead_deliveries(run: Run) -> None:
    ended = run("deliveries", "replay", "--receiver", "hok")

    assert (ended.code, ended.out) == (2, "")
    assert "no receiver 'hok' is known" in ended.err


def test_a_drop_of_what_waits_says_that_it_does(run: Run, tmp_path: Path) -> None:
    event_id = event_of(tmp_path, "a")
    run("deliveries", "replay", event_id)
    ended = run("deliveries", "drop", event_id, "--receiver", "hook")

    assert (ended.code, ended.out) == (0, "No dead deliveries match.\n")
    assert "pending; it goes by itself, and drop --state pending puts it away" in ended.err
