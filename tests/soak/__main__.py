"""`make soak`: hours of seeds, kills, bodies and weeks; goes on where it was stopped, and says how far it is.

Each batch that ends is a line of the record, so that Ctrl-C costs one batch. Batches of the version that is
being run count as done; what they found is summed up in docs/proven.md by `make guarantees`.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from taskwatch import __version__
from taskwatch.cloud.decode import decode_page, to_task
from taskwatch.cloud.errors import Asked
from taskwatch.errors import CloudError
from tests.fakes.fuzzed_bodies import fuzzed
from tests.fakes.kill_scene import Scene, chaos
from tests.simulation.tally import Tally, tally_of_seeds
from tests.simulation.world import a_world, faultless
from tests.soak.month import Month

RECORD: Final = Path(__file__).with_name("record.jsonl")
ASKED: Final = Asked(host="gaussdb.example", credential="the token")


def seeds(first: int, count: int) -> Tally:
    """Live the worlds of these seeds: 80 polls each, all faults."""
    replay = "TASKWATCH_SEED={seed} TASKWATCH_SEEDS=1 make test ARGS=tests/simulation/test_spine.py"
    return tally_of_seeds(range(first, first + count), a_world, replay=replay)


def calm(first: int, count: int) -> Tally:
    """Live worlds in which nothing goes wrong: nothing may come twice."""
    total = tally_of_seeds(range(first, first + count), faultless, replay="without faults, seed {seed}")
    twice = (f"without faults, from seed {first}: {total.duplicated} copies",) if total.duplicated else ()
    return replace(total, broken=total.broken + twice)


def kills(first: int, count: int) -> Tally:
    """Kill a real daemon so many times under load, in one life of its store; `first` is the seed."""
    with tempfile.TemporaryDirectory(prefix="taskwatch-soak-") as directory:
        return asyncio.run(_kills(Path(directory), first, count))


async def _kills(directory: Path, seed: int, count: int) -> Tally:
    async with AsyncExitStack() as stack:
        scene = Scene(directory, random.Random(seed))
        await chaos(scene, stack, kills=count)
        broken = await scene.settled()
        posts = [post for sink in scene.sinks.values() for post in sink.posts]
        distinct = sum(len({post.id for post in sink.accepted}) for sink in scene.sinks.values())
        accepted = sum(post.accepted for post in posts)
    replay = f"TASKWATCH_SEED={seed} TASKWATCH_KILLS={count} make test-real ARGS=tests/real/test_sigkill.py"
    return Tally(
        runs=count,
        attempted=len(posts),
        acknowledged=distinct,
        lost=sum("last told" in what or "lost" in what for what in broken),
        false=sum("never" in what or "two bodies" in what for what in broken),
        duplicated=accepted - distinct,
        out_of_order=sum("revision" in what or "from " in what for what in broken),
        recovered=0 if broken else count,
        broken=tuple(f"{replay}: {what}" for what in broken),
    )


def bodies(first: int, count: int) -> Tally:
    """Read so many answers with a few bytes wrong: each is a page or an error, and each row of it makes sense."""
    broken = []
    for number in range(first, first + count):
        body = fuzzed(random.Random(number))
        try:
            tasks = [to_task(row) for row in decode_page(body, ASKED).rows]
        except CloudError:
            continue
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            broken.append(f"body {number}: {error!r}")
            continue
        broken += [f"body {number}: {task!r}" for task in tasks if not (task.job_id and task.status)]
    return Tally(runs=count, false=len(broken), recovered=count - len(broken), broken=tuple(broken))


def months(first: int, count: int) -> Tally:
    """Let a process run for 35 virtual days, with one fault in a hundred steps; neither it nor its store grows."""
    total = Tally()
    for seed in range(first, first + count):
        month = Month(seed=seed)
        month.live()
        listeners = month.listeners
        total += Tally(
            runs=1,
            attempted=sum(listener.attempts for listener in listeners),
            acknowledged=sum(listener.acknowledged for listener in listeners),
            lost=len(month.broken),
            duplicated=sum(listener.copies for listener in listeners),
            recovered=int(not month.broken),
            broken=tuple(f"month {seed}: {what}" for what in month.broken),
        )
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that is done very often."""

    name: str
    run: Callable[[int, int], Tally]
    batch: int
    wanted: int


PARTS: Final = (
    Part(name="months", run=months, batch=1, wanted=1),
    Part(name="seeds", run=seeds, batch=100, wanted=100_000),
    Part(name="calm", run=calm, batch=200, wanted=8_000),  # a million deliveries
    Part(name="kills", run=kills, batch=50, wanted=5_000),
    Part(name="bodies", run=bodies, batch=10_000, wanted=2_000_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one batch came to: a line of the record."""

    part: str
    version: str
    first: int
    seconds: float
    tally: Tally


def read(record: Path) -> list[Batch]:
    """Return what was done before. A line that was cut off by the end of a process counts for nothing."""
    batches = []
    for line in record.read_text().splitlines() if record.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        batches.append(Batch(**{**values, "tally": Tally.read(values["tally"])}))
    return batches


def summed(record: Path, batches: Sequence[Batch]) -> None:
    """Write a part's batches as one line for each row of them without a gap: the record stays short."""
    lines: list[Batch] = []
    for batch in sorted(batches, key=lambda batch: (batch.version, batch.part, batch.first)):
        last = lines[-1] if lines else None
        joins = last is not None and (last.version, last.part) == (batch.version, batch.part)
        if last is not None and joins and last.first + last.tally.runs == batch.first:
            lines[-1] = replace(
                last, seconds=round(last.seconds + batch.seconds, 1), tally=last.tally + batch.tally
            )
        else:
            lines.append(batch)
    fresh = record.with_suffix(".new")
    fresh.write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))
    fresh.replace(record)


def left(part: Part, batches: Sequence[Batch]) -> Iterator[int]:
    """Yield where each batch begins that is not done yet."""
    done = [batch for batch in batches if (batch.part, batch.version) == (part.name, __version__)]
    for first in range(0, part.wanted, part.batch):
        if not any(batch.first <= first < batch.first + batch.tally.runs for batch in done):
            yield first


def timed(part: Part, first: int) -> Batch:
    began = time.monotonic()
    tally = part.run(first, min(part.batch, part.wanted - first))
    seconds = round(time.monotonic() - began, 1)
    return Batch(part=part.name, version=__version__, first=first, seconds=seconds, tally=tally)


def run(part: Part, record: Path, *, at_once: int) -> Tally:
    """Do what is left of a part; return what was found, this time."""
    summed(record, read(record))  # a line that was cut off would swallow the next one
    waiting = list(left(part, read(record)))
    before, total, began = part.wanted - len(waiting) * part.batch, Tally(), time.monotonic()
    with ProcessPoolExecutor(at_once) as pool, record.open("a") as file:
        under_way: set[Future[Batch]] = set()
        try:
            while waiting or under_way:
                while waiting and len(under_way) < at_once:
                    under_way.add(pool.submit(timed, part, waiting.pop(0)))
                ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for batch in (future.result() for future in ended):
                    file.write(json.dumps(asdict(batch)) + "\n")
                    file.flush()
                    total += batch.tally
                _say(part, before + total.runs, total, time.monotonic() - began)
        except KeyboardInterrupt:
            for future in under_way:
                future.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    summed(record, read(record))
    return total


def _say(part: Part, done: int, total: Tally, seconds: float) -> None:
    minutes = (part.wanted - done) * seconds / max(total.runs, 1) / 60
    begin, end = ("\r", " ") if sys.stderr.isatty() and done < part.wanted else ("", "\n")
    text = (
        f"{part.name}: {done:,} of {part.wanted:,}, {len(total.broken)} broken, about {minutes:.0f} min left"
    )
    sys.stderr.write(begin + text + end)
    sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    for part in PARTS:
        parser.add_argument(f"--{part.name}", type=int, default=part.wanted, metavar="N")
    parser.add_argument("--record", type=Path, default=RECORD, help="where it is noted what was done")
    parser.add_argument("--at-once", type=int, choices=(1, 2, 4, 8), default=2, help="batches at a time")
    arguments = parser.parse_args()
    try:
        tallies = [
            run(
                replace(part, wanted=getattr(arguments, part.name)),
                arguments.record,
                at_once=arguments.at_once,
            )
            for part in PARTS
        ]
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; the next `make soak` goes on from {arguments.record}\n")
        return 130
    broken = [what for tally in tallies for what in tally.broken]
    sys.stdout.write("".join(f"{what}\n" for what in broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
