"""How requests are authenticated."""

from collections.abc import Mapping
from typing import Final, Protocol

from taskwatch.errors import CloudCause, CloudError, SecretUnreadableError
from taskwatch.secret import Secret

_NO_HEADERS: Final[Mapping[str, str]] = {}


class Login(Protocol):
    """Gives the headers that authenticate a request. `str()` of it says, for errors, what to check."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers as they are now: the same object for as long as nothing has changed.

        Raises CloudError (cause login) when there are none.
        """
        ...


class NoLogin:
    """For endpoints that ask for nothing."""

    def __str__(self) -> str:
        return "the credential (its type is none)"

    def headers(self) -> Mapping[str, str]:
        return _NO_HEADERS


class TokenLogin:
    """A token that others obtain and renew. A file is read again when it has changed."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._token: str | None = None
        self._headers: Mapping[str, str] = _NO_HEADERS

    def __str__(self) -> str:
        return f"the token in {self._secret.place}"

    def headers(self) -> Mapping[str, str]:
        token = self._read()
        if token != self._token:
            if not _is_sendable(token):
                raise CloudError(
                    CloudCause.LOGIN,
                    f"{self} is empty or holds characters that no token has: a line end, another control"
                    " character, or a letter outside ASCII; was more than the token copied?",
                )
            self._token, self._headers = token, {"X-Auth-Token": token}
        return self._headers

    def _read(self) -> str:
        try:
            return self._secret.reveal()
        except SecretUnreadableError as error:
            problem = f"no token: {error}"
        # Raised out here, and so without a context: the error of a file that is no text holds its bytes.
        raise CloudError(CloudCause.LOGIN, problem)


def _is_sendable(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable()
