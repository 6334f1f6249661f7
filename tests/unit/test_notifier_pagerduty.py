"""The receiver `pagerduty`: one incident for one alert, from its beginning to its end."""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from structlog.typing import EventDict

from taskwatch.clock import SystemClock
from taskwatch.core.events import receiver_test_event
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Message
from taskwatch.model.event import EventId
from taskwatch.notifiers.pagerduty import PagerdutyNotifier, PagerdutyOptions, open_notifier
from taskwatch.telemetry import Logger
from tests.fakes.alert_book import AlertBookInMemory
from tests.fakes.builders import at, captured_log
from tests.fakes.messages import a_message
from tests.fakes.pagerduty import FakePagerduty

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def server() -> AsyncIterator[FakePagerduty]:
    async with FakePagerduty() as server:
        yield server


@pytest.fixture
def book() -> AlertBookInMemory:
    return AlertBookInMemory()


@pytest.fixture
def logged() -> tuple[Logger, list[EventDict]]:
    return captured_log()


@pytest.fixture
async def notifier(
    server: FakePagerduty, book: AlertBookInMemory, logged: tuple[Logger, list[EventDict]]
) -> AsyncIterator[PagerdutyNotifier]:
    options = PagerdutyOptions.model_validate(
        {"name": "pd", "type": "pagerduty", "routing_key": KEY, "url": server.url, "timeout": "2s"}
    )
    notifier = open_notifier(options, clock=SystemClock(), log=logged[0], alerts=book)
    yield notifier
    await notifier.close()


def resolved(*event_ids: EventId) -> Message:
    resolves: object = event_ids[0] if len(event_ids) == 1 else list(event_ids)
    body = {"id": "tw_end", "type": "taskwatch.task.resolved", "data": {"resolves": resolves}}
    return Message(event_id=EventId("tw_end"), body=json.dumps(body).encode())


async def test_an_alert_opens_an_incident_and_its_end_resolves_it(
    notifier: PagerdutyNotifier, server: FakePagerduty, book: AlertBookInMemory
) -> None:
    message = book.open(a_message())
    await notifier.notify(message)
    book.end(message.event_id, at(1))
    await notifier.notify(resolved(message.event_id))
    assert server.incidents == {message.event_id: ["triggered", "resolved"]}
    assert book.rows == {}
    payload = server.events[0]["payload"]
    assert (payload["severity"], payload["class"], payload["group"]) == (
        "critical",
        "CreateGaussDBV5Instance",
        "prod",
    )
    assert payload["custom_details"]["fail_reason"] == "no space left"


async def test_a_copy_is_the_same_incident(
    notifier: PagerdutyNotifier, server: FakePagerduty, book: AlertBookInMemory
) -> None:
    message = book.open(a_message())
    await notifier.notify(message)
    await notifier.notify(message)
    assert server.incidents == {message.event_id: ["triggered"]}


async def test_what_opened_no_alert_calls_nobody(notifier: PagerdutyNotifier, server: FakePagerduty) -> None:
    await notifier.notify(a_message())
    assert server.events == []


async def test_what_is_over_before_it_could_be_sent_calls_nobody(
    notifier: PagerdutyNotifier, server: FakePagerduty, book: AlertBookInMemory
) -> None:
    message = book.open(a_message())
    book.end(message.event_id, at(1))
    await notifier.notify(message)
    await notifier.notify(resolved(message.event_id))
    assert server.events == []
    assert book.rows == {}


async def test_an_acknowledgement_is_passed_on_once(
    notifier: PagerdutyNotifier, server: FakePagerduty, book: AlertBookInMemory
) -> None:
    message = book.open(a_message())
    await notifier.notify(message)
    await notifier.repeat()
    book.acknowledge(message.event_id, "ada")
    await notifier.repeat()
    await notifier.repeat()
    assert server.incidents == {message.event_id: ["triggered", "acknowledged"]}
    assert [event["event_action"] for event in server.events] == ["trigger", "acknowledge"]


async def test_what_was_acknowledged_before_it_was_sent_is_acknowledged_after_that(
    notifier: PagerdutyNotifier, server: FakePagerduty, book: AlertBookInMemory
) -> None:
    message = book.open(a_message())
    book.acknowledge(message.event_id, "ada")
    await notifier.repeat()
    await notifier.notify(message)
    await notifier.repeat()
    assert server.incidents == {message.event_id: ["triggered", "acknowledged"]}


async def test_an_acknowledgement_that_is_refused_is_told_once_and_sent_again(
    notifier: PagerdutyNotifier,
    server: FakePagerduty,
    book: AlertBookInMemory,
    logged: tuple[Logger, list[EventDict]],
) -> None:
    message = book.open(a_message())
    await notifier.notify(message)
    book.acknowledge(message.event_id, "ada")

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=503)

    server.answer = refuse
    await notifier.repeat()
    await notifier.repeat()
    server.answer = None
    await notifier.repeat()
    assert server.incidents == {message.event_id: ["triggered", "acknowledged"]}
    assert [line["log_level"] for line in logged[1]] == ["warning", "debug"]


async def test_an_outage_that_was_told_twice_ends_as_two_incidents(
    notifier: PagerdutyNotifier, server: FakePagerduty, book: AlertBookInMemory
) -> None:
    messages = [book.open(a_message(job_id=job_id)) for job_id in ("job-1", "job-2")]
    for message in messages:
        await notifier.notify(message)
    await notifier.notify(resolved(*(message.event_id for message in messages)))
    assert [states[-1] for states in server.incidents.values()] == ["resolved", "resolved"]


async def test_a_trial_is_over_at_once(notifier: PagerdutyNotifier, server: FakePagerduty) -> None:
    event = receiver_test_event("pd", at=at(0))
    await notifier.notify(Message(event_id=event.id, body=event.body))
    assert server.incidents == {event.id: ["triggered", "resolved"]}
    assert server.events[0]["payload"]["severity"] == "info"


async def test_a_wrong_key_is_said_and_not_shown(
    notifier: PagerdutyNotifier, server: FakePagerduty, book: AlertBookInMemory
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=400, text=await request.text())

    server.answer = refuse
    with pytest.raises(DeliveryError, match="answered 400") as error:
        await notifier.notify(book.open(a_message()))
    assert KEY not in str(error.value)
