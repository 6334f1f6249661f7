"""The composition root: the only place that constructs the parts and puts them together."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, assert_never

from taskwatch import telemetry
from taskwatch.clock import Clock, SystemClock
from taskwatch.cloud.auth.login import Login, NoLogin
from taskwatch.cloud.auth.token import TokenLogin
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.client import TasksClient
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Session, Transport, open_session
from taskwatch.config.configuration import Config, Credential, WatchedProject
from taskwatch.config.inspection import inspect_secrets
from taskwatch.config.load import load
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.schema import NoCredential, TokenCredential
from taskwatch.engine.lane import Lane
from taskwatch.engine.poller import Poller
from taskwatch.engine.ports import Ledger, Notifier, TaskSource
from taskwatch.engine.watch import Watch
from taskwatch.errors import ConfigError, StoreFailedError, StoreHeldError
from taskwatch.model.event import Event
from taskwatch.notifiers.registry import NOTIFIERS
from taskwatch.runtime.daemon import Daemon
from taskwatch.runtime.lifecycle import reloaded_by_signal, stopped_by_signals
from taskwatch.runtime.rules import lane_rules, poll_rules
from taskwatch.runtime.systemd import Systemd
from taskwatch.store.lock import Role
from taskwatch.store.sqlite import SqliteStore, open_store
from taskwatch.telemetry import Logger

STAND_BY_SECONDS: Final = 1.0
STARTING_SECONDS: Final = 60.0


def kinds() -> dict[str, type[ReceiverOptions]]:
    """Return the kinds of receivers there are, by the name that `type:` gives them."""
    return {kind: notifier.options for kind, notifier in NOTIFIERS.items()}


async def watch(config: Config, *, wait: bool = False) -> None:
    """Be the daemon: open the store, build, run until SIGTERM or SIGINT; reload on SIGHUP."""
    stop, hang_up = asyncio.Event(), asyncio.Event()
    systemd = Systemd.from_environment(os.environ)
    with stopped_by_signals(stop), reloaded_by_signal(hang_up):
        starting = asyncio.create_task(_keep_starting(systemd))
        try:
            store = await _stand_by(config, stop, for_holder=wait)
        finally:
            starting.cancel()
        if store is None:
            return
        try:
            async with build(config, store=store, systemd=systemd) as daemon:
                await daemon.run(stop, hang_up=hang_up)
        finally:
            await store.close()


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
    config: Config, *, store: SqliteStore, clock: Clock | None = None, systemd: Systemd | None = None
) -> AsyncIterator[Daemon]:
    """Build all parts of a configuration upon an open store; close their connections at the end.

    `run`, `poll` and `demo` are this one.
    """
    clock, log = clock or SystemClock(), telemetry.logger()
    async with _opened_sources(clock) as sources:
        parts = _Parts(sources=sources, store=store, clock=clock, log=log)
        daemon = Daemon(config, parts=parts, store=store, clock=clock, log=log, systemd=systemd or Systemd())
        try:
            yield daemon
        finally:
            for lane in daemon.lanes:
                await lane.close()


@asynccontextmanager
async def pollers(
    config: Config, *, ledger: Ledger, told: Callable[[Sequence[Event]], None], clock: Clock, log: Logger
) -> AsyncIterator[list[Watch]]:
    """Build what polls, for any ledger: `poll --dry-run` has one that writes nothing."""
    async with _opened_sources(clock) as sources:
        yield [
            Watch(
                poller=_poller(
                    project, config, source=sources.of(project, config), ledger=ledger, told=told, clock=clock
                ),
                clock=clock,
                log=log,
            )
            for project in config.projects
        ]


def open_notifier(options: ReceiverOptions, *, clock: Clock, log: Logger) -> Notifier:
    """Open what talks to a receiver."""
    return NOTIFIERS[options.type].open(options, clock=clock, log=log)


def require_secret(config: Config) -> None:
    """Raise ConfigError where everybody on this machine can read a secret file: it is not used."""
    if exposed := inspect_secrets(config.secrets).exposed:
        raise ConfigError(list(exposed))


class _Parts:
    """The daemon's parts, made for it at its start and at each reload."""

    def __init__(self, *, sources: "_Sources", store: SqliteStore, clock: Clock, log: Logger) -> None:
        self._sources = sources
        self._store = store
        self._clock = clock
        self._log = log

    def read(self, config: Config) -> Config:
        fresh = load(config.path, kinds())
        require_secret(fresh)
        return fresh

    def warnings(self, config: Config) -> Sequence[str]:
        # A secret that is missing now may be there in a minute: `check` refuses it, the daemon says so and watches on.
        return (*config.warnings, *inspect_secrets(config.secrets).unreadable)

    def source(self, project: WatchedProject, config: Config) -> TaskSource:
        return self._sources.of(project, config)

    def watch(self, project: WatchedProject, config: Config, *, daemon: Daemon) -> Watch:
        poller = _poller(
            project,
            config,
            source=self.source(project, config),
            ledger=self._store,
            told=lambda _: daemon.wake(),
            clock=self._clock,
        )
        return Watch(poller=poller, clock=self._clock, log=self._log, edge=daemon.edge)

    def notifier(self, options: ReceiverOptions) -> Notifier:
        return open_notifier(options, clock=self._clock, log=self._log)

    def lane(self, options: ReceiverOptions, notifier: Notifier) -> Lane:
        return Lane(
            receiver=options.name,
            notifier=notifier,
            outbox=self._store,
            rules=lane_rules(options),
            clock=self._clock,
            rng=random.Random(),  # noqa: S311  (jitter, not a secret)
            log=self._log,
        )


class _Sources:
    """Makes what reads the projects, and keeps what outlives a reload: connections, logins, rates."""

    def __init__(self, *, session: Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._logins: dict[str, tuple[Credential, Login]] = {}
        self._limiters: dict[tuple[str, str], Limiter] = {}  # a rate belongs to a credential at an endpoint

    def of(self, project: WatchedProject, config: Config) -> TaskSource:
        credential = config.credentials[project.credential]
        endpoint = str(project.endpoint)
        return TasksClient(
            caller=Caller(
                transport=Transport(session=self._session),
                endpoint=endpoint,
                login=self._login(project.credential, credential),
                limiter=self._limiter(project, credential.rate),
            ),
            endpoint=endpoint,
            project_id=project.project.identity.project_id,
            timeout=project.timeout,
        )

    def _login(self, name: str, credential: Credential) -> Login:
        if name not in self._logins or self._logins[name][0] != credential:
            self._logins[name] = (credential, _login(credential))
        return self._logins[name][1]

    def _limiter(self, project: WatchedProject, rate: float) -> Limiter:
        place = (project.credential, project.project.identity.host)
        if place not in self._limiters:
            self._limiters[place] = Limiter(rate, self._clock)
        self._limiters[place].change(rate)
        return self._limiters[place]


@asynccontextmanager
async def _opened_sources(clock: Clock) -> AsyncIterator[_Sources]:
    session = open_session()
    try:
        yield _Sources(session=session, clock=clock)
    finally:
        await session.close()


def _poller(
    project: WatchedProject,
    config: Config,
    *,
    source: TaskSource,
    ledger: Ledger,
    told: Callable[[Sequence[Event]], None],
    clock: Clock,
) -> Poller:
    return Poller(
        project=project.project,
        rules=poll_rules(project),
        source=source,
        ledger=ledger,
        routes=config.route,
        clock=clock,
        told=told,
    )


def _login(credential: Credential) -> Login:
    match credential:
        case TokenCredential():
            return TokenLogin(credential.token)
        case NoCredential():
            return NoLogin()
        case _:
            assert_never(credential)
