"""Bodies, read and inflated within a bound: 97 kB of gzip can be 100 MB."""

import zlib
from typing import Final

import aiohttp
from aiohttp import hdrs

from taskwatch.cloud.errors import Asked, bad_answer

MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # of one page, on the wire and inflated; a usual page has 40 KB
MAX_REFUSAL_BYTES: Final = 64 * 1024  # of an answer that is not 200; the rest is not read

_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32
_BARE_DEFLATE: Final = -zlib.MAX_WBITS  # what some servers call deflate


async def read_page(response: aiohttp.ClientResponse, asked: Asked) -> bytes:
    """Return the whole body. Raises CloudError when it is too large or cannot be inflated."""
    body = await _read(response.content, MAX_BODY_BYTES)
    if len(body) > MAX_BODY_BYTES:
        raise bad_answer(asked, f"the answer has more than {MAX_BODY_BYTES} bytes")
    encoding = response.headers.get(hdrs.CONTENT_ENCODING)
    return body if encoding is None else _inflate(body, encoding.strip().lower(), asked)


async def read_refusal(response: aiohttp.ClientResponse) -> bytes:
    """Return what can be had of the beginning of the body; the status alone says enough."""
    try:
        body = await _read(response.content, MAX_REFUSAL_BYTES)
    except aiohttp.ClientError:
        return b""
    return body[:MAX_REFUSAL_BYTES]


async def _read(content: aiohttp.StreamReader, bound: int) -> bytes:
    """Read to the end, or until there is more than `bound`."""
    blocks = []
    size = 0
    while size <= bound and (block := await content.readany()):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def _inflate(body: bytes, encoding: str, asked: Asked) -> bytes:
    # Nothing was asked for but the plain body; a server may compress it all the same.
    match encoding:
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            window = _ZLIB_OR_GZIP
        case "deflate":
            is_zlib = body[:1] == b"\x78"
            window = _ZLIB_OR_GZIP if is_zlib else _BARE_DEFLATE
        case _:
            raise bad_answer(asked, "the answer is compressed in a way that was not asked for")
    inflater = zlib.decompressobj(window)
    try:
        inflated = inflater.decompress(body, MAX_BODY_BYTES)
    except zlib.error:
        raise bad_answer(asked, "the answer is compressed and damaged") from None
    if inflater.eof:
        return inflated
    if len(inflated) == MAX_BODY_BYTES:
        raise bad_answer(asked, f"the answer has more than {MAX_BODY_BYTES} bytes when inflated")
    raise bad_answer(asked, "the answer is compressed and cut short")
