"""Lines for people: when, how grave, what, whose; then the fields. Colour only where it was asked for."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

from taskwatch.telemetry.text import details

MAX_FIELD: Final = 300  # characters: a summary whole, the page of a proxy not
_EVENT_WIDTH: Final = 24
_DIM: Final = "2"
_BOLD: Final = "1"
_LEVELS: Final = {
    "debug": ("DEBUG", _DIM),
    "info": ("INFO ", "32"),
    "warning": ("WARN ", "33"),
    "error": ("ERROR", "31"),
    "critical": ("CRIT ", "1;31"),
}


class Console:
    """Renders lines. The time is local; the date stands where a day begins."""

    def __init__(self, *, is_coloured: bool) -> None:
        self._is_coloured = is_coloured
        self._day: date | None = None

    def render(self, fields: Mapping[str, Any]) -> str:
        level, colour = _LEVELS[fields["level"]]
        event = self._painted(fields["event"].ljust(_EVENT_WIDTH), _BOLD)
        rest = details(fields, dim=lambda name: self._painted(name, _DIM))
        time = self._painted(self._time(fields["timestamp"]), _DIM)
        return f"{time} {self._painted(level, colour)} {event} {rest}".rstrip()

    def _time(self, timestamp: str) -> str:
        at = datetime.fromisoformat(timestamp).astimezone()
        is_same_day, self._day = at.date() == self._day, at.date()
        return f"{at:%H:%M:%S}" if is_same_day else f"{at:%Y-%m-%d %H:%M:%S}"

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._is_coloured else text
