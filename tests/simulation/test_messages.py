"""Messages to people under weather: tasks that come and go, silences, a receiver of many moods, processes that die at any
write.

Whatever happens, in the end each event was told in one message that was taken, in the order of its task, or was silenced
and over; and no message ever changed.
"""

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Awaitable
from datetime import timedelta
from typing import Final

import msgspec
import pytest

from taskwatch.core.grouping import Grouping
from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.store import alerts, silences
from tests.fakes.inline_writer import Death
from tests.fakes.mailroom import a_mailroom
from tests.fakes.virtual_time import in_virtual_time

SEEDS: Final = min(int(os.environ.get("TASKWATCH_SEEDS", "30")), 100)
STEPS: Final = 40
GROUPINGS: Final = (
    Grouping(wait=0.0, interval=1.0),
    Grouping(wait=30.0, interval=300.0, repeat=600.0),
    Grouping(wait=10.0, interval=20.0, by=("type",), repeat=60.0),
    Grouping(wait=5.0, interval=60.0, by=("job_id", "severity")),
    Grouping(wait=5.0, interval=5.0, by=("...",)),
    Grouping(wait=5.0, interval=30.0, by=()),
)
MATCHERS: Final = (
    'severity = "critical"',
    'type = "task.started"',
    'job_id = "job-1"',
    'job_id =~ "job-[0-4]"',
)
FAILURES: Final = (
    DeliveryError(Reason.NETWORK, "cannot reach it"),
    DeliveryError(Reason.SERVER_ERROR, "451 try again", Scope.RECEIVER),
    DeliveryError(Reason.THROTTLED, "too much", Scope.RECEIVER, retry_after=30.0),
    DeliveryError(Reason.SERVER_ERROR, "not yet for one of them: 451", Scope.PART),
)


class Weather:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.mood = 0.0  # how likely it is that the receiver fails
        self.taken: list[Message] = []
        self.bodies: defaultdict[str, set[bytes]] = defaultdict(set)
        self.deaths = 0

    async def run(self) -> None:
        self.room = await a_mailroom(grouping=self.rng.choice(GROUPINGS), horizon=1e9)
        self.room.notifier.conduct = self._receive
        for _ in range(STEPS):
            await self._step()
        self.mood = 0.0
        self.room.disk.rows(
            "UPDATE silences SET begins_at = 0, ends_at = 0"
        )  # whatever the wall clock says by now
        await self._survives(self.room.lives(2000, step=100))
        await self._survives(self.room.lives(2000, step=100))

    async def _receive(self, message: Message) -> None:
        await asyncio.sleep(0)
        self.bodies[message.event_id].add(message.body)
        if self.rng.random() < self.mood:
            failure = self.rng.choice(FAILURES)
            if failure.scope is Scope.PART or self.rng.random() < 0.3:
                self.taken.append(message)  # by some, or the answer is lost
            raise failure
        self.taken.append(message)

    async def _step(self) -> None:
        rng, room = self.rng, self.room
        doing = (self._changes, self._changes, self._changes, self._bursts, self._turns, self._dies,
                 self._is_acknowledged, self._is_resolved, self._is_silenced, self._is_heard_again)  # fmt: skip
        await rng.choice(doing)()
        await self._survives(room.lives(rng.choice((5, 20, 60, 300)), step=rng.choice((5, 20))))

    @property
    def _job(self) -> str:
        return f"job-{self.rng.randrange(8)}"

    async def _changes(self) -> None:
        room, job_id = self.room, self._job
        status = self.rng.choice(("Running", "Failed", "Completed", "Failed", "Canceled"))
        known = room.tasks.get(job_id)
        if known is None or not known.has_ended or status != "Running":
            room.task(job_id, status, ended_at=None if status == "Running" else room.clock.now())

    async def _bursts(self) -> None:
        for number in range(self.rng.randrange(60)):
            self.room.task(f"burst-{len(self.room.tasks)}-{number}", "Failed")

    async def _turns(self) -> None:
        self.mood = self.rng.choice((0.0, 0.0, 0.3, 1.0))
        if self.rng.random() < 0.3:
            self.room.clock.moment += timedelta(hours=self.rng.choice((-1, 1)))

    async def _dies(self) -> None:
        self.room.life.dies_at(Death(write=self.rng.randrange(1, 6), is_durable=self.rng.random() < 0.5))

    async def _is_acknowledged(self) -> None:
        with self.room.disk.connection as connection:
            alerts.acknowledge(
                connection, [self._job], by="me", at=self.room.clock.now(), until=None, comment=None
            )

    async def _is_resolved(self) -> None:
        await self._survives(self._resolve(self._job))

    async def _is_silenced(self) -> None:
        self._silence(self.rng.choice(MATCHERS), minutes=self.rng.choice((1, 10, 60)))

    async def _is_heard_again(self) -> None:
        with self.room.disk.connection as connection:
            silences.expire(connection, range(1, 20), at=self.room.clock.now())

    def _silence(self, matcher: str, *, minutes: int) -> None:
        now = self.room.clock.now()
        with self.room.disk.connection:
            silences.add(
                self.room.disk.connection,
                [matcher],
                by="me",
                begins_at=now,
                ends_at=now + timedelta(minutes=minutes),
                comment=None,
            )

    async def _resolve(self, job_id: str) -> None:
        await self.room.poller.resolve([job_id], by="me", comment=None)

    async def _survives(self, doing: Awaitable[None]) -> None:
        """Do it, and begin anew if the process dies on the way."""
        task = asyncio.ensure_future(doing)
        died = asyncio.ensure_future(self.room.life.died.wait())
        await asyncio.wait({task, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if task.done():
            task.result()
            return
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        self.deaths += 1
        self.room.begin()


@pytest.mark.parametrize("seed", range(SEEDS))
@in_virtual_time
async def test_every_event_is_told_in_one_message_that_was_taken_in_the_order_of_its_task(seed: int) -> None:
    weather = Weather(seed)
    await weather.run()
    room = weather.room

    assert {state for state in room.states() if state not in {"delivered", "suppressed"}} == set()
    kept_from_people = room.disk.rows(
        "SELECT e.id FROM deliveries d JOIN events e ON e.seq = d.event JOIN alerts a ON a.event = e.seq"
        " WHERE d.state = 'suppressed' AND a.ended_at IS NULL"
    )
    assert kept_from_people == [], "what still needs attention was not told"
    assert [len(bodies) for bodies in weather.bodies.values() if len(bodies) > 1] == [], "bytes changed"
    first: dict[str, int] = {}
    for number, message in enumerate(weather.taken):
        first.setdefault(message.event_id, number)
    told: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    rows = room.disk.rows(
        "SELECT e.body, m.event_id FROM events e JOIN deliveries d ON d.event = e.seq"
        " LEFT JOIN messages m ON m.id = d.message WHERE e.job_id IS NOT NULL AND d.state <> 'suppressed'"
    )
    for body, message_id in rows:
        assert message_id in first, "an event was recorded as told, and nobody took its message"
        event = msgspec.json.decode(body)
        told[event["subject"]].append((event["data"]["sequence"], first[message_id]))
    for chain in told.values():
        places = [place for _, place in sorted(chain)]
        assert places == sorted(places), "a task was told out of order"


@in_virtual_time
async def test_the_weather_is_weather() -> None:
    """Processes die and messages fail in it: else the test above would say little."""
    deaths = tries = taken = 0
    for seed in range(12):
        weather = Weather(seed)
        await weather.run()
        deaths += weather.deaths
        tries += len(weather.room.notifier.attempts)
        taken += len(weather.taken)
    assert deaths > 10
    assert tries > taken > 100
