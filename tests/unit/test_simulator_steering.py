"""`/_simulator/`: what users and tests ask of the simulated cloud itself."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest

from taskwatch.simulator.cloud import DEFAULT_TOKEN
from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.simulator_client import BEGAN, SimulatorClient, asking


class Client(SimulatorClient):
    async def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
        async with self.session.request(method, self.cloud.url + path, data=body) as response:
            return response.status, json.loads(await response.read())

    async def statuses(self, project_id: str) -> dict[str, str]:
        """Read a whole list as a poller would: page by page."""
        seen: dict[str, str] = {}
        while True:
            _, page = await self.ask("GET", f"/v3/{project_id}/tasks?offset={len(seen)}")
            if not page["tasks"]:
                return seen
            seen |= {row["job_id"]: row["status"] for row in page["tasks"]}


def served(*, speed: float = 1.0, tasks_per_day: int = 40) -> AbstractAsyncContextManager[Client]:
    headers = {"X-Auth-Token": DEFAULT_TOKEN}
    return asking(Client, headers=headers, projects=2, speed=speed, tasks_per_day=tasks_per_day)


async def test_the_projects_are_listed_by_name_and_id() -> None:
    async with served() as client:
        status, answer = await client.ask("GET", "/_simulator/projects")

        assert status == 200
        assert answer["projects"] == [
            {"name": project.name, "project_id": project.project_id} for project in client.cloud.projects
        ]


async def test_the_truth_is_what_a_dense_poller_was_served() -> None:
    step = 600.0  # coarse enough to be quick; no ordinary task is listed and gone again in between
    async with served(tasks_per_day=12) as client:
        project_id = client.cloud.projects[0].project_id
        known = await client.statuses(project_id)
        noticed: list[tuple[str, str]] = []
        for number in range(1, 150):
            client.clock.seconds = number * step
            now = await client.statuses(project_id)
            noticed += [(job_id, status) for job_id, status in now.items() if known.get(job_id) != status]
            known = now
        _, truth = await client.ask("GET", f"/_simulator/truth?project={project_id}")

    last: dict[str, str] = {}
    for each in truth["transitions"]:
        last[each["job_id"]] = each["to"]
    assert len(last) > 5
    assert {job_id for job_id, _ in noticed} == set(last)
    happened = [(each["job_id"], each["to"]) for each in truth["transitions"]]
    assert set(noticed) <= set(happened)  # nothing was served that did not happen
    assert {pair for pair in happened if pair[1] != "Running"} <= set(noticed)  # and every end was served


async def test_the_truth_can_be_asked_for_since_a_moment() -> None:
    async with served() as client:
        client.clock.seconds = 86_400.0
        _, whole = await client.ask("GET", "/_simulator/truth")
        since = whole["transitions"][10]["at"].replace("+", "%2B")
        _, part = await client.ask("GET", f"/_simulator/truth?since={since}")

    assert part["transitions"] == [
        each for each in whole["transitions"] if each["at"] >= part["transitions"][0]["at"]
    ]
    assert 0 < len(part["transitions"]) < len(whole["transitions"])
    assert {each["project_id"] for each in whole["transitions"]} == {
        project.project_id for project in client.cloud.projects
    }


async def test_a_failure_can_be_provoked_with_one_line_of_curl() -> None:
    async with served() as client:
        status, answer = await client.ask("POST", "/_simulator/tasks", '{"outcome":"Failed","seconds":20}')
        client.clock.seconds = 20.0
        _, page = await client.ask(
            "GET", f"/v3/{client.cloud.projects[0].project_id}/tasks?status=Failed&limit=1"
        )

    assert status == 200
    assert answer["project"] == client.cloud.projects[0].name
    assert page["tasks"][0]["job_id"] == answer["task"]["job_id"]
    assert page["tasks"][0]["fail_reason"]


async def test_a_provoked_task_is_what_was_asked_for_and_becomes_part_of_the_truth() -> None:
    async with served() as client:
        project = client.cloud.projects[1]
        order = {
            "project": project.name, "name": "ResizeGaussDBV5Flavor", "seconds": 5, "fail_reason": "No room.",
            "instance_name": "gauss-mine",
        }  # fmt: skip
        _, answer = await client.ask("POST", "/_simulator/tasks", json.dumps(order))
        client.clock.seconds = 5.0
        _, truth = await client.ask("GET", f"/_simulator/truth?project={project.name}")

    job_id = answer["task"]["job_id"]
    mine = [
        (each["name"], each["instance_name"], each["from"], each["to"], each["fail_reason"])
        for each in truth["transitions"]
        if each["job_id"] == job_id
    ]
    assert mine == [
        ("ResizeGaussDBV5Flavor", "gauss-mine", None, "Running", None),
        ("ResizeGaussDBV5Flavor", "gauss-mine", "Running", "Failed", "No room."),
    ]


async def test_a_task_runs_until_it_is_told_to_end() -> None:
    async with served() as client:
        _, answer = await client.ask("POST", "/_simulator/tasks", '{"outcome":"Running","progress":10}')
        job_id, path = answer["task"]["job_id"], f"/v3/{client.cloud.projects[0].project_id}/tasks?limit=1"
        client.clock.seconds = 3600.0
        _, begun = await client.ask("GET", path)
        await client.ask("PATCH", f"/_simulator/tasks/{job_id}", '{"progress":60}')
        _, going = await client.ask("GET", path)
        status, ended = await client.ask("PATCH", f"/_simulator/tasks/{job_id}", '{"outcome":"Failed"}')
        _, over = await client.ask("GET", f"{path}&status=Failed")

    assert [page["tasks"][0]["process"] for page in (begun, going, over)] == ["10%", "60%", None]
    assert (status, ended["task"]["status"]) == (200, "Failed")
    assert over["tasks"][0]["job_id"] == job_id
    assert over["tasks"][0]["fail_reason"]


async def test_a_record_is_deleted_and_the_truth_says_so_and_keeps_what_happened() -> None:
    async with served() as client:
        _, answer = await client.ask("POST", "/_simulator/tasks", '{"seconds":5}')
        job_id = answer["task"]["job_id"]
        client.clock.seconds = 10.0
        status, answer = await client.ask("DELETE", f"/_simulator/tasks/{job_id}")
        _, truth = await client.ask("GET", "/_simulator/truth")
        rows = await client.statuses(client.cloud.projects[0].project_id)

    assert (status, answer["deleted"]["status"]) == (200, "Completed")
    assert job_id not in rows
    assert [gone["task"]["job_id"] for gone in truth["deleted"]] == [job_id]
    assert [each["to"] for each in truth["transitions"] if each["job_id"] == job_id] == [
        "Running",
        "Completed",
    ]


@pytest.mark.parametrize(
    ("method", "body"), [("DELETE", None), ("PATCH", '{"progress":5}'), ("PATCH", '{"outcome":"Completed"}')]
)
async def test_a_task_that_no_list_shows_cannot_be_steered(method: str, body: str | None) -> None:
    async with served() as client:
        status, answer = await client.ask(method, "/_simulator/tasks/nobody", body)

    assert (status, list(answer)) == (400, ["error"])
    assert "nobody" in answer["error"]


async def test_readings_tell_when_a_list_was_read_from_its_beginning() -> None:
    async with served(speed=60.0) as client:
        project_id = client.cloud.projects[0].project_id
        for elapsed in (1.0, 2.0):
            client.clock.seconds = elapsed
            await client.statuses(project_id)

        assert [(each.at, each.moment) for each in client.cloud.readings(project_id)] == [
            (BEGAN + timedelta(seconds=elapsed), BEGAN + timedelta(minutes=elapsed)) for elapsed in (1.0, 2.0)
        ]
        assert not client.cloud.readings(client.cloud.projects[1].project_id)


async def test_faults_are_ordered_listed_and_ended() -> None:
    async with served() as client:
        name, path = client.cloud.projects[0].name, f"/v3/{client.cloud.projects[0].project_id}/tasks"
        _, ordered = await client.ask(
            "POST", "/_simulator/faults", json.dumps({"kind": "500", "project": name, "count": 9})
        )
        struck, _ = await client.ask("GET", path)
        _, listed = await client.ask("GET", "/_simulator/faults")
        _, ended = await client.ask("DELETE", "/_simulator/faults")
        honest, _ = await client.ask("GET", path)

    assert ordered["faults"][0]["count"] == 9
    assert listed["faults"][0]["count"] == 8
    assert ended == {"faults": []}
    assert (struck, honest) == (500, 200)


async def test_faults_and_token_do_not_apply_to_steering() -> None:
    async with served() as client:
        client.cloud.faults.add("reset", count=100)
        async with client.session.get(
            client.cloud.url + "/_simulator/projects", headers={"X-Auth-Token": ""}
        ) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/_simulator/tasks", "not json"),
        ("/_simulator/tasks", "[]"),
        ("/_simulator/tasks", '{"colour":"red"}'),
        ("/_simulator/tasks", '{"project":"nobody"}'),
        ("/_simulator/tasks", '{"name":"MakeCoffee"}'),
        ("/_simulator/tasks", '{"outcome":"Perhaps"}'),
        ("/_simulator/tasks", '{"outcome":"Completed","fail_reason":"No."}'),
        ("/_simulator/tasks", '{"seconds":0}'),
        ("/_simulator/tasks", '{"seconds":NaN}'),
        ("/_simulator/tasks", '{"seconds":true}'),
        ("/_simulator/tasks", '{"seconds":1' + "0" * 400 + "}"),
        ("/_simulator/tasks", "[" * 20_000),
        ("/_simulator/tasks", '{"instance_name":""}'),
        ("/_simulator/tasks", '{"outcome":"Running","seconds":5}'),
        ("/_simulator/tasks", '{"outcome":"Running","fail_reason":"No."}'),
        ("/_simulator/tasks", '{"progress":101}'),
        ("/_simulator/tasks", '{"progress":"half"}'),
        ("/_simulator/faults", "{}"),
        ("/_simulator/faults", '{"kind":"earthquake"}'),
        ("/_simulator/faults", '{"kind":"500","count":1.5}'),
        ("/_simulator/faults", '{"kind":"500","seconds":Infinity}'),
        ("/_simulator/faults", '{"kind":500}'),
    ],
)
async def test_what_cannot_be_done_is_refused_with_one_line_and_changes_nothing(path: str, body: str) -> None:
    async with served() as client:
        before = client.cloud.tasks(client.cloud.projects[0].project_id)
        status, answer = await client.ask("POST", path, body)

        assert status == 400
        assert list(answer) == ["error"]
        assert "\n" not in answer["error"]
        assert client.cloud.tasks(client.cloud.projects[0].project_id) == before
        assert client.cloud.faults.in_force() == []


@pytest.mark.parametrize("query", ["since=yesterday", "since=2026-11-23T00:00:00", "project=nobody"])
async def test_a_truth_about_nothing_is_refused(query: str) -> None:
    async with served() as client:
        status, _ = await client.ask("GET", f"/_simulator/truth?{query}")

    assert status == 400


async def test_whoever_follows_hears_each_transition_once_in_order() -> None:
    async with served() as client:
        stop = asyncio.Event()
        provoked = client.cloud.provoke(client.cloud.projects[0].project_id, seconds=1)
        following = client.cloud.follow(stop)
        first = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)  # following has begun, at the very moment of the provoked task
        client.clock.seconds = 86_400.0
        heard = [await first]
        stop.set()
        heard += [each async for each in following]

    assert heard == client.cloud.transitions(BEGAN, BEGAN + timedelta(days=1))
    assert [each.after for each in heard if each.job_id == provoked.job_id] == ["Running", "Completed"]


async def test_a_cloud_that_was_left_can_be_reached_no_more_and_its_port_is_free() -> None:
    async with SimulatedCloud(projects=1) as cloud:
        port = int(cloud.url.rpartition(":")[2])
    async with SimulatedCloud(projects=1, listen=("127.0.0.1", port)) as successor:
        assert successor.url.endswith(f":{port}")
    with pytest.raises(RuntimeError):
        _ = successor.url


async def test_a_port_in_use_is_an_error_that_leaves_nothing_open() -> None:
    async with SimulatedCloud(projects=1) as cloud:
        port = int(cloud.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            async with SimulatedCloud(projects=1, listen=("127.0.0.1", port)):
                pass
