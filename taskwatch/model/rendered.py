"""What a template made of an event, for receivers that are sent that instead of the event."""

import msgspec


class Rendered(msgspec.Struct, frozen=True, tag="rendered", kw_only=True):
    """The body of a delivery that a template made. Its bytes never change between attempts."""

    content_type: str
    text: str


def read_rendered(body: bytes) -> Rendered | None:
    """Read such a body; None: it is the event itself."""
    try:
        return msgspec.json.decode(body, type=Rendered)
    except msgspec.DecodeError:
        return None
