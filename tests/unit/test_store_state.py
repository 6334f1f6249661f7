# ruff: noqa: ASYNC240 - the loop of these tests has nothing else to do while a file is read
"""Backup, check, and a new store after a loss: what is left of a store is never put at risk."""

import asyncio
import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from taskwatch.core.events import task_event
from taskwatch.errors import StoreFailedError, StoreHeldError, StoreUnusableError
from taskwatch.model.event import Event
from taskwatch.model.task import COMPLETED, FAILED, RUNNING
from taskwatch.store.backup import backup
from taskwatch.store.files import sibling
from taskwatch.store.lock import acquire
from taskwatch.store.sqlite import open_store
from taskwatch.store.upkeep import begin_anew, inspect
from tests.fakes.builders import T0, a_known, a_project, a_reading, a_task, a_transition
from tests.fakes.faulty_disk import faulty_disk, full
from tests.fakes.in_process import Run, runner
from tests.fakes.records import StillClock, a_record, an_event, routed

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "0.1.0"
CONFIGURATION: Final = """\
store: {path: taskwatch.db}
credentials: {c: {type: token, token: {env: NOBODY_HAS_SET_THIS}}}
projects: [{name: prod, endpoint: https://gauss.example, project_id: abc}]
"""
ANNA: Final = "anna (uid 1000) on db-host"
CHAIN: Final = ((None, RUNNING), (RUNNING, FAILED), (FAILED, RUNNING), (RUNNING, COMPLETED))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "taskwatch.db"


def chain() -> list[Event]:
    """Make the events of one task's life, one an hour."""
    return [
        task_event(
            a_transition(a_task(status=after), from_status=before, revision=number),
            project=a_project(),
            sequence=number,
            reading=a_reading(T0 + timedelta(hours=number)),
            failure_severities=(),
        )
        for number, (before, after) in enumerate(CHAIN, 1)
    ]


async def made(path: Path, events: list[Event] | None = None) -> None:
    """Leave a store with one task and its events, closed in order."""
    events = chain() if events is None else events
    store = open_store(path, clock=StillClock())
    state = await store.enrol(a_project().identity, "prod")
    task = a_known(a_task(status=COMPLETED), revision=len(events), sequence=len(events))
    await store.commit(a_record(state, tasks=[task], events=[routed(event, "hook") for event in events]))
    await store.close()


def rows_in(path: Path) -> list[str]:
    connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    found = [event_id for (event_id,) in connection.execute("SELECT id FROM events ORDER BY seq")]
    connection.close()
    return found


def edit(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


# Backup


async def test_a_backup_is_one_private_file_with_all_there_is(path: Path, tmp_path: Path) -> None:
    await made(path)
    copy = tmp_path / "elsewhere" / "copy.db"
    copy.parent.mkdir()

    size = backup(path, copy)

    assert names(copy) == ["copy.db"]
    assert (copy.stat().st_size, stat.S_IMODE(copy.stat().st_mode)) == (size, 0o600)
    assert rows_in(copy) == rows_in(path)


async def test_a_backup_beside_a_daemon_holds_every_commit_made_before_it(path: Path, tmp_path: Path) -> None:
    store = open_store(path, clock=StillClock())
    state = await store.enrol(a_project().identity, "prod")
    copies = []
    for number in range(1, 4):
        event = an_event(f"tw_{number}", subject=f"job-{number}")
        await store.commit(
            a_record(state, events=[routed(event, "hook")], revision=state.revision + number - 1)
        )
        copies.append(tmp_path / f"{number}.db")
        await asyncio.to_thread(backup, path, copies[-1])
    await store.close()

    assert [rows_in(copy) for copy in copies] == [["tw_1"], ["tw_1", "tw_2"], ["tw_1", "tw_2", "tw_3"]]


@pytest.mark.parametrize("has_marker", [True, False])
async def test_a_daemon_goes_on_from_a_backup_that_was_copied_back(
    has_marker: bool,  # noqa: FBT001
    path: Path,
    tmp_path: Path,
) -> None:
    store = open_store(path, clock=StillClock())
    state = await store.enrol(a_project().identity, "prod")
    await store.commit(a_record(state, tasks=[a_known()], events=[routed(an_event(), "hook")]))
    await asyncio.to_thread(backup, path, tmp_path / "copy.db")
    await store.close()
    for suffix in ("", "-wal", "-shm", *(() if has_marker else (".id",))):
        sibling(path, suffix).unlink(missing_ok=True)

    path.write_bytes((tmp_path / "copy.db").read_bytes())
    restored = open_store(path, clock=StillClock())
    assert (await restored.enrol(a_project().identity, "prod")).revision == 1
    await restored.close()

    found = inspect(path, kept_since=T0)
    assert (found.is_marked, found.counts["pending"], found.gaps) == (True, 1, ())


async def test_a_file_that_is_there_is_never_overwritten(path: Path, tmp_path: Path) -> None:
    await made(path)
    (tmp_path / "there").write_text("precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    before = names(path)

    for target in (
        tmp_path / "there", tmp_path / "dangling", tmp_path, tmp_path / "no" / "such", path,
        *(sibling(path, suffix) for suffix in ("-wal", "-shm", "-journal", ".id", ".lock", ".new")),
    ):  # fmt: skip
        with pytest.raises(StoreFailedError):
            backup(path, target)

    assert names(path) == before
    assert (tmp_path / "there").read_text() == "precious"


async def test_the_store_is_known_by_any_name(path: Path, tmp_path: Path) -> None:
    await made(path)
    (tmp_path / "link").symlink_to(tmp_path)

    with pytest.raises(StoreFailedError, match="belongs to the store itself"):
        backup(path, tmp_path / "link" / "taskwatch.db-wal")


async def test_a_full_disk_leaves_nothing_of_a_backup(path: Path, tmp_path: Path) -> None:
    await made(path)

    with faulty_disk() as disk:
        for number in range(1, 6):
            disk.fail_at(number, full)
            with pytest.raises(StoreFailedError):
                backup(path, tmp_path / "copy.db")

    assert [name for name in names(path) if "copy" in name] == []


async def test_a_file_that_appears_while_the_copy_is_made_is_not_overwritten(
    path: Path, tmp_path: Path
) -> None:
    await made(path)
    target = tmp_path / "copy.db"

    with faulty_disk() as disk:
        disk.fault = lambda step, number: None if target.exists() else target.touch()
        with pytest.raises(StoreFailedError, match="is there already"):
            backup(path, target)

    assert target.read_bytes() == b""


async def test_a_damaged_store_gives_no_backup(path: Path, tmp_path: Path) -> None:
    await made(path)
    spoil(path)

    with pytest.raises(StoreUnusableError, match="damaged"):
        backup(path, tmp_path / "copy.db")

    assert "copy.db" not in names(path)


async def test_a_store_of_an_older_version_can_be_backed_up_and_checked_before_the_upgrade(
    path: Path, tmp_path: Path
) -> None:
    for name in ("taskwatch.db", "taskwatch.db.id"):
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes())

    backup(path, tmp_path / "copy.db")
    found = inspect(tmp_path / "copy.db", kept_since=T0)

    assert (found.version, found.gaps) == (1, ())
    assert found.newest > 1


def spoil(path: Path) -> None:
    """Overwrite the middle of a whole store's pages."""
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * 4096 * 4)


# Check


async def test_a_sound_store_has_no_gap_and_says_what_it_holds(path: Path) -> None:
    await made(path)

    found = inspect(path, kept_since=T0)

    assert found.gaps == ()
    assert found.is_marked
    assert found.identity == sibling(path, ".id").read_text().strip()
    assert found.counts == {
        "projects": 1, "tasks": 1, "open tasks": 0, "events": 4, "deliveries": 4, "pending": 4, "dead": 0,
    }  # fmt: skip


GAPS: Final = {
    "an event is missing": ("DELETE FROM events WHERE sequence = 2", "after event 1 comes 3"),
    "the last is missing": (
        "DELETE FROM events WHERE sequence = 4",
        "the last event is 3, and 4 are counted",
    ),
    "one too many": ("UPDATE tasks SET sequence = 3", "the last event is 4, and 3 are counted"),
    "the task is gone": ("DELETE FROM tasks", "the last event is 4, and 0 are counted"),
    "twice": ("UPDATE events SET sequence = 1 WHERE sequence = 2", "after event 1 comes 1"),
    "another way": (
        """UPDATE events SET body = CAST(replace(CAST(body AS TEXT), '"from":"Failed"', '"from":"Pending"') AS BLOB)""",
        "after revision 2, Failed, comes 3, from Pending",
    ),
    "a revision twice": (
        """UPDATE events SET body = CAST(replace(CAST(body AS TEXT), '"revision":3', '"revision":2') AS BLOB)""",
        "after revision 2, Failed, comes 2, from Failed",
    ),
}


@pytest.mark.parametrize(("statement", "told"), GAPS.values(), ids=GAPS.keys())
async def test_a_gap_in_a_chain_is_found_and_named(statement: str, told: str, path: Path) -> None:
    await made(path)
    edit(path, "DELETE FROM deliveries; DELETE FROM hearers; DELETE FROM alerts")
    edit(path, statement)

    gaps = inspect(path, kept_since=T0).gaps

    assert f"prod/job-1: {told}" in gaps


async def test_what_retention_took_behind_an_event_that_waits_is_no_gap(path: Path) -> None:
    await made(path)
    edit(
        path,
        "DELETE FROM deliveries; DELETE FROM hearers; DELETE FROM alerts; DELETE FROM events WHERE sequence IN (2, 4)",
    )

    assert inspect(path, kept_since=T0).gaps != ()
    assert inspect(path, kept_since=T0 + timedelta(hours=3.5)).gaps == ()


async def test_events_that_retention_took_from_the_front_are_no_gap(path: Path) -> None:
    await made(path)
    edit(
        path,
        "DELETE FROM deliveries; DELETE FROM hearers; DELETE FROM alerts; DELETE FROM events WHERE sequence < 3",
    )

    assert inspect(path, kept_since=T0).gaps == ()


async def test_what_makes_a_store_unusable_is_told_as_that(path: Path) -> None:
    await made(path)
    edit(path, "PRAGMA foreign_keys = off; DELETE FROM events WHERE sequence = 1")
    with pytest.raises(StoreUnusableError, match="of deliveries speaks of a row of events that is not there"):
        inspect(path, kept_since=T0)

    sibling(path, ".id").write_text("another\n")
    edit(path, "DELETE FROM deliveries; DELETE FROM hearers; DELETE FROM alerts")
    with pytest.raises(StoreUnusableError, match="another store than"):
        inspect(path, kept_since=T0)


async def test_damaged_pages_are_found(path: Path) -> None:
    await made(path)
    spoil(path)

    with pytest.raises(StoreUnusableError, match="damaged"):
        inspect(path, kept_since=T0)


async def test_a_check_beside_a_daemon_changes_nothing_and_sees_its_commits(path: Path) -> None:
    store = open_store(path, clock=StillClock())
    state = await store.enrol(a_project().identity, "prod")
    await store.commit(a_record(state, events=[routed(an_event(), "hook")]))

    found = await asyncio.to_thread(inspect, path, kept_since=T0 + timedelta(days=1))

    assert found.counts["events"] == 1
    await store.close()


# A new store after a loss


def lost(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwritten(path: Path) -> None:
    path.write_bytes(os.urandom(10_000))


def exchanged(path: Path) -> None:
    sibling(path, ".id").write_text("0123\n")


LOSSES: Final = (lost, emptied, cut, overwritten, spoil, exchanged)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
async def test_what_is_left_is_put_aside_and_a_new_store_made(
    loss: Callable[[Path], None], path: Path
) -> None:
    await made(path)
    old = sibling(path, ".id").read_text()
    loss(path)
    left = {
        file.name: file.read_bytes()
        for file in path.parent.iterdir()
        if not file.name.endswith((".lock", ".reserve"))
    }

    renewal = begin_anew(path, by=ANNA, at=T0)

    assert renewal.identity not in (old.strip(), "")
    assert sibling(path, ".id").read_text() == renewal.identity + "\n"
    aside = {old: (path.parent / new).read_bytes() for old, new in renewal.moved.items()}
    assert {name: aside[name] for name in left} == left
    assert all(new.startswith("taskwatch.db.lost-20261123T100000Z") for new in renewal.moved.values())
    store = open_store(path, clock=StillClock())
    assert (await store.enrol(a_project().identity, "prod")).baseline_at is None
    await store.close()


async def test_the_new_store_knows_who_made_it(path: Path) -> None:
    await made(path)
    path.unlink()

    renewal = begin_anew(path, by=ANNA, at=T0)

    store = open_store(path, clock=StillClock())
    (operation,) = await store.unlogged_operations()
    await store.close()
    assert (operation.action, operation.by, operation.at) == ("state_init", ANNA, T0)
    assert operation.outcome == {"id": renewal.identity, "moved": renewal.moved}


async def test_what_was_put_aside_is_still_a_store_under_its_new_name(path: Path) -> None:
    await made(path)
    sibling(path, ".id").write_text("another\n")

    moved = begin_anew(path, by=ANNA, at=T0).moved

    assert rows_in(path.parent / moved["taskwatch.db"]) == [event.id for event in chain()]


async def test_a_store_that_can_be_used_is_not_put_aside(path: Path) -> None:
    await made(path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix in (".db", ".id")}

    with pytest.raises(StoreFailedError, match="is whole, and nothing was moved") as caught:
        begin_anew(path, by=ANNA, at=T0)
    assert caught.value.exit_code == 1
    sibling(path, ".id").write_text("")
    with pytest.raises(StoreFailedError, match="id alone is empty: move that away"):
        begin_anew(path, by=ANNA, at=T0)
    sibling(path, ".id").unlink()
    with pytest.raises(StoreFailedError, match="is whole"):
        begin_anew(path, by=ANNA, at=T0)

    assert path.read_bytes() == before["taskwatch.db"]


async def test_a_store_of_a_newer_taskwatch_is_not_put_aside(path: Path) -> None:
    await made(path)
    edit(path, "PRAGMA user_version = 999")

    with pytest.raises(StoreUnusableError, match="run the newer taskwatch"):
        begin_anew(path, by=ANNA, at=T0)


def test_a_file_that_nothing_calls_a_store_is_not_put_aside(path: Path) -> None:
    path.write_text("the accounts of ten years")

    with pytest.raises(StoreUnusableError, match="nothing says that"):
        begin_anew(path, by=ANNA, at=T0)

    assert path.read_text() == "the accounts of ten years"


async def test_while_a_daemon_holds_the_store_nothing_is_moved(path: Path) -> None:
    await made(path)
    path.unlink()
    lock = acquire(path, since=T0)

    with pytest.raises(StoreHeldError):
        begin_anew(path, by=ANNA, at=T0)
    lock.release()

    assert names(path) == ["taskwatch.db.id", "taskwatch.db.lock", "taskwatch.db.reserve"]


async def test_nothing_that_was_put_aside_is_overwritten(path: Path) -> None:
    await made(path)
    path.unlink()
    begin_anew(path, by=ANNA, at=T0)
    path.unlink()
    before = names(path)

    with pytest.raises(StoreFailedError, match="is there already; nothing was moved"):
        begin_anew(path, by=ANNA, at=T0)

    assert names(path) == before


def test_where_nothing_was_there_is_nothing_to_move(path: Path) -> None:
    assert begin_anew(path, by=ANNA, at=T0).moved == {}
    assert inspect(path, kept_since=T0).is_marked


# The commands


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (path.parent / "taskwatch.yaml").write_text(CONFIGURATION)
    asyncio.run(made(path))
    return runner(monkeypatch, capsys, path.parent)


def test_check_says_a_few_lines_and_reads_no_secret(run: Run, path: Path) -> None:
    ended = run("state", "check")
    told: dict[str, Any] = json.loads(run("state", "check", "--json").out)

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{path}: sound")
    assert "1 project, 1 task (0 open), 4 events" in ended.out
    assert (told["events"], told["held"], told["gaps"]) == (4, False, [])


def test_check_ends_with_1_for_a_gap_and_78_for_damage(run: Run, path: Path) -> None:
    edit(
        path, "DELETE FROM deliveries; DELETE FROM hearers; DELETE FROM alerts; UPDATE tasks SET sequence = 3"
    )
    gap = run("state", "check")
    spoil(path)
    damage = run("state", "check")

    assert (gap.code, gap.err) == (1, "gap: prod/job-1: the last event is 4, and 3 are counted\n")
    assert (damage.code, damage.out) == (78, "")
    assert "restore it from a backup, or begin anew with `taskwatch state init`" in damage.err


def test_backup_and_init_say_what_they_did(run: Run, path: Path) -> None:
    copied = run("state", "backup", "copy.db")
    again = run("state", "backup", "copy.db")
    whole = run("state", "init")
    path.unlink()
    renewed = run("state", "init")

    assert (copied.code, copied.err) == (0, "")
    assert (again.code, again.out, again.err.count("\n")) == (1, "", 1)
    assert (whole.code, whole.out, whole.err.count("\n")) == (1, "", 1)
    assert renewed.code == 0
    assert "moved taskwatch.db.id to taskwatch.db.lost-" in renewed.out
    assert "new baseline" in renewed.out
    (line,) = renewed.err.splitlines()
    assert "state_init" in line
    assert f"uid {os.getuid()}" in line
