"""Spoils an honest answer in the way a fault asks for. Nothing here lasts longer than two minutes."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from taskwatch.simulator import refusals
from taskwatch.simulator.faults import Fault, FaultKind

LONGEST_SECONDS = 120.0
_SLOW_BYTES = 16  # each second
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST

_PLAIN: dict[FaultKind, Callable[[], web.StreamResponse]] = {
    FaultKind.UNAUTHORIZED: refusals.expired_token,
    FaultKind.FORBIDDEN: refusals.not_permitted,
    FaultKind.NOT_FOUND: refusals.no_such_api,
    FaultKind.SERVER_FAILURE: refusals.server_failure,
    FaultKind.BAD_GATEWAY: lambda: refusals.proxy_page(502, "502 Bad Gateway"),
    FaultKind.UNAVAILABLE: lambda: refusals.proxy_page(503, "503 Service Temporarily Unavailable"),
    FaultKind.GATEWAY_TIMEOUT: lambda: refusals.proxy_page(504, "504 Gateway Time-out"),
    FaultKind.HTML: lambda: refusals.proxy_page(200, "Maintenance"),
    FaultKind.EMPTY: lambda: _success(b""),
    FaultKind.NULL_TASKS: lambda: _success(b'{"tasks":null}'),
    FaultKind.OBJECT_TASKS: lambda: _success(b'{"tasks":{},"total_count":0}'),
    FaultKind.ERROR_AS_SUCCESS: lambda: _success(
        b'{"error_code":"DBS.108000","error_msg":"Server failure."}'
    ),
    FaultKind.GARBAGE: lambda: _success(b'{"tasks":[{"job_id":"03bc055a'),
}


async def spoil(
    fault: Fault, request: web.Request, honestly: Callable[[], Awaitable[web.Response]], moment: float
) -> web.StreamResponse:
    """Answer a request as the fault has it, at this moment of the cloud.

    Only faults that strike on the way back let the cloud answer honestly: of a request that failed
    on the way there nobody heard, nothing is counted and nobody is locked.
    """
    match fault.kind:
        case FaultKind.THROTTLED:
            return refusals.throttled(fault.retry_after, moment)
        case FaultKind.STALE:
            return await honestly()  # of an earlier moment: whoever answers sees to that
        case FaultKind.RESET:
            _reset(request)
            return web.Response()
        case FaultKind.SILENCE:
            await asyncio.sleep(LONGEST_SECONDS)
            _reset(request)
            return web.Response()
        case FaultKind.CUT:
            return await _cut(request, await honestly())
        case FaultKind.SLOW:
            return await _slow(request, await honestly())
        case plain:
            return _PLAIN[plain]()


def _success(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


def _reset(request: web.Request) -> None:
    """End the connection at once. What is written to it afterwards goes nowhere."""
    transport = request.transport
    if transport is None:  # the client was faster
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def _cut(request: web.Request, honest: web.Response) -> web.StreamResponse:
    body = _body(honest)
    response = await _begin(request, honest)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # an orderly end, in the middle of what Content-Length announced
    return response


async def _slow(request: web.Request, honest: web.Response) -> web.StreamResponse:
    body = _body(honest)
    response = await _begin(request, honest)
    for second in range(int(LONGEST_SECONDS)):
        await response.write(body[second * _SLOW_BYTES : (second + 1) * _SLOW_BYTES])
        if (second + 1) * _SLOW_BYTES >= len(body):
            return response
        await asyncio.sleep(1)
    _reset(request)
    return response


async def _begin(request: web.Request, honest: web.Response) -> web.StreamResponse:
    response = web.StreamResponse(status=honest.status, headers={"Content-Type": honest.content_type})
    response.content_length = len(_body(honest))
    await response.prepare(request)
    return response


def _body(honest: web.Response) -> bytes:
    body = honest.body
    if not isinstance(body, bytes):
        raise TypeError("honest answers are made of bytes")
    return body
