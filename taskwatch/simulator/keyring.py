"""The access keys of the cloud, and whether a request was signed with one of them."""

import string
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from taskwatch.simulator.counters import Counters
from taskwatch.simulator.locks import Lock
from taskwatch.simulator.principals import KeyPair, User
from taskwatch.simulator.signature import (
    DATE,
    SECURITY_TOKEN,
    Authorization,
    WireRequest,
    is_signed_with,
)

_MAX_TEMPORARY: Final = 100  # pairs at once; the oldest go first
_MOST_APART: Final = timedelta(minutes=15)
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"


class SignatureRefusedError(Exception):
    """The request is signed by nobody whom the cloud knows; the text is the gateway's."""


class Keyring:
    """One permanent pair, which can be changed, and temporary ones."""

    def __init__(self, *, user: User, seed: int, counters: Counters) -> None:
        self._user = user
        self._random = Random(f"{seed}/keys")
        self._counters = counters
        self._permanent = self._new_pair()
        self._temporary: dict[str, KeyPair] = {}
        self._lock = Lock(limit=6, within=float("inf"), seconds=300.0)  # "more than five consecutive"

    @property
    def permanent(self) -> KeyPair:
        return self._permanent

    def change(self) -> KeyPair:
        """Replace the permanent pair: the old one is unknown from now on."""
        self._permanent = self._new_pair()
        return self._permanent

    def lend(self, *, now: datetime, seconds: float) -> KeyPair:
        """Make a temporary pair."""
        pair = self._new_pair(
            security_token=self._text(string.ascii_letters + string.digits, 400),
            expires_at=now + timedelta(seconds=seconds),
        )
        self._temporary[pair.access] = pair
        if len(self._temporary) > _MAX_TEMPORARY:
            del self._temporary[next(iter(self._temporary))]
        return pair

    def authenticate(self, request: WireRequest, now: datetime) -> KeyPair:
        """Return the pair that signed this request. Raises SignatureRefusedError, and counts that."""
        claimed = Authorization.parse(request.header("authorization") or "")
        if claimed is None:
            raise SignatureRefusedError("verify aksk signature fail, the header Authorization is malformed")
        pair = self._find(claimed.access)
        if pair is None:
            self._counters.refuse_signature(None)
            raise SignatureRefusedError(f"Get secretKey failed,ak:{claimed.access},err:ak not exist")
        if self._lock.is_locked(pair.access, now.timestamp()):
            self._counters.refuse_signature(pair.access)
            raise SignatureRefusedError("AK access failed to reach the limit,forbidden.")
        if (fault := _fault(pair, request, claimed, now)) is not None:
            self._counters.refuse_signature(pair.access)
            if self._lock.refuse(pair.access, now.timestamp()):
                self._counters.keys_locked[pair.access] += 1
            raise SignatureRefusedError(fault)
        self._lock.succeed(pair.access)
        return pair

    def _find(self, access: str) -> KeyPair | None:
        return self._permanent if access == self._permanent.access else self._temporary.get(access)

    def _new_pair(self, *, security_token: str | None = None, expires_at: datetime | None = None) -> KeyPair:
        return KeyPair(
            access=self._text(string.ascii_uppercase + string.digits, 20),
            secret=self._text(string.ascii_letters + string.digits, 40),
            user=self._user,
            security_token=security_token,
            expires_at=expires_at,
        )

    def _text(self, alphabet: str, length: int) -> str:
        return "".join(self._random.choices(alphabet, k=length))


def _fault(pair: KeyPair, request: WireRequest, claimed: Authorization, now: datetime) -> str | None:
    """Return what is wrong with how the request is signed."""
    signed_at = _moment(request.header(DATE))
    if signed_at is None:
        return "verify aksk signature fail, x-sdk-date is missing or malformed"
    if abs(signed_at - now) > _MOST_APART:
        return (
            "verify aksk signature fail, x-sdk-date and the time of the server are more than 15 minutes apart"
        )
    if pair.security_token != request.header(SECURITY_TOKEN):
        return "verify aksk signature fail, the security token does not belong to the ak"
    if pair.expires_at is not None and now >= pair.expires_at:
        return f"verify aksk signature fail, security token expires, expires_at:{pair.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    if not is_signed_with(pair.secret, request, claimed):
        return "verify aksk signature fail, the signature does not match"
    return None


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
