"""The configuration that `taskwatch init` writes: what was found, and in comments what else there is."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+:-]*[A-Za-z0-9_./+-]|[A-Za-z0-9]")
_EXAMPLE: Final = (
    "  # - {name: prod, project_id: ID, endpoint: https://HOST}   # as the console says, under My Credentials"
)

# The ways to log in, as a reader would write them. The one that is written out is left out of the comments.
_WAYS: Final[Mapping[str, str]] = {
    "password": "{type: password, auth_url: https://iam.eu-de.otc.t-systems.com/v3, username: …, user_domain_name: OTC…,"
    " password: {file: PATH}}",
    "aksk": "{type: aksk, access_key: {file: PATH}, secret_key: {file: PATH}}   # temporary keys: security_token: {file: PATH}",
    "token": "{type: token, token: {file: PATH}}   # made and renewed by somebody else, for one project",
    "agency": "{type: agency, via: NAME, domain_name: OTC…, agency_name: …}   # in another account, as a credential of above",
    "cloud": "{type: cloud, cloud: NAME}   # an entry of clouds.yaml; needs taskwatch[openstack]",
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
    ca: str | None = None  # a file, where the system does not know who signed the cloud's certificates

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
                "projects:",
                *(self._project(project) for project in self.projects),
                *([] if self.projects else [_EXAMPLE]),
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
            yield "    # A service has no such variables: write secrets to files that it alone can read, {file: PATH}."
        yield "  # Other ways to log in:"
        for kind, example in _WAYS.items():
            if kind != self.login.get("type"):
                yield f"  # NAME: {example}"

    def _defaults(self) -> Iterator[str]:
        common = self._common_endpoint
        yield "defaults:                     # for all projects; each may say otherwise"
        if common is not None:
            yield f"  endpoint: {_scalar(common)}"
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
    """Write text so that YAML reads it back: as it is where that is safe."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
