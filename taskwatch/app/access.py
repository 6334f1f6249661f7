"""A credential in use: the logins it gives, one for each project, and what IAM says to it."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar, assert_never

from taskwatch.clock import Clock
from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.auth.agency import AgencySource
from taskwatch.cloud.auth.aksk import AkskLogin, SecretKeys, Signer
from taskwatch.cloud.auth.clouds import CloudLogin, OpenstackCloud
from taskwatch.cloud.auth.login import Login, NoLogin
from taskwatch.cloud.auth.password import PasswordSource
from taskwatch.cloud.auth.renewed import RenewedLogin, TokenSource
from taskwatch.cloud.auth.token import TokenLogin
from taskwatch.cloud.caller import host_of
from taskwatch.cloud.iam import Iam, Scope, ServiceEndpoint, User, VisibleProject
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Transport
from taskwatch.config.configuration import Credential
from taskwatch.config.kept import Endpoint
from taskwatch.config.schema import (
    AgencyCredential,
    AkskCredential,
    CloudCredential,
    NoCredential,
    PasswordCredential,
    TokenCredential,
)
from taskwatch.errors import CloudCause, CloudError
from taskwatch.telemetry import Logger

_SHOWN: Final = 5  # projects, in an error


class _Closes(Protocol):
    async def close(self) -> None: ...


Kept = TypeVar("Kept", bound=RenewedLogin | CloudLogin)


class Access:
    """One credential, for as long as it is configured as it is."""

    def __init__(
        self,
        *,
        name: str,
        credential: Credential,
        account: Account,
        via: "Access | None",
        limiter: Callable[[str], Limiter],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`account` is whom the refusals are counted for; `via` is the credential that an agency is assumed with.

        `limiter` gives the rate at a host.
        """
        self.credential = credential
        self.via = via
        self._name = name
        self._limiter = limiter
        self._clock = clock
        self._account = account
        self._logins: dict[tuple[str | None, Transport], Login] = {}
        self._by_name: dict[tuple[str, Transport], RenewedLogin] = {}  # one each: a refusal is the name's
        self._opened: list[_Closes] = []
        self._signer: Signer | None = None
        self._cloud: OpenstackCloud | None = None
        match credential:
            case AkskCredential():
                keys = SecretKeys(
                    access_key=credential.access_key,
                    secret_key=credential.secret_key,
                    security_token=credential.security_token,
                )
                self._signer = Signer(keys, account=self._account, clock=clock, log=log)
            case CloudCredential():
                self._cloud = OpenstackCloud(credential.cloud, account=self._account, clock=clock, log=log)

    def login(self, project_id: str | None, transport: Transport) -> Login:
        """Return the login for a project; None: for IAM itself. Each keeps its token."""
        key = project_id, transport
        if key not in self._logins:
            self._logins[key] = self._new_login(project_id, transport)
        return self._logins[key]

    @property
    def is_refused(self) -> bool:
        """Whether it was refused since it was accepted last."""
        return self._account.is_refused

    def expires_in(self, project_id: str, transport: Transport) -> float | None:
        """Return the seconds until the token for a project expires; None: there is none, or its end is not known."""
        login = self._logins.get((project_id, transport))
        return login.expires_in if isinstance(login, RenewedLogin | CloudLogin) else None

    async def projects(self, transport: Transport) -> tuple[VisibleProject, ...]:
        """List the projects that this credential can see. Raises CloudError."""
        iam = await self._iam(transport)
        return await iam.projects(self.login(None, transport), signs=await self._signs())

    async def project_id(self, name: str, transport: Transport) -> str:
        """Return the id of the project that has this name in the cloud. Raises CloudError."""
        match self.credential:
            case PasswordCredential() | AgencyCredential():
                login = self._by_name.get((name, transport))
                if login is None:
                    login = self._renewed(self.credential, Scope(project_name=name), transport)
                    self._by_name[name, transport] = login
                project_id = (await login.token()).project_id
                if project_id is not None:
                    self._logins[project_id, transport] = login  # the token is the project's already
                    return project_id
        seen = await self.projects(transport)
        for project in seen:
            if project.name == name:
                return project.id
        raise CloudError(CloudCause.NOT_FOUND, self.unseen(f"project {name}", seen))

    def unseen(self, what: str, seen: Sequence[VisibleProject]) -> str:
        """Say that a login which works does not see a project, and what it sees instead."""
        shown = ", ".join(f"{one.name} ({one.id})" for one in seen[:_SHOWN]) or "none"
        more = f" and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else ""
        return (
            f"credential {self._name} logs in, and does not see {what}; it sees {shown}{more}: write one of these, or"
            " give the user access"
        )

    async def endpoints(self, project_id: str, transport: Transport) -> tuple[ServiceEndpoint, ...]:
        """Return what IAM's catalogue says to a project. Raises CloudError."""
        iam = await self._iam(transport)
        return await iam.catalogue(self.login(project_id, transport))

    async def auth_host(self, transport: Transport) -> str:
        """Return the host of IAM. Raises CloudError."""
        return (await self._iam(transport)).host

    async def close(self) -> None:
        """End the logins that are under way."""
        for login in self._opened:
            await login.close()

    def _new_login(self, project_id: str | None, transport: Transport) -> Login:
        credential = self.credential
        match credential:
            case TokenCredential():
                return TokenLogin(credential.token)
            case NoCredential():
                return NoLogin()
            case AkskCredential():
                assert self._signer is not None  # noqa: S101 - made for this type
                return AkskLogin(self._signer, project_id=project_id)
            case CloudCredential():
                assert self._cloud is not None  # noqa: S101 - made for this type
                return self._kept(self._cloud.login(project_id, transport.proxy))
            case PasswordCredential():
                return self._renewed(credential, _scope(project_id, credential.user_domain_name), transport)
            case AgencyCredential():
                return self._renewed(credential, _scope(project_id, credential.domain_name), transport)
            case _:
                assert_never(credential)

    def _renewed(
        self, credential: PasswordCredential | AgencyCredential, scope: Scope, transport: Transport
    ) -> RenewedLogin:
        iam = self._iam_at(credential.auth_url, transport)
        if isinstance(credential, PasswordCredential):
            source: TokenSource = PasswordSource(
                iam=iam,
                user=User(name=credential.username, domain_name=credential.user_domain_name),
                password=credential.password,
                scope=scope,
            )
        else:
            assert self.via is not None  # noqa: S101 - references.py has told of those without
            via = self.via.login(None, transport)
            assert isinstance(via, RenewedLogin | TokenLogin)  # noqa: S101 - of type password or token
            source = AgencySource(
                iam=iam,
                via=via,
                domain_name=credential.domain_name,
                agency_name=credential.agency_name,
                scope=scope,
            )
        return self._kept(RenewedLogin(source, account=self._account, clock=self._clock))

    def _kept(self, login: Kept) -> Kept:
        self._opened.append(login)
        return login

    async def _signs(self) -> bool:
        if self._cloud is not None:
            return (await self._cloud.entry()).keys is not None
        return self._signer is not None

    async def _iam(self, transport: Transport) -> Iam:
        match self.credential:
            case NoCredential():
                auth_url: Endpoint | str | None = None
            case CloudCredential():
                assert self._cloud is not None  # noqa: S101 - made for this type
                auth_url = (await self._cloud.entry()).auth_url
            case _:
                auth_url = self.credential.auth_url
        return self._iam_at(auth_url, transport)

    def _iam_at(self, auth_url: Endpoint | str | None, transport: Transport) -> Iam:
        if auth_url is None:
            raise CloudError(
                CloudCause.LOGIN,
                f"credential {self._name}: nobody says where the login service (IAM) is; write auth_url",
            )
        limiter = self._limiter(host_of(str(auth_url)))
        return Iam(auth_url=str(auth_url), credential=self._name, transport=transport, limiter=limiter)


def _scope(project_id: str | None, domain_name: str) -> Scope:
    return Scope(domain_name=domain_name) if project_id is None else Scope(project_id=project_id)
