"""The receiver `webhook`: one POST per event, a CloudEvent in structured JSON, signed.

CloudEvents 1.0 HTTP binding, section 3.2 (structured content mode); Standard Webhooks 1.0 for the
headers. The signature is over the very bytes that are sent.
"""

import base64
import binascii
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from standardwebhooks import Webhook

from taskwatch.clock import Clock
from taskwatch.config.fields import Text, is_off
from taskwatch.config.kept import SecretText, SecretUrl
from taskwatch.config.template import TemplateText
from taskwatch.engine.ports import AlertBook, DeliveryError
from taskwatch.errors import SecretUnreadableError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.model.rendered import read_rendered
from taskwatch.notifiers.http_options import HttpOptions
from taskwatch.secret import Kept, Secret
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls

if TYPE_CHECKING:
    import aiohttp

    from taskwatch.notifiers.endpoint import Endpoint

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.-]+)*", re.ASCII)
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  (a prefix that all such secrets share)
SECRET_BYTES: Final = range(24, 65)  # Standard Webhooks, "Signature scheme": 24 to 64 bytes


def _one_or_many(value: object) -> object:
    if value is None or is_off(value):
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _written_secret(secret: Secret) -> Secret:
    """Check a secret that stands in the file itself; others are checked when they are read."""
    if secret.kept is Kept.TEXT and (problem := signing_secret_problem(secret.reveal())):
        raise ValueError(problem)
    return secret


def _content_type(text: str | None) -> str | None:
    if text is not None and not _MEDIA_TYPE.fullmatch(text):
        raise ValueError("not a media type; write one, as text/plain; charset=utf-8")
    return text


class WebhookOptions(HttpOptions):
    """Posts each event to a URL."""

    type: Literal["webhook"]
    url: SecretUrl = Field(description="where to post; treated as a secret")
    secret: Annotated[
        tuple[Annotated[SecretText, AfterValidator(_written_secret)], ...],
        BeforeValidator(_one_or_many, json_schema_input_type=SecretText | list[SecretText]),
    ] = Field((), max_length=2, description="signs what is sent; two while the receiver rotates")
    template: TemplateText | None = Field(
        None, description="sends the text that this makes of an event instead of the event"
    )
    content_type: Annotated[Text | None, AfterValidator(_content_type)] = Field(
        None, description="of that text; text/plain; charset=utf-8 where nothing is said"
    )

    @property
    def text_type(self) -> str | None:
        return None if self.template is None else self.content_type or TEXT_TYPE

    @model_validator(mode="after")
    def _has_text_of_a_type(self) -> Self:
        if self.content_type is not None and self.template is None:
            raise ValueError("content_type without template; write both, or leave it out")
        return self


def open_notifier(
    options: WebhookOptions,
    *,
    clock: Clock,
    log: Logger,
    alerts: AlertBook,  # noqa: ARG001  (all kinds are opened alike)
) -> "WebhookNotifier":
    """Open the notifier, with connections of its own."""
    # They bring aiohttp, and commands that list something read the options and open nothing.
    from taskwatch.notifiers.connection import open_session  # noqa: PLC0415
    from taskwatch.notifiers.endpoint import Endpoint  # noqa: PLC0415

    tls = Tls(options.tls.trust, log=log.bind(receiver=options.name))
    session = open_session(options.timeout)
    endpoint = Endpoint(options, url=options.url, session=session, clock=clock, tls=tls)
    return WebhookNotifier(options, session=session, endpoint=endpoint, clock=clock)


class WebhookNotifier:
    """Posts events to one URL. With two secrets, both sign: receivers rotate without a gap."""

    def __init__(
        self,
        options: WebhookOptions,
        *,
        session: "aiohttp.ClientSession",
        endpoint: "Endpoint",
        clock: Clock,
    ) -> None:
        self._options = options
        self._session = session
        self._clock = clock
        self._endpoint = endpoint

    async def notify(self, message: Message) -> None:
        rendered = read_rendered(message.body)
        body = message.body if rendered is None else rendered.text.encode()
        try:
            headers = self._signed(message, body)
        except SecretUnreadableError as error:
            raise DeliveryError(Reason.UNAUTHORIZED, str(error), Scope.RECEIVER) from error
        if rendered is not None:
            headers["Content-Type"] = rendered.content_type
        await self._endpoint.post(body, headers)

    async def repeat(self) -> None:
        """Repeat nothing: what was delivered is delivered."""

    async def connect(self) -> None:
        """Open a connection, TLS included, and close it. Through a proxy: to the proxy."""
        await self._endpoint.connect()

    async def close(self) -> None:
        await self._session.close()

    def _signed(self, message: Message, body: bytes) -> dict[str, str]:
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
            text = body.decode("utf-8")
            signatures = [
                _signer(secret).sign(message.event_id, now, text) for secret in self._options.secret
            ]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


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
