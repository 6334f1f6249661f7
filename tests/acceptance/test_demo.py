"""`taskwatch demo`: the first minute, as a newcomer sees it."""

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
FULL_SCREEN, BACK = b"\x1b[?1049h", b"\x1b[?1049l"


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), **more}


def demo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "taskwatch", "demo", *arguments]


class Terminal:
    """A process on a terminal of its own; `shown` is every byte that it wrote there."""

    def __init__(self, tmp_path: Path, *arguments: str, **more: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.shown = b""
        self.process = subprocess.Popen(
            demo(*arguments),
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE,
            env=environment(tmp_path, **({"TERM": "xterm-256color"} | more)),
        )
        os.close(slave)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        try:
            while read := os.read(self._master, 65536):
                self.shown += read
        except OSError:  # the other side is closed
            pass

    def until(self, wanted: bytes) -> None:
        limit = time.monotonic() + SECONDS
        while wanted not in self.shown:
            assert time.monotonic() < limit, self.shown[-3000:]
            time.sleep(0.02)

    def ended(self) -> tuple[int, bytes]:
        """Wait for the end; return the code and what went to standard error."""
        _, errors = self.process.communicate(timeout=SECONDS)
        self._reading.join(SECONDS)
        return self.process.returncode, errors

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self._reading.join(SECONDS)
        os.close(self._master)


@contextmanager
def terminal(tmp_path: Path, *arguments: str, **more: str) -> Iterator[Terminal]:
    opened = Terminal(tmp_path, *arguments, **more)
    try:
        yield opened
    finally:
        opened.close()


def test_piped_it_tells_failures_an_outage_and_an_honest_end_and_its_commands_work(tmp_path: Path) -> None:
    shown = subprocess.run(
        demo("--seconds", "8", "--seed", "1"),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\x1b" not in shown.stdout
    assert "FAILED" in shown.stdout
    assert "checksum mismatch" in shown.stdout
    acts = [
        line.split("receiver ", 1)[1] for line in shown.stdout.splitlines() if "webhook receiver " in line
    ]
    assert acts == ["answers 503", "refuses connections", "works again"]
    assert "0 out of order, 0 with a wrong signature." in shown.stdout
    assert "lost: 0, told falsely: 0." in shown.stdout

    (path,) = tmp_path.glob("taskwatch-demo-*/taskwatch.yaml")
    assert path.stat().st_mode & 0o077 == 0
    advised = [shlex.split(line) for line in shown.stdout.splitlines() if f"-c {path}" in line]
    assert [words[-3] for words in advised] == ["events", "tasks", "deliveries"]
    for words in advised:
        kept = subprocess.run(
            [*words, "--json"],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        rows = [json.loads(line) for line in kept.stdout.splitlines()]
        assert rows
        if words[-3] == "events":
            reasons = [
                row["data"]["task"]["fail_reason"] for row in rows if row["type"].endswith("task.failed")
            ]
            assert any("checksum mismatch" in reason for reason in reasons)


def test_its_status_page_shows_what_it_watches(tmp_path: Path) -> None:
    with terminal(tmp_path, "--seconds", "0") as shown:
        shown.until(b"running tasks")
        shown.until(b"status page")
        found = re.search(rb"status page\S*\s+(?:\x1b\S+\s*)*(http://127\.0\.0\.1:\d+/)", shown.shown)
        assert found is not None, shown.shown[-3000:]
        with urllib.request.urlopen(found[1].decode(), timeout=SECONDS) as answer:  # noqa: S310 - on loopback
            page = answer.read().decode()
        shown.process.send_signal(signal.SIGINT)
        assert shown.ended() == (0, b"")

    assert "shop-prod" in page


def test_on_a_terminal_it_draws_frames_and_leaves_only_the_summary(tmp_path: Path) -> None:
    with terminal(tmp_path, "--seconds", "9") as shown:
        shown.until(b"running tasks")
        code, errors = shown.ended()

    assert (code, errors) == (0, b"")
    frames, _, rest = shown.shown.partition(FULL_SCREEN)[2].partition(BACK)
    for part in ("deliveries", "Ctrl-C ends it", "FAILED", "DOWN"):
        assert part.encode() in frames, part
    assert b"told falsely: 0" in rest
    assert b"Ctrl-C" not in rest


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_or_on_a_dumb_terminal_it_prints_lines(tmp_path: Path, more: dict[str, str]) -> None:
    with terminal(tmp_path, "--seconds", "2", **more) as shown:
        shown.until(b"baseline")
        assert shown.ended()[0] == 0

    assert b"\x1b" not in shown.shown


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("wanted", [b"starting", b"projects", b"started", b"DOWN"])
def test_ctrl_c_ends_it_in_order_at_any_moment_and_as_often_as_it_is_pressed(
    tmp_path: Path, wanted: bytes, times: int
) -> None:
    with terminal(tmp_path, "--seconds", "15") as shown:
        shown.until(wanted)
        for _ in range(times):
            shown.process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        code, errors = shown.ended()

    assert (code, errors) == (0, b"")
    assert shown.shown.count(FULL_SCREEN) == shown.shown.count(BACK) == 1
    assert b"Traceback" not in shown.shown


def test_until_ctrl_c_means_what_it_says_also_where_lines_are_printed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        demo("--seconds", "0"),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert any("started" in line for line in process.stdout)
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=SECONDS)
        finally:
            process.kill()

    assert (process.returncode, errors) == (0, "")
    assert "lost: 0" in out


def test_it_ends_quietly_when_nobody_reads_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        demo("--seconds", "30"), env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr is not None
            errors = process.stderr.read()
            code = process.wait(SECONDS)
        finally:
            process.kill()

    assert (code, errors) == (0, b"")
