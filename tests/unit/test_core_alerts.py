"""What ends an alert, and what does not."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from taskwatch.core.alerts import OpenAlerts, work_of
from taskwatch.core.detect import Change
from taskwatch.model.alert import Alert, Why
from taskwatch.model.event import EventId, EventType, Loss, Transition
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, RUNNING, Instance, Known, Task
from tests.fakes.builders import a_known, a_task, at

BACKUP = "BackupSnapshotGaussDBV5InInstance"
ORDERS = Instance(id="in-1", name="orders")
CREATE = "CreateGaussDBV5Instance"
CLONE = "CloneGaussDBV5NewInstance"
DELETE = "DeleteGaussDBV5Instance"
RESTORE = "RestoreGaussDBV5InInstance"
RESTORE_OTHER = "RestoreGaussDBV5InInstanceToExistedInst"


def work(
    job_id: str,
    status: str,
    *,
    name: str = BACKUP,
    born: int | None = 0,
    instance: Instance = ORDERS,
) -> Task:
    return Task(
        job_id=job_id,
        name=name,
        status=status,
        created_at=None if born is None else at(0) + timedelta(minutes=born),
        instance=instance,
    )


def alert(task: Task, type_: EventType = EventType.TASK_FAILED, event_id: str = "") -> Alert:
    return Alert(event_id=EventId(event_id or f"tw_{task.job_id}"), type=type_, task=task)


def reached(task: Task, *, from_status: str | None = RUNNING) -> Change:
    told = Transition(task=task, from_status=from_status, to_status=task.status, revision=2)
    return Change(known=a_known(task), told=told)


def ends(alerts: list[Alert], change: Change) -> list[tuple[str, Why, str]]:
    return [(end.alert.event_id, end.why, end.by) for end in OpenAlerts(alerts).end(change)]


def test_a_later_task_of_the_same_work_that_completed_resolves_a_failure() -> None:
    failed = alert(work("job-1", FAILED))
    assert ends([failed], reached(work("job-2", COMPLETED, born=5))) == [("tw_job-1", Why.SUCCEEDED, "job-2")]


def test_a_later_task_of_the_same_work_that_failed_supersedes_it() -> None:
    failed = alert(work("job-1", FAILED))
    assert ends([failed], reached(work("job-2", FAILED, born=5))) == [("tw_job-1", Why.SUPERSEDED, "job-2")]


@pytest.mark.parametrize(
    "other",
    [
        work("job-2", COMPLETED, born=-5),  # it began before
        work("job-2", COMPLETED, born=0),  # nobody knows which was first
        work("job-2", COMPLETED, born=None),
        work("job-2", COMPLETED, born=5, name=RESTORE),
        work("job-2", COMPLETED, born=5, instance=Instance(id="in-2", name="orders")),
        work("job-2", COMPLETED, born=5, instance=Instance(name="orders")),
        work("job-2", CANCELED, born=5),
        work("job-2", RUNNING, born=5),
    ],
    ids=lambda task: f"{task.name}-{task.status}-{task.created_at}-{task.instance.id}",
)
def test_what_is_no_later_outcome_of_the_same_work_ends_nothing(other: Task) -> None:
    assert ends([alert(work("job-1", FAILED))], reached(other)) == []


def test_a_failure_whose_beginning_is_unknown_is_ended_by_no_other_task() -> None:
    assert ends([alert(work("job-1", FAILED, born=None))], reached(work("job-2", COMPLETED, born=5))) == []


def test_a_task_that_says_it_was_created_after_its_own_end_ends_no_other() -> None:
    later = replace(work("job-2", COMPLETED, born=60), ended_at=at(0) + timedelta(minutes=5))
    assert ends([alert(work("job-1", FAILED))], reached(later)) == []


def test_two_tasks_without_an_instance_are_not_the_same_work() -> None:
    nowhere = Instance()
    failed = alert(work("job-1", FAILED, instance=nowhere))
    assert ends([failed], reached(work("job-2", COMPLETED, born=5, instance=nowhere))) == []


@pytest.mark.parametrize("name", [CREATE, CLONE])
def test_attempts_at_making_an_instance_have_its_name_in_common_and_not_its_id(name: str) -> None:
    failed = alert(work("job-1", FAILED, name=name, instance=Instance(id="in-1", name="orders")))
    again = work("job-2", COMPLETED, name=name, born=5, instance=Instance(id="in-2", name="orders"))
    assert [why for _, why, _ in ends([failed], reached(again))] == [Why.SUCCEEDED]


@pytest.mark.parametrize("name", ["", None])
def test_instances_without_a_name_are_not_attempts_at_the_same(name: str | None) -> None:
    assert work_of(work("job-1", FAILED, name=CREATE, instance=Instance(id="in-1", name=name))) is None


def test_a_created_instance_is_no_clone_of_that_name() -> None:
    assert work_of(work("job-1", FAILED, name=CREATE)) != work_of(work("job-1", FAILED, name=CLONE))


def test_the_two_restores_in_place_are_the_same_work() -> None:
    failed = alert(work("job-1", FAILED, name=RESTORE))
    other = work("job-2", COMPLETED, name=RESTORE_OTHER, born=5)
    assert [why for _, why, _ in ends([failed], reached(other))] == [Why.SUCCEEDED]


def test_a_task_that_leaves_its_failure_ends_its_alert_itself() -> None:
    change = reached(work("job-1", RUNNING), from_status=FAILED)
    assert ends([alert(work("job-1", FAILED))], change) == [("tw_job-1", Why.RESTARTED, "job-1")]


def test_a_failure_of_which_only_a_detail_changed_stands() -> None:
    assert ends([alert(work("job-1", FAILED))], Change(known=a_known(work("job-1", FAILED)))) == []


def test_a_deleted_instance_needs_no_attention() -> None:
    failed = alert(work("job-1", FAILED, name=CREATE))
    assert ends([failed], reached(work("job-2", COMPLETED, name=DELETE, born=5))) == [
        ("tw_job-1", Why.DELETED, "job-2")
    ]


def test_an_instance_that_could_not_be_deleted_still_does() -> None:
    assert (
        ends([alert(work("job-1", FAILED, name=CREATE))], reached(work("job-2", FAILED, name=DELETE))) == []
    )


def test_a_second_try_to_delete_succeeds_and_all_else_about_the_instance_is_over() -> None:
    alerts = [alert(work("job-1", FAILED, name=DELETE)), alert(work("job-2", FAILED, name=BACKUP))]
    assert ends(alerts, reached(work("job-3", COMPLETED, name=DELETE, born=5))) == [
        ("tw_job-1", Why.SUCCEEDED, "job-3"),
        ("tw_job-2", Why.DELETED, "job-3"),
    ]


@pytest.mark.parametrize("type_", [EventType.TASK_VANISHED, EventType.TASK_LEFT_WINDOW])
def test_what_was_gone_and_is_there_again_has_returned_whatever_its_status(type_: EventType) -> None:
    gone = alert(work("job-1", RUNNING), type_)
    back = Change(known=a_known(work("job-1", RUNNING)))
    assert ends([gone], back) == [("tw_job-1", Why.RETURNED, "job-1")]
    assert ends([gone], reached(work("job-1", COMPLETED))) == [("tw_job-1", Why.RETURNED, "job-1")]


def test_a_record_that_is_gone_ends_nothing() -> None:
    task = work("job-1", FAILED)
    loss = Loss(task=task, revision=2, number=1, has_left_window=False)
    gone = Known(task=task, revision=2, sequence=2, is_gone=True)
    assert ends([alert(task)], Change(known=gone, told=loss)) == []
    assert ends([alert(task)], Change(known=gone)) == []


def test_an_alert_ends_once_whatever_comes_later() -> None:
    alerts = OpenAlerts([alert(work("job-1", FAILED))])
    assert len(alerts.end(reached(work("job-2", FAILED, born=5)))) == 1
    assert alerts.end(reached(work("job-3", COMPLETED, born=9))) == []
    assert alerts.end(reached(work("job-4", COMPLETED, name=DELETE, born=9))) == []


def test_what_was_opened_by_one_change_is_ended_by_a_later_one_of_the_same_poll() -> None:
    alerts = OpenAlerts([])
    alerts.open(alert(work("job-1", FAILED)))
    assert [end.why for end in alerts.end(reached(work("job-2", COMPLETED, born=5)))] == [Why.SUCCEEDED]


def test_the_order_in_which_alerts_were_opened_decides_nothing() -> None:
    alerts = [alert(work(f"job-{number}", FAILED, born=number)) for number in range(4)]
    later = reached(work("job-9", COMPLETED, born=2))
    found = {frozenset(ends(list(order), later)) for order in permutations(alerts)}
    assert len(found) == 1
    assert {event_id for event_id, _, _ in found.pop()} == {"tw_job-0", "tw_job-1"}


def test_a_task_that_is_unknown_ends_nothing() -> None:
    assert ends([], reached(a_task("job-1", COMPLETED))) == []
