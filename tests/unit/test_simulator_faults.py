"""Each kind of fault, seen on the wire by a plain client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from taskwatch.simulator.cloud import DEFAULT_TOKEN
from taskwatch.simulator.faults import MAX_FAULTS, FaultKind, Faults
from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.records import StillClock
from tests.fakes.simulator_client import BEGAN


@asynccontextmanager
async def served() -> AsyncIterator[tuple[SimulatedCloud, aiohttp.ClientSession]]:
    headers = {"X-Auth-Token": DEFAULT_TOKEN}
    async with (
        SimulatedCloud(seed=7, projects=2, clock=StillClock(BEGAN)) as cloud,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        yield cloud, session


async def read(
    cloud: SimulatedCloud, session: aiohttp.ClientSession, project: int = 0
) -> tuple[int, str, str, bytes]:
    """Return status, content type, Retry-After and body of the first page."""
    url = f"{cloud.url}/v3/{cloud.projects[project].project_id}/tasks"
    async with session.get(url, timeout=aiohttp.ClientTimeout(total=10)) as response:
        headers = response.headers
        return (
            response.status,
            headers.get("Content-Type", ""),
            headers.get("Retry-After", ""),
            await response.read(),
        )


@pytest.mark.parametrize(
    ("kind", "error_code"),
    [
        ("401", "APIGW.0301"),
        ("403", "DBS.200010"),
        ("404", "APIGW.0101"),
        ("429", "APIGW.0308"),
        ("500", "DBS.108000"),
    ],
)
async def test_a_refusal_carries_its_status_and_error_code(kind: str, error_code: str) -> None:
    async with served() as (cloud, session):
        cloud.faults.add(kind)
        status, content_type, retry_after, body = await read(cloud, session)

    assert status == int(kind)
    assert content_type.startswith("application/json")
    assert json.loads(body)["error_code"] == error_code
    assert not retry_after


async def test_a_429_tells_retry_after_when_ordered() -> None:
    async with served() as (cloud, session):
        cloud.faults.add("429", retry_after=17)
        status, _, retry_after, _ = await read(cloud, session)

    assert (status, retry_after) == (429, "17")


@pytest.mark.parametrize(("kind", "status"), [("502", 502), ("503", 503), ("504", 504), ("html-200", 200)])
async def test_a_proxy_answers_in_html(kind: str, status: int) -> None:
    async with served() as (cloud, session):
        cloud.faults.add(kind)
        told, content_type, _, body = await read(cloud, session)

    assert told == status
    assert content_type.startswith("text/html")
    assert body.startswith(b"<html>")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("empty-200", b""),
        ("null-tasks", b'{"tasks":null}'),
        ("object-tasks", b'{"tasks":{},"total_count":0}'),
        ("error-200", b'{"error_code":"DBS.108000","error_msg":"Server failure."}'),
    ],
)
async def test_a_success_of_the_wrong_shape(kind: str, expected: bytes) -> None:
    async with served() as (cloud, session):
        cloud.faults.add(kind)
        status, content_type, _, body = await read(cloud, session)

    assert (status, body) == (200, expected)
    assert content_type.startswith("application/json")


async def test_garbage_is_a_success_that_is_not_json() -> None:
    async with served() as (cloud, session):
        cloud.faults.add("garbage")
        status, _, _, body = await read(cloud, session)

    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


async def test_a_cut_answer_ends_in_the_middle_of_what_was_announced() -> None:
    async with served() as (cloud, session):
        project = cloud.projects[0].project_id
        honest = cloud.page(project, "")
        cloud.faults.add("cut")
        async with session.get(f"{cloud.url}/v3/{project}/tasks") as response:
            announced = response.content_length
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()

    assert honest is not None
    assert announced == len(honest)


async def test_a_reset_connection_gives_no_answer() -> None:
    async with served() as (cloud, session):
        cloud.faults.add("reset", count=2)  # aiohttp tries a second time by itself
        with pytest.raises(aiohttp.ClientOSError):
            await read(cloud, session)


async def test_silence_is_a_connection_without_answer() -> None:
    async with served() as (cloud, _):
        cloud.faults.add("silence")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(cloud.url.rpartition(":")[2]))
        writer.write(f"GET /v3/{cloud.projects[0].project_id}/tasks HTTP/1.1\r\nHost: sim\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.close()


async def test_a_slow_answer_begins_and_does_not_end_soon() -> None:
    async with served() as (cloud, session):
        cloud.faults.add("slow")
        async with session.get(f"{cloud.url}/v3/{cloud.projects[0].project_id}/tasks") as response:
            assert response.status == 200
            assert await response.content.readexactly(8) == b'{"tasks"'
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.read(), 0.2)


@pytest.mark.parametrize("kind", ["silence", "slow"])
async def test_a_dragging_answer_does_not_hold_up_the_end_of_the_cloud(kind: str) -> None:
    cloud = SimulatedCloud(seed=7, projects=1, token=None)
    async with aiohttp.ClientSession() as session:
        async with cloud:
            cloud.faults.add(kind)
            url = f"{cloud.url}/v3/{cloud.projects[0].project_id}/tasks"
            dragging = asyncio.create_task(_swallow(session, url))
            while cloud.faults.in_force():
                await asyncio.sleep(0)
        await asyncio.wait_for(dragging, 5)


async def _swallow(session: aiohttp.ClientSession, url: str) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with session.get(url) as response:
            await response.read()


async def test_after_a_fault_the_cloud_is_honest_again() -> None:
    async with served() as (cloud, session):
        for kind in FaultKind:
            if kind in {FaultKind.SILENCE, FaultKind.SLOW, FaultKind.ANY}:
                continue
            cloud.faults.clear()
            cloud.faults.add(kind)
            cloud.faults.strike(cloud.projects[0].project_id)
            status, _, _, body = await read(cloud, session)
            assert status == 200
            assert len(json.loads(body)["tasks"]) == 100


async def test_a_fault_of_one_project_leaves_the_others_alone() -> None:
    async with served() as (cloud, session):
        cloud.faults.add("500", project_id=cloud.projects[1].project_id, count=5)

        assert (await read(cloud, session, project=0))[0] == 200
        assert (await read(cloud, session, project=1))[0] == 500


async def test_a_fault_strikes_before_the_token_is_looked_at() -> None:
    async with served() as (cloud, session):
        cloud.faults.add("503")
        url = f"{cloud.url}/v3/{cloud.projects[0].project_id}/tasks"
        async with session.get(url, headers={"X-Auth-Token": "wrong"}) as response:
            assert response.status == 503


def orders() -> tuple[Faults, StillClock]:
    clock = StillClock(BEGAN)
    return Faults(clock=clock, seed=1), clock


def test_a_fault_without_bounds_strikes_once() -> None:
    faults, _ = orders()
    faults.add("500")

    assert [bool(faults.strike("p")) for _ in range(3)] == [True, False, False]


def test_a_counted_fault_strikes_so_many_requests() -> None:
    faults, _ = orders()
    faults.add("500", count=2)

    assert [bool(faults.strike("p")) for _ in range(4)] == [True, True, False, False]


def test_a_timed_fault_ends_by_the_clock() -> None:
    faults, clock = orders()
    faults.add("500", seconds=10)
    clock.seconds = 9.9
    assert faults.strike("p")

    clock.seconds = 10.0
    assert faults.strike("p") is None
    assert faults.in_force() == []


def test_a_probable_fault_strikes_its_share_and_the_same_requests_for_the_same_seed() -> None:
    (first, _), (second, _) = orders(), orders()
    for faults in (first, second):
        faults.add("any", probability=0.3)

    struck = [first.strike("p") for _ in range(1000)]
    assert struck == [second.strike("p") for _ in range(1000)]
    assert 200 < sum(fault is not None for fault in struck) < 400
    assert {fault.kind for fault in struck if fault} == set(FaultKind) - {FaultKind.STALE, FaultKind.ANY}


def test_bounds_that_are_given_together_hold_together() -> None:
    faults, clock = orders()
    faults.add("500", count=2, seconds=10)
    assert faults.strike("p")

    clock.seconds = 11
    assert faults.strike("p") is None


def test_the_oldest_fault_strikes_first() -> None:
    faults, _ = orders()
    faults.add("500")
    faults.add("429", retry_after=3)

    struck = [faults.strike("p"), faults.strike("p")]
    assert [(fault.kind, fault.retry_after) for fault in struck if fault] == [("500", None), ("429", 3)]


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        ("418", {}),
        ("500", {"count": 0}),
        ("500", {"seconds": 0}),
        ("500", {"probability": 1.5}),
        ("500", {"probability": 0}),
        ("429", {"retry_after": -1}),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(kind: str, bounds: dict[str, Any]) -> None:
    faults, _ = orders()
    with pytest.raises(ValueError, match="must be"):
        faults.add(kind, **bounds)
    assert faults.in_force() == []


def test_the_number_of_faults_in_force_is_bounded() -> None:
    faults, _ = orders()
    for _ in range(MAX_FAULTS):
        faults.add("500")
    with pytest.raises(ValueError, match="at most"):
        faults.add("500")
