"""Attends to operators: what they did in the store is logged, what they ask of the daemon is done.

Commands write beside the daemon, which looks once a second whether somebody did.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from taskwatch.clock import Clock
from taskwatch.errors import StoreFailedError, StoreLostError, TaskwatchError
from taskwatch.model.operation import Action, Operation
from taskwatch.store.sqlite import SqliteStore
from taskwatch.telemetry import Logger

LOOK_SECONDS: Final = 1.0

Doer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Attendant:
    """Looks, logs and does. `passed_at` is the monotonic time at which the store last answered."""

    def __init__(
        self,
        *,
        store: SqliteStore,
        clock: Clock,
        log: Logger,
        doers: Mapping[Action, Doer],
        changed: Callable[[], None],
    ) -> None:
        """`doers` take the argument of a request and return its outcome. `changed`: somebody wrote to the store."""
        self.passed_at = clock.monotonic()
        self._store = store
        self._clock = clock
        self._log = log
        self._doers = doers
        self._changed = changed
        self._requests: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Attend until cancelled. Raises StoreLostError."""
        is_failing = False
        await self._once(self._store.give_up_requests)
        try:
            while True:
                failed = await self._once(self._look)
                if failed is not None and not is_failing:
                    self._log.warning("operators_not_attended", error=failed)
                is_failing = failed is not None
                self.passed_at = self._clock.monotonic()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for request in self._requests:
                request.cancel()

    async def _once(self, step: Callable[[], Awaitable[None]]) -> str | None:
        try:
            await step()
        except StoreFailedError as error:
            return str(error)
        return None

    async def _look(self) -> None:
        if not await self._store.is_changed_outside():
            return
        self._changed()
        operations = await self._store.unlogged_operations()
        for operation in operations:
            self._log.info(
                "operator_acted",
                action=operation.action.value,
                by=operation.by,
                at=operation.at.isoformat(timespec="seconds"),
                argument=json.dumps(operation.argument),
            )
        await self._store.mark_logged(operation.id for operation in operations)
        for operation in operations:
            if operation.outcome is None:
                request = asyncio.create_task(self._do(operation), name=f"operation {operation.id}")
                self._requests.add(request)
                request.add_done_callback(self._requests.discard)

    async def _do(self, operation: Operation) -> None:
        try:
            outcome = await self._doers[operation.action](operation.argument)
        except StoreLostError:
            return  # the daemon ends
        except TaskwatchError as error:
            outcome = {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:  # noqa: BLE001  (a mistake of ours in one request must not stop the daemon)
            outcome = {"error": f"{type(error).__name__}: a bug in taskwatch; its log says where"}
            self._log.error("operation_broken", action=operation.action.value, exc_info=error)
        if (failed := await self._once(lambda: self._store.answer(operation.id, outcome))) is not None:
            self._log.warning("operation_not_answered", action=operation.action.value, error=failed)
