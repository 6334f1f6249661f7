"""Logs: one harmless line each, whatever is put into them, and no trouble when they cannot be written."""

import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskwatch import telemetry
from taskwatch.telemetry import MAX_FIELD, console, printable
from taskwatch.telemetry.console import Console
from taskwatch.telemetry.lines import Lines
from tests.fakes.logs import FOREIGN, console_fields, logs_restored

CANARY = "canary-s3cret"

Configure = Callable[..., io.StringIO]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def lines() -> Iterator[Configure]:
    """Configure the logs upon a stream of this format; return the stream."""

    def configure(
        format_: str = "json", level: str = "debug", stream: io.StringIO | None = None
    ) -> io.StringIO:
        target = stream or io.StringIO()
        telemetry.configure(format_=format_, level=level, stream=target)
        return target

    with logs_restored():
        yield configure


# Text


@given(st.text(alphabet=st.characters(), max_size=300))
def test_printable_text_is_one_line_that_no_terminal_acts_upon(text: str) -> None:
    other_spaces = {"\u00a0", "\u1680", "\u202f", "\u205f", "\u3000", *map(chr, range(0x2000, 0x200B))}

    assert "".join(letter for letter in printable(text) if letter not in other_spaces).isprintable()


@pytest.mark.parametrize("text", ["plain text, 100 %", "Grüße, 你好 and 👍", ""])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert printable("x" * 5000) == "x" * MAX_FIELD + "… (5000 characters)"
    assert len(printable("\x1b" * 5000)) < 5 * MAX_FIELD


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_hostile_text_is_one_harmless_line_that_is_read_back(
    format_: str, text: str, lines: Configure
) -> None:
    stream = lines(format_)
    telemetry.logger(bound=text).warning("something_happened", plain=text, listed=[text], mapped={text: text})

    (line,) = stream.getvalue().removesuffix("\n").split("\n")
    assert line.isprintable()
    found = json.loads(line) if format_ == "json" else console_fields(line)
    limit = MAX_FIELD if format_ == "json" else console.MAX_FIELD
    assert (found["event"], found["plain"], found["bound"]) == (
        "something_happened",
        printable(text, limit),
        printable(text, limit),
    )


# JSON


def test_a_json_line_begins_with_when_how_grave_and_what(lines: Configure) -> None:
    stream = lines()
    telemetry.logger(project="prod").warning("poll_failed", cause="login", tries=3, fatal=False, last=None)

    found = json.loads(stream.getvalue())
    assert list(found)[:3] == ["timestamp", "level", "event"]
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "level": "warning",
        "event": "poll_failed",
        "project": "prod",
        "cause": "login",
        "tries": 3,
        "fatal": False,
        "last": None,
    }


# The console


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as context:
        context.setenv("TZ", "CET-1")
        time.tzset()
        yield
    time.tzset()


def rendered(render: Callable[..., str], timestamp: str = "2026-11-23T02:04:11.123456Z") -> str:
    return render(
        {
            "timestamp": timestamp,
            "level": "warning",
            "event": "delivery_failed",
            "event_id": "tw_1",
            "detail": 'answered 500: "no"',
            "attempt": 1,
            "receiver": "pipeline",
            "project": "prod",
        }
    )


@pytest.mark.usefixtures("berlin")
def test_a_console_line_says_when_how_grave_what_whose_and_then_the_rest() -> None:
    assert rendered(Console(is_coloured=False).render) == (
        "2026-11-23 03:04:11 WARN  delivery_failed          "
        r'project=prod receiver=pipeline event_id=tw_1 detail="answered 500: \"no\"" attempt=1'
    )


@pytest.mark.usefixtures("berlin")
def test_the_date_stands_where_a_day_begins() -> None:
    render = Console(is_coloured=False).render
    times = [
        rendered(render, f"2026-11-23T{at}Z").partition(" WARN")[0]
        for at in ("22:59:58.5", "22:59:59.0", "23:00:00.0", "23:00:01.0")
    ]

    assert times == ["2026-11-23 23:59:58", "23:59:59", "2026-11-24 00:00:00", "00:00:01"]


@pytest.mark.parametrize(
    ("stream", "no_color", "is_coloured"),
    [(Terminal, "", True), (Terminal, "1", False), (io.StringIO, "", False)],
    ids=["terminal", "NO_COLOR", "pipe"],
)
def test_colour_is_for_terminals_and_never_against_no_color(
    *,
    stream: type[io.StringIO],
    no_color: str,
    is_coloured: bool,
    lines: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    shown = lines("console", stream=stream())
    telemetry.logger().error("delivery_dead", why="poison")

    assert ("\x1b" in shown.getvalue()) is is_coloured


def test_no_value_can_look_like_another_field(lines: Configure) -> None:
    stream = lines("console")
    forged = 'x" project=forged \\" level=y\\'
    telemetry.logger().info("told", summary=forged, project="a b=c", cause=forged)

    assert console_fields(stream.getvalue().removesuffix("\n")) == {
        "level": "INFO",
        "event": "told",
        "summary": forged,
        "project": "a b=c",
        "cause": forged,
    }


# Which format, which level


def test_auto_is_json_but_on_a_terminal(lines: Configure) -> None:
    piped, shown = lines("auto"), Terminal()
    telemetry.logger().info("told")
    lines("auto", stream=shown)
    telemetry.logger().info("told")

    assert json.loads(piped.getvalue())["event"] == "told"
    assert "told" in shown.getvalue()
    assert not shown.getvalue().startswith("{")


def test_what_is_below_the_level_is_not_written(lines: Configure) -> None:
    stream = lines(level="warning")
    telemetry.logger().info("quiet")
    telemetry.logger().warning("loud")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_bug_is_told_with_its_place_and_without_its_text(format_: str, lines: Configure) -> None:
    stream = lines(format_)
    try:
        int(f"{CANARY}\nsecond line")
    except ValueError as error:
        telemetry.logger().warning("poll_broken", exc_info=error)

    assert stream.getvalue().count("\n") == 1
    assert "test_telemetry.py:" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_a_library_that_logs_wrongly_is_heard_all_the_same(lines: Configure) -> None:
    stream = lines()
    logging.getLogger("a.library").warning("%d connections", "many")

    found = json.loads(stream.getvalue())
    assert (found["event"], found["library"], found["said"]) == (
        "library_says",
        "a.library",
        "%d connections",
    )


# What cannot be written


def test_a_closed_stream_loses_lines_and_stops_nothing(lines: Configure) -> None:
    stream = lines()
    stream.close()

    telemetry.logger().error("nobody_hears_this")
    with pytest.raises(OSError, match="the log cannot be written"):
        telemetry.teller().info("nobody_hears_this")


def test_without_standard_error_lines_are_lost_and_nothing_stops(
    lines: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines()  # so that the logs are restored
    monkeypatch.setattr(sys, "stderr", None)
    telemetry.configure(format_="auto", level="debug")

    telemetry.logger().error("nobody_hears_this")
    with pytest.raises(OSError, match="the log cannot be written"):
        telemetry.teller().info("nobody_hears_this")


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """Return both ends: the reader's number, the writer's stream."""
    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8") as stream:  # noqa: PTH123  (no path)
        yield reader, stream
    os.close(reader)


Pipe = tuple[int, io.TextIOWrapper]


def test_a_reader_that_has_stopped_reading_holds_nothing_up(pipe: Pipe) -> None:
    reader, stream = pipe
    lines = Lines(stream)
    written, lost = [], 0
    for number in range(3000):
        try:
            lines.write(f"{number} {'x' * 97}")
            written.append(number)
        except BlockingIOError:
            lost += 1
    room = os.read(reader, 1 << 20).decode()
    lines.write("read again")
    seen = (room + os.read(reader, 1 << 20).decode()).splitlines()

    assert lost > 1000
    assert [int(line.split()[0]) for line in seen[:-1]] == written
    assert seen[-1] == "read again"


def test_a_line_that_was_torn_ends_before_the_next_begins(pipe: Pipe) -> None:
    reader, stream = pipe
    lines = Lines(stream)
    with pytest.raises(BlockingIOError):
        lines.write("x" * 200_000)
    torn = os.read(reader, 1 << 20).decode()
    lines.write("whole")

    assert 0 < len(torn) < 200_000
    assert set(torn) == {"x"}
    assert os.read(reader, 1 << 20) == b"\nwhole\n"


def test_a_reader_that_is_gone_is_an_error_for_those_who_must_know() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as stream, pytest.raises(BrokenPipeError):  # noqa: PTH123  (no path)
        Lines(stream).write("nobody hears this")


def test_a_file_that_was_closed_is_not_written_to_by_its_number(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        lines = Lines(stream)
        lines.write("first")
        number = stream.fileno()
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
    assert other == number

    with pytest.raises(ValueError, match="closed"):
        lines.write("second")

    os.close(other)
    assert ((tmp_path / "log").read_text(), (tmp_path / "other").read_text()) == ("first\n", "")
