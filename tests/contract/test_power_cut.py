"""The power is cut while the store is written: what was answered is there, and nothing of it is torn."""

import random
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from taskwatch.errors import StoreUnusableError
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import open_store
from tests.fakes.powered_disk import Answered, Entry, Sync, Write, after_a_cut, powered_disk
from tests.fakes.records import StillClock
from tests.fakes.store_victim import commit_next

pytestmark = pytest.mark.timeout(180)

COMMITS: Final = 220  # enough for SQLite to move its log into the store
CUTS: Final = 120


async def recorded(path: Path) -> tuple[dict[str, bytes], list[Entry]]:
    """Return the files of a new store, and all that was then written to it."""
    store = open_store(path, clock=StillClock())
    await store.close()
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with powered_disk() as disk:
        store = open_store(path, clock=StillClock())
        for _ in range(COMMITS):
            commits = await commit_next(store) + 1
            disk.journal.append(Answered(commits))
        await store.close()
        return files, disk.journal


async def held_by(path: Path) -> int:
    """Open the store as the next daemon does; return how many commits it holds, each of them whole."""
    store = open_store(path, clock=StillClock())
    await store.close()
    with StoreReader(path) as reader:
        tasks = {row.task.job_id for row in reader.tasks(limit=-1)}
        events = {row.subject for row in reader.events(limit=-1)}
        deliveries = Counter(row.subject for row in reader.deliveries(limit=-1))
    assert tasks == events == {f"job-{number}" for number in range(len(events))}
    assert deliveries == dict.fromkeys(events, 2)
    return len(events)


async def test_whenever_the_power_is_cut_what_was_answered_is_there_and_whole(tmp_path: Path) -> None:
    files, journal = await recorded(tmp_path / "first" / "taskwatch.db")
    assert any(isinstance(entry, Write) and entry.file == "taskwatch.db" for entry in journal[:-20])
    rng = random.Random(20_261_124)
    syncs = [number for number, entry in enumerate(journal) if isinstance(entry, Sync)]
    around = [number + rng.choice([0, 1]) for number in rng.choices(syncs, k=CUTS // 2)]
    for cut in (*around, *(rng.randrange(len(journal)) for _ in range(CUTS // 2))):
        place = tmp_path / f"cut at {cut}"
        place.mkdir(exist_ok=True)
        for name, content in after_a_cut(files, journal[:cut], rng).items():
            if not name.endswith("-shm"):  # it is memory
                (place / name).write_bytes(content)
        answered = max((entry.commits for entry in journal[:cut] if isinstance(entry, Answered)), default=0)
        held = await held_by(place / "taskwatch.db")
        assert answered <= held <= answered + 1, f"cut at {cut} of {len(journal)}"


async def test_a_disk_that_forgets_what_it_synced_is_noticed_by_this_test(tmp_path: Path) -> None:
    files, journal = await recorded(tmp_path / "first" / "taskwatch.db")
    lying = [entry for entry in journal if not isinstance(entry, Sync)]
    place = tmp_path / "cut"
    place.mkdir()
    for name, content in after_a_cut(files, lying, random.Random(1)).items():
        (place / name).write_bytes(content)
    try:
        held = await held_by(place / "taskwatch.db")
    except StoreUnusableError:
        return
    assert held < COMMITS
