"""Secrets and URLs: the text itself, or the file, environment variable or credential that keeps it."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from taskwatch.config.fields import beside, is_off
from taskwatch.errors import SecretUnreadableError
from taskwatch.secret import Kept, Secret

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_PORTS: Final = {"https": 443, "http": 80}
_WAYS: Final = "the text, {file: PATH}, {env: NAME} or {credential: NAME}"
_JSON_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        *(
            {
                "type": "object",
                "properties": {kept: {"type": "string", "minLength": 1}},
                "required": [kept],
                "additionalProperties": False,
            }
            for kept in ("file", "env", "credential")
        ),
    ]
}

SecretKind = TypeVar("SecretKind", bound=Secret)


class Url(Secret):
    """Where to send something. Treated as a secret: its path or query may hold a token.

    Unlike a secret it may well be written as text, so nobody is warned of that.
    """

    __slots__ = ()

    @property
    def has_login(self) -> bool:
        """Whether a user or a password stands in it, as far as it is written as text."""
        return self.kept is Kept.TEXT and "@" in urlsplit(self.reveal()).netloc


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a cloud is reached: scheme and host, and the port where it is not the scheme's."""

    scheme: str
    host: str  # lower case, with the port; part of a project's identity
    path: str = ""  # of a login service alone: it ends in /v3

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"

    @property
    def is_in_clear(self) -> bool:
        """Whether what is sent there crosses a network without encryption."""
        return self.scheme == "http" and not is_loopback(urlsplit(str(self)).hostname or "")


def parse_endpoint(value: object, info: ValidationInfo) -> Endpoint:
    """Read an endpoint. One that is kept elsewhere is read at once: it is part of who a project is."""
    if isinstance(value, Endpoint):
        return value
    written = _read_now(value, info)
    parts, port = split_url(written)
    if "@" in parts.netloc or parts.path not in ("", "/") or "?" in written or "#" in written:
        raise ValueError("more than scheme and host; write https://HOST, the rest is added")
    return Endpoint(scheme=parts.scheme, host=_host(parts, port))


def parse_auth_url(value: object, info: ValidationInfo) -> Endpoint:
    """Read where a login service is. Without a path it is the service's usual one, /v3."""
    if isinstance(value, Endpoint):
        return value
    written = _read_now(value, info)
    parts, port = split_url(written)
    path = parts.path.rstrip("/") or "/v3"
    if "@" in parts.netloc or not path.endswith("/v3") or "?" in written or "#" in written:
        raise ValueError("not the URL of a login service; write https://HOST/v3, the rest is added")
    return Endpoint(scheme=parts.scheme, host=_host(parts, port), path=path)


def _read_now(value: object, info: ValidationInfo) -> str:
    try:
        return _kept(value, info, Url).reveal()
    except SecretUnreadableError as error:
        raise ValueError(str(error)) from error


def _host(parts: SplitResult, port: int | None) -> str:
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    return host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"


def _secret(value: object, info: ValidationInfo) -> Secret:
    return value if isinstance(value, Secret) else _kept(value, info, Secret)


def kept_url(check: Callable[[str], object]) -> PlainValidator:
    """Take a URL, wherever it is kept; `check` raises ValueError for one that is written as text and is none."""

    def read(value: object, info: ValidationInfo) -> Secret:
        if isinstance(value, Secret):
            return value
        url = _kept(value, info, Url)
        if url.kept is Kept.TEXT:
            check(url.reveal())
        return url

    return PlainValidator(read)


def _kept(value: object, info: ValidationInfo, kind: type[SecretKind]) -> SecretKind:
    if isinstance(value, str) and not is_off(value):
        return kind(Kept.TEXT, value)
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError(f"nothing to read; write {_WAYS}")
    ((way, where),) = value.items()
    if not isinstance(where, str) or not where.strip() or "\0" in where:
        raise ValueError(f"nothing to read; write {_WAYS}")
    match way:
        case "file":
            return kind(Kept.FILE, str(beside(info.context, where)))
        case "env" if _VARIABLE.fullmatch(where):
            return kind(Kept.ENV, where)
        case "credential" if "/" not in where and where not in (".", ".."):
            return kind(Kept.CREDENTIAL, where)
        case "env" | "credential":
            raise ValueError("not a name of that kind; write the name under which it is found")
        case _:
            raise ValueError(f"kept in no way that is known; write {_WAYS}")


def split_url(url: str, schemes: Sequence[str] = (*_PORTS,)) -> tuple[SplitResult, int | None]:
    """Return the parts of a URL, and its port if it names one. Raises ValueError, which does not show the URL."""
    remedy = f"write {' or '.join(f'{scheme}://HOST' for scheme in schemes)}"
    # urlsplit() drops line ends and tabs in silence, and its errors show what they are about.
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("a URL with spaces or control characters; write it without")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"not a URL; {remedy}") from None
    if parts.scheme not in schemes or not host or not (_is_address(host) or _HOST.fullmatch(host)):
        raise ValueError(f"not a URL; {remedy}")
    return parts, port


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether the name or address is of this host alone."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


KEPT_SCHEMA: Final = WithJsonSchema(_JSON_SCHEMA)
"""How a secret or a URL is written, in the JSON Schema."""

SecretText = Annotated[Secret, PlainValidator(_secret), KEPT_SCHEMA]
"""A secret. `Secret.reveal()` reads it when it is needed."""

SecretUrl = Annotated[Secret, kept_url(split_url), KEPT_SCHEMA]
"""A URL over HTTP or HTTPS. Checked where it is written as text; else when it is used."""

EndpointUrl = Annotated[Endpoint, PlainValidator(parse_endpoint), KEPT_SCHEMA]

AuthUrl = Annotated[Endpoint, PlainValidator(parse_auth_url), KEPT_SCHEMA]
"""Where a login service (IAM) is."""
