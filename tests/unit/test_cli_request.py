"""What commands ask of a daemon: its answer counts, its end is noticed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from taskwatch.cli.request import _outcome, ask
from taskwatch.errors import RequestError
from taskwatch.model.operation import Action
from taskwatch.store.desk import Desk
from taskwatch.store.lock import acquire
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import T0
from tests.fakes.records import StillClock


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "taskwatch.db"
    asyncio.run(open_store(path, clock=StillClock()).close())
    return path


async def answered(path: Path, request: int, outcome: Mapping[str, Any]) -> None:
    store = open_store(path, clock=StillClock())
    await store.answer(request, outcome)
    await store.close()


def test_who_asks_a_daemon_that_has_ended_does_not_wait_for_it(store: Path) -> None:
    with pytest.raises(RequestError, match="the daemon ended before it answered"):
        ask(store, Action.RELOAD, {})


def test_what_a_daemon_answered_before_it_ended_counts(store: Path) -> None:
    with Desk(store, by="me") as desk:
        request = desk.ask(Action.RELOAD, {}, at=T0)
        asyncio.run(answered(store, request, {"changes": []}))

        assert _outcome(desk, request, store, limit=1) == {"changes": []}


def test_a_daemon_that_says_nothing_is_not_waited_for_for_ever(store: Path) -> None:
    lock = acquire(store, since=T0)
    with Desk(store, by="me") as desk, pytest.raises(RequestError, match="has not answered within"):
        _outcome(desk, desk.ask(Action.RELOAD, {}, at=T0), store, limit=0)
    lock.release()
