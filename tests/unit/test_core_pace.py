"""Backoff, verdict and cadence: when again, and what an answer means."""

import random
from typing import Final

import pytest

from taskwatch.core.backoff import clamp_retry_after, delay
from taskwatch.core.cadence import Cadence, next_due, stretch
from taskwatch.core.verdict import Refusal, refusal
from taskwatch.model.delivery import Reason, Scope


def delays(failures: int, *, initial: float = 5.0, maximum: float = 3600.0) -> list[float]:
    rng = random.Random(7)
    return [delay(failures, initial=initial, maximum=maximum, rng=rng) for _ in range(2_000)]


class Middle(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class TestBackoff:
    def test_grows_twofold_from_initial_to_maximum(self) -> None:
        for failures in range(1, 16):
            ceiling = min(3600.0, 5.0 * 2 ** (failures - 1))
            assert 0.97 * ceiling <= max(delays(failures)) <= ceiling

    def test_has_full_jitter(self) -> None:
        spread = delays(8)  # up to 640 s
        assert min(spread) < 5.0
        assert 300 < sum(spread) / len(spread) < 340

    def test_never_hammers(self) -> None:
        assert min(delays(1)) == 0.5

    @pytest.mark.parametrize("failures", [0, 33, 1_000_000])
    def test_is_defined_for_any_number_of_failures(self, failures: int) -> None:
        assert all(0.5 <= seconds <= 3600.0 for seconds in delays(failures))

    def test_is_drawn_evenly_from_nothing_to_the_ceiling(self) -> None:
        assert delay(8, initial=5.0, maximum=3600.0, rng=Middle()) == 320.0

    def test_no_failure_yet_counts_as_one(self) -> None:
        assert delays(0) == delays(1)

    @pytest.mark.parametrize(
        ("asked", "honoured"),
        [
            (-5.0, 1.0),
            (0.0, 1.0),
            (1.0, 1.0),
            (90.5, 90.5),
            (3600.0, 3600.0),
            (1e9, 3600.0),
            (float("inf"), 3600.0),
        ],
    )
    def test_what_a_receiver_asks_is_honoured_within_a_second_and_an_hour(
        self, asked: float, honoured: float
    ) -> None:
        assert clamp_retry_after(asked) == honoured


EXACT: Final = {
    401: Refusal(reason=Reason.UNAUTHORIZED, scope=Scope.RECEIVER),
    403: Refusal(reason=Reason.UNAUTHORIZED, scope=Scope.RECEIVER),
    404: Refusal(reason=Reason.NOT_FOUND, scope=Scope.RECEIVER),
    408: Refusal(reason=Reason.TIMEOUT, scope=Scope.EVENT),
    410: Refusal(reason=Reason.GONE, scope=Scope.PAUSED),
    425: Refusal(reason=Reason.SERVER_ERROR, scope=Scope.EVENT),
    429: Refusal(reason=Reason.THROTTLED, scope=Scope.RECEIVER),
}
BY_HUNDRED: Final = {
    1: Refusal(reason=Reason.REJECTED, scope=Scope.EVENT),
    2: None,
    3: Refusal(reason=Reason.REDIRECTED, scope=Scope.EVENT),
    4: Refusal(reason=Reason.REJECTED, scope=Scope.EVENT),
    5: Refusal(reason=Reason.SERVER_ERROR, scope=Scope.EVENT),
}


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_of_an_answer_has_its_meaning(status: int) -> None:
    assert refusal(status) == EXACT.get(status, BY_HUNDRED[status // 100])


class TestCadence:
    CADENCE = Cadence(active=15.0, idle=60.0)

    def test_a_project_with_a_running_task_is_read_more_often(self) -> None:
        assert (self.CADENCE.interval(is_active=True), self.CADENCE.interval(is_active=False)) == (15.0, 60.0)

    @pytest.mark.parametrize(
        ("active", "seconds"), [(15.0, 300.0), (100.0, 300.0), (101.0, 303.0), (600.0, 1800.0)]
    )
    def test_late_is_beyond_three_intervals_and_at_least_five_minutes(
        self, active: float, seconds: float
    ) -> None:
        assert Cadence(active=active, idle=active).lateness(is_active=True) == seconds

    def test_the_next_start_stands_on_the_grid_of_the_last_one(self) -> None:
        assert next_due(due=100.0, interval=15.0, now=103.7) == 115.0

    def test_what_was_missed_is_not_made_up_for(self) -> None:
        assert next_due(due=100.0, interval=15.0, now=500.0) == 500.0

    def test_late_is_later_where_intervals_are_stretched(self) -> None:
        assert self.CADENCE.lateness(is_active=False, stretched=4.0) == 3 * 60.0 * 4.0

    @pytest.mark.parametrize(
        ("demand", "rate", "factor"),
        [(0.0, 10.0, 1.0), (9.0, 10.0, 1.0), (18.0, 10.0, 2.0), (0.9, 0.25, 4.0)],
    )
    def test_intervals_grow_where_they_ask_for_more_than_nine_tenths_of_the_rate(
        self, demand: float, rate: float, factor: float
    ) -> None:
        assert stretch(demand, rate) == factor
