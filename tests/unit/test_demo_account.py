"""What the demo claims at its end, against a cloud whose clock the test moves."""

from datetime import timedelta

import pytest

from taskwatch.cli.demo.account import Account, Heard, account
from taskwatch.cli.demo.scene import Fact, Left, Watched
from taskwatch.simulator.cloud import Cloud
from tests.fakes.records import StillClock
from tests.fakes.simulator_client import BEGAN

SPEED = 60.0


class Watch:
    """A cloud without a life of its own, read at 1, 2, 3 … seconds; each reading takes 0.1."""

    def __init__(self) -> None:
        self.clock = StillClock(BEGAN)
        self.cloud = Cloud(projects=1, speed=SPEED, tasks_per_day=0, clock=self.clock, began=BEGAN)
        (self.project,) = self.cloud.projects

    def task(self, *, at: float, seconds: float) -> str:
        """Let a task begin at this second of the clock and last so many of them; read what comes before."""
        self.read_until(at)
        self.clock.seconds = at
        return self.cloud.provoke(self.project.project_id, seconds=seconds * SPEED).job_id

    def read_until(self, end: float) -> None:
        second = int(self.clock.seconds) + 1
        while second <= end:
            self.clock.seconds = float(second)
            self.cloud.page(self.project.project_id, "offset=0&limit=100")
            second += 1
        self.clock.seconds = max(self.clock.seconds, end)

    def account(
        self, heard: set[Fact], *, waiting: frozenset[Fact] = frozenset(), until: float = 10.5
    ) -> Account:
        self.read_until(until)
        watched = Watched(
            project_id=self.project.project_id,
            since=BEGAN + timedelta(seconds=1.1),
            until=BEGAN + timedelta(seconds=until),
        )
        left = Left(tasks=0, watched=(watched,), pending=len(waiting), waiting=waiting, retried=0)
        return account(self.cloud, left, speed=SPEED, heard=heard)


def whole(job_id: str) -> set[Fact]:
    return {(job_id, "Running"), (job_id, "Completed")}


def test_what_was_told_of_all_that_polls_could_read_is_a_clean_account() -> None:
    watch = Watch()
    told = whole(watch.task(at=2.5, seconds=3)) | whole(watch.task(at=4.5, seconds=2))

    assert watch.account(told) == Account(changes=4, unseen=0, lost=0, false=0)


@pytest.mark.parametrize("missing", ["Running", "Completed"])
def test_a_change_that_was_read_and_not_told_is_lost(missing: str) -> None:
    watch = Watch()
    job_id = watch.task(at=2.5, seconds=3)

    assert watch.account(whole(job_id) - {(job_id, missing)}).lost == 1


def test_a_change_on_its_way_is_not_lost() -> None:
    watch = Watch()
    job_id = watch.task(at=2.5, seconds=3)
    waiting = frozenset({(job_id, "Completed")})

    assert watch.account({(job_id, "Running")}, waiting=waiting) == Account(
        changes=2, unseen=0, lost=0, false=0
    )


def test_what_was_told_and_never_happened_is_false() -> None:
    watch = Watch()
    job_id = watch.task(at=2.5, seconds=3)

    assert watch.account({*whole(job_id), (job_id, "Failed")}).false == 1


def test_a_start_that_was_over_before_the_next_poll_is_counted_apart() -> None:
    watch = Watch()
    job_id = watch.task(at=2.2, seconds=0.5)

    assert watch.account({(job_id, "Completed")}) == Account(changes=1, unseen=1, lost=0, false=0)


def test_an_end_whose_record_was_deleted_before_the_next_poll_is_counted_apart() -> None:
    watch = Watch()
    job_id = watch.task(at=2.5, seconds=1.7)
    watch.read_until(4.5)
    watch.cloud.delete(job_id)

    assert watch.account({(job_id, "Running")}) == Account(changes=1, unseen=1, lost=0, false=0)


def test_history_is_owed_to_nobody() -> None:
    watch = Watch()
    watch.task(at=0.2, seconds=0.5)

    assert watch.account(set()) == Account(changes=0, unseen=0, lost=0, false=0)


def test_what_happened_while_the_baseline_was_read_may_be_told_or_not() -> None:
    watch = Watch()
    job_id = watch.task(at=1.05, seconds=100)

    assert watch.account(set()) == Account(changes=0, unseen=0, lost=0, false=0)
    assert watch.account({(job_id, "Running")}) == Account(changes=1, unseen=0, lost=0, false=0)


def test_what_happened_after_the_last_reading_on_record_is_not_owed_yet() -> None:
    watch = Watch()
    watch.task(at=5.5, seconds=100)

    assert watch.account(set(), until=5.7).lost == 0
    assert watch.account(set(), until=6.5).lost == 1
    assert watch.account(set(), until=5.7).lost == 0  # a poll that was under way when all ended


def test_what_ends_between_two_lists_of_the_last_poll_is_on_none_of_them_and_not_owed_yet() -> None:
    # The demo said "lost: 1" of a task that the list of the recent ones showed running, and that of the
    # running ones, read a moment later by the same poll, did not show any more.
    watch = Watch()
    job_id = watch.task(at=2.5, seconds=3.05)
    watch.read_until(5.5)
    watch.clock.seconds = 5.6
    watch.cloud.page(watch.project.project_id, "status=Running&offset=0&limit=100")

    assert watch.account({(job_id, "Running")}, until=5.7) == Account(changes=1, unseen=0, lost=0, false=0)
    assert watch.account({(job_id, "Running")}, until=6.5).lost == 1


def test_a_project_that_was_never_read_owes_nothing() -> None:
    watch = Watch()
    never = Watched(project_id=watch.project.project_id, since=BEGAN, until=BEGAN)

    left = Left(tasks=0, watched=(never,), pending=0, waiting=frozenset(), retried=0)
    assert account(watch.cloud, left, speed=SPEED, heard=set()).changes == 0


def test_an_event_that_overtakes_another_of_its_task_is_out_of_order() -> None:
    heard = Heard()
    for sequence in (1, 3, 2):
        heard.hear(
            {
                "type": "taskwatch.task.started",
                "subject": "a",
                "data": {"sequence": sequence, "summary": "", "project": {"name": "p"}},
            }
        )

    assert heard.disordered == 1
    assert heard.kinds == {"started": 3}
