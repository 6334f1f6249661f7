"""What operators ask of the running daemon: one method each, from a request to its outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from taskwatch.clock import Clock
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.operate import resolve, try_receiver
from taskwatch.engine.ports import Notifier
from taskwatch.engine.watch import Watch
from taskwatch.errors import ConfigError
from taskwatch.model.delivery import Message
from taskwatch.model.operation import Action, Operation
from taskwatch.model.project import Project
from taskwatch.runtime.attendant import Doer

if TYPE_CHECKING:
    from taskwatch.runtime.daemon import Daemon


class Requests:
    """Does to a daemon what operators ask for."""

    def __init__(
        self,
        daemon: "Daemon",
        *,
        notifier: Callable[[ReceiverOptions], Notifier],
        sample: Callable[[ReceiverOptions], Awaitable[Message]],
        clock: Clock,
    ) -> None:
        """`notifier` opens one of its own for a receiver that is tried, by a `sample`."""
        self._daemon = daemon
        self._notifier = notifier
        self._sample = sample
        self._clock = clock

    @property
    def doers(self) -> Mapping[str, Doer]:
        return {
            Action.RELOAD: self._reload,
            Action.POLL: self._poll,
            Action.RECEIVER_TEST: self._test,
            Action.FRESHEN: self._freshen,
            Action.RESOLVE: self._resolve,
        }

    async def _reload(self, _: Operation) -> dict[str, Any]:
        try:
            return {"changes": await self._daemon.reload()}
        except ConfigError as error:
            return {"problems": error.problems}

    async def _poll(self, request: Operation) -> dict[str, Any]:
        names = request.argument["projects"]
        chosen = [watch for watch in self._daemon.watches if watch.poller.project.name in names]
        return {"polls": await asyncio.gather(*map(_polled, chosen))}

    async def _test(self, request: Operation) -> dict[str, Any]:
        name = request.argument["receiver"]
        options = next((options for options in self._daemon.config.receivers if options.name == name), None)
        if options is None:
            return {"error": f"the running daemon has no receiver {name}; reload it first"}
        message = await self._sample(options)
        told = await try_receiver(self._notifier(options), message, timeout=options.timeout)
        self._daemon.trust(name)
        return {"event_id": message.event_id, "remark": told.remark}

    async def _resolve(self, request: Operation) -> dict[str, Any]:
        comment = request.argument["comment"]
        watches = {watch.poller.project.identity: watch for watch in self._daemon.watches}
        store = self._daemon.store
        found = await store.projects_of(request.argument["jobs"])
        for identity, (name, jobs) in found.items():
            if (watch := watches.get(identity)) is not None:
                await watch.resolve(jobs, by=request.by, comment=comment)
                continue
            # It is configured no more, and its labels are not known.
            project = Project(identity=identity, name=name)
            await resolve(store, project, jobs, by=request.by, comment=comment, at=self._clock.now())
            self._daemon.wake()
        return {"resolved": [job_id for _, jobs in found.values() for job_id in jobs]}

    async def _freshen(self, _: Operation) -> dict[str, Any]:
        await self._daemon.housekeeper.keep_freshness()
        return {"unheeded": list(self._daemon.unheeded)}


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
