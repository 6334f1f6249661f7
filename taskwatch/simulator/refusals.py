"""What the cloud says when it gives no task list, word for word as its parts say it."""

import json
from collections.abc import Mapping
from email.utils import formatdate
from uuid import uuid4

from aiohttp import web

from taskwatch.simulator.behaviour import DATE

_SOON = 60.0  # seconds, of a Retry-After that is a date
REQUEST_ID = "X-Request-Id"


def gateway_refusal(status: int, code: str, message: str) -> web.Response:
    """Return an answer of the API gateway. It names the request in the body too."""
    request_id = uuid4().hex
    body = {"error_msg": message, "error_code": code, "request_id": request_id}
    return _json(status, body, {REQUEST_ID: request_id})


def service_refusal(status: int, code: str, message: str) -> web.Response:
    """Return an answer of the database service behind the gateway."""
    return _json(status, {"error_code": code, "error_msg": message}, {})


def proxy_page(status: int, title: str) -> web.Response:
    """Return the page of a load balancer."""
    html = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return web.Response(status=status, text=html, content_type="text/html")


def no_such_api() -> web.Response:
    return gateway_refusal(
        404, "APIGW.0101", "The API does not exist or has not been published in the environment"
    )


def no_token() -> web.Response:
    return _not_authenticated("x-auth-token not found")


def wrong_token() -> web.Response:
    return _not_authenticated("decrypt token fail")


def expired_token(expires_at: str = "2026-01-01T00:00:00.000000Z") -> web.Response:
    return _not_authenticated(f"token expires, expires_at:{expires_at}")


def revoked_token() -> web.Response:
    return gateway_refusal(401, "APIGW.0307", "The token must be updated")


def wrong_signature(reason: str) -> web.Response:
    return _not_authenticated(reason)


def project_mismatch(project_id: str, claimed: str | None) -> web.Response:
    """Return the answer to credentials of another project, or of none."""
    context = "null" if claimed is None else claimed
    message = f"Malformed request URL: URL's project_id '{project_id}' doesn't match Context's project_id '{context}'"
    return _json(401, {"badRequest": {"message": message, "code": "401"}}, {})


def invalid_token() -> web.Response:
    return service_refusal(403, "DBS.280056", "Invalid token.")


def throttled(retry_after: int | str | None, moment: float) -> web.Response:
    """Return a 429. A Retry-After that is a date counts from this moment."""
    refusal = gateway_refusal(
        429,
        "APIGW.0308",
        "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:1 second",
    )
    if retry_after is not None:
        told = formatdate(moment + _SOON, usegmt=True) if retry_after == DATE else str(retry_after)
        refusal.headers["Retry-After"] = told
    return refusal


def not_permitted() -> web.Response:
    return service_refusal(403, "DBS.200010", "The user is not authorized to perform this operation.")


def unknown_project() -> web.Response:
    return service_refusal(403, "DBS.280015", "Resource not found or permission denied.")


def parameter_error() -> web.Response:
    return service_refusal(400, "DBS.200001", "Parameter error.")


def unknown_job(status: int) -> web.Response:
    return service_refusal(status, "DBS.200543", "The job does not exist.")


def server_failure() -> web.Response:
    return service_refusal(500, "DBS.108000", "Server failure.")


def _not_authenticated(reason: str) -> web.Response:
    return gateway_refusal(401, "APIGW.0301", f"Incorrect IAM authentication information: {reason}")


def _json(status: int, body: Mapping[str, object], headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=status, body=json.dumps(body).encode(), content_type="application/json", headers=headers
    )
