import sys
from pathlib import Path

import pytest

from taskwatch.cli.demo.account import Account, Heard
from taskwatch.cli.demo.scene import Left
from taskwatch.cli.demo.summary import SHOWN_FAILURES, conclude, say_next
from taskwatch.simulator.receiver import WebhookReceiver

LEFT = Left(tasks=7300, watched=(), pending=3, waiting=frozenset(), retried=4)


def concluded(capsys: pytest.CaptureFixture[str], heard: Heard, result: Account | None) -> str:
    receiver = WebhookReceiver(secret="whsec_" + "A" * 32, told=heard.hear)
    receiver.received, receiver.copies = 41, 1
    conclude(seconds=39.6, heard=heard, receiver=receiver, left=LEFT, result=result)
    return capsys.readouterr().out


def test_what_was_lost_told_falsely_or_waits_is_said_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    result = Account(changes=50, unseen=2, lost=1, false=6)
    said = concluded(capsys, Heard(), result)

    assert "50 changes that polls could read; lost: 1, told falsely: 6." in said
    assert "2 starts had ended before the next poll." in said
    assert "40 to the receiver pipeline: 4 needed more than one try, 1 came twice" in said
    assert "3 more in the store: the next start would deliver them." in said


def test_where_the_truth_is_not_known_nothing_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "lost" not in concluded(capsys, Heard(), None)


def test_failures_are_named_up_to_a_bound_and_their_text_is_harmless(
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard = Heard(failures=[("prod", f"\x1b[2J{number} failed: No.") for number in range(SHOWN_FAILURES + 3)])
    said = concluded(capsys, heard, None)

    assert "\x1b" not in said
    assert said.count("failed: No.") == SHOWN_FAILURES
    assert "and 3 failures more" in said


@pytest.mark.parametrize(
    ("called", "installed", "expected"),
    [
        (".venv/bin/taskwatch", False, ".venv/bin/taskwatch events"),
        ("/somewhere/taskwatch/__main__.py", False, f"{sys.executable} -m taskwatch events"),
        (".venv/bin/taskwatch", True, "  taskwatch events"),
    ],
)
def test_the_next_steps_can_be_pasted(
    called: str, expected: str, *, installed: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", [called, "demo"])
    if installed:
        (tmp_path / "taskwatch").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    say_next(tmp_path / "a directory" / "taskwatch.yaml")
    said = capsys.readouterr().out

    assert expected in said
    assert f"-c '{tmp_path}/a directory/taskwatch.yaml'" in said
    assert said.splitlines()[-1].endswith(" init")
