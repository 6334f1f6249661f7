"""The types of single values: text of the configuration becomes a value, or says what to write.

Models use them as they are, those of receivers too. What comes from code (seconds as a number, a
Secret) passes unchanged. No error shows the value it is about: what stands at a wrong key may be a
secret.

Relative paths start at the directory of the file, which pydantic hands down as its context.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo, WithJsonSchema

from taskwatch.core.matchers import Matcher, parse_matcher

_OFF: Final = frozenset({"", "~", "null", "Null", "NULL", "off", "Off", "OFF"})
_SWITCH: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_RATE: Final = re.compile(r"([0-9]{1,6})/(s|m|h)")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NAME_LENGTH: Final = 100
_SHOWN: Final = 20  # of the words that are known, in an error
# Alertmanager's labels of an alert; a project's labels stand beside them under their own names.
_TAKEN_LABELS: Final = frozenset(
    {
        "severity",
        "project",
        "task",
        "job_id",
        "instance_name",
        "instance_id",
        "alertname",
        "receiver",
        "host",
        "login",
    }
)
NOT_YET: Final = "not in this version"


def is_off(value: object) -> bool:
    """Tell whether the value is `off` or one of YAML's ways to write `null`."""
    return isinstance(value, str) and value in _OFF


def nearest(word: str, words: Iterable[str]) -> str:
    """Say which of the words was probably meant, or what the words are."""
    known = list(dict.fromkeys(words))
    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"known here: {', '.join(known[:_SHOWN]) or 'none'}{more}"


def beside(directory: object, path: str) -> Path:
    """Return the path as seen from the directory, if there is one; `~` is the home directory."""
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with ~, and that home directory is not known; write it out") from error
    return directory / expanded if isinstance(directory, Path) else expanded


def spell_duration(seconds: float) -> str:
    """Write seconds as the configuration does, in the largest unit that needs no fraction: 90 as 90s."""
    milliseconds = round(seconds * 1000)
    for unit, size in reversed(_UNITS.items()):
        count, rest = divmod(milliseconds, round(size * 1000))
        if count and not rest:
            return f"{count}{unit}"
    return f"{milliseconds}ms"


def parse_duration(value: object) -> float:
    """Return seconds; numbers, which only code can hand in, are seconds already."""
    if isinstance(value, int | float):
        return float(value)
    written = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if written is None:
        raise ValueError("not a duration; write a number and ms, s, m, h or d, as 30s")
    return int(written[1]) * _UNITS[written[2]]


def between(low: float, high: float) -> AfterValidator:
    """Bound a duration, in seconds, both ends included; where it is off, there is nothing to bound."""

    def check(seconds: float | None) -> float | None:
        if seconds is not None and not low <= seconds <= high:
            raise ValueError(f"out of bounds; write {spell_duration(low)} to {spell_duration(high)}")
        return seconds

    return AfterValidator(check)


def not_yet(*words: str) -> BeforeValidator:
    """Refuse words that the contract knows and this version does not."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in words:
            raise ValueError(f"{value} is {NOT_YET}; leave it out")
        return value

    return BeforeValidator(check)


def at_least_one(value: object) -> object:
    """Refuse an empty list or mapping, before its items are looked at."""
    if is_off(value) or value in ([], {}, ()):
        raise ValueError("empty; write one at least")
    return value


def empty_if_off(value: object) -> object:
    """Take `off` for an empty list."""
    return () if is_off(value) or value is None else value


def mapping_if_off(value: object) -> object:
    """Take `off` for an empty mapping."""
    return {} if is_off(value) or value is None else value


def _rate(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    written = _RATE.fullmatch(value) if isinstance(value, str) else None
    if written is None or not int(written[1]):
        raise ValueError("not a rate; write requests in a time, as 20/s or 30/m")
    return int(written[1]) / _UNITS[written[2]]


def _switch(value: object) -> object:
    if isinstance(value, bool):
        return value
    known = _SWITCH.get(value.lower()) if isinstance(value, str) else None
    if known is None:
        raise ValueError("neither true nor false; write one of them")
    return known


def _nothing(value: object) -> None:
    if not (value is None or is_off(value) or value in ([], {})):
        raise ValueError(f"{NOT_YET}; write off, or leave it out")


def _name(name: str) -> str:
    if not name.strip() or name != name.strip() or len(name) > _NAME_LENGTH or not name.isprintable():
        raise ValueError(f"not a name; write 1 to {_NAME_LENGTH} printable characters on one line")
    return name


def is_id(text: str) -> bool:
    """Tell whether a project may have this id. It becomes a part of a path: nothing that a path gives a meaning to."""
    return _ID.fullmatch(text) is not None


def _id(text: str) -> str:
    if not is_id(text):
        raise ValueError("not an id; write its letters, digits, - and _, at most 64")
    return text


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise ValueError("not a label; write letters, digits and _, with no digit in front")
    if name in _TAKEN_LABELS:
        raise ValueError("alerts have a label of this name themselves; write another")
    return name


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or is_off(value) or "\0" in value:
        raise ValueError("not a path; write one")
    return beside(info.context, value)


def _matcher(value: object) -> Matcher:
    if isinstance(value, Matcher):
        return value
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic collects ValueErrors
            "not a matcher; write text in single quotes, as 'severity = \"critical\"'"
        )
    return parse_matcher(value)


_SCALAR: Final = WithJsonSchema({"type": ["string", "number", "boolean"]})  # all of them are taken as text

Text = Annotated[str, _SCALAR]
Name = Annotated[str, AfterValidator(_name), _SCALAR]
ProjectId = Annotated[str, AfterValidator(_id), _SCALAR]
LabelName = Annotated[str, AfterValidator(_label)]
Labels = Annotated[dict[LabelName, Text], BeforeValidator(mapping_if_off)]
Globs = Annotated[tuple[Text, ...], BeforeValidator(empty_if_off)]

Duration = Annotated[
    float,
    PlainValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
"""Seconds, written `500ms`, `30s`, `5m`, `24h` or `31d`."""

Rate = Annotated[
    float, PlainValidator(_rate), WithJsonSchema({"type": "string", "pattern": f"^{_RATE.pattern}$"})
]
"""Events in a second, written `20/s` or `30/m`."""

_OFF_SCHEMA: Final = {"enum": ["off", None]}

DurationOrOff = Annotated[
    Duration | None,
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_DURATION.pattern}$"}, _OFF_SCHEMA]}),
]
"""A duration, or `off`, which is None."""

RateOrOff = Annotated[
    Rate | None, WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_RATE.pattern}$"}, _OFF_SCHEMA]})
]
"""A rate, or `off`, which is None."""

Switch = Annotated[bool, BeforeValidator(_switch), WithJsonSchema({"type": "boolean"})]
"""`true` or `false`, in any of YAML's words."""

NotYet = Annotated[None, PlainValidator(_nothing), WithJsonSchema({"enum": ["off", None]})]
"""A key of the contract that is not in this version: `off`, empty or absent."""

FilePath = Annotated[Path, PlainValidator(_path), WithJsonSchema({"type": "string"})]
"""A path; a relative one starts at the directory of the file it is written in."""

MatcherText = Annotated[Matcher, PlainValidator(_matcher), WithJsonSchema({"type": "string"})]
