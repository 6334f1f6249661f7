"""Which tests answer for a module of the core, and whether they notice a mistake in it."""

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.mutation.tree import ROOT, run_tests

CORE: Final = Path("taskwatch/core")
# Where the name of a module does not say all of it.
_SHARED: Final = {
    "absence": ("tests/unit/test_core_absence.py", "tests/unit/test_core_absence_edges.py"),
    "backoff": ("tests/unit/test_core_pace.py",),
    "cadence": ("tests/unit/test_core_pace.py",),
    "detect": (
        "tests/unit/test_core_detect.py",
        "tests/unit/test_core_history.py",
        "tests/property/test_detect.py",
    ),
    "cloudevents": (
        "tests/unit/test_core_events.py",
        "tests/unit/test_core_event_edges.py",
        "tests/unit/test_core_outage_events.py",
        "tests/property/test_events.py",
    ),
    "events": (
        "tests/unit/test_core_events.py",
        "tests/unit/test_core_event_edges.py",
        "tests/property/test_events.py",
    ),
    "matchers": ("tests/unit/test_core_route.py", "tests/property/test_route.py"),
    "route": (
        "tests/unit/test_core_route.py",
        "tests/unit/test_core_routing.py",
        "tests/property/test_route.py",
    ),
    "verdict": ("tests/unit/test_core_pace.py",),
}
_FAILED: Final = 1  # pytest's exit codes: a test failed,
_BROKEN: Final = 2  # or what it imports cannot be imported


class TrialError(Exception):
    """The tests can say nothing of this module."""


def modules() -> list[str]:
    return sorted(path.stem for path in (ROOT / CORE).glob("[!_]*.py"))


def answering_for(module: str) -> tuple[str, ...]:
    """Return the files of tests that answer for this module. Raises TrialError where there are none."""
    named = _SHARED.get(module, (f"tests/unit/test_core_{module}.py", f"tests/property/test_{module}.py"))
    found = tuple(name for name in named if (ROOT / name).exists())
    if not found:
        raise TrialError(f"nothing answers for {CORE / module}.py: write {named[0]}")
    return found


def key_of(source: str, tests: Sequence[str]) -> str:
    """Return what a verdict holds for: this very mutant under these very tests."""
    digest = hashlib.sha256(source.encode())
    for name in tests:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def notices(tree: Path, tests: Sequence[str], *, seconds: float) -> bool:
    """Tell whether the tests go red upon this copy; a test that comes to no end in this time has noticed too."""
    try:
        run = run_tests(tree, tests, seconds=seconds)
    except subprocess.TimeoutExpired:
        return True
    if run.returncode not in {0, _FAILED, _BROKEN}:
        raise TrialError(f"pytest ended with {run.returncode}:\n{run.stdout[-2000:]}")
    return run.returncode != 0
