"""Completion: quick, and right in a real shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from taskwatch.cli.main import COMMANDS
from tests.fakes.commands import ROOT
from tests.fakes.in_process import Run, runner

HEAVY: Final = ("aiohttp", "apscheduler", "apsw", "pydantic", "structlog", "asyncio")
# Runs what the installed command runs, then says what it took.
PROGRAM: Final = f"""
import sys
sys.argv[0] = "taskwatch"
try:
    from taskwatch.__main__ import main
    main()
finally:
    print("took:", *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""
TYPED: Final = """
source "$1"
COMP_WORDS=($2) COMP_CWORD=$3 COMPREPLY=()
_taskwatch_completion taskwatch
printf '%s\\n' "${COMPREPLY[@]}"
"""


def started(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True, text=True, check=False, timeout=30, env=os.environ | env,
    )  # fmt: skip


def completed(words: str, number: int) -> subprocess.CompletedProcess[str]:
    return started(_TASKWATCH_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(number))


def test_neither_help_nor_completion_imports_anything_heavy() -> None:
    for ended in (
        started("--help"),
        started("completion", "bash"),
        completed("taskwatch de", 1),
        completed("taskwatch ", 1),
    ):
        assert ended.returncode == 0
        assert ended.stdout
        assert ended.stderr.splitlines()[-1] == "took:"


def test_commands_are_completed_from_their_table() -> None:
    assert completed("taskwatch de", 1).stdout.split() == ["plain,demo", "plain,deliveries"]
    assert len(completed("taskwatch ", 1).stdout.splitlines()) == len(COMMANDS)
    assert completed("taskwatch nothing", 1).stdout.split() == []


def test_subcommands_options_and_choices_are_completed() -> None:
    assert completed("taskwatch state b", 2).stdout == "plain,backup\n"
    assert "plain,--limit\n" in completed("taskwatch events --l", 2).stdout
    assert "plain,fish\n" in completed("taskwatch completion f", 2).stdout
    assert "plain,--debug\n" in completed("taskwatch --d", 1).stdout


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys, tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_and_a_line_that_installs_it(shell: str, run: Run) -> None:
    script, explained = run("completion", shell).out, run("completion", "--help").out

    assert f"_TASKWATCH_COMPLETE={shell}_complete" in script
    assert f"taskwatch completion {shell} > " in explained


def test_a_shell_that_is_not_known_is_wrong_usage(run: Run) -> None:
    assert run("completion", "csh").code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_real_bash_completes_what_is_typed(tmp_path: Path) -> None:
    command, script = tmp_path / "taskwatch", tmp_path / "completion"
    command.write_text(f"#!{sys.executable}\n{PROGRAM}")
    command.chmod(0o755)
    script.write_text(started("completion", "bash").stdout)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def typed(words: str, number: int) -> list[str]:
        ended = subprocess.run(
            ["bash", "--norc", "-c", TYPED, "bash", str(script), words, str(number)],
            capture_output=True, text=True, check=False, timeout=30, env=os.environ | path,
        )  # fmt: skip
        assert ended.stderr == "took:\n"
        return ended.stdout.split()

    assert typed("taskwatch sch", 1) == ["schema"]
    assert typed("taskwatch schema ev", 2) == ["event"]
    assert typed("taskwatch poll --dry", 2) == ["--dry-run"]
