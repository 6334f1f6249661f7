"""The login that an environment describes: which one counts, and what is missing in half of one."""

import pytest

from taskwatch.config.environment import login_from, passed_over
from taskwatch.errors import ConfigError

PASSWORD = {"OS_AUTH_URL": "https://h/v3", "OS_USERNAME": "u", "OS_USER_DOMAIN_NAME": "d", "OS_PASSWORD": "p"}
KEYS = {"OS_AUTH_URL": "https://h/v3", "OS_ACCESS_KEY": "a", "OS_SECRET_KEY": "s"}
TOKEN = {"OS_AUTH_URL": "https://h/v3", "OS_TOKEN": "t"}


def test_nothing_is_no_login() -> None:
    assert login_from({}) is None


@pytest.mark.parametrize("names", [("OS_AUTH_URL",), ("OS_USERNAME",), ("OS_AUTH_URL", "OS_USERNAME")])
def test_names_without_a_secret_are_half_a_login_and_no_wish_for_an_example(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^\$OS_PASSWORD is not set, .*nothing was written"):
        login_from({name: PASSWORD[name] for name in names})


@pytest.mark.parametrize(("login", "kind"), [(KEYS, "aksk"), (TOKEN, "token")], ids=["keys", "a token"])
def test_a_user_without_a_password_is_told_who_logs_in_instead(login: dict[str, str], kind: str) -> None:
    variables = {**login, "OS_USERNAME": "u"}
    found = login_from(variables)
    assert found is not None
    assert passed_over(variables, found) == f"by {kind} and not as $OS_USERNAME, for $OS_PASSWORD is not set"


@pytest.mark.parametrize(
    "variables", [PASSWORD, KEYS, TOKEN, {**PASSWORD, **KEYS}, {**PASSWORD, "OS_CLOUD": "otc"}]
)
def test_a_login_that_is_meant_needs_no_remark(variables: dict[str, str]) -> None:
    found = login_from(variables)
    assert found is not None
    assert passed_over(variables, found) is None


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
