"""Every moment at which something can go wrong, one after the other: each call of the store, each await.

A quiet world is lived once to count its moments, and then once for each of them.
"""

from collections.abc import Callable

import pytest

from tests.simulation.judges import recorded, verdict
from tests.simulation.moments import (
    Preparation,
    before_answered,
    before_durable,
    cancellation_at,
    full_at,
    lived,
)
from tests.simulation.world import World

pytestmark = pytest.mark.timeout(180)  # hundreds of worlds


@pytest.fixture(scope="module")
def quiet() -> World:
    world = lived()
    assert verdict(world) == []
    assert len(recorded(world)) > 20
    return world


def test_an_error_at_each_call_of_the_store_loses_nothing_and_tells_nothing_false(quiet: World) -> None:
    assert quiet.calls > 100
    for call in range(1, quiet.calls + 1):
        assert verdict(lived(full_at(call))) == [], f"call {call}"


@pytest.mark.parametrize("death_at", [before_durable, before_answered], ids=["not durable", "not answered"])
def test_a_death_at_each_write_of_the_store_loses_nothing_and_tells_nothing_false(
    quiet: World, death_at: Callable[[int], Preparation]
) -> None:
    assert quiet.writes > 50
    for write in range(1, quiet.writes + 1):
        world = lived(death_at(write))
        assert verdict(world) == [], f"write {write}"
        assert world.deaths == 1


def test_a_cancellation_at_each_await_loses_nothing_and_tells_nothing_false(quiet: World) -> None:
    assert quiet.turns > 500
    cancelled = 0
    for turn in range(2, quiet.turns + 1):
        world = lived(cancellation_at(turn))
        assert verdict(world) == [], f"turn {turn}"
        cancelled += world.cancellations
    assert cancelled > 0.9 * quiet.turns
