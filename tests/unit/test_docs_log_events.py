"""The guide names each line of the log that the code can write, and no other, with its levels."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LEVELS: Final = {"debug", "info", "warning", "error", "critical"}
# log.info("name", …), log("name", …) of a level chosen before, and those that log edges: _fails("name", …)
CALL: Final = re.compile(
    r'(?:\blog|_log|\blogger\(\))(?:\.(?P<level>debug|info|warning|error|critical))?\(\s*"(?P<event>\w+)"'
    r'|_(?:fails|edge)\(\s*"(?P<edge>\w+)"'
)
ROW: Final = re.compile(r"^\| `(?P<event>[a-z_]+)` \|(?P<levels>[^|]*)\|", re.MULTILINE)


def written() -> dict[str, set[str]]:
    """Return the levels that are seen in the code, by the name of the line."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in (ROOT / "taskwatch").rglob("*.py"):
        for call in CALL.finditer(file.read_text("utf-8")):
            found[call["event"] or call["edge"]] |= {call["level"]} - {None}
    return found


def documented() -> dict[str, set[str]]:
    section = (
        (ROOT / "docs" / "guide.md").read_text("utf-8").partition("## The log\n")[2].partition("\n## ")[0]
    )
    rows = [(row["event"], row["levels"]) for row in ROW.finditer(section)]
    assert len({event for event, _ in rows}) == len(rows), "a line stands twice in the table"
    return {event: set(re.findall(r"\w+", levels)) - {"then"} for event, levels in rows}


def test_the_guide_names_each_line_that_the_code_writes_and_no_other() -> None:
    assert sorted(documented()) == sorted(written())


def test_the_guide_names_the_levels_that_the_code_uses() -> None:
    levels = documented()
    assert set().union(*levels.values()) <= LEVELS
    assert {event: seen for event, seen in written().items() if not seen <= levels.get(event, seen)} == {}
