"""The simulated endpoint, held against the documentation by a plain client."""

import json
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from taskwatch.simulator.cloud import DEFAULT_TOKEN
from tests.fakes.simulator_client import BEGAN, SimulatorClient, asking

TOKEN = {"X-Auth-Token": DEFAULT_TOKEN}


class Client(SimulatorClient):
    """Reads the simulated cloud as anybody could."""

    @property
    def path(self) -> str:
        return f"/v3/{self.cloud.projects[0].project_id}/tasks"

    async def get(
        self,
        path: str | None = None,
        *,
        headers: Mapping[str, str] = TOKEN,
        query: Mapping[str, object] | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        url = self.cloud.url + (path or self.path)
        parameters = {key: str(value) for key, value in (query or {}).items()}
        async with self.session.get(url, params=parameters, headers=headers) as response:
            return response.status, json.loads(await response.read()), response.headers

    async def page(self, **query: object) -> dict[str, Any]:
        status, body, _ = await self.get(query=query)
        assert status == 200
        assert set(body) == {"tasks", "total_count"}
        return dict(body)

    async def everything(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while page := (await self.page(offset=len(rows)))["tasks"]:
            rows += page
        return rows


def served(
    *, token: str | None = DEFAULT_TOKEN, speed: float = 1.0, zone: tzinfo = UTC
) -> AbstractAsyncContextManager[Client]:
    return asking(Client, projects=2, speed=speed, token=token, zone=zone)


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


async def test_a_page_holds_a_hundred_tasks_with_the_documented_fields_unless_told_otherwise() -> None:
    async with served() as client:
        page = await client.page()

    assert len(page["tasks"]) == 100
    assert page["total_count"] > 1000
    for row in page["tasks"]:
        assert set(row) == {
            "instance_info", "job_id", "name", "status", "process", "fail_reason", "created_at", "ended_at",
        }  # fmt: skip
        assert set(row["instance_info"]) == {"instance_id", "instance_name", "instance_status"}
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", row["job_id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000", row["created_at"])


async def test_the_pages_together_are_the_life_of_the_project() -> None:
    async with served() as client:
        rows = await client.everything()
        project_id = client.cloud.projects[0].project_id
        alive = client.cloud.tasks(project_id)

    assert [row["job_id"] for row in rows] == [task.job_id for task in alive]
    assert [row["status"] for row in rows] == [task.status for task in alive]
    assert [moment(row["created_at"]) for row in rows] == [task.created_at for task in alive]
    assert [row["fail_reason"] for row in rows] == [task.fail_reason for task in alive]


async def test_offset_counts_records_and_limit_bounds_the_page() -> None:
    async with served() as client:
        whole = await client.page()
        part = await client.page(offset=3, limit=5)
        beyond = await client.page(offset=1_000_000)

    assert part["tasks"] == whole["tasks"][3:8]
    assert part["total_count"] == whole["total_count"] == beyond["total_count"]
    assert beyond["tasks"] == []


async def test_the_filters_for_status_and_name_hold_together() -> None:
    name = "BackupSnapshotGaussDBV5InInstance"
    async with served() as client:
        rows = await client.everything()
        page = await client.page(status="Failed", name=name)

    expected = [row for row in rows if (row["status"], row["name"]) == ("Failed", name)]
    assert expected
    assert page["tasks"] == expected
    assert page["total_count"] == len(expected)


async def test_an_unknown_name_matches_nothing() -> None:
    async with served() as client:
        assert await client.page(name="RebootEverything") == {"tasks": [], "total_count": 0}


async def test_start_and_end_time_filter_on_the_creation_inclusively_one_or_both() -> None:
    async with served() as client:
        rows = await client.everything()
        since, until = moment(rows[50]["created_at"]), moment(rows[10]["created_at"])
        both = await client.page(start_time=milliseconds(since), end_time=milliseconds(until))
        only_start = await client.page(start_time=milliseconds(since))
        only_end = await client.page(end_time=milliseconds(since))

    assert both["tasks"] == [row for row in rows if since <= moment(row["created_at"]) <= until]
    assert only_start["tasks"] == [row for row in rows if moment(row["created_at"]) >= since][:100]
    assert only_end["total_count"] == len([row for row in rows if moment(row["created_at"]) <= since])


async def test_a_start_before_the_last_month_shows_no_more_than_the_last_month() -> None:
    async with served() as client:
        month = await client.page()
        year = await client.page(start_time=milliseconds(BEGAN - timedelta(days=365)))

    assert year == month


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": 101}, {"limit": -1}, {"limit": "ten"}, {"limit": ""}, {"offset": -1}, {"offset": "1.5"},
        {"offset": 2**31}, {"offset": "9" * 5000}, {"start_time": "yesterday"}, {"end_time": "2026-11-23"},
        {"start_time": -1}, {"limit": "\u0661\u0660"}, {"status": "Broken"},
    ],
)  # fmt: skip
async def test_a_parameter_outside_the_documentation_is_a_parameter_error(query: dict[str, object]) -> None:
    async with served() as client:
        status, body, _ = await client.get(query=query)

    assert (status, body) == (400, {"error_code": "DBS.200001", "error_msg": "Parameter error."})


async def test_times_are_told_in_the_zone_of_the_cloud() -> None:
    async with served() as plain, served(zone=timezone(timedelta(hours=8))) as eastern:
        utc = (await plain.page(limit=1))["tasks"][0]["created_at"]
        local = (await eastern.page(limit=1))["tasks"][0]["created_at"]

    assert local.endswith("+0800")
    assert moment(local) == moment(utc)


async def test_without_a_token_the_gateway_refuses_and_names_the_request() -> None:
    async with served() as client:
        status, body, headers = await client.get(headers={})

    assert status == 401
    assert body == {
        "error_msg": "Incorrect IAM authentication information: x-auth-token not found",
        "error_code": "APIGW.0301",
        "request_id": headers["X-Request-Id"],
    }


async def test_a_wrong_token_is_refused_and_not_repeated() -> None:
    async with served() as client:
        status, body, _ = await client.get(headers={"X-Auth-Token": "stolen"})

    assert (status, body["error_code"]) == (401, "APIGW.0301")
    assert "stolen" not in json.dumps(body)


async def test_a_cloud_without_token_lets_everybody_in() -> None:
    async with served(token=None) as client:
        status, _, _ = await client.get(headers={})

    assert status == 200


async def test_an_unknown_project_is_forbidden_as_the_service_says_it() -> None:
    async with served() as client:
        status, body, _ = await client.get(f"/v3/{'0' * 32}/tasks")

    assert (status, body["error_code"]) == (403, "DBS.280015")


@pytest.mark.parametrize("path", ["/", "/v3/tasks", "/v2/x/tasks", "/v3/a/b/tasks", "/_simulator/nothing"])
async def test_another_path_is_no_api(path: str) -> None:
    async with served() as client:
        status, body, _ = await client.get(path)

    assert (status, body["error_code"]) == (404, "APIGW.0101")


async def test_every_answer_has_a_request_id_of_its_own() -> None:
    async with served() as client:
        ids = [(await client.get())[2]["X-Request-Id"] for _ in range(3)]

    assert len(set(ids)) == 3


async def test_the_date_header_tells_simulated_time() -> None:
    async with served(speed=3600) as client:
        client.clock.seconds = 2.0
        _, _, headers = await client.get()

    assert parsedate_to_datetime(headers["Date"]) == BEGAN + timedelta(hours=2)


async def test_an_unchanged_page_is_the_same_and_a_changed_one_is_told_at_once() -> None:
    async with served() as client:
        before = await client.page()
        assert await client.page() == before
        client.cloud.provoke(client.cloud.projects[0].project_id, seconds=10, fail_reason="Because.")
        running = await client.page()
        client.clock.seconds = 10.0
        ended = await client.page()

    assert running["total_count"] == before["total_count"] + 1
    assert running["tasks"][0]["status"] == "Running"
    assert (ended["tasks"][0]["status"], ended["tasks"][0]["fail_reason"]) == ("Failed", "Because.")


async def test_projects_have_lives_and_ids_of_their_own() -> None:
    async with served() as client:
        first, second = client.cloud.projects
        _, other, _ = await client.get(f"/v3/{second.project_id}/tasks")
        own = await client.page()

    assert re.fullmatch(r"[0-9a-f]{32}", first.project_id)
    assert first.name != second.name
    assert other["tasks"] != own["tasks"]
