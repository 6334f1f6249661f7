"""The poller against a model: any history of polls, restarts and failed commits keeps each chain whole."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from taskwatch.core.absence import CENSUSES
from taskwatch.core.detect import BaselinePolicy
from taskwatch.engine.poller import Poller
from taskwatch.engine.ports import StaleStateError
from taskwatch.errors import CloudCause, CloudError, StoreFailedError
from taskwatch.model.event import Event, EventType
from taskwatch.model.task import COMPLETED, FAILED, PENDING, RUNNING, Task
from tests.fakes.builders import a_project, a_task, at, everything_to, some_rules
from tests.fakes.memory_store import Call, MemoryStore
from tests.fakes.scripted_source import ScriptedSource
from tests.fakes.virtual_time import VirtualClock, VirtualTimeLoop

JOBS = ("a", "b", "c")
job_ids = st.sampled_from(JOBS)
statuses = st.sampled_from([PENDING, RUNNING, COMPLETED, FAILED, "Freezing"])
rows = st.builds(
    lambda job_id, status, minute: a_task(
        job_id, status, ended_at=at(minute) if status in {COMPLETED, FAILED} else None
    ),
    job_ids,
    statuses,
    st.integers(2, 5),
)
listings = st.lists(rows, max_size=6)


class PollerMachine(RuleBasedStateMachine):
    """Serves anything at all, and holds what was told against what was served."""

    @initialize(policy=st.sampled_from(BaselinePolicy), first=listings)
    def begin(self, policy: BaselinePolicy, first: list[Task]) -> None:
        self.loop = VirtualTimeLoop()
        self.store = MemoryStore()
        self.source = ScriptedSource.of(first)
        self.policy = policy
        self.served: set[tuple[str, str]] = set()
        self.told_now: list[Event] = []
        self.listed: list[set[str]] = []  # by each answer, the ids on it
        self.losses = 0
        self.restart()
        self.poll(first)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()

    @rule()
    def restart(self) -> None:
        """Memory is lost, the store is not."""
        self.poller = Poller(
            project=a_project(),
            rules=some_rules(baseline=self.policy),
            source=self.source,
            ledger=self.store,
            routing=everything_to("one", "two"),
            clock=VirtualClock(self.loop),
            told=self.told_now.extend,
        )

    @rule(seen=listings)
    def poll(self, seen: list[Task]) -> None:
        self._serves(seen)
        before = len(self.store.events)
        try:
            self.loop.run_until_complete(self.poller.poll())
        except StaleStateError:  # a commit before this one was cancelled too late; the next poll knows
            self.loop.run_until_complete(self.poller.poll())
        recorded = [event for _, event in self.store.events[before:]]
        assert self.told_now == recorded, "what is told is what was recorded"
        self.told_now.clear()

    @rule(minutes=st.sampled_from([1, 4, 11]))
    def wait(self, minutes: int) -> None:
        """What is missing for ten minutes may be gone after this."""
        self.loop.run_until_complete(asyncio.sleep(60 * minutes))

    @rule(minutes=st.integers(2, 4))
    def absence(self, minutes: int) -> None:
        """Nothing is on the list, poll after poll."""
        for _ in range(15):
            self.wait(minutes)
            self.poll([])
        if not self.source.complete:
            return
        tasks = self.store.projects[1].tasks.values()
        assert all(known.task.has_ended or known.is_gone for known in tasks)

    @rule(seen=listings)
    def partial_poll(self, seen: list[Task]) -> None:
        self.source.complete = False
        self.poll(seen)
        self.source.complete = True

    @rule()
    def same_answer_again(self) -> None:
        self.poll(list(self.source.served[-1]))

    @rule()
    def failed_poll(self) -> None:
        self.source.then(CloudError(CloudCause.CLOUD, "host answered 503"))
        with pytest.raises(CloudError):
            self.loop.run_until_complete(self.poller.poll())

    @rule(seen=listings)
    def failed_commit(self, seen: list[Task]) -> None:
        self._serves(seen)
        before = len(self.store.events)
        self.store.fail(Call.COMMIT, 1)
        try:
            self.loop.run_until_complete(self.poller.poll())
        except (StoreFailedError, StaleStateError):
            assert len(self.store.events) == before
        self.store.heal(Call.COMMIT)
        assert self.told_now == []

    @rule(seen=listings, moment=st.integers(1, 8))
    def cancelled_poll(self, seen: list[Task], moment: int) -> None:
        """The poll is cancelled anywhere, also between the commit and the memory of it."""
        self._serves(seen)

        async def cancelled() -> None:
            poll = asyncio.create_task(self.poller.poll())
            for _ in range(moment):
                await asyncio.sleep(0)
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)

        self.loop.run_until_complete(cancelled())
        self.told_now.clear()

    @rule(job_id=job_ids, status=statuses)
    def settle(self, job_id: str, status: str) -> None:
        """Whatever happened before: what the cloud shows for long enough is what is known in the end."""
        row = a_task(job_id, status, ended_at=at(9) if status in {COMPLETED, FAILED} else None)
        for _ in range(3):
            self.poll([row])
        held = self.store.projects[1].tasks[job_id]
        assert (held.task.status, held.pending_count) == (status, 0)

    @invariant()
    def chains_have_no_hole(self) -> None:
        if not hasattr(self, "store"):
            return
        for job_id in JOBS:
            events = [event for _, event in self.store.events if event.subject == job_id]
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            moves = [
                (event.attributes["from"] or None, event.attributes["to"])
                for event in events
                if event.type not in {EventType.TASK_VANISHED, EventType.TASK_RESOLVED}
            ]
            self._is_chain(moves)
            held = self.store.projects[1].tasks.get(job_id)
            if events:
                assert held is not None
                assert held.sequence == len(events)
            if moves:
                assert held is not None
                assert held.task.status == moves[-1][1]
            assert {(job_id, to) for _, to in moves} <= self.served

    @invariant()
    def there_is_one_baseline(self) -> None:
        if hasattr(self, "store"):
            summaries = [event for _, event in self.store.events if event.type is EventType.PROJECT_BASELINE]
            assert len(summaries) == 1
            assert self.store.events[0][1] is summaries[0]

    @invariant()
    def every_event_is_queued_for_every_receiver(self) -> None:
        if hasattr(self, "store"):
            queued = sorted((item.event_id, item.receiver) for item in self.store.deliveries.values())
            ids = [event.id for _, event in self.store.events]
            assert queued == sorted((id_, receiver) for id_ in ids for receiver in ("one", "two"))

    @invariant()
    def what_is_told_gone_was_away_for_three_lists_and_is_told_once_until_it_is_back(self) -> None:
        if not hasattr(self, "store"):
            return
        lost = [event.subject for _, event in self.store.events if event.type is EventType.TASK_VANISHED]
        for job_id in lost[self.losses :]:
            assert not any(job_id in listed for listed in self.listed[-CENSUSES:])
        self.losses = len(lost)
        gone = {job_id for job_id, known in self.store.projects[1].tasks.items() if known.is_gone}
        assert gone <= set(lost) | {job_id for job_id in gone if self._had_ended(job_id)}

    def _had_ended(self, job_id: str) -> bool:
        return self.store.projects[1].tasks[job_id].task.has_ended

    def _serves(self, seen: list[Task]) -> None:
        self.listed.append({row.job_id for row in seen})
        self.served |= {(row.job_id, row.status) for row in seen}
        self.source.then(seen)

    def _is_chain(self, moves: Iterable[tuple[str | None, str]]) -> None:
        last: str | None = None
        for number, (before, after) in enumerate(moves):
            assert before == last or number == 0
            assert before != after
            last = after


PollerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestPoller = PollerMachine.TestCase
