"""Notifiers of other packages: found by their entry points, run where they harm nobody.

Invariants:
- A plug-in is imported when a configuration uses its type, and not before. A built-in type is never replaced.
- Each receiver has a thread and an event loop of its own. A call that has not ended GRACE_SECONDS after it was
  cancelled costs the plug-in that thread: it is left to itself, and the next attempt begins with a new one.
- HANGS threads left without a success in between, or LEFT_MOST of them that still hang: it is called no more until an
  operator acts.
- Whatever it raises is the outcome of one attempt. Only the text of a DeliveryError is shown.

Out of reach is code that holds the interpreter itself, as a C extension can: nothing else of the process runs then, and
the watchdog of the service starts it anew.
"""

import asyncio
import inspect
import math
import threading
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from taskwatch.clock import Clock
from taskwatch.config.inspection import secrets_in
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import ConfigError, SecretUnreadableError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.notifiers.apart import Apart, LeftError
from taskwatch.secret import hidden
from taskwatch.telemetry import Logger, printable

if TYPE_CHECKING:
    from taskwatch.notifier_api import Notifier

GROUP: Final = "taskwatch.notifiers"
IMPORT_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 1.0  # for a call that was cancelled
CLOSE_SECONDS: Final = 2.0
HANGS: Final = 3
SHORTEST_SECRET: Final = 6  # anything shorter would take ordinary words apart
LEFT_MOST: Final = 10
REFUSING_SECONDS: Final = 1.0  # attempts that had begun when the first one was refused come within that
SHOWN: Final = 500  # characters of what a plug-in says
_IMPORTING: Final = (ImportError, AttributeError, SyntaxError)  # their texts are about names

Work = Callable[["Notifier"], Awaitable[None]]


class Plugins:
    """The types that installed packages bring. Looked for once; a reload makes another of these."""

    def __init__(
        self, found: Callable[[], Collection[EntryPoint]] = lambda: entry_points(group=GROUP)
    ) -> None:
        self._find = found
        self._loaded: dict[str, type[Notifier] | ConfigError] = {}

    @cached_property
    def _found(self) -> dict[str, list[EntryPoint]]:
        by_name: dict[str, list[EntryPoint]] = {}
        for entry in self._find():
            by_name.setdefault(entry.name, []).append(entry)
        return by_name

    def names(self) -> frozenset[str]:
        return frozenset(self._found)

    def packages(self, kind: str) -> str:
        """Name the packages that bring the type, for people."""
        return " and ".join(sorted(_package(entry) for entry in self._found.get(kind, ())))

    def options(self, kind: str) -> type[ReceiverOptions]:
        return self.notifier(kind).options

    def notifier(self, kind: str) -> "type[Notifier]":
        """Import what the type names. Raises ConfigError, which says what is wrong with the plug-in."""
        if kind not in self._loaded:
            try:
                self._loaded[kind] = self._load(kind)
            except ConfigError as error:
                self._loaded[kind] = error
        loaded = self._loaded[kind]
        if isinstance(loaded, ConfigError):
            raise ConfigError(loaded.problems)
        return loaded

    def _load(self, kind: str) -> "type[Notifier]":
        match self._found.get(kind, []):
            case []:
                raise ConfigError([f"type {kind} is not installed any more; install its package again"])
            case [entry]:
                loaded = _imported(entry)
            case _:
                raise ConfigError([f"{self.packages(kind)} both bring this type; uninstall one of them"])
        if (problem := _wrong_shape(loaded)) is not None:
            raise ConfigError([f"{entry.value} of {_package(entry)} {problem}; tell its author"])
        assert isinstance(loaded, type)  # noqa: S101 - of that shape
        return loaded


def _package(entry: EntryPoint) -> str:
    return printable(entry.dist.name if entry.dist is not None else "an unknown package")


def _imported(entry: EntryPoint) -> object:
    """Import it in a thread: code that hangs there holds up its type alone."""
    done: list[tuple[object, BaseException | None]] = []

    def load() -> None:
        try:
            done.append((entry.load(), None))
        except BaseException as error:  # noqa: BLE001  (foreign code may raise anything)
            done.append((None, error))

    thread = threading.Thread(target=load, name=f"taskwatch-import {entry.name}", daemon=True)
    thread.start()
    thread.join(IMPORT_SECONDS)
    loaded, error = done[0] if done else (None, TimeoutError())
    if error is None:
        return loaded
    why = f"cannot be imported: {_class(error)}" if done else f"took over {IMPORT_SECONDS:g} s to import"
    if isinstance(error, _IMPORTING) and (lines := str(error).splitlines()):
        why += f": {printable(lines[0], SHOWN)}"
    raise ConfigError([f"{entry.value} of {_package(entry)} {why}; install a version of it that works here"])


def _wrong_shape(loaded: object) -> str | None:
    """Say what keeps it from being a notifier."""
    from taskwatch.notifier_api import Notifier, Options  # noqa: PLC0415  (whoever has no plug-in is spared it)

    if not (isinstance(loaded, type) and issubclass(loaded, Notifier)):
        return "is no subclass of taskwatch.notifier_api.Notifier"
    options: object = loaded.options
    if not (isinstance(options, type) and issubclass(options, Options)):
        return "has options that are no subclass of taskwatch.notifier_api.Options"
    if options.writes_to_people:
        return "asks for letters, and plug-ins are given events"
    for name in ("notify", "connect", "close"):
        if not inspect.iscoroutinefunction(inspect.unwrap(getattr(loaded, name))):
            return f"has a {name} that is no coroutine (async def)"
    if inspect.isabstract(loaded):
        return "does not define notify"
    return None


class PluginNotifier:
    """Calls the plug-in of one receiver, apart from everything else."""

    def __init__(
        self,
        kind: "type[Notifier]",
        options: ReceiverOptions,
        *,
        clock: Clock,
        log: Logger,
        grace: float = GRACE_SECONDS,
        closing: float = CLOSE_SECONDS,
    ) -> None:
        """`grace` and `closing` are in seconds. Nothing of the plug-in runs before the first call."""
        self._kind = kind
        self._options = options
        self._clock = clock
        self._log = log.bind(receiver=options.name)
        self._grace = grace
        self._closing = closing
        self._apart: Apart[Notifier] | None = None
        self._hung = 0  # since the last success
        self._left: list[Apart[Notifier]] = []
        self._refused_at: float | None = None

    async def notify(self, message: Message) -> None:
        self._require_trust()
        await self._call(lambda plugin: plugin.notify(message))
        self._hung = 0

    async def repeat(self) -> None:
        """Repeat nothing: a plug-in is told single events."""

    async def connect(self) -> None:
        """Let the plug-in find out whether its receiver can be reached."""
        timeout = self._options.timeout
        try:
            async with asyncio.timeout(timeout):
                await self._call(lambda plugin: plugin.connect())
        except TimeoutError:
            raise DeliveryError(Reason.TIMEOUT, f"no answer within {timeout:g} s", Scope.RECEIVER) from None

    async def close(self) -> None:
        """Let the plug-in close, and end its thread, within its time."""
        apart, self._apart = self._apart, None
        if apart is None:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._closing):
                    await apart.end()
        finally:
            apart.leave()

    def _require_trust(self) -> None:
        """Raise DeliveryError where it hung too often.

        The lane is paused by that: who still calls a while later does so because an operator acted.
        """
        now = self._clock.monotonic()
        if self._refused_at is not None and now - self._refused_at >= REFUSING_SECONDS:
            self._refused_at, self._hung, self._left = None, 0, []
        self._left = [apart for apart in self._left if apart.is_alive]
        if self._hung < HANGS and len(self._left) < LEFT_MOST:
            return
        self._refused_at = now if self._refused_at is None else self._refused_at
        raise DeliveryError(
            Reason.BROKEN,
            f"the notifier {self._options.type} hung {max(self._hung, len(self._left))} times and is called no more until"
            " a reload, or a taskwatch receiver test that succeeds",
            Scope.PAUSED,
        )

    async def _call(self, work: Work) -> None:
        """Call the plug-in. Who is cancelled waits until the call has ended too, or its thread is left."""
        apart = self._opened()
        call = apart.begin(work)
        try:
            await asyncio.wait({call.answer})
        except asyncio.CancelledError:
            apart.cancel(call)
            try:
                await asyncio.wait({call.answer}, timeout=self._grace)
            finally:
                if not call.answer.done():
                    self._leave(apart)
            raise
        if (raised := call.answer.result()) is not None:
            raise _failure(raised, self._unsaid())

    def _unsaid(self) -> set[str]:
        """Return the secrets of the options: foreign code may repeat them in what it says."""
        secrets = set()
        for _, secret in secrets_in(self._options):
            with suppress(SecretUnreadableError):
                secrets.add(secret.reveal())
        return secrets

    def _opened(self) -> "Apart[Notifier]":
        if self._apart is None:
            try:
                self._apart = Apart(
                    make=lambda: self._kind(self._options),
                    close=lambda plugin: plugin.close(),
                    name=f"taskwatch-{self._options.type}",
                )
            except (RuntimeError, OSError) as error:
                raise DeliveryError(
                    Reason.LOCAL, "this host has no thread or file left for it", Scope.RECEIVER
                ) from error
        return self._apart

    def _leave(self, apart: "Apart[Notifier]") -> None:
        apart.leave()
        if self._apart is apart:
            self._apart = None
        self._hung += 1
        self._left.append(apart)
        self._log.warning("notifier_hangs", type=self._options.type, times=self._hung)


def open_plugin(options: ReceiverOptions, *, clock: Clock, log: Logger) -> PluginNotifier:
    """Open the notifier of a type that is not built in. Raises ConfigError where it went since it was configured."""
    return PluginNotifier(Plugins().notifier(options.type), options, clock=clock, log=log)


def _failure(raised: BaseException, unsaid: Collection[str]) -> DeliveryError:
    """Return what is told of an exception of a plug-in, without these secrets."""
    match raised:
        case DeliveryError():
            return _harmless(raised, unsaid)
        case SecretUnreadableError():
            return DeliveryError(Reason.UNAUTHORIZED, printable(str(raised), SHOWN), Scope.RECEIVER)
        case LeftError():
            return DeliveryError(
                Reason.TIMEOUT, "given up, because another message hung in the same notifier"
            )
        case _:
            return DeliveryError(Reason.BROKEN, f"the notifier raised {_class(raised)}")


def _harmless(error: DeliveryError, unsaid: Collection[str]) -> DeliveryError:
    """Return it as it may be shown, stored and obeyed."""
    after = error.retry_after
    try:
        return DeliveryError(
            Reason(error.reason),
            printable(hidden(str(error.detail), unsaid, shortest=SHORTEST_SECRET), SHOWN),
            Scope(error.scope),
            float(after) if after is not None and math.isfinite(after) else None,
        )
    except Exception:  # noqa: BLE001  (it is foreign code's)
        return DeliveryError(Reason.BROKEN, "the notifier raised a DeliveryError that makes no sense")


def _class(error: BaseException) -> str:
    return printable(type(error).__name__, 100)
