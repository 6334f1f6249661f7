"""What commands ask of a daemon: its answer counts, its end is noticed."""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskwatch.cli.request import FRESH_SECONDS, _outcome, ask
from taskwatch.errors import RequestError, StoreFailedError
from taskwatch.model.operation import Action
from taskwatch.store.beside import connect
from taskwatch.store.desk import Desk
from taskwatch.store.lock import acquire
from taskwatch.store.sqlite import open_store
from taskwatch.store.waiting import LOOK_SECONDS
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


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let nobody wait; return for how long each wanted to."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def test_who_waits_for_long_is_told_once_for_whom_and_how_long_at_most(
    store: Path, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lock = acquire(store, since=T0)
    with Desk(store, by="me") as desk, pytest.raises(RequestError):
        _outcome(desk, desk.ask(Action.RELOAD, {}, at=T0), store, limit=30)
    lock.release()

    assert sum(slept) == pytest.approx(30)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"Waiting for the daemon, pid {os.getpid()} on {socket.gethostname()} since {T0:%Y-%m-%d %H:%M:%S} UTC; "
        "28 s more at most\n"
    )


def test_a_wait_that_is_short_is_silent(
    store: Path, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lock = acquire(store, since=T0)
    with Desk(store, by="me") as desk, pytest.raises(RequestError):
        _outcome(desk, desk.ask(Action.FRESHEN, {}, at=T0), store, limit=FRESH_SECONDS)
    lock.release()

    assert len(slept) == round(FRESH_SECONDS / LOOK_SECONDS)
    assert capsys.readouterr() == ("", "")


def test_where_somebody_else_writes_for_too_long_it_is_said_who_that_may_be(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a daemon that was stopped in the midst of a commit."""
    monkeypatch.setattr("taskwatch.store.beside.BUSY_MILLISECONDS", 1)
    lock = acquire(store, since=T0)
    with closing(connect(store, writes=True)) as other, Desk(store, by="me") as desk:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreFailedError, match=f"most likely the daemon, pid {os.getpid()} on .*, is writing"
        ):
            desk.ask(Action.RELOAD, {}, at=T0)
    lock.release()
