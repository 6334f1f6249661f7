"""One conversation with a mail server.

Invariants:
- No login crosses a network without TLS, and one that is refused is not tried in another way.
- No error shows a login, also where the server repeats it.
"""

import asyncio
import base64
import ipaddress
import re
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from taskwatch.engine.ports import DeliveryError
from taskwatch.model.delivery import Reason, Scope
from taskwatch.names import Names
from taskwatch.notifiers.connection import reach, why
from taskwatch.notifiers.parts import shown
from taskwatch.notifiers.relay import Relay

if TYPE_CHECKING:
    import aiosmtplib

QUIT_SECONDS: Final = 1.0  # for a good-bye that decides nothing

_FULL_NAME: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_LOGIN_CODES: Final = frozenset({530, 534, 535, 538})  # RFC 4954, section 6
_TOO_MANY: Final = 552  # RFC 5321, section 4.5.3.1.10: of a recipient it means that this is enough for now
_CLOSING: Final = 421
_NOT_NOW: Final = 400
_NEVER: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    username: str = field(repr=False)
    password: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may show: both, also as they are sent."""
        sent = (self.username, self.password, f"\0{self.username}\0{self.password}")
        return (self.username, self.password, *(base64.b64encode(text.encode()).decode() for text in sent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A recipient that the server did not take, and what it said of that."""

    address: str
    code: int
    said: str

    @property
    def is_final(self) -> bool:
        return self.code >= _NEVER and self.code != _TOO_MANY


class Talk:
    """One conversation with a mail server."""

    def __init__(self, relay: Relay, context: ssl.SSLContext, login: Login | None) -> None:
        from aiosmtplib import SMTP  # noqa: PLC0415  (the extra)

        self._relay = relay
        self._login = login
        self._socket: socket.socket | None = None
        self._client = SMTP(
            hostname=relay.host,
            use_tls=relay.is_tls,
            start_tls=False,
            tls_context=context,
            timeout=None,  # there is one for all of it
        )

    async def begin(self, names: Names, *, starttls: bool) -> None:
        """Connect; TLS comes first, then the login. Raises DeliveryError rather than log in without TLS."""
        relay, login = self._relay, self._login
        opened = self._socket = await reach(relay.host, relay.port, _itself, names=names)
        is_near = is_loopback(opened.getpeername()[0])
        client = self._client
        await client.connect(sock=opened, local_hostname=_own_name(opened))
        await client.ehlo()
        is_tls = relay.is_tls
        if starttls and not is_tls:
            if client.supports_extension("starttls"):
                await client.starttls()
                await client.ehlo()
                is_tls = True
            elif not is_near:
                text = f"{relay} offers no STARTTLS; write smtps://, or starttls: false where there is no TLS"
                raise DeliveryError(Reason.TLS, text, Scope.RECEIVER)
        if login is not None and not is_tls and not is_near:
            text = (
                f"username and password are not sent to {relay} without TLS; write smtps:// or starttls: true"
            )
            raise DeliveryError(Reason.TLS, text, Scope.RECEIVER)
        if login is not None:
            await self._log_in(login)

    async def hand_over(self, raw: bytes, *, sender: str, to: Sequence[str]) -> list[Refused]:
        """Send it to these. Returns who was refused: all the others have it."""
        from aiosmtplib import SMTPRecipientRefused  # noqa: PLC0415  (the extra)

        client = self._client
        refused = []
        await client.mail(sender)
        for address in to:
            try:
                await client.rcpt(address)
            except SMTPRecipientRefused as error:
                if error.code == _CLOSING or error.code in _LOGIN_CODES:
                    raise  # it speaks of us, or goes
                said = self._answer(error.code, error.message)
                refused.append(Refused(address=address, code=error.code, said=said))
        if len(refused) < len(to):
            await client.data(raw)
        return refused

    async def end(self) -> None:
        """Say good-bye, where it can be said. How that goes decides nothing."""
        from aiosmtplib import SMTPException  # noqa: PLC0415  (the extra)

        with suppress(SMTPException, OSError):
            async with asyncio.timeout(QUIT_SECONDS):
                await self._client.quit()

    def close(self) -> None:
        self._client.close()
        if self._socket is not None:
            # With TLS the library waits for the other side's good-bye; at its end it waits for nothing.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def failure(self, error: Exception) -> DeliveryError:
        """Say what went wrong, in words that hold no secret."""
        from aiosmtplib import SMTPResponseException  # noqa: PLC0415  (the extra)

        relay = self._relay
        if isinstance(error, SMTPResponseException) and error.code > 0:
            reason, scope = _verdict(error)
            return DeliveryError(reason, self._answer(error.code, error.message), scope)
        cause = _cause(error)
        match cause:
            case ssl.SSLError():
                is_about_certificates = any(word in (cause.reason or "") for word in ("CERT", "UNKNOWN_CA"))
                scope = Scope.RECEIVER if is_about_certificates else Scope.EVENT
                return DeliveryError(Reason.TLS, f"TLS with {relay} failed: {why(cause)}", scope)
            case TimeoutError():
                return DeliveryError(Reason.TIMEOUT, f"{relay} did not answer in time")
            case SMTPResponseException():
                return DeliveryError(Reason.NETWORK, f"cannot reach {relay}: its answer is no SMTP")
            case ConnectionError(errno=None):
                return DeliveryError(Reason.NETWORK, f"{relay} broke off: it closed the connection")
            case _:
                return DeliveryError(Reason.NETWORK, f"cannot reach {relay}: {why(cause)}")

    async def _log_in(self, login: Login) -> None:
        """Log in once. Where accounts are locked, each try in vain counts: one way is not tried after another."""
        client = self._client
        ways = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
        for name, way in ways.items():
            if name in client.server_auth_methods:
                await way(login.username, login.password)
                return
        text = f"{self._relay} offers no login that is known here ({', '.join(ways).upper()})"
        raise DeliveryError(Reason.UNAUTHORIZED, text, Scope.RECEIVER)

    def _answer(self, code: int, said: str) -> str:
        text = shown(said, () if self._login is None else self._login.secrets)
        return f"{self._relay} answered {code}{': ' + text if text else ''}"


def _verdict(error: "aiosmtplib.SMTPResponseException") -> tuple[Reason, Scope]:
    """Judge an answer that is not about one recipient."""
    from aiosmtplib import SMTPAuthenticationError, SMTPDataError  # noqa: PLC0415  (the extra)

    if _NOT_NOW <= error.code < _NEVER:
        return Reason.SERVER_ERROR, Scope.EVENT
    if isinstance(error, SMTPAuthenticationError) or error.code in _LOGIN_CODES:
        return Reason.UNAUTHORIZED, Scope.RECEIVER
    is_about_the_letter = isinstance(error, SMTPDataError) or error.code == _TOO_MANY
    return Reason.REJECTED, Scope.EVENT if is_about_the_letter else Scope.RECEIVER


def _cause(error: Exception) -> Exception:
    """Return what the library wrapped."""
    while isinstance(error.__cause__, OSError):
        error = error.__cause__
    return error


async def _itself(opened: socket.socket) -> socket.socket:
    return opened


def is_loopback(address: str) -> bool:
    host = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(host, "ipv4_mapped", None) or host).is_loopback


def _own_name(opened: socket.socket) -> str:
    """Return how we call ourselves: by the full name, or by our address (RFC 5321, section 4.1.4)."""
    name = socket.gethostname()
    if _FULL_NAME.fullmatch(name):
        return name
    own = ipaddress.ip_address(opened.getsockname()[0].partition("%")[0])
    return f"[{own}]" if own.version == 4 else f"[IPv6:{own}]"  # noqa: PLR2004  (of the protocol)
