"""A command run in this process, through the same door as the real one: quick, for what needs no process."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from taskwatch.cli.main import main
from tests.fakes.commands import Ended

Run = Callable[..., Ended]
Ask = Callable[..., Awaitable[Ended]]  # the same, in a thread of this process


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], directory: Path) -> Run:
    """Return what runs a command line in the directory."""
    monkeypatch.chdir(directory)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["taskwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, out, err)

    return run
