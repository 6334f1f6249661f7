"""The simulated cloud on a listener, with IAM at `auth_url`. `async with SimulatedCloud(seed=1) as cloud:` and poll `cloud.url`."""

import ssl
from datetime import UTC, datetime, tzinfo
from email.utils import formatdate
from types import TracebackType
from typing import Self
from uuid import uuid4

from aiohttp import web

from taskwatch.clock import Clock
from taskwatch.simulator import controls, endpoint, iam, steering
from taskwatch.simulator.cloud import DEFAULT_TOKEN, Cloud
from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.refusals import REQUEST_ID

_MAX_BODY = 64 * 1024
_MAX_FIELD = 64 * 1024  # a token is longer than the 8 KiB that headers usually may have
_SHUTDOWN_SECONDS = 0.5  # plenty for an honest answer; those that a fault drags out are cut off


class SimulatedCloud(Cloud):
    """A Cloud that listens while it is entered. Port 0 takes a free one; `url` says which."""

    def __init__(
        self,
        *,
        seed: int = 0,
        projects: int = 3,
        speed: float = 1.0,
        token: str | None = DEFAULT_TOKEN,
        accounts: Accounts | None = None,
        tasks_per_day: int = 40,
        clock: Clock | None = None,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        began: datetime | None = None,
        zone: tzinfo = UTC,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            seed=seed,
            projects=projects,
            speed=speed,
            token=token,
            accounts=accounts,
            tasks_per_day=tasks_per_day,
            clock=clock,
            began=began,
            zone=zone,
        )
        self._listen = listen
        self._ssl_context = ssl_context
        self._runner: web.AppRunner | None = None
        self._url: str | None = None

    async def __aenter__(self) -> Self:
        """Open the listener. Raises OSError when the address cannot be had."""
        runner = web.AppRunner(
            _application(self),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            max_field_size=_MAX_FIELD,
        )
        await runner.setup()
        try:
            host, port = self._listen
            await web.TCPSite(runner, host, port, ssl_context=self._ssl_context).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._url = _url(*runner.addresses[0][:2], scheme="https" if self._ssl_context else "http")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = self._url = None

    @property
    def url(self) -> str:
        """Where it listens, as the endpoint of a configuration."""
        if self._url is None:
            raise RuntimeError("the simulated cloud listens only while it is entered")
        return self._url

    @property
    def auth_url(self) -> str:
        """Where IAM listens, as the auth_url of a configuration."""
        return f"{self.url}/v3"


def _application(cloud: SimulatedCloud) -> web.Application:
    async def stamp(_request: web.Request, response: web.StreamResponse) -> None:
        """Every answer tells simulated time, unless the cloud's clock shall lie."""
        response.headers["Date"] = formatdate(cloud.told_moment(), usegmt=True)
        response.headers.setdefault(REQUEST_ID, uuid4().hex)

    application = web.Application(client_max_size=_MAX_BODY)
    application.on_response_prepare.append(stamp)
    application.add_routes([*steering.routes(cloud), *controls.routes(cloud)])
    if cloud.has_accounts:
        application.add_routes(iam.routes(cloud, lambda: cloud.url))
    application.add_routes(endpoint.routes(cloud))
    return application


def _url(host: str, port: int, *, scheme: str) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
