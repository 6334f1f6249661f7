"""What came of runs, in the words of docs/proven.md."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from tests.fakes.virtual_time import run_virtual
from tests.simulation.judges import Kind, recorded, verdict
from tests.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Sums over runs. Only `duplicated` may be above nought, and only under faults."""

    runs: int = 0
    attempted: int = 0  # deliveries, each try counted
    acknowledged: int = 0  # deliveries that the store calls delivered
    lost: int = 0
    false: int = 0
    duplicated: int = 0  # copies, under the same id and with the same bytes
    out_of_order: int = 0
    recovered: int = 0  # runs at whose end, without faults, a fresh change arrived everywhere
    broken: tuple[str, ...] = ()  # what is wrong, and how to see it again

    def __add__(self, other: Self) -> "Tally":
        one, two = asdict(self), asdict(other)
        return Tally(**{name: one[name] + two[name] for name in one})

    @classmethod
    def read(cls, values: dict[str, Any]) -> "Tally":
        return cls(**{**values, "broken": tuple(values["broken"])})


def tally_of(world: World, *, replay: str) -> Tally:
    """Judge a world that has been lived."""
    broken = verdict(world)
    kinds = Counter(found.kind for found in broken)
    taken = [message for receiver in world.receivers.values() for message in receiver.taken]
    receivers = [{message.event_id for message in receiver.taken} for receiver in world.receivers.values()]
    fresh = {event.id for event in recorded(world) if event.subject == world.fresh}
    ((acknowledged,),) = world.disk.rows("SELECT count(*) FROM deliveries WHERE state = 'delivered'")
    return Tally(
        runs=1,
        attempted=sum(receiver.attempts for receiver in world.receivers.values()),
        acknowledged=acknowledged,
        lost=kinds[Kind.LOST],
        false=kinds[Kind.FALSE] + kinds[Kind.STORE],
        duplicated=len(taken) - sum(map(len, receivers)),
        out_of_order=kinds[Kind.ORDER],
        recovered=int(bool(fresh) and all(fresh <= ids for ids in receivers)),
        broken=tuple(f"{replay}: {found}" for found in broken),
    )


def tally_of_seeds(seeds: Iterable[int], make: Callable[[int], World], *, replay: str) -> Tally:
    """Live the world of each seed, and sum up."""
    total = Tally()
    for seed in seeds:
        world = make(seed)
        run_virtual(world.live())
        total += tally_of(world, replay=replay.format(seed=seed))
    return total
