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

_IDENTIFYING: Final = ("project_id", "project")  # one of them says which project it is
_ASSUMING: Final = ("password", "token")  # the types of credentials that can assume an agency

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
    yield from _same_names(documents, "mute")
    yield from _missing_endpoints(documents)
    yield from _same_projects(documents)
    yield from _unknown_credentials(documents)
    yield from _wrong_agencies(documents)
    yield from _unidentified(documents)
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
        key = next(key for key in _IDENTIFYING if document.value((*path, key)) is not None)
        text = f"the same endpoint and {key} as {other.spot(first, document)}; keep one of the two"
        yield document.problem(path, text)


def _identities(documents: _Documents) -> Iterator[tuple[Spot, object]]:
    for spot, entry in entries(documents, "projects"):
        (holder, _), written = setting(documents, spot, "endpoint")
        try:
            endpoint = _ENDPOINT.validate_python(written, context=holder.directory)
        except ValidationError:
            continue  # told where it stands
        for key in _IDENTIFYING:
            who = entry.get(key)
            if isinstance(who, str) and not is_off(who):
                # The same name may be another project to another login: then only IAM can tell.
                asking = str(setting(documents, spot, "credential")[1]) if key == "project" else ""
                yield spot, (endpoint.host, key, who, asking)


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


def _wrong_agencies(documents: _Documents) -> Iterator[Problem]:
    known = _all_credentials(documents)
    for name, ((document, path), entry) in known.items():
        via = entry.get("via")
        if entry.get("type") != "agency" or not isinstance(via, str) or is_off(via):
            continue  # told as missing
        if via not in known:
            yield document.problem((*path, "via"), f"unknown credential; {nearest(via, known)}")
            continue
        type_ = known[via][1].get("type")
        if type_ not in _ASSUMING:
            text = "itself" if via == name else "not one that can assume an agency"
            yield document.problem((*path, "via"), f"{text}; write a credential of type password or token")
        elif not (_is_written(entry, "auth_url") or _is_written(known[via][1], "auth_url")):
            text = "missing, for via has none; write auth_url: https://HOST/v3"
            yield document.problem((*path, "auth_url"), text)


def _unidentified(documents: _Documents) -> Iterator[Problem]:
    known = _all_credentials(documents)
    for spot, entry in entries(documents, "projects"):
        document, path = spot
        written = [key for key in _IDENTIFYING if _is_written(entry, key)]
        if not written:
            text = "missing; write project_id: 0611f1bd8b00d5d32f17c017f15b599f, or project: eu-de_prod"
            yield document.problem((*path, "project_id"), text)
        elif len(written) > 1:
            yield document.problem((*path, "project"), "beside project_id; keep one of the two")
        elif written == ["project"]:
            _, name = setting(documents, spot, "credential")
            if is_off(name) and len(known) == 1:
                name = next(iter(known))
            if isinstance(name, str) and name in known and not _asks_iam(known[name][1]):
                text = (
                    f"{name} cannot ask for the id; write auth_url: https://HOST/v3 there, or project_id here"
                )
                if known[name][1].get("type") == "none":
                    text = f"{name} logs in nowhere and cannot ask for the id; write project_id"
                yield document.problem((*path, "project"), text)


def _asks_iam(credential: _Mapping) -> bool:
    return credential.get("type") not in ("none", "token", "aksk") or _is_written(credential, "auth_url")


def _is_written(entry: _Mapping, key: str) -> bool:
    return key in entry and not is_off(entry[key])


def _all_credentials(documents: _Documents) -> dict[str, tuple[Spot, _Mapping]]:
    return {
        name: ((document, ("credentials", name)), entry if isinstance(entry, dict) else {})
        for document in documents
        for name, entry in _credentials(document).items()
    }


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
