"""URLs that may hold a user and a password: those of proxies, and of receivers."""

import base64
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from taskwatch.errors import SecretUnreadableError
from taskwatch.secret import Secret

_SENT_AS: Final = "latin-1"  # aiohttp's choice for what stands in a URL
_LOGIN_ENCODINGS: Final = (_SENT_AS, "utf-8")  # who repeats it may write it anew


def login_secrets(url: URL) -> tuple[str, ...]:
    """Return what no error may show of the login in a URL: its user and password, apart and as they are sent."""
    if url.user is None and url.password is None:
        return ()
    user, password = url.user or "", url.password or ""
    # What cannot be sent cannot be repeated.
    sent = [f"{user}:{password}".encode(encoding, "ignore") for encoding in _LOGIN_ENCODINGS]
    in_base64 = (base64.b64encode(login).decode("ascii") for login in sent)
    misread = (  # repeated as it was sent, and read as UTF-8: in bodies, and in headers
        text.encode(_SENT_AS, "ignore").decode("utf-8", errors)
        for text in (user, password)
        for errors in ("replace", "surrogateescape")
    )
    return tuple(text for text in (user, password, *in_base64, *misread) if text)


def has_sendable_login(url: URL) -> bool:
    """Tell whether the login in a URL, if there is one, can be sent."""
    try:
        f"{url.user or ''}{url.password or ''}".encode(_SENT_AS)
    except UnicodeEncodeError:  # it holds the text
        return False
    return True


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy as it is now."""

    url: URL = field(repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.url.host_port_subcomponent}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of it no error may show."""
        return login_secrets(self.url)

    def is_at(self, host: str, port: int | None) -> bool:
        return (host, port) == (self.url.host, self.url.port)


def read_proxy(secret: Secret) -> Proxy:
    """Return the proxy as it is kept. Raises SecretUnreadableError, also where it is none."""
    try:
        url = URL(secret.reveal())
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise SecretUnreadableError(f"what {secret.place} holds is no proxy; write http://HOST:PORT there")
    if not has_sendable_login(url):
        raise SecretUnreadableError(
            f"the user or the password of the proxy in {secret.place} holds letters that cannot be sent to it;"
            " have it take others"
        )
    return Proxy(url)
