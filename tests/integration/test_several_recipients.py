"""One of several recipients is put off by the mail server: what the others get meanwhile, and what that one gets."""

from collections.abc import AsyncIterator

import pytest

from taskwatch.core.grouping import Grouping
from taskwatch.engine import lane
from taskwatch.engine.lane import LaneRules
from taskwatch.engine.ports import NoAlerts
from taskwatch.notifiers.email import EmailNotifier, EmailOptions, open_notifier
from tests.fakes.builders import quiet_log
from tests.fakes.mailroom import ME, Mailroom, a_mailroom
from tests.fakes.smtp_server import END, FakeMailServer, drop, saying

ANN, BOB = "ann@example.com", "bob@example.com"
FAST = Grouping(wait=2.0, interval=3.0)
HOUR = 3600.0
HORIZON = 72 * HOUR


@pytest.fixture
async def server() -> AsyncIterator[FakeMailServer]:
    async with FakeMailServer() as serving:
        yield serving
    assert serving.problems == []


async def a_room(server: FakeMailServer, grouping: Grouping = FAST) -> Mailroom:
    room = await a_mailroom(grouping=grouping)
    serve(room, server)
    return room


def serve(room: Mailroom, server: FakeMailServer) -> None:
    """Let the receiver of the room be one that writes to both."""
    rules = LaneRules(timeout=10.0, initial=5.0, maximum=HOUR, horizon=HORIZON)
    room.lane.adopt(notifier=_notifier(server, room), rules=rules)


def _notifier(server: FakeMailServer, room: Mailroom) -> EmailNotifier:
    options = EmailOptions.model_validate(
        {"name": ME, "type": "email", "smtp": server.url, "from": "tw@example.com", "to": [ANN, BOB]}
    )
    return open_notifier(options, clock=room.clock, log=quiet_log(), alerts=NoAlerts())


def put_off(server: FakeMailServer, recipient: str, answer: str = "451 4.7.1 later") -> None:
    server.answer(f"RCPT TO:<{recipient}>", saying(answer))


def got(server: FakeMailServer, recipient: str) -> list[str]:
    """Return the tasks that a recipient heard of, in the order of hearing."""
    return [
        word.rstrip(",")
        for mail in server.mails
        if recipient in mail.to
        for word in mail.text.split()
        if word.startswith("g-") and word.rstrip(",")[2:].isdigit()
    ]


def ails(room: Mailroom) -> bool:
    return room.lane.ailment is not None


async def fails(room: Mailroom, *jobs: str, seconds: float = 60) -> None:
    for job_id in jobs:
        room.task(job_id, "Failed")
        await room.lives(seconds)


def heard(server: FakeMailServer, recipient: str) -> list[str]:
    return list(dict.fromkeys(got(server, recipient)))


async def test_one_that_is_put_off_keeps_nothing_from_the_others(server: FakeMailServer) -> None:
    room = await a_room(server)
    put_off(server, BOB)
    await fails(room, "g-0", "g-1", "g-2")
    assert heard(server, ANN) == ["g-0", "g-1", "g-2"]
    assert heard(server, BOB) == []
    assert room.states() == ["delivered"] * 3
    assert not ails(room)

    server.behave = lambda _: None
    await room.lives(HOUR, step=60)
    assert sorted(heard(server, BOB)) == ["g-0", "g-1", "g-2"]
    assert len([mail for mail in server.mails if ANN in mail.to]) == 3, "nobody has one twice"
    assert room.disk.rows("SELECT DISTINCT state, why FROM messages") == [("delivered", None)]
    assert room.disk.rows("SELECT DISTINCT state, why FROM deliveries") == [("delivered", None)]


async def test_a_task_goes_on_while_one_is_put_off(server: FakeMailServer) -> None:
    room = await a_room(server)
    put_off(server, BOB)
    await fails(room, "g-0")
    room.task("g-0", "Running", ended_at=None)
    await room.lives(30)
    assert got(server, ANN)[0] == got(server, ANN)[-1] == "g-0"
    assert len([mail for mail in server.mails if ANN in mail.to]) == 2


async def test_what_is_delivered_in_part_says_for_whom_it_is_not(server: FakeMailServer) -> None:
    room = await a_room(server)
    put_off(server, BOB)
    await fails(room, "g-0")
    ((state, why, detail),) = room.disk.rows(
        "SELECT d.state, d.why, d.last_detail FROM deliveries d JOIN events e ON e.seq = d.event WHERE e.job_id = 'g-0'"
    )
    assert (state, why) == ("delivered", "in_part")
    assert detail == f"not yet for {BOB}: 127.0.0.1:{server.port} answered 451: 4.7.1 later"


async def test_the_others_are_reminded_while_one_is_put_off(server: FakeMailServer) -> None:
    room = await a_room(server, Grouping(wait=2.0, interval=3.0, repeat=HOUR))
    put_off(server, BOB)
    await fails(room, "g-0")
    await room.lives(3.5 * HOUR, step=60)
    assert len([mail for mail in server.mails if ANN in mail.to]) == 4


async def test_one_that_is_put_off_for_too_long_is_given_up_and_the_letter_stays_delivered(
    server: FakeMailServer,
) -> None:
    room = await a_room(server)
    put_off(server, BOB)
    await fails(room, "g-0")
    await room.lives(HORIZON + 2 * HOUR, step=600)
    assert room.disk.rows("SELECT state, why FROM messages ORDER BY id DESC LIMIT 1") == [
        ("delivered", "in_part")
    ]
    assert room.states() == ["delivered"]
    asked = len(server.commands)
    await room.lives(5 * HOUR, step=600)
    assert len(server.commands) == asked


async def test_no_more_than_a_few_letters_wait_for_one_that_is_put_off(
    server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "LEFT", 2)
    room = await a_room(server)
    put_off(server, BOB)
    await fails(room, *(f"g-{number}" for number in range(5)))
    assert heard(server, ANN) == [f"g-{number}" for number in range(5)]
    assert room.disk.rows("SELECT count(*) FROM messages WHERE state = 'pending'") == [(2,)]
    server.behave = lambda _: None
    await room.lives(HOUR, step=60)
    assert sorted(heard(server, BOB)) == ["g-0", "g-1"]


async def test_after_a_restart_the_one_that_was_put_off_is_asked_again_and_the_others_miss_nothing(
    server: FakeMailServer,
) -> None:
    room = await a_room(server)
    put_off(server, BOB)
    await fails(room, "g-0")
    room.begin()
    serve(room, server)
    await fails(room, "g-1")
    assert heard(server, ANN) == ["g-0", "g-1"]
    server.behave = lambda _: None
    await room.lives(HOUR, step=60)
    assert sorted(heard(server, BOB)) == ["g-0", "g-1"]


async def test_a_mailbox_that_is_full_once_the_letter_is_there_speaks_of_nobody_else(
    server: FakeMailServer,
) -> None:
    """The server asks for the letter of the one alone, and then has no room for it: five times is no server that is down."""
    room = await a_room(server)
    put_off(server, BOB)
    await fails(room, "g-0", seconds=20)
    server.answer(END, saying("452 4.2.2 mailbox full"))
    await room.lives(HOUR, step=10)
    assert not ails(room)
    server.behave = lambda _: None
    await fails(room, "g-1", seconds=10)
    assert heard(server, ANN) == ["g-0", "g-1"]


async def test_a_server_that_goes_down_while_one_is_put_off_is_down_and_found_again(
    server: FakeMailServer,
) -> None:
    room = await a_room(server)
    put_off(server, BOB)
    await fails(room, "g-0")
    server.answer("", drop)
    await fails(room, "g-1")
    await room.lives(HOUR, step=60)
    assert ails(room)
    put_off(server, BOB)
    await room.lives(2 * HOUR, step=60)
    assert heard(server, ANN) == ["g-0", "g-1"]
    assert not ails(room)
    assert room.states() == ["delivered"] * 2
