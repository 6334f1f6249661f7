"""The daemon: it polls, delivers, keeps house, attends to operators, and reloads.

A reload builds everything that can fail beside what runs; then comes one switch. Pollers and lanes
that go on being configured go on living: what they know of their project or queue stays known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from taskwatch import __version__, telemetry
from taskwatch.clock import Clock
from taskwatch.config.configuration import Config, NamedProject, WatchedProject
from taskwatch.config.difference import differences, renamed_receivers
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.serving import Heartbeat as HeartbeatSection
from taskwatch.config.serving import Server as ServerSection
from taskwatch.engine.budget import Budget
from taskwatch.engine.holding import Holding
from taskwatch.engine.lane import Lane, Supply
from taskwatch.engine.ports import Notifier, TaskSource
from taskwatch.engine.tally import LoginState, Tally
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudError, ConfigError, StoreFailedError, StoreLostError, TaskwatchError
from taskwatch.model.delivery import Message
from taskwatch.model.project import Identity
from taskwatch.report.words import moment
from taskwatch.runtime.attendant import Attendant
from taskwatch.runtime.health import Health
from taskwatch.runtime.heartbeat import Heartbeat
from taskwatch.runtime.housekeeping import Housekeeper
from taskwatch.runtime.lanes import Lanes
from taskwatch.runtime.lifecycle import serve
from taskwatch.runtime.naming import AGAIN_SECONDS, Naming
from taskwatch.runtime.requests import Requests
from taskwatch.runtime.rules import lane_rules, poll_rules
from taskwatch.runtime.scheduler import Scheduler
from taskwatch.runtime.systemd import Systemd, feed
from taskwatch.server.server import Server
from taskwatch.server.view import Vitals
from taskwatch.store.sqlite import SqliteStore
from taskwatch.telemetry import Logger

HAND_OVER_SECONDS: Final = 1.0  # from try to try
READING_SECONDS: Final = 60.0  # for the configuration: its files may lie on a disk that hangs
DAY_SECONDS: Final = 86_400.0
NOWHERE: Final = ServerSection.model_validate({"listen": None})
HANGING_SECONDS: Final = 60.0  # without progress, for what looks about itself each second


class Parts(Protocol):
    """Makes the parts of a daemon, at its start and at each reload."""

    def read(self, config: Config) -> Config:
        """Read the file of this configuration again. Raises ConfigError; blocks."""
        ...

    def warnings(self, config: Config) -> Sequence[str]:
        """Say what works in it and should be otherwise. Blocks as long as reading small files does."""
        ...

    async def project_id(self, named: NamedProject, config: Config) -> str:
        """Ask the cloud for the id of a project. Raises CloudError."""
        ...

    def source(self, project: WatchedProject, config: Config) -> TaskSource: ...

    def budget(self, project: WatchedProject, config: Config) -> Budget: ...

    def watch(self, project: WatchedProject, config: Config, *, daemon: "Daemon") -> Watch: ...

    def logins(self, config: Config) -> Mapping[str, LoginState]:
        """Return how each credential stands that is in use."""
        ...

    async def settle(self, config: Config) -> None:
        """Let go of what this configuration has no use for."""
        ...

    def notifier(self, options: ReceiverOptions) -> Notifier: ...

    async def sample(self, options: ReceiverOptions) -> Message:
        """Return the message by which the receiver is tried. Raises TemplateFailedError."""
        ...

    def lane(self, options: ReceiverOptions, notifier: Notifier, *, daemon: "Daemon") -> Lane: ...

    def supply(self, options: ReceiverOptions, *, daemon: "Daemon") -> Supply:
        """Return where the lane of a receiver finds what it delivers."""
        ...

    async def ping(self, heartbeat: HeartbeatSection) -> None:
        """Tell the other end of the heartbeat that all is well. Raises DeliveryError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """That a configuration was not taken."""

    since: datetime  # the first time, since one was taken
    problem: str  # the first of those that the last one had

    def line(self, remains: str) -> str:
        return f"the configuration of {remains} goes on; since {moment(self.since)} what is written is refused: {self.problem}"


class Daemon:
    """The parts of one configuration, built; `run` lets them run, `reload` gives them another one."""

    def __init__(
        self,
        config: Config,
        *,
        parts: Parts,
        store: SqliteStore,
        clock: Clock,
        log: Logger,
        systemd: Systemd,
        server: Server | None = None,
    ) -> None:
        self.config = config
        self.store = store
        self.tally = Tally()
        self._parts = parts
        self._clock = clock
        self._log = log
        self._systemd = systemd
        self._server = server or Server(NOWHERE, clock=clock, log=log)
        self._scheduler = Scheduler(clock)
        self._running = Lanes()
        self._naming = Naming(ask=parts.project_id, log=log)
        self._reloading = asyncio.Lock()
        self._is_stopping = False
        self._began = clock.monotonic()
        self._reloaded_at = clock.now()
        self._refusal: _Refusal | None = None  # of the last reload
        self._warned: set[str] = set()
        self._watches: dict[Identity, Watch] = {}
        self._lanes: dict[str, Lane] = {}
        self.housekeeper = Housekeeper(
            store=store,
            clock=clock,
            log=log,
            watches=self._watches.values,
            receivers=self._lanes.keys,
            retention=config.store.retention,
        )
        self._health = Health(
            store=store,
            clock=clock,
            log=log,
            watches=self._watches.values,
            lanes=self._lanes.values,
            config=lambda: self.config,
            told=self.wake,
            tally=self.tally,
        )
        self._holding = Holding(
            pen=store, mutes=lambda: self.config.mutes, clock=clock, log=log, queued=self.wake
        )
        self.heartbeat = Heartbeat(
            ping=parts.ping, section=lambda: self.config.heartbeat, fault=self._fault, clock=clock, log=log
        )
        self._attendant = Attendant(
            store=store,
            clock=clock,
            log=log,
            doers=Requests(self, notifier=parts.notifier, sample=parts.sample, clock=clock).doers,
            changed=self._noticed,
        )
        for options in config.receivers:
            self._lanes[options.name] = parts.lane(options, parts.notifier(options), daemon=self)
        for watched in config.projects:
            self._begin_watch(watched, config)

    @property
    def watches(self) -> Sequence[Watch]:
        return tuple(self._watches.values())

    @property
    def lanes(self) -> Sequence[Lane]:
        return tuple(self._lanes.values())

    def wake(self) -> None:
        """Say that there may be something to deliver."""
        for lane in self._lanes.values():
            lane.wake()
        self._server.wake()

    def _noticed(self) -> None:
        """Take that somebody else has written to the store: deliveries, or silences."""
        self.wake()
        self._scheduler.hasten("held")

    def trust(self, receiver: str) -> None:
        """Say that this receiver works."""
        if (lane := self._lanes.get(receiver)) is not None:  # unless a reload took it away meanwhile
            lane.trust()

    def edge(self) -> None:
        """Say that the trouble of a project began or ended."""
        self._scheduler.hasten("freshness")
        self._scheduler.hasten("health")

    async def run(self, stop: asyncio.Event, *, hang_up: asyncio.Event | None = None) -> None:
        """Poll and deliver until `stop` is set; reload whenever `hang_up` is.

        Raises StoreLostError when the disk can no longer be believed.
        """
        for identity, watch in self._watches.items():
            self._scheduler.add(identity, watch.tick)
        self._scheduler.add("names", self._learn_names)
        self._scheduler.add("freshness", self._stay_fresh)
        self._scheduler.add("health", self._health.look)
        self._scheduler.add("held", self._holding.look)
        self._scheduler.add("prune", self.housekeeper.prune)
        self._scheduler.add("heartbeat", self.heartbeat.beat)
        await self._warn(self.config)
        await self.housekeeper.name_removed()
        await self._regroup([one.name for one in self.config.receivers if not one.writes_to_people])
        for lane in self._lanes.values():
            self._running.begin(lane)
        self._log.info(
            "watching",
            version=__version__,
            projects=len(self._watches) + len(self.config.named),
            receivers=len(self._lanes),
        )
        self._systemd.ready(self._status())
        self._server.show(self)
        try:
            await serve(
                scheduler=self._scheduler,
                lanes=self._running,
                doing={
                    "attendant": self._attendant.run(),
                    "reload": self._reload_on(hang_up or asyncio.Event()),
                },
                watching={
                    "watchdog": feed(self._systemd, self.hanging, log=self._log),
                    "lost": self._lost(),
                },
                stop=stop,
                stopping=self._stopping,
            )
        finally:
            await self._server.hide()
        await self.housekeeper.keep_freshness()
        self._log.info("stopped")

    async def reload(self) -> tuple[str, ...]:
        """Read the configuration again and switch to it; return what changed, a line each.

        Raises ConfigError and leaves everything as it is if the file is wrong.
        """
        async with self._reloading:
            self._systemd.reloading()
            try:
                config, opened = await self._prepared()
                old, changes = self.config, differences(self.config, config)
                await self._switch(config, opened)
                self._scheduler.hasten("names")
                self._scheduler.hasten("heartbeat")
                if config.server != old.server and (unserved := await self._server.adopted()) is not None:
                    changes = (*changes, unserved)
            except Exception as error:
                since = self._clock.now() if self._refusal is None else self._refusal.since
                self._refusal = _Refusal(since=since, problem=_problems(error)[0])
                raise
            finally:
                if not self._is_stopping:
                    self._systemd.ready(self._status())
            self._refusal, self._reloaded_at = None, self._clock.now()
            self._log.info("configuration_reloaded", changes=list(changes) or "none")
            await self._warn(config)
            return changes

    async def learn_names(self) -> Mapping[str, CloudError]:
        """Ask once for the ids of projects that are configured by name; return why some are still unknown."""
        if self.config.named and await self._naming.learn(self.config):
            async with self._reloading:
                old, self.config = self.config, self._naming.known(self.config)
                self._switch_projects(old, self.config)
        return self._naming.troubles

    async def _learn_names(self) -> float:
        try:
            await self.learn_names()
        except Exception as error:  # noqa: BLE001  (a mistake of ours in a name must not end the watch)
            self._log.error("names_not_learnt", exc_info=error)
        return AGAIN_SECONDS if self.config.named else DAY_SECONDS  # a reload hastens it

    async def _warn(self, config: Config) -> None:
        """Say what should be otherwise, and was not said of the configuration before."""
        warnings = set(await asyncio.to_thread(self._parts.warnings, config))
        for warning in sorted(warnings - self._warned):
            self._log.warning("configuration_warning", warning=warning)
        self._warned = warnings

    async def _prepared(self) -> tuple[Config, dict[str, Notifier]]:
        """Do all that can fail: read the file, open the receivers that are new or changed."""
        opened: dict[str, Notifier] = {}
        known = {options.name: options for options in self.config.receivers}
        try:
            config = self._naming.known(await self._read())
            for options in config.receivers:
                if known.get(options.name) != options:
                    opened[options.name] = self._parts.notifier(options)
        except Exception as error:
            for notifier in opened.values():
                await notifier.close()
            self._log.error("reload_refused", problems=_problems(error), remains="the old configuration")
            raise
        return config, opened

    async def _read(self) -> Config:
        try:
            async with asyncio.timeout(READING_SECONDS):
                return await asyncio.to_thread(self._parts.read, self.config)
        except TimeoutError as error:
            raise ConfigError(
                [f"{self.config.path}: could not be read within {READING_SECONDS:g} s; see to its disk"]
            ) from error

    async def _switch(self, config: Config, opened: Mapping[str, Notifier]) -> None:
        """Be configured like this from now on.

        First the pollers, all at once: what is recorded from then on is routed anew. Then lanes of which
        the receiver went or got another name begin nothing new; and what was recorded for a renamed
        receiver follows it, before a lane of the new name begins.
        """
        old, self.config = self.config, config
        self._server.adopt(config.server)
        self.housekeeper.retention = config.store.retention
        telemetry.set_level(config.log.level)
        self._switch_projects(old, config)
        renamed = renamed_receivers(old, config)
        leaving = self._retire_lanes(old, config)
        if renamed:
            await self._hand_over(renamed)
            self._health.forget()
        former = {name: leaving[old_name] for old_name, name in renamed.items()}
        for name in leaving.keys() & {one.name for one in config.receivers if not one.writes_to_people}:
            former[name] = asyncio.create_task(self._regroup([name], after=leaving[name]))
        for options in config.receivers:
            self._switch_receiver(options, opened, after=former.get(options.name))
        await self._parts.settle(config)
        await self.housekeeper.name_removed()

    def _switch_projects(self, old: Config, config: Config) -> None:
        before = {watched.project.identity: watched for watched in old.projects}
        for watched in config.projects:
            identity = watched.project.identity
            if identity not in before:
                self._scheduler.add(identity, self._begin_watch(watched, config).tick)
                continue
            self._watches[identity].share(self._parts.budget(watched, config))
            self._watches[identity].credential = watched.credential
            self._watches[identity].poller.adopt(
                project=watched.project,
                rules=poll_rules(watched),
                source=self._parts.source(watched, config),
                routing=config.routing,
            )
            login = watched.credential
            if watched != before[identity] or config.credentials[login] != old.credentials.get(login):
                self._scheduler.hasten(identity)
        for identity in before.keys() - {watched.project.identity for watched in config.projects}:
            self._scheduler.remove(identity)
            watch = self._watches.pop(identity)
            watch.share(None)
            # A poll under way may still end: what it records goes where everything goes from now on.
            watch.poller.reroute(config.routing)

    def _begin_watch(self, watched: WatchedProject, config: Config) -> Watch:
        watch = self._parts.watch(watched, config, daemon=self)
        watch.share(self._parts.budget(watched, config))
        self._watches[watched.project.identity] = watch
        return watch

    def _retire_lanes(self, old: Config, config: Config) -> dict[str, asyncio.Task[None]]:
        """Let the lanes of receivers that have gone end, or that are told otherwise now; return what is left of them."""
        now, before = (
            {options.name: options.writes_to_people for options in one.receivers} for one in (config, old)
        )
        gone = {name for name in self._lanes if now.get(name) != before.get(name)}
        return {name: self._running.retire(self._lanes.pop(name)) for name in gone}

    def _switch_receiver(
        self, options: ReceiverOptions, opened: Mapping[str, Notifier], *, after: asyncio.Task[None] | None
    ) -> None:
        lane = self._lanes.get(options.name)
        if lane is None:
            lane = self._lanes[options.name] = self._parts.lane(options, opened[options.name], daemon=self)
            self._running.begin(lane, after=after)
        elif options.name in opened:
            lane.adopt(
                notifier=opened[options.name],
                rules=lane_rules(options),
                supply=self._parts.supply(options, daemon=self),
            )
        elif lane.is_paused:
            lane.trust()

    async def _hand_over(self, renamed: Mapping[str, str]) -> None:
        await self._persist(lambda: self.store.hand_over(renamed))

    async def _regroup(self, names: Sequence[str], *, after: asyncio.Task[None] | None = None) -> None:
        """Let receivers that write to no people be told event by event what waits in messages.

        `after` what may still be sending one of them, and before a lane looks for events.
        """
        if after is not None:
            await asyncio.wait({after})
        await self._persist(lambda: self.store.post.dissolve(names))

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this to the queues, however long the store refuses it."""
        log = self._log.warning
        while True:
            try:
                return await work()
            except StoreFailedError as error:
                log("queue_not_handed_over", error=str(error), remedy="it is tried again")
                log = self._log.debug
                await asyncio.sleep(HAND_OVER_SECONDS)

    async def _reload_on(self, hang_up: asyncio.Event) -> None:
        while True:
            await hang_up.wait()
            hang_up.clear()
            try:
                await self.reload()
            except TaskwatchError:
                continue  # the log says why; a lost store ends the daemon by itself
            except Exception as error:  # noqa: BLE001  (a mistake of ours in a reload must not end the watch)
                self._log.error("reload_broken", exc_info=error)

    async def _stay_fresh(self) -> float:
        self._systemd.status(self._status())
        return await self.housekeeper.stay_fresh()

    def _status(self) -> str:
        """Return the one line that `systemctl status` shows."""
        troubled = [watch.poller.project.name for watch in self.watches if watch.condition.trouble]
        troubled += sorted(self._naming.troubles)
        trouble = f"; cannot be read: {', '.join(troubled)}" if troubled else ""
        projects, receivers = _counted(len(self._watches), "project"), _counted(len(self._lanes), "receiver")
        refused = "; the last reload was refused" if self._refusal is not None else ""
        return f"watching {projects} for {receivers}{trouble}{refused}"

    def _stopping(self) -> None:
        self._is_stopping = True
        self._log.info("stopping")
        self._systemd.stopping()

    def hanging(self) -> str | None:
        """Name what makes no progress, for the watchdog: the scheduler, the store, or a lane."""
        now = self._clock.monotonic()
        if now - self._scheduler.looked_at > HANGING_SECONDS:
            return "scheduler"
        if now - self._attendant.passed_at > HANGING_SECONDS:
            return "store"
        return self._running.hanging(now)

    def unwritable(self) -> str | None:
        """Say why nothing new can be recorded, as far as is known."""
        return self.store.unwritable

    @property
    def path(self) -> Path:
        """Where the store lies."""
        return self.store.path

    @property
    def vitals(self) -> Vitals:
        """How the daemon itself is, in numbers."""
        now = self._clock.monotonic()
        sent_at = self.heartbeat.sent_at
        return Vitals(
            tally=self.tally,
            logins=self._parts.logins(self.config),
            commits=self.store.commits,
            loop_lag_seconds=self._scheduler.lag_seconds,
            running_seconds=now - self._began,
            reloaded_at=self._reloaded_at,
            is_reload_refused=self._refusal is not None,
            heartbeat_age_seconds=None
            if self.config.heartbeat is None
            else now - (self._began if sent_at is None else sent_at),
        )

    @property
    def unheeded(self) -> Sequence[str]:
        """Say in a printable line each what the configuration says, as it is written now, and is not in force."""
        said = [] if self._refusal is None else [self._refusal.line(moment(self._reloaded_at))]
        return [*said, *([] if self._server.misplaced is None else [self._server.misplaced])]

    @property
    def unnamed(self) -> Mapping[str, CloudError]:
        """Why projects that are configured by their name have no id yet."""
        return self._naming.troubles

    def _fault(self) -> str | None:
        """Say why somebody should look after this daemon, though it may think that it works."""
        if (hangs := self.hanging()) is not None:
            return f"{hangs} makes no progress"
        if (why := self.unwritable()) is not None:
            return f"nothing can be recorded: {why}"
        if all(lane.ailment is not None for lane in self.lanes):
            return "no receiver takes anything"
        return None

    async def _lost(self) -> None:
        await self.store.lost.wait()
        raise StoreLostError(
            f"what the store holds can no longer be known ({self.store.loss}); the next start reads it anew"
        )


def _problems(error: Exception) -> list[str]:
    """Say why a reload is refused, in printable lines."""
    # Of a mistake of ours only the name: its text may hold a secret.
    said = str(error).splitlines() if isinstance(error, TaskwatchError) else []
    return said or [type(error).__name__]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
