"""Requests signed with SDK-HMAC-SHA256, checked against what came over the wire.

It is written from the description of the algorithm and shares no code with any client: a judge who
reads from the same notes as the judged would forgive them every mistake.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote_to_bytes

ALGORITHM: Final = "SDK-HMAC-SHA256"
DATE: Final = "x-sdk-date"
SECURITY_TOKEN: Final = "x-security-token"  # noqa: S105 - the name of a header
_CONTENT_HASH = "x-sdk-content-sha256"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Access=(?P<access>[^,\s]+), ?SignedHeaders=(?P<names>[^,\s]+), ?Signature=(?P<signature>[0-9a-f]{{64}})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """A request as it was received: path and query as sent, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return the values under this name as one; None if there is none."""
        values = [value.strip() for key, value in self.headers if key == name]
        return ",".join(values) if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What the header Authorization says."""

    access: str
    signed: tuple[str, ...]
    signature: str

    @classmethod
    def parse(cls, text: str) -> "Authorization | None":
        """Read the header; None if it is not of this algorithm and form."""
        found = _AUTHORIZATION.fullmatch(text.strip())
        if found is None:
            return None
        return cls(
            access=found["access"], signed=tuple(found["names"].split(";")), signature=found["signature"]
        )


def is_signed_with(secret: str, request: WireRequest, claimed: Authorization) -> bool:
    """Return whether the signature is the one that this secret gives for this very request.

    Host and date must be among what was signed, and the signed names in lower case and in order:
    else it would be open which request was meant.
    """
    names = claimed.signed
    if list(names) != sorted({name.lower() for name in names}) or not {"host", DATE} <= set(names):
        return False
    canonical = canonical_request(request, names)
    if canonical is None:
        return False
    expected = hmac.new(secret.encode(), string_to_sign(request, canonical).encode(), hashlib.sha256)
    return hmac.compare_digest(expected.hexdigest(), claimed.signature)


def string_to_sign(request: WireRequest, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{ALGORITHM}\n{request.header(DATE)}\n{digest}"


def canonical_request(request: WireRequest, names: Sequence[str]) -> str | None:
    """Return the text whose hash is signed; None if a signed header did not arrive."""
    lines = []
    for name in names:
        value = request.header(name)
        if value is None:
            return None
        lines.append(f"{name}:{value}\n")
    return "\n".join(
        (
            request.method.upper(),
            _canonical_path(request.path),
            _canonical_query(request.query),
            "".join(lines),
            ";".join(names),
            _content_hash(request),
        )
    )


def _canonical_path(path: str) -> str:
    """Return each segment encoded anew, with a slash at the end that was not sent."""
    encoded = "/".join(_encoded(unquote_to_bytes(segment)) for segment in path.split("/"))
    return encoded if encoded.endswith("/") else encoded + "/"


def _canonical_query(query: str) -> str:
    """Return the parameters sorted by what they say, not by how it is encoded. A plus is a plus."""
    pairs = [part.partition("=") for part in query.split("&") if part]
    decoded = sorted((unquote_to_bytes(key), unquote_to_bytes(value)) for key, _, value in pairs)
    return "&".join(f"{_encoded(key)}={_encoded(value)}" for key, value in decoded)


def _encoded(text: bytes) -> str:
    return quote(text, safe="~")


def _content_hash(request: WireRequest) -> str:
    if request.header(_CONTENT_HASH) == _UNSIGNED:
        return _UNSIGNED
    return hashlib.sha256(request.body).hexdigest()
