"""Projects that are configured by their name in the cloud: learnt once, told of once while they are unknown."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from taskwatch.config.configuration import Config, NamedProject
from taskwatch.config.load import load
from taskwatch.errors import CloudCause, CloudError
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime.naming import Naming
from tests.fakes.builders import captured_log

TEXT = """
credentials:
  otc: {type: password, auth_url: "https://iam.example/v3", username: u, user_domain_name: d, password: {env: P}}
defaults: {endpoint: "https://gaussdb.example"}
projects:
"""


class Iam:
    """Answers by name in the cloud; what it does not know is an error."""

    def __init__(self, ids: Mapping[str, str]) -> None:
        self.ids = dict(ids)
        self.asked: list[str] = []

    async def __call__(self, named: NamedProject, config: Config) -> str:
        self.asked.append(named.in_cloud)
        if named.in_cloud not in self.ids:
            raise CloudError(CloudCause.NOT_FOUND, f"no project {named.in_cloud}")
        return self.ids[named.in_cloud]


def _config(directory: Path, *projects: str) -> Config:
    path = directory / "taskwatch.yaml"
    path.write_text(TEXT + "".join(f"  - {project}\n" for project in projects))
    return load(path, kinds())


async def test_a_project_is_watched_once_its_id_was_learnt(tmp_path: Path) -> None:
    log, lines = captured_log()
    config = _config(tmp_path, "{name: prod, project: eu-de_prod}")
    naming = Naming(ask=Iam({"eu-de_prod": "0611f1bd"}), log=log)
    assert await naming.learn(config)
    known = naming.known(config)
    assert [watched.project.identity.project_id for watched in known.projects] == ["0611f1bd"]
    assert known.named == ()
    assert lines == []


async def test_what_was_learnt_holds_over_a_reload(tmp_path: Path) -> None:
    log, _ = captured_log()
    iam = Iam({"eu-de_prod": "1", "eu-de_new": "2"})
    naming = Naming(ask=iam, log=log)
    await naming.learn(_config(tmp_path, "{name: prod, project: eu-de_prod}"))
    reloaded = _config(tmp_path, "{name: renamed, project: eu-de_prod}", "{name: new, project: eu-de_new}")
    known = naming.known(reloaded)
    assert [watched.name for watched in known.projects] == ["renamed"]
    assert await naming.learn(known)
    assert iam.asked == ["eu-de_prod", "eu-de_new"]


async def test_an_unknown_name_is_told_once_and_asked_for_again(tmp_path: Path) -> None:
    log, lines = captured_log()
    iam = Iam({})
    naming = Naming(ask=iam, log=log)
    config = _config(tmp_path, "{name: prod, project: eu-de_pord}")
    for _ in range(3):
        assert not await naming.learn(config)
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [(line["event"], line["project"], line["cause"]) for line in warnings] == [
        ("project_not_found", "prod", "not_found")
    ]
    assert set(naming.troubles) == {"prod"}
    iam.ids["eu-de_pord"] = "3"
    assert await naming.learn(config)
    assert naming.troubles == {}


async def test_one_unknown_name_keeps_no_other_from_being_watched(tmp_path: Path) -> None:
    log, _ = captured_log()
    config = _config(tmp_path, "{name: a, project: eu-de_a}", "{name: b, project: eu-de_b}")
    naming = Naming(ask=Iam({"eu-de_b": "2"}), log=log)
    assert await naming.learn(config)
    known = naming.known(config)
    assert ([one.name for one in known.projects], [one.name for one in known.named]) == (["b"], ["a"])


async def test_two_names_of_one_project_are_told_once_and_watched_once(tmp_path: Path) -> None:
    log, lines = captured_log()
    config = _config(tmp_path, "{name: a, project_id: '7'}", "{name: b, project: eu-de_a}")
    naming = Naming(ask=Iam({"eu-de_a": "7"}), log=log)
    await naming.learn(config)
    naming.known(config)
    known = naming.known(config)
    assert [one.name for one in known.projects] == ["a"]
    assert [line["event"] for line in lines] == ["project_not_watched"]


@pytest.mark.parametrize("count", [1, 20])
async def test_one_name_is_asked_for_once_however_many_watch_it(tmp_path: Path, count: int) -> None:
    log, _ = captured_log()
    projects = [
        f'{{name: p{number}, project: eu-de_a, endpoint: "https://h{number}.example"}}'
        for number in range(count)
    ]
    iam = Iam({"eu-de_a": "7"})
    naming = Naming(ask=iam, log=log)
    config = _config(tmp_path, *projects)
    await naming.learn(config)
    assert len(naming.known(config).projects) == count
    assert iam.asked == ["eu-de_a"]
