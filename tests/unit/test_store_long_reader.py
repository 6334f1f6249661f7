"""Somebody reads the store for hours, in one transaction: the daemon records all the same, and its log is short again afterwards."""

from contextlib import closing
from pathlib import Path

import apsw

from taskwatch.store.files import sibling
from taskwatch.store.sqlite import open_store
from tests.fakes.records import StillClock
from tests.fakes.store_victim import commit_next


async def test_a_reader_that_holds_a_transaction_holds_nothing_up_and_its_log_is_used_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "taskwatch.db"
    log = sibling(path, "-wal")
    store = open_store(path, clock=StillClock())
    await commit_next(store)
    with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").get == 1
        for _ in range(300):
            await commit_next(store)
        assert reader.execute("SELECT count(*) FROM events").get == 1
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM events").get == 301
    held = log.stat().st_size
    for _ in range(300):
        await commit_next(store)
    assert log.stat().st_size < 1.1 * held
    await store.close()
