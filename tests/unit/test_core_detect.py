from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations

import pytest

from taskwatch.core.detect import CONFIRMATIONS, BaselinePolicy, Change, detect, first_listing, lost
from taskwatch.model.event import Loss, Transition
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING, Instance, Known, Task
from tests.fakes.builders import CREATED, T0, a_known, a_line, a_task, at

LINE = a_line()


def the_change(known: Known | None, *rows: Task) -> Change:
    remembered = {} if known is None else {known.task.job_id: known}
    (change,) = detect(remembered, rows, LINE)
    return change


def told(changes: Sequence[Change]) -> list[tuple[str | None, str, int]]:
    moves = (change.told for change in changes)
    return [
        (move.from_status, move.to_status, move.revision) for move in moves if isinstance(move, Transition)
    ]


def replay(known: Known | None, *polls: Task) -> tuple[Known, list[tuple[str | None, str, int]]]:
    """Feed one row per poll, remember as the store would, and return what is known and was told."""
    chain: list[tuple[str | None, str, int]] = []
    for row in polls:
        changes = detect({} if known is None else {row.job_id: known}, [row], LINE)
        chain += told(changes)
        known = changes[0].known if changes else known
    assert known is not None
    return known, chain


@pytest.mark.parametrize("status", [PENDING, RUNNING, COMPLETED, FAILED, CANCELED, "Freezing"])
def test_a_task_never_seen_before_is_told_from_nothing(status: str) -> None:
    change = the_change(None, a_task(status=status))
    assert told([change]) == [(None, status, 1)]
    assert change.known == Known(task=a_task(status=status), revision=1, sequence=0)


@pytest.mark.parametrize("ending", [COMPLETED, FAILED, CANCELED])
def test_the_end_of_a_running_task_is_the_next_revision(ending: str) -> None:
    change = the_change(a_known(a_task(status=RUNNING), revision=4), a_task(status=ending))
    assert told([change]) == [(RUNNING, ending, 5)]
    assert change.known.task == a_task(status=ending)


def test_pending_to_running_is_told() -> None:
    assert told([the_change(a_known(a_task(status=PENDING)), a_task(status=RUNNING))]) == [
        (PENDING, RUNNING, 2)
    ]


def test_an_unknown_status_is_told_and_does_not_end_a_task() -> None:
    known, chain = replay(a_known(a_task()), a_task(status="Freezing"), a_task(status=FAILED))
    assert chain == [(RUNNING, "Freezing", 2), ("Freezing", FAILED, 3)]
    assert known.revision == 3


def test_the_same_row_again_changes_nothing() -> None:
    assert detect({"job-1": a_known(a_task())}, [a_task()], LINE) == ()


@pytest.mark.parametrize("row", [a_task(progress=60), a_task(fail_reason="slow"), a_task(name="Renamed")])
def test_a_row_of_the_same_status_is_remembered_and_not_told(row: Task) -> None:
    change = the_change(a_known(a_task(progress=10), revision=2, sequence=5), row)
    assert change.told is None
    assert change.known == Known(task=row, revision=2, sequence=5)


def test_what_a_row_does_not_say_about_what_the_task_is_stays_as_it_was_known() -> None:
    bare = Task(
        job_id="job-1", name="", status=FAILED, fail_reason="disk", instance=Instance(status="normal")
    )
    task = the_change(a_known(a_task()), bare).known.task
    assert task == replace(
        a_task(status=FAILED, fail_reason="disk"),
        instance=replace(a_task().instance, status="normal"),
        ended_at=None,
    )


def test_nothing_is_concluded_from_a_row_that_is_absent() -> None:
    assert detect({"job-1": a_known(a_task())}, [], LINE) == ()


def test_ended_at_alone_does_not_end_a_task() -> None:
    change = the_change(a_known(a_task(status=RUNNING)), a_task(status=RUNNING, ended_at=at(90)))
    assert change.told is None


class TestAStepBackwards:
    def test_is_held_until_it_was_read_in_three_distinct_polls(self) -> None:
        known = a_known(a_task(status=FAILED), revision=2)
        back = a_task(status=RUNNING)
        for count in range(1, CONFIRMATIONS):
            known, chain = replay(known, back)
            assert chain == []
            assert known == a_known(
                a_task(status=FAILED), revision=2, pending_status=RUNNING, pending_count=count
            )
        known, chain = replay(known, back)
        assert chain == [(FAILED, RUNNING, 3)]
        assert known == a_known(back, revision=3)

    def test_three_times_in_one_listing_counts_once(self) -> None:
        change = the_change(
            a_known(a_task(status=FAILED)),
            *(a_task(status=RUNNING, progress=percent) for percent in (1, 2, 3)),
        )
        assert change.told is None
        assert change.known.pending_count == 1

    def test_is_forgotten_when_the_task_is_read_as_it_was(self) -> None:
        ended, back = a_task(status=FAILED), a_task(status=RUNNING)
        known, chain = replay(a_known(ended), back, back, ended, back, back)
        assert chain == []
        assert known.pending_count == 2

    def test_is_forgotten_when_the_task_moves_forward(self) -> None:
        back = a_task(status=PENDING)
        known, chain = replay(a_known(a_task()), back, back, a_task(status=COMPLETED))
        assert chain == [(RUNNING, COMPLETED, 2)]
        assert (known.pending_status, known.pending_count) == (None, 0)

    def test_to_another_status_starts_counting_anew(self) -> None:
        running, pending = a_task(status=RUNNING), a_task(status=PENDING)
        known, chain = replay(a_known(a_task(status=FAILED)), running, running, pending, pending)
        assert chain == []
        assert (known.pending_status, known.pending_count) == (PENDING, 2)

    def test_from_running_to_pending_is_one_too(self) -> None:
        assert the_change(a_known(a_task()), a_task(status=PENDING)).told is None

    def test_from_an_end_to_an_unknown_status_is_one_too(self) -> None:
        change = the_change(a_known(a_task(status=COMPLETED)), a_task(status="Freezing"))
        assert change.known.pending_status == "Freezing"

    def test_and_the_way_forward_again_are_new_revisions(self) -> None:
        back = a_task(status=RUNNING)
        again = a_task(status=FAILED, ended_at=at(120))
        known, chain = replay(a_known(a_task()), a_task(status=FAILED), back, back, back, again)
        assert chain == [(RUNNING, FAILED, 2), (FAILED, RUNNING, 3), (RUNNING, FAILED, 4)]
        assert known.task == again

    def test_to_an_earlier_end_is_held_as_well(self) -> None:
        now, earlier = a_task(status=FAILED, ended_at=at(60)), a_task(status=COMPLETED, ended_at=at(30))
        known, chain = replay(a_known(now), earlier, earlier)
        assert chain == []
        _, chain = replay(known, earlier)
        assert chain == [(FAILED, COMPLETED, 2)]

    @pytest.mark.parametrize("ended_at", [at(60), None])
    def test_to_another_end_that_says_not_when_is_held_as_well(self, ended_at: datetime | None) -> None:
        now, other = a_task(status=COMPLETED, ended_at=ended_at), a_task(status=FAILED, ended_at=None)
        known, chain = replay(a_known(now), other, other)
        assert chain == []
        _, chain = replay(known, other)
        assert chain == [(COMPLETED, FAILED, 2)]

    def test_to_an_earlier_end_of_the_same_status_is_confirmed_in_silence(self) -> None:
        now, earlier = a_task(status=FAILED, ended_at=at(60)), a_task(status=FAILED, ended_at=at(30))
        known, chain = replay(a_known(now), earlier, earlier, earlier)
        assert chain == []
        assert known == a_known(earlier)


@pytest.mark.parametrize("ended_at", [at(60), None])
def test_a_later_end_of_another_kind_is_told_at_once(ended_at: datetime | None) -> None:
    now, later = a_task(status=FAILED, ended_at=ended_at), a_task(status=COMPLETED, ended_at=at(90))
    assert told([the_change(a_known(now), later)]) == [(FAILED, COMPLETED, 2)]


def test_the_same_end_that_says_not_when_is_remembered_at_once_and_not_told() -> None:
    now, row = a_task(status=FAILED, ended_at=None), a_task(status=FAILED, ended_at=None, fail_reason="full")
    assert the_change(a_known(now), row) == Change(known=a_known(row))


@pytest.mark.parametrize(
    "order",
    list(permutations([a_task(status=PENDING), a_task(), a_task(status=FAILED), a_task(progress=70)])),
)
def test_of_duplicates_in_one_listing_the_one_furthest_ahead_counts(order: Sequence[Task]) -> None:
    change = the_change(a_known(a_task()), *order)
    assert told([change]) == [(RUNNING, FAILED, 2)]


def test_changes_come_in_the_order_in_which_the_work_began() -> None:
    rows = [a_task("c", created_at=None), a_task("b", created_at=at(2)), a_task("a", created_at=at(2))]
    rows.append(a_task("d", created_at=at(1)))
    assert [change.known.task.job_id for change in detect({}, rows, LINE)] == ["d", "a", "b", "c"]


class TestTheLine:
    """G7: what ended before the baseline is history, even when the first answer left it out."""

    def ended(self, seconds: float, *, created_seconds: float | None = -3600) -> Task:
        created_at = None if created_seconds is None else T0 + timedelta(seconds=created_seconds)
        return a_task(status=FAILED, created_at=created_at, ended_at=T0 + timedelta(seconds=seconds))

    def test_a_new_task_that_ended_before_it_is_silent(self) -> None:
        change = the_change(None, self.ended(-1))
        assert change.told is None
        assert change.known.revision == 1

    def test_a_new_task_that_ended_before_it_counts_its_revisions_from_there(self) -> None:
        silent = the_change(None, self.ended(-1)).known
        later = self.ended(30)
        _, chain = replay(silent, a_task(), a_task(), a_task(), later)
        assert chain == [(FAILED, RUNNING, 2), (RUNNING, FAILED, 3)]

    def test_a_new_task_that_ended_in_its_second_is_told(self) -> None:
        line = a_line(T0.replace(microsecond=900_000))
        assert told(detect({}, [self.ended(0)], line)) == [(None, FAILED, 1)]

    def test_a_new_task_that_ended_after_it_is_told(self) -> None:
        assert told([the_change(None, self.ended(1))]) == [(None, FAILED, 1)]

    def test_a_new_task_that_has_not_ended_is_told_however_old(self) -> None:
        old = a_task(created_at=T0 - timedelta(days=20))
        assert told([the_change(None, old)]) == [(None, RUNNING, 1)]

    @pytest.mark.parametrize(
        "row",
        [
            a_task(status=FAILED, ended_at=None),
            a_task(status=FAILED, created_at=CREATED, ended_at=T0 - timedelta(hours=1)),
            a_task(status=FAILED, created_at=None, ended_at=T0 - timedelta(days=32)),
        ],
        ids=["none", "before its creation", "out of the window"],
    )
    def test_an_end_that_cannot_be_true_is_told(self, row: Task) -> None:
        assert told([the_change(None, row)]) == [(None, FAILED, 1)]

    def test_an_end_within_the_window_needs_no_creation(self) -> None:
        assert the_change(None, self.ended(-86_400, created_seconds=None)).told is None

    def test_policy_all_tells_history_that_turns_up_later(self) -> None:
        line = a_line(policy=BaselinePolicy.ALL)
        assert told(detect({}, [self.ended(-60)], line)) == [(None, FAILED, 1)]


class TestTheBaseline:
    ROWS = (
        a_task("fresh", status=FAILED, created_at=at(-2000), ended_at=at(-60)),
        a_task("at 24 h", status=FAILED, created_at=at(-3000), ended_at=T0 - timedelta(hours=24)),
        a_task("older", status=FAILED, created_at=at(-4000), ended_at=T0 - timedelta(hours=24, seconds=1)),
        a_task("no end", status=FAILED, created_at=at(-5000), ended_at=None),
        a_task("done", status=COMPLETED, created_at=at(-2000), ended_at=at(-60)),
        a_task("running"),
    )

    def told_under(self, policy: BaselinePolicy) -> set[str]:
        changes = first_listing(self.ROWS, a_line(policy=policy))
        assert len(changes) == len(self.ROWS), "all is remembered"
        return {change.known.task.job_id for change in changes if change.told is not None}

    def test_quiet_tells_nothing(self) -> None:
        assert self.told_under(BaselinePolicy.QUIET) == set()

    def test_failed_tells_the_failures_of_the_last_day(self) -> None:
        assert self.told_under(BaselinePolicy.FAILED) == {"fresh", "at 24 h"}

    def test_all_tells_everything(self) -> None:
        assert self.told_under(BaselinePolicy.ALL) == {row.job_id for row in self.ROWS}

    def test_what_it_left_untold_is_revision_one(self) -> None:
        (change,) = first_listing([a_task()], LINE)
        assert change.known == Known(task=a_task(), revision=1, sequence=0)
        assert replay(change.known, a_task(status=FAILED))[1] == [(RUNNING, FAILED, 2)]


class TestALoss:
    def test_of_a_task_that_had_not_ended_is_told_and_keeps_what_was_read_last(self) -> None:
        known = a_known(a_task(status=RUNNING, created_at=at(0)), revision=3, sequence=2)
        change = lost(known, reach=at(0))
        assert change.told == Loss(task=known.task, revision=3, number=1, has_left_window=False)
        assert change.known == a_known(known.task, revision=3, sequence=2, is_gone=True, losses=1)

    def test_of_a_task_older_than_the_list_reaches_back_is_one_by_age(self) -> None:
        change = lost(a_known(a_task(created_at=at(-1))), reach=at(0))
        assert isinstance(change.told, Loss)
        assert change.told.has_left_window

    def test_of_a_task_whose_beginning_is_unknown_is_none_by_age(self) -> None:
        change = lost(a_known(a_task(created_at=None)), reach=at(0))
        assert isinstance(change.told, Loss)
        assert not change.told.has_left_window

    @pytest.mark.parametrize("status", [COMPLETED, FAILED, CANCELED])
    def test_of_a_task_that_had_ended_is_silent(self, status: str) -> None:
        change = lost(a_known(a_task(status=status)), reach=at(0))
        assert change == Change(known=a_known(a_task(status=status), is_gone=True))

    def test_lets_a_step_backwards_be_confirmed_anew(self) -> None:
        known = a_known(a_task(status=FAILED), pending_status=RUNNING, pending_count=2)
        assert lost(known, reach=at(0)).known == a_known(a_task(status=FAILED), is_gone=True)

    def test_that_came_back_as_it_was_is_silent(self) -> None:
        change = the_change(a_known(a_task(), is_gone=True, losses=1), a_task())
        assert change == Change(known=a_known(a_task(), losses=1))

    def test_that_came_back_otherwise_is_the_next_step_of_its_chain(self) -> None:
        change = the_change(a_known(a_task(), revision=2, is_gone=True, losses=1), a_task(status=FAILED))
        assert told([change]) == [(RUNNING, FAILED, 3)]
        assert change.known == a_known(a_task(status=FAILED), revision=3, losses=1)

    def test_that_came_back_with_a_step_backwards_waits_for_confirmation(self) -> None:
        change = the_change(a_known(a_task(status=FAILED), is_gone=True), a_task(status=RUNNING))
        assert change.told is None
        assert change.known == a_known(a_task(status=FAILED), pending_status=RUNNING, pending_count=1)

    def test_is_counted(self) -> None:
        change = lost(a_known(losses=1), reach=at(0))
        assert change.known.losses == 2
