"""What works as it is configured, and should be otherwise."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from taskwatch.config.configuration import Config
from taskwatch.config.document import Document, KeyPath, Problem, in_order, spell_path
from taskwatch.config.kept import Url
from taskwatch.config.references import entries, setting
from taskwatch.config.schema import TokenCredential
from taskwatch.core.route import Route
from taskwatch.secret import Kept

SERVICE_CONFIGURATION: Final = Path("/etc/taskwatch")

_Documents = Sequence[Document]  # the main one first


def advice(config: Config, documents: _Documents) -> tuple[str, ...]:
    """Say it in one printable line each, in the order of the files."""
    said = [
        *_store_of_nobody(config, documents[0]),
        *_secrets_in_text(config),
        *_too_fast(config, documents),
        *_in_clear(config, documents),
        *_never_told(config, documents),
        *_never_reached(config.route, ("route",), documents[0]),
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
        if placed.secret.kept is Kept.TEXT and not isinstance(placed.secret, Url):
            yield placed.problem(
                "the secret itself stands in this file; write {file: PATH} and keep it there"
            )


def _too_fast(config: Config, documents: _Documents) -> Iterator[Problem]:
    # A poll is one request at least, and the rate holds for one endpoint.
    needed: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for watched in config.projects:
        needed[watched.credential, watched.project.identity.host].append(1 / watched.interval.active)
    for (name, host), polls in needed.items():
        rate = config.credentials[name].rate
        if sum(polls) > rate:
            path: KeyPath = ("credentials", name)
            document = next(document for document in documents if document.value(path) is not None)
            yield document.problem(
                (*path, "rate"),
                f"{rate:g} requests a second are fewer than the {sum(polls):.4g} that the active intervals of "
                f"{len(polls)} projects at {host} ask for; raise the rate or the intervals",
            )


def _in_clear(config: Config, documents: _Documents) -> Iterator[Problem]:
    said: dict[tuple[str, KeyPath], Problem] = {}  # an endpoint under defaults is told of once
    for watched, (spot, _) in zip(config.projects, entries(documents, "projects"), strict=True):
        has_token = isinstance(config.credentials[watched.credential], TokenCredential)
        if has_token and watched.endpoint.is_in_clear:
            (document, path), _ = setting(documents, spot, "endpoint")
            text = "the token crosses the network in clear; write https://"
            said.setdefault((str(document.file), path), document.problem(path, text))
    yield from said.values()


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
