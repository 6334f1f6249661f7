"""Planted bugs, as the patches beside this file say them.

Hunks are found by their text, which must stand in the file exactly once, and not by their lines: what is written
above a place does not matter. A patch that fits no more is an error, for then nothing is proven either.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PLACE: Final = Path(__file__).parent


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
