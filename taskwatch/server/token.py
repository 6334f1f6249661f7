"""The token that callers show: read anew for each of them, as long as nobody else on this machine can read it."""

from taskwatch.config.inspection import exposure
from taskwatch.errors import SecretUnreadableError, TaskwatchError
from taskwatch.secret import Secret
from taskwatch.telemetry import Logger


class NoTokenError(TaskwatchError):
    """What the token is to be is not known. The log says why: that names a place on this host."""


class TokenKeeper:
    """Knows the token.

    - One that everybody on this machine can read is not taken, as a start and a reload take none: the one before stays.
    - What is in the way is logged once.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._secret: Secret | None = None  # of which the token is
        self._token: str | None = None
        self._said: str | None = None

    def token(self, secret: Secret) -> str:
        """Return what is to be shown now. Raises NoTokenError."""
        if secret != self._secret:
            self._secret, self._token = secret, None
        try:
            token = secret.reveal()
        except SecretUnreadableError as error:
            if self._is_news(str(error)):
                self._log.warning(
                    "server_token_unreadable", error=str(error), remedy="until then nobody is let in"
                )
            raise NoTokenError from None
        if (exposed := exposure(secret)) is None:
            self._token = token
        if self._is_news(exposed):
            known = "nobody is let in" if self._token is None else "the one before is asked for"
            self._log.warning("server_token_exposed", error=exposed, remedy=f"until then {known}")
        if self._token is None:
            raise NoTokenError
        return self._token

    def _is_news(self, why: str | None) -> bool:
        """Take what is in the way; tell whether that is to be logged."""
        is_news = why is not None and why != self._said
        self._said = why
        return is_news
