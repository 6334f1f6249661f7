"""The overview, what is said of commands that are not there, `--debug` anywhere, and the manual page."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taskwatch.cli import manual
from taskwatch.cli.main import COMMANDS, FURTHER, PLANNED, group
from tests.fakes.commands import ROOT
from tests.fakes.in_process import Run, runner


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys, tmp_path)


def test_the_overview_fits_a_screen_of_24_lines_by_80_columns(run: Run) -> None:
    lines = run("--help").out.splitlines()

    assert len(lines) <= 24
    assert [line for line in lines if len(line) > 80] == []


def test_the_overview_names_each_command_and_what_it_is_for(run: Run) -> None:
    out = run("--help").out

    assert [name for name in COMMANDS if name not in FURTHER and f"\n  {name} " not in out] == []
    assert f"\n  And: {', '.join(FURTHER)}.\n" in out


def test_each_command_shows_an_example(run: Run) -> None:
    for name in COMMANDS:
        assert "Example: taskwatch " in run(name, "--help").out


def test_no_line_about_a_command_is_cut_in_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in COMMANDS:
        lines = run(name, "--help").out.splitlines()
        assert [line for line in lines if line.endswith("...") and not line.startswith("Usage: ")] == []


def test_without_a_command_the_overview_is_the_answer_and_the_usage_wrong(run: Run) -> None:
    ended = run()

    assert ended.code == 2
    assert "  demo " in ended.out + ended.err


@pytest.mark.parametrize(("typed", "meant"), [("rum", "run"), ("evens", "events"), ("chekc", "check")])
def test_a_mistyped_command_is_told_what_was_probably_meant(typed: str, meant: str, run: Run) -> None:
    ended = run(typed)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith(f"no command '{typed}'; did you mean {meant}?\n")


def test_a_command_like_nothing_else_gets_no_guess(run: Run) -> None:
    ended = run("xyzzy\x1b[31m")

    assert ended.code == 2
    assert ended.err.endswith("no command 'xyzzy\\x1b[31m'\n")


@pytest.mark.parametrize("name", sorted(PLANNED))
def test_a_command_that_is_promised_for_later_says_so(name: str, run: Run) -> None:
    ended = run(name, "--whatever")

    assert ended.code == 2
    assert ended.err.endswith(f"{name} is not in this version\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("state chek", "no command 'chek'; did you mean check?"),
        ("state copy a b", "copy is not in this version"),
        ("route tets", "no command 'tets'; did you mean test?"),
        ("silence exprie 3", "no command 'exprie'; did you mean expire?"),
    ],
)
def test_a_command_of_a_group_is_guided_to_as_well(typed: str, said: str, run: Run) -> None:
    ended = run(*typed.split())

    assert ended.code == 2
    assert ended.err.endswith(f"{said}\n")


def test_a_command_is_either_there_or_promised() -> None:
    assert COMMANDS.keys() & PLANNED == set()


def test_debug_is_heard_before_a_command_and_after_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class ABugError(Exception):
        pass

    def breaks(*arguments: object, **options: object) -> None:
        raise ABugError

    monkeypatch.setattr(group, "main", breaks)
    assert run("tasks").err.startswith("taskwatch: ABugError: a bug in taskwatch")
    for arguments in (("--debug", "tasks"), ("tasks", "--debug"), ("tasks", "--limit", "3", "--debug")):
        with pytest.raises(ABugError):
            run(*arguments)
    assert run("tasks", "--", "--debug").code == 1, "after -- it is an argument as any other"


def test_debug_after_a_command_is_no_option_that_the_command_lacks(run: Run) -> None:
    assert run("schema", "event", "--debug").code == 0


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_no_file_is_opened_as_a_standard_stream_that_was_closed(closed: str) -> None:
    program = (
        "import os; from taskwatch.cli.main import main\n"
        "try: main()\n"
        "finally: os._exit(os.open(os.devnull, os.O_RDONLY))"
    )
    shell = f'exec "$@" {closed}'
    ended = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-c", program, "schema", "event"],
        capture_output=True, check=False, timeout=30,
    )  # fmt: skip

    assert ended.returncode > 2, "the number of the file that was opened"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_command_without_standard_streams_is_the_same_command(closed: str) -> None:
    ended = shell(f"{TASKWATCH} schema event {closed}")

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("output", ["", "2>&1"])
@pytest.mark.parametrize(
    ("arguments", "code"), [("schema event", 0), ("events --help", 0), ("--version", 0), ("chekc", 2)]
)
def test_a_reader_that_has_had_enough_is_no_failure(arguments: str, code: int, output: str) -> None:
    ended = shell(f"{{ sleep 0.2; {TASKWATCH} {arguments} {output}; echo $? >&3; }} 3>&2 | exec true")

    assert ended.stderr.splitlines()[-1] == str(code)
    assert code or ended.stderr == f"{code}\n"


def test_output_that_cannot_be_written_is_one_line_and_a_failure() -> None:
    ended = shell(f"{TASKWATCH} events --help >/dev/full")

    assert (ended.returncode, ended.stderr) == (1, "taskwatch: No space left on device\n")


TASKWATCH = f"{shlex.quote(sys.executable)} -m taskwatch"


def shell(script: str) -> subprocess.CompletedProcess[str]:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env=buffered, capture_output=True, text=True, check=False, timeout=30
    )


# The manual


def test_the_manual_that_is_shipped_is_what_the_commands_say() -> None:
    shipped = (ROOT / "docs" / "taskwatch.1").read_text("utf-8")

    assert shipped == manual.page(), "run: make man"


def test_the_manual_has_every_section_and_every_command() -> None:
    lines = manual.page().splitlines()
    headings = [line.removeprefix(".SH ") for line in lines if line.startswith(".SH")]

    assert headings == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS", "EXAMPLES",
        "SEE ALSO",
    ]  # fmt: skip
    described = {line.split()[2] for line in lines if line.startswith(".SS ")}
    assert described == {name.replace("-", r"\-") for name in COMMANDS}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_manual_is_clean_roff() -> None:
    checked = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z"],
        input=manual.page(), capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip

    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_command_whose_end_is_an_answer_is_not_done_when_its_reader_goes_away(tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(
        "credentials: {c: {type: none}}\nprojects: [{name: p, endpoint: 'https://gaussdb.example', project_id: x}]\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "taskwatch", "check"],
            cwd=tmp_path,
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)

    assert (ended.returncode, ended.stderr) == (141, b"")
