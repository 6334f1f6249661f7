"""`explain` and `deliveries` of what is held back, told in messages, tried again and again, or over."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from taskwatch.core.events import resolved_event, task_event
from taskwatch.core.grouping import EACH_ALONE, Grouping, group_key
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.core.route import Hop
from taskwatch.engine.ports import Bound, Routed, Subject
from taskwatch.model.alert import Alert, Ended, Why
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, DeliveryState, Reason, Retry
from taskwatch.model.event import Event, EventId, EventType, Severity
from taskwatch.model.outage import Kind, Place
from taskwatch.model.task import COMPLETED, FAILED, RUNNING, Task
from taskwatch.store.attempts import KEPT
from taskwatch.store.desk import Desk
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_known, a_project, a_reading, a_task, a_transition, at
from tests.fakes.in_process import Run, runner
from tests.fakes.messages import HOSTILE
from tests.fakes.records import StillClock, a_record

CONFIGURATION: Final = """\
store: {path: taskwatch.db}
credentials: {c: {type: token, token: {env: NOBODY_HAS_SET_THIS}}}
projects: [{name: prod, endpoint: https://gauss.example, project_id: abc}]
receivers:
  - {name: hook, type: webhook, url: "https://hook.example/"}
  - {name: mail, type: email, smtp: "smtps://relay.example", from: a@b.example, to: c@d.example}
mute:
  - {name: mondays, matchers: ['severity != "critical"'], weekly: "Mon 06:00 - Mon 18:00", timezone: Europe/Berlin}
route:
  receivers: [mail]
  group_wait: 1m
  routes:
    - {matchers: ['severity = "critical"'], receivers: [hook], continue: true}
    - {matchers: ['project = "test"'], receivers: [mail]}
"""
ANN: Final = "ann (uid 1000) on ops-1"
PROD: Final = 'project = "prod"'
HOOK: Final = Hop(receiver="hook", path="route.routes[0]")
TASK: Final = a_task("job-1", FAILED, fail_reason="no space left")


def an_event(task: Task = TASK, *, from_status: str | None = RUNNING) -> Event:
    return task_event(
        a_transition(task, from_status=from_status, revision=2),
        project=a_project(),
        sequence=2,
        reading=a_reading(at(60.25), previous_observed_at=at(60), gap_seconds=15.0),
        failure_severities=(),
    )


FAILURE: Final = an_event()
GROUP: Final = group_key("route", Grouping(), FAILURE)
MAIL: Final = Hop(receiver="mail", path="route", group=GROUP)


def an_end(why: Why = Why.SUCCEEDED, *, by: str = "job-2") -> Ended:
    alert = Alert(event_id=FAILURE.id, type=FAILURE.type, task=TASK)
    return Ended(alert=alert, why=why, by=by, comment="by hand" if why is Why.OPERATOR else None)


def trouble(detail: str = "hook.example answered 503", reason: Reason = Reason.SERVER_ERROR) -> Retry:
    return Retry(reason=reason, detail=detail, poisoned=0, tried_seconds=1.0)


def held(hop: Hop, by: str) -> Hop:
    return Hop(receiver=hop.receiver, path=hop.path, group=hop.group, held_by=by)


class Scene:
    """A store in which something happens, as a daemon and operators would have it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = StillClock()
        self.store: SqliteStore = open_store(path, clock=self.clock)

    async def tells(
        self, *hops: Hop, event: Event = FAILURE, task: Task = TASK, ends: Ended | None = None
    ) -> None:
        project = a_project()
        state = await self.store.enrol(project.identity, project.name)
        known = [a_known(task, revision=2, sequence=2)]
        routed = Routed(event=event, job_id=task.job_id, hops=hops, ends=ends)
        await self.store.commit(a_record(state, tasks=known, events=[routed]))

    def silences(
        self, *matchers: str, begins: float = 30, ends: float = 90, comment: str | None = "upgrade"
    ) -> None:
        with Desk(self.path, by=ANN) as desk:
            desk.silence(matchers, ends_at=at(ends), comment=comment, at=at(begins))

    async def lets_go(self, minute: float) -> None:
        """End what holds the first delivery back."""
        self.clock.moment = at(minute)
        await self.store.settle_held({DeliveryId(1): None})

    async def fails(self, delivery: int, *minutes: float, **how: Any) -> None:
        for minute in minutes:
            await self.store.record(DeliveryId(delivery), trouble(**how), at(minute))

    async def binds(self, *deliveries: int, minute: float = 62) -> None:
        """Let a message tell these."""
        message = Bound(
            event_id=FAILURE.id,
            receiver="mail",
            groups=(GROUP,),
            at=at(minute),
            body=b"{}",
            deliveries=tuple(DeliveryId(number) for number in deliveries),
        )
        await self.store.post.bind(message)


Happens = Callable[[Scene], Awaitable[None]]
After = Callable[[Happens], Run]


@pytest.fixture
def after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> After:
    """Return what lets something happen, and then what runs a command beside it."""

    def arranged(happens: Happens) -> Run:
        (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
        asyncio.run(_played(tmp_path / "taskwatch.db", happens))
        return runner(monkeypatch, capsys, tmp_path)

    return arranged


async def _played(path: Path, happens: Happens) -> None:
    scene = Scene(path)
    await happens(scene)
    await scene.store.close()


def page(run: Run, event: Event = FAILURE) -> str:
    """Return the page of an event as if its lines had not been broken."""
    return " ".join(run("explain", event.id).out.split())


def shown(run: Run, event: Event = FAILURE) -> dict[str, Any]:
    return dict(json.loads(run("explain", event.id, "--json").out))


# The whole page

WHOLE: Final = """\
task.failed, critical, recorded 2026-11-23 11:00:15Z
{id}
CreateGaussDBV5Instance of db-1 failed: no space left

why         went from Running to Failed (revision 2)
read        Running at 2026-11-23 11:00:00.000Z, Failed at 2026-11-23
            11:00:15.000Z; 15 s apart
event       number 2 about job-1
task        CreateGaussDBV5Instance job-1
instance    db-1, in-1, normal
status      Failed
reason      no space left
life        created 2026-11-23 10:01:00Z, ended 2026-11-23 11:00:00Z, took
            0:59:00
project     prod
alert       open since 2026-11-23 11:00:15Z; nobody has acknowledged it

hook: delivered after 4 attempts
  by        route.routes[0]: severity = "critical"
  held      back at first, by silence 1 (project = "prod") until 2026-11-23
            11:30:00Z, set by ann (uid 1000) on ops-1: upgrade
  tried     first 2026-11-23 11:31:00Z, last 2026-11-23 11:35:00Z
  failed    2026-11-23 11:31:00Z server_error: hook.example answered 503
            1 more like it, until 2026-11-23 11:32:00Z
            2026-11-23 11:33:00Z timeout: hook.example did not answer within 10
            s
  ended     2026-11-23 11:35:00Z, delivered

The routes that the configuration has now:
  route: matched
    route.routes[0]: goes to hook, and on (continue)
    route.routes[1]: no: project = "test", and it is "prod"

In force when it was recorded:
  silence 1: covers it (project = "prod") until 2026-11-23 11:30:00Z, set by ann
      (uid 1000) on ops-1: upgrade
  mute mondays: no: severity != "critical", and it is "critical"
"""


async def held_let_go_and_told(scene: Scene) -> None:
    scene.silences(PROD)
    await scene.tells(held(HOOK, "silence 1"))
    await scene.lets_go(91)
    await scene.fails(2, 91, 92)
    await scene.fails(2, 93, reason=Reason.TIMEOUT, detail="hook.example did not answer within 10 s")
    await scene.store.record(DeliveryId(2), Delivered(), at(95))


def test_an_event_that_was_held_let_go_and_told_at_the_fourth_attempt(after: After) -> None:
    assert after(held_let_go_and_told)("explain", FAILURE.id).out == WHOLE.format(id=FAILURE.id)


def test_as_json_it_is_told_too(after: After) -> None:
    told = shown(after(held_let_go_and_told))
    (delivery,) = told["deliveries"]

    assert told["alert"]["since"] == "2026-11-23T11:00:15Z"
    assert told["ends"] == []
    assert [step["receivers"] for step in told["routes"]] == [[], ["hook"], []]
    assert told["routes_agree"] is True
    assert [(one["name"], one["covers"], one["refused_by"]) for one in told["silences"]] == [
        ("silence 1", True, None),
        ("mute mondays", False, 'severity != "critical"'),
    ]
    assert (told["silences"][0]["by"], told["silences"][0]["comment"]) == (ANN, "upgrade")
    assert (delivery["held_by"], delivery["message"], delivery["group"]) == ("silence 1", None, None)
    assert [(one["at"], one["reason"]) for one in delivery["attempts_on_record"]] == [
        ("2026-11-23T11:31:00Z", "server_error"),
        ("2026-11-23T11:32:00Z", "server_error"),
        ("2026-11-23T11:33:00Z", "timeout"),
    ]


# Attempts


def test_a_delivery_that_is_given_up_lists_what_failed_and_says_what_to_do(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        await scene.fails(1, 61)
        end = Dead(reason=Reason.REJECTED, detail="422", why="poison", poisoned=9, tried_seconds=1.0)
        await scene.store.record(DeliveryId(1), end, at(62))

    said = page(after(happens))

    assert "failed 2026-11-23 11:01:00Z server_error: hook.example answered 503" in said
    assert (
        "2026-11-23 11:02:00Z rejected: 422 ended 2026-11-23 11:02:00Z, dead trouble 422; see in the" in said
    )


REFUSED: Final = "not for c@d.example: relay.example:465 answered 550: no such user"


async def in_part(scene: Scene) -> None:
    await scene.tells(MAIL)
    await scene.binds(1)
    await scene.store.post.record(DeliveryId(1), trouble("451 come again", Reason.SERVER_ERROR), at(62))
    await scene.store.post.record(DeliveryId(1), Delivered(remark=REFUSED), at(63))


def test_what_was_delivered_to_some_alone_says_who_was_refused(after: After) -> None:
    run = after(in_part)
    said = page(run)

    assert "mail: delivered after 2 attempts" in said
    assert "failed 2026-11-23 11:02:00Z server_error: 451 come again" in said
    assert f"trouble {REFUSED} why some of those it was for do not have it, refused for good or" in said


PUT_OFF: Final = "not yet for c@d.example: relay.example:465 answered 451: later"


async def put_off(scene: Scene) -> None:
    later = Retry(reason=Reason.SERVER_ERROR, detail=PUT_OFF, poisoned=0, tried_seconds=1.0, in_part=True)
    await scene.tells(MAIL)
    await scene.binds(1)
    await scene.store.post.record(DeliveryId(1), later, at(62))
    await scene.store.post.record(DeliveryId(1), later, at(63))


def test_what_some_have_and_others_are_still_to_get_says_so(after: After) -> None:
    run = after(put_off)
    said = page(run)

    assert "mail: delivered after 2 attempts" in said
    assert "ended 2026-11-23 11:02:00Z, delivered" in said, "since the first of them has it"
    assert f"trouble {PUT_OFF} why the others have it; those named are asked again, alone" in said
    assert PUT_OFF in run("deliveries").out


def test_what_all_have_in_the_end_is_delivered_and_no_more_is_said(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await put_off(scene)
        await scene.store.post.record(DeliveryId(1), Delivered(), at(64))

    (delivery,) = shown(after(happens))["deliveries"]

    assert (delivery["state"], delivery["why"], delivery["attempts"]) == ("delivered", None, 3)


def test_what_was_delivered_to_some_alone_is_listed_so(after: After) -> None:
    run = after(in_part)
    (row,) = [json.loads(line) for line in run("deliveries", "--json").out.splitlines()]
    table = run("deliveries").out

    assert (row["state"], row["why"], row["reason"], row["detail"]) == ("delivered", "in_part", None, REFUSED)
    assert "in_part" in table
    assert REFUSED in table


def test_a_single_event_that_was_delivered_in_part_says_so_too(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        await scene.store.record(DeliveryId(1), Delivered(remark="x" * 1_000), at(62))
        await scene.store.record(DeliveryId(1), Delivered(remark="again, and late"), at(63))

    (delivery,) = shown(after(happens))["deliveries"]

    assert (delivery["why"], delivery["detail"]) == ("in_part", "x" * 500)


def test_attempts_that_are_not_on_record_any_more_are_counted(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        for minute in range(KEPT + 3):
            await scene.fails(1, 61 + minute, detail=f"try {minute}")
        await scene.store.record(DeliveryId(1), Delivered(), at(200))

    said = page(after(happens))

    assert f"hook: delivered after {KEPT + 4} attempts" in said
    assert "failed 3 earlier ones not on record any more 2026-11-23 11:04:00Z server_error: try 3" in said
    assert "try 2 " not in said


def test_a_delivery_that_never_failed_lists_nothing(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        await scene.store.record(DeliveryId(1), Delivered(), at(61))

    said = page(after(happens))

    assert "hook: delivered after 1 attempt by" in said
    assert "failed 20" not in said
    assert "earlier" not in said


def test_what_an_operator_sent_again_says_so_and_keeps_what_had_failed(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        end = Dead(reason=Reason.REJECTED, detail="422", why="poison", poisoned=9, tried_seconds=1.0)
        await scene.store.record(DeliveryId(1), end, at(62))
        with Desk(scene.path, by=ANN) as desk:
            desk.replay(state=DeliveryState.DEAD, receiver=None, events=[], at=at(70))
        await scene.fails(2, 71)

    said = page(after(happens))

    assert "hook: pending after 1 attempt by" in said
    assert "replay an operator sent it again; attempts are counted from there" in said
    assert "failed 2026-11-23 11:02:00Z rejected: 422 2026-11-23 11:11:00Z server_error" in said


# Messages


def test_what_a_message_tells_names_it_and_the_attempts_are_the_messages(after: After) -> None:
    other = a_task("job-2", FAILED)

    async def happens(scene: Scene) -> None:
        await scene.tells(MAIL)
        await scene.tells(MAIL, event=an_event(other), task=other)
        await scene.binds(1, 2)
        message = (await scene.store.post.pending("mail", after=DeliveryId(0), limit=1))[0].id
        await scene.store.post.record(message, trouble("relay.example answered 451"), at(63))

    run = after(happens)
    said = page(run)

    assert "mail: pending after 1 attempt by route, which takes everything message" in said
    assert (
        f"message {FAILURE.id}, composed 2026-11-23 11:02:00Z; it tells 2 events of its group, project prod, and is "
        "pending after 1 attempt" in said
    )
    assert "failed 2026-11-23 11:03:00Z server_error: relay.example answered 451" in said
    (delivery,) = shown(run)["deliveries"]
    assert delivery["message"] == {
        "number": 1,
        "id": FAILURE.id,
        "composed_at": "2026-11-23T11:02:00Z",
        "events": 2,
        "state": "pending",
        "attempts": 1,
    }
    assert delivery["group"] == {"route": "route", "by": {"project": "prod"}}
    assert len(delivery["attempts_on_record"]) == delivery["attempts"] == 1


def test_what_waits_for_its_group_says_since_when_and_how_long_at_least(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(MAIL)

    assert (
        "waits for its group, project prod, since 2026-11-23 11:00:15Z: it is told 60 s after that, at the earliest"
        in page(after(happens))
    )


@pytest.mark.parametrize(("messages", "is_held"), [(8, False), (9, True)])
def test_what_the_limit_of_messages_holds_says_so_and_when_there_is_room(
    messages: int, *, is_held: bool, after: After
) -> None:
    minute = (datetime.now(UTC) - at(0)).total_seconds() / 60

    async def happens(scene: Scene) -> None:
        await scene.tells(MAIL)
        for number in range(messages):
            bound = Bound(
                event_id=EventId(f"tw_{number}"),
                receiver="mail",
                groups=("other",),
                at=at(minute),
                body=b"{}",
            )
            await scene.store.post.bind(bound)

    said = page(after(happens))
    assert ("its time came at 2026-11-23 11:01:15Z, and the limit of messages holds it" in said) is is_held
    assert ("at the earliest" in said) is not is_held


def test_a_group_that_had_a_message_waits_for_its_interval_too(after: After) -> None:
    other = a_task("job-2", FAILED)

    async def happens(scene: Scene) -> None:
        await scene.tells(MAIL, event=an_event(other), task=other)
        await scene.binds(1)
        await scene.store.post.record(DeliveryId(1), Delivered(), at(63))
        await scene.tells(MAIL)

    assert (
        "it is told 60 s after that, and 300 s after the message before, of 2026-11-23 11:03:00Z, at the earliest"
        in page(after(happens))
    )


def test_what_comes_while_a_message_of_its_group_is_under_way_waits_for_that(after: After) -> None:
    other = a_task("job-2", FAILED)

    async def happens(scene: Scene) -> None:
        await scene.tells(MAIL, event=an_event(other), task=other)
        await scene.binds(1)
        await scene.tells(MAIL)

    run = after(happens)

    assert "its group has a message that is not delivered yet, and this is told in the next one" in page(run)
    (delivery,) = shown(run)["deliveries"]
    assert delivery["waiting"]["last_message_is_pending"] is True


def test_a_group_of_one_event_is_named_so(after: After) -> None:
    key = group_key("route", Grouping(by=(EACH_ALONE,)), FAILURE)

    async def happens(scene: Scene) -> None:
        await scene.tells(Hop(receiver="mail", path="route", group=key))

    assert "waits for its group, this event alone, since" in page(after(happens))


def test_a_receiver_that_is_told_event_by_event_waits_for_no_group(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(
            Hop(receiver="hook", path="route.routes[0]", group=GROUP)
        )  # once it wrote to people

    run = after(happens)

    assert "group" not in page(run)
    assert "waits for its group" not in run("deliveries").out


# Silences and windows


def test_what_is_held_says_by_what_until_when_and_who_set_it(after: After) -> None:
    async def happens(scene: Scene) -> None:
        scene.silences(PROD, 'task =~ "Create.*"')
        await scene.tells(held(HOOK, "silence 1"))

    assert (
        'hook: held by route.routes[0]: severity = "critical" held by silence 1 (project = "prod", task =~ "Create.*") '
        "until 2026-11-23 11:30:00Z, set by ann (uid 1000) on ops-1: upgrade; told at its end, unless what it is about "
        "is over by then" in page(after(happens))
    )


def test_what_a_window_holds_says_which_part_of_the_week_it_is(after: After) -> None:
    done = a_task("job-1", COMPLETED)

    async def happens(scene: Scene) -> None:
        await scene.tells(held(MAIL, "mute mondays"), event=an_event(done), task=done)

    said = page(after(happens), an_event(done))

    assert (
        'held by mute mondays (severity != "critical"), each week Mon 06:00 - Mon 18:00 in Europe/Berlin; it needs no '
        "attention, so nobody is told of it at the end" in said
    )
    assert 'mute mondays: covers it (severity != "critical")' in said


@pytest.mark.parametrize(
    ("by", "place"), [("silence 7", "on record"), ("mute sundays", "in the configuration")]
)
def test_what_holds_and_is_known_no_more_is_said_so(by: str, place: str, after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(held(HOOK, by))

    assert f"held by {by}, which is not {place} any more; told at its end" in page(after(happens))


def test_what_was_over_when_the_silence_ended_says_that_nobody_was_told(after: After) -> None:
    async def happens(scene: Scene) -> None:
        scene.silences(PROD)
        await scene.tells(held(HOOK, "silence 1"))
        end = an_end()
        over = resolved_event(end, task=TASK, project=a_project(), sequence=3, at=at(70))
        await scene.tells(event=over, ends=end)

    said = page(after(happens))

    assert "hook: suppressed" in said
    assert "ended 2026-11-23 11:10:00Z, suppressed" in said
    assert "why what it is about was over when that ended, so nobody was told of it" in said


def test_what_needed_no_attention_says_that_nobody_was_told_at_the_end(after: After) -> None:
    done = a_task("job-1", COMPLETED)

    async def happens(scene: Scene) -> None:
        scene.silences(PROD)
        await scene.tells(held(HOOK, "silence 1"), event=an_event(done), task=done)
        await scene.lets_go(91)

    assert "why it needed no attention, so nobody was told" in page(after(happens), an_event(done))


def test_of_silences_only_those_are_named_that_were_in_force_then(after: After) -> None:
    async def happens(scene: Scene) -> None:
        scene.silences(PROD, begins=0, ends=60)
        scene.silences('severity = "info"', begins=60, ends=61)
        scene.silences(PROD, begins=61, ends=70)
        await scene.tells(HOOK)

    run = after(happens)
    said = page(run)

    assert 'silence 2: no: severity = "info", and it is "critical"' in said
    assert "silence 1" not in said
    assert "silence 3" not in said
    assert [one["name"] for one in shown(run)["silences"]] == ["silence 2", "mute mondays"]


def test_where_none_was_in_force_nothing_is_said_of_them(after: After, tmp_path: Path) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)

    run = after(happens)
    (tmp_path / "taskwatch.yaml").write_text(
        CONFIGURATION.replace("Mon 06:00 - Mon 18:00", "Tue 06:00 - Tue 18:00")
    )

    assert "In force" not in page(run)


# Routes


def test_deliveries_that_todays_tree_would_not_make_are_said_to_differ(after: After, tmp_path: Path) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)

    run = after(happens)
    before = page(run)
    (tmp_path / "taskwatch.yaml").write_text(
        CONFIGURATION.replace("receivers: [hook], continue", "receivers: [mail], continue")
    )

    assert "differ" not in before
    assert "The deliveries on record differ: the configuration has changed since." in page(run)
    assert shown(run)["routes_agree"] is False


def test_of_an_end_it_is_said_that_no_route_decides_who_hears_it(after: After) -> None:
    end = an_end()
    over = resolved_event(end, task=TASK, project=a_project(), sequence=3, at=at(70))

    async def happens(scene: Scene) -> None:
        scene.silences(PROD)
        await scene.tells(HOOK)
        await scene.store.record(DeliveryId(1), Delivered(), at(61))
        await scene.tells(event=over, ends=end)

    run = after(happens)
    said, told = page(run, over), shown(run, over)

    assert "hook: pending by told of it before" in said
    assert "those hear it who were told of the beginning, whatever routes and silences there are." in said
    assert "The routes" not in said
    assert "In force" not in said
    assert (told["routes"], told["routes_agree"], told["silences"], told["alert"]) == (None, None, [], None)
    assert f"ends the alert of {FAILURE.id}, open since 2026-11-23 11:00:15Z" in said
    assert [one["event_id"] for one in told["ends"]] == [FAILURE.id]


def an_outage_event(type_: EventType, *, resolves: Sequence[EventId] = ()) -> Event:
    is_over = type_ in (EventType.RECEIVER_RECOVERED, EventType.PROJECT_RECOVERED)
    word = Word(
        type=type_,
        place=Place(Kind.RECEIVER, "hook"),
        projects=(),
        severity=Severity.CRITICAL,
        cause="network",
        error=None if is_over else "reset",
        since=at(50),
        resolves=resolves,
    )
    return outage_event(word, sequence=2 if is_over else 1, at=at(60))


async def recorded(scene: Scene, event: Event, *hops: Hop) -> None:
    subject = Subject(place=Place(Kind.RECEIVER, "hook"), project=None)
    await scene.store.record_event(subject, Routed(event=event, job_id=None, hops=hops))


def test_a_receiver_that_is_not_told_of_itself_is_no_difference(after: After) -> None:
    down = an_outage_event(EventType.RECEIVER_DOWN)

    async def happens(scene: Scene) -> None:
        await recorded(scene, down, Hop(receiver="journal", path="no route names another"))

    run = after(happens)

    assert "route.routes[0]: goes to hook" in page(run, down)
    assert "hook is not told of itself." in page(run, down)
    assert shown(run, down)["routes_agree"] is True


def test_an_end_that_nobody_is_left_to_hear_goes_by_the_routes(after: After) -> None:
    down = an_outage_event(EventType.RECEIVER_DOWN)
    up = an_outage_event(EventType.RECEIVER_RECOVERED, resolves=[down.id, EventId("tw_forgotten")])

    async def happens(scene: Scene) -> None:
        await recorded(scene, down)
        await recorded(scene, up, MAIL)

    run = after(happens)
    said, told = page(run, up), shown(run, up)

    assert "The routes that the configuration has now:" in said
    assert f"ends the alert of {down.id}, open since 2026-11-23 11:00:00Z" in said
    assert "ends the alert of tw_forgotten, which is not on record any more" in said
    assert [one["event_id"] for one in told["ends"]] == [down.id, "tw_forgotten"]
    assert len(told["routes"]) == 3


# Alerts

CAUSES: Final = {
    Why.SUCCEEDED: "the later task job-2 completed",
    Why.SUPERSEDED: "the later task job-2 failed too, and stands for it",
    Why.RESTARTED: "the task went on",
    Why.DELETED: "its instance was deleted by the task job-2",
    Why.RETURNED: "what was gone is there again",
    Why.OPERATOR: "job-2 resolved it: by hand",
}


@pytest.mark.parametrize("why", Why)
def test_an_alert_that_is_over_says_when_and_why(why: Why, after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        end = an_end(why)
        over = resolved_event(end, task=TASK, project=a_project(), sequence=3, at=at(70))
        await scene.tells(event=over, ends=end)

    said = page(after(happens))

    assert f"alert opened 2026-11-23 11:00:15Z, ended 2026-11-23 11:10:00Z: {CAUSES[why]} hook:" in said


def test_an_alert_that_somebody_has_says_who_and_for_how_long(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        with Desk(scene.path, by=ANN) as desk:
            desk.acknowledge(["job-1"], until=at(120), comment="on it", at=at(65))

    run = after(happens)

    assert (
        "alert open since 2026-11-23 11:00:15Z; acknowledged 2026-11-23 11:05:00Z by ann (uid 1000) on ops-1 until "
        "2026-11-23 12:00:00Z: on it" in page(run)
    )
    assert shown(run)["alert"]["acknowledgement"] == "on it"


def test_an_event_that_opens_no_alert_says_nothing_of_one(after: After) -> None:
    done = a_task("job-1", COMPLETED)

    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK, event=an_event(done), task=done)

    run = after(happens)

    assert " alert " not in page(run, an_event(done))
    assert shown(run, an_event(done))["alert"] is None


# The table of deliveries


def test_the_table_says_by_what_one_is_held_and_that_another_waits_for_its_group(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(held(HOOK, "mute mondays"), MAIL)

    mail, hook = after(happens)("deliveries").out.splitlines()[1:]

    assert hook.split("  ")[:1] == ["held"]
    assert "  mute mondays  " in hook
    assert "  waits for its group  " in mail


def test_the_table_counts_the_attempts_at_the_message_that_tells_it(after: After) -> None:
    async def happens(scene: Scene) -> None:
        await scene.tells(held(HOOK, "mute mondays"), MAIL)
        await scene.binds(2)
        await scene.store.post.record(DeliveryId(1), trouble("relay.example answered 451"), at(63))

    run = after(happens)
    mail, hook = [json.loads(line) for line in run("deliveries", "--json").out.splitlines()]

    assert (mail["message"], mail["held_by"], mail["attempts"], mail["reason"]) == (
        1,
        None,
        1,
        "server_error",
    )
    assert (hook["message"], hook["held_by"], hook["attempts"]) == (None, "mute mondays", 0)
    assert "waits for its group" not in run("deliveries").out


# What is foreign


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_of_receivers_and_operators_fits_the_page_and_harms_no_terminal(
    text: str, after: After
) -> None:
    async def happens(scene: Scene) -> None:
        scene.silences(PROD, f"project != {json.dumps(text)}", comment=text)
        await scene.tells(held(HOOK, "silence 1"), held(MAIL, text))
        await scene.lets_go(91)
        await scene.fails(3, 92, detail=text)
        with Desk(scene.path, by=text) as desk:
            desk.acknowledge(["job-1"], until=None, comment=text, at=at(65))

    run = after(happens)
    whole, line = run("explain", FAILURE.id).out, run("explain", FAILURE.id, "--json").out

    assert all(text.isprintable() and len(text) <= 80 for text in whole.split("\n"))
    assert all(text.isascii() and text.isprintable() for text in line.split("\n"))
    assert all(text.isprintable() for text in run("deliveries").out.split("\n"))
