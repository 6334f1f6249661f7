# ruff: noqa: ASYNC240 - the loop of these tests has nothing else to do while a file is read
import errno
import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw
import pytest

from taskwatch.errors import StoreFailedError, StoreHeldError, StoreUnusableError
from taskwatch.store.files import sibling
from taskwatch.store.opening import translated
from taskwatch.store.schema import APPLICATION_ID, Migration, load_migrations, migrate
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import T0
from tests.fakes.faulty_disk import Step, faulty_disk, full, io_error
from tests.fakes.records import PROD, StillClock, a_record, an_event, routed

NOBODY: Final = 65_534
NEW_BASELINE: Final = "new baseline"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "taskwatch.db"


def opened(path: Path) -> SqliteStore:
    return open_store(path, clock=StillClock())


async def made(path: Path) -> None:
    """Leave a store with one event, closed in order."""
    store = opened(path)
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, events=[routed(an_event(), "hook")]))
    await store.close()


async def left_unclean(path: Path) -> None:
    """Leave a store as a killed daemon does: the log is hot, nothing was said at the end."""
    living = path.with_name("living.db")
    store = opened(living)
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, events=[routed(an_event(), "hook")]))
    for suffix in ("", "-wal", "-shm", ".id"):
        sibling(path, suffix).write_bytes(sibling(living, suffix).read_bytes())
    await store.close()


async def events_in(path: Path) -> int:
    store = opened(path)
    found = await store.pending("hook", after=0, limit=10)  # type: ignore[arg-type]  # an id below all
    await store.close()
    return len(found)


@contextmanager
def unusable(*words: str) -> Iterator[None]:
    with pytest.raises(StoreUnusableError) as caught:
        yield
    text = str(caught.value)
    assert "\n" not in text
    assert [word for word in words if word not in text] == []


@contextmanager
def edited(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    yield connection
    connection.close()


# The first run


async def test_a_first_run_makes_the_store_and_its_directory_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deep" / "taskwatch.db"
    store = opened(path)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        (f"taskwatch.db{end}" for end in ("", "-wal", "-shm", ".id", ".lock", ".reserve")), 0o600
    )
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.close()


async def test_a_store_is_durable_and_strict_from_its_first_commit(path: Path) -> None:
    store = opened(path)
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,  # full
        "foreign_keys": 1,
        "trusted_schema": 0,
        "auto_vacuum": 2,  # incremental
        "application_id": APPLICATION_ID,
        "user_version": load_migrations()[-1].number,
    }
    found = await store._writer.read(lambda connection: {name: connection.pragma(name) for name in expected})
    assert found == expected
    await store.close()


async def test_the_marker_says_who_the_store_is(path: Path) -> None:
    await made(path)
    with edited(path) as connection:
        identity = connection.execute("SELECT value FROM meta WHERE key = 'id'").get
    assert sibling(path, ".id").read_text().strip() == identity


async def test_a_store_is_opened_again_with_what_it_held(path: Path) -> None:
    await made(path)
    assert await events_in(path) == 1


async def test_a_store_reached_through_a_link_is_the_same_store(path: Path, tmp_path: Path) -> None:
    await made(path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    store = opened(link)
    with pytest.raises(StoreHeldError):
        opened(path)
    await store.close()
    assert not sibling(link, ".lock").exists()


# The lock


async def test_a_held_store_says_by_whom_where_and_since_when(path: Path) -> None:
    store = opened(path)
    with pytest.raises(StoreHeldError) as caught:
        opened(path)
    assert str(caught.value) == (
        f"{path} is held by pid {os.getpid()} on {socket.gethostname()} since 2026-11-23 10:00:00 UTC; "
        "stop it, or point store.path elsewhere"
    )
    assert caught.value.exit_code == 75
    await store.close()


async def test_a_second_opener_takes_nothing_from_the_first(path: Path) -> None:
    store = opened(path)
    for _ in range(2):
        with pytest.raises(StoreHeldError):
            opened(path)
    await store.enrol(PROD, "prod")
    await store.close()


async def test_a_closed_store_is_free_and_its_lock_file_stays(path: Path) -> None:
    await made(path)
    assert json.loads(sibling(path, ".lock").read_text())["pid"] == os.getpid()
    await opened(path).close()


async def test_a_lock_file_that_says_nothing_readable_still_locks(path: Path) -> None:
    store = opened(path)
    sibling(path, ".lock").write_text("{half")
    with pytest.raises(StoreHeldError, match="another process"):
        opened(path)
    await store.close()


def test_a_store_that_cannot_be_opened_is_not_held(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    for _ in range(2):
        with unusable():
            opened(path)


# The marker: a lost store is never taken for a first run


async def test_a_marker_without_its_store_stops_the_start(path: Path) -> None:
    await made(path)
    path.unlink()
    with unusable("taskwatch.db is gone", "backup", "taskwatch state init", NEW_BASELINE):
        opened(path)
    assert not path.exists()


async def test_moving_the_named_files_away_begins_anew(path: Path) -> None:
    await made(path)
    path.unlink()
    sibling(path, ".id").unlink()
    assert await events_in(path) == 0


async def test_a_store_that_is_not_the_marked_one_stops_the_start(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    await made(path)
    await made(other)
    other.replace(path)
    with unusable("another store", "backup", NEW_BASELINE):
        opened(path)


async def test_a_store_without_a_marker_is_taken_up_and_marked(path: Path) -> None:
    await made(path)
    sibling(path, ".id").unlink()
    assert await events_in(path) == 1
    path.unlink()
    with unusable("gone"):
        opened(path)


async def test_the_remains_of_a_deleted_store_are_not_played_into_a_new_one(path: Path) -> None:
    await left_unclean(path)
    path.unlink()
    sibling(path, ".id").unlink()
    with unusable("taskwatch.db-wal", "backup"):
        opened(path)


async def test_an_older_copy_of_the_store_is_taken(path: Path) -> None:
    await made(path)
    backup = path.read_bytes()
    store = opened(path)
    state = await store.enrol(PROD, "prod")
    await store.commit(a_record(state, events=[routed(an_event("tw_2"), "hook")]))
    await store.close()
    path.write_bytes(backup)
    assert await events_in(path) == 1


# Crashes while a store is made; what each leaves is in the comment


@pytest.mark.parametrize("leftover", ["", "-wal", "-shm", "-journal"])
async def test_a_crash_while_the_new_store_is_written_needs_no_operator(path: Path, leftover: str) -> None:
    # taskwatch.db.new, whole or in part, with what SQLite keeps beside it
    sibling(path, ".new" + leftover).write_bytes(b"half a store")
    assert await events_in(path) == 0
    assert not sibling(path, ".new").exists()


@pytest.mark.parametrize("half", [None, "", "0123"])
async def test_a_crash_before_the_marker_needs_no_operator(path: Path, half: str | None) -> None:
    # the store, and no marker or half of one under its other name
    await opened(path).close()
    sibling(path, ".id").unlink()
    if half is not None:
        sibling(path, ".id.new").write_text(half)
    assert await events_in(path) == 0
    assert sibling(path, ".id").exists()


@pytest.mark.parametrize("error", [full, io_error])
async def test_a_disk_that_fails_at_any_step_of_the_first_start_needs_no_operator(
    tmp_path: Path, error: Callable[[], Exception]
) -> None:
    outcomes: list[bool] = []
    reached = True
    while reached:
        path = tmp_path / str(len(outcomes)) / "taskwatch.db"
        with faulty_disk() as disk:
            disk.fail_at(len(outcomes) + 1, error)
            failed = False
            try:
                store = opened(path)
            except StoreFailedError:
                failed = True
                disk.heal()
                store = opened(path)
            reached = disk.steps > len(outcomes)
            disk.heal()
            await store.enrol(PROD, "prod")
            await store.close()
        outcomes.append(failed)
    assert outcomes.count(True) > 5
    assert outcomes[-1] is False


# Damage


def zero(content: bytes) -> bytes:
    return bytes(len(content))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(_: bytes) -> bytes:
    return b""


def flip_magic(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def flip_page_size(content: bytes) -> bytes:
    return content[:16] + b"\xff\xff" + content[18:]


def zero_version(content: bytes) -> bytes:
    return content[:60] + bytes(4) + content[64:]


def zero_application(content: bytes) -> bytes:
    return content[:68] + bytes(4) + content[72:]


def zero_all_but_header(content: bytes) -> bytes:
    return content[:100] + bytes(len(content) - 100)


@pytest.mark.parametrize(
    "harm",
    [zero, cut, empty, flip_magic, flip_page_size, zero_version, zero_application, zero_all_but_header],
)
async def test_a_damaged_store_stops_the_start_and_is_left_as_it_is(
    path: Path, harm: Callable[[bytes], bytes]
) -> None:
    await made(path)
    harmed = harm(path.read_bytes())
    path.write_bytes(harmed)
    for _ in range(2):
        with unusable("backup"):
            opened(path)
    assert path.read_bytes() == harmed


async def test_after_an_unclean_stop_each_page_is_checked(path: Path) -> None:
    await left_unclean(path)
    assert await events_in(path) == 1
    with edited(path) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'").get
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'clean'")
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 + 8 : root * 4096] = b"\xff" * (4096 - 8)
    path.write_bytes(content)
    with unusable("damaged", "backup", NEW_BASELINE):
        opened(path)


@pytest.mark.parametrize("table", ["projects", "tasks", "events", "deliveries", "freshness", "meta"])
async def test_a_store_without_one_of_its_tables_stops_the_start(path: Path, table: str) -> None:
    await made(path)
    with edited(path) as connection:
        connection.execute(f"DROP TABLE {table}")
    with unusable("damaged", table):
        opened(path)


async def test_a_store_that_has_lost_its_id_stops_the_start(path: Path) -> None:
    await made(path)
    with edited(path) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'id'")
    with unusable("damaged", "no id"):
        opened(path)


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    with edited(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with unusable("no store of taskwatch"):
        opened(path)
    assert not sibling(path, ".id").exists()


async def test_a_store_is_marked_clean_only_while_it_is_closed(path: Path) -> None:
    def clean(connection: apsw.Connection) -> object:
        return connection.execute("SELECT value FROM meta WHERE key = 'clean'").get

    store = opened(path)
    assert await store._writer.read(clean) == "0"
    await store.close()
    with edited(path) as connection:
        assert clean(connection) == "1"


# Places that cannot be used


def test_a_path_that_is_a_directory_is_refused(path: Path) -> None:
    path.mkdir()
    with unusable("Is a directory"):
        opened(path)


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with unusable("store.path"):
        opened(tmp_path / "file" / "taskwatch.db")


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Be somebody who may not do everything; yields a directory of theirs."""
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() != 0:
            yield Path(directory)
            return
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(directory)
        finally:
            os.seteuid(0)


def test_a_directory_without_permission_to_write_is_refused() -> None:
    with unprivileged() as directory:
        directory.chmod(0o500)
        with unusable("Permission denied", f"uid {os.geteuid()}", "store.path"):
            opened(directory / "taskwatch.db")
        directory.chmod(0o700)


async def test_a_store_that_may_not_be_written_is_refused() -> None:
    with unprivileged() as directory:
        path = directory / "taskwatch.db"
        await opened(path).close()
        path.chmod(0o400)
        with unusable("Permission denied"):
            opened(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EDQUOT])
def test_what_time_can_mend_does_not_stop_the_daemon_for_good(path: Path, number: int) -> None:
    with pytest.raises(StoreFailedError), translated(path):
        raise OSError(number, os.strerror(number), str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
async def test_what_root_makes_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    store = opened(tmp_path / "sub" / "taskwatch.db")
    await store.enrol(PROD, "prod")
    owners = {file.name: (file.stat().st_uid, file.stat().st_gid) for file in tmp_path.rglob("*")}
    assert len(owners) == 7
    assert set(owners.values()) == {(NOBODY, NOBODY)}
    await store.close()


# Versions


NEWEST = load_migrations()[-1].number
NEXT = Migration(
    number=NEWEST + 1, sql="CREATE TABLE wonders (key TEXT PRIMARY KEY) STRICT; DROP TABLE freshness"
)
BROKEN = Migration(
    number=NEWEST + 2, sql="CREATE TABLE miracles (id INTEGER); INSERT INTO nowhere VALUES (1)"
)


async def test_a_newer_store_is_refused_with_one_line(path: Path) -> None:
    await made(path)
    with edited(path) as connection:
        migrate(connection, path, [*load_migrations(), NEXT])
    before = path.read_bytes()
    with unusable(f"version {NEXT.number}", f"up to {NEWEST}", f"taskwatch.db.before-{NEXT.number}"):
        opened(path)
    assert path.read_bytes() == before


async def test_a_copy_of_a_newer_program_is_named_as_it_is_and_only_where_there_is_one(path: Path) -> None:
    await made(path)
    with edited(path) as connection:
        connection.pragma("user_version", NEWEST + 3)
    with unusable(f"version {NEWEST + 3}", "restore a backup"):
        opened(path)
    sibling(path, f".before-{NEWEST + 3}").touch()  # it made three steps at once
    with unusable(f"the copy taskwatch.db.before-{NEWEST + 3}"):
        opened(path)


async def test_a_migration_leaves_a_copy_that_the_older_program_can_use(path: Path) -> None:
    await made(path)
    with edited(path) as connection:
        migrate(connection, path, [*load_migrations(), NEXT])
        assert connection.pragma("user_version") == NEXT.number
    copy = sibling(path, f".before-{NEXT.number}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    copy.replace(path)
    assert await events_in(path) == 1


async def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    await made(path)
    with edited(path) as connection, pytest.raises(apsw.SQLError):
        migrate(connection, path, [*load_migrations(), NEXT, BROKEN])
    assert await events_in(path) == 1


async def test_a_migration_without_room_for_its_copy_says_so_and_leaves_nothing_behind(path: Path) -> None:
    await made(path)
    with edited(path) as connection, faulty_disk() as disk:
        disk.fail_each(Step.WRITE, full)
        with pytest.raises(
            StoreFailedError, match=r"did not take a copy of the store: make room for \d+ MB there"
        ):
            migrate(connection, path, [*load_migrations(), NEXT])
    assert not list(path.parent.glob("*.new*"))
    assert await events_in(path) == 1


def test_a_new_store_needs_no_copy(path: Path) -> None:
    with edited(path) as connection:
        migrate(connection, path, load_migrations())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in load_migrations()] == list(range(1, len(load_migrations()) + 1))


def test_the_clock_of_the_fixtures_is_the_one_in_the_texts() -> None:
    assert StillClock().now() == T0
