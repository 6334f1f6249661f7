"""`tasks`, `events`, `deliveries`: what they answer, and that no text of a cloud steers a terminal."""

import asyncio
import io
import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from taskwatch.clock import SystemClock
from taskwatch.core.events import task_event
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, Reason, Retry
from taskwatch.model.task import COMPLETED, FAILED, RUNNING, Instance, Task
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import a_known, a_project, a_reading, a_task, a_transition
from tests.fakes.commands import Ended
from tests.fakes.in_process import Run, runner
from tests.fakes.messages import HOSTILE
from tests.fakes.records import a_record, routed

CONFIGURATION: Final = """\
store: {path: taskwatch.db}
credentials: {c: {type: token, token: {env: NOBODY_HAS_SET_THIS}}}
projects: [{name: prod, endpoint: https://gauss.example, project_id: abc}]
"""
TASKS: Final = (
    a_task("going", RUNNING, progress=40, instance=Instance(id="in-1", name="db-1", status="normal")),
    a_task("done", COMPLETED, name="RestoreGaussDBV5InInstance", instance=Instance(id="in-2", name="db-2")),
    a_task("bad", FAILED, fail_reason="no space left", instance=Instance(id="in-1", name="db-1")),
)


async def record(path: Path, tasks: tuple[Task, ...]) -> None:
    """Let a store hold these tasks, each with an event to two receivers: told, tried or given up."""
    clock = SystemClock()
    store = open_store(path, clock=clock)
    project = a_project()
    state = await store.enrol(project.identity, project.name)
    reading = a_reading(clock.now() - timedelta(minutes=5))
    events = [
        task_event(
            a_transition(task, from_status=None, revision=1),
            project=project, sequence=1, reading=reading, failure_severities=(),
        )
        for task in tasks
    ]  # fmt: skip
    known = [a_known(task) for task in tasks]
    await store.commit(
        a_record(state, tasks=known, events=[routed(event, "journal", "hook") for event in events])
    )
    trouble = Retry(reason=Reason.SERVER_ERROR, detail=HOSTILE["ANSI"], poisoned=0, tried_seconds=1.0)
    end = Dead(reason=Reason.REJECTED, detail="422", why="poison", poisoned=10, tried_seconds=1.0)
    for number, outcome in ((1, Delivered()), (2, trouble), (3, Delivered()), (4, end), (5, Delivered())):
        await store.record(DeliveryId(number), outcome, clock.now())
    await store.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    asyncio.run(record(tmp_path / "taskwatch.db", TASKS))
    return runner(monkeypatch, capsys, tmp_path)


FILTERS: Final = {
    "tasks": 3,
    "tasks --status failed": 1,
    "tasks --status Canceled": 0,
    "tasks --name Restore*": 1,
    "tasks --instance db-1": 2,
    "tasks --instance in-2": 1,
    "tasks --limit 2": 2,
    "tasks --since 1h": 3,
    "tasks --since 2100-01-01": 0,
    "events": 3,
    "events --type task.failed": 1,
    "events --type taskwatch.task.completed --name Restore*": 1,
    "events --since 1h --limit 1": 1,
    "events --since 1m": 0,
    "events --type task.started --project prod": 1,
    "events --type task.canceled": 0,
    "deliveries": 6,
    "deliveries --state delivered --receiver journal": 3,
    "deliveries --state dead": 1,
    "deliveries --state pending --receiver hook": 2,
    "deliveries --type task.failed": 2,
}


def test_filters_filter(run: Run) -> None:
    found = {}
    for arguments in FILTERS:
        ended = run(*arguments.split(), "--json")
        assert (ended.code, ended.err) == (0, "… and more: --limit N shows them\n" * ("--limit" in arguments))
        found[arguments] = len(ended.out.splitlines())

    assert found == FILTERS


def test_nothing_that_fits_is_said_aside_and_is_no_failure(run: Run) -> None:
    for command in ("tasks", "events", "deliveries"):
        ended = run(command, "--since", "2100-01-01")

        assert (ended.code, ended.out) == (0, "")
        assert ended.err.startswith("No ")
        assert run(command, "--since", "2100-01-01", "--json") == replace(ended, err="")


TYPOS: Final = {
    "events --type task.fail": "no event has the type 'task.fail'; did you mean task.failed?",
    "events --type taskwatch.task.fail": "no event has the type 'taskwatch.task.fail'; did you mean task.failed?",
    "events --project pord": "Invalid value for --project: no project 'pord' is known; did you mean prod?",
    "tasks --status Faild": "Invalid value for --status: no status 'Faild' is known; did you mean Failed?",
    "tasks --project pord": "Invalid value for --project: no project 'pord' is known; did you mean prod?",
    "deliveries --receiver hok": "Invalid value for --receiver: no receiver 'hok' is known; did you mean hook?",
}


@pytest.mark.parametrize("typed", TYPOS)
def test_a_filter_that_names_what_is_not_there_is_wrong_usage(typed: str, run: Run) -> None:
    Path("taskwatch.yaml").write_text(f"{CONFIGURATION}receivers: [{{name: hook, type: log}}]\n")
    for form in ((), ("--json",)):
        ended = run(*typed.split(), *form)

        assert (ended.code, ended.out) == (2, "")
        assert ended.err.endswith(f"Error: {TYPOS[typed]}\n")


def test_what_only_the_store_knows_is_no_typo(run: Run) -> None:
    Path("taskwatch.yaml").write_text(CONFIGURATION.replace("name: prod", "name: renamed"))

    assert run("events", "--project", "prod", "--since", "2100-01-01").code == 0
    assert run("events", "--project", "renamed").code == 0
    assert run("deliveries", "--receiver", "hook", "--since", "2100-01-01").code == 0


def test_a_limit_that_hides_something_says_so(run: Run) -> None:
    for command, number in (("tasks", 3), ("events", 3), ("deliveries", 6)):
        for form, head in (((), 1), (("--json",), 0)):
            cut, whole = (run(command, "--limit", str(limit), *form) for limit in (number - 1, number))

            assert cut.err == "… and more: --limit N shows them\n"
            assert len(cut.out.splitlines()) == head + number - 1
            assert (whole.err, len(whole.out.splitlines())) == ("", head + number)


AT_80_COLUMNS: Final = {
    "tasks": "STATUS TASK INSTANCE PROJECT TOOK REASON",
    "events": "TIME TYPE PROJECT SUMMARY EVENT ID",
    "deliveries": "STATE RECEIVER TRIES WHY SUMMARY EVENT ID",
}


@pytest.fixture
def terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs a command on a terminal of 80 columns without colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    def on_terminal(*arguments: str) -> Ended:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        return run(*arguments)

    return on_terminal


def test_at_80_columns_stands_what_an_operator_goes_on_with(terminal: Run) -> None:
    shown = {command: terminal(command).out.splitlines() for command in AT_80_COLUMNS}

    assert {command: " ".join(lines[0].split()) for command, lines in shown.items()} == AT_80_COLUMNS
    assert max(len(line) for lines in shown.values() for line in lines) <= 80


def test_the_id_in_a_table_at_80_columns_is_enough_to_explain(terminal: Run) -> None:
    for command in ("events", "deliveries"):
        for line in terminal(command).out.splitlines()[1:]:
            assert terminal("explain", line.split()[-1]).code == 0


def test_a_column_that_would_be_useless_if_cut_stands_whole_or_not_at_all(
    terminal: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job_id = "0d1b7b1e-6c36-4f2f-9a1e-3f2f7a6f1c55"
    asyncio.run(record(tmp_path / "other.db", (a_task(job_id, RUNNING, name="Backup" * 8),)))
    Path("taskwatch.yaml").write_text(CONFIGURATION.replace("taskwatch.db", "other.db"))
    for columns in range(40, 180):
        monkeypatch.setenv("COLUMNS", str(columns))
        table = terminal("tasks").out
        assert ("JOB ID" in table) == (job_id in table)


def test_a_table_of_deliveries_says_in_a_word_why_one_failed(run: Run) -> None:
    rows = run("deliveries", "--receiver", "hook").out.splitlines()[1:]

    assert sorted(line.split()[3] for line in rows) == ["-", "poison", "server_error"]


def test_a_table_has_a_heading_and_a_row_for_each(run: Run) -> None:
    heading, *rows = run("tasks").out.splitlines()

    assert heading.split()[:2] == ["STATUS", "PROGRESS"]
    assert sorted(line.split()[0] for line in rows) == ["Completed", "Failed", "Running"]
    assert any("40 %" in line and "db-1" in line for line in rows)


def test_events_as_json_are_the_events_that_were_told(run: Run) -> None:
    events = [json.loads(line) for line in run("events", "--json").out.splitlines()]

    assert {event["subject"] for event in events} == {"going", "done", "bad"}
    assert all(event["specversion"] == "1.0" for event in events)


def test_a_delivery_says_why_it_is_dead(run: Run) -> None:
    (dead,) = [json.loads(line) for line in run("deliveries", "--state", "dead", "--json").out.splitlines()]

    assert (dead["receiver"], dead["why"], dead["reason"], dead["attempts"]) == (
        "hook",
        "poison",
        "rejected",
        1,
    )


def test_asking_reads_no_secret(run: Run) -> None:
    # The configuration names a token in an environment variable that is not set.
    assert run("tasks").code == 0


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_harms_no_table_and_no_json(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    task = a_task(
        f"job{text}"[:200], text[:100], name=text, fail_reason=text, instance=Instance(id=text, name=text)
    )
    asyncio.run(record(tmp_path / "taskwatch.db", (task,)))
    run = runner(monkeypatch, capsys, tmp_path)

    for command in ("tasks", "events", "deliveries"):
        table, lines = run(command), run(command, "--json")
        assert all(line.isprintable() for line in table.out.split("\n"))
        assert all(line.isascii() and line.isprintable() for line in lines.out.split("\n"))
        assert len(table.out.splitlines()) == 1 + len(lines.out.splitlines()), "a line was begun by the text"
        assert max(map(len, table.out.splitlines())) < 6000


def test_letters_that_the_terminal_lacks_are_no_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="iso-8859-1", write_through=True)
    monkeypatch.setattr(sys, "stdout", narrow)
    asyncio.run(record(Path("other.db"), (a_task("x", FAILED, fail_reason="Δ is no letter here"),)))
    Path("taskwatch.yaml").write_text(CONFIGURATION.replace("taskwatch.db", "other.db"))

    ended = run("tasks")

    assert (ended.code, ended.err) == (0, "")
    assert b"\\u0394 is no letter" in narrow.buffer.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("tasks", "--frobnicate"),
        ("tasks", "--limit", "0"),
        ("tasks", "surplus"),
        ("events", "--since", "whenever"),
        ("events", "--since", "-1h"),
        ("deliveries", "--state", "lost"),
    ],
)
def test_wrong_usage_is_2_and_says_how_to_ask_for_help(arguments: tuple[str, ...], run: Run) -> None:
    ended = run(*arguments)

    assert (ended.code, ended.out) == (2, "")
    assert "--help" in ended.err


def test_help_answers_for_each_command(run: Run) -> None:
    overview = run("--help")
    assert len(overview.out.splitlines()) <= 40, "one screen"
    for command in ("run", "check", "poll", "tasks", "events", "deliveries", "alerts", "demo"):
        assert f"  {command} " in overview.out
        ended = run(command, "--help")
        assert (ended.code, ended.err) == (0, "")
        assert "Example: taskwatch " in ended.out
