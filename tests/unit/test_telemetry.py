"""Logs: one harmless line each, whatever is put into them, and no trouble when they cannot be written."""

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from taskwatch import telemetry
from taskwatch.telemetry import MAX_FIELD, printable
from tests.fakes.messages import HOSTILE

CANARY = "canary-s3cret"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def lines() -> Iterator[Callable[..., io.StringIO]]:
    """Configure the logs upon a stream of this format; return the stream."""
    handlers, level = logging.root.handlers[:], logging.root.level

    def configure(
        format_: str = "json", level: str = "debug", stream: io.StringIO | None = None
    ) -> io.StringIO:
        target = stream or io.StringIO()
        telemetry.configure(format_=format_, level=level, stream=target)
        return target

    yield configure
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level


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
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_one_harmless_line(
    format_: str, text: str, lines: Callable[..., io.StringIO]
) -> None:
    stream = lines(format_)
    telemetry.logger(bound=text).warning("something_happened", plain=text, listed=[text], mapped={text: text})

    (line,) = stream.getvalue().removesuffix("\n").split("\n")
    assert line.isprintable()


def test_a_json_line_begins_with_when_how_grave_and_what(lines: Callable[..., io.StringIO]) -> None:
    stream = lines()
    telemetry.logger(project="prod").warning("poll_failed", cause="login", tries=3, fatal=False, last=None)

    found = json.loads(stream.getvalue())
    assert list(found)[:3] == ["timestamp", "level", "event"]
    assert {
        name: found[name] for name in ("level", "event", "project", "cause", "tries", "fatal", "last")
    } == {
        "level": "warning",
        "event": "poll_failed",
        "project": "prod",
        "cause": "login",
        "tries": 3,
        "fatal": False,
        "last": None,
    }


def test_auto_is_json_but_on_a_terminal(lines: Callable[..., io.StringIO]) -> None:
    piped, shown = lines("auto"), Terminal()
    telemetry.logger().info("told")
    lines("auto", stream=shown)
    telemetry.logger().info("told")

    assert json.loads(piped.getvalue())["event"] == "told"
    assert not shown.getvalue().startswith("{")


def test_what_is_below_the_level_is_not_written(lines: Callable[..., io.StringIO]) -> None:
    stream = lines(level="warning")
    telemetry.logger().info("quiet")
    telemetry.logger().warning("loud")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_bug_is_told_with_its_place_and_without_its_text(
    format_: str, lines: Callable[..., io.StringIO]
) -> None:
    stream = lines(format_)
    try:
        int(f"{CANARY}\nsecond line")
    except ValueError as error:
        telemetry.logger().warning("poll_broken", exc_info=error)

    assert stream.getvalue().count("\n") == 1
    assert "test_telemetry.py:" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_a_closed_pipe_loses_lines_and_stops_nothing(lines: Callable[..., io.StringIO]) -> None:
    stream = lines()
    stream.close()

    telemetry.logger().error("nobody_hears_this")
