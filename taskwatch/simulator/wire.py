"""A request as the listener received it, in the form that signatures are checked on."""

from aiohttp import web

from taskwatch.simulator.signature import ALGORITHM, WireRequest


async def received(request: web.Request) -> WireRequest:
    path, _, query = request.raw_path.partition("?")
    return WireRequest(
        method=request.method,
        path=path,
        query=query,
        headers=[(name.lower(), value) for name, value in request.headers.items()],
        body=await request.read(),
    )


def is_signed(request: web.Request) -> bool:
    """Return whether it claims a signature, right or wrong."""
    return request.headers.get("Authorization", "").startswith(ALGORITHM)
