"""The place in a list at which its next page begins: text that is handed back as it was given.

A place is what the list is ordered by, not a count: what is added meanwhile moves nothing.
"""

import base64
import binascii
from http import HTTPStatus
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from taskwatch.server.problem import ProblemError

Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # as the store knows them

Place = TypeVar("Place")

_BESIDE: Final = b"-_"


class Cursor(Generic[Place]):
    """The places of one list."""

    def __init__(self, of: str, shape: type[Place]) -> None:
        self._of = of
        self._decoder = msgspec.json.Decoder(tuple[str, shape])  # type: ignore[valid-type]

    def write(self, place: Place) -> str:
        """Return the text that stands for a place."""
        content = msgspec.json.encode((self._of, place))
        return base64.b64encode(content, altchars=_BESIDE).rstrip(b"=").decode()

    def read(self, text: str | None) -> Place | None:
        """Return the place that the text stands for; None: the beginning. Raises ProblemError where it is none of this list."""
        if text is None:
            return None
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            of, place = self._decoder.decode(base64.b64decode(padded, altchars=_BESIDE, validate=True))
        except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError, ValueError):
            raise _unusable(self._of) from None
        if of != self._of:
            raise _unusable(self._of)
        return place


def _unusable(of: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.BAD_REQUEST,
        f"cursor: none of a page of {of}; write next of the page before as it was given, or leave it out to begin anew",
    )
