"""A cloud that serves what a script says."""

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from taskwatch.engine.ports import Ask
from taskwatch.errors import CloudError
from taskwatch.model.project import Listing
from taskwatch.model.task import Task
from tests.fakes.builders import T0, a_listing


@dataclass(slots=True)
class ScriptedSource:
    """Serves each list of rows once, the last one again and again. A CloudError in the script is raised."""

    script: deque[Sequence[Task] | CloudError] = field(default_factory=deque)
    complete: bool = True
    full: bool = True
    clean: bool = True
    manner: Hashable = None
    cloud_date: datetime | None = T0
    served: list[Sequence[Task]] = field(default_factory=list)
    asked: list[Ask] = field(default_factory=list)  # by each poll that got an answer

    @classmethod
    def of(cls, *answers: Sequence[Task] | CloudError) -> "ScriptedSource":
        return cls(deque(answers))

    def then(self, *answers: Sequence[Task] | CloudError) -> None:
        """Serve these from now on, whatever was left of the script."""
        self.script = deque(answers)

    async def fetch(self, ask: Ask) -> Listing:
        await asyncio.sleep(0)
        answer = self.script.popleft() if len(self.script) > 1 else self.script[0]
        if isinstance(answer, CloudError):
            raise answer
        self.asked.append(ask)
        self.served.append(answer)
        return a_listing(
            answer,
            ask.known,
            complete=self.complete,
            clean=self.clean,
            full=self.full,
            cloud_date=self.cloud_date,
        )
