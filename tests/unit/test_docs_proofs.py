"""What the documents say of tests is so: the files they name are there."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
NAMED: Final = re.compile(r"`(?:tests/)?(\w+/test_\w+\.py)`")


@pytest.mark.parametrize("document", ["guarantees.md", "proven.md"])
def test_every_test_that_a_document_names_is_there(document: str) -> None:
    named = set(NAMED.findall((ROOT / "docs" / document).read_text()))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / "tests" / name).exists()] == []


def test_every_planted_bug_and_the_test_that_it_turns_red_stands_in_the_document() -> None:
    table = (ROOT / "docs" / "proven.md").read_text()
    patches = sorted((ROOT / "tests" / "planted").glob("*.patch"))
    red = [
        re.findall(r"^Red: tests/(\w+/test_\w+\.py)::", patch.read_text(), re.MULTILINE) for patch in patches
    ]
    assert len(red) == 8
    assert [name for (name,) in red if f"| `{name}` |" not in table] == []
