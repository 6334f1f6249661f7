"""The suite notices what it is there to notice: eight bugs, each planted in a copy, and each turns its test red.

A patch in tests/planted says what is wrong, which guarantee that breaks, which test has to fail, and with what
words: a test that trips over the patch itself proves nothing. Hunks are found by their text, which must stand
in the file exactly once, and not by their lines: what is written above a place does not matter. A patch that
fits no more is an error, for then nothing is proven either.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.mutation.tree import ROOT, copy_tree, run_tests

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

PATCHES: Final = sorted((ROOT / "tests" / "planted").glob("*.patch"))
SECONDS: Final = 60.0  # that one test may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """A place in a file, as it is and as it is with the bug."""

    file: str
    right: str
    wrong: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedBug:
    """A patch, read."""

    name: str
    red: str  # the test that must fail
    says: str  # what it then says
    hunks: tuple[Hunk, ...]

    def plant(self, tree: Path) -> None:
        for hunk in self.hunks:
            path = tree / hunk.file
            source = path.read_text()
            found = source.count(hunk.right)
            assert found == 1, (
                f"tests/planted/{self.name}.patch fits no more, write it anew:"
                f" {hunk.file} has {found} times\n{hunk.right}"
            )
            path.write_text(source.replace(hunk.right, hunk.wrong))


def read(patch: Path) -> PlantedBug:
    red = says = file = ""
    hunks: list[tuple[str, list[str]]] = []
    for line in patch.read_text().splitlines():
        match line.partition(" "):
            case ("Red:", _, name) if not hunks:
                red = name
            case ("Says:", _, words) if not hunks:
                says = words
            case ("---", _, _):
                continue
            case ("+++", _, name):
                file = name.removeprefix("b/")
            case ("@@", _, _):
                hunks.append((file, []))
            case _ if hunks:
                hunks[-1][1].append(line)
    assert red, f"{patch.name} does not say which test goes red"
    assert says, f"{patch.name} does not say with what words"
    assert hunks, f"{patch.name} changes nothing"
    return PlantedBug(
        name=patch.stem,
        red=red,
        says=says,
        hunks=tuple(_hunk(place, lines) for place, lines in hunks),
    )


def _hunk(file: str, lines: list[str]) -> Hunk:
    return Hunk(
        file=file,
        right="".join(f"{line[1:]}\n" for line in lines if not line.startswith("+")),
        wrong="".join(f"{line[1:]}\n" for line in lines if not line.startswith("-")),
    )


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
