"""The demo's webhook receiver, asked by a plain client."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from taskwatch.simulator.receiver import State, WebhookReceiver

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Client:
    def __init__(self, session: aiohttp.ClientSession, told: list[dict[str, Any]]) -> None:
        self.session = session
        self.told = told
        self.receiver = WebhookReceiver(secret=SECRET, told=told.append)

    async def post(self, id_: str = "tw_1", *, secret: str = SECRET) -> int | str:
        """Return the status, or how the connection failed."""
        body, now = json.dumps({"id": id_}), datetime.now(UTC)
        headers = {
            "webhook-id": id_,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(id_, now, body),
        }
        try:
            async with self.session.post(self.receiver.url, data=body, headers=headers) as answer:
                return answer.status
        except aiohttp.ClientConnectorError as error:
            return type(error.os_error).__name__


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        one = Client(session, [])
        async with one.receiver:
            yield one


async def test_an_event_is_told_once_and_its_copies_are_counted(client: Client) -> None:
    assert [await client.post("tw_1"), await client.post("tw_1"), await client.post("tw_2")] == [204] * 3

    assert [event["id"] for event in client.told] == ["tw_1", "tw_2"]
    assert (client.receiver.received, client.receiver.copies) == (3, 1)


async def test_a_wrong_signature_is_refused_and_counted(client: Client) -> None:
    assert await client.post(secret="whsec_" + base64.b64encode(b"x" * 32).decode()) == 401

    assert (client.told, client.receiver.unsigned) == ([], 1)


async def test_it_breaks_and_recovers_at_the_same_address(client: Client) -> None:
    url = client.receiver.url
    answers = []
    for state in (State.UNAVAILABLE, State.GONE, State.UNAVAILABLE, State.WORKS):
        await client.receiver.turn(state)
        answers.append(await client.post())

    assert answers == [503, "ConnectionRefusedError", 503, 204]
    assert client.receiver.url == url
    assert (client.receiver.unavailable, len(client.told)) == (2, 1)


async def test_one_that_is_gone_can_be_left(client: Client) -> None:
    await client.receiver.turn(State.GONE)
