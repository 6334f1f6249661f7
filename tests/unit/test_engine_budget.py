"""What is asked of a rate, and how far intervals stretch."""

import pytest

from taskwatch.core.cadence import Cadence
from taskwatch.engine.budget import Budget
from tests.fakes.builders import captured_log, quiet_log


def test_intervals_that_the_rate_carries_are_kept() -> None:
    budget = Budget(10, log=quiet_log())
    for project in range(90):
        budget.spend(project, requests=1, interval=10)
    assert budget.factor == pytest.approx(1.0)


def test_intervals_stretch_until_the_rate_carries_them_with_some_to_spare() -> None:
    budget = Budget(10, log=quiet_log())
    for project in range(90):
        budget.spend(project, requests=2, interval=10)
    assert budget.factor == pytest.approx(2.0)
    assert 180 / (10 * budget.factor) == pytest.approx(9)  # requests a second, of ten


def test_a_full_poll_now_and_then_is_no_demand() -> None:
    budget = Budget(1, log=quiet_log())
    for count in [2, 2, 2, 2, 10, 2, 2, 2, 2]:
        budget.spend("prod", requests=count, interval=10)
    assert budget.factor == 1.0


def test_one_that_is_polled_no_more_asks_for_nothing() -> None:
    budget = Budget(1, log=quiet_log())
    for project in range(3):
        budget.spend(project, requests=6, interval=10)
    assert budget.factor == pytest.approx(2.0)
    for project in (0, 1, 1):
        budget.leave(project)
    assert budget.factor == 1.0


def test_an_interval_that_changes_is_counted_once() -> None:
    budget = Budget(1, log=quiet_log())
    for interval in (1, 10, 1, 10, 1):
        budget.spend("prod", requests=9, interval=interval)
    assert budget.factor == pytest.approx(10.0)


def test_a_new_rate_counts_at_once() -> None:
    budget = Budget(1, log=quiet_log())
    budget.spend("prod", requests=9, interval=1)
    budget.change(20)
    assert budget.factor == 1.0


def test_the_edges_are_told_once_and_do_not_flutter() -> None:
    log, lines = captured_log()
    budget = Budget(10, log=log)
    for requests in (9, 9.01, 8.99, 9.01, 8.2, 9.01):  # either side of what the rate carries
        budget.spend("prod", requests=1, interval=1 / requests)
    assert [line["event"] for line in lines] == ["intervals_stretched"]
    budget.spend("prod", requests=1, interval=1)
    assert [line["event"] for line in lines[1:]] == ["intervals_kept"]


def test_a_stretched_interval_makes_no_reading_late() -> None:
    cadence = Cadence(active=60, idle=300)
    assert cadence.lateness(is_active=True) == 300
    assert cadence.lateness(is_active=False, stretched=2) == 1800
