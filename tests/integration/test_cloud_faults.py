"""A cloud in trouble, with the real poller, client and store: nothing false, nothing lost, one line in the log."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from taskwatch.clock import SystemClock
from taskwatch.cloud.auth.token import TokenLogin
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.client import TasksClient
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Transport, open_session
from taskwatch.engine.poller import Poller
from taskwatch.engine.watch import Watch
from taskwatch.model.event import Event
from taskwatch.secret import Kept, Secret
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_project, captured_log, everything_to, some_rules
from tests.fakes.oracle import violations
from tests.fakes.tasks_endpoint import (
    Fault,
    Row,
    TasksEndpoint,
    cut,
    cut_unnoticed,
    drip,
    endless,
    gzip_bomb,
    raw,
    reset,
    row,
    silence,
    status,
)

TIMEOUT: Final = 1.0  # of one poll; a busy machine needs some of it for answers that come at once
TOKEN: Final = "token-that-nobody-may-see"


class SkippingClock(SystemClock):
    """The host's clocks; the monotonic one can be put forward, so that no test waits for a pause to end."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped


@dataclass
class Scene:
    """One project, polled for real."""

    cloud: TasksEndpoint
    store: SqliteStore
    path: Path
    clock: SkippingClock
    watch: Watch
    log: list[Any]
    told: list[Event] = field(default_factory=list)

    async def poll(self) -> None:
        await self.watch.tick()

    def rows(self) -> list[tuple[Any, ...]]:
        """Return every row of the store that says anything of projects, tasks and events."""
        connection = apsw.Connection(str(self.path), apsw.SQLITE_OPEN_READONLY)
        try:
            tables = ("projects", "tasks", "events", "deliveries")
            return [found for table in tables for found in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608 - names of this file
        finally:
            connection.close()

    def steps(self) -> list[tuple[str, str, str]]:
        return [
            (event.subject, event.attributes["from"], event.attributes["to"])
            for event in self.told
            if "to" in event.attributes
        ]

    def lines(self, level: str) -> list[str]:
        return [line["event"] for line in self.log if line["log_level"] == level]


@asynccontextmanager
async def a_scene(
    directory: Path, cloud: TasksEndpoint, *, secret: Secret | None = None, seconds: float = TIMEOUT
) -> AsyncIterator[Scene]:
    clock = SkippingClock()
    path = directory / "taskwatch.db"
    log, lines = captured_log()
    session = open_session()
    store = open_store(path, clock=clock)
    told: list[Event] = []
    poller = Poller(
        project=a_project(),
        rules=some_rules(),
        source=TasksClient(
            caller=Caller(
                transport=Transport(session=session),
                endpoint=cloud.url,
                login=TokenLogin(secret or Secret.text(TOKEN)),
                limiter=Limiter(10_000.0, clock, log),
            ),
            endpoint=cloud.url,
            project_id="0611f1bd",
            timeout=seconds,
        ),
        ledger=store,
        routing=everything_to("journal"),
        clock=clock,
        told=told.extend,
    )
    try:
        yield Scene(
            cloud, store, path, clock, Watch(poller=poller, credential="c", clock=clock, log=log), lines, told
        )
    finally:
        await session.close()
        await store.close()


@pytest.fixture
async def cloud() -> AsyncIterator[TasksEndpoint]:
    async with TasksEndpoint(token=TOKEN) as cloud:
        cloud.rows += [row("going", status="Running"), row("done"), row("bad", status="Failed")]
        yield cloud


@pytest.fixture
async def scene(cloud: TasksEndpoint, tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path, cloud) as scene:
        yield scene


FAULTS: Final[dict[str, Fault]] = {
    "401": status(401, {"error_code": "APIGW.0301", "error_msg": "token expires"}),
    "403": status(403, {"error_code": "DBS.200010", "error_msg": "not authorized"}),
    "403 of a token": status(403, {"error_code": "DBS.280056", "error_msg": "Invalid token"}),
    "404": status(404, {"error_code": "APIGW.0101", "error_msg": "The API does not exist"}),
    "500": status(500, {"error_code": "DBS.108000", "error_msg": "Server failure."}),
    "503 as a page": status(503, "<html><h1>503</h1></html>"),
    "200 as a page": status(200, "<html><h1>Welcome</h1></html>"),
    "302": status(302, "", {"Location": "http://127.0.0.1:1/"}),
    "an empty 200": status(200, ""),
    "tasks is null": status(200, {"tasks": None, "total_count": 0}),
    "no tasks": status(200, {"total_count": 0}),
    "an error as 200": status(200, {"error_code": "DBS.1", "error_msg": "try later"}),
    "cut JSON": status(200, '{"tasks": [{"job_id": "going", "status": "Fai'),
    "NaN": status(200, '{"tasks": [], "x": NaN}'),
    "deep": status(200, '{"tasks": ' + "[" * 100_000),
    "cut": cut(at=40),
    "cut, unnoticed": cut_unnoticed(at=40),
    "wrong length": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"tasks": []}'),
    "no HTTP": raw(b"\x15\x03\x01 SSH-2.0\r\n\r\n"),
    "reset": reset(),
    "silence": silence(),
    "a byte at a time": drip(seconds=0.05),
    "a bomb": gzip_bomb(inflated=20_000_000),
    "endless": endless(),
}


THROTTLING: Final[dict[str, Fault]] = {
    "429": status(429, {"error_msg": "policy user over ratelimit"}, {"Retry-After": "1"}),
    "429 with nonsense": status(429, "", {"Retry-After": "tomorrow, maybe"}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_trouble_is_one_warning_touches_nothing_and_hides_nothing(fault: Fault, scene: Scene) -> None:
    await scene.poll()
    before = scene.rows()
    scene.cloud.rows[0] = row("going", status="Failed")  # happens, and cannot be read yet

    scene.cloud.always = fault
    for _ in range(3):
        await scene.poll()
        scene.clock.skipped += 3600.0  # whatever pause the cloud asked for is over

    assert scene.rows() == before
    assert scene.steps() == []
    assert len(scene.lines("warning")) == 1, [line for line in scene.log if "project_unreadable" in str(line)]
    assert len([line for line in scene.lines("debug") if line != "polled"]) == 2, "repeats are for debugging"
    assert TOKEN not in str(scene.log)

    scene.cloud.always = None
    await scene.poll()
    await scene.poll()

    assert scene.steps() == [("going", "Running", "Failed")]
    assert scene.lines("info") == ["project_readable_again"]
    assert len(scene.lines("warning")) == 1


@pytest.mark.parametrize("fault", THROTTLING.values(), ids=THROTTLING.keys())
async def test_throttling_is_one_warning_of_the_credential_and_touches_nothing(
    fault: Fault, scene: Scene
) -> None:
    await scene.poll()
    before = scene.rows()
    scene.cloud.rows[0] = row("going", status="Failed")

    scene.cloud.always = fault
    for _ in range(3):
        await scene.poll()
        scene.clock.skipped += 3600.0

    assert scene.rows() == before
    assert scene.lines("warning") == ["throttled"]
    assert TOKEN not in str(scene.log)

    scene.cloud.always = None
    for _ in range(5):  # the rate grows back, a doubling in five minutes
        await scene.poll()
        scene.clock.skipped += 3600.0

    assert scene.steps() == [("going", "Running", "Failed")]
    assert scene.lines("info") == ["throttled_no_more"]
    assert scene.lines("warning") == ["throttled"]


async def test_another_cause_is_another_warning_and_one_that_was_told_is_not(scene: Scene) -> None:
    await scene.poll()
    for fault in ("500", "500", "403", "403", "500"):
        scene.cloud.always = FAULTS[fault]
        await scene.poll()

    assert [line["cause"] for line in scene.log if line["log_level"] == "warning"] == [
        "cloud",
        "permission",
    ]


async def test_a_body_cut_at_any_byte_says_nothing_false(cloud: TasksEndpoint, tmp_path: Path) -> None:
    async with a_scene(tmp_path, cloud) as scene:
        await scene.poll()
        before = scene.rows()
        size = len(json.dumps({"tasks": cloud.rows, "total_count": len(cloud.rows)}))
        for at in range(0, size, 7):
            cloud.script(cut_unnoticed(at=at))
            await scene.poll()

        assert scene.rows() == before
        assert scene.steps() == []


# More than one page


def many(count: int) -> list[Row]:
    return [row(f"job-{number:03}") for number in range(count)]


async def test_a_first_poll_that_is_not_complete_is_never_a_baseline(
    cloud: TasksEndpoint, tmp_path: Path
) -> None:
    cloud.rows = many(250)
    async with a_scene(tmp_path, cloud, seconds=5.0) as scene:
        for faults in (
            (status(500),),
            (None, status(500)),
            (None, None, reset(), reset()),
            (None, cut(at=100)),
        ):
            cloud.script(*faults)
            await scene.poll()
            assert scene.told == [], faults
            assert not [found for found in scene.rows() if found[1] == "job-000"], (
                "remembered before the baseline"
            )

        await scene.poll()

    assert [event.type for event in scene.told] == ["taskwatch.project.baseline"]
    assert "250 tasks" in scene.told[0].summary


async def test_the_good_rows_of_a_poll_whose_second_page_fails_are_told_once(
    cloud: TasksEndpoint, tmp_path: Path
) -> None:
    cloud.rows = many(250)
    cloud.rows[5] = row("early", status="Running")
    cloud.rows[205] = row("late", status="Running")
    async with a_scene(tmp_path, cloud, seconds=5.0) as scene:
        await scene.poll()
        cloud.rows[5] |= {"status": "Failed"}
        cloud.rows[205] |= {"status": "Failed"}

        cloud.script(None, status(503))
        await scene.poll()
        assert scene.steps() == [("early", "Running", "Failed")]

        await scene.poll()
        await scene.poll()
        assert scene.steps() == [("early", "Running", "Failed"), ("late", "Running", "Failed")]


@pytest.mark.parametrize("seed", range(4))
async def test_rows_in_any_order_repeated_and_moving_between_pages_make_no_false_event(
    seed: int, cloud: TasksEndpoint, tmp_path: Path
) -> None:
    """A list that is served as it likes: 50 rounds of this seed, 200 of all."""
    rng = random.Random(seed)
    cloud.rows = [row(f"old-{number}", status=rng.choice(["Running", "Completed"])) for number in range(130)]
    silent = {one["job_id"]: one["status"] for one in cloud.rows}
    async with a_scene(tmp_path, cloud, seconds=5.0) as scene:
        await scene.poll()
        cloud.shuffle = rng
        cloud.before = lambda _: _move(cloud.rows, rng)
        for number in range(50):
            _happen(cloud.rows, rng, number)
            await scene.poll()
        cloud.shuffle = cloud.before = None
        _without_copies(cloud.rows)
        for _ in range(3):
            await scene.poll()

    found = violations(
        {"journal": [(event.id, event.body) for event in scene.told]},
        last={one["job_id"]: one["status"] for one in cloud.rows},
        served=cloud.served,
        silent=silent,
    )
    assert found == [], f"seed {seed}"
    assert len(scene.steps()) > 20


def _move(rows: list[Row], rng: random.Random) -> None:
    """Repeat a row, or drop a copy: what follows moves by one."""
    if rng.random() < 0.5:
        rows.insert(rng.randrange(len(rows)), dict(rng.choice(rows)))
    else:
        _without_copies(rows)


def _without_copies(rows: list[Row]) -> None:
    furthest: dict[str, Row] = {}
    for one in rows:
        other = furthest.get(one["job_id"])
        if other is None or other["status"] == "Running":
            furthest[one["job_id"]] = one
    rows[:] = furthest.values()


def _happen(rows: list[Row], rng: random.Random, number: int) -> None:
    now = datetime.now(UTC) + timedelta(seconds=1)
    _without_copies(rows)
    rows.insert(
        0,
        row(
            f"new-{number}",
            status=rng.choice(["Running", "Failed"]),
            created_at=f"{now:%FT%T+0000}",
            ended_at=None,
        ),
    )
    going = [one for one in rows if one["status"] == "Running"]
    if going:
        rng.choice(going)["status"] = rng.choice(["Completed", "Failed"])


# Replicas that lag, rows that are bad


@pytest.mark.parametrize("stale", [1, 2])
async def test_a_replica_that_lags_for_less_than_three_polls_says_nothing(stale: int, scene: Scene) -> None:
    await scene.poll()
    scene.cloud.rows[0] = row("going", status="Failed")
    await scene.poll()
    scene.cloud.rows[0] = row("going", status="Running")
    for _ in range(stale):
        await scene.poll()
    scene.cloud.rows[0] = row("going", status="Failed")
    for _ in range(3):
        await scene.poll()

    assert scene.steps() == [("going", "Running", "Failed")]


async def test_an_empty_list_for_a_while_ends_no_task(scene: Scene) -> None:
    await scene.poll()
    rows, scene.cloud.rows = scene.cloud.rows, []
    for _ in range(3):
        await scene.poll()
    scene.cloud.rows = rows
    await scene.poll()

    assert scene.steps() == []


async def test_a_page_that_repeats_for_ever_and_a_wrong_total_end_and_say_nothing_false(
    cloud: TasksEndpoint, tmp_path: Path
) -> None:
    cloud.rows = many(100)
    cloud.listed.total = 1_000_000
    async with a_scene(tmp_path, cloud, seconds=5.0) as scene:
        repeated = status(200, {"tasks": cloud.rows, "total_count": 10_000})
        cloud.always = repeated
        await scene.poll()

        assert len(cloud.requests) < 10
        assert scene.told == []


async def test_a_bad_row_harms_itself_alone(scene: Scene) -> None:
    await scene.poll()
    rows = [
        *(None, 7, {}, {"job_id": "", "status": "Failed"}, {"job_id": "x"}, {"job_id": "y", "status": None}),
        row("going", status="Failed"),
        row("surrogate", status="Running", name="a\ud800b"),
        {"job_id": 42, "status": "Running", "created_at": "2999-01-01T00:00:00+0000"},
    ]
    scene.cloud.always = status(200, {"tasks": rows, "total_count": len(rows)})
    for _ in range(3):
        await scene.poll()

    assert sorted(scene.steps()) == [
        ("42", "", "Running"),
        ("going", "Running", "Failed"),
        ("surrogate", "", "Running"),
    ]
    assert Counter(scene.lines("warning")) == {"rows_quarantined": 1}


# The token


async def test_a_rotated_token_file_ends_a_401_without_a_restart(
    cloud: TasksEndpoint, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with a_scene(tmp_path, cloud, secret=Secret(Kept.FILE, str(file))) as scene:
        await scene.poll()
        cloud.token = "the-next-token"
        cloud.rows[0] = row("going", status="Failed")
        await scene.poll()
        await scene.poll()
        assert (scene.steps(), scene.lines("warning")) == ([], ["project_unreadable"])

        file.write_text("the-next-token\n")
        await scene.poll()

    assert scene.steps() == [("going", "Running", "Failed")]
    assert scene.lines("info") == ["project_readable_again"]


async def test_a_token_that_dies_between_two_pages_is_read_again_there_and_then(
    cloud: TasksEndpoint, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    cloud.rows = many(150)

    def rotate(number: int) -> None:
        if number == 2:
            cloud.token = "the-next-token"
            file.write_text("the-next-token")

    cloud.before = rotate
    async with a_scene(tmp_path, cloud, secret=Secret(Kept.FILE, str(file)), seconds=5.0) as scene:
        await scene.poll()

        assert [event.type for event in scene.told] == ["taskwatch.project.baseline"]
        assert scene.lines("warning") == []


# Other projects


@pytest.mark.parametrize("fault", ["silence", "a byte at a time", "endless", "a bomb"])
async def test_a_project_whose_cloud_hangs_takes_nothing_from_another(fault: str, tmp_path: Path) -> None:
    async with TasksEndpoint(token=TOKEN) as sick, TasksEndpoint(token=TOKEN) as well:
        sick.always = FAULTS[fault]
        well.rows.append(row("going", status="Running"))
        (tmp_path / "sick").mkdir()
        async with a_scene(tmp_path / "sick", sick, seconds=60.0) as one, a_scene(tmp_path, well) as other:
            hanging = asyncio.create_task(one.poll())
            await until(lambda: bool(sick.requests))
            for number in range(5):
                await other.poll()
                assert fault in ("a bomb", "endless") or not hanging.done(), f"round {number}"
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)

    assert [event.type for event in other.told] == ["taskwatch.project.baseline"]
    assert other.lines("warning") == []


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not claim():
            await asyncio.sleep(0.005)


async def test_a_task_that_lived_and_died_while_the_baseline_was_read_is_told(
    tmp_path: Path, cloud: TasksEndpoint
) -> None:
    cloud.rows = [row(f"old-{number:03d}") for number in range(250)]
    meanwhile = row(
        "meanwhile",
        status="Failed",
        created_at="2026-08-06T10:00:01+0000",
        ended_at="2026-08-06T10:00:03+0000",
    )

    def tick(number: int) -> None:
        cloud.date = f"Thu, 06 Aug 2026 10:00:{2 * number - 2:02d} GMT"
        if number == 2:
            cloud.rows.insert(0, meanwhile)  # newest first: on a page that was read already

    cloud.before = tick
    async with a_scene(tmp_path, cloud, seconds=20.0) as scene:
        await scene.poll()
        assert scene.steps() == []
        await scene.poll()
        assert [(subject, to) for subject, _, to in scene.steps()] == [("meanwhile", "Failed")]
