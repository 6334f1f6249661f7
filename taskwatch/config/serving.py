"""The server's section, and the heartbeat's: who may look at the daemon, and whom it tells that it lives."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, model_validator

from taskwatch.config.fields import Duration, beside, between, empty_if_off, is_off
from taskwatch.config.kept import SecretText, SecretUrl, is_loopback, split_url
from taskwatch.config.section import Section, default

PORT: Final = 9720
_LAST_PORT: Final = 65535
_LONGEST_LABEL: Final = 63  # of a name: RFC 1035, section 2.3.4
_LONGEST_SOCKET: Final = 100  # bytes; the kernel takes 107 with the end mark
_TCP: Final = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_WAYS: Final = f"write HOST:PORT as 127.0.0.1:{PORT}, [::]:{PORT}, unix:/PATH, or off"
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpListen:
    """An address and a port; 0 is any that is free."""

    host: str  # without brackets
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this host can reach it."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixListen:
    """A socket in the file system."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def is_local(self) -> bool:
        return True


Listen = TcpListen | UnixListen


def _listen(value: object, info: ValidationInfo) -> Listen | None:
    if value is None or is_off(value):
        return None
    if isinstance(value, TcpListen | UnixListen):
        return value
    text = value if isinstance(value, str) else ""
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"), info)
    written = _TCP.fullmatch(text)
    if written is None or int(written["port"]) > _LAST_PORT or not _may_be_host(written["host"]):
        raise ValueError(f"nowhere to listen; {_WAYS}")
    return TcpListen(host=written["six"] or written["host"], port=int(written["port"]))


def _may_be_host(name: str | None) -> bool:
    return name is None or all(1 <= len(label) <= _LONGEST_LABEL for label in name.split("."))


def _unix(path: str, info: ValidationInfo) -> UnixListen:
    if not path or "\0" in path:
        raise ValueError(f"a socket without a path; {_WAYS}")
    found = beside(info.context, path)
    if len(str(found).encode()) > _LONGEST_SOCKET:
        raise ValueError(f"the path of a socket has {_LONGEST_SOCKET} bytes at most; write a shorter one")
    return UnixListen(path=found)


def _host_name(value: object) -> str:
    if not isinstance(value, str) or not _HOST_NAME.fullmatch(value):
        raise ValueError("not the name of a host; write it without scheme and port, as taskwatch.example")
    return value.lower()


def _external_url(value: object) -> str | None:
    if value is None:
        return None
    parts, _ = split_url(str(value))
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("more than a place; write https://HOST or https://HOST/PATH")
    return str(value).rstrip("/")


class Server(Section):
    """The page, the API, the metrics and the health of the daemon."""

    listen: Annotated[Listen | None, PlainValidator(_listen, json_schema_input_type=str | None)] = default(
        f"127.0.0.1:{PORT}", f"HOST:PORT, as [::]:{PORT}; unix:/PATH; off"
    )
    token: SecretText | None = Field(
        None,
        description="asked of everybody, 16 characters or more; required unless listen is a loopback address or a unix"
        " socket",
    )
    hosts: Annotated[
        tuple[Annotated[str, PlainValidator(_host_name, json_schema_input_type=str)], ...],
        BeforeValidator(empty_if_off),
    ] = default([], "further names under which it is asked for, beside addresses and localhost")
    external_url: Annotated[str | None, PlainValidator(_external_url, json_schema_input_type=str | None)] = (
        Field(None, description="where people find it, for links in messages: https://HOST")
    )

    @classmethod
    def _without_off(cls, value: object) -> object:
        return {"listen": None} if is_off(value) else super()._without_off(value)

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if self.listen is not None and not self.listen.is_local and self.token is None:
            raise ValueError(
                f"listen: {self.listen} can be reached from other hosts; write a token, as"
                " token: {file: server.token}, or listen on 127.0.0.1 or a unix socket"
            )
        return self


class Heartbeat(Section):
    """A dead man's switch: whoever is pinged here raises the alarm when the pings stop."""

    url: SecretUrl = Field(
        examples=["https://hc.example/ping/ID"], description="what is posted to: https://HOST/PATH"
    )
    every: Annotated[Duration, between(1.0, 86_400.0)] = default("1m", "from ping to ping")
