"""IAM of the simulated cloud, asked by a plain client as the documentation has it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest

from taskwatch.simulator.identity import Identity
from taskwatch.simulator.principals import Accounts, User
from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.simulator_client import SimulatorClient, asking

UNAUTHORIZED = {
    "error": {"code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized"}
}  # fmt: skip
DAY = 86_400.0


class Client(SimulatorClient):
    """Logs in as anybody could."""

    @property
    def identity(self) -> Identity:
        return self.cloud.identity

    async def ask(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        async with self.session.request(
            method, self.cloud.auth_url + path, json=body, headers=headers
        ) as answer:
            told = await answer.json() if answer.content_type == "application/json" else await answer.read()
            return answer.status, told, answer.headers

    async def log_in(
        self, password: str | None = None, *, user: User | None = None, scope: Any = None, query: str = ""
    ) -> tuple[int, Any, Mapping[str, str]]:
        user = user or self.identity.user
        password = password or self.identity.password(user)
        claimed = {"name": user.name, "password": password, "domain": {"name": user.domain.name}}
        return await self.ask("POST", f"/auth/tokens{query}", body=by_password(claimed, scope))

    async def token(self, *, user: User | None = None, scope: Any = None) -> str:
        status, body, headers = await self.log_in(user=user, scope=scope)
        assert status == 201, body
        return headers["X-Subject-Token"]

    async def assume(self, token: str, role: Mapping[str, str], scope: Any = None) -> tuple[int, Any]:
        identity = {"methods": ["assume_role"], "assume_role": role}
        auth: dict[str, Any] = {"identity": identity} | ({"scope": scope} if scope else {})
        status, body, _ = await self.ask(
            "POST", "/auth/tokens", body={"auth": auth}, headers={"X-Auth-Token": token}
        )
        return status, body

    def project(self, number: int = 0) -> dict[str, Any]:
        return {"project": {"name": self.cloud.projects[number].iam_name}}


def by_password(claimed: Mapping[str, Any], scope: Any = None) -> dict[str, Any]:
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": claimed}}}
    return {"auth": auth | ({"scope": scope} if scope else {})}


def served(accounts: Accounts | None = None) -> AbstractAsyncContextManager[Client]:
    return asking(Client, projects=2, accounts=accounts or Accounts())


async def test_a_password_gives_a_token_for_the_project_for_a_day() -> None:
    async with served() as client:
        status, body, headers = await client.log_in(scope=client.project())
        project, identity = client.cloud.projects[0], client.identity

    token = body["token"]
    assert status == 201
    assert headers["X-Subject-Token"].startswith("MII")
    assert (token["issued_at"], token["expires_at"]) == (
        "2026-11-23T13:30:00.000000Z", "2026-11-24T13:30:00.000000Z",
    )  # fmt: skip
    assert token["methods"] == ["password"]
    assert token["user"]["name"] == identity.user.name
    assert token["project"] == {
        "id": project.project_id,
        "name": f"eu-de_{project.name}",
        "domain": {"id": identity.home.id, "name": identity.home.name},
    }
    assert token["roles"]
    assert "domain" not in token


async def test_a_user_and_a_project_can_be_named_by_their_ids() -> None:
    async with served() as client:
        claimed = {"id": client.identity.user.id, "password": client.identity.accounts.password}
        scope = {"project": {"id": client.cloud.projects[1].project_id}}
        status, body, _ = await client.ask("POST", "/auth/tokens", body=by_password(claimed, scope))

    assert (status, body["token"]["project"]["id"]) == (201, scope["project"]["id"])


@pytest.mark.parametrize("scope", [None, {"domain": {"name": "OTC00000000001000000001"}}])
async def test_a_token_for_the_domain_is_for_no_project_and_its_catalogue_has_iam_alone(scope: Any) -> None:
    async with served() as client:
        _, body, _ = await client.log_in(scope=scope)

    assert body["token"]["domain"]["name"] == "OTC00000000001000000001"
    assert "project" not in body["token"]
    assert [entry["type"] for entry in body["token"]["catalog"]] == ["iam"]


async def test_the_catalogue_says_where_the_database_service_is() -> None:
    async with served() as client:
        _, body, headers = await client.log_in(scope=client.project())
        _, alone, _ = await client.ask(
            "GET", "/auth/catalog", headers={"X-Auth-Token": headers["X-Subject-Token"]}
        )
        url = client.cloud.url

    (endpoint,) = next(
        each["endpoints"] for each in body["token"]["catalog"] if each["type"] == "gaussdb-opengauss"
    )
    assert (endpoint["interface"], endpoint["region"], endpoint["url"]) == ("public", "eu-de", url)
    assert alone["catalog"] == body["token"]["catalog"]


async def test_an_url_of_the_catalogue_may_name_the_project() -> None:
    async with served(Accounts(catalogue_names_project=True)) as client:
        _, body, _ = await client.log_in(scope=client.project())
        expected = f"{client.cloud.url}/v3/{client.cloud.projects[0].project_id}"

    assert expected in [
        endpoint["url"] for each in body["token"]["catalog"] for endpoint in each["endpoints"]
    ]


async def test_the_token_that_everybody_may_paste_is_one_of_the_domain_and_finds_the_service() -> None:
    async with served() as client:
        pasted = client.cloud.token
        assert pasted is not None
        shown = {"X-Auth-Token": pasted, "X-Subject-Token": pasted}
        status, itself, _ = await client.ask("GET", "/auth/tokens?nocatalog=1", headers=shown)
        _, listed, _ = await client.ask("GET", "/auth/projects", headers=shown)
        _, catalogue, _ = await client.ask("GET", "/auth/catalog", headers=shown)
        client.identity.tokens.revoke()
        after, _, _ = await client.ask("GET", "/auth/projects", headers=shown)
        projects = [project.project_id for project in client.cloud.projects]

    assert (status, itself["token"]["domain"]["name"]) == (200, "OTC00000000001000000001")
    assert "project" not in itself["token"]
    assert [one["id"] for one in listed["projects"]] == projects
    assert "gaussdb-opengauss" in [entry["type"] for entry in catalogue["catalog"]]
    assert after == 200


async def test_where_no_token_is_printed_none_is_taken_for_it() -> None:
    async with served() as client:
        client.cloud.token = None
        status, body, _ = await client.ask("GET", "/auth/projects")

    assert (status, body) == (401, UNAUTHORIZED)


async def test_the_catalogue_can_be_left_out() -> None:
    async with served() as client:
        _, body, _ = await client.log_in(scope=client.project(), query="?nocatalog=1")

    assert "catalog" not in body["token"]


@pytest.mark.parametrize("length", [9_000, 20_000])
async def test_a_token_is_longer_than_many_libraries_allow_a_header(length: int) -> None:
    async with served(Accounts(token_length=length)) as client:
        token = await client.token(scope=client.project())
        url = f"{client.cloud.url}/v3/{client.cloud.projects[0].project_id}/tasks"
        async with client.session.get(url, headers={"X-Auth-Token": token}) as answer:
            assert (len(token), answer.status) == (length, 200)


async def test_a_wrong_password_and_an_unknown_user_are_refused_alike() -> None:
    async with served() as client:
        wrong, body, _ = await client.log_in("guessed")
        claimed = {"name": "nobody", "password": "guessed", "domain": {"name": client.identity.home.name}}
        unknown, same, _ = await client.ask("POST", "/auth/tokens", body=by_password(claimed))
        counters = client.cloud.counters

    assert (wrong, body) == (unknown, same) == (401, body)
    assert body["error"]["code"] == 401
    assert "guessed" not in str(body)
    assert counters.logins_refused == {"taskwatch": 1, "(unknown)": 1}
    assert not counters.logins_granted


async def test_a_user_is_known_in_its_own_domain_only() -> None:
    async with served() as client:
        claimed = {
            "name": "taskwatch",
            "password": "simulated-password",
            "domain": {"name": client.identity.partner.name},
        }
        status, _, _ = await client.ask("POST", "/auth/tokens", body=by_password(claimed))

    assert status == 401


@pytest.mark.parametrize("scope", [{"project": {"name": "eu-de_nowhere"}}, {"project": {"id": "0" * 32}}, {"domain": {"name": "OTC00000000001000000002"}}])  # fmt: skip
async def test_a_scope_that_is_not_the_users_gives_no_token(scope: Any) -> None:
    async with served() as client:
        status, body, headers = await client.log_in(scope=scope)

    assert (status, body) == (401, UNAUTHORIZED)
    assert "X-Subject-Token" not in headers


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"auth": {}},
        {"auth": {"identity": {"methods": ["totp"]}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "taskwatch"}}}}},
        by_password({"id": 5, "password": "x"}),
    ],
)
async def test_a_body_that_is_no_login_is_a_bad_request(body: Any) -> None:
    async with served() as client:
        status, told, _ = await client.ask("POST", "/auth/tokens", body=body)

    assert (status, told["error"]["title"]) == (400, "Bad Request")


async def test_five_wrong_passwords_lock_the_account_for_a_quarter_of_an_hour() -> None:
    async with served() as client:
        for _ in range(5):
            await client.log_in("guessed")
        locked, body, _ = await client.log_in()
        client.clock.seconds = 899.0
        still, _, _ = await client.log_in()
        client.clock.seconds = 900.0
        opened, _, _ = await client.log_in()

        assert (locked, still, opened) == (401, 401, 201)
        assert "locked" in body["error"]["message"]
        assert client.cloud.counters.accounts_locked == {"taskwatch": 1}


async def test_wrong_passwords_that_are_far_apart_lock_nothing() -> None:
    async with served() as client:
        for number in range(8):
            client.clock.seconds = number * 226.0  # five of them take more than a quarter of an hour
            await client.log_in("guessed")
        status, _, _ = await client.log_in()

    assert status == 201


async def test_a_right_password_forgets_the_wrong_ones() -> None:
    async with served() as client:
        for _ in range(3):
            for _ in range(4):
                await client.log_in("guessed")
            status, _, _ = await client.log_in()
            assert status == 201


async def test_a_changed_password_ends_the_users_tokens_and_leaves_those_of_others() -> None:
    async with served() as client:
        mine, others = await client.token(), await client.token(user=client.identity.agent)
        client.identity.change_password("another")

        assert (await client.ask("GET", "/auth/projects", headers={"X-Auth-Token": mine}))[0] == 401
        assert (await client.ask("GET", "/auth/projects", headers={"X-Auth-Token": others}))[0] == 200
        assert (await client.log_in("simulated-password"))[0] == 401
        assert (await client.log_in("another"))[0] == 201


async def test_a_token_ends_after_its_time() -> None:
    async with served() as client:
        token = await client.token()
        client.clock.seconds = DAY - 1
        alive, _, _ = await client.ask("GET", "/auth/projects", headers={"X-Auth-Token": token})
        client.clock.seconds = DAY
        dead, body, _ = await client.ask("GET", "/auth/projects", headers={"X-Auth-Token": token})

    assert (alive, dead, body) == (200, 401, UNAUTHORIZED)


async def test_a_new_token_leaves_the_old_one_alive() -> None:
    async with served() as client:
        old, new = await client.token(), await client.token()

        assert old != new
        assert (await client.ask("GET", "/auth/projects", headers={"X-Auth-Token": old}))[0] == 200


async def test_a_token_can_be_looked_at_and_revoked() -> None:
    async with served() as client:
        asking, subject = await client.token(), await client.token(scope=client.project())
        headers = {"X-Auth-Token": asking, "X-Subject-Token": subject}
        shown, body, told = await client.ask("GET", "/auth/tokens?nocatalog=1", headers=headers)
        revoked, nothing, _ = await client.ask("DELETE", "/auth/tokens", headers=headers)
        gone, _, _ = await client.ask("GET", "/auth/tokens", headers=headers)
        alive, _, _ = await client.ask("GET", "/auth/projects", headers={"X-Auth-Token": asking})

    assert (shown, told["X-Subject-Token"]) == (200, subject)
    assert body["token"]["project"]["name"].startswith("eu-de_")
    assert (revoked, nothing, gone, alive) == (204, b"", 404, 200)


async def test_projects_are_listed_and_found_by_the_name_iam_has_for_them() -> None:
    async with served() as client:
        headers = {"X-Auth-Token": await client.token()}
        _, every, _ = await client.ask("GET", "/auth/projects", headers=headers)
        name = client.cloud.projects[1].iam_name
        _, one, _ = await client.ask("GET", f"/projects?name={name}", headers=headers)
        _, none, _ = await client.ask("GET", "/projects?name=shop-prod", headers=headers)
        ids = [project.project_id for project in client.cloud.projects]

    assert [project["id"] for project in every["projects"]] == ids
    assert [project["id"] for project in one["projects"]] == ids[1:]
    assert none["projects"] == []


@pytest.mark.parametrize("path", ["/projects", "/auth/projects", "/auth/catalog", "/auth/tokens"])
async def test_nobody_is_told_anything_without_a_token(path: str) -> None:
    async with served() as client:
        assert (await client.ask("GET", path))[:2] == (401, UNAUTHORIZED)
        assert (await client.ask("GET", path, headers={"X-Auth-Token": "MIIguessed"}))[0] == 401


async def test_an_agent_reads_projects_of_another_domain_through_the_agency() -> None:
    async with served() as client:
        agency = client.identity.agency
        agents = await client.token(user=client.identity.agent)
        status, body = await client.assume(
            agents, {"domain_name": agency.domain.name, "agency_name": agency.name}, client.project()
        )
        by_id, _ = await client.assume(
            agents, {"domain_id": agency.domain.id, "xrole_name": agency.name}, client.project()
        )

    assert (status, by_id) == (201, 201)
    assert body["token"]["methods"] == ["assume_role"]
    assert body["token"]["project"]["domain"]["name"] == agency.domain.name
    assert body["token"]["assumed_by"]["user"]["name"] == "agent"


async def test_the_agent_sees_none_of_these_projects_by_itself() -> None:
    async with served() as client:
        token = await client.token(user=client.identity.agent)
        _, body, _ = await client.ask("GET", "/auth/projects", headers={"X-Auth-Token": token})
        status, _, _ = await client.log_in(user=client.identity.agent, scope=client.project())

    assert [project["name"] for project in body["projects"]] == ["eu-de"]
    assert status == 401


async def test_who_is_no_agent_assumes_nothing_and_an_unknown_agency_is_not_found() -> None:
    async with served() as client:
        agency = client.identity.agency
        role = {"domain_name": agency.domain.name, "agency_name": agency.name}
        no_agent, _ = await client.assume(await client.token(), role)
        unknown, _ = await client.assume(
            await client.token(user=client.identity.agent), role | {"agency_name": "nobodys"}
        )
        nobody, _ = await client.assume("MIIguessed", role)

    assert (no_agent, unknown, nobody) == (403, 404, 401)


@pytest.mark.parametrize("path", ["", "/"])
async def test_the_version_is_discovered_without_logging_in(path: str) -> None:
    async with served() as client:
        status, body, _ = await client.ask("GET", path)
        here = client.cloud.auth_url

    assert (status, body["version"]["id"][:2]) == (200, "v3")
    assert body["version"]["links"] == [{"rel": "self", "href": f"{here}/"}]


async def test_a_fault_of_iam_strikes_iam_and_orders_for_all_projects_leave_it_alone() -> None:
    async with served() as client:
        client.cloud.faults.add("503", count=1)
        honest, _, _ = await client.log_in()
        client.cloud.faults.clear()
        client.cloud.faults.add("503", project_id="iam", count=1)
        struck, _, _ = await client.log_in()
        after, _, _ = await client.log_in()

    assert (honest, struck, after) == (201, 503, 201)


async def test_without_accounts_there_is_no_iam() -> None:
    async with (
        SimulatedCloud(projects=1) as cloud,
        aiohttp.ClientSession() as session,
        session.get(cloud.auth_url) as answer,
    ):
        assert answer.status == 404
