"""What holds for every test: a home of its own, so that none sees or leaves anything in the user's.

And the world that many of them need: a cloud and a receiver of webhooks on loopback, and commands to ask.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.in_process import Ask, runner
from tests.fakes.tasks_endpoint import TasksEndpoint
from tests.fakes.webhook_sink import WebhookSink

OF_THE_USER = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY", "TASKWATCH_CONFIG")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set the home aside: the default place of a store is there, and a store of another version may be in it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in OF_THE_USER:
            if name in os.environ:
                environment.delenv(name)
        yield


@pytest.fixture
async def cloud() -> AsyncIterator[TasksEndpoint]:
    """A cloud without tasks."""
    async with TasksEndpoint() as cloud:
        yield cloud


@pytest.fixture
async def sink() -> AsyncIterator[WebhookSink]:
    """A receiver that takes everything."""
    async with WebhookSink() as sink:
        yield sink


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ask:
    """Run a command in a thread of this process, in the directory of the test."""
    return partial(asyncio.to_thread, runner(monkeypatch, capsys, tmp_path))
