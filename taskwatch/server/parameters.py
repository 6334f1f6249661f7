"""The parameters that operations have in common: how each is written, and what it becomes."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from taskwatch.config.fields import nearest
from taskwatch.core.matchers import TYPE_PREFIX
from taskwatch.model.delivery import DeliveryState
from taskwatch.model.event import EventType
from taskwatch.report.since import parse_since
from taskwatch.server.endpoint import Parameters

LAST_NUMBER: Final = 2**63 - 1  # that the store knows
MOST: Final = 1000  # items of a page
LONGEST: Final = 300  # characters of a filter
_WHOLE: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_DURATION: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
_TYPES: Final = [*EventType, *(kind.removeprefix(TYPE_PREFIX) for kind in EventType)]

_STATES: Final = list(DeliveryState)
_BY_TASK: Final = "tasks of this name; a glob, as Backup*"
_BY_INSTANCE: Final = "of this instance, by its name or id"


def _whole(low: int, high: int) -> tuple[PlainValidator, WithJsonSchema]:
    def check(text: object) -> int:
        if not isinstance(text, str) or not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}; write one in digits")
        return int(text)

    return PlainValidator(check), WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


def _filter(text: object) -> str:
    if not isinstance(text, str) or not 1 <= len(text) <= LONGEST:
        raise ValueError(f"not 1 to {LONGEST} characters; write so many, or leave it out")
    return text


def _since(text: object, info: ValidationInfo) -> datetime:
    """Read a duration back from now, or a time; one without a zone is in UTC."""
    now = info.context
    assert isinstance(text, str)  # noqa: S101 - all parameters are
    assert isinstance(now, datetime)  # noqa: S101 - the endpoint hands it down
    try:
        return parse_since(text, now=now, zone=UTC)
    except ValueError as error:
        hint = "; a + in a query is written %2B" if " " in text else ""
        raise ValueError(f"{error}{hint}") from None


def _event_type(text: object) -> str:
    if text not in _TYPES:
        short = [kind.removeprefix(TYPE_PREFIX) for kind in EventType]
        raise ValueError(f"no event has this type; {nearest(str(text).removeprefix(TYPE_PREFIX), short)}")
    return str(text)


def _switch(text: object) -> bool:
    if text not in ("true", "false"):
        raise ValueError("neither true nor false; write one of them")
    return text == "true"


def _state(text: object) -> str:
    if text not in _STATES:
        raise ValueError(f"no delivery is in this state; {nearest(str(text), _STATES)}")
    return str(text)


# What may be left out is None then. It cannot be null: no schema says so.
Number = Annotated[int, *_whole(1, LAST_NUMBER)]
Limit = Annotated[int, *_whole(1, MOST)]
Filter = Annotated[
    str | None,
    PlainValidator(_filter),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST}),
]
Opaque = Annotated[str | None, PlainValidator(str), WithJsonSchema({"type": "string"})]
Since = Annotated[
    datetime | None,
    PlainValidator(_since),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _DURATION},
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
            ]
        }
    ),
]
OfType = Annotated[
    str | None, PlainValidator(_event_type), WithJsonSchema({"type": "string", "enum": _TYPES})
]
InState = Annotated[str | None, PlainValidator(_state), WithJsonSchema({"type": "string", "enum": _STATES})]
Switch = Annotated[bool, PlainValidator(_switch), WithJsonSchema({"type": "boolean"})]


def said(description: str, *, alias: str | None = None, default: Any = None) -> Any:
    """Declare a parameter that may be left out."""
    return Field(default, description=description, alias=alias)


class OfList(Parameters):
    """What every list takes."""

    limit: Limit = said("at most so many items in a page", default=100)
    cursor: Opaque = said("the next page: what next was in the page before")


class OfProjects(OfList):
    project: Filter = said("of this project, by its name")


class _Since(OfProjects):
    since: Since = said("since then: a duration back from now, or a time; without a zone it is in UTC")


class OfTasks(_Since):
    status: Filter = said("in this status, as Running")
    name: Filter = said(_BY_TASK)
    instance: Filter = said(_BY_INSTANCE)


class OfEvents(_Since):
    """Of events, and of the alerts that they opened."""

    event_type: OfType = said("of this type, as task.failed", alias="type")
    name: Filter = said(_BY_TASK)
    instance: Filter = said(_BY_INSTANCE)


class OfDeliveries(_Since):
    receiver: Filter = said("to this receiver, by its name")
    state: InState = said("in this state")
    event_type: OfType = said("of events of this type, as task.failed", alias="type")


class OfSilences(OfList):
    everything: Switch = said("those too that have ended", alias="all", default=False)
