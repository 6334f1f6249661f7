"""The receiver `apprise`: a letter goes to each URL that the library Apprise knows: chats, phones, a hundred services.

Invariants:
- It is delivered when each URL has taken it. Which one has it already is not told again, and one that has it not then
  speaks of no other.
- The library blocks, and some services hang for as long as they like: at most THREADS of a receiver are in it. Who
  has no answer in time goes on without; while all threads hang, nothing more is begun.
- A URL is a secret as a whole: nothing of it is in an error, and what the library logs goes nowhere.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, Field

from taskwatch.clock import Clock
from taskwatch.config.fields import at_least_one
from taskwatch.config.kept import SecretText
from taskwatch.config.receiver import LetterOptions
from taskwatch.engine.ports import AlertBook, DeliveryError
from taskwatch.errors import SecretUnreadableError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.model.event import EventId, Severity
from taskwatch.model.letter import Letter, read_letter
from taskwatch.notifiers.parts import Taken, named, shown, subject_of
from taskwatch.secret import Secret
from taskwatch.telemetry import Logger

if TYPE_CHECKING:
    import apprise

THREADS: Final = 2  # of one receiver
WAITING: Final = 0.9  # of the time that an attempt may take: it is to say who has it before it is cut off
MAX_URLS: Final = 20
MISSING: Final = 'apprise needs the library Apprise: pip install "taskwatch[apprise]"'

_BETWEEN: Final = re.compile(r"[/:@?&=+,;#\s]+")  # what may stand between the parts of a URL
_KINDS: Final = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}


Outcome = DeliveryError | None
Work = asyncio.Future[Outcome]


def _not_too_many(urls: tuple[Secret, ...]) -> tuple[Secret, ...]:
    if len(urls) > MAX_URLS:
        raise ValueError(f"{len(urls)} URLs; write {MAX_URLS} at most, and the rest in another receiver")
    return urls


class AppriseOptions(LetterOptions):
    """Writes to chats, phones and services, by the URLs of Apprise."""

    type: Literal["apprise"]
    urls: Annotated[tuple[SecretText, ...], AfterValidator(_not_too_many), BeforeValidator(at_least_one)] = (
        Field(
            examples=["[{file: PATH}]"],
            description=f"whom to tell, at most {MAX_URLS}, as https://github.com/caronc/apprise/wiki writes them",
        )
    )


def open_notifier(
    options: AppriseOptions,
    *,
    clock: Clock,  # noqa: ARG001  (all kinds are opened alike)
    log: Logger,  # noqa: ARG001
    alerts: AlertBook,  # noqa: ARG001
) -> "AppriseNotifier":
    """Open the notifier; the library is loaded with the first letter."""
    return AppriseNotifier(options)


class AppriseNotifier:
    """Tells each URL of a letter, one apart from the other."""

    def __init__(self, options: AppriseOptions) -> None:
        self._timeout = WAITING * options.timeout
        self._urls = {f"urls[{number}]": url for number, url in enumerate(options.urls)}
        self._taken = Taken()
        self._threads = _Threads()
        self._telling: dict[tuple[EventId, bool, str], Work] = {}

    async def notify(self, message: Message) -> None:
        self._threads.require_one()
        letter, has = read_letter(message.body), self._taken.by(message)
        left = {name: url for name, url in self._urls.items() if name not in has}
        try:
            await self._all(
                {
                    name: self._tell(message, name, partial(tell, name, url, letter))
                    for name, url in left.items()
                }
            )
        except DeliveryError as error:
            if self._taken.by(message):
                error.scope = Scope.PART
            raise
        self._taken.forget(message)

    async def repeat(self) -> None:
        """Repeat nothing: a letter stands."""

    async def connect(self) -> None:
        """Read the URLs, and no more: Apprise cannot connect without sending."""
        self._threads.require_one()
        await self._all(
            {name: self._threads.run(partial(read, name, url)) for name, url in self._urls.items()}
        )

    async def close(self) -> None:
        """Nothing is held open; a thread that hangs ends with the process."""

    async def _all(self, outcomes: Mapping[str, Coroutine[None, None, Outcome]]) -> None:
        """Wait for all of them, for as long as an attempt may take. Raises the first failure, which names the others."""
        tasks = {name: asyncio.create_task(outcome) for name, outcome in outcomes.items()}
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=self._timeout)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        failures = {
            name: DeliveryError(Reason.TIMEOUT, f"{name} did not answer in time")
            if task.cancelled()
            else task.result()
            for name, task in tasks.items()
        }
        failed = {name: failure for name, failure in failures.items() if failure is not None}
        if failed:
            (_, first), *others = failed.items()
            so = f" (so with {named([name for name, _ in others])})" if others else ""
            raise replace(first, detail=f"{first.detail}{so}")

    async def _tell(self, message: Message, name: str, work: Callable[[], Outcome]) -> Outcome:
        """Tell one URL, or wait for what an earlier attempt began: twice at once it is told by nobody."""
        key = (message.event_id, message.replay, name)

        def ended(telling: Work) -> None:
            del self._telling[key]
            if telling.result() is None:  # it has it, also where nobody waits for that any more
                self._taken.note(message, {name})

        if key not in self._telling:
            telling = self._telling[key] = await self._threads.begin(work)
            telling.add_done_callback(ended)
        return await self._threads.outcome(self._telling[key])


class _Threads:
    """Runs what blocks in threads that end with the process, whatever they hang in; a few at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(THREADS)
        self._given_up: set[Work] = set()  # at work still, with nobody who waits

    def require_one(self) -> None:
        """Raise DeliveryError while every thread hangs: what is begun now would only wait for them."""
        if len(self._given_up) >= THREADS:
            text = f"all {THREADS} threads wait for services that do not answer"
            raise DeliveryError(Reason.TIMEOUT, text, Scope.RECEIVER)

    async def run(self, work: Callable[[], Outcome]) -> Outcome:
        return await self.outcome(await self.begin(work))

    async def begin(self, work: Callable[[], Outcome]) -> Work:
        """Begin it as soon as a thread is free."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future: Work = loop.create_future()
        future.add_done_callback(self._ended)

        def run() -> None:
            outcome: Outcome = DeliveryError(Reason.BROKEN, "Apprise ended its thread")
            try:
                outcome = work()
            finally:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(future.set_result, outcome)

        try:
            threading.Thread(target=run, name="taskwatch-apprise", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            future.set_result(DeliveryError(Reason.LOCAL, f"no thread can be started ({error})"))
        return future

    async def outcome(self, begun: Work) -> Outcome:
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            if not begun.done():
                self._given_up.add(begun)
            raise

    def _ended(self, work: Work) -> None:
        self._given_up.discard(work)
        self._free.release()


# What follows runs in a thread.


def tell(name: str, url: Secret, letter: Letter) -> Outcome:
    """Tell one URL. Returns why it was not told, in words that hold nothing of it; None: it has the letter."""
    return _with_service(name, url, lambda service: bool(_notify(service, letter)))


def read(name: str, url: Secret) -> Outcome:
    """Find out whether it is a URL that Apprise knows."""
    return _with_service(name, url, lambda _: True)


def _with_service(name: str, secret: Secret, do: "Callable[[apprise.Apprise], bool]") -> Outcome:
    try:
        from apprise import Apprise  # noqa: PLC0415  (the extra)

        url = secret.reveal()
    except ModuleNotFoundError:
        return DeliveryError(Reason.LOCAL, MISSING, Scope.RECEIVER)
    except SecretUnreadableError as error:
        return DeliveryError(Reason.UNAUTHORIZED, f"{name}: {error}", Scope.RECEIVER)
    with _aside() as said:
        try:
            service = Apprise(asset=_asset())
            if not service.add(url):
                text = f"{name} is no URL that Apprise knows{_word(said, url)}"
                return DeliveryError(Reason.LOCAL, text, Scope.RECEIVER)
            if len(service) != 1:
                text = f"{name} holds several URLs; write each as one of urls"
                return DeliveryError(Reason.LOCAL, text, Scope.RECEIVER)
            if not do(service):
                return DeliveryError(Reason.REJECTED, f"{name} did not take it{_word(said, url)}")
        except Exception as error:  # noqa: BLE001  (a hundred services; the text may hold the URL)
            return DeliveryError(Reason.BROKEN, f"{name}: Apprise raised {type(error).__name__}")
    return None


def _notify(service: "apprise.Apprise", letter: Letter) -> object:
    from apprise import NotifyFormat  # noqa: PLC0415  (the extra)

    return service.notify(
        title=subject_of(letter),
        body=letter.text,
        body_format=NotifyFormat.TEXT,
        notify_type=_KINDS[letter.severity],
    )


def _asset() -> "apprise.AppriseAsset":
    """Return how Apprise is to work: in this thread, and leaving nothing on the disk."""
    from apprise import AppriseAsset  # noqa: PLC0415  (the extra)

    manner: dict[str, Any] = {
        "app_id": "taskwatch",
        "app_desc": "taskwatch",
        "async_mode": False,
        "storage_mode": "memory",
    }
    try:
        # Without this it waits in threads of its own, and the process would wait for them at its end.
        return AppriseAsset(**manner, service_timeout=0)
    except AttributeError:
        return AppriseAsset(**manner)  # of a release that has no such threads


def _word(said: Sequence[str], url: str) -> str:
    """Return the last that Apprise logged, without any part of the URL."""
    parts = {part for part in _BETWEEN.split(url) if part}
    secrets = {url, *parts, *map(unquote, parts), *map(str.lower, parts)}
    return f": {shown(said[-1], secrets)}" if said else ""


_SAID: Final[ContextVar[list[str] | None]] = ContextVar("said by Apprise", default=None)


class _Aside(logging.Filter):
    """Takes aside what is logged while Apprise is at work, by it or by what it works with: URLs stand in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = _SAID.get()
        if said is None:
            return record.name.partition(".")[0] != "apprise"  # from threads that its services have
        with suppress(Exception):  # a library's mistake in a log call is no reason to fail in the midst of it
            said[:] = [record.getMessage()]
        return False


_ASIDE: Final = _Aside()


@contextmanager
def _aside() -> Iterator[list[str]]:
    """Yield the last of what is logged in here. It reaches no log."""
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler is not None:
            handler.addFilter(_ASIDE)
    said: list[str] = []
    token = _SAID.set(said)
    try:
        yield said
    finally:
        _SAID.reset(token)
