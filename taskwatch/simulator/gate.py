"""The API gateway: who may ask about a project, in the words of the real one.

A token is looked at first, whatever else a request carries: a dead one beside a good signature is
refused, as in the field.
"""

from aiohttp import web

from taskwatch.simulator import refusals
from taskwatch.simulator.behaviour import ForeignProject
from taskwatch.simulator.cloud import Cloud
from taskwatch.simulator.identity import Identity
from taskwatch.simulator.keyring import SignatureRefusedError
from taskwatch.simulator.tokens import TokenState
from taskwatch.simulator.wire import is_signed, received

_ANYBODY = "(anybody)"


async def refusal(cloud: Cloud, request: web.Request) -> web.Response | None:
    """Return what the gateway says to a request that it does not let through; None lets it pass."""
    who = await _who(cloud, request)
    if isinstance(who, web.Response):
        return who
    behaviour = cloud.behaviour
    if behaviour.throttle_requests is not None and cloud.throttle.exceeds(
        who, requests=behaviour.throttle_requests, seconds=behaviour.throttle_seconds
    ):
        cloud.counters.throttled += 1
        return refusals.throttled(behaviour.retry_after, cloud.told_moment())
    return None


async def _who(cloud: Cloud, request: web.Request) -> str | web.Response:
    """Return a name for the credential, or the refusal."""
    text = request.headers.get("X-Auth-Token")
    if cloud.token is not None and text == cloud.token:
        return "token"
    if not cloud.has_accounts:
        if cloud.token is None:
            return _ANYBODY
        return refusals.wrong_token() if text else refusals.no_token()
    if text:
        return _of_token(cloud, cloud.identity, text, request.match_info["project_id"])
    if is_signed(request):
        return await _of_signature(cloud, request)
    return refusals.no_token()


def _of_token(cloud: Cloud, identity: Identity, text: str, project_id: str) -> str | web.Response:
    token = identity.tokens.find(text)
    if token is None:
        return refusals.wrong_token()
    match identity.tokens.state(token, cloud.now()):
        case TokenState.EXPIRED:
            return refusals.expired_token(f"{token.expires_at:%Y-%m-%dT%H:%M:%S.%fZ}")
        case TokenState.REVOKED:
            return refusals.revoked_token()
        case TokenState.VALID:
            pass
    scope = token.project.id if token.project else None
    if scope == project_id:
        return token.user.id
    match cloud.behaviour.foreign_project:
        case ForeignProject.MISMATCH:
            return refusals.project_mismatch(project_id, scope)
        case ForeignProject.INVALID:
            return refusals.invalid_token()


async def _of_signature(cloud: Cloud, request: web.Request) -> str | web.Response:
    try:
        pair = cloud.identity.keys.authenticate(await received(request), cloud.now())
    except SignatureRefusedError as refused:
        return refusals.wrong_signature(str(refused))
    project_id, claimed = request.match_info["project_id"], request.headers.get("X-Project-Id")
    if claimed != project_id:
        return refusals.project_mismatch(project_id, claimed)
    return pair.access
