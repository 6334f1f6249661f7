"""What an HTTP answer of a receiver means for the delivery."""

from dataclasses import dataclass
from http import HTTPStatus

from taskwatch.model.delivery import Reason, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The receiver did not take it."""

    reason: Reason
    scope: Scope


def refusal(status: int) -> Refusal | None:
    """Judge a status code; None means that the receiver has the event.

    Nothing is given up here: what one event meets for ever while others pass ends by the poison
    rule, what all of them meet ends by the horizon (docs/guarantees.md, G3).
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Refusal(reason=Reason.UNAUTHORIZED, scope=Scope.RECEIVER)
        case HTTPStatus.NOT_FOUND:
            return Refusal(reason=Reason.NOT_FOUND, scope=Scope.RECEIVER)
        case HTTPStatus.GONE:
            return Refusal(reason=Reason.GONE, scope=Scope.PAUSED)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return Refusal(reason=Reason.THROTTLED, scope=Scope.RECEIVER)
        case HTTPStatus.REQUEST_TIMEOUT:
            return Refusal(reason=Reason.TIMEOUT, scope=Scope.EVENT)
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_EARLY:
            return Refusal(reason=Reason.SERVER_ERROR, scope=Scope.EVENT)
        case _ if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return Refusal(reason=Reason.REDIRECTED, scope=Scope.EVENT)
        case _:
            return Refusal(reason=Reason.REJECTED, scope=Scope.EVENT)
