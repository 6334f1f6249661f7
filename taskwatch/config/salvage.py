"""Where the store is, as far as a configuration with mistakes still says it.

Invariants:
- Only what the main file says under `store` counts. Where that is itself wrong, nothing is guessed.
- Of a file that is not YAML as a whole, the lines of `store:` are read alone.
"""

import re
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from taskwatch.config.document import Value
from taskwatch.config.fields import is_off
from taskwatch.config.parse import MAX_BYTES, read
from taskwatch.config.schema import Store

# To the next line that begins a key of the file, or says something else at its beginning.
_SECTION: Final = re.compile(r"^store[ \t]*:(?:.*\n?)(?:(?:[ \t#].*|)(?:\n|\Z))*", re.MULTILINE)


def store_of(main: Path) -> Store | None:
    """Return what the main file says of the store; None where that cannot be known. No other file is read."""
    if not main.is_file():
        return None
    document = read(main)
    if document.is_whole:
        section: Value | None = document.root.get("store", "")
    else:
        try:
            section = _salvaged(main)
        except (OSError, yaml.YAMLError, RecursionError):
            return None
    if isinstance(section, str) and is_off(section):
        return Store()
    return _store(section, document.directory) if isinstance(section, dict) else None


def _salvaged(main: Path) -> Value:
    with main.open("rb") as stream:
        text = stream.read(MAX_BYTES).decode("utf-8-sig", "replace")
    found = _SECTION.search(text)
    if found is None:
        return ""
    # All is text, as in `parse`: nothing is constructed.
    section: Value = yaml.load(found[0], Loader=yaml.CBaseLoader)["store"]  # noqa: S506 - makes no objects
    return section


def _store(section: dict[str, Value], directory: Path) -> Store | None:
    """Return the section; where only what else it says is wrong, its path."""
    for said in (section, {"path": section["path"]} if "path" in section else None):
        try:
            if said is not None:
                return Store.model_validate(said, context=directory)
        except ValidationError:
            continue
    return None
