"""What the cloud says when it gives no task list, word for word as its parts say it."""

import json
from collections.abc import Mapping
from uuid import uuid4

from aiohttp import web

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
    return gateway_refusal(
        401, "APIGW.0301", "Incorrect IAM authentication information: x-auth-token not found"
    )


def wrong_token() -> web.Response:
    return gateway_refusal(401, "APIGW.0301", "Incorrect IAM authentication information: decrypt token fail")


def expired_token() -> web.Response:
    return gateway_refusal(
        401,
        "APIGW.0301",
        "Incorrect IAM authentication information: token expires, expires_at:2026-01-01T00:00:00.000000Z",
    )


def throttled(retry_after: int | None) -> web.Response:
    refusal = gateway_refusal(
        429,
        "APIGW.0308",
        "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:1 second",
    )
    if retry_after is not None:
        refusal.headers["Retry-After"] = str(retry_after)
    return refusal


def not_permitted() -> web.Response:
    return service_refusal(403, "DBS.200010", "The user is not authorized to perform this operation.")


def unknown_project() -> web.Response:
    return service_refusal(403, "DBS.280015", "Resource not found or permission denied.")


def parameter_error() -> web.Response:
    return service_refusal(400, "DBS.200001", "Parameter error.")


def server_failure() -> web.Response:
    return service_refusal(500, "DBS.108000", "Server failure.")


def _json(status: int, body: Mapping[str, object], headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=status, body=json.dumps(body).encode(), content_type="application/json", headers=headers
    )
