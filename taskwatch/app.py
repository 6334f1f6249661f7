"""The composition root: the only place that constructs the parts and puts them together."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from taskwatch import __version__, telemetry
from taskwatch.clock import Clock, SystemClock
from taskwatch.cloud.auth import Login, NoLogin, TokenLogin
from taskwatch.cloud.client import TasksClient, open_session
from taskwatch.cloud.limiter import Limiter
from taskwatch.config.configuration import Config, Credential, WatchedProject
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.schema import NoCredential, TokenCredential
from taskwatch.engine.lane import Lane, LaneRules
from taskwatch.engine.poller import Poller, PollRules
from taskwatch.engine.ports import Ledger
from taskwatch.engine.watch import Watch
from taskwatch.errors import StoreFailedError, StoreHeldError, StoreLostError
from taskwatch.model.event import Event
from taskwatch.notifiers.registry import NOTIFIERS
from taskwatch.runtime.lifecycle import serve, stopped_by_signals
from taskwatch.runtime.scheduler import Scheduler
from taskwatch.store.sqlite import SqliteStore, open_store
from taskwatch.telemetry import Logger

STAND_BY_SECONDS: Final = 1.0
FRESHNESS_SECONDS: Final = 30.0
PRUNE_SECONDS: Final = 3600.0
FIRST_PRUNE_SECONDS: Final = 60.0  # until some cloud has answered
# Between this host's clock and the cloud's, for anything to be forgotten.
MAX_SKEW: Final = timedelta(hours=1)


def kinds() -> dict[str, type[ReceiverOptions]]:
    """Return the kinds of receivers there are, by the name that `type:` gives them."""
    return {kind: notifier.options for kind, notifier in NOTIFIERS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The parts of one daemon, built and not yet running."""

    watches: Sequence[Watch]
    lanes: Sequence[Lane]
    store: SqliteStore
    clock: Clock
    log: Logger
    retention: float  # seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Poll and deliver until `stop` is set. Raises StoreLostError when the disk can no longer be believed."""
        works = [*(watch.tick for watch in self.watches), self._stay_fresh, self.prune]
        scheduler = Scheduler(works, clock=self.clock)
        await self._name_orphans()
        self.log.info("watching", version=__version__, projects=len(self.watches), receivers=len(self.lanes))
        await serve(scheduler=scheduler, lanes=self.lanes, lost=self._lost(), stop=stop)
        await self.keep_freshness()
        self.log.info("stopped")

    async def prune(self) -> float:
        """Forget what is past its retention; return the seconds to the next time.

        Only while this host and every cloud that answers agree about the time: what a wrong clock
        makes old would be forgotten for good, and told again as new.
        """
        skews = [abs(skew) for watch in self.watches if (skew := watch.poller.skew) is not None]
        if not skews:
            return FIRST_PRUNE_SECONDS
        if max(skews) > MAX_SKEW:
            self.log.warning(
                "prune_skipped",
                reason="this host and the cloud disagree about the time",
                by_seconds=round(max(skews).total_seconds()),
            )
            return PRUNE_SECONDS
        try:
            pruned = await self.store.prune(self.clock.now() - timedelta(seconds=self.retention))
        except StoreFailedError as error:
            self.log.warning("prune_failed", error=str(error))
        else:
            self.log.debug("pruned", events=pruned.events, deliveries=pruned.deliveries, tasks=pruned.tasks)
        return PRUNE_SECONDS

    async def _stay_fresh(self) -> float:
        await self.keep_freshness()
        return FRESHNESS_SECONDS

    async def keep_freshness(self) -> None:
        """Record when each project was last read, in one small row."""
        observed = dict(found for watch in self.watches if (found := watch.poller.freshness) is not None)
        try:
            await self.store.keep_freshness(observed)
        except (StoreFailedError, StoreLostError) as error:
            self.log.warning("freshness_not_kept", error=str(error))

    async def _name_orphans(self) -> None:
        """Say which deliveries nobody will make: their receiver is configured no more."""
        served = {lane.receiver for lane in self.lanes}
        for receiver, count in (await self.store.backlog()).items():
            if receiver not in served:
                self.log.warning(
                    "receiver_missing",
                    receiver=receiver,
                    pending=count,
                    remedy="configure a receiver of this name again, and it gets them",
                )

    async def _lost(self) -> None:
        await self.store.lost.wait()
        raise StoreLostError(
            f"what the store holds can no longer be known ({self.store.loss}); the next start reads it anew"
        )


async def watch(config: Config, *, wait: bool = False) -> None:
    """Be the daemon: open the store, build, run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        store = await _stand_by(config, stop, for_holder=wait)
        if store is None:
            return
        try:
            async with build(config, store=store) as app:
                await app.run(stop)
        finally:
            await store.close()


@asynccontextmanager
async def opened_store(config: Config) -> AsyncIterator[SqliteStore]:
    """Open the store, and close it last."""
    store = await _open(config)
    try:
        yield store
    finally:
        await store.close()


async def _open(config: Config) -> SqliteStore:
    return await asyncio.to_thread(open_store, config.store.path, clock=SystemClock())


async def _stand_by(config: Config, stop: asyncio.Event, *, for_holder: bool) -> SqliteStore | None:
    """Open the store as soon as it can be had: waiting mends a full disk, and a holder if it is waited for."""
    said: str | None = None
    while not stop.is_set():
        try:
            return await _open(config)
        except (StoreHeldError, StoreFailedError) as error:
            if isinstance(error, StoreHeldError) and not for_holder:
                raise
            if str(error) != said:
                telemetry.logger().warning("standing_by", reason=str(error))
                said = str(error)
        try:
            async with asyncio.timeout(STAND_BY_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue
    return None


@asynccontextmanager
async def build(
    config: Config,
    *,
    store: SqliteStore,
    clock: Clock | None = None,
) -> AsyncIterator[App]:
    """Build all parts of a configuration upon an open store; close their connections at the end.

    `run`, `poll` and `demo` are this one.
    """
    clock = clock or SystemClock()
    log = telemetry.logger()
    async with AsyncExitStack() as stack:
        lanes = [_lane(receiver, store=store, clock=clock, log=log) for receiver in config.receivers]
        for lane in lanes:
            stack.push_async_callback(lane.close)

        def announce(_: Sequence[Event]) -> None:
            for lane in lanes:
                lane.wake()

        watches = await stack.enter_async_context(
            pollers(config, ledger=store, told=announce, clock=clock, log=log)
        )
        yield App(
            watches=watches, lanes=lanes, store=store, clock=clock, log=log, retention=config.store.retention
        )


@asynccontextmanager
async def pollers(
    config: Config, *, ledger: Ledger, told: Callable[[Sequence[Event]], None], clock: Clock, log: Logger
) -> AsyncIterator[list[Watch]]:
    """Build what polls, for any ledger: `poll --dry-run` has one that writes nothing."""
    session = open_session()
    try:
        logins = {name: _login(credential) for name, credential in config.credentials.items()}
        limiters: dict[tuple[str, str], Limiter] = {}  # a rate belongs to a credential at an endpoint

        def watch(project: WatchedProject) -> Watch:
            credential = config.credentials[project.credential]
            place = (project.credential, project.project.identity.host)
            limiter = limiters.setdefault(place, Limiter(credential.rate, clock))
            poller = Poller(
                project=project.project,
                rules=_rules(project),
                source=TasksClient(
                    session=session,
                    endpoint=str(project.endpoint),
                    project_id=project.project.identity.project_id,
                    login=logins[project.credential],
                    limiter=limiter,
                    timeout=project.timeout,
                ),
                ledger=ledger,
                routes=config.route,
                clock=clock,
                told=told,
            )
            return Watch(poller=poller, clock=clock, log=log)

        yield [watch(project) for project in config.projects]
    finally:
        await session.close()


def _rules(project: WatchedProject) -> PollRules:
    return PollRules(
        cadence=project.interval,
        baseline=project.baseline,
        failure_severities=project.severity,
        include=project.include,
        exclude=project.exclude,
    )


def _login(credential: Credential) -> Login:
    match credential:
        case TokenCredential():
            return TokenLogin(credential.token)
        case NoCredential():
            return NoLogin()
        case _:
            assert_never(credential)


def _lane(options: ReceiverOptions, *, store: SqliteStore, clock: Clock, log: Logger) -> Lane:
    return Lane(
        receiver=options.name,
        notifier=NOTIFIERS[options.type].open(options, clock=clock, log=log),
        outbox=store,
        rules=LaneRules(
            timeout=options.timeout,
            initial=options.retry.initial,
            maximum=options.retry.max,
            horizon=options.retry.horizon,
        ),
        clock=clock,
        rng=random.Random(),  # noqa: S311  (jitter, not a secret)
        log=log,
    )
