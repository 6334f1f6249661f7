"""What operators ask of the running daemon: one method each, from the argument of a request to its outcome."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from taskwatch.clock import Clock
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.operate import try_receiver
from taskwatch.engine.ports import Notifier
from taskwatch.engine.watch import Watch
from taskwatch.errors import ConfigError
from taskwatch.model.operation import Action
from taskwatch.runtime.attendant import Doer

if TYPE_CHECKING:
    from taskwatch.runtime.daemon import Daemon


class Requests:
    """Does to a daemon what operators ask for."""

    def __init__(
        self, daemon: "Daemon", *, notifier: Callable[[ReceiverOptions], Notifier], clock: Clock
    ) -> None:
        """`notifier` opens one of its own for a receiver that is tried."""
        self._daemon = daemon
        self._notifier = notifier
        self._clock = clock

    @property
    def doers(self) -> Mapping[str, Doer]:
        return {
            Action.RELOAD: self._reload,
            Action.POLL: self._poll,
            Action.RECEIVER_TEST: self._test,
            Action.FRESHEN: self._freshen,
        }

    async def _reload(self, _: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"changes": await self._daemon.reload()}
        except ConfigError as error:
            return {"problems": error.problems}

    async def _poll(self, argument: dict[str, Any]) -> dict[str, Any]:
        names = argument["projects"]
        chosen = [watch for watch in self._daemon.watches if watch.poller.project.name in names]
        return {"polls": await asyncio.gather(*map(_polled, chosen))}

    async def _test(self, argument: dict[str, Any]) -> dict[str, Any]:
        name = argument["receiver"]
        options = next((options for options in self._daemon.config.receivers if options.name == name), None)
        if options is None:
            return {"error": f"the running daemon has no receiver {name}; reload it first"}
        event = await try_receiver(
            self._notifier(options), receiver=name, timeout=options.timeout, clock=self._clock
        )
        self._daemon.trust(name)
        return {"event_id": event.id}

    async def _freshen(self, _: dict[str, Any]) -> dict[str, Any]:
        await self._daemon.housekeeper.keep_freshness()
        return {}


async def _polled(watch: Watch) -> dict[str, Any]:
    """Poll now, and say what came of it."""
    poll = await watch.poll()
    trouble = watch.condition.trouble
    is_partial = poll is None or not poll.listing.complete
    return {
        "project": watch.poller.project.name,
        "rows": None if poll is None else poll.listing.rows,
        "events": [] if poll is None else [event.id for event in poll.events],
        "error": trouble.error if is_partial and trouble is not None else None,
    }
