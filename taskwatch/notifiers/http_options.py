"""What can be said of how a receiver over HTTP is reached."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from taskwatch.config import network
from taskwatch.config.kept import SecretText
from taskwatch.config.network import Proxy
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.section import Section, default

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2
_OWN_HEADERS: Final = frozenset(
    {"content-type", "content-length", "host", "transfer-encoding", "authorization"}
)


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("not a header name; write letters, digits and -")
    if name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
        raise ValueError(
            "taskwatch sets this header itself; leave it out (for Authorization write bearer or basic)"
        )
    return name


class Basic(Section):
    """HTTP basic authentication."""

    username: SecretText
    password: SecretText


class HttpOptions(ReceiverOptions):
    """The keys of every receiver over HTTP."""

    headers: dict[Annotated[str, AfterValidator(_header_name)], SecretText] = Field(
        {}, description="further headers"
    )
    basic: Basic | None = Field(None, description="user name and password")
    bearer: SecretText | None = Field(None, description="a token for Authorization: Bearer")
    tls: network.Tls = default({}, "the TLS of the receiver")
    proxy: Proxy = None

    @model_validator(mode="after")
    def _has_one_login(self) -> Self:
        if self.basic is not None and self.bearer is not None:
            raise ValueError("both basic and bearer; write one of the two")
        return self
