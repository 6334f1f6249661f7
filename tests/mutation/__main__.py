"""`make mutants`: whether the tests of the pure core notice small mistakes in it.

Each mistake is made in a copy, and only the tests that answer for its module run. What survives is
either a test that is missing or a mistake that changes nothing: a person has to say which.
"""

import argparse
import json
import queue
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants
from tests.mutation.tree import ROOT, copy_tree
from tests.mutation.trials import CORE, TrialError, answering_for, key_of, modules, notices


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One mutant, and the tests that should notice it."""

    module: str
    mutant: Mutant
    tests: tuple[str, ...]
    key: str

    @property
    def place(self) -> str:
        return f"{CORE / self.module}.py:{self.mutant.line}"


class Record:
    """The verdicts so far, one a line: what stands there is not tried again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._noticed: dict[str, bool] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                verdict = json.loads(line)
                self._noticed[verdict["key"]] = verdict["noticed"]

    def __getitem__(self, trial: Trial) -> bool:
        return self._noticed[trial.key]

    def __contains__(self, trial: Trial) -> bool:
        return trial.key in self._noticed

    def add(self, trial: Trial, *, noticed: bool) -> None:
        self._noticed[trial.key] = noticed
        if self._path is not None:
            verdict = {
                "key": trial.key,
                "place": trial.place,
                "difference": trial.mutant.difference,
                "noticed": noticed,
            }
            with self._path.open("a") as file:
                file.write(json.dumps(verdict, ensure_ascii=False) + "\n")


def trials_of(module: str) -> list[Trial]:
    tests = answering_for(module)
    source = (ROOT / CORE / f"{module}.py").read_text()
    return [
        Trial(module=module, mutant=mutant, tests=tests, key=key_of(mutant.source, tests))
        for mutant in mutants(source)
    ]


def require_green(tree: Path, trials: Sequence[Trial], *, seconds: float) -> None:
    """Raise TrialError unless the tests pass while nothing is wrong, each file alone."""
    for name in sorted({name for trial in trials for name in trial.tests}):
        if notices(tree, [name], seconds=seconds):
            raise TrialError(f"{name} is red, or takes longer than {seconds:g} s, without any mistake")


def attempt(trial: Trial, trees: "queue.SimpleQueue[Path]", *, seconds: float) -> bool:
    tree = trees.get()
    path = tree / CORE / f"{trial.module}.py"
    right = path.read_text()
    try:
        path.write_text(trial.mutant.source)
        return notices(tree, trial.tests, seconds=seconds)
    finally:
        path.write_text(right)
        trees.put(tree)


def run(trials: Sequence[Trial], record: Record, *, at_once: int, seconds: float) -> None:
    """Try what is not on record yet."""
    left = [trial for trial in trials if trial not in record]
    if not left:
        return
    with ExitStack() as stack:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        copies = [
            copy_tree(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskwatch-mutants-"))))
            for _ in range(at_once)
        ]
        require_green(copies[0], left, seconds=seconds)
        for copy in copies:
            trees.put(copy)
        pool = stack.enter_context(ThreadPoolExecutor(at_once))
        stack.callback(
            pool.shutdown, cancel_futures=True
        )  # an interruption waits for no more than is under way
        begun = {pool.submit(attempt, trial, trees, seconds=seconds): trial for trial in left}
        survived = 0
        for number, future in enumerate(as_completed(begun), start=1):
            record.add(begun[future], noticed=future.result())
            survived += not future.result()
            sys.stderr.write(f"\r{number} of {len(left)} tried, {survived} survived ")
            sys.stderr.flush()
        sys.stderr.write("\n")


def report(trials: Sequence[Trial], record: Record) -> str:
    lines = []
    for trial in trials:
        if not record[trial]:
            lines += [trial.place, *(f"    {line}" for line in trial.mutant.difference)]
    for module in sorted({trial.module for trial in trials}):
        lines.append(f"{module}: {_share([trial for trial in trials if trial.module == module], record)}")
    return "\n".join([*lines, _share(trials, record)])


def _share(trials: Sequence[Trial], record: Record) -> str:
    killed = sum(record[trial] for trial in trials)
    return f"killed {killed} of {len(trials)} ({100 * killed / max(len(trials), 1):.1f} %)"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="of taskwatch/core, such as route; all by default"
    )
    parser.add_argument("--record", type=Path, help="keep verdicts in this file, and go on from there")
    parser.add_argument("--at-once", type=int, choices=(1, 2), default=2, help="test runs at a time")
    parser.add_argument("--seconds", type=float, default=60.0, help="after which a test run has noticed")
    parser.add_argument("--least", type=float, default=0.0, help="fail when fewer per cent are killed")
    arguments = parser.parse_args()
    unknown = set(arguments.modules) - set(modules())
    if unknown:
        parser.error(f"no module of {CORE}: {', '.join(sorted(unknown))}; there are {', '.join(modules())}")
    try:
        trials = [trial for module in arguments.modules or modules() for trial in trials_of(module)]
        record = Record(arguments.record)
        run(trials, record, at_once=arguments.at_once, seconds=arguments.seconds)
    except TrialError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\nstopped; what --record holds is not tried again\n")
    sys.stdout.write(report(trials, record) + "\n")
    killed = sum(record[trial] for trial in trials)
    return 0 if 100 * killed >= arguments.least * len(trials) else 1


if __name__ == "__main__":
    sys.exit(main())
