"""Tokens that others obtain and renew."""

from taskwatch.cloud.auth.login import Authentication, Send, revealed, sendable
from taskwatch.cloud.transport import Answer, Request
from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import Secret


class TokenLogin:
    """A token made elsewhere. A file is read again at each request, so a rotated one counts at once."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._token: str | None = None
        self._authentication = Authentication()

    def __str__(self) -> str:
        return f"the token in {self._secret.place}"

    def secrets(self) -> tuple[str, ...]:
        """Return the token as it is now. Raises CloudError."""
        return self._current().secrets

    async def ready(self) -> None:
        return

    async def send(self, request: Request, send: Send) -> Answer:  # noqa: ARG002  (nothing of it is signed)
        authentication = self._current()
        try:
            return await send(authentication)
        except CloudError as error:
            if error.cause is not CloudCause.LOGIN:
                raise
            renewed = self._current()
            if renewed is authentication:
                raise
        # The token was rotated since: once more, and only once, with the new one.
        return await send(renewed)

    def _current(self) -> Authentication:
        """Return the authentication as it is now: the same object for as long as nothing has changed."""
        token = revealed(self._secret, said="token")
        if token != self._token:
            self._authentication = authentication_by(token, said=str(self))
            self._token = token
        return self._authentication


def authentication_by(token: str, *, said: str) -> Authentication:
    """Return what sends this token. Raises CloudError (login) for one that no header can hold; `said` names it."""
    return Authentication(headers={"X-Auth-Token": sendable(token, said=said)}, secrets=(token,))
