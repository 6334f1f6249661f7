from pathlib import Path

from tests.fakes.burst import RECEIVERS, TASKS, burst


async def test_ten_thousand_failures_in_one_poll_are_recorded_for_four_receivers(tmp_path: Path) -> None:
    found = await burst(tmp_path / "taskwatch.db")
    assert (found.failures, found.deliveries) == (TASKS, TASKS * len(RECEIVERS))
