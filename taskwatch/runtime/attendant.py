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

Doer = Callable[[Operation], Awaitable[dict[str, Any]]]


class Attendant:
    """Looks, logs and does. `passed_at` is the monotonic time at which the store last answered."""

    def __init__(
        self,
        *,
        store: SqliteStore,
        clock: Clock,
        log: Logger,
        doers: Mapping[str, Doer],
        changed: Callable[[], None],
    ) -> None:
        """`doers`, by action, take a request and return its outcome. `changed`: somebody wrote."""
        self.passed_at = clock.monotonic()
        self._store = store
        self._clock = clock
        self._log = log
        self._doers = doers
        self._changed = changed
        self._seen: int | None = None  # the version of the data in which nothing is left to attend to
        self._is_failing = False
        self._requests: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Attend until cancelled. Raises StoreLostError."""
        try:
            step = self._store.give_up_requests  # before anything is done
            while True:
                if await self._succeeds(step):
                    step = self._look
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for request in self._requests:
                request.cancel()
            await asyncio.gather(*self._requests, return_exceptions=True)

    async def _succeeds(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except StoreFailedError as error:
            log = self._log.debug if self._is_failing else self._log.warning
            log("operators_not_attended", error=str(error))
            self._is_failing = True
        else:
            self._is_failing = False
        self.passed_at = self._clock.monotonic()
        return not self._is_failing

    async def _look(self) -> None:
        version = await self._store.data_version()
        if version == self._seen:
            return
        self._changed()
        while operations := await self._store.unlogged_operations():
            for operation in operations:
                if operation.action != Action.FRESHEN and not _is_to_resolve(operation):
                    self._tell(operation, operation.outcome or {})
            await self._store.mark_logged(operation.id for operation in operations)
            for operation in operations:
                self._begin(operation)
        self._seen = version  # only now: what failed on the way is looked at again

    def _tell(self, operation: Operation, outcome: Mapping[str, Any]) -> None:
        found = {"found": len(outcome["resolved"])} if "resolved" in outcome else {}
        error = {"error": outcome["error"]} if "error" in outcome else {}
        self._log.info(
            "operator_acted",
            action=operation.action,
            by=operation.by,
            at=operation.at.isoformat(timespec="seconds"),
            argument=json.dumps(operation.argument),
            **found,
            **error,
        )

    def _begin(self, operation: Operation) -> None:
        if operation.outcome is not None:
            return  # it is done already
        request = asyncio.create_task(self._do(operation), name=f"operation {operation.id}")
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)

    async def _do(self, operation: Operation) -> None:
        try:
            outcome = await self._outcome(operation)
            if _is_to_resolve(operation):
                self._tell(operation, outcome)
            await self._store.answer(operation.id, outcome)
        except StoreLostError:
            return  # the daemon ends
        except StoreFailedError as error:
            self._log.warning("operation_not_answered", action=operation.action, error=str(error))

    async def _outcome(self, operation: Operation) -> dict[str, Any]:
        doer = self._doers.get(operation.action)
        if doer is None:
            return {"error": f"this daemon is of a taskwatch that has no {operation.action}: restart it"}
        try:
            return await doer(operation)
        except StoreLostError:
            raise
        except TaskwatchError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001  (a mistake of ours in one request must not stop the daemon)
            self._log.error("operation_broken", action=operation.action, exc_info=error)
            return {"error": f"{type(error).__name__}: a bug in taskwatch; its log says where"}


def _is_to_resolve(operation: Operation) -> bool:
    """Tell whether it is a request that is told when it was done: one that found no alert ended none."""
    return operation.action == Action.RESOLVE and operation.outcome is None
