"""Text that any line, terminal and reader can bear: what is foreign is escaped, what is long is cut."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_FIELD: Final = 1000  # characters of one field in a log line
_ESCAPED: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
_PLAIN: Final = re.compile(r'[^\s"=]+')
_HEAD: Final = frozenset({"timestamp", "level", "event"})
_FIRST: Final = ("summary", "project", "receiver")  # what a reader looks for
_REPEATS: Final = {"type": "event", "severity": "level"}  # in a line that tells an event of the cloud


def printable(text: str, limit: int = MAX_FIELD) -> str:
    """Return the text on one line, harmless to any terminal, at most `limit` characters and a mark."""
    cut = text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(_escaped(character) for character in cut)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _ESCAPED:
        return character
    return character.encode("unicode_escape").decode("ascii")


def details(fields: Mapping[str, Any], *, dim: Callable[[str], str] = str) -> str:
    """Return the fields as people read them: the summary, whose it is, then `name=value`.

    What is no plain word is quoted as in JSON: no value can look like another field.
    """
    shown = {name: value for name, value in fields.items() if name not in _HEAD}
    for name, head in _REPEATS.items():
        if name in shown and shown[name] == fields.get(head):
            del shown[name]
    ordered = {name: shown[name] for name in _FIRST if name in shown} | shown
    return " ".join(
        _quoted(value) if name == "summary" else f"{dim(name + '=')}{_quoted(value)}"
        for name, value in ordered.items()
    )


def _quoted(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
