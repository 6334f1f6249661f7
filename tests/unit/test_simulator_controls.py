"""`/_simulator/` for the cloud as a whole, as another process uses it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from taskwatch.simulator.behaviour import Behaviour, ForeignProject, Offset, Order, Total, Window
from taskwatch.simulator.cloud import DEFAULT_TOKEN
from taskwatch.simulator.faults import FaultKind
from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.server import SimulatedCloud


class Client:
    def __init__(self, session: aiohttp.ClientSession, cloud: SimulatedCloud) -> None:
        self.session = session
        self.cloud = cloud

    async def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        asked = None if body is None else json.dumps(body)
        async with self.session.request(method, self.cloud.url + path, data=asked, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())

    async def log_in(self, user: dict[str, Any], password: str | None = None) -> tuple[int, str]:
        """Log in with what `/_simulator/accounts` shows."""
        claimed = {
            "name": user["username"],
            "password": password or user["password"],
            "domain": {"name": user["domain_name"]},
        }
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": claimed}}}}
        async with self.session.post(f"{self.cloud.auth_url}/auth/tokens", json=body) as answer:
            return answer.status, answer.headers.get("X-Subject-Token", "")


@asynccontextmanager
async def served(accounts: Accounts | None = None) -> AsyncIterator[Client]:
    async with (
        SimulatedCloud(seed=7, projects=2, accounts=accounts) as cloud,
        aiohttp.ClientSession(max_field_size=64 * 1024) as session,
    ):
        yield Client(session, cloud)


async def test_behaviour_is_shown_changed_in_part_and_ended() -> None:
    async with served() as client:
        _, usual = await client.ask("GET", "/_simulator/behaviour")
        changes = {"offset": "page1", "order": "job_id", "date_skew_seconds": -60, "retry_after": "soon"}
        status, changed = await client.ask("PATCH", "/_simulator/behaviour", changes)
        _, shown = await client.ask("GET", "/_simulator/behaviour")
        _, ended = await client.ask("DELETE", "/_simulator/behaviour")

    assert status == 200
    assert changed == shown == {"behaviour": usual["behaviour"] | changes}
    assert ended == usual


async def test_each_behaviour_can_be_set_to_what_is_shown() -> None:
    async with served() as client:
        _, usual = await client.ask("GET", "/_simulator/behaviour")
        status, same = await client.ask("PATCH", "/_simulator/behaviour", usual["behaviour"])

    assert (status, same) == (200, usual)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/_simulator/behaviour", {"colour": "red"}),
        ("PATCH", "/_simulator/behaviour", {"offset": "half"}),
        ("PATCH", "/_simulator/behaviour", []),
        ("PATCH", "/_simulator/accounts", {}),
        ("PATCH", "/_simulator/accounts", {"password": ""}),
        ("PATCH", "/_simulator/accounts", {"password": "x", "username": "nobody"}),
        ("POST", "/_simulator/accounts/temporary-keys", {"seconds": 0}),
        ("POST", "/_simulator/accounts/temporary-keys", {"seconds": "long"}),
        ("POST", "/_simulator/faults", {"kind": "429", "retry_after": "two\nlines"}),
        ("POST", "/_simulator/faults", {"kind": "500", "age_seconds": 5}),
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_line(method: str, path: str, body: object) -> None:
    async with served(Accounts()) as client:
        status, answer = await client.ask(method, path, body)

    assert (status, list(answer)) == (400, ["error"])
    assert "\n" not in answer["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_simulator/accounts"),
        ("PATCH", "/_simulator/accounts"),
        ("DELETE", "/_simulator/accounts/tokens"),
        ("POST", "/_simulator/accounts/keys"),
        ("POST", "/_simulator/accounts/temporary-keys"),
    ],
)
async def test_a_cloud_without_accounts_says_so(method: str, path: str) -> None:
    async with served() as client:
        assert await client.ask(method, path, {}) == (400, {"error": "this cloud has no accounts"})


async def test_the_accounts_that_are_shown_open_the_doors() -> None:
    async with served(Accounts()) as client:
        _, accounts = await client.ask("GET", "/_simulator/accounts")
        user, _ = await client.log_in(accounts["user"])
        agent, _ = await client.log_in(accounts["agent"])
        pair = client.cloud.identity.keys.permanent

    assert (user, agent) == (201, 201)
    assert accounts["keys"] == {"access_key": pair.access, "secret_key": pair.secret}
    assert accounts["projects"][0]["name"] == "eu-de_shop-prod"


@pytest.mark.parametrize("who", ["user", "agent"])
async def test_a_rotated_password_ends_the_old_one_and_its_tokens(who: str) -> None:
    async with served(Accounts()) as client:
        _, accounts = await client.ask("GET", "/_simulator/accounts")
        _, token = await client.log_in(accounts[who])
        order = {"password": "another", "username": accounts[who]["username"]}
        status, answer = await client.ask("PATCH", "/_simulator/accounts", order)
        dead, _ = await client.ask("GET", "/v3/auth/projects", headers={"X-Auth-Token": token})
        old, _ = await client.log_in(accounts[who])
        new, _ = await client.log_in(answer["user"])

    assert (status, dead, old, new) == (200, 401, 401, 201)


async def test_all_tokens_can_be_revoked_at_once() -> None:
    async with served(Accounts()) as client:
        _, accounts = await client.ask("GET", "/_simulator/accounts")
        _, token = await client.log_in(accounts["user"])
        await client.log_in(accounts["agent"])
        status, answer = await client.ask("DELETE", "/_simulator/accounts/tokens")
        dead, _ = await client.ask("GET", "/v3/auth/projects", headers={"X-Auth-Token": token})

    assert (status, answer, dead) == (200, {"revoked": 2}, 401)


async def test_keys_can_be_changed_and_lent() -> None:
    async with served(Accounts()) as client:
        _, before = await client.ask("GET", "/_simulator/accounts")
        _, changed = await client.ask("POST", "/_simulator/accounts/keys")
        _, lent = await client.ask("POST", "/_simulator/accounts/temporary-keys", {"seconds": 900})
        _, after = await client.ask("GET", "/_simulator/accounts")

    assert changed["keys"] == after["keys"] != before["keys"]
    assert set(lent["keys"]) == {"access_key", "secret_key", "security_token", "expires_at"}


async def test_counters_tell_logins_requests_and_locks() -> None:
    async with served(Accounts()) as client:
        _, accounts = await client.ask("GET", "/_simulator/accounts")
        await client.log_in(accounts["agent"])
        for _ in range(6):
            await client.log_in(accounts["user"], "guessed")
        path = f"/v3/{client.cloud.projects[0].project_id}/tasks"
        await client.ask("GET", path, headers={"X-Auth-Token": DEFAULT_TOKEN})
        _, counters = await client.ask("GET", "/_simulator/counters")

    assert counters == {
        "requests": {"login": 7, "tasks": 1},
        "logins_granted": {"agent": 1},
        "logins_refused": {"taskwatch": 6},
        "accounts_locked": {"taskwatch": 1},
        "signatures_refused": {},
        "keys_locked": {},
        "throttled": 0,
    }


async def test_stale_lists_and_faults_of_iam_are_ordered_like_other_faults() -> None:
    async with served(Accounts()) as client:
        _, stale = await client.ask(
            "POST", "/_simulator/faults", {"kind": "stale", "age_seconds": 30, "count": 2}
        )
        _, both = await client.ask("POST", "/_simulator/faults", {"kind": "503", "project": "iam"})
        _, accounts = await client.ask("GET", "/_simulator/accounts")
        struck, _ = await client.log_in(accounts["user"])

    assert (stale["faults"][0]["kind"], stale["faults"][0]["age_seconds"]) == ("stale", 30.0)
    assert (both["faults"][1]["project_id"], both["faults"][1]["age_seconds"]) == ("iam", None)
    assert struck == 503


@pytest.mark.parametrize(("asked", "told"), [(17, "17"), ("-5", "-5"), ("nonsense", "nonsense")])
async def test_a_fault_may_tell_any_retry_after(asked: object, told: str) -> None:
    async with served() as client:
        await client.ask("POST", "/_simulator/faults", {"kind": "429", "retry_after": asked})
        url = f"{client.cloud.url}/v3/{client.cloud.projects[0].project_id}/tasks"
        async with client.session.get(url) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, told)


def test_the_guide_names_each_behaviour_each_value_and_each_fault() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
    section = guide.partition("\n## The simulated cloud\n")[2].partition("\n## ")[0]
    names = [field.name for field in fields(Behaviour)]
    values = [
        str(value) for kind in (Offset, Order, Total, Window, ForeignProject, FaultKind) for value in kind
    ]

    assert [name for name in names if f"`{name}`" not in section] == []
    assert [value for value in values if f"`{value}`" not in section and f"**{value}**" not in section] == []
