"""What `make soak` remembers, and that it notices growth."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import pytest

from taskwatch import __version__
from taskwatch.model.delivery import Message
from taskwatch.model.event import EventId
from tests.simulation.tally import Tally
from tests.soak.__main__ import Batch, Part, left, read, run
from tests.soak.month import DAYS, GROWTH, SETTLED, Listener, Month, Sample

PART: Final = Part(name="numbers", run=lambda first, count: Tally(runs=count), batch=10, wanted=40)


def batch(first: int, *, version: str | None = None) -> Batch:
    return Batch(
        part="numbers", version=version or __version__, first=first, seconds=1.0, tally=Tally(runs=10)
    )


def numbered(first: int, count: int) -> Tally:
    return Tally(runs=count, attempted=first)


def test_what_this_version_has_done_is_not_done_again() -> None:
    done = [batch(10), batch(30, version="0.0.1"), replace(batch(20), part="others")]
    assert list(left(PART, done)) == [0, 20, 30]


def test_a_record_that_was_cut_off_is_gone_on_with_and_comes_out_short(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    part = replace(PART, run=numbered)
    run(replace(part, wanted=20), record, at_once=1)
    with record.open("a") as file:
        file.write('{"part": "numbers", "ver')
    total = run(part, record, at_once=1)
    assert total == Tally(runs=20, attempted=20 + 30)
    (line,) = read(record)
    assert (line.first, line.tally) == (0, Tally(runs=40, attempted=0 + 10 + 20 + 30))


@pytest.mark.parametrize("grows", ["store", "process"])
def test_what_grows_after_all_has_come_to_rest_is_named(grows: str) -> None:
    before = Sample(day=SETTLED, store_bytes=100, resident_bytes=100)
    more = int(100 * GROWTH) + 1
    sizes = {"store": (more, 100), "process": (100, more)}[grows]
    after = Sample(day=DAYS, store_bytes=sizes[0], resident_bytes=sizes[1])
    growing = replace(before, day=1, store_bytes=1)  # until then it may
    month = Month(seed=1, samples=[growing, before, after], listeners=[])
    (found,) = month.broken
    assert found.startswith(f"the {grows} grows")


def test_a_loss_is_named_and_ends_no_run() -> None:
    listener = Listener(Random(1), statuses={"job-09": "Running"}, sequences={"job-09": 1})
    event = {"type": "taskwatch.task.vanished", "subject": "job-09", "data": {"task": {}, "sequence": 2}}
    asyncio.run(listener.notify(Message(event_id=EventId("tw_1"), body=json.dumps(event).encode())))
    assert listener.broken == ["job-09: taskwatch.task.vanished"]
    assert (listener.attempts, listener.acknowledged) == (1, 1)


def test_a_task_that_leaves_the_list_otherwise_than_it_was_told_is_named() -> None:
    listener = Listener(Random(1), statuses={"job-09": "Running"}, sequences={"job-09": 1})
    listener.forget({"job-09": "Failed", "job-03": "Completed"})
    assert listener.broken == ["job-09: told Running, and it was Failed"]
    assert listener.statuses == {}
