"""One poll of one project: fetch, detect, commit, wake.

Invariants:
- What memory knows is replaced only after the commit. A poll that fails or is cancelled leaves the
  stored state and the memory as they were.
- Digests are kept only where they are exact; while a step backwards waits for confirmation, equal
  bytes are fresh evidence, so none are kept.
- A baseline is a complete reading of the whole list. An incremental poll tells what it shows, and that
  it is fresh; nothing is concluded from what it lacks.
- An unchanged poll writes nothing.
- A reload changes how a project is read and routed, never what is known of it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from taskwatch.clock import Clock
from taskwatch.core.absence import REACH, Absence, Census, take_census
from taskwatch.core.alerts import OpenAlerts
from taskwatch.core.cadence import Cadence
from taskwatch.core.detect import Baseline, BaselinePolicy, Change, detect, first_listing, lost
from taskwatch.core.route import Routing
from taskwatch.engine.incremental import Course
from taskwatch.engine.operate import resolution
from taskwatch.engine.ports import Ask, Ledger, PollRecord, ProjectState, StaleStateError, TaskSource
from taskwatch.engine.recording import Recording, Told, ends_told, reading_after
from taskwatch.engine.tally import Tally
from taskwatch.model.event import Event, Reading, Severity, Transition
from taskwatch.model.project import Listing, Project
from taskwatch.model.task import Known, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRules:
    """What the configuration says about a project beyond who it is."""

    cadence: Cadence
    full_poll: float  # seconds; at least this often the whole list is read
    baseline: BaselinePolicy
    failure_severities: tuple[tuple[str, Severity], ...]  # task name, first match
    include: tuple[str, ...]  # task names, as globs
    exclude: tuple[str, ...]

    def watches(self, task: Task) -> bool:
        """Tell whether the task is of interest: what is not is neither stored nor told."""
        included = any(fnmatchcase(task.name, glob) for glob in self.include)
        return included and not any(fnmatchcase(task.name, glob) for glob in self.exclude)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """What came of one poll."""

    listing: Listing
    events: tuple[Event, ...] = ()
    shrinks: bool = False  # so much of the list is missing that it is not believed
    gap_seconds: float | None = (
        None  # since the last complete reading, if this is one and there was one before
    )


@dataclass(slots=True)
class _Memory:
    """What this run knows of the project; always built upon the last commit."""

    state: ProjectState
    name: str  # under which the store knows the project
    recorded_at: float | None = (
        None  # the last complete reading on record when the store was asked: monotonic
    )
    read_at: tuple[datetime, float] | None = None  # the last complete reading of this run: wall, monotonic
    absences: Mapping[str, Absence] = field(default_factory=dict)
    shrinks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What a poll asked for and was shown, and when."""

    ask: Ask
    listing: Listing
    asked_at: datetime
    observed_at: datetime
    read_at: float  # monotonic

    @property
    def is_census(self) -> bool:
        """Whether it looked at every row of the whole list: what it lacks is missing."""
        listing = self.listing
        return self.ask.known is None and listing.full and listing.complete and listing.clean

    @property
    def date(self) -> datetime:
        """The time at which it was asked, by the earlier one of two clocks: what is news must not count as history."""
        return min(self.listing.cloud_date or self.asked_at, self.asked_at)


class Poller:
    """Polls one project. `poll` must not be called while a poll is under way."""

    def __init__(
        self,
        *,
        project: Project,
        rules: PollRules,
        source: TaskSource,
        ledger: Ledger,
        routing: Routing,
        clock: Clock,
        told: Callable[[Sequence[Event]], None],
        tally: Tally | None = None,
    ) -> None:
        """`told` is called after each commit that recorded events; it must not block. `tally` counts them."""
        self.project = project
        self.rules = rules
        self.stretched = 1.0  # the factor by which intervals are longer than the rules say
        self._source = source
        self._ledger = ledger
        self._routing = routing
        self._clock = clock
        self._told = told
        self._tally = tally or Tally()
        self._began = clock.monotonic()
        self._memory: _Memory | None = None
        self._course = Course()
        # The cloud's Date, and the monotonic time at which it was read.
        self._cloud_clock: tuple[datetime, float] | None = None

    def adopt(self, *, project: Project, rules: PollRules, source: TaskSource, routing: Routing) -> None:
        """Go on with the same project, configured otherwise. What is known of it stays known.

        Where the list is read otherwise, what incremental polls were found to be worth is found out anew.
        Where the rules change, the digests of a poll under way are not kept: they may stand for rows
        that were left out before.
        """
        self.reroute(routing)
        self.project = project
        if source.manner != self._source.manner:
            self._course.doubt()
        self._source = source
        if rules != self.rules:
            self.rules = rules
            self._course.begin_anew()

    def reroute(self, routing: Routing) -> None:
        """Route like this from now on, also the events of a poll under way.

        Between the routing of an event and the call of the ledger nothing is awaited: whatever is asked
        of the store after this comes after all that was routed before.
        """
        self._routing = routing

    @property
    def is_active(self) -> bool:
        """Whether any task is running, as far as is known."""
        return self._memory is not None and bool(self._memory.state.open_tasks)

    @property
    def reads_whole_lists(self) -> bool:
        """Whether each poll reads the whole of a long list, because nothing shorter would say the same."""
        return self._course.has_given_up

    @property
    def key(self) -> int | None:
        """The store's number of the project; None until it was asked."""
        return None if self._memory is None else self._memory.state.key

    @property
    def freshness(self) -> tuple[int, datetime] | None:
        """The store's number of the project, and when this run last read it completely."""
        if self._memory is None or self._memory.read_at is None:
            return None
        return self._memory.state.key, self._memory.read_at[0]

    @property
    def age_seconds(self) -> float:
        """Since the list was last read completely: by this run, else as far as is on record, else since it is watched."""
        memory = self._memory
        if memory is not None and memory.read_at is not None:
            last = memory.read_at[1]
        elif memory is not None and memory.recorded_at is not None:
            last = memory.recorded_at
        else:
            last = self._began
        return self._clock.monotonic() - last

    @property
    def running(self) -> int:
        """How many tasks have not ended, as far as is known."""
        return 0 if self._memory is None else len(self._memory.state.open_tasks)

    @property
    def skew(self) -> timedelta | None:
        """By how much this host's wall clock, as it is now, is ahead of the cloud's."""
        return None if self._cloud_clock is None else self._clock.now() - self._cloud_now()

    def _cloud_now(self) -> datetime:
        """Return the time by the cloud's clock; by this host's while the cloud has not said its own."""
        if self._cloud_clock is None:
            return self._clock.now()
        date, read_at = self._cloud_clock
        return date + timedelta(seconds=self._clock.monotonic() - read_at)

    async def poll(self, *, commits: bool = True) -> Poll:
        """Read the list, record and tell what changed.

        Raises CloudError when nothing was read and StoreFailedError when nothing could be recorded;
        in both cases the next poll finds everything as it was. With `commits=False` the events are
        made and returned, and nothing is kept.
        """
        memory = await self._remembered()
        rules, manner = self.rules, self._source.manner
        ask = self._course.next(
            now=self._clock.monotonic(),
            date=self._cloud_now,
            full_poll=self.rules.full_poll,
            checks=commits,
        )
        asked_at = self._clock.now()
        listing = await self._source.fetch(ask)
        read = _Read(
            ask=ask,
            listing=listing,
            asked_at=asked_at,
            observed_at=self._clock.now(),
            read_at=self._clock.monotonic(),
        )
        if listing.cloud_date is not None:
            self._cloud_clock = (listing.cloud_date, read.read_at)
        # Whatever becomes of this poll: what was shown is not missing.
        if memory.absences:
            shown = {task.job_id for task in listing.changed}
            memory.absences = {id_: found for id_, found in memory.absences.items() if id_ not in shown}
        gap = _gap(memory, read) if listing.complete else None
        events: tuple[Event, ...] = ()
        if memory.state.baseline_at is None or listing.changed or read.is_census:
            try:
                events = await self._take(memory, read, commits=commits)
            except StaleStateError:
                # Somebody else moved the project on: the next poll reads its state anew.
                self._memory = None
                self._course.begin_anew()
                raise
        elif commits and listing.complete:
            self._course.keep(ask, listing)
        if commits:
            self._course.read(ask, listing, at=read.observed_at, now=read.read_at)
        if self._source.manner != manner:
            self._course.doubt()
        if self.rules is not rules:
            self._course.begin_anew()
        if commits and listing.complete:
            memory.read_at = (read.observed_at, read.read_at)
        return Poll(listing=listing, events=events, shrinks=memory.shrinks, gap_seconds=gap)

    async def resolve(self, jobs: Collection[str], *, by: str, comment: str | None) -> tuple[Event, ...]:
        """End the open alerts of these tasks, and tell those who were told of them.

        Must not be called while a poll is under way. Raises StoreFailedError when nothing could be recorded.
        """
        memory = await self._remembered()
        record = await resolution(
            self._ledger,
            memory.state,
            project=self.project,
            jobs=jobs,
            by=by,
            comment=comment,
            at=self._clock.now(),
        )
        if record is None:
            return ()
        try:
            await self._ledger.commit(record)
        except StaleStateError:
            self._memory = None
            self._course.begin_anew()
            raise
        memory.state = replace(memory.state, revision=memory.state.revision + 1)
        events = tuple(item.event for item in record.events)
        self._tell(events)
        return events

    def _tell(self, events: Sequence[Event]) -> None:
        self._tally.events.update(event.type for event in events)
        self._told(events)

    async def _remembered(self) -> _Memory:
        name = self.project.name
        if self._memory is None or self._memory.name != name:
            state = await self._ledger.enrol(self.project.identity, name)
            if self._memory is None:
                self._memory = _Memory(state, name, self._monotonic_of(state.observed_at))
            else:  # only the name is new
                self._memory.name = name
        return self._memory

    def _monotonic_of(self, instant: datetime | None) -> float | None:
        if instant is None:
            return None
        ago = (self._clock.now() - instant).total_seconds()
        return self._clock.monotonic() - max(ago, 0.0)

    async def _take(self, memory: _Memory, read: _Read, *, commits: bool) -> tuple[Event, ...]:
        listing = read.listing
        if memory.state.baseline_at is None:
            if not (listing.full and listing.complete):
                return ()
            # What was told of the project meanwhile counts too.
            memory.state = await self._ledger.enrol(self.project.identity, memory.name)
        state, is_baseline = memory.state, memory.state.baseline_at is None
        line = Baseline(at=state.baseline_at or read.date, policy=self.rules.baseline)
        changes, census = await self._compared(memory, read, line)
        recording = Recording(project=self.project, failure_severities=self.rules.failure_severities)
        tasks, told, fresh = await self._recordable(changes, memory, recording, read)
        sequence = state.sequence + 1 if is_baseline else None
        if sequence is not None:
            told.insert(0, recording.of_baseline(changes, sequence, read.observed_at))
        events = tuple(item.event for item in told)
        if not commits:
            return events
        if tasks or told:
            silences = await self._ledger.silences() if told else ()
            read_on_record = read.observed_at if listing.complete else _last_complete(memory)
            # Nothing is awaited from here to the call of the ledger: see `reroute`.
            routed = [item.routed(self._routing, silences, at=read.observed_at) for item in told]
            record = PollRecord(
                project=state.key,
                revision=state.revision,
                tasks=tasks,
                events=routed,
                observed_at=read_on_record,
                baseline_at=line.at if is_baseline else None,
                sequence=sequence,
            )
            # Should the answer be lost, the store may hold more than memory knows, and old digests would hide it.
            self._course.forget()
            await self._ledger.commit(record)
            memory.state = replace(
                state,
                revision=state.revision + 1,
                baseline_at=line.at,
                observed_at=read_on_record,
                open_tasks=_still_open(state.open_tasks, tasks),
            )
        self._course.follow(memory.state.open_tasks, listing.changed)
        self._course.hold(changes, listing)
        if self._course.is_held or not listing.complete:
            self._course.forget()
        else:
            self._course.keep(read.ask, listing)
        if census is not None:
            memory.absences, memory.shrinks = census.absences, census.shrinks
        else:
            memory.shrinks &= bool(memory.absences)
        self._course.miss(any_task=bool(memory.absences))
        if events:
            self._tell(events)
        if not is_baseline:
            self._measure(fresh)
        return events

    def _measure(self, moments: Iterable[datetime]) -> None:
        """Count how long after these moments, by the cloud's clock, it is recorded what happened then."""
        now = self._cloud_now()
        for moment in moments:
            self._tally.detection_seconds.add(max((now - moment).total_seconds(), 0.0))

    def _lateness(self) -> float:
        return self.rules.cadence.lateness(is_active=self.is_active, stretched=self.stretched)

    async def _compared(
        self, memory: _Memory, read: _Read, line: Baseline
    ) -> tuple[tuple[Change, ...], Census | None]:
        """Hold what was read against what is known."""
        rows = tuple(task for task in read.listing.changed if self.rules.watches(task))
        if memory.state.baseline_at is None:
            return first_listing(rows, line), None
        known = await self._ledger.known(memory.state.key, {task.job_id for task in rows})
        changes = detect(known, rows, line)
        if not read.is_census:
            return changes, None
        census, losses = await self._census(memory, read)
        return changes + losses, census

    async def _census(self, memory: _Memory, read: _Read) -> tuple[Census, tuple[Change, ...]]:
        """Look which tasks are missing from a whole list, and which of them count as gone from now on."""
        key, reach = memory.state.key, read.date - REACH
        gap = _gap(memory, read)
        # What was there while nobody could look is not known: that time is no evidence.
        was_watched = gap is not None and gap <= self._lateness()
        census = take_census(
            memory.absences if was_watched else {},
            expected=await self._ledger.expected(key, reach),
            shown={task.job_id for task in read.listing.changed},  # nothing was known: that is every row
            reach=reach,
            now=read.read_at,
        )
        known = await self._ledger.known(key, census.gone) if census.gone else {}
        return census, tuple(lost(known[job_id], reach=reach) for job_id in sorted(known))

    async def _recordable(
        self,
        changes: Sequence[Change],
        memory: _Memory,
        recording: Recording,
        read: _Read,
    ) -> tuple[list[Known], list[Told], list[datetime]]:
        """Return the tasks to remember, what is told, and when what of it is not late happened."""
        earlier = memory.state.observed_at
        # A change that no incremental poll looks for may be as old as the last reading of the whole list.
        latest, whole = (
            reading_after(
                previous,
                earlier=earlier,
                observed_at=read.observed_at,
                read_at=read.read_at,
                lateness=self._lateness(),
            )
            for previous in (memory.read_at, self._course.full_at)
        )
        if self._course.full_at is None:
            # The last reading on record may have been incremental: when the whole list was read is not.
            whole = replace(whole, previous_observed_at=None, gap_seconds=None)
        last = None if earlier is None else earlier - (self.skew or timedelta())
        key = memory.state.key
        fresh: list[datetime] = []

        def reading_of(step: Transition) -> Reading:
            reading = latest if self._course.covers(step, last=last) else whole
            if not reading.late and (moment := _moment_of(step)) is not None:
                fresh.append(moment)
            return reading

        tasks, told, ended = recording.of(
            changes,
            reading_of,
            alerts=OpenAlerts(await self._ledger.open_alerts(key) if changes else ()),
            observed_at=read.observed_at,
        )
        if not ended:
            return tasks, told, fresh
        # Of their tasks what this poll changed counts, else what was known.
        remembered = {known.task.job_id: known for known in tasks}
        jobs = {end.alert.task.job_id for end in ended}
        remembered |= await self._ledger.known(key, jobs - remembered.keys())
        counted, resolved = ends_told(ended, remembered, project=self.project, at=read.observed_at)
        return list({**remembered, **counted}.values()), told + resolved, fresh


def _moment_of(step: Transition) -> datetime | None:
    """Return when this happened, where the cloud says it: that a task began, or that it ended."""
    if step.task.has_ended:
        return step.task.ended_at
    return step.task.created_at if step.from_status is None else None


def _gap(memory: _Memory, read: _Read) -> float | None:
    """Return the seconds since the last complete reading; over a restart by the earlier one of two clocks."""
    if memory.read_at is not None:
        return read.read_at - memory.read_at[1]
    before = memory.state.observed_at
    return None if before is None else max(0.0, (read.date - before).total_seconds())


def _last_complete(memory: _Memory) -> datetime | None:
    return memory.read_at[0] if memory.read_at is not None else memory.state.observed_at


def _still_open(open_tasks: frozenset[str], tasks: Iterable[Known]) -> frozenset[str]:
    seen = {known.task.job_id: known.task.has_ended or known.is_gone for known in tasks}
    return (open_tasks - seen.keys()) | {job_id for job_id, is_over in seen.items() if not is_over}
