"""The receiver `email`: a letter is one message, handed to a mail server for all who are to have it.

Invariants:
- It is delivered when the server has taken it for everybody whom it does not refuse for good; whom it refused is said
  with the delivery. Who has it already is left out of later attempts, and whoever is left then speaks of nobody else.
- The bytes of a letter never change (`mail`), and no login crosses a network without TLS (`talk`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from email.headerregistry import Address
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from taskwatch.clock import Clock
from taskwatch.config import network
from taskwatch.config.fields import Switch, at_least_one
from taskwatch.config.kept import KEPT_SCHEMA, SecretText, kept_url
from taskwatch.config.receiver import LetterOptions
from taskwatch.config.section import default
from taskwatch.engine.ports import AlertBook, DeliveryError
from taskwatch.errors import SecretUnreadableError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.notifiers.mail import read_address, written
from taskwatch.notifiers.parts import Taken, named
from taskwatch.notifiers.relay import read_relay
from taskwatch.secret import Secret
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls, TlsUnusableError

if TYPE_CHECKING:
    from taskwatch.names import Names
    from taskwatch.notifiers.talk import Refused, Talk

MAX_RECIPIENTS: Final = 50  # RFC 5321, section 4.5.3.1.8: a server takes 100 at least
MISSING: Final = 'email needs aiosmtplib: pip install "taskwatch[mail]"'
ALPN: Final = ("smtp",)  # Exim refuses whoever offers http/1.1
ANSWERS: Final = frozenset({Reason.SERVER_ERROR, Reason.REJECTED})  # of the server, to what it was asked


Done = TypeVar("Done")


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _not_too_many(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    if len(addresses) > MAX_RECIPIENTS:
        raise ValueError(f"{len(addresses)} addresses; write {MAX_RECIPIENTS} at most, or that of a list")
    return addresses


RelayUrl = Annotated[Secret, kept_url(read_relay), KEPT_SCHEMA]
MailAddress = Annotated[Address, PlainValidator(read_address), WithJsonSchema({"type": "string"})]


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
    # It brings aiohttp, and commands that list something read the options and open nothing.
    from taskwatch.names import Names  # noqa: PLC0415

    log = log.bind(receiver=options.name)
    return EmailNotifier(options, names=Names(), tls=Tls(options.tls.trust, log=log), log=log)


class EmailNotifier:
    """Hands letters to one mail server, a connection for each attempt."""

    def __init__(self, options: EmailOptions, *, names: "Names", tls: Tls, log: Logger) -> None:
        self._options = options
        self._tls = tls
        self._log = log
        self._names = names
        self._taken = Taken()
        self._to = tuple(dict.fromkeys(address.addr_spec for address in options.to))

    async def notify(self, message: Message) -> str | None:
        """Hand it over; say whom the server refused for good, where others have it."""
        options = self._options
        has = self._taken.by(message)
        left = [address for address in self._to if address not in has]
        remark = None
        if left:
            raw = written(message, receiver=options.name, sender=options.from_, to=options.to)
            try:
                refused = await self._converse(lambda talk: self._hand_over(talk, message, raw, left))
            except DeliveryError as error:
                if has and error.scope is Scope.EVENT and error.reason in ANSWERS:
                    error.scope, error.detail = Scope.PART, _not_yet(left, error.detail)
                raise
            remark = self._judged(message, refused)
        self._taken.forget(message)
        return remark

    async def repeat(self) -> None:
        """Repeat nothing: a letter stands."""

    async def connect(self) -> None:
        """Connect and log in, and send nothing."""

        async def leave(_: "Talk") -> None:
            pass

        await self._converse(leave)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _hand_over(
        self, talk: "Talk", message: Message, raw: bytes, to: Sequence[str]
    ) -> "list[Refused]":
        refused = await talk.hand_over(raw, sender=self._options.from_.addr_spec, to=to)
        # Before anything else is awaited: what comes now may be cut off, and they have it.
        self._taken.note(message, set(to) - {answer.address for answer in refused})
        return refused

    def _judged(self, message: Message, refused: "Sequence[Refused]") -> str | None:
        """Return who was refused, if nobody is left who might get it. Raises DeliveryError otherwise."""
        for_now = [answer for answer in refused if not answer.is_final]
        if for_now:
            said = _not_yet([answer.address for answer in for_now], for_now[0].said)
            some_have_it = len(refused) < len(self._to)
            raise DeliveryError(Reason.SERVER_ERROR, said, Scope.PART if some_have_it else Scope.EVENT)
        if len(refused) == len(self._to):
            raise DeliveryError(Reason.REJECTED, refused[0].said)
        if not refused:
            return None
        addresses = [answer.address for answer in refused]
        self._log.warning(
            "recipient_refused",
            event_id=message.event_id,
            count=len(refused),
            recipients=addresses,
            error=refused[0].said,
        )
        return f"not for {named(addresses)}: {refused[0].said}"

    async def _converse(self, do: "Callable[[Talk], Awaitable[Done]]") -> Done:
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

    async def _prepared(self) -> "Talk":
        """Return a conversation that has not begun. All that it needs is read anew."""
        from taskwatch.notifiers.talk import Login, Talk  # noqa: PLC0415  (as above)

        options = self._options
        try:
            url = options.smtp.reveal()
            login = None
            if options.username is not None and options.password is not None:
                login = Login(username=options.username.reveal(), password=options.password.reveal())
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
        return Talk(relay, context, login)


def _not_yet(who: Sequence[str], said: str) -> str:
    return f"not yet for {named(who)}: {said}"
