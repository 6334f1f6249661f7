"""The configuration that `taskwatch init` writes: what was found, and in comments what else there is."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+:-]*[A-Za-z0-9_./+-]|[A-Za-z0-9]")
_QUOTED: Final = frozenset('"\\')
_EXAMPLE: Final = (
    "  # - {name: prod, project_id: ID}   # as the console says, under My Credentials",
    "  # - {name: shop, project: eu-de_shop}   # or by its name there",
)

# The ways to log in, with what each is for. The one that is written out is left out of the comments.
_WAYS: Final[Mapping[str, tuple[str, str]]] = {
    "password": (
        "a user",
        "{type: password, auth_url: …, username: …, user_domain_name: …, password: {file: …}}",
    ),
    "aksk": (
        "an access key; a temporary one has a security_token: {file: PATH} too",
        "{type: aksk, access_key: {file: PATH}, secret_key: {file: PATH}}",
    ),
    "token": (
        "a token for one project, which somebody else makes and renews",
        "{type: token, token: {file: PATH}}",
    ),
    "agency": (
        "an agency of another account; via is a credential of type password or token",
        "{type: agency, via: NAME, domain_name: OTC…, agency_name: …}",
    ),
    "cloud": ("an entry of clouds.yaml; needs taskwatch[openstack]", "{type: cloud, cloud: NAME}"),
}


StarterLogin = Mapping[str, str | Mapping[str, str]]
"""The keys of a credential, its type first; a secret says where it is kept, as {env: NAME}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StarterProject:
    """A project to watch."""

    name: str
    project_id: str
    endpoint: str | None  # None: nobody could say, and a person must


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """What the file says. Without projects it has an example to fill in."""

    credential: str  # its name
    login: StarterLogin
    projects: Sequence[StarterProject]
    ca: str | None = (
        None  # a file, where the system does not know who signed the cloud's certificates; absolute
    )

    def text(self) -> str:
        """Return the file. It can be loaded unless nobody could say the endpoint of any project."""
        return "\n".join(
            [
                "# What taskwatch watches, and who is told. `taskwatch check` says what is wrong in it,",
                "# `taskwatch check --online` whether it works, `taskwatch run` watches.",
                "# Every key with its default is in config/taskwatch.yaml of taskwatch.",
                "",
                "credentials:",
                *self._credential(),
                "",
                *self._defaults(),
                "projects:                     # what is watched, by its id or by its name in the cloud",
                *(self._project(project) for project in self.projects),
                *([] if self.projects else _EXAMPLE),
                "",
                "receivers:                    # who is told; without any, the daemon's own log",
                "  - {name: log, type: log}",
                "  # - {name: pipeline, type: webhook, url: {file: PATH}, secret: {file: PATH}}",
                "",
            ]
        )

    @property
    def _common_endpoint(self) -> str | None:
        """Where most projects are reached: it stands under `defaults`."""
        found = Counter(project.endpoint for project in self.projects if project.endpoint is not None)
        return found.most_common(1)[0][0] if found else None

    def _credential(self) -> Iterator[str]:
        yield f"  {_scalar(self.credential)}:"
        for key, value in self.login.items():
            yield f"    {key}: {_value(value)}"
        if any(isinstance(value, Mapping) and "env" in value for value in self.login.values()):
            yield "    # A service has no such variables: write each to a file that it alone can read, {file: PATH}."
        yield "  # Other ways to log in. With two, `credential: NAME` says which, under defaults or at a project."
        for kind, (said, example) in _WAYS.items():
            if kind != self.login.get("type"):
                yield f"  # - {said}:"
                yield f"  #   NAME: {example}"

    def _defaults(self) -> Iterator[str]:
        common = self._common_endpoint
        yield "defaults:                     # for all projects; each may say otherwise"
        if common is not None:
            yield f"  endpoint: {_scalar(common)}"
        else:
            yield "  # endpoint: https://gaussdb.eu-de.otc.t-systems.com   # where the database service is"
        if self.ca is not None:
            yield f"  tls: {_value({'ca': self.ca})}"
        yield "  interval: {active: 15s, idle: 60s}   # active while any task is running"
        yield ""

    def _project(self, project: StarterProject) -> str:
        entry = {"name": project.name, "project_id": project.project_id}
        if project.endpoint is None:
            return f"  # - {_value({**entry, 'endpoint': 'https://HOST'})}   # where is the service for it?"
        if project.endpoint != self._common_endpoint:
            entry["endpoint"] = project.endpoint
        return f"  - {_value(entry)}"


def _value(value: str | Mapping[str, str]) -> str:
    if isinstance(value, str):
        return _scalar(value)
    return "{" + ", ".join(f"{key}: {_scalar(text)}" for key, text in value.items()) + "}"


def _scalar(text: str) -> str:
    """Write text so that YAML reads it back: as it is where that is safe, else quoted, on one line."""
    if _PLAIN.fullmatch(text):
        return text
    shown = (one if one.isprintable() and one not in _QUOTED else f"\\U{ord(one):08x}" for one in text)
    return f'"{"".join(shown)}"'
