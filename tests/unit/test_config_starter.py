"""The configuration that `init` writes: it can be loaded, whatever was found, and says what was found."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskwatch.config.configuration import Config
from taskwatch.config.load import load
from taskwatch.config.starter import Starter, StarterLogin, StarterProject
from taskwatch.errors import ConfigError
from taskwatch.notifiers.registry import kinds

AUTH = "https://iam.eu-de.otc.t-systems.com/v3"
ENDPOINT = "https://gaussdb.eu-de.otc.t-systems.com"
LOGINS: Mapping[str, StarterLogin] = {
    "password": {
        "type": "password",
        "auth_url": AUTH,
        "username": "watcher",
        "user_domain_name": "OTC00000000001000000000",
        "password": {"env": "OS_PASSWORD"},
    },
    "aksk": {
        "type": "aksk",
        "auth_url": AUTH,
        "access_key": {"env": "OS_ACCESS_KEY"},
        "secret_key": {"env": "OS_SECRET_KEY"},
    },
    "token": {"type": "token", "token": {"file": "/etc/taskwatch/token"}},
    "cloud": {"type": "cloud", "cloud": "otc"},
}


def _project(name: str, project_id: str, endpoint: str | None = ENDPOINT) -> StarterProject:
    return StarterProject(name=name, project_id=project_id, endpoint=endpoint)


def _loaded(directory: Path, starter: Starter) -> Config:
    path = directory / "taskwatch.yaml"
    path.write_text(starter.text())
    return load(path, kinds())


@pytest.mark.parametrize("kind", LOGINS)
def test_every_login_is_written_as_the_configuration_takes_it(tmp_path: Path, kind: str) -> None:
    starter = Starter(credential="otc", login=LOGINS[kind], projects=[_project("eu-de_prod", "0611f1bd")])
    config = _loaded(tmp_path, starter)
    assert config.credentials["otc"].type == kind
    assert [watched.project.name for watched in config.projects] == ["eu-de_prod"]
    assert config.warnings == ()


def test_an_endpoint_that_all_but_one_share_stands_under_defaults(tmp_path: Path) -> None:
    other = "https://gaussdb.eu-nl.otc.t-systems.com"
    projects = [_project("a", "1"), _project("b", "2"), _project("c", "3", other)]
    starter = Starter(credential="otc", login=LOGINS["token"], projects=projects)
    hosts = [watched.project.identity.host for watched in _loaded(tmp_path, starter).projects]
    assert hosts == ["gaussdb.eu-de.otc.t-systems.com"] * 2 + ["gaussdb.eu-nl.otc.t-systems.com"]
    assert starter.text().count(ENDPOINT) == 1


def test_a_project_whose_endpoint_nobody_knows_is_a_comment_and_inherits_none(tmp_path: Path) -> None:
    starter = Starter(
        credential="otc", login=LOGINS["token"], projects=[_project("a", "1"), _project("MOS", "2", None)]
    )
    assert [watched.name for watched in _loaded(tmp_path, starter).projects] == ["a"]
    assert "  # - {name: MOS, project_id: 2, endpoint: https://HOST}" in starter.text()


def test_without_projects_there_is_an_example_and_check_asks_for_one(tmp_path: Path) -> None:
    starter = Starter(credential="otc", login=LOGINS["token"], projects=[])
    assert "  # - {name: prod, project_id: ID" in starter.text()
    with pytest.raises(ConfigError, match="projects: "):
        _loaded(tmp_path, starter)


def test_an_own_ca_holds_for_all_projects(tmp_path: Path) -> None:
    projects = [_project("a", "1")]
    starter = Starter(credential="otc", login=LOGINS["token"], projects=projects, ca="/etc/ca.pem")
    assert _loaded(tmp_path, starter).projects[0].tls.ca == Path("/etc/ca.pem")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(username=TEXT, domain=TEXT)
def test_odd_names_are_read_back_as_they_were(tmp_path: Path, username: str, domain: str) -> None:
    login = {**LOGINS["password"], "username": username, "user_domain_name": domain}
    starter = Starter(credential="otc", login=login, projects=[_project("p", "1")])
    credential = _loaded(tmp_path, starter).credentials["otc"]
    assert (credential.username, credential.user_domain_name) == (username, domain)  # type: ignore[union-attr]  # of type password
