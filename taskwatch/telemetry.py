"""Logs: an event name and fields, for people on a terminal, as JSON for machines.

Text of the cloud is hostile until shown otherwise: control characters, ANSI escapes, line
separators and bidirectional overrides are escaped before anything reaches a log or a terminal.
"""

import logging
import sys
import traceback
import unicodedata
from collections.abc import MutableMapping
from pathlib import PurePath
from typing import Any, Final, TextIO

import structlog

Logger = structlog.typing.FilteringBoundLogger

STRICT: Final = "strict"
MAX_FIELD: Final = 1000  # characters of one field in a log line
MAX_FRAMES: Final = 5  # of the place where a bug showed
_FIRST: Final = ("timestamp", "level", "event")  # in each line, for those who read them
_ESCAPED: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})


def printable(text: str, limit: int = MAX_FIELD) -> str:
    """Return the text on one line, harmless to any terminal, at most `limit` characters and a mark."""
    cut = text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(_escaped(character) for character in cut)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _ESCAPED:
        return character
    return character.encode("unicode_escape").decode("ascii")


def configure(*, format_: str, level: str, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error by default), one line each.

    `auto` is `console` on a terminal and `json` elsewhere. A log pipe that is closed loses lines
    and stops nothing.
    """
    target = stream if stream is not None else sys.stderr
    is_terminal = target.isatty()
    chosen = format_ if format_ != "auto" else ("console" if is_terminal else "json")
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if chosen == "json"
        else structlog.dev.ConsoleRenderer(colors=is_terminal, sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _harmless,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *arguments: _LineLogger(target, strict=STRICT in arguments),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)


def teller(**fields: object) -> Logger:
    """Return a logger for what must be told: no level filters it, and what cannot be written raises OSError."""
    bound: Logger = structlog.wrap_logger(
        None,
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory_args=(STRICT,),
    ).bind(**fields)
    return bound


def logger(**fields: object) -> Logger:
    """Return a logger with these fields bound."""
    bound: Logger = structlog.get_logger(**fields)
    return bound


class _LineLogger:
    """Writes a line at once.

    What cannot be written is dropped: a closed pipe must not stop the daemon. A strict one raises OSError.
    """

    def __init__(self, stream: TextIO, *, strict: bool) -> None:
        self._stream = stream
        self._strict = strict

    def msg(self, message: str) -> None:
        try:
            self._stream.write(message + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            if self._strict:
                raise OSError("the log cannot be written") from error

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _FromLibraries(logging.Handler):
    """Passes what libraries log on: one line, as any other, without their tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        logger().warning("library_says", library=record.name, said=record.getMessage())


def _harmless(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    bug = fields.pop("exc_info", None)
    if isinstance(bug, BaseException):
        fields["at"] = _place(bug)
    first = {name: fields[name] for name in _FIRST if name in fields}
    return {name: _shown(value) for name, value in (first | dict(fields)).items()}


def _shown(value: object) -> object:
    if isinstance(value, int | float | None):  # a bool is an int
        return value
    return printable(value if isinstance(value, str) else str(value))


def _place(bug: BaseException) -> str:
    """Return where it was raised and by what way, without its text: that may hold anything."""
    frames = reversed(traceback.extract_tb(bug.__traceback__)[-MAX_FRAMES:])
    return " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames)
