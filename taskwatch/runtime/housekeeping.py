"""What the daemon does beside watching: it says how fresh it is, forgets what is old, puts away what nobody will deliver.

Nothing is forgotten or put away unless this host and every cloud that answers agree about the time:
what a wrong clock makes old would be gone for good, and told again as new.
"""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

from taskwatch.clock import Clock
from taskwatch.engine.watch import Watch
from taskwatch.errors import StoreFailedError, StoreLostError
from taskwatch.model.delivery import RemovedReceiver
from taskwatch.store.sqlite import SqliteStore
from taskwatch.telemetry import Logger

FRESHNESS_SECONDS: Final = 30.0
PRUNE_SECONDS: Final = 3600.0
FIRST_PRUNE_SECONDS: Final = 60.0  # until some cloud has answered
WARNED_SKEW: Final = timedelta(minutes=5)  # between this host's clock and the cloud's
MAX_SKEW: Final = timedelta(hours=1)  # nothing is forgotten beyond it
QUEUE_KEPT: Final = timedelta(days=7)  # of a receiver that was removed


class Housekeeper:
    """The works of the house; each returns the seconds to its next start."""

    def __init__(
        self,
        *,
        store: SqliteStore,
        clock: Clock,
        log: Logger,
        watches: Callable[[], Collection[Watch]],
        receivers: Callable[[], Collection[str]],
        retention: float,
    ) -> None:
        """`watches` and `receivers` are asked each time: they change with a reload, as `retention` may."""
        self.retention = retention  # seconds
        self._store = store
        self._clock = clock
        self._log = log
        self._watches = watches
        self._receivers = receivers
        self._failing: set[str] = set()  # what was warned of and still is so
        self._named: set[str] = set()  # receivers that were said to be missing and still are

    async def stay_fresh(self) -> float:
        self._compare_clocks()
        await self.keep_freshness()
        return FRESHNESS_SECONDS

    async def keep_freshness(self) -> None:
        """Record when each project was last read, and how its watching goes, in one small row."""
        watches = self._watches()
        observed = dict(found for watch in watches if (found := watch.poller.freshness) is not None)
        conditions = {key: watch.condition for watch in watches if (key := watch.poller.key) is not None}
        try:
            await self._store.keep_freshness(observed, conditions)
        except (StoreFailedError, StoreLostError) as error:
            self._edge("freshness_not_kept", error=str(error))
        else:
            self._failing.discard("freshness_not_kept")

    def _compare_clocks(self) -> None:
        """Warn once when this host's clock differs from a cloud's; the half of it ends that."""
        worst = self._worst_skew()
        if worst is None or abs(worst[1]) < WARNED_SKEW / 2:
            self._failing.discard("clock_found_wrong")
        elif abs(worst[1]) > WARNED_SKEW:
            name, skew = worst
            by = f"{abs(skew).total_seconds():.0f} s {_side(skew)}"
            error = f"this host's clock is {by} the cloud's; set it (timedatectl, NTP)"
            self._edge("clock_found_wrong", project=name, error=error)

    def _worst_skew(self) -> tuple[str, timedelta] | None:
        """Return the project whose cloud's clock differs most from this host's, and by how much this is ahead."""
        pollers = [watch.poller for watch in self._watches()]
        polled = [(poller.project.name, skew) for poller in pollers if (skew := poller.skew) is not None]
        return max(polled, key=lambda found: abs(found[1]), default=None)

    async def prune(self) -> float:
        worst = self._worst_skew()
        if worst is None:
            return FIRST_PRUNE_SECONDS
        name, skew = worst
        if abs(skew) > MAX_SKEW:
            self._edge(
                "prune_skipped",
                reason=f"this host's clock is {_side(skew)} the cloud's",
                by_seconds=round(abs(skew).total_seconds()),
                project=name,
            )
            return PRUNE_SECONDS
        try:
            await self._drop_removed()
            pruned = await self._store.prune(self._clock.now() - timedelta(seconds=self.retention))
        except StoreFailedError as error:
            self._edge("prune_failed", error=str(error))
        else:
            self._failing -= {"prune_failed", "prune_skipped"}
            self._log.debug("pruned", events=pruned.events, deliveries=pruned.deliveries, tasks=pruned.tasks)
        return PRUNE_SECONDS

    def _edge(self, event: str, **fields: object) -> None:
        """Warn of what fails; of its repeats only to whoever debugs."""
        log = self._log.debug if event in self._failing else self._log.warning
        self._failing.add(event)
        log(event, **fields)

    async def name_removed(self) -> None:
        """Say which deliveries nobody will make: their receiver is configured no more."""
        try:
            removed = await self._removed()
        except StoreFailedError as error:
            self._log.warning("removed_receivers_unknown", error=str(error))
            return
        named, self._named = self._named, {receiver.name for receiver in removed}
        for receiver in removed:
            if receiver.name in named:
                continue
            self._log.warning(
                "receiver_missing",
                receiver=receiver.name,
                pending=receiver.pending,
                remedy="configure a receiver of this name within seven days, and it gets them",
            )

    async def _drop_removed(self) -> None:
        """Note which receivers are removed, and put away what waits for those that have long been."""
        before = self._clock.now() - QUEUE_KEPT
        await self._store.note_removed(frozenset(self._receivers()))
        for receiver in await self._removed():
            if receiver.since is not None and receiver.since < before:
                dropped = await self._store.drop_removed(receiver.name)
                self._log.error(
                    "deliveries_dropped",
                    receiver=receiver.name,
                    deliveries=dropped,
                    why="the receiver was removed seven days ago",
                )

    async def _removed(self) -> list[RemovedReceiver]:
        return await self._store.removed_receivers(frozenset(self._receivers()))


def _side(skew: timedelta) -> str:
    return "ahead of" if skew > timedelta(0) else "behind"
