"""The login that the environment describes, in the variables of OpenStack's and Open Telekom Cloud's own tools."""

from collections.abc import Mapping
from typing import Final

from taskwatch.config.starter import StarterLogin
from taskwatch.errors import ConfigError

_AUTH_URL: Final = ("OS_AUTH_URL",)
_DOMAIN: Final = ("OS_USER_DOMAIN_NAME", "OS_DOMAIN_NAME", "OS_PROJECT_DOMAIN_NAME")
_ACCESS_KEY: Final = ("OS_ACCESS_KEY", "S3_ACCESS_KEY_ID")
_SECRET_KEY: Final = ("OS_SECRET_KEY", "S3_SECRET_ACCESS_KEY")
_SECURITY_TOKEN: Final = ("OS_SECURITY_TOKEN", "S3_SECURITY_TOKEN")
_TOKEN: Final = ("OS_TOKEN", "OS_AUTH_TOKEN")
_BEGUN: Final = ("OS_USERNAME", *_AUTH_URL)  # of a login, and nothing to log in with


def login_from(environment: Mapping[str, str]) -> StarterLogin | None:
    """Return the login; None where nothing is said of one. Secrets stay where they are: it names their variables.

    One that renews itself goes first: a cloud of clouds.yaml, then a password, then keys, then a token. A token that
    an earlier session has left behind is a common trap. Raises ConfigError for half a login.
    """
    if cloud := environment.get("OS_CLOUD"):
        return {"type": "cloud", "cloud": cloud}
    found = _Variables(environment)
    if environment.get("OS_PASSWORD"):
        return {
            "type": "password",
            "auth_url": found.text(_AUTH_URL),
            "username": found.text(("OS_USERNAME",)),
            "user_domain_name": found.text(_DOMAIN),
            "password": {"env": "OS_PASSWORD"},
        }
    if found.has(_ACCESS_KEY):
        security = {"security_token": found.secret(_SECURITY_TOKEN)} if found.has(_SECURITY_TOKEN) else {}
        return {
            "type": "aksk",
            "auth_url": found.text(_AUTH_URL),
            "access_key": found.secret(_ACCESS_KEY),
            "secret_key": found.secret(_SECRET_KEY),
            **security,
        }
    if found.has(_TOKEN):
        return {"type": "token", "auth_url": found.text(_AUTH_URL), "token": found.secret(_TOKEN)}
    if found.has(_BEGUN):
        begun = found.name(_BEGUN)
        problem = (
            f"$OS_PASSWORD is not set, nor $OS_ACCESS_KEY or $OS_TOKEN, and the login that ${begun} begins needs one"
            f" of them; nothing was written: set it, or unset ${begun} for an example to fill in"
        )
        raise ConfigError([problem])
    return None


def passed_over(environment: Mapping[str, str], login: StarterLogin) -> str | None:
    """Say why a user that the environment names is not the one who logs in; None where nobody could be surprised."""
    if login["type"] in ("password", "cloud") or not environment.get("OS_USERNAME"):
        return None
    return f"by {login['type']} and not as $OS_USERNAME, for $OS_PASSWORD is not set"


class _Variables:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def has(self, names: tuple[str, ...]) -> bool:
        return any(self._environment.get(name) for name in names)

    def text(self, names: tuple[str, ...]) -> str:
        return self._environment[self.name(names)]

    def secret(self, names: tuple[str, ...]) -> Mapping[str, str]:
        return {"env": self.name(names)}

    def name(self, names: tuple[str, ...]) -> str:
        """Return the first that is set. Raises ConfigError."""
        for name in names:
            if self._environment.get(name):
                return name
        raise ConfigError(
            [f"${names[0]} is not set, and the login that the environment begins needs it; set it"]
        )
