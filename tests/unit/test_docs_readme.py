"""What the README and the other pages name is there: configurations, commands, options, targets, places."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from taskwatch.cli.main import group
from taskwatch.config.load import load
from taskwatch.notifiers.registry import kinds
from tests.fakes.pages import ROOT, anchors, blocks, commands, links

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def told(page: Path, program: str) -> Iterator[str]:
    """Yield the arguments of each command of this program: in consoles, and in the text."""
    text = page.read_text("utf-8")
    lines = re.findall(r"`([^`\n]+)`", text)
    for block in blocks(text):
        if block.language == "console":
            lines += [command.text for command in commands(block.text)]
    for line in lines:
        for part in re.split(r"[|;&]+", line):
            if found := re.match(rf"\s*(?:[A-Z_]+=\S+ +)*(?:\S+/)?{program} (?P<arguments>.*)", part):
                yield found["arguments"]


def test_the_configuration_of_the_readme_loads(tmp_path: Path) -> None:
    [written] = [block for block in blocks(PAGES[0].read_text("utf-8")) if block.language == "yaml"]
    file = tmp_path / "taskwatch.yaml"
    file.write_text(written.text, "utf-8")
    config = load(file, kinds())
    assert (len(config.projects), len(config.receivers)) == (1, 2)
    assert config.warnings == ()


def test_the_commands_that_a_page_names_are_there_with_their_options(page: Path) -> None:
    assert [f"{line}: {wrong}" for line in told(page, "taskwatch") if (wrong := _wrong(line))] == []


def test_the_targets_that_a_page_names_are_there(page: Path) -> None:
    named = {word for line in told(page, "make") for word in line.split()[:1] if word.isalpha()}
    assert named <= set(TARGETS)


def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    inside = [link for link in links(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in inside if not _leads(page, link)] == []


def _wrong(line: str) -> str:
    """Return what of this command there is not."""
    command: click.Command = group
    words = shlex.split(line, comments=True)
    while isinstance(command, click.Group) and words and words[0].islower() and words[0].isalpha():
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return words[0]
        command, words = found, words[1:]
    known = {name for parameter in command.get_params(click.Context(command)) for name in parameter.opts}
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    return " ".join(sorted(options - known))


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target.read_text("utf-8")))
