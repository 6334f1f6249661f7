"""`make bench`: what a poll costs, as a ratio to a bare client in the same run.

The bare client is aiohttp and msgspec as anybody would write it: one session, one `get`, one `read`,
one typed decode. Ours is the daemon's own poll with its own client and a store on disk with full
durability. Both ask the same server process, in turns, so that the machine's mood cancels out.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from taskwatch import telemetry
from taskwatch.clock import SystemClock
from taskwatch.cloud.auth.login import NoLogin
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.client import TasksClient
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Transport, open_session
from taskwatch.core.cadence import Cadence
from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.route import Route, Routing
from taskwatch.engine.poller import Poller, PollRules
from taskwatch.engine.watch import Watch
from taskwatch.model.project import Identity, Project
from taskwatch.runtime.scheduler import Scheduler
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.bench import whole

ROWS = 99  # a page of 100 tasks would need a second request to know that it was the last
AT_ONCE = 16
PROJECTS = 64
PACED = 200


class _Instance(msgspec.Struct):
    instance_id: str | None = None
    instance_name: str | None = None
    instance_status: str | None = None


class _Task(msgspec.Struct):
    job_id: str
    name: str
    status: str
    process: str | None = None
    fail_reason: str | None = None
    created_at: str | None = None
    ended_at: str | None = None
    instance_info: _Instance | None = None


class _Page(msgspec.Struct):
    tasks: list[_Task]
    total_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    cpu: float  # µs a poll, of this process with all its threads
    wall: float


async def measured(polls: int, ask: Callable[[int], Awaitable[object]]) -> Cost:
    numbers = iter(range(polls))

    async def worker() -> None:
        for number in numbers:
            await ask(number)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    scale = 1e6 / polls
    return Cost(cpu=(time.process_time() - cpu) * scale, wall=(time.perf_counter() - wall) * scale)


@asynccontextmanager
async def ours(
    port: int, kind: str, directory: Path, *, projects: int = PROJECTS
) -> AsyncIterator[tuple[list[Watch], SqliteStore]]:
    clock = SystemClock()
    store = open_store(directory / f"{kind}.db", clock=clock)
    session = open_session()
    endpoint = f"http://127.0.0.1:{port}"
    limiter = Limiter(1e6, clock, telemetry.logger())

    def watch(number: int) -> Watch:
        project_id = f"{kind}{number:031x}"
        poller = Poller(
            project=Project(
                identity=Identity(service="gaussdb", host=f"127.0.0.1:{port}", project_id=project_id),
                name=project_id,
            ),
            rules=PollRules(
                cadence=Cadence(active=1, idle=1),
                full_poll=900.0,
                baseline=BaselinePolicy.QUIET,
                failure_severities=(),
                include=("*",),
                exclude=(),
            ),
            source=TasksClient(
                caller=Caller(
                    transport=Transport(session=session),
                    endpoint=endpoint,
                    login=NoLogin(),
                    limiter=limiter,
                ),
                endpoint=endpoint,
                project_id=project_id,
                timeout=20,
            ),
            ledger=store,
            routing=Routing(root=Route(receivers=())),
            clock=clock,
            told=lambda events: None,
        )
        return Watch(poller=poller, credential="c", clock=clock, log=telemetry.logger())

    try:
        yield [watch(number) for number in range(projects)], store
    finally:
        await session.close()
        await store.close()


async def paired(
    port: int, kind: str, *, polls: int, rounds: int, directory: Path
) -> tuple[list[Cost], list[Cost]]:
    """Measure ours and the bare client in turns."""
    decoder = msgspec.json.Decoder(_Page)
    async with aiohttp.ClientSession() as session, ours(port, kind, directory) as (watches, _):

        async def bare(number: int) -> None:
            url = f"http://127.0.0.1:{port}/v3/{kind}{number % PROJECTS:031x}/tasks?offset=0&limit=100"
            async with session.get(url) as response:
                decoder.decode(await response.read())

        resting = deque(watches)  # never two polls of one project at once

        async def poll(_: int) -> None:
            watch = resting.popleft()
            await watch.tick()
            resting.append(watch)

        for warm_up in (bare, poll):
            await measured(PROJECTS * 2, warm_up)
        mine, theirs = [], []
        for _ in range(rounds):
            theirs.append(await measured(polls, bare))
            mine.append(await measured(polls, poll))
        return mine, theirs


async def rows_written(port: int, kind: str, directory: Path) -> tuple[float, float]:
    """Return rows written a poll, and commits a changed poll, after the baseline."""
    async with ours(port, kind, directory) as (watches, store):
        for _ in range(2):
            await asyncio.gather(*(watch.tick() for watch in watches))
        before, commits = await store.rows_changed(), store.commits
        rounds = 5
        for _ in range(rounds):
            await asyncio.gather(*(watch.tick() for watch in watches))
        polls = rounds * len(watches)
        return (await store.rows_changed() - before) / polls, (store.commits - commits) / polls


async def paced(port: int, directory: Path, *, seconds: float) -> dict[str, Any]:
    """Poll PACED projects each second as the daemon does, and see whether they keep their interval."""
    async with ours(port, "u", directory, projects=PACED) as (watches, _):
        starts: dict[int, list[float]] = defaultdict(list)

        async def poll(key: int) -> float:
            starts[key].append(time.monotonic())
            return await watches[key].tick()

        scheduler = Scheduler(SystemClock())
        for key in range(PACED):
            scheduler.add(key, partial(poll, key))
        cpu = time.process_time()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await scheduler.run()
        cpu = time.process_time() - cpu
        gaps = sorted(
            b - a for times in starts.values() for a, b in pairwise(times[2:])
        )  # the first are baselines
        result = {
            "name": f"{PACED} projects at 1 s",
            "median_seconds": round(statistics.median(gaps), 3),
            "p99_seconds": round(gaps[int(len(gaps) * 0.99)], 3),
            "longest_seconds": round(gaps[-1], 3),
            "core": round(cpu / seconds, 2),
        }
        print(  # noqa: T201  (a program that prints)
            f"{PACED} projects at an interval of 1 s: {result['median_seconds']} s from poll to poll (99 %: "
            f"{result['p99_seconds']}, longest {result['longest_seconds']}), {result['core']:.0%} of a core"
        )
        return result


def said(name: str, goal: float, mine: Sequence[Cost], theirs: Sequence[Cost]) -> dict[str, Any]:
    ratios = [other.cpu / own.cpu for own, other in zip(mine, theirs, strict=True)]
    walls = [other.wall / own.wall for own, other in zip(mine, theirs, strict=True)]
    ratio = round(statistics.median(ratios), 2)
    result: dict[str, Any] = {
        "name": name,
        "ratio": ratio,
        "low": round(min(ratios), 2),
        "high": round(max(ratios), 2),
        "throughput_ratio": round(statistics.median(walls), 2),
        "goal": goal,
        "ours_cpu_us": round(statistics.median(cost.cpu for cost in mine)),
        "bare_cpu_us": round(statistics.median(cost.cpu for cost in theirs)),
    }
    verdict = "met" if ratio >= goal else "missed"
    print(  # noqa: T201  (a program that prints)
        f"{name:<34} {ratio:.2f} × ({result['low']:.2f} to {result['high']:.2f}), throughput "
        f"{result['throughput_ratio']:.2f} ×; goal {goal:.2f}: {verdict};"
        f" {result['ours_cpu_us']} against {result['bare_cpu_us']} µs of CPU"
    )
    return result


async def bench(
    *, polls: int, rounds: int, paced_seconds: float, idle_seconds: float, port: int
) -> list[dict[str, Any]]:
    results = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        mine, theirs = await paired(port, "u", polls=polls, rounds=rounds, directory=directory)
        results.append(said("P1 unchanged pages, flat out", 1.2, mine, theirs))
        mine, theirs = await paired(port, "d", polls=polls, rounds=rounds, directory=directory)
        results.append(said("P2 every page decoded and compared", 0.85, mine, theirs))
        for what, kind, expected in (("an unchanged", "u", 0.0), ("a changed", "c", 2.0)):
            rows, commits = await rows_written(port, kind, directory)
            verdict = "met" if rows == expected else "missed"
            print(  # noqa: T201  (a program that prints)
                f"P4 rows written by {what} poll: {rows:g} (goal {expected:g}: {verdict}), {commits:.2f} commits a poll"
            )
            results.append({"name": f"P4 {what} poll", "rows": rows, "goal": expected, "commits": commits})
        results.append(await paced(port, directory, seconds=paced_seconds))
        results += await asyncio.to_thread(whole.starts, port, directory, rounds=rounds)
        if idle_seconds:
            results += await asyncio.to_thread(whole.idle, port, directory, seconds=idle_seconds)
    return results


def main() -> None:
    arguments = argparse.ArgumentParser(prog="make bench")
    arguments.add_argument("--polls", type=int, default=4000, help="in each round, of each side")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--paced", type=float, default=15.0, help="seconds of the paced part")
    arguments.add_argument(
        "--idle", type=float, default=0.0, help="seconds of idling, twice; 0: not measured"
    )
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = arguments.parse_args()
    telemetry.configure(format_="json", level="warning")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.server", str(ROWS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            results = asyncio.run(
                bench(
                    polls=chosen.polls,
                    rounds=chosen.rounds,
                    paced_seconds=chosen.paced,
                    idle_seconds=chosen.idle,
                    port=int(server.stdout.readline()),
                )
            )
        finally:
            server.kill()
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
