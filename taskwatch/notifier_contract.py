"""What every notifier keeps, as tests that its author runs. This module needs pytest; nothing else of taskwatch does.

    class TestMine(NotifierContract):
        @asynccontextmanager
        async def other_side(self):
            async with MyFakeServer() as server:
                yield OtherSide(open=..., heard=..., refuse=..., vanish=...)

Each test has another side of its own, and one event loop for both sides. No plug-in of pytest is needed.
"""
# ruff: noqa: S101  (tests assert)

import asyncio
import gc
import json
import traceback
import warnings
from base64 import b32encode
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import pytest

from taskwatch.model.event import EventId
from taskwatch.notifier_api import DeliveryError, Message, Notifier

CANARY: Final = "canary"
"""Stands in every secret of the options, and in what the other side says when it refuses: nobody may come to see it."""

SECONDS: Final = 20.0  # for one test; a notifier that hangs fails

TURNS_SECONDS: Final = 0.05  # in which connections that were closed are gone, here and on the other side

HOSTILE: Final = {
    "ANSI": "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "lines": "one\ntwo\rthree\u2028four\u2029five\x0bsix\x85seven",
    "NUL": "a\0b",
    "bidi": "abc\u202efdp.exe\u2066\u200f\u061c",
    "headers": "x\r\nwebhook-id: tw_forged\r\n\r\nGET / HTTP/1.1",
    "markup": "<script>alert(1)</script> {{7*7}} ${jndi:ldap://x} %s %n \"'; --",
    "long": "A" * 10_000,
    "beyond ASCII": "Störung \U0001f4a5 \ue000\u00ad\ufeff",
}
"""Texts that a cloud could send, by what is wrong with them."""


@dataclass(frozen=True, kw_only=True)
class OtherSide:
    """The far end, and how a notifier is made that talks to it."""

    open: Callable[[], Notifier]
    heard: Callable[[], list[str]]  # one text for each message that it took
    refuse: Callable[[], None]  # from now on it refuses all, repeating what it was sent, secrets too
    vanish: Callable[[], None]  # from now on nobody is there, for notifiers that are opened after it


def a_message(*, reason: str = "no space left", job_id: str = "job-1", replay: bool = False) -> Message:
    """Return what a notifier is given when a task failed for this reason."""
    event_id = EventId(f"tw_{b32encode(job_id.encode()).decode().lower().rstrip('=')}")
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": "/taskwatch/gaussdb/0611f1bd8b00d5d32f17c017f15b599f",
        "type": "taskwatch.task.failed",
        "subject": job_id,
        "time": "2026-11-23T10:00:00.123Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:taskwatch:event:1",
        "data": {
            "severity": "critical",
            "summary": f"CreateGaussDBV5Instance of {reason[:100]} failed: {reason[:150]}",
            "sequence": 1,
            "project": {
                "name": "prod",
                "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
                "service": "gaussdb",
                "labels": {"team": "db"},
            },
            "task": {
                "job_id": job_id,
                "name": "CreateGaussDBV5Instance",
                "status": "Failed",
                "progress": None,
                "fail_reason": reason,
                "created_at": "2026-11-23T09:00:00Z",
                "ended_at": "2026-11-23T09:59:00Z",
                "duration_seconds": 3540,
                "instance": {"id": "in-1", "name": reason, "status": "normal"},
            },
            "transition": {
                "from": None,
                "to": "Failed",
                "revision": 1,
                "observed_at": "2026-11-23T10:00:00.123Z",
                "previous_observed_at": None,
                "gap_seconds": None,
                "late": False,
            },
        },
    }
    return Message(event_id=event_id, body=json.dumps(event, ensure_ascii=False).encode(), replay=replay)


class NotifierContract:
    """A subclass says what the other side is; its tests are these, and whatever the author adds."""

    def other_side(self) -> AbstractAsyncContextManager[OtherSide]:
        """Serve the other side on loopback."""
        raise NotImplementedError("define other_side()")

    def test_a_delivered_message_reaches_the_other_side(self) -> None:
        async def test(side: OtherSide, notifier: Notifier) -> None:
            message = a_message()
            await notifier.notify(message)
            [heard] = side.heard()
            assert message.event_id in heard, "the other side did not hear the id of the event"
            assert "no space left" in heard, "the other side did not hear what happened"

        self._try(test)

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    def test_hostile_text_stays_one_message(self, text: str) -> None:
        async def test(side: OtherSide, notifier: Notifier) -> None:
            message = a_message(reason=text)
            await notifier.notify(message)
            heard = side.heard()
            assert len(heard) == 1, f"the text of one event became {len(heard)} messages"
            assert message.event_id in heard[0]
            assert "\x1b" not in heard[0], "an escape sequence went through"
            assert "\n" not in heard[0].strip("\n"), "a line end went through"

        self._try(test)

    def test_several_messages_at_once_all_arrive(self) -> None:
        async def test(side: OtherSide, notifier: Notifier) -> None:
            messages = [a_message(job_id=f"job-{number}") for number in range(8)]
            await asyncio.gather(*(notifier.notify(message) for message in messages))
            heard = side.heard()
            assert len(heard) == len(messages), "each message is to be heard once"
            missing = [m.event_id for m in messages if not any(m.event_id in text for text in heard)]
            assert missing == [], "these were not heard"

        self._try(test)

    def test_a_message_that_is_sent_again_is_heard_under_the_same_id(self) -> None:
        async def test(side: OtherSide, notifier: Notifier) -> None:
            await notifier.notify(a_message())
            await notifier.notify(a_message(replay=True))
            assert all(a_message().event_id in text for text in side.heard())

        self._try(test)

    def test_a_refusal_is_a_delivery_error_that_shows_no_secret(self) -> None:
        async def test(side: OtherSide, notifier: Notifier) -> None:
            side.refuse()
            shown = await _failure(notifier)
            assert CANARY not in shown, "the error shows a secret"
            assert side.heard() == []

        self._try(test)

    def test_nobody_there_is_a_delivery_error_that_shows_no_secret(self) -> None:
        async def test(side: OtherSide, _: Notifier) -> None:
            side.vanish()
            notifier = side.open()
            try:
                assert CANARY not in await _failure(notifier), "the error shows a secret"
            finally:
                await notifier.close()

        self._try(test)

    def test_to_connect_sends_no_message(self) -> None:
        async def test(side: OtherSide, notifier: Notifier) -> None:
            await notifier.connect()
            assert side.heard() == []

        self._try(test)

    def test_one_that_was_cancelled_ends_and_the_next_message_arrives(self) -> None:
        async def test(side: OtherSide, notifier: Notifier) -> None:
            attempt = asyncio.create_task(notifier.notify(a_message(job_id="job-1")))
            await asyncio.sleep(0)
            attempt.cancel()
            await asyncio.wait({attempt}, timeout=1.0)
            assert attempt.done(), "a notify that is cancelled must end within a second"
            await notifier.notify(a_message(job_id="job-2"))
            assert any(a_message(job_id="job-2").event_id in text for text in side.heard())

        self._try(test)

    def test_after_close_nothing_is_open_and_a_second_close_is_no_harm(self) -> None:
        async def test(side: OtherSide, _: Notifier) -> None:
            gc.collect()  # what other tests left is not meant
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", ResourceWarning)
                notifier = side.open()
                await notifier.notify(a_message())
                await notifier.close()
                await notifier.close()
                del notifier
                await asyncio.sleep(TURNS_SECONDS)
                gc.collect()
            unclosed = [str(one.message) for one in said if issubclass(one.category, ResourceWarning)]
            assert unclosed == [], "something is still open after close"

        self._try(test)

    def _try(self, test: Callable[[OtherSide, Notifier], Awaitable[None]]) -> None:
        """Run the test against another side and a notifier of its own, in a loop of its own."""

        async def run() -> None:
            async with asyncio.timeout(SECONDS), self.other_side() as side:
                notifier = side.open()
                try:
                    await test(side, notifier)
                finally:
                    await notifier.close()
                    await asyncio.sleep(TURNS_SECONDS)

        asyncio.run(run())


async def _failure(notifier: Notifier) -> str:
    """Return all that anybody could come to see of a message that cannot be delivered."""
    with pytest.raises(DeliveryError) as raised:
        await notifier.notify(a_message())
    error = raised.value
    return "\n".join([str(error), repr(error), repr(notifier), *traceback.format_exception(error)])
