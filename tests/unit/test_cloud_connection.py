"""What happens before a host answers, in plain words that hold none of the library's."""

import asyncio
import socket

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from taskwatch.cloud.connection import unanswered
from taskwatch.cloud.errors import Asked
from taskwatch.errors import CloudCause

CANARY = "MIIcanary/0123456789+=="
ASKED = Asked(
    host="gaussdb.example",
    credential="the token (file:/run/token)",
    secrets=(CANARY,),
    phase="connected",
)


def _key() -> ConnectionKey:
    return ConnectionKey(
        "gaussdb.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
    )


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (aiohttp.ServerDisconnectedError(CANARY), CloudCause.NETWORK, "closed the connection"),
        (aiohttp.ClientPayloadError(CANARY), CloudCause.NETWORK, "cut short"),
        (
            aiohttp.ClientOSError(104, "Connection reset by peer"),
            CloudCause.NETWORK,
            "Connection reset by peer",
        ),
        (
            aiohttp.ClientConnectorError(_key(), ConnectionRefusedError(111, "Connection refused")),
            CloudCause.NETWORK,
            "cannot connect (Connection refused)",
        ),
        (
            aiohttp.ClientConnectorDNSError(_key(), socket.gaierror(-2, "unknown")),
            CloudCause.NETWORK,
            "cannot be resolved",
        ),
        (aiohttp.ClientConnectorSSLError(_key(), OSError(1, CANARY)), CloudCause.TLS, "no TLS connection"),
        (
            aiohttp.ClientConnectorCertificateError(_key(), ValueError(CANARY)),
            CloudCause.TLS,
            "certificate is refused",
        ),
        (aiohttp.SocketTimeoutError(CANARY), CloudCause.TIMEOUT, "connected, and 60 s of silence"),
        (TimeoutError(CANARY), CloudCause.TIMEOUT, "no answer in time"),
        (aiohttp.InvalidURL(f"http://u:{CANARY}@h"), CloudCause.NETWORK, "check endpoint"),
        (asyncio.LimitOverrunError(CANARY, 1), CloudCause.NETWORK, "LimitOverrunError"),
    ],
)
def test_errors_of_the_network_are_told_in_plain_words(
    error: Exception, cause: CloudCause, words: str
) -> None:
    told = unanswered(ASKED, error)
    assert told.cause is cause
    assert str(told).startswith("gaussdb.example: ")
    assert words in str(told)
    assert CANARY not in str(told)
