"""The whole spine under all faults at once, seed by seed: nothing lost, nothing false, in order, and over when it is over."""

import os
from typing import Final

import pytest

from tests.fakes.virtual_time import run_virtual
from tests.simulation.judges import recorded, verdict
from tests.simulation.world import CALM, World, a_world

SEEDS: Final = int(os.environ.get("TASKWATCH_SEEDS", "60"))
FIRST: Final = int(
    os.environ.get("TASKWATCH_SEED", "0")
)  # to replay one: TASKWATCH_SEED=442 TASKWATCH_SEEDS=1


def lived(seed: int) -> World:
    world = a_world(seed)
    run_virtual(world.live())
    return world


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_no_change_is_lost_and_none_is_invented(seed: int) -> None:
    found = verdict(lived(seed))
    assert not found, "\n".join(
        [
            *map(str, found),
            f"replay: TASKWATCH_SEED={seed} TASKWATCH_SEEDS=1 make test ARGS=tests/simulation/test_spine.py",
        ]
    )


def test_the_faults_do_happen() -> None:
    """The simulation is worth its name: each fault, and each thing that is told of it, occurs within a few seeds."""
    worlds = [lived(seed) for seed in range(40)]
    kinds = {event.kind for world in worlds for event in recorded(world)}
    steps_back = [
        event
        for world in worlds
        for event in recorded(world)
        if event.data.get("transition", {}).get("from") == "Failed"
    ]
    assert {
        "task.vanished",
        "project.degraded",
        "project.recovered",
        "receiver.down",
        "receiver.recovered",
    } <= kinds
    assert steps_back
    assert sum(world.deaths for world in worlds) > 100
    assert sum(world.reloads for world in worlds) > 100
    assert sum(world.cloud.incremental for world in worlds) > 100
    assert any(work.hidden for world in worlds for work in world.cloud.works.values())
    copies = [
        len(receiver.taken) - len({message.event_id for message in receiver.taken})
        for world in worlds
        for receiver in world.receivers.values()
    ]
    assert sum(copies) > 100


def test_without_faults_nothing_comes_twice() -> None:
    world = a_world(3, sky=CALM, polls=400)
    run_virtual(world.live())
    assert verdict(world) == []
    for receiver in world.receivers.values():
        assert (
            receiver.attempts == len(receiver.taken) == len({message.event_id for message in receiver.taken})
        )


def test_a_seed_tells_the_same_story_again() -> None:
    stories = []
    for _ in range(2):
        world = lived(7)
        stories.append(
            (recorded(world), [receiver.taken for receiver in world.receivers.values()], world.deaths)
        )
    assert stories[0] == stories[1]
