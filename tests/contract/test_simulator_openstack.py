"""keystoneauth as an independent judge of the simulated IAM: it logs in as OpenStack's clients do.

It is synchronous, so it runs in a thread.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3

from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.server import SimulatedCloud


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedCloud]:
    monkeypatch.setenv("NO_PROXY", "*")
    async with SimulatedCloud(seed=3, projects=2, token=None, accounts=Accounts()) as listening:
        yield listening


def login(cloud: SimulatedCloud, **changed: Any) -> Any:
    user = cloud.identity.user
    return v3.Password(
        **{
            "auth_url": cloud.auth_url,
            "username": user.name,
            "password": cloud.identity.password(user),
            "user_domain_name": user.domain.name,
            "project_name": cloud.projects[0].iam_name,
            "project_domain_name": user.domain.name,
        }
        | changed
    )


async def test_it_logs_in_finds_the_service_in_the_catalogue_and_reads_tasks(cloud: SimulatedCloud) -> None:
    def read() -> Any:
        opened = session.Session(auth=login(cloud), timeout=10)
        endpoint = opened.get_endpoint(
            service_type="gaussdb-opengauss", interface="public", region_name="eu-de"
        )
        return endpoint, opened.get(f"{endpoint}/v3/{opened.get_project_id()}/tasks?limit=1")

    endpoint, answer = await asyncio.to_thread(read)
    assert endpoint == cloud.url
    assert answer.json()["tasks"][0]["job_id"] == cloud.tasks(cloud.projects[0].project_id)[0].job_id


async def test_it_reads_when_a_token_ends(cloud: SimulatedCloud) -> None:
    access = await asyncio.to_thread(lambda: login(cloud).get_access(session.Session(timeout=10)))

    assert access.project_name == cloud.projects[0].iam_name
    assert 86_000 < (access.expires - access.issued).total_seconds() <= 86_400


async def test_it_takes_a_wrong_password_for_what_it_is(cloud: SimulatedCloud) -> None:
    with pytest.raises(exceptions.Unauthorized):
        await asyncio.to_thread(login(cloud, password="guessed").get_token, session.Session(timeout=10))


async def test_it_logs_in_again_when_its_token_died(cloud: SimulatedCloud) -> None:
    def read() -> int:
        opened = session.Session(auth=login(cloud), timeout=10)
        opened.get_token()
        cloud.identity.tokens.revoke()
        return int(opened.get(f"{cloud.url}/v3/{opened.get_project_id()}/tasks?limit=1").status_code)

    assert await asyncio.to_thread(read) == 200
    assert cloud.counters.logins_granted == {"taskwatch": 2}


async def test_it_speaks_tls_with_whom_it_trusts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    async with SimulatedCloud(projects=1, accounts=Accounts(), ssl_context=context) as cloud:
        assert cloud.url.startswith("https://")
        verifying = session.Session(verify=str(trusted), timeout=10)
        assert await asyncio.to_thread(login(cloud).get_token, verifying)
        with pytest.raises(exceptions.SSLError):
            await asyncio.to_thread(login(cloud).get_token, session.Session(timeout=10))
