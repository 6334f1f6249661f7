"""One small world, to be lived once for each moment of it: each call of its store, each write, each await."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import apsw

from tests.fakes.inline_writer import Death
from tests.fakes.virtual_time import VirtualTimeLoop
from tests.simulation.world import CALM, World, a_world

SEED: Final = 3
POLLS: Final = 24
HEALS: Final = 12  # a whole list is among them, and three readings after it

Preparation = Callable[[World, VirtualTimeLoop], None]


def lived(prepare: Preparation = lambda world, loop: None) -> World:
    """Live the world, prepared so."""
    world = a_world(SEED, sky=CALM, polls=POLLS)
    world.heals = HEALS
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        prepare(world, loop)
        runner.run(world.live())
    return world


def full_at(call: int) -> Preparation:
    """Let the call of this number find the disk full."""

    def fault(number: int) -> None:
        if number == call:
            raise apsw.FullError("database or disk is full")

    return lambda world, loop: setattr(world.disk, "fault", fault)


def death_at(write: int, *, is_durable: bool) -> Preparation:
    """Let the process die at the write of this number, before it is durable or before it is answered."""
    return lambda world, loop: setattr(world, "first_death", Death(write=write, is_durable=is_durable))


def cancellation_at(turn: int) -> Preparation:
    """Cancel all that runs at this turn of the loop, wherever it stands."""
    return lambda world, loop: loop.at_turn(turn, world.cancel)


before_durable = partial(death_at, is_durable=False)
before_answered = partial(death_at, is_durable=True)
