"""P11 and P12: what the whole daemon costs while it starts and while nothing happens, with its server and without.

Each is a process of its own, `taskwatch run` as an operator starts it, in turns. Its CPU and its wake-ups are the
kernel's figures of it; the start is held against a Python that imports the same libraries and ends.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

TICK: Final = os.sysconf("SC_CLK_TCK")
BARE: Final = (
    "import asyncio, aiohttp, apscheduler.schedulers.asyncio, structlog, yaml, pydantic, msgspec, apsw;"
    "import resource; used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime)"
)
SERVED: Final = {"without": "off", "with": "{listen: '127.0.0.1:0'}"}
LIMIT: Final = 60.0  # seconds for a start
SETTLING: Final = 15.0  # until what follows a start is over
START_GOAL: Final = 1.3
CPU_GOAL: Final = 0.001  # of a core
WAKEUPS_GOAL: Final = 3.0  # a second
CONFIGURATION: Final = """\
store: {{path: {store}}}
log: {{format: json, level: debug}}
server: {server}
credentials: {{c: {{type: none}}}}
projects: [{{name: prod, endpoint: "http://127.0.0.1:{port}", project_id: u1, interval: 30s}}]
"""


def starts(port: int, directory: Path, *, rounds: int) -> list[dict[str, Any]]:
    """Hold the CPU from the start to the end of the first poll against that of the imports."""
    ratios: dict[str, list[float]] = {name: [] for name in SERVED}
    for number in range(rounds):
        bare = float(
            subprocess.run([sys.executable, "-c", BARE], capture_output=True, check=True, text=True).stdout
        )
        for name, server in SERVED.items():
            with _daemon(port, directory / f"start-{name}-{number}", server) as process:
                ratios[name].append(_cpu_seconds(process.pid) / bare)
    results = []
    for name, found in ratios.items():
        ratio = statistics.median(found)
        verdict = "met" if ratio <= START_GOAL else "missed"
        print(  # noqa: T201  (a program that prints)
            f"P12 start to first poll, {name} server: {ratio:.2f} × the imports ({min(found):.2f} to {max(found):.2f});"
            f" goal {START_GOAL}: {verdict}"
        )
        results.append({"name": f"P12 {name} server", "ratio": round(ratio, 2), "goal": START_GOAL})
    return results


def idle(port: int, directory: Path, *, seconds: float) -> list[dict[str, Any]]:
    """Watch one project each 30 s for so long, side by side with the server and without."""
    results = []
    for name, server in SERVED.items():
        with _daemon(port, directory / f"idle-{name}", server) as process:
            time.sleep(SETTLING)
            cpu, wakeups = _cpu_seconds(process.pid), _wakeups(process.pid)
            time.sleep(seconds)
            core = (_cpu_seconds(process.pid) - cpu) / seconds
            rate = (_wakeups(process.pid) - wakeups) / seconds
        verdict = "met" if core <= CPU_GOAL and rate <= WAKEUPS_GOAL else "missed"
        print(  # noqa: T201  (a program that prints)
            f"P11 idle for {seconds:g} s, {name} server: {core:.2%} of a core, {rate:.1f} wake-ups a second;"
            f" goal {CPU_GOAL:.1%}, {WAKEUPS_GOAL:g}: {verdict}"
        )
        results.append({"name": f"P11 {name} server", "core": core, "wakeups_per_second": rate})
    return results


@contextmanager
def _daemon(port: int, directory: Path, server: str) -> Iterator["subprocess.Popen[str]"]:
    """Start the daemon; the block begins when its first poll is over."""
    directory.mkdir()
    file = directory / "taskwatch.yaml"
    file.write_text(CONFIGURATION.format(store=directory / "taskwatch.db", server=server, port=port))
    with subprocess.Popen(
        [sys.executable, "-m", "taskwatch", "run", "-c", str(file)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            until = time.monotonic() + LIMIT
            for line in process.stderr:
                if '"event": "polled"' in line:
                    break
                assert time.monotonic() < until, line
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _wakeups(pid: int) -> int:
    """Return how often its threads have waited for something."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        found += int(lines["voluntary_ctxt_switches"])
    return found
