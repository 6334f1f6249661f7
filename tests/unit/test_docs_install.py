"""docs/install.md hides nothing from the test that walks through it (tests/real/test_install_guide.py)."""

import re
from pathlib import Path

import pytest

from taskwatch.config.load import load
from taskwatch.notifiers.registry import kinds
from tests.fakes.pages import Command, blocks, commands
from tests.real.test_install_guide import NOT_RUN, PAGE, SUBSTITUTED

WALKED = [command for step in blocks(PAGE) if step.language == "console" for command in commands(step.text)]


def test_each_command_of_the_page_is_run_or_stands_in_the_list_of_those_that_are_not() -> None:
    fenced = "".join(re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    written = [line[2:] for line in fenced.splitlines() if re.match(r"[#$] ", line)]
    assert [command.text for command in WALKED] == written
    assert set(NOT_RUN) <= set(written)
    assert all(NOT_RUN.values()), "each with its reason"


def test_each_block_is_a_console_or_a_file_with_its_path() -> None:
    others = [block for block in blocks(PAGE) if block.language != "console"]
    assert {block.language for block in others} <= {"ini", "yaml"}
    assert [block.text for block in others if not re.match(r"# /etc/\S+\n", block.text)] == []
    assert PAGE.count("```") == 2 * len(blocks(PAGE)), "a block that is not closed, or indented"


def test_what_the_test_replaces_stands_on_the_page() -> None:
    assert [written for written in SUBSTITUTED if written not in PAGE] == []


def test_the_configurations_of_the_page_load_without_a_warning(tmp_path: Path) -> None:
    for block in blocks(PAGE):
        if block.language == "yaml":
            path, _, text = block.text.removeprefix("# /etc/taskwatch/").partition("\n")
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text, "utf-8")
    config = load(tmp_path / "taskwatch.yaml", kinds())
    assert [watched.project.name for watched in config.projects] == ["prod", "rehearsal"]
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("printed", "output", "holds"),
    [
        ("", "", True),
        ("", "surprise\n", False),
        ("a … c\n", "a   b c\n", True),
        ("a … c\n", "a b\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("…\nb\n", "a\na\nb\n", True),
        ("a\n…\n", "a\n", True),
        ("…\nb\n…\n", "a\nc\n", False),
        ("{…\n", '{"no": "newline at the end"}', True),
    ],
)
def test_what_a_command_prints_is_held_against_the_page(printed: str, output: str, *, holds: bool) -> None:
    assert Command(text="x", by_root=True, printed=printed).prints(output) is holds
