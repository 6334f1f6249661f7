"""The receiver `webhook`: one POST per event, a CloudEvent in structured JSON, signed.

CloudEvents 1.0 HTTP binding, section 3.2 (structured content mode); Standard Webhooks 1.0 for the
headers. The signature is over the very bytes that are sent.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import aiohttp
from standardwebhooks import Webhook

from taskwatch.clock import Clock
from taskwatch.engine.ports import DeliveryError
from taskwatch.errors import SecretUnreadableError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.notifiers.http import post
from taskwatch.secret import Secret

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  (a prefix that all such secrets share)
SECRET_BYTES: Final = range(24, 65)  # Standard Webhooks, "Signature scheme": 24 to 64 bytes


class WebhookNotifier:
    """Posts events to one URL. With two secrets, both sign: receivers rotate without a gap."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        url: Secret,
        secrets: Sequence[Secret],
        headers: Sequence[tuple[str, Secret]],
        clock: Clock,
    ) -> None:
        self._session = session
        self._url = url
        self._secrets = tuple(secrets)
        self._headers = tuple(headers)
        self._clock = clock

    async def notify(self, message: Message) -> None:
        try:
            url = self._url.reveal()
            headers = {name: value.reveal() for name, value in self._headers} | self._signed(message)
        except SecretUnreadableError as error:
            raise DeliveryError(Reason.UNAUTHORIZED, str(error), Scope.RECEIVER) from error
        await post(self._session, url, body=message.body, headers=headers, clock=self._clock)

    async def close(self) -> None:
        await self._session.close()

    def _signed(self, message: Message) -> dict[str, str]:
        now = self._clock.now()
        headers = {
            "Content-Type": CONTENT_TYPE,
            "webhook-id": message.event_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._secrets:
            # sign() given bytes signs their repr without an error: it is given text.
            text = message.body.decode("utf-8")
            signatures = [_signer(secret).sign(message.event_id, now, text) for secret in self._secrets]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


def _signer(secret: Secret) -> Webhook:
    text = secret.reveal()
    if problem := signing_secret_problem(text):
        raise SecretUnreadableError(f"{secret}: {problem}")
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
