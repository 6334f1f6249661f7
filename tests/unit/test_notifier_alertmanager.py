"""The receiver `alertmanager`: what each replica is posted, and when."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from taskwatch.clock import Clock
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Message
from taskwatch.model.event import EventId, EventType, Severity
from taskwatch.model.outage import Kind, Place
from taskwatch.notifiers.alertmanager import AlertmanagerNotifier, AlertmanagerOptions, open_notifier
from tests.fakes.alert_book import AlertBookInMemory
from tests.fakes.alertmanager import FakeAlertmanager
from tests.fakes.builders import a_project, captured_log
from tests.fakes.messages import a_message

NOW = datetime.fromisoformat("2026-11-23T10:00:00+00:00")


class SetClock(Clock):
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self._wall = NOW
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self.jump(seconds)

    def true(self) -> datetime:
        """Return the time that it would tell if nobody had set it."""
        return NOW + timedelta(seconds=self._monotonic - 1000.0)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as somebody may."""
        self._wall += timedelta(seconds=seconds)


class Bench:
    def __init__(self, clock: SetClock, *urls: str, **options: Any) -> None:
        self.book = AlertBookInMemory()
        self.clock = clock
        self.log, self.lines = captured_log()
        self.options = AlertmanagerOptions.model_validate(
            {"name": "am", "type": "alertmanager", "urls": list(urls), "timeout": "2s", **options}
        )
        self.notifiers: list[AlertmanagerNotifier] = []
        self.notifier = self.opened()

    def opened(self) -> AlertmanagerNotifier:
        """Open it, as after a restart."""
        notifier = open_notifier(self.options, clock=self.clock, log=self.log, alerts=self.book)
        self.notifiers.append(notifier)
        return notifier

    async def fails(self, job_id: str = "job-1") -> EventId:
        message = self.book.open(a_message(job_id=job_id))
        await self.notifier.notify(message)
        return message.event_id

    async def repeats(self, *, after: float = 60.0) -> None:
        self.clock.advance(after)
        await self.notifier.repeat()

    async def closes(self) -> None:
        for notifier in self.notifiers:
            await notifier.close()


@pytest.fixture
async def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def one(clock: SetClock) -> AsyncIterator[FakeAlertmanager]:
    async with FakeAlertmanager(clock=clock.true) as server:
        yield server


@pytest.fixture
async def other(clock: SetClock) -> AsyncIterator[FakeAlertmanager]:
    async with FakeAlertmanager(clock=clock.true) as server:
        yield server


@pytest.fixture
async def bench(clock: SetClock, one: FakeAlertmanager, other: FakeAlertmanager) -> AsyncIterator[Bench]:
    bench = Bench(clock, one.url, other.url, labels={"cluster": "k1"})
    yield bench
    await bench.closes()


async def test_a_failure_fires_at_every_replica_under_its_labels(
    bench: Bench, one: FakeAlertmanager, other: FakeAlertmanager
) -> None:
    event_id = await bench.fails()
    await bench.repeats()
    alert = one.alerts[0]
    assert alert["labels"] == {
        "alertname": "TaskwatchTaskFailed",
        "severity": "critical",
        "project": "prod",
        "task": "CreateGaussDBV5Instance",
        "job_id": "job-1",
        "instance_name": "no space left",
        "instance_id": "in-1",
        "cluster": "k1",
        **a_project().labels,
    }
    assert alert["annotations"]["event_id"] == event_id
    assert alert["annotations"]["fail_reason"] == "no space left"
    assert other.standing(bench.clock.now()) == one.standing(bench.clock.now()) == {event_id: True}


async def test_an_open_alert_is_posted_each_minute_from_the_same_start_to_a_later_end(
    bench: Bench, one: FakeAlertmanager
) -> None:
    await bench.fails()
    for _ in range(3):
        await bench.repeats()
    assert len({alert["startsAt"] for alert in one.alerts}) == 1
    ends = [datetime.fromisoformat(alert["endsAt"]) for alert in one.alerts]
    assert ends == [NOW + timedelta(minutes=15 + number) for number in range(4)]
    assert len(one.names()) == 1


async def test_an_alert_that_is_over_is_resolved_once_at_each_replica_and_let_go(
    bench: Bench, one: FakeAlertmanager, other: FakeAlertmanager
) -> None:
    event_id = await bench.fails()
    bench.book.end(event_id, bench.clock.now())
    for _ in range(3):
        await bench.repeats()
    for server in (one, other):
        resolved = [alert for alert in server.alerts if alert["endsAt"] == "2026-11-23T10:00:00.000Z"]
        assert len(resolved) == 1
    assert bench.book.rows == {}


async def test_one_replica_is_enough_and_the_other_gets_it_when_it_is_back(
    bench: Bench, one: FakeAlertmanager, other: FakeAlertmanager
) -> None:
    other.answer = lambda _: web.Response(status=503)
    event_id = await bench.fails()
    await bench.repeats()
    bench.book.end(event_id, bench.clock.now())
    await bench.repeats()
    assert one.standing(bench.clock.now()) == {event_id: False}
    assert other.alerts == []
    other.answer = None
    await bench.repeats()
    assert other.standing(bench.clock.now()) == {event_id: False}
    assert bench.book.rows == {}
    told = [line["event"] for line in bench.lines]
    assert told == ["alerts_not_repeated", "alerts_not_repeated", "alerts_repeated_again"]


async def test_none_that_takes_it_is_a_failure_that_names_the_replica(
    bench: Bench, one: FakeAlertmanager, other: FakeAlertmanager
) -> None:
    one.answer = other.answer = lambda _: web.Response(status=503)
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1:[0-9]+ answered 503"):
        await bench.fails()


async def test_a_replica_that_never_comes_back_is_not_waited_for_longer_than_an_alert_lasts_there(
    bench: Bench, other: FakeAlertmanager
) -> None:
    event_id = await bench.fails()
    other.answer = lambda _: web.Response(status=503)
    bench.book.end(event_id, bench.clock.now())
    for _ in range(15):
        await bench.repeats()
        assert event_id in bench.book.rows
    await bench.repeats()
    assert event_id not in bench.book.rows


async def test_a_delivery_that_comes_late_says_how_the_alert_stands_by_now(
    bench: Bench, one: FakeAlertmanager
) -> None:
    message = bench.book.open(a_message())
    bench.book.end(message.event_id, bench.clock.now())
    bench.clock.advance(600.0)
    await bench.notifier.notify(message)
    assert one.standing(bench.clock.now()) == {message.event_id: False}


async def test_what_opened_no_alert_is_not_posted(bench: Bench, one: FakeAlertmanager) -> None:
    await bench.notifier.notify(a_message())
    assert one.posts == []


async def test_labels_stay_as_they_were_when_it_began_to_fire_whatever_is_configured_since(
    bench: Bench, one: FakeAlertmanager
) -> None:
    await bench.fails()
    bench.options = bench.options.model_copy(update={"labels": {"cluster": "k2"}})
    bench.notifier = bench.opened()
    await bench.repeats()
    assert len(one.names()) == 1
    await bench.fails("job-2")
    assert one.alerts[-1]["labels"]["cluster"] == "k2"


async def test_after_fire_for_it_stops_there_and_stays_open_here(one: FakeAlertmanager, bench: Bench) -> None:
    bench.options = bench.options.model_copy(update={"fire_for": 300.0})
    bench.notifier = bench.opened()
    event_id = await bench.fails()
    await bench.notifier.repeat()
    for _ in range(4):
        await bench.repeats()
    assert one.standing(bench.clock.now()) == {event_id: True}
    await bench.repeats()
    assert one.standing(bench.clock.now()) == {event_id: False}


async def test_no_jump_of_the_clock_ends_an_alert(bench: Bench, one: FakeAlertmanager) -> None:
    event_id = await bench.fails()
    bench.clock.jump(10 * 365 * 86_400.0)
    await bench.repeats()
    assert one.standing(bench.clock.now()) == {event_id: True}


async def test_an_end_in_the_future_of_a_cloud_whose_clock_is_wrong_is_not_its_start(
    bench: Bench, one: FakeAlertmanager
) -> None:
    message = a_message()
    later = message.body.replace(b'"ended_at":"2026', b'"ended_at":"2036')
    assert later != message.body
    bench.book.open(Message(event_id=message.event_id, body=later))
    await bench.notifier.notify(message)
    assert datetime.fromisoformat(one.alerts[0]["startsAt"]) <= bench.clock.now()


async def test_two_receivers_that_are_down_are_two_alerts(bench: Bench, one: FakeAlertmanager) -> None:
    for name in ("hook", "mail"):
        word = Word(
            type=EventType.RECEIVER_DOWN,
            place=Place(Kind.RECEIVER, name),
            projects=(),
            severity=Severity.WARNING,
            cause="network",
            error="cannot be reached",
            since=NOW,
        )
        event = outage_event(word, sequence=1, at=NOW)
        await bench.notifier.notify(bench.book.open(Message(event_id=event.id, body=event.body)))
    assert len(one.names()) == 2
    assert {alert["labels"]["alertname"] for alert in one.alerts} == {"TaskwatchReceiverDown"}


async def test_five_hundred_alerts_are_repeated_in_few_requests(bench: Bench, one: FakeAlertmanager) -> None:
    for number in range(501):
        bench.book.open(a_message(job_id=f"job-{number}"))
    await bench.repeats()
    assert len(one.posts) == 3  # with the one that asks for its time
    assert len(one.alerts) == 501


# The clock of this host is wrong

WRONG = [-10 * 365 * 86_400.0, -2 * 3600.0, -16 * 60.0, 2 * 3600.0, 400 * 86_400.0]


@pytest.mark.parametrize("off", WRONG)
async def test_whatever_this_hosts_clock_says_it_fires_until_it_is_over_and_then_no_more(
    bench: Bench, one: FakeAlertmanager, other: FakeAlertmanager, off: float
) -> None:
    bench.clock.jump(off)
    event_id = await bench.fails()
    for _ in range(3):
        await bench.repeats()
        assert one.fires() == other.fires() == {event_id: True}
    assert one.ends == other.ends == []
    bench.book.end(event_id, bench.clock.now())
    await bench.repeats()
    assert one.fires() == other.fires() == {event_id: False}
    assert bench.book.rows == {}
    assert "alerts_not_repeated" not in [line["event"] for line in bench.lines]


@pytest.mark.parametrize("off", WRONG)
async def test_a_clock_that_is_set_wrong_or_a_start_under_it_ends_nothing_that_fires(
    bench: Bench, one: FakeAlertmanager, off: float
) -> None:
    event_id = await bench.fails()
    bench.clock.jump(off)
    await bench.repeats()
    bench.notifier = bench.opened()
    await bench.repeats()
    assert one.fires() == {event_id: True}
    assert one.ends == []


async def test_an_alert_that_began_under_a_clock_that_was_ahead_ends_when_it_is_set_right(
    bench: Bench, one: FakeAlertmanager
) -> None:
    bench.clock.jump(7200.0)
    message = bench.book.open(a_message())
    later = message.body.replace(b'"time":"2026-11-23T10', b'"time":"2026-11-23T12').replace(
        b'"ended_at":"2026', b'"ended_at":"2036'
    )
    assert later.count(b"T12:") == 1
    bench.book.open(Message(event_id=message.event_id, body=later))
    await bench.notifier.notify(message)
    bench.clock.jump(-7200.0)
    bench.book.end(message.event_id, bench.clock.now())
    await bench.repeats()
    assert one.fires() == {message.event_id: False}


async def test_each_replica_is_told_by_its_own_clock(
    bench: Bench, one: FakeAlertmanager, other: FakeAlertmanager
) -> None:
    one.clock = lambda: bench.clock.true() + timedelta(hours=3)
    event_id = await bench.fails()
    await bench.repeats()
    assert one.fires() == other.fires() == {event_id: True}
    assert one.ends == other.ends == []
    end = datetime.fromisoformat(other.alerts[-1]["endsAt"])
    assert end == other.clock() + timedelta(minutes=15)


async def test_a_clock_that_moved_since_the_last_answer_is_told_again_at_once(
    bench: Bench, one: FakeAlertmanager
) -> None:
    """So it is on a host that was suspended: neither of its clocks went on."""
    event_id = await bench.fails()
    one.clock = lambda: bench.clock.true() + timedelta(hours=1)
    await bench.notifier.repeat()
    assert one.fires() == {event_id: True}


async def test_one_that_refuses_to_be_asked_is_told_by_the_answer_to_the_first_alert(
    bench: Bench, one: FakeAlertmanager
) -> None:
    def refuse(_: web.Request) -> web.Response:
        one.answer = None
        return web.Response(status=400)

    one.answer = refuse
    bench.clock.jump(-3600.0)
    event_id = await bench.fails()
    await bench.repeats()
    assert one.fires() == {event_id: True}


@pytest.mark.parametrize(
    "date",
    [
        "",
        "today",
        "Mon, 23 Nov 9999 10:00:00 GMT",
        "Sun, 23 Nov 1969 10:00:00 GMT",
        "Thu, 32 Nov 2026 1:1:1 GMT",
    ],
)
async def test_an_answer_that_tells_no_time_changes_nothing(
    bench: Bench, one: FakeAlertmanager, date: str
) -> None:
    one.date = date
    event_id = await bench.fails()
    await bench.repeats()
    assert one.fires() == {event_id: True}
    assert {alert["endsAt"] for alert in one.alerts} == {
        "2026-11-23T10:15:00.000Z",
        "2026-11-23T10:16:00.000Z",
    }
    bench.book.end(event_id, bench.clock.now())
    await bench.repeats()
    assert one.fires() == {event_id: False}
    assert bench.lines == []


async def test_a_clock_that_is_wrong_is_warned_of_once_and_again_when_it_is_wrong_again(
    bench: Bench,
) -> None:
    bench.clock.jump(-3600.0)
    await bench.fails()
    await bench.repeats()
    bench.clock.jump(3600.0)
    await bench.repeats()
    bench.clock.jump(3600.0)
    await bench.repeats()
    told = [(line["event"], line["receiver"], line["replica"], line["error"]) for line in bench.lines]
    remedy = "; set it (timedatectl, NTP), or that one's"
    assert sorted(told) == [
        (
            "clock_found_wrong",
            "am",
            f"urls[{number}]",
            f"this host's clock is 3600 s {side} Alertmanager's{remedy}",
        )
        for number in (0, 1)
        for side in ("ahead of", "behind")
    ]
