"""What blocks runs beside the loop: one thing at a time, and what hangs holds up nothing."""

import threading
from functools import partial

import pytest

from taskwatch.cloud.auth import beside
from taskwatch.cloud.auth.beside import Beside
from taskwatch.errors import CloudCause, CloudError


async def test_one_thing_after_another_is_done_however_quickly_they_follow() -> None:
    # The thread of the one before may still be on its way out when the next begins.
    runner = Beside("test")
    numbers = [await runner.run(partial(int, number), "host") for number in range(500)]
    assert numbers == list(range(500))


async def test_what_it_raises_is_for_who_waits() -> None:
    def fail() -> None:
        raise KeyError("nobody")

    with pytest.raises(KeyError, match="nobody"):
        await Beside("test").run(fail, "host")


async def test_what_hangs_is_given_up_and_nothing_else_begun_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beside, "LOGIN_SECONDS", 0.01)
    runner, release = Beside("test"), threading.Event()
    try:
        for words in ("had no answer within", "still at an earlier request"):
            with pytest.raises(CloudError, match=words) as late:
                await runner.run(lambda: release.wait(10), "host")
            assert late.value.cause is CloudCause.TIMEOUT
    finally:
        release.set()


async def test_a_thread_that_cannot_start_is_told_and_leaves_its_place_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runner = Beside("test")
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        with pytest.raises(CloudError, match=r"host: no thread can be started .*can't start new thread"):
            await runner.run(lambda: 1, "host")
    assert await runner.run(lambda: 1, "host") == 1
