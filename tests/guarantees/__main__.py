"""`make guarantees`: one fault after the other upon the real modules, and what came of it, as a table in docs/proven.md.

Ends with 1 if anything was lost, false or out of order.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Final

from taskwatch import __version__
from tests.fakes.burst import burst
from tests.simulation.moments import (
    Preparation,
    before_answered,
    before_durable,
    cancellation_at,
    full_at,
    lived,
)
from tests.simulation.tally import Tally, tally_of, tally_of_seeds
from tests.simulation.world import CALM, Weather, World, a_world, faultless
from tests.soak.__main__ import RECORD, Batch, bodies, kills, read

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "proven.md"
HEAD: Final = (
    "| fault | runs | attempted | acknowledged | lost | false | duplicated | out of order | recovered |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
)
SKIES: Final[dict[str, Weather]] = {
    "answers that are late, torn, doubled or cut short": CALM,
    "one poll in eight fails, for every reason": replace(CALM, errors=0.12, is_refused=True),
    "the cloud is down for 40 polls": replace(CALM, down=range(20, 60)),
    "records vanish, for good or for a while": replace(CALM, hides=0.01),
    "the list shrinks to two tasks for 30 polls": replace(CALM, shrunk=range(30, 60)),
    "one poll in four is killed at a write": replace(CALM, kills=0.25),
    "the disk is full at one poll in ten": replace(CALM, full_disks=0.1),
    "the wall clock jumps by an hour or a day": replace(CALM, jumps=0.1),
    "a reload at every third poll, receivers renamed": replace(CALM, reloads=0.3),
    "receivers refuse, lose answers, answer too late": replace(CALM, receivers_fail=True),
    "one of two receivers is down for 60 polls": replace(CALM, chat_down=range(10, 70)),
}
Row = tuple[str, Tally]


def rows(seeds: int) -> Iterator[Row]:
    """Yield what came of each fault."""
    numbers = range(1, seeds + 1)
    yield "none", tally_of_seeds(numbers, faultless, replay="no fault, seed {seed}")
    for fault, sky in SKIES.items():
        make = _under(sky)
        yield fault, tally_of_seeds(numbers, make, replay=f"{fault}, seed {{seed}}")
    replay = "TASKWATCH_SEED={seed} TASKWATCH_SEEDS=1 make test ARGS=tests/simulation/test_spine.py"
    yield "all of these at once, by chance", tally_of_seeds(range(5 * seeds), a_world, replay=replay)
    quiet = lived()
    for fault, count, prepare in (
        ("the disk is full at the n-th call of the store, each n", quiet.calls, full_at),
        ("death at the n-th write, before it is durable, each n", quiet.writes, before_durable),
        ("death at the n-th write, before it is answered, each n", quiet.writes, before_answered),
        ("cancellation at the n-th await, each n", quiet.turns, cancellation_at),
    ):
        yield fault, _each(fault, count, prepare)
    yield "SIGKILL at random: real processes, 4 receivers, 3 of them bad", kills(1, 30)
    yield "answers with a few bytes wrong", bodies(0, 5_000)


def _under(sky: Weather) -> Callable[[int], World]:
    return lambda seed: a_world(seed, sky=sky)


def _each(fault: str, count: int, prepare: Callable[[int], Preparation]) -> Tally:
    total = Tally()
    for number in range(2, count + 1):  # at the first turn there is nothing yet
        total += tally_of(lived(prepare(number)), replay=f"{fault}: {number}")
    return total


def line(name: str, tally: Tally) -> str:
    numbers = (tally.runs, tally.attempted, tally.acknowledged, tally.lost, tally.false, tally.duplicated)
    cells = [name, *(f"{number:,}" for number in (*numbers, tally.out_of_order, tally.recovered))]
    return f"| {' | '.join(cells)} |"


def soaked(batches: list[Batch]) -> Iterator[str]:
    """Yield a row for each version and part of the record of `make soak`."""
    units = {
        "seeds": "seeds, 80 polls each, all faults",
        "calm": "seeds, 80 polls each, no faults",
        "kills": "SIGKILLs",
        "bodies": "fuzzed bodies",
        "months": "times 35 virtual days",
    }
    order = sorted(batches, key=lambda batch: (batch.version, batch.part))
    for (version, part), group in groupby(order, key=lambda batch: (batch.version, batch.part)):
        total = Tally()
        for batch in group:
            total += batch.tally
        yield line(f"{version}: {units[part]}", total)


def write(document: Path, name: str, text: str) -> None:
    """Put the text between the marks of this name, and leave the rest as people wrote it."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = document.read_text().partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}{text}{end}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make guarantees", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=100, metavar="N", help="for each fault of the simulation"
    )
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    arguments = parser.parse_args()
    total, lines = Tally(), []
    sys.stdout.write(HEAD)
    for name, tally in rows(arguments.seeds):
        total += tally
        lines.append(line(name, tally))
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="taskwatch-burst-") as directory:
        found = asyncio.run(burst(Path(directory) / "taskwatch.db"))
    python = ".".join(map(str, sys.version_info[:3]))
    measured = f"taskwatch {__version__}, Python {python}, seeds 1 to {arguments.seeds} for each fault.\n\n"
    table = "\n".join(lines)
    told = (
        f"Ten thousand failures in one poll, for four receivers: {found.failures:,} events and {found.deliveries:,}"
        f" deliveries recorded; the poll took {found.seconds:.1f} s on this machine, detection and commit included.\n"
    )
    write(arguments.document, "measured", f"{measured}{HEAD}{table}\n\n{told}")
    write(
        arguments.document,
        "soaked",
        HEAD.replace("fault", "version and part") + "\n".join(soaked(read(RECORD))) + "\n",
    )
    sys.stdout.write("".join(f"{what}\n" for what in total.broken))
    return 1 if total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
