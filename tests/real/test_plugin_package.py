"""Notifiers of other packages under the real daemon: the example as pip installs it, and one that hangs beside others."""

import asyncio
import importlib.util
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from tests.fakes.commands import ROOT, taskwatch, until
from tests.fakes.daemon import Daemon
from tests.fakes.plugin_package import install
from tests.fakes.watched import Watched, lines, watched

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

EXAMPLE: Final = ROOT / "docs" / "example-notifier"
STREAM: Final = '  - {{name: stream, type: redis, port: {port}, password: "canary", retry: {{initial: 50ms, max: 200ms}}}}\n'
BAD: Final = "  - {{name: {name}, type: {name}, timeout: 200ms, retry: {{initial: 50ms, max: 200ms}}}}\n"
PATIENCE: Final = 90.0  # seconds, beside threads that never rest, on a machine that has other work too
BAD_NOTIFIERS: Final = """
    import asyncio, sys, threading, time
    from taskwatch.notifier_api import Notifier

    class Blocks(Notifier):
        async def notify(self, message):
            threading.Event().wait()

    class Ignores(Notifier):
        async def notify(self, message):
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass

    class Raises(Notifier):
        async def notify(self, message):
            print("told\\n", end="", flush=True)  # in one write: it goes where the log goes
            sys.exit(3)

    class Floods(Notifier):
        async def notify(self, message):
            async def spin():
                while True:
                    await asyncio.sleep(0.01)
            self.tasks = [asyncio.create_task(spin()) for _ in range(20)]

        async def close(self):
            await asyncio.to_thread(threading.Event().wait)
"""


def _fake_redis() -> ModuleType:
    """Return the tests of the example, in which its fake is."""
    _module(EXAMPLE / "taskwatch_redis.py")  # which they import
    return _module(EXAMPLE / "tests" / "test_taskwatch_redis.py")


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as place:
        yield place


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which daemons and commands find packages."""
    directory = tmp_path / "packages"
    directory.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{directory}:{ROOT}")
    return directory


async def installed(packages: Path, tmp_path: Path) -> None:
    """Install the example as its users do; from a copy, since building writes beside the source."""
    source = shutil.copytree(EXAMPLE, tmp_path / "example")
    pip = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-build-isolation", "--no-index", "--target", str(packages), str(source),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await pip.communicate()
    assert pip.returncode == 0, said.decode()


async def test_the_example_is_installed_checked_tried_and_told(
    place: Watched, packages: Path, tmp_path: Path
) -> None:
    await installed(packages, tmp_path)
    async with _fake_redis().fake_redis() as redis:
        place.begin("job")
        file = place.configure(receivers=STREAM.format(port=redis.port))

        checked = await taskwatch("check", "--online", "-c", str(file), cwd=tmp_path)
        assert checked.code == 0, checked
        assert "stream (redis)" in checked.out
        assert "receiver stream: ok, nothing was sent" in checked.out
        assert redis.events == []

        async with place.daemon() as daemon:
            await place.baseline(daemon)
            place.end("job")
            await place.told(daemon)
            await until(lambda: len(redis.events) == 2, "both events at the plug-in", said=daemon.said)

            tried = await taskwatch("receiver", "test", "stream", "-c", str(file), cwd=tmp_path)
            assert tried.code == 0, tried
            assert await daemon.kill(signal.SIGTERM) == 0

        told = [json.loads(event) for event in redis.events]
        assert [event["type"].removeprefix("taskwatch.") for event in told] == [
            "project.baseline",
            "task.failed",
            "receiver.test",
        ]
        assert {event["id"] for event in told[:2]} == {post.id for post in place.sink.accepted}
        assert "canary" not in daemon.said()


async def test_a_mistake_in_its_keys_and_a_type_that_nobody_has_are_told_in_a_line(
    place: Watched, packages: Path, tmp_path: Path
) -> None:
    await installed(packages, tmp_path)
    file = place.configure(receivers="  - {name: a, type: redis, prot: 1}\n  - {name: b, type: reddis}\n")
    checked = await taskwatch("check", "-c", str(file), cwd=tmp_path)
    assert checked.code == 78
    problems = [line.partition("receivers[")[2] for line in checked.err.splitlines()]
    assert problems == [
        "1].prot: unknown key; did you mean port?",
        "2].type: unknown type; did you mean redis?",
    ]


async def test_those_that_hang_raise_or_flood_harm_no_other_and_hold_up_no_end(
    place: Watched, packages: Path
) -> None:
    types = ("blocks", "ignores", "raises", "floods")
    install(packages, "tw-plugin-bad", BAD_NOTIFIERS, **{name: name.title() for name in types})
    place.configure(receivers="".join(BAD.format(name=name) for name in types))
    async with place.daemon() as daemon:
        await place.baseline(daemon)
        for number in range(20):
            place.begin(f"job-{number}")
            await asyncio.sleep(0.05)
            place.end(f"job-{number}")
        await place.told(daemon, seconds=PATIENCE)
        await until(
            lambda: paused(daemon) >= {"blocks", "ignores"},
            "both to be paused",
            said=daemon.said,
            seconds=PATIENCE,
        )
        place.begin("late")
        place.end("late")
        await place.told(daemon, seconds=PATIENCE)
        async with asyncio.timeout(30):  # and nothing of what hangs is waited for
            assert await daemon.kill(signal.SIGTERM) == 0
    hung = [
        line["times"]
        for line in lines(daemon)
        if line["event"] == "notifier_hangs" and line["receiver"] == "blocks"
    ]
    assert hung == [1, 2, 3]
    assert "floods" not in paused(daemon)  # it is only slow


def paused(daemon: Daemon) -> set[str]:
    return {line["receiver"] for line in lines(daemon) if line["event"] == "receiver_paused"}
