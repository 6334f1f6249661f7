"""Detection, over any history: stale, duplicated, missing and shuffled rows."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from taskwatch.core.detect import CONFIRMATIONS, Change, detect, first_listing
from taskwatch.model.event import Transition
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING, Known, Task
from tests.fakes.builders import a_line, a_task, at

LINE = a_line()

statuses = st.sampled_from([PENDING, RUNNING, COMPLETED, FAILED, CANCELED, "Freezing", "Unauthorized"])
instants = st.none() | st.integers(-50, 50).map(at)
tasks = st.builds(
    a_task,
    st.sampled_from(["a", "b", "c"]),
    statuses,
    progress=st.none() | st.integers(0, 100),
    created_at=instants,
    ended_at=instants,
)
listings = st.lists(tasks, max_size=5)
histories = st.lists(listings, min_size=1, max_size=7)


def applied(known: Mapping[str, Known], changes: Iterable[Change]) -> dict[str, Known]:
    return {**known, **{change.known.task.job_id: change.known for change in changes}}


def remembered(history: Iterable[Iterable[Task]]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for rows in history:
        known = applied(known, detect(known, rows, LINE))
    return known


def transitions(changes: Iterable[Change]) -> list[Transition]:
    return [change.told for change in changes if isinstance(change.told, Transition)]


def was_read(task: Task, rows: Iterable[Task]) -> bool:
    """Tell whether a row says this of it; when it was created may be known from before."""
    return any(replace(row, created_at=row.created_at or task.created_at) == task for row in rows)


@given(histories, listings)
def test_the_same_rows_again_change_nothing_once_nothing_is_pending(
    history: list[list[Task]], rows: list[Task]
) -> None:
    known = remembered(history)
    for _ in range(CONFIRMATIONS):
        known = applied(known, detect(known, rows, LINE))
    assert detect(known, rows, LINE) == ()


@given(histories, listings, st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(
    history: list[list[Task]], rows: list[Task], rng: random.Random
) -> None:
    known = remembered(history)
    shuffled = rng.sample(rows, len(rows))
    assert detect(known, shuffled, LINE) == detect(known, rows, LINE)
    assert first_listing(shuffled, LINE) == first_listing(rows, LINE)


@given(histories, listings)
def test_a_row_read_twice_is_a_row_read_once(history: list[list[Task]], rows: list[Task]) -> None:
    known = remembered(history)
    assert detect(known, [*rows, *rows], LINE) == detect(known, rows, LINE)


@given(histories, listings)
def test_what_is_not_held_is_remembered_as_it_was_read(history: list[list[Task]], rows: list[Task]) -> None:
    known = remembered(history)
    for job_id, now in applied(known, detect(known, rows, LINE)).items():
        if now == known.get(job_id):
            continue
        if now.pending_count:
            assert now.task == known[job_id].task, "a held step leaves the task as it was"
        else:
            assert was_read(now.task, rows)


@given(histories)
@example(
    [
        [a_task("a", FAILED)],
        *[[a_task("a", RUNNING)]] * CONFIRMATIONS,
        [a_task("a", FAILED)],
    ]
)
def test_each_chain_has_no_hole_and_tells_nothing_that_was_not_read(history: list[list[Task]]) -> None:
    known: dict[str, Known] = {}
    last: dict[str, tuple[str | None, int]] = {}
    for rows in history:
        changes = detect(known, rows, LINE)
        for move in transitions(changes):
            assert was_read(move.task, rows)
            assert move.to_status == move.task.status
            status, revision = last.get(move.task.job_id, (None, 0))
            assert (move.from_status, move.revision) == (status, revision + 1)
        known = applied(known, changes)
        last |= {job_id: (item.task.status, item.revision) for job_id, item in known.items()}


@given(histories)
def test_a_chain_never_repeats_a_status(history: list[list[Task]]) -> None:
    known: dict[str, Known] = {}
    for rows in history:
        changes = detect(known, rows, LINE)
        assert all(move.from_status != move.to_status for move in transitions(changes))
        known = applied(known, changes)


@given(histories, listings)
def test_only_tasks_that_were_read_change(history: list[list[Task]], rows: list[Task]) -> None:
    known = remembered(history)
    read = {row.job_id for row in rows}
    changed = [change.known.task.job_id for change in detect(known, rows, LINE)]
    assert set(changed) <= read
    assert len(changed) == len(set(changed))


@given(st.lists(listings, min_size=1, max_size=CONFIRMATIONS - 1), histories)
def test_fewer_readings_than_it_takes_move_no_task_backwards(
    stale: list[list[Task]], history: list[list[Task]]
) -> None:
    ranks = {PENDING: 0, COMPLETED: 2, FAILED: 2, CANCELED: 2}
    known = {
        job_id: Known(task=item.task, revision=item.revision, sequence=item.sequence)
        for job_id, item in remembered(history).items()
    }
    before = {job_id: ranks.get(item.task.status, 1) for job_id, item in known.items()}
    for rows in stale:
        known = applied(known, detect(known, rows, LINE))
    for job_id, rank in before.items():
        assert ranks.get(known[job_id].task.status, 1) >= rank
