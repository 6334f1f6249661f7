"""Entries of clouds.yaml, read and logged in with by openstacksdk: whatever it can log in with, this can.

Invariants:
- openstacksdk waits, and may wait for ever: it runs in a thread that nobody waits for longer than a
  login may take, and a further one is not begun before it is done. Files are looked at in such a thread
  too, and while that hangs, what was read before goes on.
- The configured proxy is asked and those of the environment are not; no redirect is followed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from yarl import URL

from taskwatch.clock import Clock
from taskwatch.cloud.auth.account import Account, Secrets
from taskwatch.cloud.auth.aksk import AkskLogin, Keys, Signer
from taskwatch.cloud.auth.beside import Beside
from taskwatch.cloud.auth.login import Login, Send, sendable
from taskwatch.cloud.auth.places import fingerprint, problem_of
from taskwatch.cloud.auth.renewed import RenewedLogin
from taskwatch.cloud.connection import read_proxy
from taskwatch.cloud.errors import Asked, one_line, refusal
from taskwatch.cloud.iam import LOGIN_SECONDS, Token, token_of
from taskwatch.cloud.transport import Answer, Request
from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import Secret
from taskwatch.telemetry import Logger

if TYPE_CHECKING:  # the extra may be missing, and its import takes a second
    from keystoneauth1.session import Session
    from openstack.config.cloud_region import CloudRegion

_LOOK_SECONDS: Final = 1.0  # so seldom are the files looked at, and so soon does a change count
_SECRET_WORDS: Final = ("password", "secret", "token", "passcode", "sk", "key", "ak")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEntry:
    """What an entry says besides how to log in."""

    auth_url: str | None
    region: str | None
    keys: Keys | None  # where it says `ak` and `sk`: requests are signed


class OpenstackCloud:
    """One entry of clouds.yaml, as one credential of ours."""

    def __init__(self, cloud: str, *, account: Account, clock: Clock, log: Logger) -> None:
        self.account = account
        self._cloud = cloud
        self._clock = clock
        self._reader = Beside(f"clouds.yaml {account.name}")
        self._asker = Beside(f"openstack {account.name}")
        self.state = ""  # of the files, as they were looked at last
        self._reading = asyncio.Lock()
        self._read: CloudEntry | CloudError | None = None
        self._look_again_at = 0.0
        self._signer = Signer(self, account=account, clock=clock, log=log)

    def login(self, project_id: str | None, proxy: Secret | None = None) -> "CloudLogin":
        """Return the login for a project, through this proxy; without a project, for what the entry names."""
        renewed = RenewedLogin(_Source(self, project_id, proxy), account=self.account, clock=self._clock)
        return CloudLogin(self, renewed=renewed, signing=AkskLogin(self._signer, project_id=project_id))

    async def entry(self) -> CloudEntry:
        """Return the entry as it is now, or was a second ago. Raises CloudError."""
        async with self._reading:
            if self._read is None or self._clock.monotonic() >= self._look_again_at:
                await self._look()
            read = self._read
        assert read is not None  # noqa: S101 - looked at, or it has raised
        if isinstance(read, CloudError):
            raise CloudError(read.cause, read.message)
        return read

    async def token(self, project_id: str | None, proxy: Secret | None = None) -> Token:
        """Log in, for this project or what the entry names. Raises CloudError."""
        return await self._asker.run(
            lambda: self._told(lambda: self._log_in(project_id, proxy), proxy), self._host()
        )

    def read(self) -> Keys:
        """Return the keys, as they were read last."""
        keys = self._read.keys if isinstance(self._read, CloudEntry) else None
        if keys is None:
            raise CloudError(
                CloudCause.LOGIN, f"cloud {self._cloud} of clouds.yaml has no ak and sk any more"
            )
        return keys

    async def _look(self) -> None:
        try:
            self.state, self._read = await self._reader.run(self._looked, "clouds.yaml")
        except CloudError as error:
            if self._read is None:
                raise self._named(error) from None
        self._look_again_at = self._clock.monotonic() + _LOOK_SECONDS

    def _named(self, error: CloudError) -> CloudError:
        return CloudError(error.cause, f"credential {self.account.name}: {error}")

    def _host(self) -> str:
        url = self._read.auth_url if isinstance(self._read, CloudEntry) else None
        return _host_of(url)

    # What follows runs in the thread.

    def _looked(self) -> tuple[str, CloudEntry | CloudError]:
        """Return the state of the files, and what they say, which is read anew when it is another state."""
        state = fingerprint()
        if self._read is not None and state == self.state:
            return state, self._read
        try:
            return state, self._told(self._read_entry)
        except CloudError as error:
            return state, self._named(error)

    def _told(self, ask: Callable[[], T], proxy: Secret | None = None) -> T:
        """Do it, and say in our words why it failed."""
        try:
            return ask()
        except CloudError:
            raise
        except ModuleNotFoundError:
            failure = CloudError(
                CloudCause.LOGIN, "openstacksdk is not installed: pip install 'taskwatch[openstack]'"
            )
        except Exception as error:  # noqa: BLE001  (plug-ins log in, and they raise what they like)
            failure = self._failure(error, proxy)
        raise failure  # out here, and so without a context: the library's errors hold requests

    def _failure(self, error: Exception, proxy: Secret | None) -> CloudError:
        from keystoneauth1 import exceptions  # noqa: PLC0415  (the extra)

        host, secrets = self._host(), self._secrets()
        place = f"cloud {self._cloud} of clouds.yaml"
        if secrets is None:  # and so nothing can be found in what the error says
            return CloudError(CloudCause.LOGIN, f"{place}: {problem_of(error)}")
        asked = Asked(
            host=host,
            credential=str(self.account),
            secrets=secrets if proxy is None else (*secrets, *read_proxy(proxy).secrets),
            setting="auth_url",
            remedies=self._remedies(),
        )
        said = one_line(asked, str(error))
        match error:
            case exceptions.HttpError() if error.response is not None:
                answer = error.response
                sent = answer.request.headers.get("X-Auth-Token")  # which it has obtained by itself
                asked.secrets = asked.secrets if sent is None else (*asked.secrets, str(sent))
                return refusal(asked, answer.status_code, answer.headers, answer.content[:65536])
            case exceptions.SSLError():
                return CloudError(CloudCause.TLS, f"{host}: no TLS connection; check cacert in clouds.yaml")
            case exceptions.ConnectTimeout():
                return CloudError(CloudCause.TIMEOUT, f"{host}: no answer in time")
            case exceptions.ConnectionError() | exceptions.DiscoveryFailure():
                return CloudError(
                    CloudCause.NETWORK,
                    f"{host}: cannot connect; check auth_url in clouds.yaml, proxy, and the firewall",
                )
            case exceptions.InvalidResponse():
                what = "gave an answer without a token, or redirects (not followed)"
                return CloudError(CloudCause.BAD_ANSWER, f"{host} {what}; check auth_url in clouds.yaml")
            case _:
                return CloudError(CloudCause.LOGIN, f"{place}: {said or type(error).__name__}")

    def _remedies(self) -> dict[CloudCause, str]:
        wrong = (
            f"check what cloud {self._cloud} of clouds.yaml logs in with (IAM says the same for a wrong user, domain"
            " or password), and that the project is visible to it"
        )
        return dict.fromkeys(
            (CloudCause.LOGIN, CloudCause.PERMISSION, CloudCause.NOT_FOUND, CloudCause.BAD_ANSWER), wrong
        )

    def _secrets(self) -> Secrets | None:
        try:
            config = self._region(validate=False).config
        except Exception:  # noqa: BLE001  (the entry cannot be read, so they are unknown)
            return None
        return tuple(_secret_values(config))

    def _region(self, *, validate: bool, project_id: str | None = None) -> "CloudRegion":
        from openstack.config import OpenStackConfig  # noqa: PLC0415  (the extra)

        for name in ("openstack", "openstack.config", "keystoneauth"):
            # They repeat lines of files, with passwords, and say at each try what we say once.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        auth: dict[str, Any] = {} if project_id is None else {"auth": {"project_id": project_id}}
        return OpenStackConfig().get_one(cloud=self._cloud, validate=validate, **auth)

    def _read_entry(self) -> CloudEntry:
        config = self._region(validate=False).config
        auth = config.get("auth") or {}
        access, secret = _first(config, "ak", "access_key"), _first(config, "sk", "secret_key")
        token = _first(config, "security_token")
        keys = None
        if access and secret:
            keys = Keys(
                access=sendable(access, said="ak"),
                secret=secret,
                security_token=token and sendable(token, said="security_token"),
            )
        auth_url = _first(auth, "auth_url")
        if auth_url is not None and not _is_place(auth_url):
            raise CloudError(
                CloudCause.LOGIN,
                f"cloud {self._cloud} of clouds.yaml: auth_url is no URL of a login service; write https://HOST/v3",
            )
        return CloudEntry(auth_url=auth_url, region=_first(config, "region_name"), keys=keys)

    def _session(self, region: "CloudRegion", proxy: Secret | None) -> "Session":
        import requests  # noqa: PLC0415  (comes with the extra)
        from keystoneauth1.session import Session  # noqa: PLC0415  (the extra)

        verify, cert = region.get_requests_verify_args()
        plain = requests.Session()
        plain.trust_env = False
        if proxy is not None:
            url = str(read_proxy(proxy).url)
            plain.proxies = {"http": url, "https": url}
        return Session(
            auth=region.get_auth(),
            session=plain,
            verify=verify,
            cert=cert,
            timeout=LOGIN_SECONDS,
            redirect=False,
            connect_retries=0,
        )

    def _log_in(self, project_id: str | None, proxy: Secret | None) -> Token:
        from keystoneauth1.identity.base import BaseIdentityPlugin  # noqa: PLC0415  (the extra)

        region = self._region(validate=True, project_id=project_id)
        session, plugin = self._session(region, proxy), region.get_auth()
        if not isinstance(plugin, BaseIdentityPlugin):  # a token that somebody made, no login
            return token_of(session.get_token() or "", {}, host=self._host())
        access = plugin.get_access(session)
        body = {
            "expires_at": access.expires and access.expires.isoformat(),
            "issued_at": access.issued and access.issued.isoformat(),
            "project": {"id": access.project_id},
        }
        return token_of(access.auth_token or "", body, host=self._host())


class CloudLogin:
    """Logs in to a project as an entry of clouds.yaml says: with a token, or by signing."""

    def __init__(self, cloud: OpenstackCloud, *, renewed: RenewedLogin, signing: AkskLogin) -> None:
        self._cloud = cloud
        self._renewed = renewed
        self._signing = signing

    def __str__(self) -> str:
        return str(self._cloud.account)

    @property
    def expires_in(self) -> float | None:
        """Seconds until its token expires, negative when it has; None: it has none, as when it signs."""
        return self._renewed.expires_in

    async def ready(self) -> None:
        await (await self._login()).ready()

    async def send(self, request: Request, send: Send) -> Answer:
        return await (await self._login()).send(request, send)

    async def token(self) -> Token:
        """Return a token that holds. Raises CloudError."""
        await self._cloud.entry()
        return await self._renewed.token()

    async def close(self) -> None:
        await self._renewed.close()

    async def _login(self) -> Login:
        return self._signing if (await self._cloud.entry()).keys is not None else self._renewed


class _Source:
    """Tokens of an entry, for one project. Its files were looked at before it is asked."""

    def __init__(self, cloud: OpenstackCloud, project_id: str | None, proxy: Secret | None) -> None:
        self._cloud = cloud
        self._project_id = project_id
        self._proxy = proxy

    def secrets(self) -> Secrets:
        return (self._cloud.state,)

    async def obtain(self, secrets: Secrets) -> Token:  # noqa: ARG002  (openstacksdk reads for itself)
        return await self._cloud.token(self._project_id, self._proxy)


def _is_place(text: str) -> bool:
    """Tell whether it is a URL, and without a user and a password: who logs in stands beside it."""
    try:
        url = URL(text)
    except ValueError:  # it holds the text
        return False
    return url.scheme in ("http", "https") and bool(url.host) and url.user is None and url.password is None


def _host_of(url: str | None) -> str:
    try:
        host = URL(url or "").host_port_subcomponent
    except ValueError:
        host = None
    return host or "clouds.yaml"


def _first(section: Mapping[str, Any], *names: str) -> str | None:
    found = (section.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _secret_values(section: Mapping[str, Any]) -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _secret_values(value)
        elif isinstance(value, str | int | float) and any(word in name for word in _SECRET_WORDS):
            yield str(value)  # YAML takes a password of digits alone for a number
