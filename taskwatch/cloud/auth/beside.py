"""Runs what blocks beside the loop, one thing at a time, and waits for it no longer than a login may take."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from taskwatch.cloud.iam import LOGIN_SECONDS
from taskwatch.errors import CloudCause, CloudError

T = TypeVar("T")


class Beside:
    """Runs one thing at a time beside the loop. It is a daemon: what hangs in it does not hold up the end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_busy = False  # said by the thread itself: it lives on for a moment after its last word

    async def run(self, ask: Callable[[], T], host: str) -> T:
        """Return what it returns.

        Raises CloudError (timeout) when that takes longer than a login may, or cannot begin.
        """
        if self._is_busy:
            raise CloudError(CloudCause.TIMEOUT, f"{host}: openstacksdk is still at an earlier request")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            tell: Callable[[Any], None] = outcome.set_result
            told: object
            try:
                told = ask()
            except Exception as error:  # noqa: BLE001  (it belongs to whoever waits)
                tell, told = outcome.set_exception, error
            finally:
                self._is_busy = False
            _tell(loop, outcome, tell, told)

        self._is_busy = True
        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            self._is_busy = False
            problem = f"{host}: no thread can be started for openstacksdk ({error})"
            raise CloudError(CloudCause.TIMEOUT, problem) from None
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                return await outcome
        except TimeoutError:
            pass
        raise CloudError(CloudCause.TIMEOUT, f"{host}: openstacksdk had no answer within {LOGIN_SECONDS:g} s")


def _tell(
    loop: asyncio.AbstractEventLoop, outcome: "asyncio.Future[T]", tell: Callable[[Any], None], told: object
) -> None:
    """Tell the loop, if it still runs and somebody still waits."""
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(lambda: None if outcome.done() else tell(told))
