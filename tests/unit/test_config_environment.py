"""The login that an environment describes: which one counts, and what is missing in half of one."""

import pytest

from taskwatch.config.environment import login_from
from taskwatch.errors import ConfigError

PASSWORD = {"OS_AUTH_URL": "https://h/v3", "OS_USERNAME": "u", "OS_USER_DOMAIN_NAME": "d", "OS_PASSWORD": "p"}
KEYS = {"OS_AUTH_URL": "https://h/v3", "OS_ACCESS_KEY": "a", "OS_SECRET_KEY": "s"}
TOKEN = {"OS_AUTH_URL": "https://h/v3", "OS_TOKEN": "t"}


def test_nothing_is_no_login() -> None:
    assert login_from({}) is None


@pytest.mark.parametrize("names", [("OS_AUTH_URL",), ("OS_AUTH_URL", "OS_USERNAME")])
def test_names_without_a_secret_are_no_login(names: tuple[str, ...]) -> None:
    assert login_from({name: PASSWORD[name] for name in names}) is None


def test_what_renews_itself_goes_first() -> None:
    everything = {**PASSWORD, **KEYS, **TOKEN, "OS_CLOUD": "otc"}
    kinds = []
    for spent in ("OS_CLOUD", "OS_PASSWORD", "OS_ACCESS_KEY", "OS_TOKEN"):
        login = login_from(everything)
        assert login is not None
        kinds.append(login["type"])
        del everything[spent]
    assert kinds == ["cloud", "password", "aksk", "token"]


@pytest.mark.parametrize("variables", [PASSWORD, KEYS, TOKEN])
def test_no_secret_is_taken_over(variables: dict[str, str]) -> None:
    login = login_from(
        {name: f"c4n4ry-{name}" if name in _SECRET else text for name, text in variables.items()}
    )
    assert login is not None
    assert "c4n4ry" not in repr(login)


_SECRET = ("OS_PASSWORD", "OS_ACCESS_KEY", "OS_SECRET_KEY", "OS_TOKEN")


def test_a_temporary_key_has_its_security_token() -> None:
    login = login_from({**KEYS, "OS_SECURITY_TOKEN": "x"})
    assert login is not None
    assert login["security_token"] == {"env": "OS_SECURITY_TOKEN"}


def test_the_names_of_object_storage_clients_count_too() -> None:
    login = login_from({"OS_AUTH_URL": "https://h/v3", "S3_ACCESS_KEY_ID": "a", "S3_SECRET_ACCESS_KEY": "s"})
    assert login is not None
    assert (login["access_key"], login["secret_key"]) == (
        {"env": "S3_ACCESS_KEY_ID"},
        {"env": "S3_SECRET_ACCESS_KEY"},
    )


@pytest.mark.parametrize("missing", ["OS_AUTH_URL", "OS_USERNAME", "OS_USER_DOMAIN_NAME"])
def test_half_a_password_login_names_what_is_missing(missing: str) -> None:
    with pytest.raises(ConfigError, match=rf"^\${missing} is not set"):
        login_from({**PASSWORD, missing: ""})
