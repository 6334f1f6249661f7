"""Learns who the projects are that are configured by their name in the cloud: the login service says their ids.

Until it has, such a project is not watched, and the log says why. What was learnt holds for the run: a reload
asks for new names only.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from taskwatch.config.configuration import Config, Credential, NamedProject, identified, log_in_alike
from taskwatch.errors import CloudError
from taskwatch.telemetry import Logger

AGAIN_SECONDS: Final = (
    30.0  # a login that was refused has a longer pause of its own, in which nobody is asked
)

AskId = Callable[[NamedProject, Config], Awaitable[str]]


class Naming:
    """Keeps the ids that were learnt.

    `troubles` says, by project, why one is still unknown; `problems`, a line each, which cannot be watched.
    """

    def __init__(self, *, ask: AskId, log: Logger) -> None:
        """`ask` returns the id of a project, or raises CloudError."""
        self.troubles: dict[str, CloudError] = {}
        self.problems: tuple[str, ...] = ()
        self._ask = ask
        self._log = log
        self._ids: dict[tuple[str, str], str] = {}
        self._credentials: dict[str, Credential] = {}  # as they were when it was last asked what is known
        self._told: set[str] = set()  # problems, once each

    def known(self, config: Config) -> Config:
        """Return the configuration with the ids that are known."""
        self._forget_changed(config)
        complete, problems = identified(config, self._ids)
        self.problems = problems
        for problem in problems:
            if problem not in self._told:
                self._log.warning("project_not_watched", problem=problem)
        self._told.update(problems)
        return complete

    def _forget_changed(self, config: Config) -> None:
        """Forget what other logins have said: each account has a project of the name that its region has."""
        for name, credential in config.credentials.items():
            before = self._credentials.get(name)
            if before is not None and not log_in_alike(before, credential):
                self._ids = {asked: found for asked, found in self._ids.items() if asked[0] != name}
        self._credentials = dict(config.credentials)

    async def learn(self, config: Config) -> bool:
        """Ask for the ids that are not known; tell whether any was learnt."""
        asked = {named.asked: named for named in config.named}  # one question, however many ask it
        answers = await asyncio.gather(*(self._learnt(named, config) for named in asked.values()))
        unknown = {named.name for named in config.named if named.asked not in self._ids}
        self.troubles = {name: trouble for name, trouble in self.troubles.items() if name in unknown}
        return any(answers)

    async def _learnt(self, named: NamedProject, config: Config) -> bool:
        try:
            self._ids[named.asked] = await self._ask(named, config)
        except CloudError as error:
            is_told = error.is_told or named.name in self.troubles
            log = self._log.debug if is_told else self._log.warning
            log(
                "project_not_found",
                project=named.name,
                name_in_cloud=named.in_cloud,
                cause=error.cause.value,
                error=str(error),
            )
            self.troubles[named.name] = error
            return False
        return True
