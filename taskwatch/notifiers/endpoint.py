"""One endpoint over HTTP that is posted to."""

import base64
from collections.abc import Collection, Mapping
from datetime import datetime

import aiohttp
from yarl import URL

from taskwatch.clock import Clock
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import SecretUnreadableError
from taskwatch.model.delivery import Reason, Scope
from taskwatch.notifiers.connection import Way, try_connection
from taskwatch.notifiers.http import post
from taskwatch.notifiers.http_options import HttpOptions
from taskwatch.secret import Secret
from taskwatch.tls import Tls, TlsUnusableError
from taskwatch.urls import read_proxy


class Endpoint:
    """One URL that is posted to, by the options of its receiver. All of them are read anew each time."""

    def __init__(
        self,
        options: HttpOptions,
        *,
        url: Secret,
        session: aiohttp.ClientSession,
        clock: Clock,
        tls: Tls,
        path: str = "",
    ) -> None:
        """`path` is what follows the path of the URL."""
        self._options = options
        self._url = url
        self._session = session
        self._clock = clock
        self._tls = tls
        self._path = path

    async def post(
        self, body: bytes, headers: Mapping[str, str], *, secrets: Collection[str] = ()
    ) -> datetime | None:
        """Post once; return when it was taken, and what time the answer told, if it did.

        Raises DeliveryError, which shows none of the secrets in the body.
        """
        way = await self._way()
        try:
            own, unsaid = self._own_headers()
        except SecretUnreadableError as error:
            raise DeliveryError(Reason.UNAUTHORIZED, str(error), Scope.RECEIVER) from error
        return await post(
            self._session,
            way,
            body=body,
            headers={**own, **headers},
            secrets=unsaid | set(secrets),
            clock=self._clock,
        )

    async def connect(self) -> None:
        """Open a connection, TLS included, and close it. Through a proxy: to the proxy."""
        await try_connection(await self._way(), timeout=self._options.timeout)

    async def _way(self) -> Way:
        try:
            return Way(
                url=_beneath(self._url.reveal(), self._path),
                tls=await self._tls.context(),
                proxy=None if self._options.proxy is None else read_proxy(self._options.proxy),
            )
        except SecretUnreadableError as error:
            raise DeliveryError(Reason.UNAUTHORIZED, str(error), Scope.RECEIVER) from error
        except TlsUnusableError as error:
            raise DeliveryError(Reason.TLS, str(error), Scope.RECEIVER) from error

    def _own_headers(self) -> tuple[dict[str, str], set[str]]:
        """Return what is configured for every request, and what of it no error may show."""
        headers = {name: _sendable(value) for name, value in self._options.headers.items()}
        secrets = set(headers.values())
        if self._options.bearer is not None:
            token = _sendable(self._options.bearer)
            headers["Authorization"] = f"Bearer {token}"
            secrets.add(token)
        elif self._options.basic is not None:
            pair = f"{_sendable(self._options.basic.username)}:{_sendable(self._options.basic.password)}"
            encoded = base64.b64encode(pair.encode()).decode("ascii")
            headers["Authorization"] = f"Basic {encoded}"
            secrets |= {encoded, *pair.split(":", 1)}
        return headers, secrets


def _beneath(url: str, path: str) -> str:
    """Return the URL with the path beneath its own; as it is where it is none: who uses it says so."""
    if not path:
        return url
    try:
        whole = URL(url)
    except ValueError:
        return url
    return str(whole.with_path(whole.raw_path.rstrip("/") + path, encoded=True, keep_query=True))


def _sendable(secret: Secret) -> str:
    """Return the text of a header. A line end in it would begin another header."""
    text = secret.reveal()
    if not text.isprintable():
        raise SecretUnreadableError(
            f"the secret in {secret.place} holds a line end or another control character: no header takes it"
        )
    return text
