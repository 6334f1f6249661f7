# ruff: noqa: ASYNC240 - the loop of these tests has nothing else to do while a file is read

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import apsw
import pytest

from taskwatch.engine.ports import Bound
from taskwatch.errors import StoreFailedError, StoreUnusableError
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, Reason, Retry
from taskwatch.model.event import EventId, EventType
from taskwatch.model.project import Identity
from taskwatch.model.task import Instance
from taskwatch.store import beside
from taskwatch.store.files import sibling
from taskwatch.store.glance import ReadOnlyLedger
from taskwatch.store.reader import StoreReader
from taskwatch.store.schema import Migration, load_migrations, migrate
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import T0, a_known, a_task, at
from tests.fakes.records import PROD, StillClock, a_record, an_event, routed

TEST: Final = Identity(service="gaussdb", host="gaussdb.example", project_id="cafe")
NOBODY: Final = 65_534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "taskwatch.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """Two projects, four tasks, four events, five deliveries; the daemon runs."""
    store = open_store(path, clock=StillClock(at(30)))
    await fill(store)
    yield store
    await store.close()


async def fill(store: SqliteStore) -> None:
    prod = await store.enrol(PROD, "prod")
    test = await store.enrol(TEST, "test")
    db_2 = Instance(id="in-2", name="db-2", status="normal")
    tasks = [
        a_known(a_task("a", "Running", name="BackupSnapshot", created_at=at(1))),
        a_known(a_task("b", "Failed", name="RestoreGaussDB", created_at=at(3), instance=db_2), revision=2),
        a_known(a_task("c", "Completed", name="BackupSnapshot", created_at=at(2))),
    ]
    events = [
        routed(an_event("tw_a", subject="a", time=at(1)), "hook"),
        routed(an_event("tw_b", subject="b", type_=EventType.TASK_FAILED, time=at(2)), "hook", "mail"),
        routed(an_event("tw_c", subject="c", type_=EventType.TASK_COMPLETED, time=at(3)), "hook"),
    ]
    await store.commit(a_record(prod, tasks=tasks, events=events, baseline_at=T0, observed_at=at(3)))
    record = a_record(
        test,
        tasks=[a_known(a_task("d", "Failed", name="Create"))],
        events=[routed(an_event("tw_d", subject="d", type_=EventType.TASK_FAILED, time=at(4)), "hook")],
        observed_at=at(4),
    )
    await store.commit(record)
    delivered, retried, dead, *_ = await store.pending("hook", after=DeliveryId(0), limit=10)
    await store.record(delivered.id, Delivered(), at(5))
    await store.record(
        retried.id, Retry(reason=Reason.TIMEOUT, detail="x" * 9_999, poisoned=1, tried_seconds=2.0), at(6)
    )
    await store.record(
        dead.id,
        Dead(reason=Reason.REJECTED, detail="400", why="poison", poisoned=9, tried_seconds=3.0),
        at(7),
    )
    await store.keep_freshness({prod.key: at(9)})


@pytest.fixture
def reader(store: SqliteStore, path: Path) -> Iterator[StoreReader]:
    with StoreReader(path) as reader:
        yield reader


# What is read


def test_projects_say_how_fresh_they_are_and_what_is_open(reader: StoreReader) -> None:
    test, prod = reader.projects()
    assert (prod.name, prod.identity, prod.baseline_at, prod.observed_at) == ("prod", PROD, T0, at(9))
    assert (prod.tasks, prod.open_tasks) == (3, 1)
    assert (test.name, test.baseline_at, test.observed_at, test.tasks) == ("test", None, at(4), 1)
    assert [row.name for row in reader.projects(project="prod")] == ["prod"]


def test_tasks_come_newest_first_and_whole(reader: StoreReader) -> None:
    rows = reader.tasks(project="prod")
    assert [row.task.job_id for row in rows] == ["b", "c", "a"]
    assert rows[0].task == a_task(
        "b",
        "Failed",
        name="RestoreGaussDB",
        created_at=at(3),
        instance=Instance(id="in-2", name="db-2", status="normal"),
    )
    assert (rows[0].project, rows[0].revision, rows[0].changed_at) == ("prod", 2, at(30))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"status": "Failed"}, {"b", "d"}),
        ({"status": "failed"}, {"b", "d"}),
        ({"name": "Backup*"}, {"a", "c"}),
        ({"name": "backup*"}, set()),
        ({"instance": "in-2"}, {"b"}),
        ({"instance": "db-2"}, {"b"}),
        ({"job_id": "c"}, {"c"}),
        ({"project": "test", "status": "Failed"}, {"d"}),
        ({"project": "' OR 1=1 --"}, set()),
    ],
)
def test_tasks_are_filtered(reader: StoreReader, filters: dict[str, str], expected: set[str]) -> None:
    assert {row.task.job_id for row in reader.tasks(**filters)} == expected  # type: ignore[arg-type]  # all are text


def test_tasks_are_filtered_by_their_last_change(reader: StoreReader) -> None:
    assert len(reader.tasks(since=at(30))) == 4
    assert reader.tasks(since=at(30) + timedelta(microseconds=1)) == []


def test_events_come_in_the_reverse_order_of_recording_and_whole(reader: StoreReader) -> None:
    rows = reader.events()
    assert [row.id for row in rows] == ["tw_d", "tw_c", "tw_b", "tw_a"]
    row = rows[2]
    assert (row.project, row.subject, row.job_id, row.sequence) == ("prod", "b", "b", 1)
    assert (row.type, row.severity, row.time) == ("taskwatch.task.failed", "info", at(2))
    assert (row.summary, row.body) == ("something happened", b'{"id": "tw_b"}')


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"project": "test"}, {"tw_d"}),
        ({"event_id": "tw_b"}, {"tw_b"}),
        ({"event_type": "task.failed"}, {"tw_b", "tw_d"}),
        ({"event_type": "taskwatch.task.failed"}, {"tw_b", "tw_d"}),
        ({"name": "Backup*"}, {"tw_a", "tw_c"}),
        ({"instance": "db-2"}, {"tw_b"}),
    ],
)
def test_events_are_filtered(reader: StoreReader, filters: dict[str, str], expected: set[str]) -> None:
    assert {row.id for row in reader.events(**filters)} == expected  # type: ignore[arg-type]  # all are text


def test_events_are_filtered_by_their_time(reader: StoreReader) -> None:
    assert [row.id for row in reader.events(since=at(3))] == ["tw_d", "tw_c"]


def test_deliveries_say_what_became_of_each(reader: StoreReader) -> None:
    rows = reader.deliveries(project="prod")
    assert [(row.event_id, row.receiver, row.state, row.attempts) for row in rows] == [
        ("tw_c", "hook", "dead", 1),
        ("tw_b", "mail", "pending", 0),
        ("tw_b", "hook", "pending", 1),
        ("tw_a", "hook", "delivered", 1),
    ]
    dead, untried, retried, delivered = rows
    assert (dead.why, dead.last_reason, dead.last_detail, dead.done_at) == (
        "poison",
        "rejected",
        "400",
        at(7),
    )
    assert (untried.first_attempt_at, untried.last_attempt_at, untried.done_at) == (None, None, None)
    assert (retried.last_reason, retried.last_detail, retried.done_at) == ("timeout", "x" * 500, None)
    assert (delivered.first_attempt_at, delivered.last_attempt_at) == (at(5), at(5))
    assert (delivered.done_at, delivered.path, delivered.time) == (at(5), "route", at(1))


async def test_the_first_attempt_stays_the_first(store: SqliteStore, reader: StoreReader) -> None:
    retried, *_ = await store.pending("hook", after=DeliveryId(0), limit=1)
    await store.record(retried.id, Delivered(), at(60))
    (row,) = reader.deliveries(event_id="tw_b", receiver="hook")
    assert (row.first_attempt_at, row.last_attempt_at, row.attempts) == (at(6), at(60), 2)


async def test_what_was_dropped_while_it_was_sent_stays_dropped(
    store: SqliteStore, reader: StoreReader, path: Path
) -> None:
    sent, *_ = await store.pending("hook", after=DeliveryId(0), limit=1)
    operator = apsw.Connection(str(path))
    operator.execute("UPDATE deliveries SET state = 'dropped' WHERE id = ?", (sent.id,))
    operator.close()
    await store.record(sent.id, Delivered(), at(60))
    assert [row.state for row in reader.deliveries(event_id="tw_b", receiver="hook")] == ["dropped"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"receiver": "mail"}, {"tw_b"}),
        ({"state": "dead"}, {"tw_c"}),
        ({"state": "pending", "receiver": "hook"}, {"tw_b", "tw_d"}),
        ({"event_type": "task.completed"}, {"tw_c"}),
        ({"event_id": "tw_a"}, {"tw_a"}),
    ],
)
def test_deliveries_are_filtered(reader: StoreReader, filters: dict[str, str], expected: set[str]) -> None:
    assert {row.event_id for row in reader.deliveries(**filters)} == expected  # type: ignore[arg-type]  # all are text


def test_deliveries_are_filtered_by_the_time_of_their_event(reader: StoreReader) -> None:
    assert {row.event_id for row in reader.deliveries(since=at(3))} == {"tw_c", "tw_d"}


async def test_what_became_of_an_event_is_told_with_the_attempts_that_failed(
    store: SqliteStore, reader: StoreReader
) -> None:
    sent, *_ = await store.pending("hook", after=DeliveryId(0), limit=1)
    await store.record(
        sent.id, Retry(reason=Reason.NETWORK, detail="reset", poisoned=1, tried_seconds=2.0), at(8)
    )

    hook, mail = reader.told(EventId("tw_b"), people={"mail"})

    assert (hook.delivery, mail.delivery) == tuple(reversed(reader.deliveries(event_id="tw_b")))
    assert [(one.at, one.reason) for one in hook.failed] == [(at(6), "timeout"), (at(8), "network")]
    assert (hook.message, hook.waiting) == (None, None)
    assert mail.failed == ()
    assert mail.waiting is not None
    assert (mail.waiting.since, mail.waiting.last_at, mail.waiting.is_open) == (at(2), None, False)


async def test_attempts_at_a_message_are_those_of_all_that_it_tells(
    store: SqliteStore, reader: StoreReader
) -> None:
    bound = Bound(
        event_id=EventId("tw_m"),
        receiver="mail",
        groups=("",),
        at=at(5),
        body=b"",
        deliveries=(DeliveryId(3),),
    )
    await store.post.bind(bound)
    await store.post.record(
        DeliveryId(1), Retry(reason=Reason.NETWORK, detail="reset", poisoned=1, tried_seconds=2.0), at(8)
    )

    _, mail = reader.told(EventId("tw_b"), people={"mail"})

    assert mail.message is not None
    assert (mail.message.number, mail.message.event_id, mail.message.at) == (1, "tw_m", at(5))
    assert (mail.message.events, mail.message.state, mail.message.attempts) == (1, "pending", 1)
    assert (mail.delivery.attempts, mail.delivery.last_detail, mail.delivery.last_attempt_at) == (
        1,
        "reset",
        at(8),
    )
    assert [one.detail for one in mail.failed] == ["reset"]
    assert mail.waiting is None


def test_alerts_are_found_by_the_events_that_opened_them(reader: StoreReader) -> None:
    found = reader.opened_alerts([EventId("tw_b"), EventId("tw_a"), EventId("tw_d")])

    assert [(one.event_id, one.since, one.ended_at) for one in found] == [
        ("tw_b", at(2), None),
        ("tw_d", at(4), None),
    ]


def test_a_limit_keeps_the_newest(reader: StoreReader) -> None:
    assert [row.id for row in reader.events(limit=1)] == ["tw_d"]
    assert [row.task.job_id for row in reader.tasks(limit=1)] == ["b"]
    assert [row.event_id for row in reader.deliveries(limit=1)] == ["tw_d"]
    assert [row.name for row in reader.projects(limit=1)] == ["test"]


# Beside a daemon, and without one


async def test_a_reader_sees_what_a_running_daemon_has_just_committed(
    store: SqliteStore, reader: StoreReader
) -> None:
    await store.enrol(Identity(service="gaussdb", host="h", project_id="new"), "new")
    assert reader.projects()[0].name == "new"


ANOTHER_PROCESS: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(*(name for name, in connection.execute("SELECT name FROM projects ORDER BY id")))
connection.close()
"""


def another_process_reads(path: Path) -> list[str]:
    """Let a program of somebody else open the store, read the names of the projects, and close it."""
    command = [sys.executable, "-c", ANOTHER_PROCESS, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.split()


async def test_a_reader_in_the_daemons_own_process_does_not_let_go_of_its_locks(
    store: SqliteStore, path: Path
) -> None:
    with StoreReader(path) as reader:
        assert len(reader.projects()) == 2
    assert another_process_reads(path) == [
        "prod",
        "test",
    ]  # as the last one to close, it would remove the log
    await store.enrol(Identity(service="gaussdb", host="h", project_id="new"), "new")
    assert another_process_reads(path) == ["prod", "test", "new"]


async def test_a_reader_that_holds_a_long_transaction_stops_no_commit(store: SqliteStore, path: Path) -> None:
    other = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    other.execute("BEGIN")
    before = other.execute("SELECT count(*) FROM events").get
    state = await store.enrol(PROD, "prod")
    for number in range(50):
        body = bytes(100_000)  # more than the log holds before it is carried over
        events = [routed(an_event(f"tw_{number}", subject=f"s{number}", body=body))]
        await store.commit(a_record(state, revision=state.revision + number, events=events))
    assert other.execute("SELECT count(*) FROM events").get == before
    other.execute("COMMIT")
    assert other.execute("SELECT count(*) FROM events").get == before + 50
    other.close()


async def test_a_reader_cannot_write(store: SqliteStore, path: Path) -> None:
    with StoreReader(path) as reader, pytest.raises(apsw.ReadOnlyError):
        reader._connection.execute("DELETE FROM meta")


async def test_a_stopped_daemon_leaves_a_store_that_can_be_read(path: Path) -> None:
    store = open_store(path, clock=StillClock())
    await fill(store)
    await store.close()
    with StoreReader(path) as reader:
        assert len(reader.events()) == 4
    again = open_store(path, clock=StillClock())
    await again.close()


def test_without_a_store_the_reader_says_how_to_get_one(path: Path) -> None:
    with pytest.raises(StoreFailedError) as caught:
        StoreReader(path)
    assert str(caught.value) == f"no store at {path} yet: start taskwatch run once"
    assert list(path.parent.iterdir()) == []


async def test_whoever_looks_elsewhere_is_told_where_the_service_has_its_store(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "SERVICE_STORE", path)
    with pytest.raises(StoreFailedError, match=f"the service's is {path}: name it"):
        StoreReader(path.with_name("elsewhere.db"))


@pytest.mark.parametrize("content", [b"", b"no database" * 1_000])
def test_a_file_that_is_no_store_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreUnusableError):
        StoreReader(path)


async def test_a_newer_store_is_not_read(store: SqliteStore, path: Path) -> None:
    newer = Migration(number=load_migrations()[-1].number + 1, sql="DROP TABLE freshness")
    connection = apsw.Connection(str(path))
    migrate(connection, path, [*load_migrations(), newer])
    connection.close()
    with pytest.raises(StoreUnusableError, match=f"version {newer.number}"):
        StoreReader(path)


@contextmanager
def nobodys_store() -> Iterator[Path]:
    """Somewhere that the tests' user and another one can reach."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "taskwatch.db"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_a_store_of_another_user_says_whom_to_be() -> None:
    with nobodys_store() as path:
        await open_store(path, clock=StillClock()).close()
        path.chmod(0o644)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(StoreFailedError, match=rf"cannot be read by uid {NOBODY}.*run this as uid 0"):
                StoreReader(path)
        finally:
            os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what is not its own")
async def test_a_reader_that_is_root_leaves_nothing_that_locks_the_owner_out(tmp_path: Path) -> None:
    path = tmp_path / "taskwatch.db"
    os.chown(tmp_path, NOBODY, NOBODY)
    await open_store(path, clock=StillClock()).close()
    with StoreReader(path) as reader:
        reader.events()
        assert {file.stat().st_uid for file in tmp_path.iterdir()} == {NOBODY}
    assert {file.stat().st_uid for file in tmp_path.iterdir()} == {NOBODY}


# The ledger of a poll that keeps nothing


async def test_a_read_only_ledger_knows_what_the_store_knows(store: SqliteStore, path: Path) -> None:
    with ReadOnlyLedger(path) as ledger:
        state = await ledger.enrol(PROD, "prod")
        assert state == await store.enrol(PROD, "prod")
        assert await ledger.known(state.key, ["a", "x"]) == await store.known(state.key, ["a", "x"])


async def test_a_read_only_ledger_records_nothing(store: SqliteStore, path: Path) -> None:
    with ReadOnlyLedger(path) as ledger:
        unknown = await ledger.enrol(Identity(service="gaussdb", host="h", project_id="new"), "new")
        assert (unknown.revision, unknown.baseline_at, unknown.open_tasks) == (0, None, frozenset())
        assert await ledger.known(unknown.key, ["a"]) == {}
        with pytest.raises(StoreFailedError):
            await ledger.commit(a_record(unknown))
    with StoreReader(path) as reader:
        assert len(reader.projects()) == 2


async def test_without_a_store_a_read_only_ledger_knows_nothing_and_makes_nothing(path: Path) -> None:
    with ReadOnlyLedger(path) as ledger:
        state = await ledger.enrol(PROD, "prod")
        assert await ledger.known(state.key, ["a"]) == {}
    assert not path.exists()
    assert not sibling(path, ".id").exists()
