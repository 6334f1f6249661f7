"""The receiver `webhook`: one POST per event, a CloudEvent in structured JSON, signed.

CloudEvents 1.0 HTTP binding, section 3.2 (structured content mode); Standard Webhooks 1.0 for the
headers. The signature is over the very bytes that are sent.
"""

import base64
import binascii
import re
from typing import Annotated, Final, Literal, Self

import aiohttp
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from standardwebhooks import Webhook

from taskwatch.clock import Clock
from taskwatch.config import network
from taskwatch.config.fields import NotYet, is_off
from taskwatch.config.kept import SecretText, SecretUrl
from taskwatch.config.network import Proxy
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.section import Section, default
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import SecretUnreadableError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.notifiers.connection import Way, open_session, try_connection
from taskwatch.notifiers.http import post
from taskwatch.secret import Kept, Secret
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls, TlsUnusableError
from taskwatch.urls import read_proxy

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  (a prefix that all such secrets share)
SECRET_BYTES: Final = range(24, 65)  # Standard Webhooks, "Signature scheme": 24 to 64 bytes

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


def _one_or_many(value: object) -> object:
    if value is None or is_off(value):
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _written_secret(secret: Secret) -> Secret:
    """Check a secret that stands in the file itself; others are checked when they are read."""
    if secret.kept is Kept.TEXT and (problem := signing_secret_problem(secret.reveal())):
        raise ValueError(problem)
    return secret


class Basic(Section):
    """HTTP basic authentication."""

    username: SecretText
    password: SecretText


class WebhookOptions(ReceiverOptions):
    """Posts each event to a URL."""

    type: Literal["webhook"]
    url: SecretUrl = Field(description="where to post; treated as a secret")
    secret: Annotated[
        tuple[Annotated[SecretText, AfterValidator(_written_secret)], ...],
        BeforeValidator(_one_or_many, json_schema_input_type=SecretText | list[SecretText]),
    ] = Field((), max_length=2, description="signs what is sent; two while the receiver rotates")
    headers: dict[Annotated[str, AfterValidator(_header_name)], SecretText] = Field(
        {}, description="further headers"
    )
    basic: Basic | None = Field(None, description="user name and password")
    bearer: SecretText | None = Field(None, description="a token for Authorization: Bearer")
    content_type: NotYet = None
    tls: network.Tls = default({}, "the TLS of the receiver")
    proxy: Proxy = None

    @model_validator(mode="after")
    def _has_one_login(self) -> Self:
        if self.basic is not None and self.bearer is not None:
            raise ValueError("both basic and bearer; write one of the two")
        return self


def open_notifier(options: WebhookOptions, *, clock: Clock, log: Logger) -> "WebhookNotifier":
    """Open the notifier, with connections of its own."""
    tls = Tls(options.tls.trust, log=log.bind(receiver=options.name))
    return WebhookNotifier(options, session=open_session(options.timeout), clock=clock, tls=tls)


class WebhookNotifier:
    """Posts events to one URL. With two secrets, both sign: receivers rotate without a gap."""

    def __init__(
        self, options: WebhookOptions, *, session: aiohttp.ClientSession, clock: Clock, tls: Tls
    ) -> None:
        self._options = options
        self._session = session
        self._clock = clock
        self._tls = tls

    async def notify(self, message: Message) -> None:
        way = await self._way()
        try:
            own, secrets = self._own_headers()
            headers = own | self._signed(message)
        except SecretUnreadableError as error:
            raise DeliveryError(Reason.UNAUTHORIZED, str(error), Scope.RECEIVER) from error
        await post(self._session, way, body=message.body, headers=headers, secrets=secrets, clock=self._clock)

    async def connect(self) -> None:
        """Open a connection, TLS included, and close it. Through a proxy: to the proxy."""
        await try_connection(await self._way(), timeout=self._options.timeout)

    async def _way(self) -> Way:
        try:
            return Way(
                url=self._options.url.reveal(),
                tls=await self._tls.context(),
                proxy=None if self._options.proxy is None else read_proxy(self._options.proxy),
            )
        except SecretUnreadableError as error:
            raise DeliveryError(Reason.UNAUTHORIZED, str(error), Scope.RECEIVER) from error
        except TlsUnusableError as error:
            raise DeliveryError(Reason.TLS, str(error), Scope.RECEIVER) from error

    def _own_headers(self) -> tuple[dict[str, str], set[str]]:
        """Return what is configured for every request, and what of it no error may show."""
        headers = {name: _sendable(value) for name, value in self._options.headers.items()}
        secrets = set(headers.values())
        if self._options.bearer is not None:
            token = _sendable(self._options.bearer)
            headers["Authorization"] = f"Bearer {token}"
            secrets.add(token)
        elif self._options.basic is not None:
            pair = f"{_sendable(self._options.basic.username)}:{_sendable(self._options.basic.password)}"
            encoded = base64.b64encode(pair.encode()).decode("ascii")
            headers["Authorization"] = f"Basic {encoded}"
            secrets |= {encoded, *pair.split(":", 1)}
        return headers, secrets

    async def close(self) -> None:
        await self._session.close()

    def _signed(self, message: Message) -> dict[str, str]:
        now = self._clock.now()
        headers = {
            "Content-Type": CONTENT_TYPE,
            "webhook-id": message.event_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if message.replay:
            headers["webhook-replay"] = "1"
        if self._options.secret:
            # sign() given bytes signs their repr without an error: it is given text.
            text = message.body.decode("utf-8")
            signatures = [
                _signer(secret).sign(message.event_id, now, text) for secret in self._options.secret
            ]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


def _sendable(secret: Secret) -> str:
    """Return the text of a header. A line end in it would begin another header."""
    text = secret.reveal()
    if not text.isprintable():
        raise SecretUnreadableError(
            f"the secret in {secret.place} holds a line end or another control character: no header takes it"
        )
    return text


def _signer(secret: Secret) -> Webhook:
    text = secret.reveal()
    if problem := signing_secret_problem(text):
        raise SecretUnreadableError(f"the secret in {secret.place}: {problem}")
    return Webhook(text)


def signing_secret_problem(text: str) -> str | None:
    """Say what is wrong with the text as a signing secret, or None. The library itself takes one byte."""
    remedy = "write whsec_ and base64 of 24 to 64 random bytes, as: echo whsec_$(openssl rand -base64 32)"
    if not text.startswith(SECRET_PREFIX):
        return f"a signing secret begins with whsec_; {remedy}"
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return f"what follows whsec_ is not base64; {remedy}"
    return None if len(key) in SECRET_BYTES else f"the key has {len(key)} bytes; {remedy}"
