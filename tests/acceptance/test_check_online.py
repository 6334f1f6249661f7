"""`taskwatch check --online`: each thing that can be wrong between an operator and the cloud has an answer of its own."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trustme

from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.commands import Ended, taskwatch
from tests.fakes.webhook_sink import WebhookSink

PASSWORD: Final = "a-right-password"

CONFIGURATION: Final = """\
store: {{path: taskwatch.db}}
credentials:
  otc:
    type: password
    auth_url: {auth_url}
    username: taskwatch
    user_domain_name: {domain}
    password: {{file: password}}
projects:
  - {{name: prod, endpoint: "{endpoint}", project_id: {project_id}}}
receivers:
  - {{name: pipeline, type: webhook, url: "{receiver}"}}
"""


@asynccontextmanager
async def a_cloud(
    tls: ssl.SSLContext | None = None, *, seed: int = 1, projects: int = 2
) -> AsyncIterator[SimulatedCloud]:
    async with SimulatedCloud(
        seed=seed, projects=projects, accounts=Accounts(password=PASSWORD), ssl_context=tls
    ) as cloud:
        yield cloud


async def checked(
    directory: Path,
    cloud: SimulatedCloud,
    *,
    password: str = PASSWORD,
    endpoint: str | None = None,
    project_id: str | None = None,
    receiver: str = "http://127.0.0.1:9/",
) -> Ended:
    (directory / "password").write_text(password)
    (directory / "password").chmod(0o600)
    (directory / "taskwatch.yaml").write_text(
        CONFIGURATION.format(
            auth_url=cloud.auth_url,
            domain=cloud.identity.home.name,
            endpoint=endpoint or cloud.url,
            project_id=project_id or cloud.projects[0].project_id,
            receiver=receiver,
        )
    )
    ended = await taskwatch("check", "--online", cwd=directory)
    assert PASSWORD not in ended.out + ended.err
    return ended


def about_project(ended: Ended) -> str:
    (line,) = [line for line in (ended.out + ended.err).splitlines() if line.startswith("project prod: ")]
    return line.removeprefix("project prod: ")


async def test_what_works_is_said_and_nothing_is_sent_or_recorded(tmp_path: Path) -> None:
    async with a_cloud() as cloud, WebhookSink() as sink:
        ended = await checked(tmp_path, cloud, receiver=sink.url)
        assert about_project(ended).startswith("ok, ")
        assert "receiver pipeline: ok, nothing was sent" in ended.out
        assert sink.posts == []
    assert ended.code == 0
    assert not (tmp_path / "taskwatch.db").exists()


async def test_five_mistakes_have_five_answers_that_say_what_to_change(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(tls)
    answers = {}
    async with a_cloud() as cloud, a_cloud(seed=1) as other_region, a_cloud(tls) as hidden:
        answers = {
            "username, user_domain_name and password": await checked(tmp_path, cloud, password="wrong-one"),
            "it sees eu-de_": await checked(tmp_path, cloud, project_id="0" * 32),
            "endpoint is of its region": await checked(tmp_path, cloud, endpoint=other_region.url),
            "check endpoint, and the firewall": await checked(tmp_path, cloud, endpoint="http://127.0.0.1:9"),
            "write tls: {ca: FILE}": await checked(tmp_path, hidden),
        }
    for words, ended in answers.items():
        assert words in about_project(ended)
        assert ended.code == 3
    assert len({about_project(ended) for ended in answers.values()}) == len(answers)


async def test_one_wrong_password_of_twenty_projects_is_one_line_that_names_a_few(tmp_path: Path) -> None:
    async with a_cloud(projects=20) as cloud:
        await checked(tmp_path, cloud)
        text = (tmp_path / "taskwatch.yaml").read_text()
        (tmp_path / "password").write_text("wrong-one")
        projects = "\n".join(
            f'  - {{name: p{number}, endpoint: "{cloud.url}", project_id: {project.project_id}}}'
            for number, project in enumerate(cloud.projects[1:])
        )
        (tmp_path / "taskwatch.yaml").write_text(text.replace("receivers:", f"{projects}\nreceivers:"))
        checked_now = await taskwatch("check", "--online", cwd=tmp_path)
        polled = await taskwatch("poll", "--dry-run", cwd=tmp_path)
    (line,) = [line for line in checked_now.err.splitlines() if line.startswith("project")]
    assert line.startswith("projects prod, p0, p1, p2, p3 and 15 more: credential otc: ")
    assert "check username, user_domain_name and password" in line
    (line,) = polled.err.splitlines()
    assert line.startswith("prod, p0, p1, p2, p3 and 15 more: credential otc: ")


@pytest.mark.parametrize(
    ("credential", "advised"),
    [
        ("type: aksk\n    access_key: {access}\n    secret_key: not-the-secret-key", "check secret_key, then access_key, of"),
        (
            "type: agency\n    via: agent\n    domain_name: {home}\n    agency_name: nobody",
            '"Could not find agency.": check agency_name and domain_name',
        ),
        (
            "type: agency\n    via: agent\n    domain_name: OTC-NONE\n    agency_name: {agency}",
            '"Could not find agency.": check agency_name and domain_name',
        ),
    ],
    ids=["a wrong secret key", "an agency that is not there", "an agency of another domain"],
)  # fmt: skip
async def test_a_mistake_in_a_credential_is_looked_for_where_it_is(
    tmp_path: Path, credential: str, advised: str
) -> None:
    async with a_cloud() as cloud:
        identity = cloud.identity
        written = credential.format(
            access=identity.keys.permanent.access, home=identity.home.name, agency=identity.agency.name
        )
        (tmp_path / "taskwatch.yaml").write_text(
            "store: {path: taskwatch.db}\n"
            "credentials:\n"
            f"  agent: {{type: password, auth_url: '{cloud.auth_url}', username: {identity.agent.name},"
            f" user_domain_name: {identity.partner.name}, password: {PASSWORD}}}\n"
            f"  otc:\n    auth_url: {cloud.auth_url}\n    {written}\n"
            "projects:\n"
            f"  - {{name: prod, credential: otc, endpoint: '{cloud.url}', project_id: {cloud.projects[0].project_id}}}\n"
            "receivers: [{name: log, type: log}]\n"
        )
        ended = await taskwatch("check", "--online", cwd=tmp_path)
    assert advised in about_project(ended)
    assert ended.code == 3


async def test_a_receiver_that_nobody_runs_is_told_of_beside_a_project_that_works(tmp_path: Path) -> None:
    async with a_cloud() as cloud:
        ended = await checked(tmp_path, cloud)
    assert about_project(ended).startswith("ok, ")
    assert "receiver pipeline: cannot reach 127.0.0.1:9: Connection refused" in ended.err
    assert ended.code == 3


@pytest.mark.parametrize("seconds", [-600, 600])
async def test_a_clock_that_is_wrong_is_told(tmp_path: Path, seconds: int) -> None:
    async with a_cloud() as cloud, WebhookSink() as sink:
        cloud.behave(date_skew_seconds=seconds)
        ended = await checked(tmp_path, cloud, receiver=sink.url)
    side = "ahead of" if seconds < 0 else "behind"
    assert side in about_project(ended)
    assert "set it (NTP)" in about_project(ended)
    assert ended.code == 3


async def test_a_wrong_file_is_78_and_nobody_is_asked(tmp_path: Path) -> None:
    async with a_cloud() as cloud:
        ended = await checked(tmp_path, cloud, project_id="../x")
        assert sum(cloud.counters.requests.values()) == 0
    assert ended.code == 78


async def test_two_projects_that_are_not_visible_are_told_as_such_and_not_as_a_wrong_password(
    tmp_path: Path,
) -> None:
    async with a_cloud() as cloud:
        await checked(tmp_path, cloud)
        text = (tmp_path / "taskwatch.yaml").read_text()
        projects = "\n".join(
            f'  - {{name: p{number}, endpoint: "{cloud.url}", {key}}}'
            for number, key in enumerate(
                (f"project_id: {'1' * 32}", f"project_id: {'2' * 32}", "project: eu-de_x")
            )
        )
        (tmp_path / "taskwatch.yaml").write_text(text.replace("receivers:", f"{projects}\nreceivers:"))
        ended = await taskwatch("check", "--online", cwd=tmp_path)
    answers = [line for line in ended.err.splitlines() if line.startswith("project p")]
    assert len(answers) == 3
    for answer in answers:
        assert "logs in, and does not see project" in answer
        assert cloud.projects[0].iam_name in answer
