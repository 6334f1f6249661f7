"""How hosts are reached: the sections and keys that clouds and receivers share."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from taskwatch.config.document import KeyPath
from taskwatch.config.fields import FilePath, Switch
from taskwatch.config.kept import SecretUrl
from taskwatch.config.section import Section, default
from taskwatch.tls import Trust


class Tls(Section):
    """Whom to trust, and as whom to show oneself. The files are read again when they change."""

    ca: FilePath | None = Field(
        None, description="the certificates of those who may sign, in PEM; trusted instead of the system's"
    )
    cert: FilePath | None = Field(
        None, description="the client's certificate, in PEM; with its key, where key is not written"
    )
    key: FilePath | None = Field(None, description="the key of cert, in PEM and without a password")
    verify: Switch = default(
        True, "false: anybody on the way may answer in the place of the host; ca is the better remedy"
    )

    @model_validator(mode="after")
    def _shows_what_it_has_a_key_of(self) -> Self:
        if self.key is not None and self.cert is None:
            raise ValueError("a key without cert; write cert: FILE beside it")
        return self

    @property
    def trust(self) -> Trust:
        return Trust(ca=self.ca, cert=self.cert, key=self.key, verify=self.verify)


Proxy = Annotated[
    SecretUrl | None,
    Field(description="an HTTP proxy, as http://HOST:PORT; those of the environment are ignored"),
]
"""Treated as a secret: it may hold a user name and a password."""


def find_tls(parsed: BaseModel, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Tls]]:
    """Yield every TLS section there is, also those that hold nothing but defaults."""
    for name in type(parsed).model_fields:
        value = getattr(parsed, name)
        here = (*path, name)
        if isinstance(value, Tls):
            yield here, value
        elif isinstance(value, BaseModel):
            yield from find_tls(value, here)
        elif isinstance(value, tuple):
            for number, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from find_tls(item, (*here, number))
