"""`taskwatch init` as an operator meets it: what it writes, what it asks, and what it says where something is missing."""

import asyncio
import os
import pty
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import trustme

from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.commands import ROOT
from tests.fakes.in_process import Run, runner
from tests.fakes.logs import logs_restored
from tests.fakes.simulated import Simulated, be_alone, login_variables, simulated

WIDTH: Final = 100
CANARY: Final = "c4n4ry-password"


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command where nothing is said of logins."""
    be_alone(monkeypatch, tmp_path)
    return runner(monkeypatch, capsys, tmp_path)


@pytest.fixture
async def cloud(init: Run, tmp_path: Path) -> AsyncIterator[Simulated]:
    async with simulated(tmp_path) as cloud:
        with logs_restored():
            yield cloud


def export(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_a_login_it_writes_an_example_that_check_leads_through(init: Run, tmp_path: Path) -> None:
    assert init("init").code == 0
    file = tmp_path / "taskwatch.yaml"
    steps = [
        ("projects: empty; write one", "  # - {name: shop, project: eu-de_shop}", "  - {name: shop, project: eu-de_shop}"),
        ("endpoint: missing; write endpoint: https://HOST", "  # endpoint:", "  endpoint:"),
        ("password: cannot read", "{file: password}", "password"),
    ]  # fmt: skip
    for problem, before, after in steps:
        refused = init("check")
        assert refused.code == 78
        assert problem in refused.err
        assert len(refused.err.splitlines()) == 1
        file.write_text(file.read_text().replace(before, after))
    assert init("check").code == 0


def test_what_it_writes_can_be_read_at_a_hundred_columns(init: Run, tmp_path: Path) -> None:
    init("init")
    lines = (tmp_path / "taskwatch.yaml").read_text().splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"OS_PASSWORD": CANARY}, "$OS_AUTH_URL"),
        ({"OS_PASSWORD": CANARY, "OS_AUTH_URL": "https://h/v3"}, "$OS_USERNAME"),
        ({"OS_ACCESS_KEY": CANARY, "OS_AUTH_URL": "https://h/v3"}, "$OS_SECRET_KEY"),
        ({"OS_TOKEN": CANARY}, "$OS_AUTH_URL"),
        ({"OS_AUTH_URL": "https://h/v3", "OS_USERNAME": "u"}, "$OS_PASSWORD"),
    ],
)
def test_half_a_login_names_the_variable_that_is_missing(
    init: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], missing: str
) -> None:
    export(monkeypatch, **variables)
    ended = init("init")
    assert (ended.code, ended.out) == (78, "")
    assert ended.err.startswith(f"{missing} is not set")
    assert CANARY not in ended.err
    assert not (tmp_path / "taskwatch.yaml").exists()


def test_a_file_that_is_there_is_left_as_it_is(init: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text("mine")
    ended = init("init")
    assert (ended.code, (tmp_path / "taskwatch.yaml").read_text()) == (1, "mine")
    assert "--config" in ended.err


def test_a_place_that_cannot_be_written_is_told_before_anybody_logs_in(
    init: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(monkeypatch, OS_AUTH_URL="http://127.0.0.1:1/v3", OS_PASSWORD=CANARY, OS_USERNAME="u")
    export(monkeypatch, OS_USER_DOMAIN_NAME="d")
    ended = init("init", "-c", "nowhere/taskwatch.yaml")
    assert (ended.code, ended.out) == (1, "")
    assert "cannot write nowhere/taskwatch.yaml" in ended.err


@pytest.mark.parametrize(
    ("auth_url", "said"),
    [
        ("http://127.0.0.1:1/v3", "127.0.0.1:1: cannot connect"),
        ("iam.example/v3", "auth_url, as the environment has it: not a URL; write https://HOST"),
    ],
)  # fmt: skip
def test_a_login_service_that_is_not_there_is_one_line(
    init: Run, monkeypatch: pytest.MonkeyPatch, auth_url: str, said: str
) -> None:
    export(monkeypatch, OS_AUTH_URL=auth_url, OS_PASSWORD=CANARY, OS_USERNAME="u", OS_USER_DOMAIN_NAME="d")
    with logs_restored():
        ended = init("init")
    assert ended.code != 0
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert "next try" not in ended.err
    assert CANARY not in ended.err


async def test_a_wrong_password_is_one_line_and_one_try(
    init: Run, cloud: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(monkeypatch, **login_variables(cloud), OS_TOKEN="stray")
    export(monkeypatch, OS_PASSWORD=CANARY)
    ended = await asyncio.to_thread(init, "init")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert "check username, user_domain_name and password" in ended.err
    assert CANARY not in ended.err
    assert (await cloud.counters())["logins_refused"] == {"taskwatch": 1}


async def test_a_token_that_was_left_behind_does_not_count_beside_a_password(
    init: Run, cloud: Simulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    export(monkeypatch, **login_variables(cloud), OS_TOKEN="stray")
    assert (await asyncio.to_thread(init, "init")).code == 0
    text = (tmp_path / "taskwatch.yaml").read_text()
    assert "type: password" in text
    assert not [canary for canary in cloud.canaries if canary in text]


async def test_a_token_is_written_for_the_one_project_that_it_is_for(
    init: Run, cloud: Simulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    export(monkeypatch, OS_AUTH_URL=cloud.auth_url, OS_TOKEN=await cloud.token("eu-de_shop-prod"))
    ended = await asyncio.to_thread(init, "init")
    assert "by token: 1 project" in ended.out
    assert (tmp_path / "taskwatch.yaml").read_text().count("- {name: eu-de_") == 1


async def test_a_token_beside_a_user_without_password_is_said_to_be_the_one_that_counts(
    init: Run, cloud: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(monkeypatch, OS_AUTH_URL=cloud.auth_url, OS_TOKEN="simulated-token", OS_USERNAME="me")
    ended = await asyncio.to_thread(init, "init")
    assert ended.code == 0
    assert "by token and not as $OS_USERNAME, for $OS_PASSWORD is not set" in ended.err


async def test_the_token_that_the_simulated_cloud_prints_finds_all_its_projects_with_their_endpoint(
    init: Run, cloud: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(monkeypatch, OS_AUTH_URL=cloud.auth_url, OS_TOKEN="simulated-token")
    ended = await asyncio.to_thread(init, "init")
    assert (ended.code, ended.err) == (0, "")
    assert "by token: 3 projects" in ended.out
    online = await asyncio.to_thread(init, "check", "--online")
    assert (online.code, online.err) == (0, "")


def test_an_unknown_cloud_is_one_line_that_names_those_that_exist(
    init: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(monkeypatch, OS_CLIENT_CONFIG_FILE=str(tmp_path / "clouds.yaml"))
    (tmp_path / "clouds.yaml").write_text(f"clouds: {{prod: {{auth: {{password: {CANARY}}}}}, old: {{}}}}")
    with logs_restored():
        ended = init("init", "--cloud", "prodd")
    assert ended.code == 1
    assert "cloud prodd of clouds.yaml: it was not found" in ended.err
    assert ended.err.endswith("; there are old, prod\n")
    assert len(ended.err.splitlines()) == 1
    assert CANARY not in ended.err


def test_an_unknown_cloud_is_one_line_that_names_it(init: Run) -> None:
    with logs_restored():
        ended = init("init", "--cloud", "nowhere")
    assert ended.code == 1
    assert "cloud nowhere of clouds.yaml: it was not found" in ended.err
    assert "there are" not in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_without_openstacksdk_one_line_says_what_to_install(init: Run, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['openstack'] = None; sys.modules['keystoneauth1'] = None;"
        "sys.argv = ['taskwatch', 'init', '--cloud', 'otc'];"
        "from taskwatch.cli.main import main; main()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert "pip install 'taskwatch[openstack]'" in err.decode()
    assert len(err.decode().splitlines()) == 1


async def test_an_own_ca_is_written_as_seen_from_everywhere(
    init: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = ca.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    async with SimulatedCloud(
        seed=0, projects=2, token="t", accounts=Accounts(), ssl_context=context
    ) as cloud:
        user = cloud.identity.user
        export(monkeypatch, OS_AUTH_URL=cloud.auth_url, OS_USERNAME=user.name, OS_CACERT="ca.pem")
        export(monkeypatch, OS_PASSWORD=cloud.identity.password(user), OS_USER_DOMAIN_NAME=user.domain.name)
        (tmp_path / "conf").mkdir()
        with logs_restored():
            assert (await asyncio.to_thread(init, "init", "-c", "conf/taskwatch.yaml")).code == 0
            online = await asyncio.to_thread(init, "check", "--online", "-c", "conf/taskwatch.yaml")
    assert (online.code, online.err) == (0, "")


@pytest.mark.parametrize(
    ("answers", "written"),
    [(b"gauss.example\nhttps://gauss.example/\n", "endpoint: https://gauss.example"), (b"\n", "where is the service for it?")],
    ids=["one that is wrong at first", "none"],
)  # fmt: skip
async def test_where_nobody_knows_the_endpoint_a_terminal_is_asked(
    init: Run, tmp_path: Path, answers: bytes, written: str
) -> None:
    program = (
        "import taskwatch.app.discovery as found; found._TYPES = ();"  # a catalogue that does not list it
        "import sys; sys.argv = ['taskwatch', 'init'];"
        "from taskwatch.cli.main import main; main()"
    )
    async with simulated(tmp_path, "--projects", "1") as cloud:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=tmp_path,
            env=os.environ | login_variables(cloud) | {"PYTHONPATH": str(ROOT)},
            stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        os.write(ours, answers)
        await asyncio.wait_for(process.communicate(), 30)
        asked = os.read(ours, 10_000).decode()
        os.close(ours)
    assert process.returncode == 0
    assert "Endpoint of the database service in eu-de" in asked
    assert written in (tmp_path / "taskwatch.yaml").read_text()


async def test_two_hundred_projects_are_two_hundred_lines(
    init: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with simulated(tmp_path, "--projects", "200") as cloud:
        export(monkeypatch, **login_variables(cloud))
        with logs_restored():
            assert (await asyncio.to_thread(init, "init")).code == 0
        assert sum((await cloud.counters())["logins_granted"].values()) <= 2
    text = (tmp_path / "taskwatch.yaml").read_text()
    assert text.count("\n  - {name: eu-de_") == 200
    assert (await asyncio.to_thread(init, "check")).out.startswith("taskwatch.yaml: ok, 200 projects")
