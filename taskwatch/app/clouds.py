"""What the projects are read through, made from the configuration: connections, logins, rates.

It outlives a reload: a login that is configured as before keeps its tokens, a rate its pause.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import assert_never

from taskwatch.app.access import Access
from taskwatch.clock import Clock
from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.client import TasksClient
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.paging import Numbering
from taskwatch.cloud.transport import Session, Transport, open_session
from taskwatch.config.configuration import (
    Config,
    Credential,
    NamedProject,
    WatchedProject,
    Watching,
    log_in_alike,
)
from taskwatch.config.schema import (
    AgencyCredential,
    AkskCredential,
    CloudCredential,
    NoCredential,
    PasswordCredential,
    TokenCredential,
)
from taskwatch.engine.budget import Budget
from taskwatch.engine.tally import LoginState
from taskwatch.secret import Secret
from taskwatch.telemetry import Logger
from taskwatch.tls import TlsPool, Trust


@asynccontextmanager
async def opened_clouds(clock: Clock, log: Logger) -> AsyncIterator["Clouds"]:
    """Open what all projects share, and close it last."""
    session = open_session()
    clouds = Clouds(session=session, clock=clock, log=log)
    try:
        yield clouds
    finally:
        await clouds.close()
        await session.close()


class Clouds:
    """Makes what reads a project."""

    def __init__(self, *, session: Session, clock: Clock, log: Logger) -> None:
        self._session = session
        self._clock = clock
        self._log = log
        self._tls = TlsPool(log=log)
        self._transports: dict[tuple[Trust, Secret | None], Transport] = {}
        self._accesses: dict[str, Access] = {}
        self._accounts: dict[tuple[str, str], Account] = {}  # as few as anybody has ever configured
        self._left: list[Access] = []  # of credentials that are configured otherwise now
        # A rate is the credential's, and holds for each host by itself.
        self._rates: dict[str, float] = {}
        self._limiters: dict[tuple[str, str], Limiter] = {}
        self._budgets: dict[tuple[str, str], Budget] = {}

    def source(self, project: WatchedProject, config: Config) -> TasksClient:
        """Return what reads a project."""
        transport = self.transport(project)
        project_id = project.project.identity.project_id
        endpoint = str(project.endpoint)
        return TasksClient(
            caller=Caller(
                transport=transport,
                endpoint=endpoint,
                login=self.access(project.credential, config).login(project_id, transport),
                limiter=self._limiter(project.credential, project.endpoint.host),
            ),
            endpoint=endpoint,
            project_id=project_id,
            timeout=project.timeout,
            numbering=Numbering(project.offset.value),
        )

    def budget(self, project: WatchedProject, config: Config) -> Budget:
        """Return the rate that a project lives on, with those that have the same credential and endpoint."""
        place = project.credential, project.endpoint.host
        rate = config.credentials[project.credential].rate
        if place not in self._budgets:
            name, host = place
            self._budgets[place] = Budget(rate, log=self._log.bind(credential=name, host=host))
        self._budgets[place].change(rate)
        return self._budgets[place]

    async def project_id(self, named: NamedProject, config: Config) -> str:
        """Ask IAM for the id of a project. Raises CloudError."""
        access = self.access(named.credential, config)
        return await access.project_id(named.in_cloud, self.transport(named))

    def transport(self, how: Watching) -> Transport:
        """Return how the hosts of a project are reached: its endpoint, and IAM for it."""
        key = how.tls, how.proxy
        if key not in self._transports:
            self._transports[key] = Transport(
                session=self._session, tls=self._tls.of(how.tls), proxy=how.proxy
            )
        return self._transports[key]

    def access(self, name: str, config: Config) -> Access:
        """Return a credential in use."""
        credential = config.credentials[name]
        self._adopt_rate(name, credential.rate)
        via = self.access(credential.via, config) if isinstance(credential, AgencyCredential) else None
        access = self._accesses.get(name)
        if access is not None and access.via is via and log_in_alike(access.credential, credential):
            return access
        if access is not None:
            self._left.append(access)
        access = self._accesses[name] = Access(
            name=name,
            credential=credential,
            account=self._account(name, credential),
            via=via,
            limiter=lambda host: self._limiter(name, host),
            clock=self._clock,
            log=self._log,
        )
        return access

    def logins(self, config: Config) -> Mapping[str, LoginState]:
        """Return how each credential stands that is in use. Tokens that no project needs any more do not count."""
        left: dict[str, list[float]] = defaultdict(list)
        for project in config.projects:
            access = self._accesses.get(project.credential)
            if access is None:
                continue
            seconds = access.expires_in(project.project.identity.project_id, self.transport(project))
            if seconds is not None:
                left[project.credential].append(seconds)
        return {
            name: LoginState(
                expires_in_seconds=min(left.get(name, ()), default=None), is_refused=access.is_refused
            )
            for name, access in self._accesses.items()
            if name in config.credentials
        }

    async def settle(self, config: Config) -> None:
        """Let go of what this configuration has no use for: logins of credentials that went or changed, their rates."""
        gone = self._accesses.keys() - config.credentials.keys()
        left, self._left = [*self._left, *map(self._accesses.pop, gone)], []
        for place in [place for place in self._limiters if place[0] in gone]:
            del self._limiters[place]
            self._budgets.pop(place, None)
        for access in left:
            await access.close()
        used = {(name, _who(credential)) for name, credential in config.credentials.items()}
        for place in self._accounts.keys() - used:  # they stay: refusals count for as long as IAM counts them
            self._accounts[place].leave()

    async def close(self) -> None:
        """End the logins that are under way."""
        for access in (*self._accesses.values(), *self._left):
            await access.close()

    def _account(self, name: str, credential: Credential) -> Account:
        """Return the account of who logs in: refusals count over a reload, for whoever counts them there goes on."""
        key = name, _who(credential)
        if key not in self._accounts:
            self._accounts[key] = Account(name=name, clock=self._clock, log=self._log)
        return self._accounts[key]

    def _adopt_rate(self, credential: str, rate: float) -> None:
        if self._rates.get(credential) == rate:
            return
        self._rates[credential] = rate
        for (name, _), limiter in self._limiters.items():
            if name == credential:
                limiter.change(rate)

    def _limiter(self, credential: str, host: str) -> Limiter:
        place = credential, host
        if place not in self._limiters:
            log = self._log.bind(credential=credential, host=host)
            self._limiters[place] = Limiter(self._rates[credential], self._clock, log)
        return self._limiters[place]


def _who(credential: Credential) -> str:
    """Say who logs in, whatever with."""
    match credential:
        case PasswordCredential():
            return f"{credential.auth_url} {credential.user_domain_name} {credential.username}"
        case AkskCredential():
            return repr(credential.access_key)
        case AgencyCredential():
            return f"{credential.auth_url} {credential.domain_name} {credential.agency_name}"
        case CloudCredential():
            return credential.cloud
        case TokenCredential() | NoCredential():
            return credential.type
        case _:
            assert_never(credential)
