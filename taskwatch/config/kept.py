"""Secrets and URLs: the text itself, or the file, environment variable or credential that keeps it."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from taskwatch.config.fields import beside, is_off
from taskwatch.errors import SecretUnreadableError
from taskwatch.secret import Kept, Secret

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_PORTS: Final = {"http": 80, "https": 443}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a cloud is reached: scheme and host, and the port where it is not the scheme's."""

    scheme: str
    host: str  # lower case, with the port; part of a project's identity

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def is_open_to_listeners(self) -> bool:
        """Whether what is sent there crosses a network without encryption."""
        return self.scheme == "http" and not _is_loopback(urlsplit(str(self)).hostname or "")
