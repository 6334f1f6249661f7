"""Who may do what: everybody asks here first, but for the two words about health.

- A name under which the server is not known is refused: a page of somebody else, whose name was made to
  lead here (DNS rebinding), reads nothing. An address is no such name.
- With a token configured it is asked of everybody, as a bearer or as the password of Basic, which
  browsers ask for. Over a Unix socket root and the daemon's own user need none.
- Changes need the token and a sender of the same origin, or that socket: a browser sends a password that it
  knows along with whatever a foreign page asks of it.
"""

import base64
import binascii
import contextlib
import hmac
import ipaddress
import os
import pwd
import re
import socket
import struct
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from taskwatch.config.serving import Server, TcpListen
from taskwatch.secret import Secret
from taskwatch.server.problem import ProblemError
from taskwatch.server.token import NoTokenError, TokenKeeper
from taskwatch.telemetry import Logger

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PROXIED: Final = ("Forwarded", "X-Forwarded-For", "Via")
_SAME: Final = frozenset({"same-origin", "none"})  # "none": somebody typed it
_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]*)?")
_PEER: Final = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    by: str  # as the record of operations names people


CALLER: Final = web.RequestKey("caller", Caller)


class Guard:
    """Guards one listener, from its beginning to its end, by the section that it belongs to."""

    def __init__(self, server: Server, log: Logger) -> None:
        self._server = server
        self._keeper = TokenKeeper(log)

    def adopt(self, server: Server) -> None:
        """Go by this from now on. The token is learnt at once: it holds also if its file is spoilt before anybody asks."""
        self._server = server
        if server.token is not None:
            with contextlib.suppress(NoTokenError):
                self._keeper.token(server.token)

    def admit(self, request: web.BaseRequest) -> Caller:
        """Return who asks, if they may ask this. Raises ProblemError."""
        return _admitted(request, self._server, self._keeper)


def _admitted(request: web.BaseRequest, server: Server, keeper: TokenKeeper) -> Caller:
    uid = _peer_uid(request)
    if uid is None:
        _require_known_host(request, server)
    # A proxy that runs as one of them speaks for whoever asked it.
    is_trusted = (
        uid is not None and uid in (0, os.geteuid()) and not any(name in request.headers for name in _PROXIED)
    )
    if server.token is not None and not is_trusted:
        _require_token(request, server.token, keeper)
    if request.method not in READING:
        if server.token is None and not is_trusted:
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "changes need server.token in the configuration, or a Unix socket (listen: unix:/PATH) and root or the"
                " daemon's own user; the commands change the same things",
            )
        _require_same_origin(request, server)
    return Caller(by=_named(uid, request))


def _peer_uid(request: web.BaseRequest) -> int | None:
    """Return who is at the other end of a Unix socket; None for TCP."""
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(credentials)[1])


def _require_known_host(request: web.BaseRequest, server: Server) -> None:
    written = _HOST.fullmatch(request.headers.get("Host", ""))
    name = "" if written is None else (written["six"] or written["name"]).lower()
    if not (_is_address(name) or name in _names(server)):
        raise ProblemError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "the server is not known by the name in Host; ask for it by its address, or write the name under"
            " server.hosts in the configuration",
        )


def _names(server: Server) -> set[str]:
    names = {"localhost", *server.hosts}
    if isinstance(server.listen, TcpListen):
        names.add(server.listen.host.lower())
    if server.external_url is not None:
        names.add(_host_of(server.external_url) or "")
    return names - {""}


def _require_token(request: web.BaseRequest, secret: Secret, keeper: TokenKeeper) -> None:
    try:
        token = keeper.token(secret)
    except NoTokenError:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE, "server.token cannot be used; the daemon's log says why"
        ) from None
    given = _token_of(request.headers.get("Authorization", ""))
    if given is None or not hmac.compare_digest(given, token.encode()):
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "server.token is asked for: send Authorization: Bearer TOKEN, or the token as the password of Basic",
            headers={"WWW-Authenticate": 'Basic realm="taskwatch", charset="UTF-8"'},
        )


def _token_of(header: str) -> bytes | None:
    scheme, _, rest = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip().encode("utf-8", "surrogateescape")
        case "basic":
            try:
                pair = base64.b64decode(rest.strip(), validate=True)
            except (binascii.Error, ValueError):
                return None
            return pair.partition(b":")[2]
        case _:
            return None


def _require_same_origin(request: web.BaseRequest, server: Server) -> None:
    """Refuse what a page of another origin sends. Programs that are no browsers send neither header."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    ours = {request.headers.get("Host", "").lower()}
    if server.external_url is not None:
        ours.add(_place_of(server.external_url))
    is_foreign = origin is not None and (not _place_of(origin) or _place_of(origin) not in ours)
    if is_foreign or (site is not None and site not in _SAME):
        raise ProblemError(HTTPStatus.FORBIDDEN, "a page of another origin asks for a change; it is refused")


def _place_of(url: str) -> str:
    """Return host and port; nothing of what is no URL."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _named(uid: int | None, request: web.BaseRequest) -> str:
    if uid is None:
        return f"the server's token, from {request.remote or 'an unknown address'}"
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = "?"
    return f"{user} (uid {uid}) over the server's socket"
