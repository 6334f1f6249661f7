"""Asks one host as one credential: in its turn, authenticated, within the rate."""

import asyncio
from typing import Final

from yarl import URL

from taskwatch.cloud.auth.login import Authentication, Login
from taskwatch.cloud.errors import Asked
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Answer, Request, Transport
from taskwatch.errors import CloudCause, CloudError

_TURN_SECONDS: Final = 1.0  # what waited for a login for longer must not all go out at once


class Caller:
    """Sends the requests of one project. Never two at once: errors tell of the login that was used last."""

    def __init__(self, *, transport: Transport, endpoint: str, login: Login, limiter: Limiter) -> None:
        self._transport = transport
        self._login = login
        self._limiter = limiter
        self._turn_until = 0.0  # on the loop's clock
        self.asked = Asked(host=host_of(endpoint), credential=str(login))
        self.requests = 0  # sent so far, refused ones included

    async def turn(self) -> None:
        """Wait until there is a login and the rate lets a request pass; the next one is then sent at once.

        Raises CloudError.
        """
        await self._login.ready()
        await self._limiter.acquire()
        self._turn_until = asyncio.get_running_loop().time() + _TURN_SECONDS

    async def get(self, url: URL, *, within: float | None = None) -> Answer:
        """Return the answer. Raises CloudError. Without a turn of its own it goes before those that wait for one.

        `within` says after how many seconds the caller gives up.
        """
        request = Request(url=url, within=within)
        self.asked.phase = "the login took too long"
        return await self._login.send(request, lambda authentication: self._send(request, authentication))

    async def _send(self, request: Request, authentication: Authentication) -> Answer:
        if asyncio.get_running_loop().time() >= self._turn_until:
            self.asked.phase = "the rate of the credential let no request pass"
            await self._limiter.acquire(first=True)
        self._turn_until = 0.0
        self.requests += 1
        self.asked.secrets = authentication.secrets
        try:
            answer = await self._transport.send(request, authentication.headers, self.asked)
        except CloudError as error:
            if error.cause is CloudCause.THROTTLED:
                self._limiter.throttle(error)
            raise
        self._limiter.answered()
        return answer


def host_of(endpoint: str) -> str:
    """Return the host of a URL, with the port where it is not the scheme's."""
    return URL(endpoint).host_port_subcomponent or "the endpoint"
