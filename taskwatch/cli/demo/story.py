"""What happens to the simulated cloud and to the receiver. taskwatch is told nothing of it."""

import asyncio
import itertools
from collections.abc import Callable
from random import Random
from typing import Final

from taskwatch.simulator.catalogue import BACKUP, CREATE, ENLARGE, RESIZE, RESTORE
from taskwatch.simulator.cloud import Cloud, Project
from taskwatch.simulator.receiver import State, WebhookReceiver

USUAL_SECONDS: Final = 40.0  # the times below are shares of this, or of `--seconds`
FIRST_FAILURE: Final = 4.0  # seconds after the start: a demo of failures shows one soon
SHORTEST: Final = 1.8  # seconds that a task runs, so that a poll meets it
BURST: Final = 12
BURST_REASONS: Final = {
    4: "Failed to upload the backup file to OBS.",
    9: "The agent on the DB instance cannot be reached.",
}
DAMAGED: Final = "The backup file is damaged: checksum mismatch in block 48211."
WORDS: Final = ("orders", "ledger", "catalog", "stock", "fleet", "reports")
NO_ROOM: Final = "The ECS resources are insufficient in the availability zone."


class Story:
    """Plays once within `seconds`, or again and again if they are 0."""

    def __init__(
        self,
        *,
        cloud: Cloud,
        receiver: WebhookReceiver,
        speed: float,
        seconds: float,
        says: Callable[[str], None],
    ) -> None:
        self._cloud = cloud
        self._receiver = receiver
        self._speed = speed
        self._is_endless = seconds == 0
        self._seconds = seconds or USUAL_SECONDS
        self._says = says

    async def play(self) -> None:
        async with asyncio.TaskGroup() as group:
            everyday = group.create_task(self._everyday())
            await self._acts()
            while self._is_endless:
                await self._acts()
            everyday.cancel()

    async def _everyday(self) -> None:
        """Let ordinary tasks come and go, so that at any moment something moves."""
        random = Random(self._seconds)  # noqa: S311  (a story, no secret)
        for number in itertools.count():
            name = random.choice((BACKUP, BACKUP, CREATE, RESIZE, ENLARGE))
            # An instance does one thing at a time: it comes round again when its task has ended.
            instance = f"gauss-{WORDS[number % len(WORDS)]}-{number // len(WORDS) % 4 + 1:02d}"
            self._task(
                random.choice(self._cloud.projects), name, random.uniform(2, 9), instance_name=instance
            )
            await asyncio.sleep(random.uniform(0.3, 1.2))

    async def _acts(self) -> None:
        length, first = self._seconds, min(FIRST_FAILURE, self._seconds / 3)
        began = asyncio.get_running_loop().time()

        async def until(moment: float) -> None:
            await asyncio.sleep(max(0.0, began + moment - asyncio.get_running_loop().time()))

        orders, backups, creations = (self._cloud.projects[number % 3] for number in range(3))
        self._task(creations, RESTORE, 0.8 * length)
        await until(0.4 * first)
        self._task(orders, RESTORE, 0.6 * first, fail_reason=DAMAGED)
        await until(length / 3)
        self._says(f"{BURST} backups of {backups.name} begin at once")
        self._burst(backups)
        await until(0.5 * length)
        await self._turn(State.UNAVAILABLE)
        self._task(creations, CREATE, max(SHORTEST, 0.1 * length), fail_reason=NO_ROOM)
        await until(0.58 * length)
        await self._turn(State.GONE)
        await until(0.66 * length)
        await self._turn(State.WORKS)
        await until(length)

    def _burst(self, project: Project) -> None:
        for number in range(BURST):
            self._task(
                project,
                BACKUP,
                max(SHORTEST, (0.05 + 0.003 * number) * self._seconds),
                fail_reason=BURST_REASONS.get(number),
                instance_name=f"gauss-nightly-{number + 1:02d}",
            )

    async def _turn(self, state: State) -> None:
        self._says(f"the webhook receiver {state.value}{' again' if state is State.WORKS else ''}")
        await self._receiver.turn(state)

    def _task(
        self,
        project: Project,
        name: str,
        seconds: float,
        *,
        fail_reason: str | None = None,
        instance_name: str | None = None,
    ) -> None:
        self._cloud.provoke(
            project.project_id,
            name=name,
            seconds=seconds * self._speed,
            fail_reason=fail_reason,
            instance_name=instance_name,
        )
