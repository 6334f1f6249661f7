"""Matchers, in Alertmanager's words: `name = "value"`, `!=`, `=~`, `!~`.

Patterns are RE2: anchored, and matched in linear time whatever a user writes. An attribute that is
missing is empty text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, assert_never

import re2

from taskwatch.model.event import LABEL_PREFIX

ATTRIBUTES: Final = (
    "type", "severity", "project", "project_id", "task", "job_id",
    "instance_name", "instance_id", "from", "to", "fail_reason",
)  # fmt: skip
TYPE_PREFIX: Final = "taskwatch."

_SYNTAX = re.compile(
    r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"=~][^\s"]*))\s*', re.DOTALL
)


class MatcherError(ValueError):
    """The text is not a matcher; says what to write."""


class Operator(StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    NOT_MATCHES = "!~"


class _Pattern(Protocol):
    def fullmatch(self, text: str) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One condition on one attribute of an event."""

    name: str
    operator: Operator
    value: str
    pattern: _Pattern | None = field(default=None, compare=False)  # the value, compiled

    def __str__(self) -> str:
        return f'{self.name} {self.operator} "{self.value}"'

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Tell whether an event with these attributes meets the condition.

        `type` is compared with and without its prefix `taskwatch.`.
        """
        text = attributes.get(self.name, "")
        found = self._finds(text)
        if not found and self.name == "type":
            found = self._finds(text.removeprefix(TYPE_PREFIX))
        match self.operator:
            case Operator.EQUAL | Operator.MATCHES:
                return found
            case Operator.NOT_EQUAL | Operator.NOT_MATCHES:
                return not found
            case _:
                assert_never(self.operator)

    def _finds(self, text: str) -> bool:
        if self.pattern is None:
            return text == self.value
        # RE2 works on UTF-8 and takes no lone surrogates; decoding lets none through.
        return self.pattern.fullmatch(text) is not None


def parse_matcher(text: str) -> Matcher:
    """Read one matcher. Raises MatcherError, whose text says what to write instead."""
    syntax = _SYNTAX.fullmatch(text)
    if syntax is None:
        raise MatcherError(
            f'{text!r} is not a matcher; write for example severity = "critical" or task =~ "Backup.*"'
        )
    name, sign, quoted, bare = syntax.groups()
    if name not in ATTRIBUTES and not name.startswith(LABEL_PREFIX):
        raise MatcherError(
            f"{name!r} is nothing that a matcher sees; it sees {', '.join(ATTRIBUTES)} and label_NAME"
        )
    value = re.sub(r'\\(["\\])', r"\1", quoted) if quoted is not None else bare
    operator = Operator(sign)
    pattern = _compile(value) if operator in (Operator.MATCHES, Operator.NOT_MATCHES) else None
    return Matcher(name=name, operator=operator, value=value, pattern=pattern)


def _compile(value: str) -> _Pattern:
    options = re2.Options()
    options.log_errors = False  # else RE2 writes to standard error itself
    options.dot_nl = True  # a reason of several lines is one text
    try:
        compiled: _Pattern = re2.compile(value, options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        why = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise MatcherError(
            f"{value!r} is not an RE2 pattern ({why}); write one, or use = for plain text"
        ) from error
    return compiled
