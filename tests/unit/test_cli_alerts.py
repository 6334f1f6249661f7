"""`alerts`, `ack`, `resolve`: who has what, whom nobody told, and ids that are cut."""

import asyncio
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import apsw
import pytest

from taskwatch.clock import SystemClock
from taskwatch.core.events import task_event
from taskwatch.model.task import FAILED
from taskwatch.store.reader import StoreReader
from taskwatch.store.rows import AlertRow
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import a_known, a_project, a_reading, a_task, a_transition
from tests.fakes.in_process import Run, runner
from tests.fakes.records import a_record, routed

CONFIGURATION: Final = """\
store: {path: taskwatch.db}
credentials: {c: {type: token, token: {env: NOBODY_HAS_SET_THIS}}}
projects: [{name: prod, endpoint: https://gauss.example, project_id: abc}]
receivers: [{name: hook, type: log}]
"""
ONE: Final = "0d1b7b1e-6c36-4f2f-9a1e-3f2f7a6f1c55"
OTHER: Final = "0d1b9999-6c36-4f2f-9a1e-3f2f7a6f1c55"


async def record(path: Path) -> None:
    """Let a store hold two open alerts."""
    clock = SystemClock()
    store = open_store(path, clock=clock)
    project = a_project("prod", host="gauss.example", project_id="abc")
    state = await store.enrol(project.identity, project.name)
    tasks = [
        a_task(job_id, FAILED, name="RestoreInstance" * 3, fail_reason="no space") for job_id in (ONE, OTHER)
    ]
    events = [
        task_event(
            a_transition(task, from_status=None, revision=1), project=project, sequence=1,
            reading=a_reading(clock.now() - timedelta(minutes=5)), failure_severities=(),
        )
        for task in tasks
    ]  # fmt: skip
    routes = [routed(event, "hook") for event in events]
    await store.commit(a_record(state, tasks=[a_known(task) for task in tasks], events=routes))
    await store.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    asyncio.run(record(tmp_path / "taskwatch.db"))
    return runner(monkeypatch, capsys, tmp_path)


def open_alerts(directory: Path) -> dict[str, AlertRow]:
    with StoreReader(directory / "taskwatch.db") as reader:
        return {row.task.job_id: row for row in reader.alerts() if row.task is not None}


def test_at_80_columns_the_job_id_is_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = run("alerts").out

    assert ONE in out
    assert OTHER in out
    assert max(map(len, out.splitlines())) <= 80


def test_an_alert_that_is_held_says_that_nobody_was_told(run: Run, tmp_path: Path) -> None:
    store = apsw.Connection(str(tmp_path / "taskwatch.db"))
    store.execute("UPDATE deliveries SET state = 'held', held_by = 'silence 3' WHERE event = 1")
    store.close()
    told = {
        row["job_id"]: row["held_by"] for row in map(json.loads, run("alerts", "--json").out.splitlines())
    }

    assert told == {ONE: "silence 3", OTHER: None}
    held, *others = [line for line in run("alerts").out.splitlines() if "nobody: silence 3" in line]
    assert held.endswith(ONE)
    assert others == []


def test_an_alert_that_one_receiver_was_told_of_is_not_said_to_be_told_to_nobody(
    run: Run, tmp_path: Path
) -> None:
    store = apsw.Connection(str(tmp_path / "taskwatch.db"))
    store.execute(
        "INSERT INTO deliveries (event, receiver, path, state, held_by) VALUES (1, 'mail', 'route', 'held', 'silence 3')"
    )
    store.close()

    assert "nobody" not in run("alerts").out


def test_the_beginning_of_an_id_is_enough(run: Run, tmp_path: Path) -> None:
    ended = run("ack", "0d1b7…")

    assert (ended.code, ended.err) == (0, "1 task acknowledged\n")
    assert re.fullmatch(f"{ONE}  .+ failed.*\n", ended.out), "one sees what was meant"
    assert {job_id: row.acknowledged_by is None for job_id, row in open_alerts(tmp_path).items()} == {
        ONE: False,
        OTHER: True,
    }
    assert run("resolve", "0d1b9").code == 0
    assert open_alerts(tmp_path).keys() == {ONE}


@pytest.mark.parametrize("command", ["ack", "resolve"])
def test_a_beginning_of_several_lists_them_and_changes_nothing(
    command: str, run: Run, tmp_path: Path
) -> None:
    ended = run(command, "0d1b")

    assert ended.code == 1
    assert ended.err == (
        f"taskwatch: open alerts of several tasks begin with 0d1b, write more of it: {ONE}, {OTHER}\n"
    )
    assert all(row.acknowledged_by is None for row in open_alerts(tmp_path).values())
    assert len(open_alerts(tmp_path)) == 2


def test_an_id_that_no_open_alert_begins_with_is_said_so(run: Run) -> None:
    ended = run("ack", "0d1b%")

    assert (ended.code, ended.err) == (
        1, "taskwatch: no open alert of 0d1b%; taskwatch alerts shows those there are\n"
    )  # fmt: skip


def test_an_acknowledgement_for_a_time_says_until_when(run: Run, tmp_path: Path) -> None:
    ended = run("ack", ONE, "--for", "4h")
    until = open_alerts(tmp_path)[ONE].acknowledged_until

    assert until is not None
    assert until > datetime.now(UTC) + timedelta(hours=3)
    assert ended.err == f"1 task acknowledged until {until:%Y-%m-%d %H:%M:%SZ}\n"


@pytest.mark.parametrize("duration", ["0s", "59s", "366d"])
def test_an_acknowledgement_for_no_time_is_refused(duration: str, run: Run, tmp_path: Path) -> None:
    ended = run("ack", ONE, "--for", duration)

    assert ended.code == 2
    assert re.search(r"write 1m to 365d, as 4h, or leave it out", ended.err)
    assert open_alerts(tmp_path)[ONE].acknowledged_by is None


@pytest.mark.parametrize("words", [("ack", "f\udcfcr"), ("events", "--project", "\udcff")])
def test_what_is_not_utf_8_is_named_and_is_no_bug(run: Run, words: tuple[str, ...]) -> None:
    ended = run(*words)
    assert ended.code == 1
    assert ended.err == f"taskwatch: {words[-1]!r} is not UTF-8 text\n"


@pytest.mark.parametrize("command", ["ack", "resolve"])
def test_an_id_of_nothing_is_no_beginning_of_all(run: Run, tmp_path: Path, command: str) -> None:
    for nothing in ("", " ", "…"):
        ended = run(command, nothing)
        assert ended.code == 2
        assert "write the id of a task, or its beginning" in ended.err
    assert all(row.acknowledged_by is None for row in open_alerts(tmp_path).values())
    assert open_alerts(tmp_path).keys() == {ONE, OTHER}
