"""Messages to people: what they hold, when they go, and what becomes of them."""

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from taskwatch.core.grouping import Grouping
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.engine.groups import BURST, KEPT, READING
from taskwatch.engine.letters import Sources
from taskwatch.engine.ports import DeliveryError, Routed, Subject, TemplateFailedError, WaitingGroup
from taskwatch.model.delivery import DeliveryState, Message, Reason
from taskwatch.model.event import EventType, Severity
from taskwatch.model.outage import Kind, Place
from taskwatch.model.task import Instance
from taskwatch.store import alerts, operations, outbox, silences
from tests.fakes.builders import at
from tests.fakes.mailroom import ME, Mailroom, a_mailroom, named
from tests.fakes.scripted_notifier import fails_while, rejected

FAST = Grouping(wait=0.0, interval=1.0)
HOUR = 3600.0


async def fails(room: Mailroom, job_id: str, **changes: object) -> None:
    room.task(job_id, "Running", **changes)
    await room.poll()
    room.task(job_id, "Failed", fail_reason="disk broken", ended_at=room.clock.now())
    await room.poll()


def reminders(room: Mailroom) -> list[str]:
    return [subject for subject in room.subjects if "still open" in subject]


async def test_what_happens_within_group_wait_is_told_in_one_message() -> None:
    room = await a_mailroom()
    await fails(room, "job-1")
    await room.lives(25)
    assert room.letters == []
    await fails(room, "job-2")
    await room.lives(10)

    (letter,) = room.letters
    assert letter.subject == "CRITICAL prod: 2 failed, 2 started"
    assert [named([letter], job) for job in ("job-1", "job-2")] == [1, 1]
    assert room.states() == ["delivered"] * 4


async def test_one_event_alone_is_told_with_all_that_is_known_of_it() -> None:
    room = await a_mailroom()
    room.task("job-1", "Failed", fail_reason="disk broken")
    await room.lives(40)

    (letter,) = room.letters
    assert letter.subject == "CRITICAL prod: CreateGaussDBV5Instance of db-1 failed"
    assert letter.text.startswith("CreateGaussDBV5Instance of db-1 failed: disk broken\n")
    assert "taskwatch ack job-1" in letter.text
    (event_id,) = [id_ for (id_,) in room.disk.rows("SELECT id FROM events WHERE job_id = 'job-1'")]
    assert room.taken[0].event_id == event_id
    assert f"taskwatch explain {event_id}" in letter.text


async def test_the_next_message_of_a_group_waits_for_group_interval() -> None:
    room = await a_mailroom()
    room.task("job-1", "Failed")
    await room.lives(40)
    room.task("job-2", "Failed")
    await room.lives(240)
    assert len(room.letters) == 1
    await room.lives(60)
    assert len(room.letters) == 2


async def test_groups_are_told_apart_and_three_dots_tell_each_event_alone() -> None:
    room = await a_mailroom(grouping=replace(FAST, by=("instance_id",)))
    room.task("job-1", "Failed", instance=Instance(id="in-1"))
    room.task("job-2", "Failed", instance=Instance(id="in-2"))
    room.task("job-3", "Failed", instance=Instance(id="in-2"))
    await room.lives(10)
    assert sorted(Counter(letter.subject for letter in room.letters).values()) == [1, 1]

    alone = await a_mailroom(grouping=replace(FAST, by=("...",)))
    for number in range(3):
        alone.task(f"job-{number}", "Failed")
    await alone.lives(10)
    assert len(alone.letters) == 3


async def test_what_is_told_of_a_task_keeps_its_order_over_groups() -> None:
    """The failure is in a group of its own, whose message is refused for a while: the restart waits for it."""
    room = await a_mailroom(grouping=replace(FAST, by=("type",)))
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses, rejected, about=b"failed")
    room.task("job-1", "Failed", fail_reason="x")
    await room.lives(10)
    room.task("job-1", "Running", ended_at=None)
    await room.lives(30)
    room.task("job-1", "Completed", ended_at=at(90))
    await room.lives(30)
    assert room.letters == []
    refuses = False
    await room.lives(120)

    told = [json.loads(body)["data"]["sequence"] for body in _bodies_told(room)]
    assert told == sorted(told)
    assert room.states() == ["delivered"] * len(told)


def _bodies_told(room: Mailroom) -> list[bytes]:
    """Return the events in the order in which people heard of them."""
    found = []
    for message in room.taken:
        found += [
            body
            for (body,) in room.disk.rows(
                "SELECT e.body FROM messages m JOIN deliveries d ON d.message = m.id JOIN events e ON e.seq = d.event"
                " WHERE m.event_id = ? ORDER BY d.id",
                message.event_id,
            )
        ]
    return found


async def test_500_failures_in_one_poll_are_one_message_where_each_is_named_or_counted() -> None:
    room = await a_mailroom(grouping=FAST)
    for number in range(500):
        room.task(f"job-{number:03}", "Failed", fail_reason="the host is gone")
    await room.lives(10)

    (letter,) = room.letters
    listed = sum(f"job-{number:03}" in letter.text for number in range(500))
    assert letter.subject == "CRITICAL prod: 500 failed"
    assert listed == 50
    assert "and 450 more: 450 failed" in letter.text
    assert "taskwatch events --project prod --since 2026-11-23T" in letter.text
    assert "--limit 5000" in letter.text
    assert len(letter.text) < 50_000
    assert room.states() == ["delivered"] * 500


async def test_however_many_groups_there_are_messages_are_bounded_and_nothing_is_left_out() -> None:
    room = await a_mailroom(grouping=replace(FAST, by=("job_id",)))
    for number in range(500):
        room.task(f"job-{number:03}", "Failed")
    await room.lives(5)
    assert len(room.letters) == BURST
    assert room.states() == ["delivered"] * 500
    assert (
        room.letters[-1].subject == f"CRITICAL prod, …: {500 - BURST + 1} failed"
    )  # and not all of their projects are known

    for number in range(500, 520):
        room.task(f"job-{number:03}", "Failed")
    await room.lives(30)
    assert len(room.letters) == BURST, "there is room for one a minute"
    await room.lives(60)
    assert len(room.letters) == BURST + 1
    assert room.states() == ["delivered"] * 520


async def test_while_a_receiver_is_down_a_group_has_one_message_and_the_rest_waits_for_the_next() -> None:
    room = await a_mailroom(grouping=FAST)
    is_down = True
    room.notifier.conduct = fails_while(lambda: is_down)
    for number in range(20):
        room.task(f"job-{number}", "Failed")
        await room.lives(60, step=20)
    assert room.disk.rows("SELECT count(*) FROM messages WHERE state = 'pending'") == [(1,)]
    is_down = False
    await room.lives(300, step=20)

    assert room.subjects[0] == ("CRITICAL prod: CreateGaussDBV5Instance of db-1 failed")
    assert len(room.letters) == 2
    assert room.states() == ["delivered"] * 20
    assert (
        len({(attempt.message.event_id, attempt.message.body) for attempt in room.notifier.attempts}) == 3
    ), "the baseline and two: no message changed between attempts"


async def test_a_message_that_is_dead_takes_its_deliveries_along_and_is_replayed_as_it_was() -> None:
    room = await a_mailroom(grouping=FAST)
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses)
    for number in range(3):
        room.task(f"job-{number}", "Failed")
    await room.lives(4000, step=40)
    assert room.states() == ["dead"] * 3

    refuses = False
    replay(room)
    await room.lives(60)

    (message,) = room.taken
    assert message.replay
    assert {
        attempt.message.body for attempt in room.notifier.attempts if attempt.message.body == message.body
    }
    assert room.states() == ["delivered"] * 3
    assert room.disk.rows("SELECT count(*) FROM attempts WHERE message IS NOT NULL")[0][0] > 0


def replay(room: Mailroom) -> None:
    """Send again what is dead."""
    connection = room.disk.connection
    chosen = operations.select(connection, state=DeliveryState.DEAD, receiver=ME, events=())
    with connection:
        operations.replay(connection, list(chosen), at=room.clock.now())


def drop(room: Mailroom, job_id: str) -> None:
    (event,) = [id_ for (id_,) in room.disk.rows("SELECT id FROM events WHERE job_id = ?", job_id)]
    connection = room.disk.connection
    for state in (DeliveryState.PENDING, DeliveryState.DEAD):
        chosen = operations.select(connection, state=state, receiver=ME, events=[event])
        with connection:
            operations.drop(connection, list(chosen), at=room.clock.now())


async def test_what_is_dropped_out_of_a_message_that_nobody_has_is_not_told_and_the_rest_is() -> None:
    room = await a_mailroom(grouping=FAST)
    for number in range(3):
        room.task(f"job-{number}", "Failed")
    await room.poll()
    await room.groups.gather()
    drop(room, "job-1")
    await room.lives(300)

    assert [named(room.letters, f"job-{number}") for number in range(3)] == [1, 0, 1]
    assert room.states() == ["delivered", "dropped", "delivered"]


async def test_a_message_that_may_have_arrived_goes_as_it_stands_and_tells_the_rest_once() -> None:
    room = await a_mailroom(grouping=FAST)
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses)
    for number in range(3):
        room.task(f"job-{number}", "Failed")
    await room.lives(20)
    drop(room, "job-1")
    refuses = False
    await room.lives(300)

    assert len(room.letters) == 1
    assert room.states() == ["delivered", "dropped", "delivered"]


async def test_a_dead_message_of_which_something_was_dropped_is_composed_anew_when_it_is_replayed() -> None:
    room = await a_mailroom(grouping=FAST)
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses)
    for number in range(3):
        room.task(f"job-{number}", "Failed")
    await room.lives(4000, step=40)
    drop(room, "job-1")
    refuses = False
    replay(room)
    await room.lives(300)

    assert [named(room.letters, f"job-{number}") for number in range(3)] == [1, 0, 1]
    assert room.states() == ["delivered", "dropped", "delivered"]


async def test_a_letter_that_is_refused_for_what_it_says_keeps_its_group_from_nothing_else() -> None:
    room = await a_mailroom(grouping=FAST, horizon=1e9)
    room.notifier.conduct = fails_while(lambda: True, rejected, about=b"poison")
    room.task("job-1", "Failed", fail_reason="poison")
    await room.lives(20)
    room.task("job-2", "Failed")
    await room.lives(600)
    assert [named(room.letters, job) for job in ("job-1", "job-2")] == [0, 1]


async def test_a_replay_holds_up_nothing() -> None:
    room = await a_mailroom(grouping=FAST)
    is_refused = True

    async def conduct(message: Message) -> None:
        if is_refused or message.replay:
            raise DeliveryError(Reason.NETWORK, "cannot reach it")

    room.notifier.conduct = conduct
    room.task("job-1", "Failed")
    await room.lives(4000, step=40)
    replay(room)
    is_refused = False
    room.task("job-2", "Failed")
    await room.lives(200)
    assert named(room.letters, "job-2") == 1


async def test_in_a_busy_group_an_open_alert_is_reminded_of_all_the_same() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    room.task("job-open", "Failed")
    for number in range(48):
        room.task(f"busy-{number}", "Completed")
        await room.lives(HOUR / 2, step=300)
    assert 22 <= named(room.letters, "job-open") <= 25


async def test_a_reminder_of_several_comes_again_at_once_where_one_of_them_ended_while_it_waited() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    room.task("job-1", "Failed")
    room.task("job-2", "Failed")
    await room.lives(60)
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses)
    await room.lives(HOUR, step=60)
    await room.poller.resolve(["job-1"], by="me", comment=None)
    refuses = False
    await room.lives(300, step=30)
    reminding = [letter for letter in room.letters if "still open" in letter.subject]
    assert [named(reminding, job) for job in ("job-1", "job-2")] == [0, 1]


async def test_a_restart_and_a_rename_remind_of_nothing_before_its_time() -> None:
    room = await a_mailroom(grouping=Grouping(wait=0.0, interval=1.0, by=("job_id",), repeat=24 * HOUR))
    for number in range(30):
        room.task(f"job-{number}", "Failed")
    await room.lives(60)
    told = len(room.letters)
    room.begin()
    await room.lives(600, step=60)
    assert len(room.letters) == told
    await room.store.hand_over({ME: "other"})
    await room.store.hand_over({"other": ME})
    room.begin()
    await room.lives(600, step=60)
    assert len(room.letters) == told


async def test_after_an_outage_people_get_a_few_letters_however_many_groups_wait() -> None:
    room = await a_mailroom(grouping=replace(FAST, by=("...",)), horizon=1e9)
    is_down = True
    room.notifier.conduct = fails_while(lambda: is_down)
    for number in range(120):
        room.task(f"job-{number}", "Failed")
        await room.lives(60, step=30)
    is_down = False
    await room.lives(180, step=20)
    assert len(room.letters) <= BURST + 3
    assert room.states() == ["delivered"] * 120


async def test_the_end_of_an_outage_is_not_told_before_its_beginning() -> None:
    """The beginning stands in a message that is refused for a while; the end is in another group."""
    room = await a_mailroom(grouping=replace(FAST, by=("type",)))
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses, rejected, about=b"takes no events")
    for type_, number in ((EventType.RECEIVER_DOWN, 1), (EventType.RECEIVER_RECOVERED, 2)):
        word = Word(
            type=type_,
            place=Place(Kind.RECEIVER, "hook"),
            projects=(),
            severity=Severity.WARNING,
            cause="network",
            error="cannot reach it" if number == 1 else None,
            since=room.clock.now(),
        )
        event = outage_event(word, sequence=number, at=room.clock.now())
        hops = room.routing().hops(event, silences=(), at=room.clock.now())
        subject = Subject(place=word.place, project=None)
        await room.store.record_event(subject, Routed(event=event, job_id=None, hops=hops))
        await room.lives(60)
    assert room.letters == []
    refuses = False
    await room.lives(300)
    assert [subject.rpartition(" ")[0] for subject in room.subjects] == [
        "WARNING The receiver hook takes no events: cannot reach",
        "WARNING The receiver hook takes events",
    ]


async def test_a_restart_tells_what_waits_no_later_and_nothing_twice() -> None:
    room = await a_mailroom()
    await fails(room, "job-1")
    await room.lives(20)
    room.begin()
    await room.poll()
    await room.lives(15)
    assert len(room.letters) == 1, "what an earlier run had waited counts"
    room.begin()
    await room.lives(600, step=20)
    assert len(room.letters) == 1


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=3650)])
async def test_a_jump_of_the_wall_clock_delays_and_repeats_nothing(jump: timedelta) -> None:
    room = await a_mailroom(grouping=Grouping(repeat=HOUR))
    await fails(room, "job-1")
    await room.lives(10)
    room.clock.moment += jump
    await room.lives(30)
    assert len(room.letters) == 1
    await room.lives(600, step=20)
    assert len(room.letters) == 1
    await room.lives(HOUR, step=60)
    assert len(room.letters) == 2, "the reminder"


async def test_reminders_come_until_somebody_has_it_or_it_is_over() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    room.task("job-1", "Failed", fail_reason="disk broken")
    room.task("job-2", "Failed")
    await room.lives(60)
    await room.lives(HOUR - 120, step=60)
    assert len(room.letters) == 1
    await room.lives(120, step=60)
    assert room.subjects[1:] == ["CRITICAL prod: 2 still open"]
    assert "still open, and nobody has it now" in room.letters[1].text

    with room.disk.connection:
        alerts.acknowledge(
            room.disk.connection, ["job-1"], by="me", at=room.clock.now(), until=None, comment=None
        )
    await room.lives(HOUR + 120, step=60)
    assert room.subjects[2:] == ["CRITICAL prod: still open: CreateGaussDBV5Instance of db-1 failed"]
    assert named(room.letters[2:], "job-2") == 1

    await room.poller.resolve(["job-2"], by="me", comment=None)
    await room.lives(3 * HOUR, step=60)
    assert room.subjects[3:] == ["prod: CreateGaussDBV5Instance of db-1 resolved"]
    assert len({message.event_id for message in room.taken}) == len(room.taken)


async def test_reminders_are_bounded_too_and_name_every_alert() -> None:
    room = await a_mailroom(grouping=Grouping(wait=0.0, interval=1.0, by=("job_id",), repeat=HOUR))
    for number in range(30):
        room.task(f"job-{number:02}", "Failed")
    await room.lives(60)
    told = len(room.letters)
    await room.lives(HOUR, step=60)
    reminders = room.letters[told:]
    assert len(reminders) == BURST - KEPT
    assert [named(reminders, f"job-{number:02}") for number in range(30)] == [1] * 30


async def test_reminders_leave_room_for_news() -> None:
    """Thirty reminders are due in the minute in which something fails that nobody knows of yet."""
    room = await a_mailroom(grouping=Grouping(wait=0.0, interval=1.0, by=("job_id",), repeat=HOUR))
    for number in range(30):
        room.task(f"job-{number:02}", "Failed")
    await room.lives(HOUR - 30, step=30)
    await room.lives(60, step=5)
    assert len(reminders(room)) >= BURST - KEPT
    for number in range(int(KEPT)):
        room.task(f"new-{number}", "Failed")
        await room.lives(5)
        assert named(room.letters, f"new-{number}") == 1


async def test_what_is_news_goes_before_what_is_a_reminder() -> None:
    room = await a_mailroom(grouping=Grouping(wait=0.0, interval=1.0, by=("job_id",), repeat=HOUR))
    room.task("job-open", "Failed")
    await room.lives(HOUR - 30, step=30)
    for number in range(2 * BURST):
        room.task(f"new-{number}", "Failed")
    room.clock.seconds += 60
    await room.poll()
    await room.deliver()
    assert reminders(room) == []
    assert room.states() == ["delivered"] * (2 * BURST + 1)
    await room.lives(0.25 * HOUR, step=30)
    assert len(reminders(room)) == 1


async def test_a_silence_holds_reminders_back_too() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    room.task("job-1", "Failed")
    room.task("job-2", "Failed")
    await room.lives(60)
    with room.disk.connection:
        silences.add(
            room.disk.connection,
            ['job_id = "job-1"'],
            by="me",
            begins_at=room.clock.now(),
            ends_at=room.clock.now() + timedelta(hours=2),
            comment=None,
        )
    await room.lives(1.5 * HOUR, step=60)
    assert [named(room.letters[1:], job) for job in ("job-1", "job-2")] == [0, 1]
    await room.lives(2 * HOUR, step=60)
    assert named(room.letters[1:], "job-1") > 0


async def test_an_acknowledgement_for_a_time_ends_and_the_reminders_go_on() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    room.task("job-1", "Failed")
    await room.lives(60)
    until = room.clock.now() + timedelta(hours=4)
    with room.disk.connection:
        alerts.acknowledge(
            room.disk.connection, ["job-1"], by="me", at=room.clock.now(), until=until, comment=None
        )
    await room.lives(3.9 * HOUR, step=60)
    assert len(room.letters) == 1
    await room.lives(HOUR, step=60)
    assert len(room.letters) == 2


async def test_a_reminder_comes_after_the_delivery_of_the_news_not_with_it() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    is_down = True
    room.notifier.conduct = fails_while(lambda: is_down)
    room.task("job-1", "Failed")
    await room.lives(0.9 * HOUR, step=60)
    is_down = False
    await room.lives(0.9 * HOUR, step=60)
    assert reminders(room) == []
    await room.lives(0.2 * HOUR, step=60)
    assert reminders(room) == ["CRITICAL prod: still open: CreateGaussDBV5Instance of db-1 failed"]


async def test_what_failed_and_is_mended_before_it_could_be_told_alarms_nobody() -> None:
    room = await a_mailroom()
    await fails(room, "job-1")
    await room.poller.resolve(["job-1"], by="me", comment=None)
    await room.lives(60)

    (letter,) = room.letters
    assert letter.subject == "prod: 1 failed, 1 resolved, 1 started"
    assert "over by now: CreateGaussDBV5Instance of db-1 failed" in letter.text


async def test_a_receiver_that_was_removed_keeps_its_message_as_it_is() -> None:
    room = await a_mailroom(grouping=FAST)
    room.notifier.conduct = fails_while(lambda: True)
    room.task("job-1", "Failed")
    await room.lives(20)
    before = room.disk.rows("SELECT event_id, body, attempts FROM messages WHERE state = 'pending'")
    await room.store.post.dissolve(["another"])
    assert room.disk.rows("SELECT event_id, body, attempts FROM messages WHERE state = 'pending'") == before


async def test_a_reminder_to_a_receiver_that_was_removed_is_put_away_and_made_again_when_it_is_back() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    room.task("job-1", "Failed")
    await room.lives(60)
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses)
    await room.lives(HOUR + 60, step=60)
    await room.store.note_removed(frozenset({ME}))
    assert room.disk.rows("SELECT state FROM messages WHERE reminds IS NOT NULL") == [("pending",)]

    await room.store.note_removed(frozenset({"another"}))
    assert room.disk.rows("SELECT state, why FROM messages WHERE reminds IS NOT NULL") == [
        ("dropped", "receiver_removed")
    ]
    refuses = False
    room.begin()
    await room.lives(120, step=60)
    assert len(reminders(room)) == 1


async def test_while_there_is_no_room_for_a_message_nobody_reads_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = await a_mailroom(grouping=replace(FAST, by=("job_id",)))
    room.notifier.conduct = fails_while(lambda: True)
    for number in range(2 * BURST):
        room.task(f"job-{number}", "Failed")
    await room.lives(60)
    reads: list[str] = []
    waiting_groups = room.store.post.waiting_groups

    async def counted(receiver: str) -> list[WaitingGroup]:
        reads.append(receiver)
        return await waiting_groups(receiver)

    monkeypatch.setattr(room.store.post, "waiting_groups", counted)
    await room.lives(600)
    assert reads == []
    room.notifier.conduct = fails_while(lambda: False)
    await room.lives(300)
    assert reads
    assert set(room.states()) == {"delivered"}


async def test_reading_what_waits_takes_a_bounded_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = await a_mailroom()
    room.task("job-1", "Failed")
    await room.poll()
    reads: list[float] = []
    waiting_groups = room.store.post.waiting_groups

    async def slow(receiver: str) -> list[WaitingGroup]:
        room.clock.seconds += 0.5
        reads.append(room.clock.seconds)
        return await waiting_groups(receiver)

    monkeypatch.setattr(room.store.post, "waiting_groups", slow)
    patiences = []
    for _ in range(200):
        patiences.append(await room.groups.gather())
        room.clock.seconds += 0.1  # woken again and again
    assert 2 <= len(reads) <= 4
    assert min(later - earlier for earlier, later in pairwise(reads)) >= 0.5 / READING
    assert min(patiences) > 0.0


async def test_a_reminder_that_waits_while_its_alert_ends_is_never_sent() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    room.task("job-1", "Failed")
    await room.lives(60)
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses)
    await room.lives(HOUR + 60, step=60)
    assert room.disk.rows("SELECT count(*) FROM messages WHERE reminds IS NOT NULL") == [(1,)]
    await room.poller.resolve(["job-1"], by="me", comment=None)
    refuses = False
    await room.lives(600, step=20)

    assert reminders(room) == []
    assert room.disk.rows("SELECT state, why FROM messages WHERE reminds IS NOT NULL") == [
        ("dropped", "over")
    ]


async def test_the_end_of_an_alert_is_told_in_the_thread_of_its_beginning() -> None:
    room = await a_mailroom(grouping=FAST)
    room.task("job-1", "Failed")
    await room.lives(20)
    await room.poller.resolve(["job-1"], by="me", comment="by hand")
    await room.lives(20)

    failed, resolved = room.letters
    assert failed.thread == resolved.thread
    assert "comment    by hand" in resolved.text


class Fills:
    """A renderer that does what it is told."""

    def __init__(self) -> None:
        self.fails = False
        self.asked: list[tuple[str, dict[str, object], bool]] = []

    async def render(self, source: str, facts: bytes, *, is_html: bool = False) -> str:
        self.asked.append((source, msgspec.json.decode(facts), is_html))
        if self.fails:
            raise TemplateFailedError("line 1: 'tusk' is undefined")
        return f"{source} filled in\nsecond line"


async def test_a_template_makes_the_words_and_one_that_fails_leaves_the_built_in_ones() -> None:
    renderer = Fills()
    room = await a_mailroom(
        grouping=FAST, sources=Sources(subject="S", text="T", html="H"), renderer=renderer
    )
    room.task("job-1", "Failed")
    await room.lives(20)
    renderer.fails = True
    room.task("job-2", "Failed")
    await room.lives(20)

    letter, fallback = [one for one in room.letters if "baseline" not in one.text][-2:]
    assert (letter.subject, letter.text) == ("S filled in second line", "T filled in\nsecond line")
    assert letter.html == "H filled in\nsecond line"
    assert [is_html for _, _, is_html in renderer.asked[:3]] == [False, True, False]
    assert fallback.subject == "CRITICAL prod: CreateGaussDBV5Instance of db-1 failed"
    facts = renderer.asked[-1][1]
    assert facts["count"] == 1
    assert facts["severity"] == "critical"


async def test_a_receiver_that_writes_to_no_people_any_more_is_told_event_by_event() -> None:
    room = await a_mailroom(grouping=FAST)
    room.notifier.conduct = fails_while(lambda: True)
    for number in range(3):
        room.task(f"job-{number}", "Failed")
    await room.lives(20)
    assert outbox.pending(room.disk.connection, ME, after=0, limit=10) == []  # type: ignore[arg-type]  # a number
    await room.store.post.dissolve([ME])

    waiting = outbox.pending(room.disk.connection, ME, after=0, limit=10)  # type: ignore[arg-type]  # the same
    assert len(waiting) == 3


async def test_ten_letters_that_are_refused_for_what_they_say_keep_the_receiver_from_nothing_else() -> None:
    room = await a_mailroom(grouping=replace(FAST, by=("job_id",)), horizon=72 * HOUR)
    room.notifier.conduct = fails_while(lambda: True, rejected, about=b"poison")
    for number in range(BURST):
        room.task(f"bad-{number}", "Failed", fail_reason="poison")
    await room.lives(60)
    room.task("good", "Failed")
    await room.lives(HOUR, step=60)
    assert named(room.letters, "good") == 1


async def test_a_reminder_that_is_refused_is_not_made_again_while_it_waits() -> None:
    room = await a_mailroom(grouping=replace(FAST, by=("job_id",), repeat=24 * HOUR), horizon=72 * HOUR)
    room.task("job-1", "Failed")
    await room.lives(60)
    refuses = True
    room.notifier.conduct = fails_while(lambda: refuses, rejected, about=b"still open")
    await room.lives(25 * HOUR, step=60)
    assert room.disk.rows("SELECT state, count(*) FROM messages WHERE reminds IS NOT NULL GROUP BY 1") == [
        ("pending", 1)
    ]
    refuses = False
    await room.lives(2 * HOUR, step=60)
    assert len(reminders(room)) == 1


async def test_news_that_never_cease_leave_room_for_reminders() -> None:
    room = await a_mailroom(grouping=replace(FAST, by=("job_id",), repeat=HOUR))
    room.task("job-open", "Failed")
    for number in range(3 * 120):
        room.task(f"busy-{number}", "Completed")
        await room.lives(30, step=30)
        room.tasks.pop(f"busy-{number - 40}", None)
    assert named(room.letters, "job-open") >= 3


async def test_what_else_a_group_tells_does_not_make_the_wall_clock_count_for_its_reminders() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=24 * HOUR))
    room.task("job-1", "Failed")
    await room.lives(60)
    room.clock.moment += timedelta(days=2)
    await room.lives(60)
    is_down = True
    room.notifier.conduct = fails_while(lambda: is_down)
    room.task("job-2", "Completed")
    await room.lives(60)
    is_down = False
    await room.lives(300)
    assert named(room.letters, "job-2") == 1
    assert reminders(room) == []


async def test_a_reminder_of_what_somebody_has_is_not_sent_although_the_clock_was_set_back() -> None:
    room = await a_mailroom(grouping=replace(FAST, repeat=HOUR))
    room.task("job-1", "Failed")
    await room.lives(60)
    is_down = True
    room.notifier.conduct = fails_while(lambda: is_down)
    await room.lives(HOUR + 60, step=60)
    assert room.disk.rows("SELECT state FROM messages WHERE reminds IS NOT NULL") == [("pending",)]
    room.clock.moment -= timedelta(minutes=30)
    with room.disk.connection:
        alerts.acknowledge(
            room.disk.connection, ["job-1"], by="ada", at=room.clock.now(), until=None, comment=None
        )
    is_down = False
    await room.lives(300)
    assert reminders(room) == []


async def test_what_was_dead_in_a_letter_is_replayed_event_by_event_to_one_that_writes_to_no_people_any_more() -> (
    None
):
    room = await a_mailroom(grouping=FAST)
    room.notifier.conduct = fails_while(lambda: True)
    for number in range(3):
        room.task(f"job-{number}", "Failed")
    await room.lives(4000, step=40)
    assert room.states() == ["dead"] * 3
    await room.store.post.dissolve([ME])
    assert room.states() == ["dead"] * 3
    replay(room)
    assert len(outbox.pending(room.disk.connection, ME, after=0, limit=10)) == 3  # type: ignore[arg-type]  # a number
