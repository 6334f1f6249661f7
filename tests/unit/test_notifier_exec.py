"""The receiver `exec`: a program, its input, and how it ends."""

import asyncio
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason, Scope
from taskwatch.notifiers.program import ExecNotifier
from tests.fakes.messages import a_message


def python(text: str, *arguments: str) -> ExecNotifier:
    return ExecNotifier((sys.executable, "-I", "-c", text, *arguments))


async def failure(notifier: ExecNotifier) -> DeliveryError:
    with pytest.raises(DeliveryError) as error:
        await notifier.notify(a_message())
    return error.value


async def test_it_is_given_the_event_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "canary")
    out = tmp_path / "out"
    write = f"import os, sys, json; open({str(out)!r}, 'w').write(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), sys.stdin.read()]))"
    message = a_message(replay=True)
    await python(write, "$(touch x)", "; ls").notify(message)
    arguments, environment, directory, body = json.loads(out.read_text())
    assert arguments == ["$(touch x)", "; ls"]
    assert body.encode() == message.body + b"\n"  # a line, as shells read it
    assert directory == "/"
    own = {name for name in environment if name.startswith("TASKWATCH_")}
    assert own == {"TASKWATCH_EVENT_ID", "TASKWATCH_REPLAY"}
    assert environment["TASKWATCH_EVENT_ID"] == message.event_id
    assert "HOOK_SECRET" not in environment


async def test_an_exit_other_than_0_is_a_failure_with_its_last_line() -> None:
    error = await failure(
        python("import sys; print('first\\nno route \\x1b[31mto host', file=sys.stderr); sys.exit(3)")
    )
    assert error.reason is Reason.REJECTED
    assert error.scope is Scope.EVENT
    assert error.detail.endswith("ended with 3: no route \\x1b[31mto host")


async def test_one_that_a_signal_ended_says_which() -> None:
    error = await failure(python("import os; os.kill(os.getpid(), 9)"))
    assert error.detail.endswith("was ended by signal 9")


async def test_one_that_does_not_read_and_ends_well_has_it() -> None:
    await python("import os; os.close(0)").notify(a_message(reason="x" * 300_000))


async def test_one_that_says_more_than_anybody_reads_does_not_hang() -> None:
    error = await failure(
        python("import sys; sys.stderr.write('x' * 5_000_000 + chr(10) + 'the end'); sys.exit(1)")
    )
    assert error.detail.endswith("ended with 1: the end")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: path.write_text("#!/bin/sh\n"), "permission denied"),
        (lambda path: (path.write_text("nonsense"), path.chmod(0o755)), "exec format error"),
    ],
    ids=["missing", "not executable", "no program"],
)
async def test_what_cannot_be_started_is_said_of_the_receiver(tmp_path: Path, make: object, why: str) -> None:
    path = tmp_path / "program"
    assert callable(make)
    make(path)
    error = await failure(ExecNotifier((str(path),)))
    assert (error.reason, error.scope) == (Reason.LOCAL, Scope.RECEIVER)
    assert error.detail == f"{path} cannot be started: {why}"


async def test_at_its_time_out_all_that_it_started_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    text = (
        "import os, subprocess, sys, time;"
        "child = subprocess.Popen(['sleep', '60']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}\\n');"
        "time.sleep(60)"
    )
    attempt = asyncio.create_task(python(text).notify(a_message()))
    while not (pids.exists() and pids.read_text().endswith("\n")):
        await asyncio.sleep(0.01)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    for pid in map(int, pids.read_text().split()):
        for _ in range(500):
            if not _runs(pid):
                break
            await asyncio.sleep(0.01)
        assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_what_it_left_running_holds_up_nothing(tmp_path: Path) -> None:
    # The child keeps standard error open.
    pid = tmp_path / "pid"
    text = (
        f"import subprocess; c = subprocess.Popen(['sleep', '60']); open({str(pid)!r}, 'w').write(str(c.pid))"
    )
    await asyncio.wait_for(python(text).notify(a_message()), 20)
    os.kill(int(pid.read_text()), 9)


async def test_to_be_tried_it_is_looked_for_and_not_run(tmp_path: Path) -> None:
    await ExecNotifier(("/bin/true",)).connect()
    await ExecNotifier(("true",)).connect()
    with pytest.raises(DeliveryError, match="is no program that can be run here"):
        await ExecNotifier((str(tmp_path / "none"),)).connect()
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    await ExecNotifier((str(script),)).connect()
    assert not (tmp_path / "ran").exists()
