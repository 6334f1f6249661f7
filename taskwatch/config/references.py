"""What the parts of a configuration say of each other: names that must differ, names that must exist.

Judged on the text of the files, so that a mistake in one place hides none in another.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError

from taskwatch.config.document import Document, KeyPath, Problem, Value
from taskwatch.config.fields import is_off, nearest
from taskwatch.config.kept import Endpoint, EndpointUrl
from taskwatch.config.schema import Part

IMPLIED_RECEIVER: Final = "log"  # there when no receiver is configured
_SHOWN: Final = 5  # of the credentials there are, in an error
_ENDPOINT: Final[TypeAdapter[Endpoint]] = TypeAdapter(EndpointUrl)

Spot = tuple[Document, KeyPath]
_Documents = Sequence[Document]  # the main one first
_Mapping = dict[str, Value]


def wrong_references(documents: _Documents) -> Iterator[Problem]:
    """Find every name that is taken twice and every name that nothing has."""
    main = documents[0]
    yield from _empty(documents, "credentials", {})
    yield from _empty(documents, "projects", [])
    yield from _same_credentials(documents)
    yield from _same_names(documents, "projects")
    yield from _same_names(documents, "receivers")
    yield from _missing_endpoints(documents)
    yield from _same_projects(documents)
    yield from _unknown_credentials(documents)
    yield from _routes(main, ("route",), main.root.get("route", ""), _receiver_names(documents))


def entries(documents: _Documents, section: str) -> Iterator[tuple[Spot, _Mapping]]:
    """Yield the entries of a list in all files, in the order in which they are read."""
    for document in documents:
        found = document.root.get(section)
        for number, entry in enumerate(found if isinstance(found, list) else []):
            if isinstance(entry, dict):
                yield (document, (section, number)), entry


def setting(documents: _Documents, spot: Spot, key: str) -> tuple[Spot, Value]:
    """Find the key of a project where it is written: there, in the defaults of its file, or of the main one.

    A key that is written nowhere is empty text at the project.
    """
    document, path = spot
    for holder, where in ((document, path), (document, ("defaults",)), (documents[0], ("defaults",))):
        value = holder.value((*where, key))
        if value is not None:
            return (holder, (*where, key)), value
    return (document, (*path, key)), ""


def _empty(documents: _Documents, section: str, empty: Value) -> Iterator[Problem]:
    main = documents[0]
    values = [document.root.get(section, "") for document in documents]
    if all(is_off(value) or value == empty for value in values):
        text = "empty; write one at least" if section in main.root else Part.missing(section)
        yield main.problem((section,), text)


def _same_credentials(documents: _Documents) -> Iterator[Problem]:
    named = [
        ((document, ("credentials", name)), name) for document in documents for name in _credentials(document)
    ]
    for (document, path), (other, first) in _repeated(named):
        yield document.problem(path, f"{other.spot(first, document)} has this name; write another")


def _same_names(documents: _Documents, section: str) -> Iterator[Problem]:
    named = ((spot, entry["name"]) for spot, entry in entries(documents, section) if "name" in entry)
    for (document, path), (other, first) in _repeated(named):
        yield document.problem((*path, "name"), f"{other.spot(first, document)} has this name; write another")


def _missing_endpoints(documents: _Documents) -> Iterator[Problem]:
    for (document, path), _ in entries(documents, "projects"):
        _, endpoint = setting(documents, (document, path), "endpoint")
        if is_off(endpoint):
            text = "missing; write endpoint: https://HOST here or under defaults"
            yield document.problem((*path, "endpoint"), text)


def _same_projects(documents: _Documents) -> Iterator[Problem]:
    for (document, path), (other, first) in _repeated(_identities(documents)):
        text = f"the same endpoint and project_id as {other.spot(first, document)}; keep one of the two"
        yield document.problem(path, text)


def _identities(documents: _Documents) -> Iterator[tuple[Spot, object]]:
    for spot, entry in entries(documents, "projects"):
        (holder, _), written = setting(documents, spot, "endpoint")
        try:
            endpoint = _ENDPOINT.validate_python(written, context=holder.directory)
        except ValidationError:
            continue  # told where it stands
        if "project_id" in entry:
            yield spot, (endpoint.host, entry["project_id"])


def _repeated(named: Iterable[tuple[Spot, object]]) -> Iterator[tuple[Spot, Spot]]:
    """Yield each spot whose name stood before, and the spot where it stood first."""
    first: dict[object, Spot] = {}
    for spot, name in named:
        if isinstance(name, list | dict):
            continue  # told as not being text
        if name in first:
            yield spot, first[name]
        else:
            first[name] = spot


def _unknown_credentials(documents: _Documents) -> Iterator[Problem]:
    credentials = {name: None for document in documents for name in _credentials(document)}
    if not credentials:
        return  # told as missing
    holders = [(document, ("defaults",)) for document in documents]
    for document, path in (*holders, *(spot for spot, _ in entries(documents, "projects"))):
        name = document.value((*path, "credential"))
        if isinstance(name, str) and not is_off(name) and name not in credentials:
            yield document.problem((*path, "credential"), f"unknown credential; {nearest(name, credentials)}")
    if len(credentials) == 1:
        return
    names = " or ".join([*list(credentials)[:_SHOWN], *(["another"] if len(credentials) > _SHOWN else [])])
    for (document, path), _ in entries(documents, "projects"):
        if is_off(setting(documents, (document, path), "credential")[1]):
            text = f"missing; write credential: {names}, here or under defaults"
            yield document.problem((*path, "credential"), text)


def _credentials(document: Document) -> _Mapping:
    credentials = document.root.get("credentials")
    return credentials if isinstance(credentials, dict) else {}


def _receiver_names(documents: _Documents) -> list[str]:
    written = (document.root.get("receivers", "") for document in documents)
    if all(is_off(receivers) or receivers == [] for receivers in written):
        return [IMPLIED_RECEIVER]
    names = (entry.get("name") for _, entry in entries(documents, "receivers"))
    return [name for name in names if isinstance(name, str)]


def _routes(document: Document, path: KeyPath, route: Value, known: list[str]) -> Iterator[Problem]:
    if not isinstance(route, dict):
        return
    receivers = route.get("receivers")
    for number, name in enumerate(receivers if isinstance(receivers, list) else []):
        if isinstance(name, str) and name not in known:
            text = f"unknown receiver; {nearest(name, known)}"
            yield document.problem((*path, "receivers", number), text)
    children = route.get("routes")
    for number, child in enumerate(children if isinstance(children, list) else []):
        yield from _routes(document, (*path, "routes", number), child, known)
