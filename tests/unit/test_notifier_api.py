"""What authors of notifiers are given: the names, the example, and tests that tell a bad notifier from a good one."""

import asyncio
import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]  # its stubs are no dependency of ours
import pytest

from taskwatch import notifier_api
from taskwatch.notifier_api import DeliveryError, Message, Notifier, Options, Reason, SecretText
from taskwatch.notifier_contract import CANARY, HOSTILE, NotifierContract, OtherSide, a_message
from tests.fakes.pages import ROOT, blocks

EXAMPLE: Final = ROOT / "docs" / "example-notifier"
PAGE: Final = (ROOT / "docs" / "notifiers.md").read_text("utf-8")


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = _module(EXAMPLE / "taskwatch_redis.py")
of_example = _module(EXAMPLE / "tests" / "test_taskwatch_redis.py")
TestRedis = of_example.TestRedis  # the tests of the example, as its author runs them


def test_the_names_and_the_signatures_that_authors_use_are_these() -> None:
    """A change here breaks other people's notifiers: let it count API_VERSION up."""
    assert notifier_api.API_VERSION == 1
    assert notifier_api.__all__ == [
        "API_VERSION",
        "DeliveryError",
        "Duration",
        "FilePath",
        "Message",
        "Notifier",
        "Options",
        "Reason",
        "Scope",
        "SecretText",
        "SecretUrl",
        "Switch",
        "Text",
        "between",
        "default",
    ]
    assert [name for name in vars(Notifier) if not name.startswith("_")] == [
        "options",
        "notify",
        "connect",
        "close",
    ]
    assert list(inspect.signature(Message).parameters) == ["event_id", "body", "replay"]
    assert list(inspect.signature(DeliveryError).parameters) == ["reason", "detail", "scope", "retry_after"]
    assert {"name", "type", "timeout", "retry"} <= set(Options.keys())


@pytest.mark.parametrize("name", notifier_api.__all__)
def test_each_name_stands_on_the_page(name: str) -> None:
    assert f"`{name}" in PAGE


def test_the_page_begins_with_the_example_as_it_is_tested() -> None:
    python, toml, _, _, testing = blocks(PAGE)
    assert python.text == (EXAMPLE / "taskwatch_redis.py").read_text("utf-8")
    assert toml.text.partition("\n")[2] in (EXAMPLE / "pyproject.toml").read_text("utf-8")
    told = (EXAMPLE / "tests" / "test_taskwatch_redis.py").read_text("utf-8")
    assert testing.text.partition("\n\n")[2] in told


def test_what_runs_the_daemon_imports_no_pytest() -> None:
    code = "import sys, taskwatch.app, taskwatch.notifier_api; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_messages_of_the_contract_are_events_as_taskwatch_makes_them(text: str) -> None:
    schema = json.loads((ROOT / "taskwatch" / "config" / "event.schema.json").read_text("utf-8"))
    message = a_message(reason=text)
    event = json.loads(message.body)
    jsonschema.validate(event, schema)
    assert event["id"] == message.event_id
    assert event["data"]["task"]["fail_reason"] == text


# A notifier without a mistake, and some with one each: which of the tests tells.


@dataclass
class Far:
    """The far end in memory."""

    heard: list[str] = field(default_factory=list)
    state: str = "there"


class Good(Notifier):
    def __init__(self, far: Far) -> None:
        self._far = far

    async def notify(self, message: Message) -> None:
        self._require_there()
        self._far.heard.append(self.written(message))

    async def connect(self) -> None:
        self._require_there()

    def written(self, message: Message) -> str:
        return message.body.decode()

    def _require_there(self) -> None:
        if self._far.state != "there":
            raise DeliveryError(Reason.NETWORK, "it did not take it")


class ShowsTheRefusal(Good):
    def _require_there(self) -> None:
        if self._far.state != "there":
            raise DeliveryError(Reason.REJECTED, f"it says: no {CANARY}")


class ShowsItInTheCause(Good):
    def _require_there(self) -> None:
        if self._far.state != "there":
            raise DeliveryError(Reason.NETWORK, "it did not take it") from OSError(CANARY)


class Swallows(Good):
    def _require_there(self) -> None:
        """Whatever happens."""


class RaisesItsOwn(Good):
    def _require_there(self) -> None:
        if self._far.state != "there":
            raise OSError("it did not take it")


class WritesText(Good):
    def written(self, message: Message) -> str:
        return f"{message.event_id} {json.loads(message.body)['data']['summary']}"


class SplitsLines(Good):
    async def notify(self, message: Message) -> None:
        self._require_there()
        summary = json.loads(message.body)["data"]["summary"]
        self._far.heard += [f"{message.event_id} {line}" for line in summary.splitlines()]


class LosesTheId(Good):
    def written(self, message: Message) -> str:
        return str(json.loads(message.body)["data"]["summary"].encode("unicode_escape"))


class OneAtATime(Good):
    _last: Message | None = None

    async def notify(self, message: Message) -> None:
        self._require_there()
        self._last = message
        await asyncio.sleep(0)
        self._far.heard.append(self.written(self._last))


class TellsToConnect(Good):
    async def connect(self) -> None:
        self._far.heard.append("hello")


class ClosesOnce(Good):
    _is_closed = False

    async def close(self) -> None:
        if self._is_closed:
            raise RuntimeError("closed twice")
        self._is_closed = True


class LeavesOpen(Good):
    async def notify(self, message: Message) -> None:
        await super().notify(message)
        self._null = Path("/dev/null").open("rb")  # noqa: ASYNC230, SIM115  (the mistake)


class CannotBeCancelled(Good):
    async def notify(self, message: Message) -> None:
        for _ in range(40):
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        await super().notify(message)


DELIVERED: Final = NotifierContract.test_a_delivered_message_reaches_the_other_side
SEVERAL: Final = NotifierContract.test_several_messages_at_once_all_arrive
REFUSED: Final = NotifierContract.test_a_refusal_is_a_delivery_error_that_shows_no_secret
NOBODY: Final = NotifierContract.test_nobody_there_is_a_delivery_error_that_shows_no_secret
CONNECT: Final = NotifierContract.test_to_connect_sends_no_message
CLOSED: Final = NotifierContract.test_after_close_nothing_is_open_and_a_second_close_is_no_harm
CANCELLED: Final = NotifierContract.test_one_that_was_cancelled_ends_and_the_next_message_arrives
AGAIN: Final = NotifierContract.test_a_message_that_is_sent_again_is_heard_under_the_same_id


def contract(kind: type[Good]) -> NotifierContract:
    class Contract(NotifierContract):
        @asynccontextmanager
        async def other_side(self) -> AsyncIterator[OtherSide]:
            far = Far()
            yield OtherSide(
                open=lambda: kind(far),
                heard=lambda: far.heard,
                refuse=lambda: setattr(far, "state", "refusing"),
                vanish=lambda: setattr(far, "state", "gone"),
            )

    return Contract()


def hostile(text: str) -> Callable[[NotifierContract], None]:
    return lambda contract: contract.test_hostile_text_stays_one_message(text)


MISTAKES: Final[dict[type[Good], Callable[[Any], None]]] = {
    ShowsTheRefusal: REFUSED,
    ShowsItInTheCause: NOBODY,
    Swallows: REFUSED,
    RaisesItsOwn: NOBODY,
    WritesText: hostile(HOSTILE["ANSI"]),
    SplitsLines: hostile(HOSTILE["lines"]),
    LosesTheId: DELIVERED,
    OneAtATime: SEVERAL,
    TellsToConnect: CONNECT,
    ClosesOnce: CLOSED,
    LeavesOpen: CLOSED,
    CannotBeCancelled: CANCELLED,
}


@pytest.mark.parametrize("kind", MISTAKES, ids=lambda kind: kind.__name__)
def test_the_contract_tells_a_notifier_with_a_mistake(kind: type[Good]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, OSError, RuntimeError)):
        MISTAKES[kind](contract(kind))


@pytest.mark.parametrize(
    "test",
    [DELIVERED, SEVERAL, REFUSED, NOBODY, CONNECT, CLOSED, CANCELLED, AGAIN, *map(hostile, HOSTILE.values())],
)
def test_the_contract_passes_one_without(test: Callable[[NotifierContract], None]) -> None:
    test(contract(Good))


def test_a_key_that_is_a_secret_is_not_shown() -> None:
    class MyOptions(Options):
        key: SecretText

    options = MyOptions.model_validate({"name": "a", "type": "mine", "key": CANARY})
    assert CANARY not in f"{options!r} {options} {options.model_dump()}"
    assert options.key.reveal() == CANARY


def test_the_redis_of_the_example_takes_what_it_is_configured_with() -> None:
    options = example.RedisOptions.model_validate({"name": "a", "type": "redis", "port": "7000"})
    assert (options.host, options.port, options.stream, options.password) == (
        "127.0.0.1",
        7000,
        "taskwatch",
        None,
    )
