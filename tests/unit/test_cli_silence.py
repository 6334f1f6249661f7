"""`silence add`, `list`, `expire`: what they set, what they refuse, and what a dry run foretells."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from taskwatch.cli import foreseen
from taskwatch.clock import SystemClock
from taskwatch.core.events import resolved_event, task_event
from taskwatch.core.quiet import Silence
from taskwatch.core.route import Hop
from taskwatch.engine.ports import Routed
from taskwatch.model.alert import Ended, Why
from taskwatch.model.task import COMPLETED, FAILED, RUNNING, Instance, Task
from taskwatch.store.desk import Desk
from taskwatch.store.lock import acquire
from taskwatch.store.operations import operator
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import T0, a_known, a_project, a_reading, a_task, a_transition
from tests.fakes.in_process import Run, runner
from tests.fakes.messages import HOSTILE
from tests.fakes.records import a_record

WITHOUT_MUTES: Final = """\
store: {path: taskwatch.db}
credentials: {c: {type: token, token: {env: NOBODY_HAS_SET_THIS}, auth_url: "https://iam.example/v3"}}
projects:
  - {name: prod, endpoint: "https://gauss.example", project_id: abc, labels: {team: db}, severity: {"Backup*": warning}}
  - {name: test, endpoint: "https://gauss.example", project: eu-de_test}
receivers: [{name: hook, type: log}]
"""
CONFIGURATION: Final = f"""\
{WITHOUT_MUTES}mute:
  - name: weekend
    matchers: ['severity != "critical"']
    weekly: ["Sat 00:00 - Mon 06:00", "Wed 12:00 - Wed 13:00"]
    timezone: Europe/Berlin
  - {{name: always, weekly: ["Mon 00:00 - Thu 00:00", "Thu 00:00 - Mon 00:00"]}}
"""
PROD: Final = a_project("prod", host="gauss.example", project_id="abc", labels={"team": "db"})
TEST: Final = a_project("test", host="gauss.example", project_id="def")
GONE: Final = a_project("gone", host="gauss.example", project_id="ghi")
IN_1: Final = Instance(id="in-1", name="db-1", status="normal")
NO_DAEMON: Final = "No daemon is running: the next taskwatch run tells what was held back.\n"


def tasks() -> dict[str, Task]:
    """Return tasks by job id."""
    return {
        "going": a_task("going", RUNNING, name="BackupInstance", instance=IN_1),
        "done": a_task("done", COMPLETED, name="RestoreInstance"),
        "bad": a_task("bad", FAILED, name="RestoreInstance", fail_reason=HOSTILE["ANSI"]),
        "mended": a_task("mended", FAILED, name="CreateInstance"),
        "lost": a_task("lost", RUNNING, name="BackupInstance"),
        "elsewhere": a_task("elsewhere", RUNNING, name="BackupInstance"),
    }


async def record(path: Path) -> None:
    """Let a store hold what happened in the last hours, and a failure of the day before."""
    store = open_store(path, clock=SystemClock())
    now = SystemClock().now()
    await store.enrol(replace(TEST.identity, project_id="before"), "test")
    for project, job_ids in (
        (PROD, ("going", "done", "bad", "mended", "lost")),
        (TEST, ("elsewhere",)),
        (GONE, ("elsewhere",)),
    ):
        state = await store.enrol(project.identity, project.name)
        happened = [
            task_event(
                a_transition(tasks()[job_id], from_status=None, revision=1),
                project=project, sequence=1, reading=a_reading(now - timedelta(hours=25 if job_id == "bad" else 2)),
                failure_severities=(),
            )
            for job_id in job_ids
        ]  # fmt: skip
        hop = Hop(receiver="hook", path="route")
        routed = [Routed(event=event, job_id=event.subject, hops=(hop,)) for event in happened]
        known = [a_known(tasks()[job_id], is_gone=job_id == "lost") for job_id in job_ids]
        await store.commit(a_record(state, tasks=known, events=routed))
    await _resolve(store, "mended", now)
    await store.close()


async def _resolve(store: SqliteStore, job_id: str, now: datetime) -> None:
    state = await store.enrol(PROD.identity, "prod")
    (alert,) = [one for one in await store.open_alerts(state.key) if one.task.job_id == job_id]
    ended = Ended(alert=alert, why=Why.SUCCEEDED, by="other")
    event = resolved_event(ended, task=alert.task, project=PROD, sequence=2, at=now - timedelta(hours=1))
    await store.commit(a_record(state, events=[Routed(event=event, job_id=job_id, hops=(), ends=ended)]))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    asyncio.run(record(tmp_path / "taskwatch.db"))
    return runner(monkeypatch, capsys, tmp_path)


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[], list[Silence]]:
    """Return what reads all silences that there ever were."""

    def read() -> list[Silence]:
        with StoreReader(tmp_path / "taskwatch.db") as reader:
            return reader.silences(since=datetime(2000, 1, 1, tzinfo=UTC))

    return read


def silenced(directory: Path, *matchers: str, ends: timedelta = timedelta(hours=1), ago: timedelta = timedelta()) -> int:  # fmt: skip
    """Add a silence that began so long ago, past the command."""
    now = datetime.now(UTC)
    with Desk(directory / "taskwatch.db", by="ada (uid 1000) on here") as desk:
        return desk.silence(matchers, ends_at=now + ends, comment=HOSTILE["ANSI"], at=now - ago)


# add


def test_it_says_the_number_and_the_end(run: Run, kept: Callable[[], list[Silence]]) -> None:
    before = datetime.now(UTC)
    ended = run(
        "silence", "add", 'project = "prod"', 'task =~ "Backup.*"', "--for", "2h", "--comment", "upgrade"
    )
    (silence,) = kept()

    assert ended.out == f"silence 1 holds back what matches until {silence.ends_at:%Y-%m-%d %H:%M:%SZ}\n"
    assert (ended.code, ended.err) == (0, "")
    assert [str(matcher) for matcher in silence.matchers] == ['project = "prod"', 'task =~ "Backup.*"']
    assert before <= silence.begins_at <= datetime.now(UTC)
    assert silence.ends_at - silence.begins_at == timedelta(hours=2)
    assert (silence.by, silence.comment) == (operator(), "upgrade")


def test_programs_get_the_number_and_the_end_as_json(run: Run, kept: Callable[[], list[Silence]]) -> None:
    told = json.loads(run("silence", "add", "project=prod", "--for", "2h", "--json").out)
    (silence,) = kept()

    assert (told["silence"], told["by"], told["in_force"]) == (1, operator(), True)
    assert datetime.fromisoformat(told["ends_at"]) == silence.ends_at
    assert told["matchers"] == ['project = "prod"']
    assert told == json.loads(run("silence", "list", "--json").out.splitlines()[0])


def test_until_takes_a_duration_or_a_time(
    run: Run, kept: Callable[[], list[Silence]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        day = (datetime.now(UTC) + timedelta(days=3)).replace(hour=0, minute=0, second=0, microsecond=0)
        for written in ("36h", f"{day:%Y-%m-%d}", f"{day:%Y-%m-%dT%H:%MZ}", f"{day:%Y-%m-%dT%H:%M}+02:00"):
            assert run("silence", "add", "project=prod", "--until", written).code == 0
    finally:
        monkeypatch.undo()
        time.tzset()
    by_duration, *others = kept()

    assert abs(by_duration.ends_at - by_duration.begins_at - timedelta(hours=36)) < timedelta(minutes=1)
    hours = timedelta(hours=1)
    assert [silence.ends_at for silence in others] == [day - 9 * hours, day, day - 2 * hours]


REFUSED: Final = {
    ("project=prod",): "say when it ends: --for 4h, or --until 2026-11-24T06:00Z",
    ("project=prod", "--for", "1h", "--until", "1h"): "--for and --until both say when it ends; give one of them",
    ("project=prod", "--for", "0s"): "is over; write a time to come",
    ("project=prod", "--until", "2026-01-01"): "is over; write a time to come",
    ("project=prod", "--until", "0001-01-01T00:00+14:00"): "nor a time to come (2026-11-23T10:00Z)",
    ("project=prod", "--until", "tomorrow"): "'tomorrow' is neither a duration (30m, 4h, 2d) nor a time to come",
    ("project=prod", "--for", "two hours"): "not a duration; write a number and ms, s, m, h or d, as 30s",
    ("project=prod", "--for", "366d"): "a silence lasts 365d at most",
    ("project=prod", "--for", "999999999d"): "a silence lasts 365d at most",
    ("project=prod", "--until", "999999999d"): "a silence lasts 365d at most",
    ("project=prod", "--until", "9999-12-31"): "a silence lasts 365d at most",
    ("--for", "1h"): "Missing argument 'MATCHER...'.",
    ("projct=prod", "--for", "1h"): "'projct' is nothing that a matcher sees; it sees type, severity, project,",
    ("prod", "--for", "1h"): "'prod' is not a matcher; write for example severity = \"critical\"",
    ("project", "=", "prod", "--for", "1h"): "; the shell took it apart: put each matcher in single quotes",
    ('task =~ "("', "--for", "1h"): "is not an RE2 pattern",
    ('type =~ ".*"', "--for", "1h"): "these matchers match also an event of which nothing is known",
    ('project != "test"', "--for", "1h"): """as 'project = "prod"', or 'type =~ ".+"' if you mean it""",
    ('task =~ "\udcff"', "--for", "1h"): "is not UTF-8 text",
    ("project=prod", "--for", "1h", "--comment", "\udcff"): "is not UTF-8 text",
}  # fmt: skip


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_is_wrong_is_said_and_nothing_is_added(
    arguments: tuple[str, ...], run: Run, kept: Callable[[], list[Silence]]
) -> None:
    ended = run("silence", "add", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert REFUSED[arguments] in ended.err.splitlines()[-1]
    assert kept() == []


@pytest.mark.parametrize("arguments", ["add project=prod --for 1h", "add project=prod --for 1h --dry-run", "list", "expire 1"])  # fmt: skip
def test_without_a_store_it_says_so(arguments: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION.replace("taskwatch.db", "other.db"))
    ended = run("silence", *arguments.split())

    assert (ended.code, ended.out) == (1, "")
    assert "no store at" in ended.err


# add --dry-run


def foretold(run: Run, *matchers: str) -> dict[str, Any]:
    ended = run("silence", "add", *matchers, "--for", "1h", "--dry-run", "--json")
    assert ended.code == 0
    told: dict[str, Any] = json.loads(ended.out)
    return told


def test_a_dry_run_adds_nothing_and_shows_what_it_would_take(
    run: Run, kept: Callable[[], list[Silence]]
) -> None:
    ended = run("silence", "add", "project=prod", "--for", "1h", "--dry-run")
    blocks = ended.out.split("\n\n")

    assert (ended.code, ended.err, kept()) == (0, "", [])
    assert blocks[0].startswith("Nothing was added. Until ")
    assert blocks[0].endswith('\n  project = "prod"')
    head, _, *rows = blocks[1].splitlines()
    assert head.startswith("Events of the last 24 h that it takes: 4 of 7: 2 task.started, 1 task.")
    assert [row.split()[2] for row in rows] == [
        "task.started",
        "task.failed",
        "task.completed",
        "task.started",
    ]
    head, headings, *rows = blocks[2].splitlines()
    assert head == "Running tasks whose failure it takes: 1"
    assert headings.split() == ["STATUS", "TASK", "INSTANCE", "PROJECT", "SEVERITY", "JOB", "ID"]
    assert [row.split() for row in rows] == [
        ["Running", "BackupInstance", "db-1", "prod", "warning", "going"]
    ]
    head, said, _, *rows = blocks[3].splitlines()
    assert head == "Open alerts that match: 1"
    assert said == "They were told already and stay open: a silence ends none, only what comes after is held."
    assert len(rows) == 1
    assert rows[0].startswith("1 d")
    assert rows[0].endswith("bad")


def test_ends_are_not_foretold_for_they_are_never_held(run: Run) -> None:
    assert foretold(run, "project=prod")["events_by_type"].keys() == {
        "task.failed",
        "task.completed",
        "task.started",
    }


def test_an_alert_older_than_a_day_is_found_by_what_its_event_said(run: Run) -> None:
    told = foretold(run, 'fail_reason =~ ".*red.*"', "label_team=db")

    assert (told["events"], len(told["open_alert_event_ids"])) == (0, 1)


def test_a_failure_to_come_is_what_it_would_be(run: Run) -> None:
    assert foretold(run, "severity=warning", "to=Failed", "from=Running")["running_job_ids"] == ["going"]
    assert foretold(run, "instance_name=db-1", "label_team=db", "project_id=abc")["running_job_ids"] == [
        "going"
    ]
    assert foretold(run, "severity=critical", "type=task.failed")["running_job_ids"] == ["elsewhere"], (
        "in test"
    )


def test_a_project_that_is_configured_by_name_is_foretold_with_the_id_that_is_known(run: Run) -> None:
    assert foretold(run, "project_id=def", "type=task.failed")["running_job_ids"] == ["elsewhere"]


def test_no_failure_is_foretold_of_a_project_that_nobody_watches(run: Run) -> None:
    assert foretold(run, "project=gone")["running_job_ids"] == []


def test_that_nobody_knows_why_a_task_is_going_to_fail_is_said(run: Run) -> None:
    ended = run("silence", "add", "task=~Backup.*", 'fail_reason != "disk full"', "--for", "1h", "--dry-run")

    assert "\nTheir fail_reason nobody knows yet: here it is empty.\n" in ended.out
    assert "\nRunning tasks whose failure it takes: 2\n" in ended.out


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_matches_nothing_is_probably_misspelt(run: Run, form: tuple[str, ...]) -> None:
    ended = run("silence", "add", "project=pord", "--for", "1h", "--dry-run", *form)

    asked, meant = ended.err.splitlines()
    assert (ended.code, asked) == (0, foreseen.MISSPELT.format(looked_at="the last 24 h"))
    assert meant.endswith("no configured project has this name; did you mean prod?")
    assert "taskwatch route test" in ended.err


def test_a_dry_run_looks_at_so_much_and_shows_so_much(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreseen, "EVENTS_LOOKED_AT", 4)
    monkeypatch.setattr(foreseen, "ALERTS_LOOKED_AT", 0)
    monkeypatch.setattr(foreseen, "SHOWN", 1)
    out = run("silence", "add", "project=prod", "--for", "1h", "--dry-run").out

    assert "\nEvents of the last 24 h that it takes: 1 of the newest 4: 1 task.started\n" in out
    assert "\nOpen alerts that match: 0 of the newest 0\n" in out
    out = run("silence", "add", "type=task.started", "--for", "1h", "--dry-run").out
    assert "… and 2 more\n" in out


def test_a_dry_run_that_has_not_seen_all_of_the_day_says_of_how_much_nothing_matches(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreseen, "EVENTS_LOOKED_AT", 4)
    ended = run("silence", "add", "project=pord", "--for", "1h", "--dry-run")

    assert ended.err.splitlines()[0] == foreseen.MISSPELT.format(looked_at="the newest 4")


def test_an_alert_that_a_silence_holds_was_told_to_nobody(run: Run, tmp_path: Path) -> None:
    store = apsw.Connection(str(tmp_path / "taskwatch.db"))
    store.execute("UPDATE deliveries SET state = 'held', held_by = 'silence 3'")
    store.close()
    ended = run("silence", "add", "project=prod", "--for", "1h", "--dry-run")
    told = foretold(run, "project=prod")

    assert "\n0 told already, 1 held back by silence 3. They stay open: " in ended.out
    assert told["held_alert_event_ids"] == told["open_alert_event_ids"]
    assert len(told["held_alert_event_ids"]) == 1


MISSPELT: Final = {
    "type=task.faild": "there is no such type; did you mean task.failed?",
    "severity=criticl": "there is no such severity; did you mean critical?",
    "project=prd": "no configured project has this name; did you mean prod?",
    "label_tem=db": "no configured project has this label; did you mean team?",
    "label_team=dbs": "no configured project has this value of the label; did you mean db?",
    "project=~prd.*": "no configured project has this name; did you mean prod?",
}


@pytest.mark.parametrize("matcher", MISSPELT)
def test_a_matcher_that_nothing_can_meet_is_added_and_warned_of(
    matcher: str, run: Run, kept: Callable[[], list[Silence]]
) -> None:
    ended = run("silence", "add", matcher, "--for", "1h")

    assert (ended.code, len(kept())) == (0, 1)
    assert ended.err.startswith("No event to come meets ")
    assert ended.err.endswith(f": {MISSPELT[matcher]}\n")


@pytest.mark.parametrize(
    "matchers",
    ["type=task.failed", "type=~.*failed", "severity=critical", "label_team=db", "task=Nothing", "project=prod severity!=criticl"],
)  # fmt: skip
def test_a_matcher_that_an_event_may_meet_is_not_warned_of(matchers: str, run: Run) -> None:
    assert run("silence", "add", *matchers.split(), "--for", "1h").err == ""


def test_no_text_of_a_cloud_or_an_operator_steers_a_terminal(run: Run, tmp_path: Path) -> None:
    silenced(tmp_path, "project=prod")
    shown = run("silence", "list").out
    shown += run(
        "silence", "add", 'fail_reason =~ ".*red.*"', "task!=\x1b[31mx", "--for", "1h", "--dry-run"
    ).out

    assert "\\x1b" in shown
    assert {character for character in shown if not character.isprintable()} == {"\n"}


# list


def test_the_list_shows_silences_in_force_and_all_windows(run: Run, tmp_path: Path) -> None:
    silenced(tmp_path, "project=prod", 'task =~ "Backup.*"')
    silenced(tmp_path, "project=test", ends=timedelta(hours=-1), ago=timedelta(hours=2))
    ended = run("silence", "list")
    headings, silence, *windows = ended.out.splitlines()

    assert (ended.code, ended.err) == (0, "")
    assert headings.split() == ["NUMBER", "STATE", "ENDS", "MATCHERS", "BY", "COMMENT"]
    assert silence.startswith("1       in force  ")
    assert 'project = "prod", task =~ "Backup.*"  ada ' in silence
    assert [line.split()[0] for line in windows] == ["-", "-"]
    assert "Sat 00:00 - Mon 06:00, Wed 12:00 - Wed 13:00 Europe/Berlin" in windows[0]
    assert 'severity != "critical"' in windows[0]
    assert windows[0].endswith("configuration  mute weekend")
    assert windows[1].startswith("-       in force  ")
    assert "(every event)" in windows[1]


def test_all_are_those_too_that_ended_within_retention(run: Run, tmp_path: Path) -> None:
    silenced(tmp_path, "project=prod", ends=timedelta(days=-89), ago=timedelta(days=90))
    silenced(tmp_path, "project=prod", ends=timedelta(days=-91), ago=timedelta(days=92))
    silenced(tmp_path, "project=prod", ago=timedelta(hours=-1), ends=timedelta(hours=2))
    states = [line.split("  ")[0] for line in run("silence", "list").out.splitlines()]
    everything = run("silence", "list", "--all").out.splitlines()

    assert states == ["NUMBER", "3", "-", "-"]
    assert [line[:18].rstrip() for line in everything[1:3]] == ["1       ended", "3       to come"]


def test_programs_get_silences_and_windows_in_one_shape(run: Run, tmp_path: Path) -> None:
    silenced(tmp_path, "project=prod")
    silence, weekend, always = map(json.loads, run("silence", "list", "--json").out.splitlines())

    assert silence.keys() == weekend.keys()
    assert (silence["silence"], silence["mute"], silence["weekly"]) == (1, None, None)
    assert (weekend["silence"], weekend["mute"], weekend["ends_at"]) == (None, "weekend", None)
    assert weekend["weekly"] == ["Sat 00:00 - Mon 06:00", "Wed 12:00 - Wed 13:00"]
    assert (weekend["timezone"], weekend["matchers"]) == ("Europe/Berlin", ['severity != "critical"'])
    assert (always["in_force"], always["matchers"]) == (True, [])


def test_where_nothing_is_silenced_that_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(WITHOUT_MUTES)
    ended = run("silence", "list")

    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "No silence is in force, and the configuration has no mute window.\n"


# expire


def test_those_that_are_named_end_now(run: Run, tmp_path: Path, kept: Callable[[], list[Silence]]) -> None:
    for _ in range(3):
        silenced(tmp_path, "project=prod")
    ended = run("silence", "expire", "1", "3")

    assert (ended.code, ended.out, ended.err) == (0, "", f"2 silences ended\n{NO_DAEMON}")
    now = datetime.now(UTC)
    assert [silence.id for silence in kept() if silence.is_in_force(now)] == [2]


def test_one_that_is_unknown_or_has_ended_is_an_error_after_the_others_are_done(
    run: Run, tmp_path: Path, kept: Callable[[], list[Silence]]
) -> None:
    silenced(tmp_path, "project=prod")
    silenced(tmp_path, "project=prod", ends=timedelta(hours=-1), ago=timedelta(hours=2))
    ended = run("silence", "expire", "2", "7", "1", "7")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"1 silence ended\n{NO_DAEMON}"
        "taskwatch: no silence in force has the number 2, 7; taskwatch silence list shows those there are\n"
    )
    assert kept()[0].ends_at <= datetime.now(UTC)


def test_beside_a_daemon_nobody_is_told_to_start_one(run: Run, tmp_path: Path) -> None:
    silenced(tmp_path, "project=prod")
    lock = acquire(tmp_path / "taskwatch.db", since=T0)
    try:
        assert run("silence", "expire", "1").err == "1 silence ended\n"
    finally:
        lock.release()


@pytest.mark.parametrize("number", ["0", "-1", "silence", "9223372036854775808"])
def test_what_is_no_number_of_a_silence_is_wrong_usage(number: str, run: Run) -> None:
    assert run("silence", "expire", "--", number).code == 2
