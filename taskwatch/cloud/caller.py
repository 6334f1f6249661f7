"""Asks one host as one credential: in its turn, authenticated, within the rate."""

from yarl import URL

from taskwatch.cloud.auth.login import Authentication, Login
from taskwatch.cloud.errors import Asked
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Answer, Request, Transport
from taskwatch.errors import CloudCause, CloudError


class Caller:
    """Sends the requests of one project. Never two at once: errors tell of the login that was used last."""

    def __init__(self, *, transport: Transport, endpoint: str, login: Login, limiter: Limiter) -> None:
        self._transport = transport
        self._login = login
        self._limiter = limiter
        self._has_turn = False
        self.asked = Asked(host=_host_of(endpoint), credential=str(login))
        self.requests = 0  # sent so far, refused ones included

    async def turn(self) -> None:
        """Wait until the rate lets a request pass; the next one is then sent at once."""
        await self._limiter.acquire()
        self._has_turn = True

    async def get(self, url: URL) -> Answer:
        """Return the answer. Raises CloudError. Without a turn of its own it goes before those that wait for one."""
        request = Request(url=url)
        return await self._login.send(request, lambda authentication: self._send(request, authentication))

    async def _send(self, request: Request, authentication: Authentication) -> Answer:
        if not self._has_turn:
            await self._limiter.acquire(first=True)
        self._has_turn = False
        self.requests += 1
        self.asked.secrets = authentication.secrets
        try:
            return await self._transport.send(request, authentication.headers, self.asked)
        except CloudError as error:
            if error.cause is CloudCause.THROTTLED:
                self._limiter.pause(error.retry_after)
            raise


def _host_of(endpoint: str) -> str:
    return URL(endpoint).host_port_subcomponent or "the endpoint"
