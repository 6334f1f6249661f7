"""Every moment at which something can go wrong, one after the other: each call of the store, each await.

A quiet world is lived once to count its moments, and then once for each of them.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import apsw
import pytest

from tests.fakes.inline_writer import Death
from tests.fakes.virtual_time import VirtualTimeLoop
from tests.simulation.judges import recorded, verdict
from tests.simulation.world import CALM, World, a_world

pytestmark = pytest.mark.timeout(180)  # thousands of worlds

SEED: Final = 3
POLLS: Final = 24
HEALS: Final = 12  # a whole list is among them, and three readings after it

Preparation = Callable[[World, VirtualTimeLoop], None]


def lived(prepare: Preparation) -> World:
    world = a_world(SEED, sky=CALM, polls=POLLS)
    world.heals = HEALS
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        prepare(world, loop)
        runner.run(world.live())
    return world


@pytest.fixture(scope="module")
def quiet() -> World:
    world = lived(lambda world, loop: None)
    assert verdict(world) == []
    assert len(recorded(world)) > 20
    return world


def full_at(call: int, world: World, _: VirtualTimeLoop) -> None:
    def fault(number: int) -> None:
        if number == call:
            raise apsw.FullError("database or disk is full")

    world.disk.fault = fault


def death_at(death: Death, world: World, _: VirtualTimeLoop) -> None:
    world.first_death = death


def cancellation_at(turn: int, world: World, loop: VirtualTimeLoop) -> None:
    loop.at_turn(turn, world.cancel)


def test_an_error_at_each_call_of_the_store_loses_nothing_and_tells_nothing_false(quiet: World) -> None:
    assert quiet.calls > 100
    for call in range(1, quiet.calls + 1):
        assert verdict(lived(partial(full_at, call))) == [], f"call {call}"


@pytest.mark.parametrize("is_durable", [False, True], ids=["before it is durable", "before it is answered"])
def test_a_death_at_each_write_of_the_store_loses_nothing_and_tells_nothing_false(
    quiet: World, *, is_durable: bool
) -> None:
    assert quiet.writes > 50
    for write in range(1, quiet.writes + 1):
        world = lived(partial(death_at, Death(write=write, is_durable=is_durable)))
        assert verdict(world) == [], f"write {write}"
        assert world.deaths == 1


def test_a_cancellation_at_each_await_loses_nothing_and_tells_nothing_false(quiet: World) -> None:
    assert quiet.turns > 500
    cancelled = 0
    for turn in range(2, quiet.turns + 1):
        world = lived(partial(cancellation_at, turn))
        assert verdict(world) == [], f"turn {turn}"
        cancelled += world.cancellations
    assert cancelled > 0.9 * quiet.turns
