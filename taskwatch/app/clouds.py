"""What the projects are read through, made from the configuration: connections, logins, rates.

It outlives a reload: a login that is configured as before keeps its token, a rate its pause.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_never

from taskwatch.clock import Clock
from taskwatch.cloud.auth.login import Login, NoLogin
from taskwatch.cloud.auth.token import TokenLogin
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.client import TasksClient
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Session, Transport, open_session
from taskwatch.config.configuration import Config, Credential, WatchedProject
from taskwatch.config.schema import NoCredential, TokenCredential
from taskwatch.engine.ports import TaskSource


@asynccontextmanager
async def opened_clouds(clock: Clock) -> AsyncIterator["Clouds"]:
    """Open what all projects share, and close it last."""
    session = open_session()
    try:
        yield Clouds(session=session, clock=clock)
    finally:
        await session.close()


class Clouds:
    """Makes what reads a project."""

    def __init__(self, *, session: Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._logins: dict[str, tuple[Credential, Login]] = {}
        self._limiters: dict[tuple[str, str], Limiter] = {}  # a rate belongs to a credential at an endpoint

    def source(self, project: WatchedProject, config: Config) -> TaskSource:
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


def _login(credential: Credential) -> Login:
    match credential:
        case TokenCredential():
            return TokenLogin(credential.token)
        case NoCredential():
            return NoLogin()
        case _:
            assert_never(credential)
