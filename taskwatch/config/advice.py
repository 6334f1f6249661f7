"""What works as it is configured, and should be otherwise."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from taskwatch.config.configuration import Config, Credential, NamedProject, WatchedProject
from taskwatch.config.document import Document, KeyPath, Problem, in_order, spell_path
from taskwatch.config.fields import nearest
from taskwatch.config.kept import Url
from taskwatch.config.references import Spot, entries, setting
from taskwatch.config.schema import AkskCredential, CloudCredential, NoCredential
from taskwatch.config.template import LetterTemplate, Template
from taskwatch.core.cadence import stretch
from taskwatch.core.matchers import TYPE_PREFIX, Matcher, Operator
from taskwatch.core.route import Route
from taskwatch.model.event import LABEL_PREFIX, EventType, Severity
from taskwatch.secret import Kept

SERVICE_CONFIGURATION: Final = Path("/etc/taskwatch")
_SHOWN: Final = 5  # of the projects that one setting concerns
_UNVERIFIED: Final = "the certificate is not verified for"
_WHO_ANSWERS: Final = (
    "anybody on the way can read what is sent and answer; write true, and ca: FILE for a CA of your own"
)

# What templates are given; see taskwatch.core.letters.facts.
TEMPLATE_NAMES: Final = ("event", "events", "count", "left_out", "group", "severity", "is_reminder", "at")

_NO_SUCH: Final[Mapping[str, str]] = {
    "type": "there is no such type",
    "severity": "there is no such severity",
    "project": "no configured project has this name",
}

_Documents = Sequence[Document]  # the main one first


def advice(config: Config, documents: _Documents) -> tuple[str, ...]:
    """Say it in one printable line each, in the order of the files."""
    said = [
        *_store_of_nobody(config, documents[0]),
        *_secrets_in_text(config),
        *_too_fast(config, documents),
        *_in_clear(config, documents),
        *_logins_in_clear(config, documents),
        *_unverified_projects(config, documents),
        *_unverified_receivers(config),
        *_never_told(config, documents),
        *_never_reached(config.route, ("route",), documents[0]),
        *_never_matching(config, documents[0]),
        *_never_filled_in(config, documents),
    ]
    return tuple(problem.line() for problem in in_order(said, documents))


def _store_of_nobody(config: Config, document: Document) -> Iterator[Problem]:
    # systemd tells the service alone where its state is; commands with the same file would look at home.
    is_service = SERVICE_CONFIGURATION in config.path.absolute().parents
    if is_service and "path" not in config.store.model_fields_set and not os.environ.get("STATE_DIRECTORY"):
        yield document.problem(
            ("store",),
            f"no path, so commands look for the store at {config.store.path}, not where the service has it; "
            "write store: {path: /var/lib/taskwatch/taskwatch.db}",
        )


def _secrets_in_text(config: Config) -> Iterator[Problem]:
    for placed in config.secrets:
        is_login = placed.path[-1] == "proxy" and isinstance(placed.secret, Url) and placed.secret.has_login
        if placed.secret.kept is Kept.TEXT and (is_login or not isinstance(placed.secret, Url)):
            yield placed.problem(
                "the secret itself stands in this file; write {file: PATH} and keep it there"
            )


def _too_fast(config: Config, documents: _Documents) -> Iterator[Problem]:
    # A poll is one request at least, and the rate holds for one endpoint.
    active: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for one in config.configured:
        active[one.credential, one.endpoint.host].append(one.interval.active)
    for (name, host), intervals in active.items():
        rate, demand = config.credentials[name].rate, sum(1 / interval for interval in intervals)
        factor = stretch(demand, rate)
        if factor > 1.0:
            document, path = _credential(name, documents)
            yield document.problem(
                (*path, "rate"),
                f"{rate:g} requests a second cannot carry the {demand:.4g} that the active intervals of "
                f"{len(intervals)} projects at {host} ask for: with all of them active, every interval is stretched "
                f"{factor:.3g} times, {min(intervals):g} s to {min(intervals) * factor:.3g} s; raise the rate or "
                "the intervals",
            )


def _credential(name: str, documents: _Documents) -> tuple[Document, KeyPath]:
    path: KeyPath = ("credentials", name)
    return next(document for document in documents if document.value(path) is not None), path


def _in_clear(config: Config, documents: _Documents) -> Iterator[Problem]:
    said: dict[tuple[str, KeyPath], Problem] = {}  # an endpoint under defaults is told of once
    for one, spot in _placed_projects(config, documents):
        what = _sent(config.credentials[one.credential])
        if what is not None and one.endpoint.is_in_clear:
            (document, path), _ = setting(documents, spot, "endpoint")
            text = f"{what} in clear; write https://"
            said.setdefault((str(document.file), path), document.problem(path, text))
    yield from said.values()


def _placed_projects(
    config: Config, documents: _Documents
) -> Iterator[tuple[WatchedProject | NamedProject, Spot]]:
    by_name = {one.name: one for one in config.configured}
    for spot, entry in entries(documents, "projects"):
        yield by_name[str(entry["name"])], spot


def _sent(credential: Credential) -> str | None:
    match credential:
        case NoCredential():
            return None
        case AkskCredential():
            return "signed requests, which can be repeated for 15 minutes, cross the network"
        case _:
            return "the token crosses the network"


def _logins_in_clear(config: Config, documents: _Documents) -> Iterator[Problem]:
    for name, credential in config.credentials.items():
        if isinstance(credential, NoCredential | CloudCredential) or credential.auth_url is None:
            continue
        document, path = _credential(name, documents)
        if credential.auth_url.is_in_clear and document.value((*path, "auth_url")) is not None:
            text = "the login crosses the network in clear; write https://"
            yield document.problem((*path, "auth_url"), text)


def _unverified_projects(config: Config, documents: _Documents) -> Iterator[Problem]:
    concerned: dict[tuple[str, KeyPath], tuple[Document, KeyPath, list[str]]] = {}
    for one, spot in _placed_projects(config, documents):
        if not one.tls.verify:
            (document, path), _ = setting(documents, spot, "tls")
            said = concerned.setdefault((str(document.file), path), (document, path, []))
            said[-1].append(one.name)
    for document, path, names in concerned.values():
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")
        yield document.problem((*path, "verify"), f"{_UNVERIFIED} {shown}: {_WHO_ANSWERS}")


def _unverified_receivers(config: Config) -> Iterator[Problem]:
    for placed in config.trusts:
        if placed.path[0] == "receivers" and not placed.trust.verify:
            yield placed.problem("verify", f"{_UNVERIFIED} this receiver: {_WHO_ANSWERS}")


def _never_told(config: Config, documents: _Documents) -> Iterator[Problem]:
    routed = set(_routed(config.route))
    for (document, path), entry in entries(documents, "receivers"):
        if entry["name"] not in routed:
            yield document.problem(
                path, "no route names this receiver, so it is told nothing; name it in a route"
            )


def _routed(route: Route) -> Iterator[str]:
    yield from route.receivers
    for child in route.routes:
        yield from _routed(child)


def _never_reached(route: Route, path: KeyPath, document: Document) -> Iterator[Problem]:
    taker: KeyPath | None = None
    for number, child in enumerate(route.routes):
        here = (*path, "routes", number)
        if taker is not None:
            text = f"never asked: {spell_path(taker)} takes every event; give that one matchers, or continue: true"
            yield document.problem(here, text)
        elif not child.matchers and not child.continues:
            taker = here
        yield from _never_reached(child, here, document)


def nothing_matches(matcher: Matcher, projects: Sequence[WatchedProject | NamedProject] | None) -> str | None:
    """Say why no event can meet the condition, and what was probably meant; None if one may. Not printable yet.

    Where the configured projects are not known, nothing is said of what they decide.
    """
    if matcher.operator not in (Operator.EQUAL, Operator.MATCHES) or matcher.matches({}):
        return None
    values = _values(matcher.name, projects)
    if values is None or any(matcher.matches({matcher.name: value}) for value in values):
        return None
    label = matcher.name.removeprefix(LABEL_PREFIX)
    if label != matcher.name and not values:
        labels = sorted({name for one in projects or () for name in one.labels})
        return f"no configured project has this label; {nearest(label, labels)}"
    meant = nearest(
        matcher.value.removeprefix(TYPE_PREFIX), [one.removeprefix(TYPE_PREFIX) for one in values]
    )
    return f"{_NO_SUCH.get(matcher.name, 'no configured project has this value of the label')}; {meant}"


def _values(name: str, projects: Sequence[WatchedProject | NamedProject] | None) -> Collection[str] | None:
    """Return the values that the attribute can have; None if it may have any."""
    match name:
        case "type":
            return tuple(EventType)
        case "severity":
            return tuple(Severity)
        case "project" if projects is not None:
            return tuple(one.name for one in projects)
        case _ if name.startswith(LABEL_PREFIX) and projects is not None:
            label = name.removeprefix(LABEL_PREFIX)
            return tuple(dict.fromkeys(one.labels[label] for one in projects if label in one.labels))
        case _:
            return None


def _never_matching(config: Config, document: Document) -> Iterator[Problem]:
    for path, matchers in (
        *_conditions(config.route, ("route",)),
        *((("mute", number), mute.matchers) for number, mute in enumerate(config.mutes)),
    ):
        for number, matcher in enumerate(matchers):
            if (why := nothing_matches(matcher, config.configured)) is not None:
                yield document.problem(
                    (*path, "matchers", number), f"no event to come meets {matcher}: {why}"
                )


def _conditions(route: Route, path: KeyPath) -> Iterator[tuple[KeyPath, tuple[Matcher, ...]]]:
    yield path, route.matchers
    for number, child in enumerate(route.routes):
        yield from _conditions(child, (*path, "routes", number))


def _never_filled_in(config: Config, documents: _Documents) -> Iterator[Problem]:
    by_name = {receiver.name: receiver for receiver in config.receivers}
    for (document, path), entry in entries(documents, "receivers"):
        for key, template in _templates(by_name[str(entry["name"])].template).items():
            written = (*path, "template", *key)
            if unknown := _unknown_names(template):
                yield document.problem(
                    written if document.value(written) is not None else (*path, "template"),
                    f"no template is given {unknown[0]!r}, so this one cannot be filled in; "
                    f"{nearest(unknown[0], TEMPLATE_NAMES)}",
                )


def _templates(template: object) -> Mapping[KeyPath, Template]:
    if isinstance(template, Template):
        return {(): template}
    if not isinstance(template, LetterTemplate):
        return {}
    parts = {key: getattr(template, key) for key in LetterTemplate.model_fields}
    return {(key,): part for key, part in parts.items() if part is not None}


def _unknown_names(template: Template) -> list[str]:
    from taskwatch.sandbox import unknown_names  # noqa: PLC0415 - Jinja2 is loaded where there is a template

    return unknown_names(template.source, TEMPLATE_NAMES)
