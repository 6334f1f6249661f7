"""A project that is polled, and one receiver that writes to people, over the real store and a clock of their own."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from taskwatch.core.grouping import Grouping
from taskwatch.core.quiet import Mute
from taskwatch.core.route import Route, Routing
from taskwatch.engine.groups import Groups
from taskwatch.engine.holding import Holding
from taskwatch.engine.lane import Lane, LaneRules
from taskwatch.engine.letters import Letters, Sources
from taskwatch.engine.poller import Poller
from taskwatch.engine.ports import Renderer, TemplateFailedError
from taskwatch.model.delivery import Message
from taskwatch.model.letter import Letter, read_letter
from taskwatch.model.task import Task
from tests.fakes.builders import a_project, a_task, quiet_log, some_rules
from tests.fakes.inline_writer import Disk, Life, open_inline
from tests.fakes.records import StillClock
from tests.fakes.scripted_notifier import ScriptedNotifier
from tests.fakes.scripted_source import ScriptedSource

ME = "mail"


class NoTemplates:
    """A renderer that is never to be asked."""

    async def render(self, source: str, facts: bytes, *, is_html: bool = False) -> str:
        raise TemplateFailedError("there are no templates here")


@dataclass
class Mailroom:
    """`serve` and `lives` are the world; what the receiver took is `letters`."""

    grouping: Grouping = field(default_factory=Grouping)
    mutes: tuple[Mute, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    sources: Sources = field(default_factory=Sources)
    renderer: Renderer = field(default_factory=NoTemplates)
    horizon: float = 3600.0
    clock: StillClock = field(default_factory=StillClock)
    disk: Disk = field(default_factory=Disk)
    notifier: ScriptedNotifier = field(default_factory=ScriptedNotifier)
    tasks: dict[str, Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Be a process that has just started."""
        self.life = Life()
        self.store = open_inline(self.disk, self.life, clock=self.clock)
        self.poller = Poller(
            project=a_project(labels=self.labels),
            rules=some_rules(active=5.0, idle=5.0),
            source=self._source(),
            ledger=self.store,
            routing=self.routing(),
            clock=self.clock,
            told=lambda _: None,
        )
        self.groups = Groups(
            receiver=ME,
            book=self.store.post,
            routing=self.routing,
            letters=Letters(receiver=ME, sources=self.sources, renderer=self.renderer, log=quiet_log()),
            clock=self.clock,
        )
        self.holding = Holding(
            pen=self.store,
            mutes=lambda: self.mutes,
            clock=self.clock,
            log=quiet_log(),
            queued=lambda: None,
        )
        self.lane = Lane(
            receiver=ME,
            notifier=self.notifier,
            outbox=self.store.post,
            gatherer=_NotAtOnce(self.groups),
            rules=LaneRules(timeout=10.0, initial=5.0, maximum=60.0, horizon=self.horizon),
            clock=self.clock,
            rng=random.Random(1),
            log=quiet_log(),
        )

    def routing(self) -> Routing:
        return Routing(
            root=Route(receivers=(ME,), grouping=self.grouping), mutes=self.mutes, people=frozenset({ME})
        )

    def _source(self) -> ScriptedSource:
        return ScriptedSource.of(tuple(self.tasks.values()))

    def task(self, job_id: str, status: str = "Running", **changes: object) -> Task:
        """Let the cloud serve this of a task from now on."""
        known = self.tasks.get(job_id) or a_task(job_id)
        self.tasks[job_id] = replace(known, status=status, **changes)  # type: ignore[arg-type]  # of a Task
        return self.tasks[job_id]

    async def poll(self) -> None:
        self.poller.adopt(
            project=self.poller.project,
            rules=self.poller.rules,
            source=self._source(),
            routing=self.routing(),
        )
        await self.poller.poll()

    async def lives(self, seconds: float, *, step: float = 5.0, polls: bool = True) -> None:
        """Poll and deliver for so long."""
        for _ in range(round(seconds / step)):
            self.clock.seconds += step
            if polls:
                await self.poll()
            await self.holding.look()
            await self.deliver()

    async def deliver(self) -> None:
        self.lane.wake()
        await self.lane.drained(patience=30.0)

    @property
    def letters(self) -> list[Letter]:
        """What was taken, but for the baseline."""
        return [read_letter(message.body) for message in self.taken]

    @property
    def taken(self) -> list[Message]:
        return [one for one in self.notifier.accepted if "Watching" not in read_letter(one.body).subject]

    @property
    def subjects(self) -> list[str]:
        return [letter.subject for letter in self.letters]

    def states(self) -> list[str]:
        """Return the states of all deliveries about tasks, in the order of their events."""
        return [
            state
            for (state,) in self.disk.rows(
                "SELECT d.state FROM deliveries d JOIN events e ON e.seq = d.event WHERE e.job_id IS NOT NULL ORDER BY e.seq"
            )
        ]


class _NotAtOnce:
    """The groups as they are in a daemon: `drained` alone would have them told at once."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    async def gather(self, *, at_once: bool = False) -> float:
        return await self._groups.gather()


async def a_mailroom(**settings: object) -> Mailroom:
    """Return one whose project has its baseline, which is told."""
    room = Mailroom(**settings)  # type: ignore[arg-type]  # its own fields
    await room.poll()
    await room.lives(360, step=30)
    assert len(room.notifier.accepted) == 1, "the baseline"
    return room


def named(letters: Sequence[Letter], job_id: str) -> int:
    """Count the letters that name a task."""
    return sum(job_id in letter.text for letter in letters)
