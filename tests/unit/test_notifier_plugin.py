"""Notifiers of other packages: how they are found, and that whatever they do, they do to themselves."""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from taskwatch.app import open_notifier
from taskwatch.clock import SystemClock
from taskwatch.config.configuration import Config
from taskwatch.config.json_schema import json_schema
from taskwatch.config.load import load
from taskwatch.engine.attempt import try_once
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import ConfigError
from taskwatch.model.delivery import Delivered, Message, Reason, Scope
from taskwatch.notifier_api import Notifier, Options, SecretText
from taskwatch.notifiers import plugin
from taskwatch.notifiers.apart import POOLED
from taskwatch.notifiers.plugin import HANGS, REFUSING_SECONDS, PluginNotifier
from taskwatch.notifiers.registry import kinds, shadowed
from tests.fakes.builders import captured_log
from tests.fakes.commands import until
from tests.fakes.config_files import SMALLEST
from tests.fakes.messages import a_message
from tests.fakes.plugin_package import install

SOON: Final = 0.2  # the time-out of an attempt that hangs
GRACE: Final = 0.05
AGES: Final = 30.0
CANARY: Final = "canary"

Behaviour = Callable[[Message], Awaitable[None]]


class Later(SystemClock):
    """A clock that can be put forward."""

    passed = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed


class Bench:
    """Opens plug-ins, and lets go of all that hangs at the end."""

    def __init__(self) -> None:
        self.clock = Later()
        self.log, self.logged = captured_log()
        self.release = threading.Event()
        self.opened: list[PluginNotifier] = []
        self.grace = GRACE

    def open(self, notify: Behaviour, **further: Any) -> PluginNotifier:
        async def of_plugin(_: Notifier, message: Message) -> None:
            await notify(message)

        return self.of(type("Plugin", (Notifier,), {"notify": of_plugin, **further}))

    def of(self, kind: type[Notifier]) -> PluginNotifier:
        options = Options.model_validate({"name": "r", "type": "mine", "timeout": "200ms"})
        notifier = PluginNotifier(
            kind, options, clock=self.clock, log=self.log, grace=self.grace, closing=1.0
        )
        self.opened.append(notifier)
        return notifier

    async def hang(self, _: Message) -> None:
        """Hang the thread."""
        self.release.wait()

    async def ignore(self, _: Message) -> None:
        """Hang the coroutine, whoever cancels it."""
        while not self.release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        self.release.set()
        for notifier in self.opened:
            await notifier.close()


@pytest.fixture
async def bench() -> Any:
    before = set(threading.enumerate())
    bench = Bench()
    yield bench
    await bench.close()
    await until(lambda: _plugin_threads() <= before, "all threads of plug-ins to end")


def _plugin_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("taskwatch-mine")}


async def attempt(notifier: PluginNotifier, *, seconds: float = 10.0) -> DeliveryError | None:
    answer = await try_once(notifier, a_message(), timeout=seconds)
    return None if isinstance(answer, Delivered) else answer


async def failure(notifier: PluginNotifier, *, seconds: float = 10.0) -> DeliveryError:
    error = await attempt(notifier, seconds=seconds)
    assert error is not None, "it was delivered"
    return error


async def test_it_is_made_called_and_closed_on_one_thread_that_is_not_the_daemons(bench: Bench) -> None:
    seen: list[tuple[str, threading.Thread, asyncio.AbstractEventLoop]] = []

    def note(what: str) -> None:
        seen.append((what, threading.current_thread(), asyncio.get_running_loop()))

    class Plugin(Notifier):
        def __init__(self, options: Options) -> None:
            assert options.name == "r"
            note("made")

        async def notify(self, message: Message) -> None:
            note(message.event_id)

        async def connect(self) -> None:
            note("connected")

        async def close(self) -> None:
            note("closed")

    notifier = bench.of(Plugin)
    await notifier.connect()
    await notifier.notify(a_message())
    await notifier.close()
    await notifier.close()
    whats, threads, loops = zip(*seen, strict=True)
    assert whats == ("made", "connected", a_message().event_id, "closed")
    assert len(set(threads)) == len(set(loops)) == 1
    assert threads[0] is not threading.current_thread()
    assert loops[0].is_closed()


async def test_one_that_is_never_called_is_never_made_and_has_no_thread(bench: Bench) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it was made")

    notifier = bench.open(bench.hang, __init__=refuse)
    await notifier.close()
    assert _plugin_threads() == set()


async def test_several_messages_are_under_way_at_once(bench: Bench) -> None:
    together = asyncio.Barrier(4)

    async def meet(_: Message) -> None:
        await together.wait()

    notifier = bench.open(meet)
    assert await asyncio.gather(*(attempt(notifier) for _ in range(4))) == [None] * 4


@pytest.mark.parametrize(
    "raised",
    [
        ValueError(CANARY),
        TimeoutError(CANARY),
        asyncio.CancelledError(CANARY),
        SystemExit(CANARY),
        KeyboardInterrupt(CANARY),
        GeneratorExit(CANARY),
        StopAsyncIteration(CANARY),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_it_raises_is_a_failed_attempt_that_shows_only_the_class(
    bench: Bench, raised: BaseException
) -> None:
    raises = [True]

    async def behave(_: Message) -> None:
        if raises.pop() if raises else False:
            raise raised

    notifier = bench.open(behave)
    error = await failure(notifier)
    assert (error.reason, error.detail) == (Reason.BROKEN, f"the notifier raised {type(raised).__name__}")
    assert error.scope is Scope.EVENT
    assert await attempt(notifier) is None  # and it is called again as if nothing had been


async def test_one_that_cannot_be_made_is_a_failed_attempt_and_is_made_again(bench: Bench) -> None:
    troubles = [RuntimeError(CANARY)]

    def make(*_: object) -> None:
        if troubles:
            raise troubles.pop()

    async def take(_: Message) -> None:
        pass

    notifier = bench.open(take, __init__=make)
    assert (await failure(notifier)).detail == "the notifier raised RuntimeError"
    assert await attempt(notifier) is None


async def test_a_delivery_error_passes_with_its_text_made_harmless_and_short(bench: Bench) -> None:
    async def refuse(_: Message) -> None:
        raise DeliveryError(Reason.THROTTLED, "\x1b[31mslow\n" + "x" * 10_000, Scope.RECEIVER, retry_after=7)

    error = await failure(bench.open(refuse))
    assert (error.reason, error.scope, error.retry_after) == (Reason.THROTTLED, Scope.RECEIVER, 7.0)
    assert error.detail.startswith("\\x1b[31mslow\\nxxx")
    assert len(error.detail) < 600


@pytest.mark.parametrize(
    "error",
    [
        DeliveryError("no such reason", "x"),  # type: ignore[arg-type] # an author's mistake
        DeliveryError(Reason.NETWORK, "x", "nobody"),  # type: ignore[arg-type] # an author's mistake
        DeliveryError(Reason.NETWORK, "x", retry_after="soon"),  # type: ignore[arg-type] # an author's mistake
    ],
)
async def test_a_delivery_error_that_makes_no_sense_is_a_failed_attempt(
    bench: Bench, error: DeliveryError
) -> None:
    async def refuse(_: Message) -> None:
        raise error

    assert (await failure(bench.open(refuse))).reason is Reason.BROKEN


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
async def test_to_be_asked_again_never_is_as_if_nothing_was_said(bench: Bench, seconds: float) -> None:
    async def refuse(_: Message) -> None:
        raise DeliveryError(Reason.THROTTLED, "later", retry_after=seconds)

    assert (await failure(bench.open(refuse))).retry_after is None


async def test_a_secret_that_cannot_be_read_is_told_by_its_place(bench: Bench, tmp_path: Path) -> None:
    class SecretOptions(Options):
        key: SecretText

    async def read(_: Message) -> None:
        SecretOptions.model_validate(
            {"name": "r", "type": "mine", "key": {"file": str(tmp_path / "key")}}
        ).key.reveal()

    error = await failure(bench.open(read))
    assert (error.reason, error.scope) == (Reason.UNAUTHORIZED, Scope.RECEIVER)
    assert str(tmp_path / "key") in error.detail


@pytest.mark.parametrize("how", ["hang", "ignore"])
async def test_one_that_hangs_times_out_and_the_next_attempt_has_another_thread_and_object(
    bench: Bench, how: str
) -> None:
    threads = []
    hangs = [True]

    async def behave(message: Message) -> None:
        threads.append(threading.current_thread())
        if hangs.pop() if hangs else False:
            await getattr(bench, how)(message)

    notifier = bench.open(behave)
    error = await failure(notifier, seconds=SOON)
    assert error.reason is Reason.TIMEOUT
    assert await attempt(notifier) is None
    assert len(set(threads)) == 2
    assert [(line["event"], line["receiver"], line["times"]) for line in bench.logged] == [
        ("notifier_hangs", "r", 1)
    ]


async def test_one_that_is_slow_but_heeds_that_it_is_cancelled_keeps_its_thread(bench: Bench) -> None:
    threads = []
    bench.grace = AGES

    async def wait(_: Message) -> None:
        threads.append(threading.current_thread())
        await asyncio.Event().wait()

    notifier = bench.open(wait)
    for _ in range(HANGS + 1):
        assert (await failure(notifier, seconds=SOON)).reason is Reason.TIMEOUT
    assert len(set(threads)) == 1
    assert bench.logged == []


async def test_one_that_is_cancelled_before_it_begins_does_not_count_as_one_that_hangs(bench: Bench) -> None:
    bench.grace = AGES

    async def wait(_: Message) -> None:
        await asyncio.Event().wait()

    notifier = bench.open(wait)
    for _ in range(HANGS + 1):
        early = asyncio.create_task(notifier.notify(a_message()))
        await asyncio.sleep(0)
        early.cancel()
        await asyncio.gather(early, return_exceptions=True)
    assert bench.logged == []


async def test_messages_beside_one_that_hangs_are_given_up_at_once_and_count_as_one_hang(
    bench: Bench,
) -> None:
    notifier = bench.open(bench.hang)
    hanging = asyncio.create_task(attempt(notifier, seconds=SOON))
    beside = [asyncio.create_task(attempt(notifier, seconds=60.0)) for _ in range(3)]
    await hanging
    errors = await asyncio.gather(*beside)
    assert {error.reason for error in errors if error is not None} == {Reason.TIMEOUT}
    assert all("another message hung" in str(error) for error in errors)
    assert [line["times"] for line in bench.logged] == [1]


async def test_what_a_thread_that_was_left_still_does_counts_for_nothing(bench: Bench) -> None:
    took = threading.Event()

    async def late(message: Message) -> None:
        await bench.hang(message)
        took.set()

    notifier = bench.open(late)
    left = asyncio.create_task(notifier.notify(a_message()))
    await until(lambda: bool(_plugin_threads()), "the attempt to begin")
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    bench.release.set()
    await until(took.is_set, "the thread that was left to take the message")
    await until(lambda: not _plugin_threads(), "that thread to end")
    assert await attempt(notifier) is None


@pytest.mark.parametrize("how", ["hang", "ignore"])
async def test_after_three_hangs_it_is_called_no_more_until_an_operator_acts(bench: Bench, how: str) -> None:
    called = []
    hangs = [True] * HANGS

    async def behave(message: Message) -> None:
        called.append(message)
        if hangs.pop() if hangs else False:
            await getattr(bench, how)(message)

    notifier = bench.open(behave)
    for _ in range(HANGS):
        assert (await failure(notifier, seconds=SOON)).reason is Reason.TIMEOUT
    for _ in range(4):  # those that had begun with it
        error = await failure(notifier)
        assert (error.reason, error.scope) == (Reason.BROKEN, Scope.PAUSED)
        assert "hung 3 times" in error.detail
        assert "taskwatch receiver test" in error.detail
    assert len(called) == HANGS
    bench.clock.passed += REFUSING_SECONDS  # its lane is paused: only an operator lets it call again
    assert await attempt(notifier) is None
    assert len(called) == HANGS + 1


async def test_a_success_between_hangs_begins_the_count_anew(bench: Bench) -> None:
    plan = [True, True, False, True, True, False]

    async def behave(message: Message) -> None:
        if plan.pop(0):
            await bench.ignore(message)

    notifier = bench.open(behave)
    outcomes = [await attempt(notifier, seconds=SOON if hangs else 10.0) for hangs in tuple(plan)]
    assert [outcome is None for outcome in outcomes] == [False, False, True, False, False, True]


async def test_threads_that_hang_are_no_more_than_so_many_whatever_succeeds_between(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = HANGS + 1
    monkeypatch.setattr(plugin, "LEFT_MOST", most)
    turn = iter(range(1000))

    async def behave(message: Message) -> None:
        if next(turn) % 2 == 0:
            await bench.hang(message)

    notifier = bench.open(behave)
    outcomes = []
    for _ in range(most):
        assert (await failure(notifier, seconds=SOON)).reason is Reason.TIMEOUT
        outcomes.append(await attempt(notifier))
    *succeeded, last = outcomes
    assert succeeded == [None] * (most - 1)
    assert last is not None
    assert last.scope is Scope.PAUSED
    assert len(_plugin_threads()) == most


async def test_one_that_hangs_or_burns_the_processor_holds_up_no_other(bench: Bench) -> None:
    async def flood(_: Message) -> None:
        async def spin() -> None:
            while not bench.release.is_set():
                await asyncio.sleep(0)

        running = {asyncio.create_task(spin()) for _ in range(1000)}
        await asyncio.gather(*running)

    taken = []

    async def take(message: Message) -> None:
        taken.append(message)

    bad = [bench.open(bench.hang), bench.open(bench.ignore), bench.open(flood)]
    attempts = [asyncio.create_task(attempt(notifier, seconds=60.0)) for notifier in bad]
    good = bench.open(take)
    for _ in range(20):
        assert await attempt(good) is None
    assert not any(task.done() for task in attempts)
    assert len(taken) == 20
    bench.release.set()
    await asyncio.gather(*attempts)


@pytest.mark.parametrize("how", ["stop", "exit", "interrupt"])
async def test_one_that_ends_its_loop_or_exits_in_a_task_is_called_again(bench: Bench, how: str) -> None:
    left = []

    async def leave() -> None:
        raise SystemExit(3) if how == "exit" else KeyboardInterrupt

    async def behave(_: Message) -> None:
        if how == "stop":
            asyncio.get_running_loop().stop()
        else:
            left.append(asyncio.create_task(leave()))
        await asyncio.sleep(0)

    notifier = bench.open(behave)
    assert [await attempt(notifier) for _ in range(3)] == [None] * 3


async def test_tasks_that_it_leaves_behind_end_with_it(bench: Bench) -> None:
    ended = threading.Event()
    left = []

    async def behave(_: Message) -> None:
        async def stay() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        left.append(asyncio.create_task(stay()))

    notifier = bench.open(behave)
    await notifier.notify(a_message())
    await notifier.close()
    assert ended.is_set()
    await until(lambda: not _plugin_threads(), "its thread to end")


@pytest.mark.parametrize("how", ["hangs", "raises", "exits"])
async def test_to_close_one_is_bounded_whatever_it_does(bench: Bench, how: str) -> None:
    async def close(_: Notifier) -> None:
        if how == "hangs":
            bench.release.wait()
        raise SystemExit if how == "exits" else ValueError

    async def take(_: Message) -> None:
        pass

    notifier = bench.open(take, close=close)
    await notifier.notify(a_message())
    async with asyncio.timeout(30):
        await notifier.close()
    if how != "hangs":
        await until(lambda: not _plugin_threads(), "its thread to end")


async def test_to_connect_is_bounded_by_the_time_out_of_the_receiver(bench: Bench) -> None:
    async def connect(_: Notifier) -> None:
        await asyncio.Event().wait()

    notifier = bench.open(bench.hang, connect=connect)
    with pytest.raises(DeliveryError, match=r"no answer within 0\.2 s"):
        await notifier.connect()


async def test_what_it_hands_to_threads_runs_there_a_few_at_a_time_and_its_errors_come_back(
    bench: Bench,
) -> None:
    running: set[int] = set()
    seen = []

    def block() -> None:
        running.add(threading.get_ident())
        seen.append(len(running))
        time.sleep(0.001)
        running.discard(threading.get_ident())

    def fail() -> None:
        raise OSError

    async def behave(_: Message) -> None:
        await asyncio.gather(*(asyncio.to_thread(block) for _ in range(50)))
        await asyncio.to_thread(fail)

    notifier = bench.open(behave)
    assert (await failure(notifier)).detail == "the notifier raised OSError"
    assert len(seen) == 50
    assert 1 < max(seen) <= POOLED
    await notifier.close()


async def test_a_host_without_threads_is_told_as_its_own_trouble(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    notifier = bench.open(bench.hang)
    with monkeypatch.context() as host:
        host.setattr(threading.Thread, "start", refuse)
        error = await failure(notifier)
    assert (error.reason, error.scope) == (Reason.LOCAL, Scope.RECEIVER)


# How they are found.


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of packages; its modules are forgotten at the end."""
    directory = tmp_path / "packages"
    directory.mkdir()
    monkeypatch.syspath_prepend(directory)
    before = set(sys.modules)
    yield directory
    for name in set(sys.modules) - before:
        if name.startswith("tw_plugin"):
            del sys.modules[name]


GOOD: Final = """
    import asyncio
    from taskwatch.notifier_api import Notifier, Options, Text, SecretText

    class GoodOptions(Options):
        target: Text
        key: SecretText | None = None

    class Good(Notifier):
        options = GoodOptions

        def __init__(self, options):
            self.target = options.target

        async def notify(self, message):
            with open(self.target, "ab") as file:
                file.write(message.body)
"""


def loaded(directory: Path, *receivers: str) -> Config:
    """Load a configuration with these receivers."""
    file = directory / "taskwatch.yaml"
    file.write_text(SMALLEST + "receivers:\n" + "".join(f"  - {one}\n" for one in receivers))
    return load(file, kinds())


def refused(directory: Path, *receivers: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loaded(directory, *receivers)
    return [line.partition("taskwatch.yaml:")[2] for line in raised.value.problems]


async def test_the_name_of_an_entry_point_is_a_type_with_keys_of_its_own(
    tmp_path: Path, packages: Path
) -> None:
    install(packages, "tw-plugin-good", GOOD, good="Good")
    target = tmp_path / "out"
    config = loaded(tmp_path, f"{{name: a, type: good, target: {target}, key: {CANARY}, timeout: 2s}}")
    [options] = config.receivers
    assert options.timeout == 2.0
    assert CANARY not in repr(options)
    assert "the secret itself stands in this file" in " ".join(config.warnings)
    log, _ = captured_log()
    notifier = open_notifier(options, clock=SystemClock(), log=log)
    await notifier.notify(a_message())
    await notifier.close()
    assert target.read_bytes() == a_message().body


def test_its_keys_are_checked_as_those_of_any_receiver(tmp_path: Path, packages: Path) -> None:
    install(packages, "tw-plugin-good", GOOD, good="Good")
    assert refused(tmp_path, "{name: a, type: good, tagret: x}") == [
        "4:5: receivers[0].target: missing; write target: ...",
        "4:27: receivers[0].tagret: unknown key; did you mean target?",
    ]


def test_none_is_imported_unless_its_type_is_used(tmp_path: Path, packages: Path) -> None:
    install(packages, "tw-plugin-good", GOOD, good="Good")
    loaded(tmp_path, "{name: a, type: log}")
    with pytest.raises(ConfigError):
        loaded(tmp_path, "{name: a, type: goood}")
    assert "good" in kinds()
    assert "tw_plugin_good" not in sys.modules
    assert len(kinds()["good"].model_fields) > 5
    assert "tw_plugin_good" in sys.modules


def test_a_type_that_nobody_has_is_told_with_those_of_plug_ins(tmp_path: Path, packages: Path) -> None:
    install(packages, "tw-plugin-good", GOOD, good="Good")
    assert refused(tmp_path, "{name: a, type: goood}") == [
        "4:15: receivers[0].type: unknown type; did you mean good?"
    ]


def test_the_schema_of_the_configuration_is_the_same_whatever_is_installed(packages: Path) -> None:
    before = json_schema(kinds())
    install(packages, "tw-plugin-good", GOOD, good="Good")
    assert json_schema(kinds()) == before
    assert "tw_plugin_good" not in sys.modules


BROKEN: Final = {
    "no module": (
        "import tw_plugin_nothing",
        "cannot be imported: ModuleNotFoundError: No module named 'tw_plugin_nothing'; install a version of it that works here",
    ),
    "not Python": (
        "class Found(:",
        "cannot be imported: SyntaxError: invalid syntax",
    ),
    "no class": ("", "cannot be imported: AttributeError: module 'tw_plugin_bad' has no attribute 'Found'"),
    "raises": (f"raise ValueError('{CANARY}')", "cannot be imported: ValueError; install"),
    "exits": (f"raise SystemExit('{CANARY}')", "cannot be imported: SystemExit; install"),
    "no notifier": (
        "class Found: pass",
        "is no subclass of taskwatch.notifier_api.Notifier; tell its author",
    ),
    "no class at all": ("Found = 3", "is no subclass of taskwatch.notifier_api.Notifier; tell its author"),
    "no notify": (
        "from taskwatch.notifier_api import *\nclass Found(Notifier): pass",
        "does not define notify; tell its author",
    ),
    "no coroutine": (
        "from taskwatch.notifier_api import *\nclass Found(Notifier):\n def notify(self, message): pass",
        "has a notify that is no coroutine (async def); tell its author",
    ),
    "letters": (
        "from taskwatch.notifier_api import *\nclass Mine(Options):\n writes_to_people = True\nclass Found(Notifier):\n options = Mine\n async def notify(self, m): pass",
        "asks for letters, and plug-ins are given events; tell its author",
    ),
    "foreign options": (
        "from taskwatch.notifier_api import *\nclass Found(Notifier):\n options = dict\n async def notify(self, m): pass",
        "has options that are no subclass of taskwatch.notifier_api.Options; tell its author",
    ),
}


@pytest.mark.parametrize(("module", "text"), BROKEN.values(), ids=BROKEN.keys())
def test_one_that_cannot_be_used_is_a_mistake_at_its_type(
    tmp_path: Path, packages: Path, module: str, text: str
) -> None:
    install(packages, "tw-plugin-bad", module, bad="Found")
    [line] = refused(tmp_path, "{name: a, type: bad}")
    assert line.startswith("4:15: receivers[0].type: tw_plugin_bad:Found of tw-plugin-bad ")
    assert text in line
    assert CANARY not in line


def test_one_that_hangs_while_it_is_imported_is_a_mistake_at_its_type(
    tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "IMPORT_SECONDS", 0.1)
    install(packages, "tw-plugin-slow", "import time; time.sleep(1)", slow="Found")
    assert len(refused(tmp_path, "{name: a, type: slow}", "{name: b, type: slow}")) == 2
    [line] = refused(tmp_path, "{name: a, type: slow}")
    assert "took over 0.1 s to import" in line


def test_a_validator_that_raises_is_a_mistake_of_its_receiver(tmp_path: Path, packages: Path) -> None:
    module = f"""
        from pydantic import model_validator
        from taskwatch.notifier_api import Notifier, Options

        class BadOptions(Options):
            @model_validator(mode="after")
            def check(self):
                raise KeyError("{CANARY}")

        class Bad(Notifier):
            options = BadOptions
            async def notify(self, message): pass
    """
    install(packages, "tw-plugin-bad", module, bad="Bad")
    [line] = refused(tmp_path, "{name: a, type: bad}")
    assert line == "4:5: receivers[0]: the plug-in could not read this: KeyError in its code; tell its author"


def test_a_built_in_type_is_never_replaced_and_that_is_said_where_it_is_used(
    tmp_path: Path, packages: Path
) -> None:
    install(packages, "tw-plugin-good", GOOD, webhook="Good")
    config = loaded(tmp_path, '{name: a, type: webhook, url: "http://127.0.0.1:1"}')
    assert list(shadowed(config.receivers)) == [
        "type webhook: tw-plugin-good brings it too, and the built-in one is used; uninstall the package"
    ]
    assert list(shadowed(loaded(tmp_path, "{name: a, type: log}").receivers)) == []


def test_two_packages_that_bring_one_type_are_both_named(tmp_path: Path, packages: Path) -> None:
    install(packages, "tw-plugin-good", GOOD, good="Good")
    install(packages, "tw-plugin-fine", GOOD, good="Good")
    assert refused(tmp_path, "{name: a, type: good}") == [
        "4:15: receivers[0].type: tw-plugin-fine and tw-plugin-good both bring this type; uninstall one of them"
    ]


async def test_one_that_is_gone_when_it_is_opened_is_told_in_a_line(tmp_path: Path, packages: Path) -> None:
    install(packages, "tw-plugin-good", GOOD, good="Good")
    [options] = loaded(tmp_path, "{name: a, type: good, target: x}").receivers
    (packages / "tw_plugin_good-1.0.dist-info" / "entry_points.txt").write_text("")
    log, _ = captured_log()
    with pytest.raises(ConfigError, match="type good is not installed any more"):
        open_notifier(options, clock=SystemClock(), log=log)
