"""What people are written: one text about one event or about several, composed once and frozen."""

from datetime import datetime

import msgspec

from taskwatch.model.event import Severity


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a message to people. Its bytes never change between attempts."""

    subject: str  # one line without control characters
    text: str
    html: str | None = None  # the same for readers who show it; None: there is only the text
    severity: Severity  # the worst of its events
    at: datetime  # when it was composed; aware, UTC
    thread: str  # letters, digits and _: the same for all that is told of one task, or of one group


def read_letter(body: bytes) -> Letter:
    """Read the body of a message to people."""
    return msgspec.json.decode(body, type=Letter)


def written(letter: Letter) -> bytes:
    """Return the letter as the body of a message."""
    return msgspec.json.encode(letter)
