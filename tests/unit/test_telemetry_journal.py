"""The journal of systemd: read by a journal of the tests' own, which may go and come again."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskwatch import telemetry
from taskwatch.clock import SystemClock
from taskwatch.engine.ports import NoAlerts
from taskwatch.model.event import Severity
from taskwatch.notifiers.log import LogOptions, open_notifier
from taskwatch.telemetry import MAX_FIELD, printable
from taskwatch.telemetry.journal import datagram
from tests.fakes.logs import FOREIGN, Journald, entry, logs_restored
from tests.fakes.messages import a_message


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journald]:
    with logs_restored(), Journald(tmp_path / "socket") as running:
        yield running


def upon(journal: Journald, *, level: str = "debug", format_: str = "journal") -> io.StringIO:
    """Configure the logs; return the stream for what the journal does not take."""
    stream = io.StringIO()
    telemetry.configure(format_=format_, level=level, stream=stream, journal_socket=journal.path)
    return stream


def test_a_line_is_a_sentence_and_each_field_a_field_of_the_journal(journal: Journald) -> None:
    stream = upon(journal)
    telemetry.logger(project="prod").warning(
        "project_unreadable", cause="login", error="refused (401)", http_status=401, **{"odd-näme": True}
    )

    assert journal.entries() == [
        {
            "MESSAGE": 'project_unreadable project=prod cause=login error="refused (401)" http_status=401 odd-näme=true',
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "taskwatch",
            "TASKWATCH_EVENT": "project_unreadable",
            "TASKWATCH_PROJECT": "prod",
            "TASKWATCH_CAUSE": "login",
            "TASKWATCH_ERROR": "refused (401)",
            "TASKWATCH_HTTP_STATUS": "401",
            "TASKWATCH_ODD_N_ME": "True",
        }
    ]
    assert stream.getvalue() == ""


def test_each_level_has_its_priority(journal: Journald) -> None:
    upon(journal)
    log = telemetry.logger()
    for write in (log.debug, log.info, log.warning, log.error, log.critical):
        write("told")

    assert [found["PRIORITY"] for found in journal.entries()] == ["7", "6", "4", "3", "2"]


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_hostile_text_is_one_entry_that_is_read_back(text: str, journal: Journald) -> None:
    stream = upon(journal)
    telemetry.logger(bound=text).warning("something_happened", plain=text, mapped={text: text})

    (found,) = journal.entries()
    assert found["MESSAGE"].isprintable()
    assert found["TASKWATCH_PLAIN"] == found["TASKWATCH_BOUND"] == printable(text, MAX_FIELD)
    assert stream.getvalue() == ""


def test_a_value_of_several_lines_says_how_long_it_is() -> None:
    found = entry(datagram({"level": "info", "event": "told", "text": "one\ntwo\nPRIORITY=0", "last": 1}))

    assert (found["TASKWATCH_TEXT"], found["TASKWATCH_LAST"], found["PRIORITY"]) == (
        "one\ntwo\nPRIORITY=0",
        "1",
        "6",
    )


def test_a_line_too_large_for_a_datagram_arrives_with_its_fields_cut(journal: Journald) -> None:
    stream = upon(journal)
    telemetry.logger().error("told", **{f"field{number}": "\U000f0000" * 2000 for number in range(50)})

    (found,) = journal.entries()
    assert found["TASKWATCH_EVENT"] == "told"
    assert found["TASKWATCH_FIELD49"].startswith("\\U000f0000")
    assert found["TASKWATCH_FIELD49"].endswith(" characters)")
    assert stream.getvalue() == ""


def test_while_the_journal_is_away_lines_go_to_the_stream_and_afterwards_to_the_journal_again(
    journal: Journald,
) -> None:
    stream = upon(journal)
    journal.stop()
    telemetry.logger().warning("told_meanwhile", project="prod")
    journal.start()
    telemetry.logger().warning("told_again")

    found = json.loads(stream.getvalue())
    assert (found["event"], found["project"]) == ("told_meanwhile", "prod")
    assert [found["TASKWATCH_EVENT"] for found in journal.entries()] == ["told_again"]


def test_what_must_be_told_is_an_error_while_the_journal_is_away(journal: Journald) -> None:
    stream = upon(journal)
    log = telemetry.teller(receiver="log")
    journal.stop()
    with pytest.raises(OSError, match="the log cannot be written"):
        log.info("told")
    journal.start()
    log.info("told")

    assert [found["TASKWATCH_RECEIVER"] for found in journal.entries()] == ["log"]
    assert stream.getvalue() == ""


def test_a_journal_that_does_not_read_holds_nothing_up(journal: Journald) -> None:
    stream = upon(journal)
    number = 0
    while not stream.getvalue():
        telemetry.logger().info("told", number=number)
        number += 1
    with pytest.raises(OSError, match="the log cannot be written"):
        telemetry.teller().info("told")

    taken = [int(found["TASKWATCH_NUMBER"]) for found in journal.entries()]
    assert [*taken, json.loads(stream.getvalue())["number"]] == list(range(number))


def test_without_its_socket_the_journal_is_json_and_says_so_once(journal: Journald) -> None:
    journal.stop()
    stream = upon(journal)
    telemetry.logger().info("told")

    said, told = map(json.loads, stream.getvalue().splitlines())
    assert (said["level"], said["event"], said["path"]) == ("warning", "journal_missing", str(journal.path))
    assert told["event"] == "told"


@pytest.mark.parametrize("case", ["the journal's", "another's", "no socket", "not under systemd"])
def test_auto_is_the_journal_only_where_systemd_connected_the_stream_with_it(
    case: str, journal: Journald, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "no socket":
        journal.stop()
    with (tmp_path / "stderr").open("w") as stream:
        status = (tmp_path if case == "another's" else tmp_path / "stderr").stat()
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        if case == "not under systemd":
            monkeypatch.delenv("JOURNAL_STREAM")
        telemetry.configure(format_="auto", level="info", stream=stream, journal_socket=journal.path)
        telemetry.teller().info("told")

    is_written = bool((tmp_path / "stderr").read_text())
    assert is_written is (case != "the journal's")
    assert case == "no socket" or bool(journal.entries()) is not is_written


@pytest.mark.parametrize(
    ("severity", "priority"), [(Severity.CRITICAL, "2"), (Severity.WARNING, "4"), (Severity.INFO, "6")]
)
async def test_an_event_is_found_by_its_project_type_and_id(
    severity: Severity, priority: str, journal: Journald
) -> None:
    upon(journal, level="error")
    options = LogOptions.model_validate({"name": "log", "type": "log"})
    message = a_message(severity=severity)
    await open_notifier(options, clock=SystemClock(), log=telemetry.logger(), alerts=NoAlerts()).notify(
        message
    )

    (found,) = journal.entries()
    told = json.loads(message.body)
    assert found["MESSAGE"].startswith(f'taskwatch.task.failed "{told["data"]["summary"]}" project=')
    assert {name: value for name, value in found.items() if name != "MESSAGE"} == {
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": "taskwatch",
        "TASKWATCH_EVENT": "taskwatch.task.failed",
        "TASKWATCH_TYPE": "taskwatch.task.failed",
        "TASKWATCH_EVENT_ID": message.event_id,
        "TASKWATCH_SEVERITY": severity.value,
        "TASKWATCH_PROJECT": told["data"]["project"]["name"],
        "TASKWATCH_RECEIVER": "log",
        "TASKWATCH_SUBJECT": told["subject"],
        "TASKWATCH_SUMMARY": told["data"]["summary"],
    }
