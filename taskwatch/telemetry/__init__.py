"""Logs: an event name and fields; for people on a terminal, as JSON for machines, as fields for the journal.

Text of the cloud is hostile until shown otherwise: control characters, ANSI escapes, line
separators and bidirectional overrides are escaped before anything reaches a log or a terminal.

structlog, which brings asyncio and rich, is imported by whoever logs: a command that prints a list never does.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final, Protocol, TextIO

from taskwatch.telemetry import console, journal
from taskwatch.telemetry.lines import Lines
from taskwatch.telemetry.text import MAX_FIELD, printable

__all__ = ["MAX_FIELD", "Logger", "configure", "logger", "printable", "set_level", "teller"]

Fields = Mapping[str, Any]
Way = Callable[[Fields], None]  # writes a line, or raises one of _UNWRITTEN

STRICT: Final = "strict"
MAX_FRAMES: Final = 5  # of the place where a bug showed
_FIRST: Final = ("timestamp", "level", "event")  # in each line, for those who read them
_UNWRITTEN: Final = (OSError, ValueError)  # the latter from a closed stream


class Logger(Protocol):
    """Takes the name of an event, in snake_case past tense, and its fields."""

    def bind(self, **fields: Any) -> "Logger": ...

    def debug(self, event: str, **fields: Any) -> Any: ...

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any: ...

    def critical(self, event: str, **fields: Any) -> Any: ...


def configure(
    *, format_: str, level: str, stream: TextIO | None = None, journal_socket: Path = journal.SOCKET
) -> None:
    """Send all logs to `stream` (standard error by default), one line each, or to the journal.

    `auto` is `journal` where systemd connected the stream with it, `console` on a terminal and `json`
    elsewhere. A log that nobody takes loses lines; it stops nothing, and holds nothing up but once,
    for a tenth of a second.
    """
    import structlog

    set_level(level)
    target = stream if stream is not None else sys.stderr  # None when it was closed from the start
    chosen = _chosen(format_, target, journal_socket)
    limit = console.MAX_FIELD if chosen == "console" else MAX_FIELD
    ways = _ways(chosen, target, journal_socket)
    structlog.configure(
        processors=[
            _THRESHOLD,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            lambda _, __, fields: ((_harmless(fields, limit),), {}),
        ],
        wrapper_class=_sparing(structlog.make_filtering_bound_logger(logging.NOTSET)),
        logger_factory=lambda *arguments: _Strict(ways[0]) if STRICT in arguments else _Lenient(ways),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)
    if format_ == "journal" and chosen != "journal":
        logger().warning("journal_missing", path=str(journal_socket), instead=chosen)


def set_level(level: str) -> None:
    """Log from this level on; loggers that are bound already follow."""
    _THRESHOLD.least = logging.getLevelNamesMapping()[level.upper()]


def teller(**fields: object) -> Logger:
    """Return a logger for what must be told: no level filters it, and what cannot be written raises OSError."""
    import structlog

    bound: Logger = structlog.wrap_logger(None, logger_factory_args=(STRICT,)).bind(**fields)
    return bound


def logger(**fields: object) -> Logger:
    """Return a logger with these fields bound."""
    import structlog

    bound: Logger = structlog.get_logger(**fields)
    return bound


def _sparing(bound: Any) -> Any:
    """Let a line for debugging that nobody reads cost nothing: each poll has one."""
    pass_on = bound.debug

    def debug(self: Any, event: str, **fields: Any) -> None:
        if _THRESHOLD.least <= logging.DEBUG or isinstance(self._logger, _Strict):
            pass_on(self, event, **fields)

    return type(bound.__name__, (bound,), {"debug": debug})


def _chosen(format_: str, stream: TextIO | None, socket: Path) -> str:
    if format_ == "auto" and journal.leads_to_journal(stream) and socket.is_socket():
        return "journal"
    if format_ == "auto":
        return "console" if stream is not None and stream.isatty() else "json"
    if format_ == "journal" and not socket.is_socket():
        return "json"
    return format_


def _ways(chosen: str, stream: TextIO | None, socket: Path) -> list[Way]:
    """Return how a line can be written, the best first."""
    lines = Lines(stream)
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    is_coloured = stream is not None and stream.isatty() and not is_plain
    render = console.Console(is_coloured=is_coloured).render if chosen == "console" else json.dumps

    def on_stream(fields: Fields) -> None:
        lines.write(render(fields))

    return [journal.Journal(socket).write, on_stream] if chosen == "journal" else [on_stream]


class _Lenient:
    """Writes a line the best way that works. What cannot be written is dropped: no log may stop the daemon."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._ways = ways

    def msg(self, fields: Fields) -> None:
        for way in self._ways:
            try:
                way(fields)
            except _UNWRITTEN:
                continue
            return

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Strict:
    """Writes a line, or raises OSError."""

    def __init__(self, way: Way) -> None:
        self._way = way

    def msg(self, fields: Fields) -> None:
        try:
            self._way(fields)
        except _UNWRITTEN as error:
            raise OSError("the log cannot be written") from error

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Threshold:
    """Drops what is below a level. Strict lines pass: they are what was to be told."""

    def __init__(self) -> None:
        self.least = logging.INFO

    def __call__(
        self, logger: object, method: str, fields: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if _LEVELS[method] < self.least and not isinstance(logger, _Strict):
            from structlog import DropEvent

            raise DropEvent
        return fields


# As structlog's own configuration, one for the process; loggers that are bound hold on to it.
_THRESHOLD: Final = _Threshold()
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class _FromLibraries(logging.Handler):
    """Passes what libraries log on: one line, as any other, without their tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001  (a library's mistake in a log call is no reason to fail in the midst of it)
            said = str(record.msg)
        logger().warning("library_says", library=record.name, said=said)


def _harmless(fields: MutableMapping[str, Any], limit: int) -> dict[str, Any]:
    bug = fields.pop("exc_info", None)
    if isinstance(bug, BaseException):
        fields["at"] = _place(bug)
    first = {name: fields[name] for name in _FIRST if name in fields}
    return {name: _shown(value, limit) for name, value in (first | dict(fields)).items()}


def _shown(value: object, limit: int) -> object:
    if isinstance(value, int | float | None):  # a bool is an int
        return value
    if isinstance(value, list | tuple):
        value = "; ".join(map(str, value))
    return printable(value if isinstance(value, str) else str(value), limit)


def _place(bug: BaseException) -> str:
    """Return where it was raised and by what way, without its text: that may hold anything."""
    frames = reversed(traceback.extract_tb(bug.__traceback__)[-MAX_FRAMES:])
    return " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames)
