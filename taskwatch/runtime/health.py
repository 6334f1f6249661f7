"""Tells that projects cannot be read and that receivers take nothing, and when that is over.

What was told outlives the process: after a restart nothing is told again, and what works by then is told
to be over.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from taskwatch.clock import Clock
from taskwatch.config.configuration import Config
from taskwatch.core.absence import REACH
from taskwatch.core.health import Begins, Ends, Open, judge
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.core.route import TOLD_BEFORE, Hop
from taskwatch.engine.lane import Lane
from taskwatch.engine.ports import OutageRecord, Routed, StaleStateError, Subject
from taskwatch.engine.tally import Tally
from taskwatch.engine.watch import Watch
from taskwatch.errors import StoreFailedError
from taskwatch.model.event import Event, EventType, Severity
from taskwatch.model.outage import Ailment, Kind, Outage, Place, thing_of
from taskwatch.store.sqlite import SqliteStore
from taskwatch.telemetry import Logger

LOOK_SECONDS: Final = 5.0
NO_OTHER: Final = "no route names another"


class Health:
    """Looks at all projects and receivers, and records what is to be told of them."""

    def __init__(
        self,
        *,
        store: SqliteStore,
        clock: Clock,
        log: Logger,
        watches: Callable[[], Collection[Watch]],
        lanes: Callable[[], Collection[Lane]],
        config: Callable[[], Config],
        told: Callable[[], None],
        tally: Tally | None = None,
    ) -> None:
        """Ask each time for what changes with a reload; call `told` when there is something to deliver.

        Events are counted in `tally`.
        """
        self._store = store
        self._clock = clock
        self._log = log
        self._watches = watches
        self._lanes = lanes
        self._config = config
        self._told = told
        self._tally = tally or Tally()
        self._open: list[Open] | None = None  # None: the store is to be asked
        self._is_failing = False
        self._returned: set[str] = set()  # projects of which it is settled for how long nobody had read them

    def forget(self) -> None:
        """Ask the store at the next look what is out: somebody has changed it."""
        self._open = None

    async def look(self) -> float:
        """Tell what is to be told now; return the seconds to the next look."""
        try:
            await self._look()
        except (StoreFailedError, StaleStateError) as error:
            log = self._log.debug if self._is_failing else self._log.warning
            log("outage_not_recorded", error=str(error))
            self._is_failing = True
            self._open = None
        else:
            self._is_failing = False
        return LOOK_SECONDS

    async def _look(self) -> None:
        now = self._clock.monotonic()
        if self._open is None:
            self._open = [Open(outage=outage, known_since=now) for outage in await self._store.outages()]
        watches = {str(watch.poller.project.identity): watch for watch in self._watches()}
        lanes = {lane.receiver: lane for lane in self._lanes()}
        parts: dict[str, Watch | Lane] = {**watches, **{thing_of(name): lane for name, lane in lanes.items()}}
        steps = judge(
            self._open,
            watched=parts.keys(),
            ailing={thing: found for thing, part in parts.items() if (found := part.ailment) is not None},
            well={thing: since for thing, part in parts.items() if (since := part.works_since) is not None},
            now=now,
        )
        for step in steps:
            match step:
                case Begins():
                    await self._begin(step, watches, lanes)
                case Ends():
                    await self._end(step, watches)
        await self._tell_long_absence(watches)

    async def _begin(self, step: Begins, watches: dict[str, Watch], lanes: dict[str, Lane]) -> None:
        parts: Sequence[Watch | Lane]
        if step.place.kind is Kind.RECEIVER:
            type_, parts = EventType.RECEIVER_DOWN, [lanes[step.place.name]]
        else:
            type_, parts = EventType.PROJECT_DEGRADED, [watches[thing] for thing in step.things]
        ailments = [found for part in parts if (found := part.ailment) is not None]
        if not ailments:
            return  # it has passed while others were told
        worst = min(ailments, key=_weight)
        outage = step.outage or Outage(
            id=None,
            place=step.place,
            things=frozenset(),
            cause=worst.cause,
            severity=step.severity,
            since=min(ailment.since for ailment in ailments),
        )
        word = Word(
            type=type_,
            place=step.place,
            projects=[part.poller.project for part in parts if isinstance(part, Watch)],
            severity=step.severity,
            cause=worst.cause,
            error=worst.error,
            since=min(ailment.since for ailment in ailments),
        )
        subject = _subject(step.place, parts)
        if subject is None:
            return  # the store has yet to learn of the project
        event = await self._event(word, subject)
        hops = await self._routed(event, besides=step.place)
        told = replace(
            outage,
            things=outage.things | set(step.things),
            severity=step.severity,
            events=(*outage.events, event.id),
            told=outage.told | {hop.receiver for hop in hops},
        )
        await self._record(told, subject, Routed(event=event, job_id=None, hops=hops), is_over=False)
        self._say(word)

    async def _end(self, step: Ends, watches: dict[str, Watch]) -> None:
        outage = step.outage
        left = replace(outage, things=outage.things - set(step.things))
        parts = [watches[thing] for thing in step.things if thing in watches]
        is_receiver = outage.place.kind is Kind.RECEIVER
        subject = _subject(outage.place, parts) or Subject(place=outage.place, project=None)
        if not step.things:  # nothing of it is configured any more
            await self._record(left, subject, None, is_over=True)
            return
        gaps = [part.gap_seconds for part in parts if part.gap_seconds is not None]
        word = Word(
            type=EventType.RECEIVER_RECOVERED if is_receiver else EventType.PROJECT_RECOVERED,
            place=outage.place,
            projects=[part.poller.project for part in parts],
            severity=Severity.INFO,
            cause=outage.cause,
            error=None,
            since=outage.since,
            gap_seconds=max(gaps, default=None),
            resolves=outage.events,
        )
        event = await self._event(word, subject)
        configured = outage.told & {options.name for options in self._config().receivers}
        if configured:
            # Who was told of it in the end, the store knows: a silence may hold it, and a reload rename them, until then.
            hops = tuple(Hop(receiver=name, path=TOLD_BEFORE) for name in sorted(configured))
            told = Routed(event=event, job_id=None, hops=hops, follows=outage.events)
        else:
            hops = await self._routed(event, besides=outage.place)
            told = Routed(event=event, job_id=None, hops=hops)
        await self._record(left, subject, told, is_over=step.is_over)
        self._say(word)

    async def _tell_long_absence(self, watches: dict[str, Watch]) -> None:
        """Say of a project that nobody had read it for longer than its list reaches back (G8)."""
        told = frozenset[str]().union(*(current.outage.things for current in self._open or ()))
        for thing, watch in watches.items():
            if watch.works_since is None or thing in self._returned:
                continue
            if (watch.gap_seconds or 0.0) > REACH.total_seconds() and thing not in told:
                await self._tell_absence(thing, watch)
            self._returned.add(thing)

    async def _tell_absence(self, thing: str, watch: Watch) -> None:
        gap = watch.gap_seconds or 0.0
        word = Word(
            type=EventType.PROJECT_RECOVERED,
            place=Place(Kind.PROJECT, thing),
            projects=[watch.poller.project],
            severity=Severity.INFO,
            cause="downtime",
            error=None,
            since=self._clock.now() - timedelta(seconds=gap),
            gap_seconds=gap,
        )
        subject = _subject(word.place, [watch])
        if subject is None:
            raise StaleStateError(f"{watch.poller.project.name} was read and is not enrolled")
        event = await self._event(word, subject)
        hops = await self._routed(event, besides=word.place)
        await self._store.record_event(subject, Routed(event=event, job_id=None, hops=hops))
        self._tally.events[event.type] += 1
        self._told()
        self._say(word)

    async def _event(self, word: Word, subject: Subject) -> Event:
        sequence = await self._store.sequence(subject) + 1
        return outage_event(word, sequence=sequence, at=self._clock.now())

    async def _record(self, outage: Outage, subject: Subject, told: Routed | None, *, is_over: bool) -> None:
        number = await self._store.record_outage(
            OutageRecord(outage=outage, is_over=is_over, subject=subject, told=told)
        )
        before = self._open or []
        kept = [current for current in before if current.outage.id != outage.id]
        since = next(
            (current.known_since for current in before if current.outage.id == outage.id),
            self._clock.monotonic(),
        )
        if number is not None:
            kept.append(Open(outage=replace(outage, id=number), known_since=since))
        self._open = kept
        if told is not None:
            self._tally.events[told.event.type] += 1
            self._told()

    async def _routed(self, event: Event, *, besides: Place) -> tuple[Hop, ...]:
        """Route the event, never to the receiver it is about; if that leaves nobody, to those that log."""
        silences = await self._store.silences()
        config = self._config()
        itself = besides.name if besides.kind is Kind.RECEIVER else None
        hops = config.routing.hops(event, silences=silences, at=self._clock.now(), besides=itself)
        return hops or tuple(
            Hop(receiver=options.name, path=NO_OTHER)
            for options in config.receivers
            if options.type == "log" and options.name != itself
        )

    def _say(self, word: Word) -> None:
        names = [project.name for project in word.projects]
        fields = {"cause": word.cause, "since": word.since.isoformat(timespec="seconds")}
        match word.type:
            case EventType.PROJECT_DEGRADED if word.severity is Severity.CRITICAL:
                self._log.error("projects_degraded", projects=names, **fields, error=word.error)
            case EventType.PROJECT_DEGRADED:
                self._log.warning("projects_degraded", projects=names, **fields, error=word.error)
            case EventType.PROJECT_RECOVERED:
                self._log.info("projects_recovered", projects=names, **fields, gap_seconds=word.gap_seconds)
            case EventType.RECEIVER_DOWN:
                self._log.warning("receiver_down", receiver=word.place.name, **fields, error=word.error)
            case _:
                self._log.info("receiver_recovered", receiver=word.place.name, **fields)


def _weight(ailment: Ailment) -> tuple[bool, float]:
    """Order by what is to be told first: what lasts, then what began first."""
    return (not ailment.is_lasting, ailment.began)


def _subject(place: Place, parts: Iterable[Watch | Lane]) -> Subject | None:
    """Return what an event about these is about; None where the store does not know the project yet."""
    watches = [part for part in parts if isinstance(part, Watch)]
    if len(watches) != 1:
        return Subject(place=place, project=None)
    (watch,) = watches
    return None if watch.poller.key is None else Subject(place=place, project=watch.poller.key)
