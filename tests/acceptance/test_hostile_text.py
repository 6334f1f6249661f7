"""Text of a hostile cloud and a hostile receiver through every output: it stays text, on its line, in its column."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from taskwatch.cli.demo.show import Lines
from tests.fakes.commands import until
from tests.fakes.daemon import Daemon
from tests.fakes.in_process import Ask
from tests.fakes.logs import FOREIGN, console_fields, logs_restored
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink, answer

pytestmark = pytest.mark.real

TEXTS: Final = {name: text[:20_000] for name, text in FOREIGN.items() if text}
NO_YAML: Final = {"surrogates", "megabyte", "private use"}
LABELS: Final = {name: text for name, text in TEXTS.items() if name not in NO_YAML}
ALL: Final = "".join(text[:300] for name, text in TEXTS.items() if name != "surrogates")
COLUMNS: Final = 80


def harmful(text: str) -> list[str]:
    """Return the lines that could do anything to a terminal but fill it."""
    return [line for line in text.split("\n") if not line.isprintable()]


@pytest.fixture
async def cloud() -> AsyncIterator[TasksEndpoint]:
    async with TasksEndpoint() as cloud:
        cloud.rows.append(row("going", status="Running"))
        yield cloud


@pytest.fixture
async def scene(tmp_path: Path, cloud: TasksEndpoint) -> AsyncIterator[Path]:
    """A configuration with hostile labels, and a receiver that refuses in hostile words."""
    async with WebhookSink(choose=lambda: answer(422, ALL)) as sink:
        project = {"name": "prod", "endpoint": cloud.url, "project_id": "1", "labels": LABELS}
        document: dict[str, Any] = {
            "store": {"path": "taskwatch.db"},
            "log": {"format": "json", "level": "debug"},
            "credentials": {"c": {"type": "none", "rate": "1000/s"}},
            "defaults": {"interval": "100ms"},
            "projects": [project],
            "receivers": [
                {"name": "log", "type": "log"},
                {"name": "hook", "type": "webhook", "url": sink.url, "retry": {"horizon": "10ms"}},
            ],
        }
        (tmp_path / "taskwatch.yaml").write_text(json.dumps(document))
        yield tmp_path


def let_it_be_hostile(cloud: TasksEndpoint) -> None:
    """Let tasks come whose every field holds such a text, and such a status."""
    for number, text in enumerate(TEXTS.values()):
        instance = {"instance_id": text, "instance_name": text, "instance_status": text}
        fields: dict[str, Any] = {"name": text, "fail_reason": text, "process": text}
        fields |= {"instance_info": instance, "created_at": text, "ended_at": None}
        cloud.rows.append(row(f"{number}{text}"[:200], status="Failed", **fields))
        cloud.rows.append(row(f"odd-{number}", status=text[:100], **fields))


@pytest.fixture
async def told(scene: Path, cloud: TasksEndpoint, ask: Ask) -> AsyncIterator[Path]:
    """A directory with a store that knows of all of it."""
    with logs_restored():
        assert (await ask("poll")).code == 0
        let_it_be_hostile(cloud)
        assert (await ask("poll")).code == 0
        yield scene


async def ids(ask: Ask, *arguments: str) -> list[str]:
    found = await ask("events", "--json", *arguments)
    return [json.loads(line)["id"] for line in found.out.splitlines()]


async def test_a_table_stays_a_table(told: Path, ask: Ask) -> None:
    for command in ("tasks", "events", "deliveries", "projects"):
        table = await ask(command)
        rows = (await ask(command, "--json")).out.splitlines()
        heading, *lines = table.out.removesuffix("\n").split("\n")

        assert harmful(table.out + table.err) == []
        assert len(lines) == len(rows) >= (1 if command == "projects" else 2 * len(TEXTS))
        assert len((table.out + table.err).splitlines()) == (table.out + table.err).count("\n")
        for column in re.finditer(r"\S+", heading.replace(" ID", "_ID").replace("LAST TR", "LAST_TR")):
            assert {line[column.start() - 2 : column.start()] for line in lines if column.start()} <= {
                "  ",
                "",
            }


async def test_what_is_long_is_cut_with_a_mark(told: Path, ask: Ask) -> None:
    tasks = await ask("tasks")

    assert re.search(r"A{1000}… \(4\d\d\d characters\)", tasks.out)
    assert "A" * 1001 not in tasks.out


async def test_json_is_ascii_and_holds_the_text_as_it_was(told: Path, ask: Ask) -> None:
    tasks, events = await ask("tasks", "--json"), await ask("events", "--json", "--type", "task.failed")

    assert (tasks.out + events.out).isascii()
    assert harmful(tasks.out + events.out) == []
    known = [json.loads(line) for line in tasks.out.splitlines()]
    names = {one["name"] for one in known}
    whole = {text for name, text in TEXTS.items() if name not in {"long", "megabyte", "surrogates"}}
    assert whole <= names
    assert TEXTS["long"][:4096] in {name[:4096] for name in names}
    reasons = {json.loads(line)["data"]["task"]["fail_reason"] for line in events.out.splitlines()}
    assert whole <= reasons
    labels = json.loads(events.out.splitlines()[0])["data"]["project"]["labels"]
    assert labels["bidi"] == TEXTS["bidi"]


async def test_explain_keeps_its_form(told: Path, ask: Ask) -> None:
    for event_id in [*await ids(ask, "--type", "task.failed"), *await ids(ask)]:
        page = await ask("explain", event_id)
        shown = json.loads((await ask("explain", event_id, "--json")).out)

        assert harmful(page.out + page.err) == []
        assert max(len(line) for line in page.out.split("\n") if "tw_" not in line) <= COLUMNS
        assert shown["event"]["id"] == event_id


async def test_wait_tells_and_gives_up_in_harmless_words(told: Path, cloud: TasksEndpoint, ask: Ask) -> None:
    failed = [one["job_id"] for one in cloud.rows if one["status"] == "Failed" and "\0" not in one["job_id"]]
    odd = [one["job_id"] for one in cloud.rows if one["job_id"].startswith("odd-")]
    failed = [job_id for job_id in failed if "\ud83d" not in job_id]
    for job_ids in (failed, odd, ["\x1b[31mnobody\u202e"]):
        waited = await ask("wait", *job_ids, "--timeout", "1s")
        told_in_json = await ask("wait", *job_ids, "--timeout", "1s", "--json")

        assert waited.code == told_in_json.code == 1
        assert harmful(waited.out + waited.err + told_in_json.out + told_in_json.err) == []
        assert len(waited.err.split("\n")) <= len(job_ids) + 3


async def test_what_is_asked_about_hostile_text_is_answered_in_harmless_words(told: Path, ask: Ask) -> None:
    for text in (text for name, text in TEXTS.items() if name not in {"NUL", "surrogates", "megabyte"}):
        for command in (
            ("route", "test", f"task={text}", "project=prod"), ("route", "test", f"{text}=1"),
            ("route", "test", f"project={text}"), ("route", "test", f"type={text}"),
            ("route", "test", f"task={text}", "--json"),
            ("explain", text), ("poll", "--project", text), ("poll", "--dry-run"),
            ("receiver", "test", text), ("receiver", "test", "hook"), ("tasks", "--since", text),
            ("tasks", "--name", text), ("tasks", "--instance", text), ("tasks", "--limit", text),
            ("deliveries", "--receiver", text), ("deliveries", "--state", text), ("deliveries", "replay", text),
            ("deliveries", "drop", "--receiver", text), ("projects", "--project", text),
            ("check", "-c", text[:50]), ("wait", "x", "--timeout", text), ("state", "backup", text[:50]),
            (text,), ("state", text),
        ):  # fmt: skip
            said = await ask(*command)
            assert harmful(said.out + said.err) == [], command


@pytest.mark.parametrize("format_", ["console", "json"])
async def test_a_log_stays_lines(scene: Path, cloud: TasksEndpoint, format_: str) -> None:
    config = scene / "taskwatch.yaml"
    config.write_text(config.read_text().replace('"json"', f'"{format_}"'))
    async with Daemon(config, scene / "log") as daemon:
        await until(lambda: "taskwatch.project.baseline" in daemon.said(), "the baseline", said=daemon.said)
        let_it_be_hostile(cloud)
        await until(lambda: failures(daemon.said()) == len(TEXTS), "the failures", said=daemon.said)
        await until(lambda: "answered 422" in daemon.said(), "a refusal", said=daemon.said)
        assert await daemon.kill(signal.SIGTERM) == 0

    lines = daemon.said().removesuffix("\n").split("\n")
    assert harmful(daemon.said()) == []
    fields = [json.loads(line) if format_ == "json" else console_fields(line) for line in lines]
    assert sum(one["event"] == "taskwatch.task.failed" for one in fields) == len(TEXTS)
    assert max(map(len, lines)) < 8000


def failures(said: str) -> int:
    return len(re.findall(r"(?m)^[^=]*?\btaskwatch\.task\.failed\b", said))


def test_the_lines_of_the_demo_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show = Lines()
    for text in TEXTS.values():
        show.told(
            {
                "type": "taskwatch.task.failed",
                "time": "2026-11-23T10:00:00Z",
                "data": {"severity": "critical", "summary": text[:2000], "project": {"name": text[:50]}},
            }
        )
        show.act(text[:2000])

    shown = capsys.readouterr().out
    assert harmful(shown) == []
    assert len(shown.splitlines()) == 2 * len(TEXTS)


@pytest.mark.parametrize("command", ["tasks", "events", "deliveries", "projects"])
async def test_on_a_terminal_a_table_fits_and_no_foreign_escape_reaches_it(told: Path, command: str) -> None:
    shown = await asyncio.to_thread(on_a_terminal, command, cwd=told)

    plain = re.sub(r"\x1b\[\d*m", "", shown).replace("\r\n", "\n")
    assert harmful(plain) == []
    assert max(len(line) for line in plain.split("\n")) <= COLUMNS
    assert shown.count("\x1b[31m") == shown.count("\x1b[31mFailed") + shown.count("\x1b[31mcritical") + (
        shown.count("\x1b[31mdead")
    )


def on_a_terminal(*arguments: str, cwd: Path) -> str:
    """Run a command on a terminal of its own; return what it shows."""
    ours, theirs = pty.openpty()
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-m", "taskwatch", *arguments],
        cwd=cwd,
        env=os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm", "NO_COLOR": ""},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
            process.wait(timeout=30)
    return shown.decode()
