"""The suite notices what it is there to notice: eight bugs, each planted in a copy, and each turns its test red.

A patch in tests/planted says what is wrong, which guarantee that breaks, which test has to fail, and with what
words: a test that trips over the patch itself proves nothing.
"""

from pathlib import Path
from typing import Final

import pytest

from tests.mutation.tree import copy_tree, run_tests
from tests.planted.patch import PLACE, read

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

PATCHES: Final = sorted(PLACE.glob("*.patch"))
SECONDS: Final = 60.0  # that one test may take


def test_without_a_bug_each_of_the_tests_passes(tmp_path: Path) -> None:
    run = run_tests(copy_tree(tmp_path), [read(patch).red for patch in PATCHES], seconds=4 * SECONDS)

    assert run.returncode == 0, run.stdout
    assert "skipped" not in run.stdout, run.stdout


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_planted_bug_turns_its_test_red(patch: Path, tmp_path: Path) -> None:
    bug = read(patch)
    tree = copy_tree(tmp_path)
    bug.plant(tree)

    run = run_tests(tree, [bug.red], seconds=SECONDS)

    # 1 is a test that failed; what cannot be imported or found ends with another code.
    assert run.returncode == 1, f"{bug.red} did not notice {bug.name}:\n{run.stdout}"
    assert "1 failed" in run.stdout, run.stdout
    assert f"FAILED {bug.red}" in run.stdout, run.stdout
    assert bug.says in run.stdout, f"{bug.red} failed for another reason than {bug.name}:\n{run.stdout}"


def test_none_of_the_eight_is_missing() -> None:
    assert [patch.stem for patch in PATCHES] == [
        "absence_as_end",
        "acknowledge_before_send",
        "no_order_per_task",
        "no_stale_guard",
        "random_ids",
        "silent_new_baseline",
        "split_commit",
        "wall_clock_waits",
    ]
