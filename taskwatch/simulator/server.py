"""The simulated cloud on a listener. `async with SimulatedCloud(seed=1) as cloud:` and poll `cloud.url`."""

from datetime import UTC, datetime, tzinfo
from email.utils import formatdate
from types import TracebackType
from typing import Self
from uuid import uuid4

from aiohttp import web

from taskwatch.clock import Clock
from taskwatch.simulator import endpoint, steering
from taskwatch.simulator.cloud import DEFAULT_TOKEN, Cloud
from taskwatch.simulator.refusals import REQUEST_ID

_MAX_BODY = 64 * 1024
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
        tasks_per_day: int = 40,
        clock: Clock | None = None,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        began: datetime | None = None,
        zone: tzinfo = UTC,
    ) -> None:
        super().__init__(
            seed=seed,
            projects=projects,
            speed=speed,
            token=token,
            tasks_per_day=tasks_per_day,
            clock=clock,
            began=began,
            zone=zone,
        )
        self._listen = listen
        self._runner: web.AppRunner | None = None
        self._url: str | None = None

    async def __aenter__(self) -> Self:
        """Open the listener. Raises OSError when the address cannot be had."""
        runner = web.AppRunner(
            _application(self), access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        try:
            host, port = self._listen
            await web.TCPSite(runner, host, port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._url = _url(*runner.addresses[0][:2])
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


def _application(cloud: Cloud) -> web.Application:
    async def stamp(_request: web.Request, response: web.StreamResponse) -> None:
        """Every answer tells simulated time: a client must see one consistent cloud."""
        response.headers["Date"] = formatdate(cloud.moment(), usegmt=True)
        response.headers.setdefault(REQUEST_ID, uuid4().hex)

    application = web.Application(client_max_size=_MAX_BODY)
    application.on_response_prepare.append(stamp)
    application.add_routes([*steering.routes(cloud), *endpoint.routes(cloud)])
    return application


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
