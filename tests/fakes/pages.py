"""A page of the documentation as what it tells a reader to do: its blocks, the commands in them, its links.

In a `console` block a line that begins with `# ` or `$ ` is a command, of root or of anybody; what follows
is what it prints. `…` stands for anything in a line, and alone on a line for any lines. Spaces are not counted.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_BLOCK: Final = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    language: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    text: str
    by_root: bool
    printed: str = ""

    def prints(self, output: str) -> bool:
        """Whether this is what the page says that it prints."""
        lines = [
            "(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n"
            for line in _squeezed(self.printed).splitlines()
        ]
        return re.fullmatch("".join(lines), _squeezed(output)) is not None


def blocks(page: str) -> list[Block]:
    return [Block(language=found["language"], text=found["text"]) for found in _BLOCK.finditer(page)]


def commands(console: str) -> list[Command]:
    """Return the commands of a block, in order. Raises ValueError where output stands before any of them."""
    found: list[Command] = []
    for line in console.splitlines():
        if line.startswith(("# ", "$ ")):
            found.append(Command(text=line[2:], by_root=line.startswith("#")))
        elif found:
            last = found.pop()
            found.append(Command(text=last.text, by_root=last.by_root, printed=f"{last.printed}{line}\n"))
        else:
            raise ValueError(f"printed by no command: {line}")
    return found


def links(page: str) -> list[str]:
    return [found["target"] for found in _LINK.finditer(_BLOCK.sub("", page))]


def anchors(page: str) -> set[str]:
    """Return what a link can point to, as GitHub names it."""
    headings = _HEADING.findall(_BLOCK.sub("", page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _squeezed(text: str) -> str:
    return "".join(re.sub(r"\s+", " ", line).strip() + "\n" for line in text.splitlines())
