"""A letter as a mail: what stands in its head, and its bytes.

Invariants:
- The bytes of a letter never change: date, Message-ID and boundary come from the letter, its id and the receiver's name.
- What came twice, as after a connection that broke behind the last byte, bears one Message-ID; what two receivers were
  told of one event bears two: a server that both write to would take the second for a copy.
- All is 7-bit and no line is longer than RFC 5321 allows, whatever the letter holds.
"""

import hashlib
import re
from collections.abc import Sequence
from email.headerregistry import Address, HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from taskwatch.model.delivery import Message
from taskwatch.model.letter import read_letter
from taskwatch.notifiers.parts import subject_of

ADDRESS_LENGTH: Final = 254  # the name included; RFC 5321, section 4.5.3.1.3
_RECEIVER: Final = 12  # digits that tell receivers apart
_ADDRESS: Final = (
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"  # RFC 5322, dot-atom
    r"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
)
_MAILBOX: Final = re.compile(
    rf'(?P<name>"[^"\\]*"|[^"<>@,;:()\[\]\\]*[^"<>@,;:()\[\]\\ ]|) *<(?P<address>{_ADDRESS})>|(?P<bare>{_ADDRESS})'
)

# Ids are longer than a line should be; as any other text they would be encoded, and no reader follows them then.
_HEADERS: Final = HeaderRegistry()
_HEADERS.map_to_type("references", MessageIDHeader)  # type: ignore[arg-type]  # it is mixed into a BaseHeader
_HEADERS.map_to_type("in-reply-to", MessageIDHeader)  # type: ignore[arg-type]  # as above
_POLICY: Final = SMTP.clone(header_factory=_HEADERS)


def written(message: Message, *, receiver: str, sender: Address, to: Sequence[Address]) -> bytes:
    """Return the letter of a message as this receiver sends it: the same bytes each time."""
    letter = read_letter(message.body)
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = to
    mail["Subject"] = subject_of(letter)
    mail["Date"] = letter.at
    mail["Message-ID"] = f"<{message.event_id}.{_digits(receiver)}@{sender.domain}>"
    mail["In-Reply-To"] = mail["References"] = f"<{letter.thread}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence note answers
    if message.replay:
        mail["X-Taskwatch-Replay"] = "1"
    mail.set_content(letter.text, cte="quoted-printable")
    if letter.html is not None:
        mail.add_alternative(letter.html, subtype="html", cte="quoted-printable")
        mail.set_boundary(f"=_{message.event_id}")  # =_ stands in no quoted-printable text
    return mail.as_bytes()


def _digits(receiver: str) -> str:
    return hashlib.sha256(receiver.encode()).hexdigest()[:_RECEIVER]


def read_address(value: object) -> Address:
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
