"""Where mail is handed over."""

from dataclasses import dataclass
from typing import Final

from taskwatch.config.kept import split_url

_PORTS: Final = {"smtps": 465, "smtp": 587}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """Where mail is handed over."""

    host: str
    port: int
    is_tls: bool  # from the first byte

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_relay(url: str) -> Relay:
    """Read the URL of a mail server. Raises ValueError, which does not show it."""
    parts, port = split_url(url, (*_PORTS,))
    if "@" in parts.netloc:
        raise ValueError("a login in the URL; write username and password as keys of their own")
    if parts.path not in ("", "/") or "?" in url or "#" in url or port == 0:
        raise ValueError("more than a host and its port; write smtps://HOST or smtp://HOST:PORT")
    return Relay(host=parts.hostname or "", port=port or _PORTS[parts.scheme], is_tls=parts.scheme == "smtps")
