"""What works as it is configured, and should be otherwise."""

from collections import defaultdict
from collections.abc import Iterator

from taskwatch.config.configuration import Config
from taskwatch.config.document import Document, KeyPath, Problem
from taskwatch.config.kept import Url
from taskwatch.config.schema import TokenCredential
from taskwatch.secret import Kept

_Advice = Iterator[tuple[KeyPath, str]]


def advice(config: Config, document: Document) -> tuple[str, ...]:
    """Say it in one printable line each, in the order of the file."""
    said = [*_secrets_in_text(config), *_too_fast(config), *_in_clear(config)]
    problems = [Problem(place=document.place(path), path=path, text=text) for path, text in said]
    return tuple(problem.line(config.path) for problem in sorted(problems, key=lambda problem: problem.place))


def _secrets_in_text(config: Config) -> _Advice:
    for placed in config.secrets:
        if placed.secret.kept is Kept.TEXT and not isinstance(placed.secret, Url):
            yield placed.path, "the secret itself stands in this file; write {file: PATH} and keep it there"


def _too_fast(config: Config) -> _Advice:
    # A poll is one request at least, and the rate holds for one endpoint.
    needed: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for watched in config.projects:
        needed[watched.credential, watched.project.identity.host].append(1 / watched.interval.active)
    for (name, host), polls in needed.items():
        rate = config.credentials[name].rate
        if sum(polls) > rate:
            text = (
                f"{rate:g} requests a second are fewer than the {sum(polls):.4g} that the active intervals of "
                f"{len(polls)} projects at {host} ask for; raise the rate or the intervals"
            )
            yield ("credentials", name, "rate"), text


def _in_clear(config: Config) -> _Advice:
    for number, watched in enumerate(config.projects):
        has_token = isinstance(config.credentials[watched.credential], TokenCredential)
        if has_token and watched.endpoint.is_in_clear:
            yield ("projects", number, "endpoint"), "the token crosses the network in clear; write https://"
