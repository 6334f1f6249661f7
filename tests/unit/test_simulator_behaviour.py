"""Where the documentation is silent or not kept to: each way in which the simulated list can behave."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from taskwatch.simulator.catalogue import KINDS, WITH_JOB
from taskwatch.simulator.cloud import Cloud
from taskwatch.simulator.pages import Query
from taskwatch.simulator.work import Task
from tests.fakes.records import StillClock
from tests.fakes.simulator_client import BEGAN, SimulatorClient, asking


class Client(SimulatorClient):
    """Reads the one project of an open cloud."""

    @property
    def project_id(self) -> str:
        return self.cloud.projects[0].project_id

    async def get(self, what: str = "tasks", /, **query: object) -> tuple[int, Any]:
        url = f"{self.cloud.url}/v3/{self.project_id}/{what}"
        parameters = {key: str(value) for key, value in query.items()}
        async with self.session.get(url, params=parameters) as answer:
            return answer.status, json.loads(await answer.read())

    async def ids(self, **query: object) -> list[str]:
        status, page = await self.get(**query)
        assert status == 200, page
        return [row["job_id"] for row in page["tasks"]]

    def truth(self) -> list[Task]:
        return self.cloud.tasks(self.project_id)


@asynccontextmanager
async def served(**behaviour: object) -> AsyncIterator[Client]:
    async with asking(Client, projects=1, token=None) as client:
        client.cloud.behave(**behaviour)
        yield client


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    ("offset", "starts"),
    [
        ("record", {None: 0, 0: 0, 1: 1, 2: 2}),
        ("page0", {None: 0, 0: 0, 1: 10, 2: 20}),
        ("page1", {None: 0, 0: 0, 1: 0, 2: 10}),
    ],
)
async def test_an_offset_counts_records_or_pages(offset: str, starts: dict[int | None, int]) -> None:
    async with served(offset=offset) as client:
        truth = [task.job_id for task in client.truth()]
        for asked, start in starts.items():
            query = {} if asked is None else {"offset": asked}
            assert await client.ids(limit=10, **query) == truth[start : start + 10]


async def test_a_cloud_that_counts_pages_from_one_may_refuse_zero() -> None:
    async with served(offset="page1", refuses_offset_zero=True) as client:
        refused, body = await client.get(offset=0)
        truth = [task.job_id for task in client.truth()]

        assert (refused, body["error_code"]) == (400, "DBS.200001")
        assert await client.ids() == await client.ids(offset=1) == truth[:100]


@pytest.mark.parametrize(
    ("order", "sorted_"),
    [
        ("newest", lambda tasks: tasks),
        ("oldest", lambda tasks: tasks[::-1]),
        ("job_id", lambda tasks: sorted(tasks, key=lambda task: task.job_id)),
    ],
)
async def test_the_list_has_an_order(order: str, sorted_: Callable[[list[Task]], list[Task]]) -> None:
    async with served(order=order) as client:
        expected = [task.job_id for task in sorted_(client.truth())]

        assert await client.ids() == expected[:100]
        assert await client.ids(offset=100) == expected[100:200]


async def test_a_change_of_behaviour_is_seen_at_once() -> None:
    async with served() as client:
        newest = await client.ids(limit=5)
        client.cloud.behave(order="oldest")

        assert await client.ids(limit=5) != newest


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ({"total": "missing"}, lambda _: None),
        ({"total": "text"}, str),
        ({"total": "wrong", "total_error": 7}, lambda number: number + 7),
        ({"total": "wrong", "total_error": -3}, lambda number: number - 3),
        ({"total": "wrong", "total_error": -(10**6)}, lambda _: 0),
    ],
)
async def test_the_total_is_not_to_be_relied_on(
    behaviour: dict[str, object], told: Callable[[int], object]
) -> None:
    async with served(**behaviour) as client:
        _, page = await client.get()

        assert page.get("total_count") == told(len(client.truth()))
        assert len(page["tasks"]) == 100


async def test_the_window_may_filter_on_the_end_and_then_shows_nothing_that_runs() -> None:
    async with served(window="ended") as client:
        client.cloud.provoke(client.project_id, seconds=60)
        since = BEGAN - timedelta(days=1)
        found = await client.ids(start_time=milliseconds(since), end_time=milliseconds(BEGAN))

        assert found == await client.ids(start_time=milliseconds(since))
        assert found == [
            task.job_id for task in client.truth() if task.ended_at and since <= task.ended_at <= BEGAN
        ]


async def test_the_window_may_be_ignored() -> None:
    async with served(window="ignored") as client:
        assert (
            await client.ids(start_time=milliseconds(BEGAN), end_time=milliseconds(BEGAN))
            == await client.ids()
        )


async def test_a_start_without_an_end_may_be_refused() -> None:
    async with served(requires_end_time=True) as client:
        alone, body = await client.get(start_time=milliseconds(BEGAN))
        both, _ = await client.get(start_time=milliseconds(BEGAN), end_time=milliseconds(BEGAN))
        neither, _ = await client.get()

    assert (alone, body["error_code"], both, neither) == (400, "DBS.200001", 200, 200)


async def test_the_header_date_may_lie_and_the_times_of_tasks_do_not() -> None:
    async with served() as client:
        _, honest = await client.get(limit=1)
        client.cloud.behave(date_skew_seconds=-7200)
        _, page = await client.get(limit=1)
        url = f"{client.cloud.url}/v3/{client.project_id}/tasks"
        async with client.session.get(url) as answer:
            assert parsedate_to_datetime(answer.headers["Date"]) == BEGAN - timedelta(hours=2)

    assert page == honest


@pytest.mark.parametrize("order", ["newest", "oldest", "job_id"])
async def test_churn_moves_the_list_between_two_pages(order: str) -> None:
    async with served(order=order, churn_inserts=3, churn_deletes=2) as client:
        before = {task.job_id for task in client.truth()}
        for number in range(1, 5):
            await client.ids(limit=10, offset=10 * number)
            now = {task.job_id for task in client.truth()}
            assert (len(now - before), len(before - now)) == (3, 2)
            before = now
        gone = [deletion.task.status for deletion in client.cloud.deletions(BEGAN)]

    assert len(gone) == 8
    assert "Running" not in gone


def test_churn_deletes_no_record_of_a_task_that_runs() -> None:
    cloud = Cloud(projects=1, tasks_per_day=0, clock=StillClock(BEGAN), began=BEGAN)
    project_id = cloud.projects[0].project_id
    running = {cloud.provoke(project_id, seconds=60).job_id for _ in range(5)}
    cloud.behave(churn_deletes=3)
    cloud.page(project_id, "")

    assert {task.job_id for task in cloud.tasks(project_id)} == running


async def test_a_test_can_move_the_list_before_each_page() -> None:
    async with served() as client:
        asked: list[int | None] = []

        def move(project_id: str, query: Query) -> None:
            asked.append(query.offset)
            client.cloud.provoke(project_id, seconds=60)

        client.cloud.before_page = move
        first = await client.ids(limit=10)
        second = await client.ids(limit=10, offset=10)

    assert asked == [None, 10]
    assert second[0] == first[-1]  # what was inserted moved it to the next page


async def test_a_stale_replica_shows_the_list_as_it_was() -> None:
    async with served() as client:
        task = client.cloud.provoke(client.project_id, seconds=60)
        client.clock.seconds = 90.0
        client.cloud.faults.add("stale", age_seconds=60, count=2)
        earlier = (await client.get(limit=1))[1]["tasks"][0]
        again = (await client.get(limit=1))[1]["tasks"][0]
        now = (await client.get(limit=1))[1]["tasks"][0]

    assert [row["job_id"] for row in (earlier, again, now)] == [task.job_id] * 3
    assert [row["status"] for row in (earlier, again, now)] == ["Running", "Running", "Completed"]


async def test_a_stale_replica_has_not_heard_of_a_deletion_nor_of_a_new_task() -> None:
    async with served() as client:
        deleted = next(task.job_id for task in client.truth() if task.ended_at)
        client.clock.seconds = 100.0
        client.cloud.delete(deleted)
        new = client.cloud.provoke(client.project_id, seconds=60).job_id
        client.cloud.faults.add("stale", age_seconds=50)
        stale = await client.ids()
        honest = await client.ids()

    assert deleted in stale
    assert deleted not in honest
    assert (new in stale, new in honest) == (False, True)


@pytest.mark.parametrize(("kind", "age"), [("stale", 0), ("stale", -5), ("stale", 10**6), ("500", 60)])
async def test_an_age_that_makes_no_sense_is_refused(kind: str, age: float) -> None:
    async with served() as client:
        with pytest.raises(ValueError, match="age_seconds"):
            client.cloud.faults.add(kind, age_seconds=age)


async def test_a_fault_of_any_kind_is_never_a_stale_list_which_nobody_could_tell_from_an_honest_one() -> None:
    async with served() as client:
        client.cloud.faults.add("any", probability=1)

        assert "stale" not in {fault.kind for _ in range(500) if (fault := client.cloud.faults.strike("p"))}


async def test_a_task_is_found_by_its_id_with_the_other_names_of_that_api() -> None:
    async with served() as client:
        task = client.cloud.provoke(
            client.project_id, name="ResizeGaussDBV5Flavor", seconds=60, progress=60, fail_reason="No room."
        )
        _, running = await client.get("jobs", id=task.job_id)
        client.clock.seconds = 60.0
        _, ended = await client.get("jobs", id=task.job_id)

    assert running == {
        "job": {
            "id": task.job_id,
            "name": "ResizeGaussDBV5Flavor",
            "status": "Running",
            "created": "2026-11-23T13:30:00+0000",
            "ended": None,
            "progress": "60%",
            "instance": {"id": task.instance_id, "name": task.instance_name},
            "fail_reason": None,
        }
    }
    assert (ended["job"]["status"], ended["job"]["progress"], ended["job"]["fail_reason"]) == (
        "Failed", "", "No room.",
    )  # fmt: skip
    assert ended["job"]["ended"] == "2026-11-23T13:31:00+0000"


@pytest.mark.parametrize("status", [400, 404])
async def test_a_deleted_an_unknown_and_an_unsupported_task_do_not_exist_there(status: int) -> None:
    unsupported = next(name for name in KINDS if name not in WITH_JOB)
    async with served(unknown_job_status=status) as client:
        deleted = next(task.job_id for task in client.truth() if task.name in WITH_JOB)
        client.cloud.delete(deleted)
        listed = client.cloud.provoke(client.project_id, name=unsupported).job_id
        told = [await client.get("jobs", id=job_id) for job_id in (deleted, "nobody", listed)]

        assert listed in await client.ids()
    assert [(code, body["error_code"]) for code, body in told] == [(status, "DBS.200543")] * 3


async def test_a_job_without_id_or_of_an_unknown_project_is_refused() -> None:
    async with served() as client:
        status, body = await client.get("jobs")
        url = f"{client.cloud.url}/v3/{client.cloud.projects[0].name}/jobs?id=x"
        async with client.session.get(url) as answer:
            unknown = answer.status

    assert (status, body["error_code"], unknown) == (400, "DBS.200001", 403)


async def test_a_fault_strikes_a_job_too() -> None:
    async with served() as client:
        client.cloud.faults.add("503")
        url = f"{client.cloud.url}/v3/{client.project_id}/jobs?id={client.truth()[0].job_id}"
        async with client.session.get(url) as answer:
            assert answer.status == 503


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": "half"},
        {"refuses_offset_zero": True},
        {"refuses_offset_zero": 1, "offset": "page1"},
        {"total_error": 1.5},
        {"unknown_job_status": 418},
        {"date_skew_seconds": "much"},
        {"date_skew_seconds": float("nan")},
        {"churn_inserts": -1},
        {"churn_deletes": True},
        {"throttle_requests": 0},
        {"throttle_seconds": 0},
        {"retry_after": "two\nlines"},
        {"retry_after": ["a"]},
        {"retry_after": 10**5000},
        {"total_error": 10**5000},
        {"colour": "red"},
    ],
)
async def test_a_behaviour_that_makes_no_sense_is_refused_in_one_line(changes: dict[str, object]) -> None:
    async with served() as client:
        before = client.cloud.behaviour
        with pytest.raises(ValueError, match=r"^[^\n]+\Z"):
            client.cloud.behave(**changes)

        assert client.cloud.behaviour is before
