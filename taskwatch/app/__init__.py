"""The composition root: the only place that constructs the parts and puts them together."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from taskwatch import telemetry
from taskwatch.app.clouds import Clouds, opened_clouds
from taskwatch.app.ways import sample, supply
from taskwatch.clock import Clock, SystemClock
from taskwatch.config.configuration import Config, NamedProject, WatchedProject
from taskwatch.config.load import load
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.serving import Heartbeat
from taskwatch.engine.budget import Budget
from taskwatch.engine.lane import Lane, Supply
from taskwatch.engine.poller import Poller
from taskwatch.engine.ports import AlertBook, Ledger, NoAlerts, Notifier, TaskSource
from taskwatch.engine.tally import LoginState, Tally
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudError, ConfigError, StoreFailedError, StoreHeldError
from taskwatch.model.delivery import Message
from taskwatch.model.event import Event
from taskwatch.notifiers.heartbeat import ping
from taskwatch.notifiers.plugin import open_plugin
from taskwatch.notifiers.registry import NOTIFIERS, kinds, shadowed
from taskwatch.runtime.daemon import Daemon
from taskwatch.runtime.lifecycle import reloaded_by_signal, stopped_by_signals
from taskwatch.runtime.naming import Naming
from taskwatch.runtime.rules import lane_rules, poll_rules
from taskwatch.runtime.systemd import Systemd
from taskwatch.server.server import Server
from taskwatch.store.lock import Role
from taskwatch.store.sqlite import SqliteStore, open_store
from taskwatch.telemetry import Logger
from taskwatch.templates.workshop import Workshop

STAND_BY_SECONDS: Final = 1.0
STARTING_SECONDS: Final = 60.0


async def watch(config: Config, *, wait: bool = False) -> None:
    """Be the daemon: open the store, build, run until SIGTERM or SIGINT; reload on SIGHUP."""
    stop, hang_up = asyncio.Event(), asyncio.Event()
    systemd = Systemd.from_environment(os.environ)
    with stopped_by_signals(stop), reloaded_by_signal(hang_up):
        async with serving(config) as server:
            starting = asyncio.create_task(_keep_starting(systemd))
            try:
                store = await _stand_by(config, stop, for_holder=wait, told=server.wait_for)
            finally:
                starting.cancel()
            if store is None:
                return
            try:
                async with build(config, store=store, systemd=systemd, server=server) as daemon:
                    await daemon.run(stop, hang_up=hang_up)
            finally:
                await store.close()


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Server]:
    """Serve from before the store is open until after it is closed: whoever asks is told."""
    server = Server(config.server, clock=SystemClock(), log=telemetry.logger())
    task = asyncio.create_task(server.run(), name="server")
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _keep_starting(systemd: Systemd) -> None:
    """Ask the service manager for more time: after an unclean stop a large store is checked for long."""
    while True:
        systemd.starting(2 * STARTING_SECONDS)
        await asyncio.sleep(STARTING_SECONDS)


@asynccontextmanager
async def opened_store(config: Config, *, role: Role = Role.DAEMON) -> AsyncIterator[SqliteStore]:
    """Open the store, and close it last."""
    store = await _open(config, role)
    try:
        yield store
    finally:
        await store.close()


async def _open(config: Config, role: Role = Role.DAEMON) -> SqliteStore:
    return await asyncio.to_thread(open_store, config.store.path, clock=SystemClock(), role=role)


async def _stand_by(
    config: Config, stop: asyncio.Event, *, for_holder: bool, told: Callable[[str], None]
) -> SqliteStore | None:
    """Open the store as soon as it can be had: waiting mends a full disk, and a holder if it is waited for.

    `told` hears what is waited for.
    """
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
                told(said)
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
    systemd: Systemd | None = None,
    server: Server | None = None,
) -> AsyncIterator[Daemon]:
    """Build all parts of a configuration upon an open store; close their connections at the end.

    `run`, `poll` and `demo` are this one.
    """
    clock, log = clock or SystemClock(), telemetry.logger()
    async with opened_clouds(clock, log) as clouds:
        workshop = Workshop()
        parts = _Parts(clouds=clouds, store=store, workshop=workshop, clock=clock, log=log)
        daemon = Daemon(
            config,
            parts=parts,
            store=store,
            clock=clock,
            log=log,
            systemd=systemd or Systemd(),
            server=server,
        )
        try:
            yield daemon
        finally:
            for lane in daemon.lanes:
                await lane.close()
            await workshop.close()


@asynccontextmanager
async def pollers(
    config: Config, *, ledger: Ledger, told: Callable[[Sequence[Event]], None], clock: Clock, log: Logger
) -> AsyncIterator[tuple[list[Watch], Mapping[str, CloudError]]]:
    """Build what polls, for any ledger: `poll --dry-run` has one that writes nothing.

    With it comes, by name, why a project cannot be polled: it is configured by its name in the cloud, and unknown.
    """
    async with opened_clouds(clock, log) as clouds:
        naming = Naming(ask=clouds.project_id, log=log)
        await naming.learn(config)
        known = naming.known(config)
        watches = [
            Watch(
                poller=_poller(
                    project,
                    known,
                    source=clouds.source(project, known),
                    ledger=ledger,
                    told=told,
                    clock=clock,
                ),
                credential=project.credential,
                clock=clock,
                log=log,
            )
            for project in known.projects
        ]
        yield watches, naming.troubles


def open_notifier(
    options: ReceiverOptions, *, clock: Clock, log: Logger, alerts: AlertBook | None = None
) -> Notifier:
    """Open what talks to a receiver; one that keeps alerts looks them up. Without a book it is only tried."""
    if options.type not in NOTIFIERS:
        return open_plugin(options, clock=clock, log=log)
    return NOTIFIERS[options.type].open(options, clock=clock, log=log, alerts=alerts or NoAlerts())


def require_secret(config: Config) -> None:
    """Raise ConfigError where everybody on this machine can read a secret file: it is not used."""
    if exposed := config.inspect().exposed:
        raise ConfigError(list(exposed))


class _Parts:
    """The daemon's parts, made for it at its start and at each reload."""

    def __init__(
        self, *, clouds: Clouds, store: SqliteStore, workshop: Workshop, clock: Clock, log: Logger
    ) -> None:
        self._clouds = clouds
        self._store = store
        self._workshop = workshop
        self._clock = clock
        self._log = log

    def read(self, config: Config) -> Config:
        fresh = load(config.path, kinds())
        require_secret(fresh)
        return fresh

    def warnings(self, config: Config) -> Sequence[str]:
        # A secret that is missing now may be there in a minute: `check` refuses it, the daemon says so and watches on.
        return (*config.warnings, *config.inspect().unreadable, *shadowed(config.receivers))

    async def project_id(self, named: NamedProject, config: Config) -> str:
        return await self._clouds.project_id(named, config)

    def source(self, project: WatchedProject, config: Config) -> TaskSource:
        return self._clouds.source(project, config)

    async def settle(self, config: Config) -> None:
        await self._clouds.settle(config)

    def watch(self, project: WatchedProject, config: Config, *, daemon: Daemon) -> Watch:
        poller = _poller(
            project,
            config,
            source=self.source(project, config),
            ledger=self._store,
            told=lambda _: daemon.wake(),
            clock=self._clock,
            tally=daemon.tally,
        )
        return Watch(
            poller=poller,
            credential=project.credential,
            clock=self._clock,
            log=self._log,
            edge=daemon.edge,
            tally=daemon.tally,
        )

    def budget(self, project: WatchedProject, config: Config) -> Budget:
        return self._clouds.budget(project, config)

    def logins(self, config: Config) -> Mapping[str, LoginState]:
        return self._clouds.logins(config)

    def notifier(self, options: ReceiverOptions) -> Notifier:
        return open_notifier(options, clock=self._clock, log=self._log, alerts=self._store)

    def supply(self, options: ReceiverOptions, *, daemon: Daemon) -> Supply:
        return supply(
            options,
            store=self._store,
            routing=lambda: daemon.config.routing,
            renderer=self._workshop,
            clock=self._clock,
            log=self._log,
        )

    async def sample(self, options: ReceiverOptions) -> Message:
        return await sample(options, renderer=self._workshop, at=self._clock.now(), log=self._log)

    async def ping(self, heartbeat: Heartbeat) -> None:
        await ping(heartbeat, clock=self._clock, log=self._log)

    def lane(self, options: ReceiverOptions, notifier: Notifier, *, daemon: Daemon) -> Lane:
        found = self.supply(options, daemon=daemon)
        return Lane(
            receiver=options.name,
            notifier=notifier,
            outbox=found.outbox,
            gatherer=found.gatherer,
            rules=lane_rules(options),
            clock=self._clock,
            rng=random.Random(),  # noqa: S311  (jitter, not a secret)
            log=self._log,
            tally=daemon.tally,
        )


def _poller(
    project: WatchedProject,
    config: Config,
    *,
    source: TaskSource,
    ledger: Ledger,
    told: Callable[[Sequence[Event]], None],
    clock: Clock,
    tally: Tally | None = None,
) -> Poller:
    return Poller(
        project=project.project,
        rules=poll_rules(project),
        source=source,
        ledger=ledger,
        routing=config.routing,
        clock=clock,
        told=told,
        tally=tally,
    )
