"""The receiver `email`: a letter is one message, handed to a mail server for all who are to have it.

Invariants:
- It is delivered when the server has taken it for everybody whom it does not refuse for good. Who has it
  already is left out of later attempts.
- The bytes of a letter never change: date, Message-ID and boundary come from the letter and its id. What came twice,
  as after a connection that broke behind the last byte, bears one Message-ID.
- All is 7-bit and no line is longer than RFC 5321 allows, whatever the letter holds.
- No login crosses a network without TLS.
"""

import asyncio
import base64
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.headerregistry import Address, HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from taskwatch.clock import Clock
from taskwatch.config import network
from taskwatch.config.fields import Switch, at_least_one
from taskwatch.config.kept import KEPT_SCHEMA, SecretText, kept_url, split_url
from taskwatch.config.receiver import LetterOptions
from taskwatch.config.section import default
from taskwatch.engine.ports import AlertBook, DeliveryError
from taskwatch.errors import SecretUnreadableError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.model.letter import read_letter
from taskwatch.names import Names
from taskwatch.notifiers.connection import reach, why
from taskwatch.notifiers.parts import Taken, shown, subject_of
from taskwatch.secret import Secret
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls, TlsUnusableError

if TYPE_CHECKING:
    import aiosmtplib

ADDRESS_LENGTH: Final = 254  # the name included; RFC 5321, section 4.5.3.1.3
MAX_RECIPIENTS: Final = 50  # RFC 5321, section 4.5.3.1.8: a server takes 100 at least
QUIT_SECONDS: Final = 1.0  # for a good-bye that decides nothing
MISSING: Final = 'email needs aiosmtplib: pip install "taskwatch[mail]"'
ALPN: Final = ("smtp",)  # Exim refuses whoever offers http/1.1

_PORTS: Final = {"smtps": 465, "smtp": 587}
_ADDRESS: Final = (
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"  # RFC 5322, dot-atom
    r"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
)
_MAILBOX: Final = re.compile(
    rf'(?P<name>"[^"\\]*"|[^"<>@,;:()\[\]\\]*[^"<>@,;:()\[\]\\ ]|) *<(?P<address>{_ADDRESS})>|(?P<bare>{_ADDRESS})'
)
_FULL_NAME: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_LOGIN_CODES: Final = frozenset({530, 534, 535, 538})  # RFC 4954, section 6
_TOO_MANY: Final = 552  # RFC 5321, section 4.5.3.1.10: of a recipient it means that this is enough for now
_CLOSING: Final = 421
_NOT_NOW: Final = 400
_NEVER: Final = 500

Done = TypeVar("Done")

# Ids are longer than a line should be; as any other text they would be encoded, and no reader follows them then.
_HEADERS: Final = HeaderRegistry()
_HEADERS.map_to_type("references", MessageIDHeader)  # type: ignore[arg-type]  # it is mixed into a BaseHeader
_HEADERS.map_to_type("in-reply-to", MessageIDHeader)  # type: ignore[arg-type]  # as above
_POLICY: Final = SMTP.clone(header_factory=_HEADERS)


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    mailbox = _mailbox(value) if isinstance(value, str) else None
    if mailbox is None:
        raise ValueError("not an address; write a@example.com, or NAME <a@example.com>")
    return Address(
        display_name=(mailbox["name"] or "").strip('"'), addr_spec=mailbox["address"] or mailbox["bare"]
    )


def _mailbox(text: str) -> re.Match[str] | None:
    # Of an encoded word ("=?") readers would decode what they like.
    is_line = text.isprintable() and "=?" not in text and len(text) <= ADDRESS_LENGTH
    return _MAILBOX.fullmatch(text) if is_line else None


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _not_too_many(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    if len(addresses) > MAX_RECIPIENTS:
        raise ValueError(f"{len(addresses)} addresses; write {MAX_RECIPIENTS} at most, or that of a list")
    return addresses


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


RelayUrl = Annotated[Secret, kept_url(read_relay), KEPT_SCHEMA]
MailAddress = Annotated[Address, PlainValidator(_address), WithJsonSchema({"type": "string"})]


class EmailOptions(LetterOptions):
    """Writes mail."""

    type: Literal["email"]
    smtp: RelayUrl = Field(
        examples=["smtps://mail.example.com"],
        description="the mail server: smtps://HOST is TLS from the first byte (port 465), smtp://HOST is STARTTLS (587)",
    )
    starttls: Switch = default(
        True, "false: smtp:// goes without TLS; true: only where a server on this host offers none"
    )
    from_: MailAddress = Field(
        alias="from", examples=["taskwatch@example.com"], description="the sender: a@b, or NAME <a@b>"
    )
    to: Annotated[
        tuple[MailAddress, ...],
        AfterValidator(_not_too_many),
        BeforeValidator(_one_or_many, json_schema_input_type=MailAddress | list[MailAddress]),
        BeforeValidator(at_least_one),
    ] = Field(
        examples=["dba@example.com"], description=f"who gets it; one address, or up to {MAX_RECIPIENTS}"
    )
    username: SecretText | None = Field(None, description="with password: the login, sent over TLS alone")
    password: SecretText | None = Field(None, description="read anew for each mail")
    tls: network.Tls = default({}, "the TLS of the mail server")

    @model_validator(mode="after")
    def _has_a_whole_login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("half a login; write both username and password, or neither")
        return self


def open_notifier(
    options: EmailOptions,
    *,
    clock: Clock,  # noqa: ARG001  (all kinds are opened alike)
    log: Logger,
    alerts: AlertBook,  # noqa: ARG001
) -> "EmailNotifier":
    """Open the notifier; each attempt connects anew."""
    log = log.bind(receiver=options.name)
    return EmailNotifier(options, tls=Tls(options.tls.trust, log=log), log=log)


class EmailNotifier:
    """Hands letters to one mail server, a connection for each attempt."""

    def __init__(self, options: EmailOptions, *, tls: Tls, log: Logger) -> None:
        self._options = options
        self._tls = tls
        self._log = log
        self._names = Names()
        self._taken = Taken()
        self._to = tuple(dict.fromkeys(address.addr_spec for address in options.to))

    async def notify(self, message: Message) -> None:
        has = self._taken.by(message)
        left = [address for address in self._to if address not in has]
        if left:
            raw = written(message, sender=self._options.from_, to=self._options.to)
            refused = await self._converse(lambda talk: self._hand_over(talk, message, raw, left))
            self._judge(message, refused)
        self._taken.forget(message)

    async def repeat(self) -> None:
        """Repeat nothing: a letter stands."""

    async def connect(self) -> None:
        """Connect and log in, and send nothing."""

        async def leave(_: "_Talk") -> None:
            pass

        await self._converse(leave)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _hand_over(
        self, talk: "_Talk", message: Message, raw: bytes, to: Sequence[str]
    ) -> "list[_Refused]":
        refused = await talk.hand_over(raw, sender=self._options.from_.addr_spec, to=to)
        # Before anything else is awaited: what comes now may be cut off, and they have it.
        self._taken.note(message, set(to) - {answer.address for answer in refused})
        return refused

    def _judge(self, message: Message, refused: "Sequence[_Refused]") -> None:
        """Return if nobody is left who might get it. Raises DeliveryError otherwise."""
        for_now = [answer for answer in refused if not answer.is_final]
        if for_now:
            of_all = f" (so for {len(for_now)} of {len(self._to)} recipients)" if len(self._to) > 1 else ""
            raise DeliveryError(Reason.SERVER_ERROR, f"{for_now[0].said}{of_all}")
        if len(refused) == len(self._to):
            raise DeliveryError(Reason.REJECTED, refused[0].said)
        if refused:
            self._log.warning(
                "recipient_refused",
                event_id=message.event_id,
                count=len(refused),
                recipients=[answer.address for answer in refused],
                error=refused[0].said,
            )

    async def _converse(self, do: "Callable[[_Talk], Awaitable[Done]]") -> Done:
        """Connect, log in where there is a login, do it, and say good-bye. Raises DeliveryError."""
        try:
            import aiosmtplib  # noqa: PLC0415  (the extra)
        except ModuleNotFoundError:
            raise DeliveryError(Reason.LOCAL, MISSING, Scope.RECEIVER) from None
        talk = await self._prepared()
        try:
            async with asyncio.timeout(self._options.timeout):
                await talk.begin(self._names, starttls=self._options.starttls)
                done = await do(talk)
            await talk.end()
        except (aiosmtplib.SMTPException, OSError) as error:
            failure = talk.failure(error)
            if isinstance(error, aiosmtplib.SMTPResponseException) and error.code > 0:
                await talk.end()  # it refused, and listens on
        else:
            return done
        finally:
            talk.close()
        # Raised out here, and so without a context: the library's errors hold what the server said.
        raise failure

    async def _prepared(self) -> "_Talk":
        """Return a conversation that has not begun. All that it needs is read anew."""
        options = self._options
        try:
            url = options.smtp.reveal()
            login = None
            if options.username is not None and options.password is not None:
                login = _Login(username=options.username.reveal(), password=options.password.reveal())
            context = await self._tls.context()
        except SecretUnreadableError as error:
            raise DeliveryError(Reason.UNAUTHORIZED, str(error), Scope.RECEIVER) from error
        except TlsUnusableError as error:
            raise DeliveryError(Reason.TLS, str(error), Scope.RECEIVER) from error
        context.set_alpn_protocols(ALPN)
        try:
            relay = read_relay(url)
        except ValueError as error:  # of what is kept elsewhere; what stands in the configuration was checked
            text = f"smtp in {options.smtp.place}: {error}"
            raise DeliveryError(Reason.LOCAL, text, Scope.RECEIVER) from None
        return _Talk(relay, context, login)


def written(message: Message, *, sender: Address, to: Sequence[Address]) -> bytes:
    """Return the letter of a message as it is sent: the same bytes each time."""
    letter = read_letter(message.body)
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = to
    mail["Subject"] = subject_of(letter)
    mail["Date"] = letter.at
    mail["Message-ID"] = f"<{message.event_id}@{sender.domain}>"
    mail["In-Reply-To"] = mail["References"] = f"<{letter.thread}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence note answers
    if message.replay:
        mail["X-Taskwatch-Replay"] = "1"
    mail.set_content(letter.text, cte="quoted-printable")
    if letter.html is not None:
        mail.add_alternative(letter.html, subtype="html", cte="quoted-printable")
        mail.set_boundary(f"=_{message.event_id}")  # =_ stands in no quoted-printable text
    return mail.as_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Login:
    username: str = field(repr=False)
    password: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may show: both, also as they are sent."""
        sent = (self.username, self.password, f"\0{self.username}\0{self.password}")
        return (self.username, self.password, *(base64.b64encode(text.encode()).decode() for text in sent))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """A recipient that the server did not take, and what it said of that."""

    address: str
    code: int
    said: str

    @property
    def is_final(self) -> bool:
        return self.code >= _NEVER and self.code != _TOO_MANY


class _Talk:
    """One conversation with a mail server."""

    def __init__(self, relay: Relay, context: ssl.SSLContext, login: _Login | None) -> None:
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

    async def hand_over(self, raw: bytes, *, sender: str, to: Sequence[str]) -> list[_Refused]:
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
                refused.append(_Refused(address=address, code=error.code, said=said))
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

    async def _log_in(self, login: _Login) -> None:
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
