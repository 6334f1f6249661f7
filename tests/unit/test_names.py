"""Host names become addresses: whatever goes wrong with one lookup, the name can be asked for again."""

import socket
import threading

import pytest

from taskwatch.names import Names, NameTimeoutError

ADDRESS = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))


async def test_a_thread_that_cannot_start_is_told_and_leaves_the_name_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [ADDRESS])
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(NameTimeoutError, match=r"no thread can be started .*can't start new thread"):
            await names.resolve("gauss.example", 443)
    assert [address["host"] for address in await names.resolve("gauss.example", 443)] == ["127.0.0.1"]


async def test_whatever_a_lookup_raises_is_told_and_leaves_the_name_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise ValueError("embedded null character")

    with monkeypatch.context() as broken:
        broken.setattr(socket, "getaddrinfo", getaddrinfo)
        with pytest.raises(socket.gaierror, match="ValueError"):
            await names.resolve("gauss.example", 443)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [ADDRESS])
    assert [address["host"] for address in await names.resolve("gauss.example", 443)] == ["127.0.0.1"]


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
