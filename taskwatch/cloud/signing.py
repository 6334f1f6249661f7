"""SDK-HMAC-SHA256: signs a request with an access key, as Huawei's SDKs do.

What is signed is what is sent: the URL as it stands, the body, and every header that is given here.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from taskwatch.cloud.transport import Request

_ALGORITHM: Final = "SDK-HMAC-SHA256"
_DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"


def signed(
    request: Request, headers: Mapping[str, str], *, access_key: str, secret_key: str, now: datetime
) -> dict[str, str]:
    """Return these headers and those that sign them, the request's own and the request itself."""
    date = now.astimezone(UTC).strftime(_DATE_FORMAT)
    # The host stands here for it must arrive as it was signed: with its port, unless that is the usual one.
    sent = {**headers, "Host": request.url.host_port_subcomponent or "", "X-Sdk-Date": date}
    canonical, names = _canonical(request, {**request.headers, **sent})
    text = f"{_ALGORITHM}\n{date}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
    authorization = f"{_ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={signature}"
    return {**sent, "Authorization": authorization}


def _canonical(request: Request, headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the request in the one form that both sides hash, and the names of the headers in it."""
    # Names with an underscore are lost on the way through some proxies: the algorithm leaves them out.
    lines = {name.lower(): value.strip() for name, value in headers.items() if "_" not in name}
    names = ";".join(sorted(lines))
    parts = (
        request.method.upper(),
        _path(request.url.raw_path),
        _query(request.url.raw_query_string),
        "".join(f"{name}:{lines[name]}\n" for name in sorted(lines)),
        names,
        hashlib.sha256(request.body or b"").hexdigest(),
    )
    return "\n".join(parts), names


def _path(raw: str) -> str:
    """Return the path as it is signed: it ends in a slash, whether or not the one that is sent does."""
    path = "/".join(_encoded(segment) for segment in unquote(raw).split("/"))
    return path if path.endswith("/") else f"{path}/"


def _query(raw: str) -> str:
    fields = sorted(parse_qsl(raw, keep_blank_values=True))  # before encoding, which changes the order
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in fields)


def _encoded(text: str) -> str:
    return quote(text, safe="~")
