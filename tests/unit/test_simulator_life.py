import math
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskwatch.simulator.life import Life
from taskwatch.simulator.work import Task, Transition

BEGAN = datetime(2026, 11, 23, 13, 30, tzinfo=UTC)
PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
DOCUMENTED = {
    "CreateGaussDBV5Instance",
    "BackupSnapshotGaussDBV5InInstance",
    "CloneGaussDBV5NewInstance",
    "RestoreGaussDBV5InInstance",
    "RestoreGaussDBV5InInstanceToExistedInst",
    "DeleteGaussDBV5Instance",
    "EnlargeGaussDBV5Volume",
    "ResizeGaussDBV5Flavor",
    "GaussDBV5ExpandClusterCN",
    "GaussDBV5ExpandClusterDN",
}


def life(seed: int = 1, tasks_per_day: int = 40) -> Life:
    return Life(seed=seed, project_id=PROJECT, began=BEGAN, tasks_per_day=tasks_per_day)


def after(**elapsed: float) -> datetime:
    return BEGAN + timedelta(**elapsed)


def a_year(seed: int) -> list[Transition]:
    return life(seed).transitions(BEGAN, after(days=365))


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    hours=st.lists(st.floats(-48, 24 * 40), min_size=1, max_size=8),
    asked=st.floats(0, 24 * 40),
)
@example(seed=0, hours=[24 * 39, 0.0], asked=1.0)
def test_what_was_asked_before_does_not_change_what_a_moment_shows(
    seed: int, hours: list[float], asked: float
) -> None:
    questioned = life(seed, tasks_per_day=5)
    for hour in hours:
        questioned.tasks(after(hours=hour))
        questioned.transitions(after(hours=hour - 1), after(hours=hour))

    fresh = life(seed, tasks_per_day=5)

    assert questioned.tasks(after(hours=asked)) == fresh.tasks(after(hours=asked))
    assert questioned.transitions(BEGAN, after(hours=asked)) == fresh.transitions(BEGAN, after(hours=asked))


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.floats(0, 24 * 10), max_size=20))
def test_transitions_in_pieces_are_the_transitions_of_the_whole(cuts: list[float]) -> None:
    one = life(3)
    ends = [BEGAN, *(after(hours=cut) for cut in sorted(cuts)), after(days=10)]

    pieces = [one.transitions(since, until) for since, until in pairwise(ends)]

    assert [each for piece in pieces for each in piece] == one.transitions(BEGAN, after(days=10))


def test_another_seed_is_another_life() -> None:
    assert life(1).tasks(BEGAN) != life(2).tasks(BEGAN)


def test_the_listing_is_the_last_thirty_days_newest_first() -> None:
    one = life()
    for now in (BEGAN, after(days=45)):
        created = [task.created_at for task in one.tasks(now)]

        assert created == sorted(created, reverse=True)
        assert all(now - timedelta(days=30) < moment <= now for moment in created)
        assert created[-1] < now - timedelta(days=29)  # there is a history from the first moment on


def test_a_task_leaves_the_window_thirty_days_after_its_creation() -> None:
    one = life()
    oldest = one.tasks(BEGAN)[-1]
    leaves = oldest.created_at + timedelta(days=30)

    assert oldest.job_id in {task.job_id for task in one.tasks(leaves - timedelta(milliseconds=1))}
    assert oldest.job_id not in {task.job_id for task in one.tasks(leaves)}


def test_only_documented_names_occur_and_backups_dominate() -> None:
    names = Counter(task.name for task in life().tasks(BEGAN))

    assert set(names) == DOCUMENTED
    assert names["BackupSnapshotGaussDBV5InInstance"] > names.total() / 2


@pytest.mark.parametrize("seed", range(4))
def test_four_to_eight_percent_fail_and_each_failure_has_a_reason(seed: int) -> None:
    ended = [each for each in a_year(seed) if each.before is not None]
    failed = [each for each in ended if each.after == "Failed"]

    assert 0.03 < len(failed) / len(ended) < 0.09
    assert all(each.fail_reason for each in failed)
    assert not any(each.fail_reason for each in ended if each.after == "Completed")


def test_the_number_of_tasks_a_day_is_about_the_one_asked_for() -> None:
    for wanted in (4, 40, 400):
        started = [
            each for each in life(tasks_per_day=wanted).transitions(BEGAN, after(days=60)) if not each.before
        ]

        assert 0.75 * wanted < len(started) / 60 < 1.25 * wanted


def test_a_project_of_no_tasks_stays_empty() -> None:
    assert life(tasks_per_day=0).tasks(after(days=3)) == []


@pytest.mark.parametrize("seed", range(4))
def test_an_instance_is_created_once_does_one_thing_at_a_time_and_ends_with_its_deletion(seed: int) -> None:
    by_instance: dict[str, list[Task]] = defaultdict(list)
    for task in reversed(life(seed).tasks(BEGAN)):
        by_instance[task.instance_id].append(task)

    for tasks in by_instance.values():
        for earlier, later in pairwise(tasks):
            assert earlier.ended_at is not None
            assert earlier.ended_at < later.created_at
            assert later.name not in {"CreateGaussDBV5Instance", "CloneGaussDBV5NewInstance"}
            assert (earlier.name, earlier.status) != ("DeleteGaussDBV5Instance", "Completed")
    assert len({task.instance_name for tasks in by_instance.values() for task in tasks}) > 3
    assert all(instance_id.endswith("in14") and len(instance_id) == 36 for instance_id in by_instance)


def test_a_running_task_has_growing_progress_or_none_and_an_ended_one_has_none() -> None:
    one = life()
    shown: dict[str, list[int | None]] = defaultdict(list)
    for minute in range(60 * 24):
        now = after(minutes=minute).timestamp()
        for task in (work.seen(now) for work in one.window(now)[:40]):
            if task.status == "Running":
                assert task.ended_at is None
                assert task.fail_reason is None
                shown[task.job_id].append(task.progress)
            else:
                assert task.progress is None
                assert task.ended_at is not None

    told = [progress for progress in shown.values() if progress[0] is not None]
    assert told
    assert len(told) < len(shown)
    assert all(progress == sorted(progress, key=lambda percent: percent or 0) for progress in told)
    assert all(0 <= (percent or 0) < 100 for progress in told for percent in progress)


def test_nothing_changes_before_the_announced_next_change() -> None:
    one = life()
    now = BEGAN.timestamp()
    for _ in range(300):
        change = one.next_change(now)
        assert change > now
        just_before = datetime.fromtimestamp(change, UTC) - timedelta(milliseconds=1)
        if just_before.timestamp() > now:
            assert one.tasks(just_before) == one.tasks(datetime.fromtimestamp(now, UTC))
        now = change


def test_a_provoked_task_appears_at_once_and_ends_as_ordered() -> None:
    one = life()
    work = one.provoke(BEGAN.timestamp(), seconds=20, fail_reason="The disk is on fire.")

    assert one.tasks(BEGAN)[0].status == "Running"
    ended = next(task for task in one.tasks(after(seconds=20)) if task.job_id == work.job_id)
    assert (ended.status, ended.fail_reason) == ("Failed", "The disk is on fire.")
    mine = [each.after for each in one.transitions(BEGAN, after(seconds=21)) if each.job_id == work.job_id]
    assert mine == ["Running", "Failed"]


def test_a_provoked_task_leaves_the_rest_of_the_life_as_it_is() -> None:
    provoked, undisturbed = life(), life()
    work = provoked.provoke(BEGAN.timestamp())

    rest = [task for task in provoked.tasks(after(days=2)) if task.job_id != work.job_id]
    assert rest == undisturbed.tasks(after(days=2))


def test_a_provoked_task_works_on_the_instance_that_was_backed_up_last_or_on_the_named_one() -> None:
    one = life()
    existing = {task.instance_id: task.instance_name for task in one.tasks(BEGAN)}
    now = BEGAN.timestamp()
    named = one.tasks(BEGAN)[-1]

    assert one.provoke(now).instance_id in existing
    assert one.provoke(now, instance_name=named.instance_name).instance_name == named.instance_name
    assert one.provoke(now, name="CreateGaussDBV5Instance").instance_id not in existing


def test_some_days_begin_many_backups_at_once() -> None:
    backups = sorted(
        each.at.timestamp()
        for each in a_year(1)
        if each.before is None and each.name == "BackupSnapshotGaussDBV5InInstance"
    )
    bursts = [first for first, sixth in zip(backups, backups[5:], strict=False) if sixth - first <= 30]

    assert 20 <= len({moment // 86_400 for moment in bursts}) <= 120


@pytest.mark.parametrize("seed", range(2))
def test_some_restores_take_hours_and_show_how_far_they_are(seed: int) -> None:
    one = life(seed)
    for moment in (after(days=day).timestamp() for day in range(0, 360, 30)):
        long = [
            work
            for work in one.window(moment)
            if work.name.startswith("Restore")
            and work.outcome == "Completed"
            and 3 * 3600 <= work.ended - work.created <= 9 * 3600
        ]
        assert long
        halfway = [work.seen(work.created + (work.ended - work.created) / 2) for work in long]
        assert all(task.progress is not None for task in halfway)


@pytest.mark.parametrize("seed", range(2))
def test_by_chance_only_records_of_tasks_that_have_ended_are_deleted(seed: int) -> None:
    one = life(seed)
    gone = one.deletions(BEGAN, after(days=90))

    assert len(gone) > 10
    assert {task.status for _, task in gone} == {"Completed", "Failed"}
    for at, task in gone:
        assert task.job_id in {row.job_id for row in one.tasks(at - timedelta(milliseconds=1))}
        assert task.job_id not in {row.job_id for row in one.tasks(at)}
        assert one.next_change(at.timestamp() - 0.001) <= at.timestamp()


def test_a_deleted_record_takes_nothing_back_that_happened() -> None:
    one = life()
    happened = one.transitions(BEGAN - timedelta(days=2), BEGAN)
    ended = next(task for task in one.tasks(BEGAN) if task.status != "Running")
    one.delete(BEGAN.timestamp(), ended.job_id)

    assert ended.job_id not in {task.job_id for task in one.tasks(BEGAN)}
    assert one.transitions(BEGAN - timedelta(days=2), BEGAN) == happened


def test_a_running_task_whose_record_is_deleted_is_never_said_to_end() -> None:
    one = life()
    work = one.provoke(BEGAN.timestamp(), seconds=20)
    one.delete(after(seconds=10).timestamp(), work.job_id)

    mine = [each.after for each in one.transitions(BEGAN, after(seconds=30)) if each.job_id == work.job_id]
    assert mine == ["Running"]


def test_a_task_without_an_end_runs_until_it_is_told() -> None:
    one = life()
    work = one.provoke(BEGAN.timestamp(), seconds=math.inf, progress=40)
    shown = next(task for task in one.tasks(after(days=20)) if task.job_id == work.job_id)
    assert (shown.status, shown.progress, shown.ended_at) == ("Running", 40, None)

    one.steer(after(days=20).timestamp(), work.job_id, outcome="Failed", fail_reason="Enough.")
    mine = [each for each in one.transitions(BEGAN, after(days=21)) if each.job_id == work.job_id]
    assert [(each.at, each.after, each.fail_reason) for each in mine] == [
        (BEGAN, "Running", None),
        (after(days=20), "Failed", "Enough."),
    ]


def test_what_has_ended_cannot_be_steered_and_what_is_not_listed_neither() -> None:
    one = life()
    ended = next(task for task in one.tasks(BEGAN) if task.status != "Running")

    with pytest.raises(ValueError, match="has ended"):
        one.steer(BEGAN.timestamp(), ended.job_id, progress=5)
    with pytest.raises(KeyError):
        one.delete(BEGAN.timestamp(), "no such task")
