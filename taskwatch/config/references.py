"""What the parts of a file say of each other: names that must differ, names that must exist.

Judged on the text of the file, so that a mistake in one place hides none in another.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from pydantic import TypeAdapter, ValidationError

from taskwatch.config.document import Document, KeyPath, Problem, Value, spell_path
from taskwatch.config.fields import is_off, nearest
from taskwatch.config.kept import Endpoint, EndpointUrl

IMPLIED_RECEIVER: Final = "log"  # there when no receiver is configured
_ENDPOINT: Final[TypeAdapter[Endpoint]] = TypeAdapter(EndpointUrl)


def wrong_references(document: Document) -> Iterator[Problem]:
    """Find every name that is taken twice and every name that nothing has."""
    yield from _twice(document, "projects")
    yield from _twice(document, "receivers")
    yield from _missing_endpoints(document)
    yield from _same_projects(document)
    yield from _credentials(document)
    yield from _routes(document, ("route",), document.root.get("route", ""), _receiver_names(document))


def _problem(document: Document, path: KeyPath, text: str) -> Problem:
    return Problem(place=document.place(path), path=path, text=text)


def _entries(document: Document, section: str) -> Iterator[tuple[KeyPath, dict[str, Value]]]:
    entries = document.root.get(section)
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict):
            yield (section, number), entry


def _defaults(document: Document) -> dict[str, Value]:
    defaults = document.root.get("defaults")
    return defaults if isinstance(defaults, dict) else {}


def _twice(document: Document, section: str) -> Iterator[Problem]:
    named = ((path, entry["name"]) for path, entry in _entries(document, section) if "name" in entry)
    for path, first in _repeated(named):
        line = document.place(first).line
        text = f"{spell_path(first)} in line {line} has this name; write another"
        yield _problem(document, (*path, "name"), text)


def _missing_endpoints(document: Document) -> Iterator[Problem]:
    inherited = _defaults(document).get("endpoint", "")
    for path, entry in _entries(document, "projects"):
        if is_off(entry.get("endpoint", inherited)):
            text = "missing; write endpoint: https://HOST here or under defaults"
            yield _problem(document, (*path, "endpoint"), text)


def _same_projects(document: Document) -> Iterator[Problem]:
    for path, first in _repeated(_identities(document)):
        line = document.place(first).line
        text = f"the same endpoint and project_id as {spell_path(first)} in line {line}; keep one of the two"
        yield _problem(document, path, text)


def _identities(document: Document) -> Iterator[tuple[KeyPath, object]]:
    inherited = _defaults(document).get("endpoint")
    for path, entry in _entries(document, "projects"):
        try:
            written = entry.get("endpoint", inherited)
            endpoint = _ENDPOINT.validate_python(written, context=document.directory)
        except ValidationError:
            continue  # told where it stands
        if "project_id" in entry:
            yield path, (endpoint.host, entry["project_id"])


def _repeated(named: Iterable[tuple[KeyPath, object]]) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Yield each path whose name stood before, and the path where it stood first."""
    first: dict[object, KeyPath] = {}
    for path, name in named:
        if isinstance(name, list | dict):
            continue  # told as not being text
        if first.setdefault(name, path) != path:
            yield path, first[name]


def _credentials(document: Document) -> Iterator[Problem]:
    credentials = document.root.get("credentials")
    if not isinstance(credentials, dict) or not credentials:
        return  # told as missing
    inherited = _defaults(document).get("credential", "")
    holders = [(("defaults",), _defaults(document)), *_entries(document, "projects")]
    for path, entry in holders:
        name = entry.get("credential", "")
        if isinstance(name, str) and not is_off(name) and name not in credentials:
            yield _problem(
                document, (*path, "credential"), f"unknown credential; {nearest(name, credentials)}"
            )
    if len(credentials) == 1:
        return
    for path, entry in _entries(document, "projects"):
        if is_off(entry.get("credential", inherited)):
            text = f"missing; write credential: {' or '.join(credentials)}, here or under defaults"
            yield _problem(document, (*path, "credential"), text)


def _receiver_names(document: Document) -> list[str]:
    entries = document.root.get("receivers", "")
    if is_off(entries) or entries == []:
        return [IMPLIED_RECEIVER]
    names = (entry.get("name") for _, entry in _entries(document, "receivers"))
    return [name for name in names if isinstance(name, str)]


def _routes(document: Document, path: KeyPath, route: Value, known: list[str]) -> Iterator[Problem]:
    if not isinstance(route, dict):
        return
    receivers = route.get("receivers")
    for number, name in enumerate(receivers if isinstance(receivers, list) else []):
        if isinstance(name, str) and name not in known:
            text = f"unknown receiver; {nearest(name, known)}"
            yield _problem(document, (*path, "receivers", number), text)
    children = route.get("routes")
    for number, child in enumerate(children if isinstance(children, list) else []):
        yield from _routes(document, (*path, "routes", number), child, known)
