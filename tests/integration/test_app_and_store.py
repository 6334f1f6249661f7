"""What the daemon does with its store over time: forgetting, waiting for it, deliveries nobody makes."""

import asyncio
import io
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
import structlog

from taskwatch import app as composition
from taskwatch import telemetry
from taskwatch.app import build, opened_store, watch
from taskwatch.config.configuration import Config
from taskwatch.config.load import load
from taskwatch.engine.poller import Poller
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.task import COMPLETED, RUNNING
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime import housekeeping
from taskwatch.runtime.daemon import Daemon
from taskwatch.runtime.housekeeping import FIRST_PRUNE_SECONDS, PRUNE_SECONDS, QUEUE_KEPT, Housekeeper
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import T0, a_project, a_task, at, captured_log, everything_to, some_rules
from tests.fakes.commands import until
from tests.fakes.faulty_disk import FaultyDisk, Step, faulty_disk, full
from tests.fakes.jumping_clock import JumpingClock, apscheduler_under
from tests.fakes.records import PROD, StillClock, a_record, an_event, routed
from tests.fakes.scripted_source import ScriptedSource
from tests.fakes.tasks_endpoint import TasksEndpoint
from tests.fakes.webhook_sink import WebhookSink

RETENTION: Final = timedelta(days=90)
LONG: Final = timedelta(days=100)
UNREACHABLE: Final = CloudError(CloudCause.NETWORK, "cannot reach gaussdb.example")
CONFIGURATION: Final = """\
store: {{path: taskwatch.db}}
credentials: {{c: {{type: none}}}}
projects: [{{name: prod, endpoint: "{cloud}", project_id: "1", interval: 100ms}}]
receivers:
{receivers}
"""

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "taskwatch.db"


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Configure the logs; return what reads the lines so far."""
    handlers, level = logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    telemetry.configure(format_="json", level="debug", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level


def named(lines: Lines, event: str) -> list[dict[str, Any]]:
    return [line for line in lines() if line["event"] == event]


# What is forgotten


class House:
    """The parts that decide what is forgotten, upon a clock that can be set."""

    def __init__(self, store: SqliteStore, clock: StillClock) -> None:
        self.clock = clock
        self.source = ScriptedSource()
        log, self.lines = captured_log()
        self.poller = Poller(
            project=a_project(),
            rules=some_rules(),
            source=self.source,
            ledger=store,
            routing=everything_to(),
            clock=clock,
            told=lambda _: None,
        )
        self.watch = Watch(poller=self.poller, credential="c", clock=clock, log=log)
        self.housekeeper = Housekeeper(
            store=store,
            clock=clock,
            log=log,
            watches=lambda: [self.watch],
            receivers=lambda: ["hook"],
            retention=RETENTION.total_seconds(),
        )

    async def lives_through_a_task(self) -> "House":
        """Take the baseline, then see one task begin and end."""
        for rows in ([], [a_task("a", RUNNING)], [a_task("a", COMPLETED, ended_at=at(2))]):
            self.source.then(rows)
            await self.poller.poll()
        return self


@pytest.fixture
async def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def store(path: Path, clock: StillClock) -> AsyncIterator[SqliteStore]:
    store = open_store(path, clock=clock)
    yield store
    await store.close()


def remembered(path: Path) -> tuple[int, int]:
    """Return how many events and how many tasks the store remembers."""
    with StoreReader(path) as reader:
        return len(reader.events()), len(reader.tasks())


ALL: Final = (3, 1)  # the baseline, the beginning, the end; the task


async def test_nothing_is_forgotten_by_a_clock_that_leapt_even_before_the_next_poll(
    store: SqliteStore, clock: StillClock, path: Path
) -> None:
    daemon = await House(store, clock).lives_through_a_task()
    clock.moment += LONG

    assert await daemon.housekeeper.prune() == PRUNE_SECONDS

    assert remembered(path) == ALL
    (line,) = daemon.lines
    assert (line["event"], line["by_seconds"]) == ("prune_skipped", LONG.total_seconds())


async def test_a_clock_that_is_wrong_is_told_once_and_again_when_it_is_wrong_again(
    store: SqliteStore, clock: StillClock
) -> None:
    daemon = await House(store, clock).lives_through_a_task()
    await daemon.housekeeper.stay_fresh()
    assert daemon.lines == []
    for leap in (-600.0, 0.0, 600.0, 600.0):
        clock.moment += timedelta(seconds=leap)
        await daemon.housekeeper.stay_fresh()

    behind, ahead = (
        f"this host's clock is 600 s {side} the cloud's; set it (timedatectl, NTP)"
        for side in ("behind", "ahead of")
    )
    told = [line for line in daemon.lines if line["event"] == "clock_found_wrong"]
    assert [(line["log_level"], line["error"]) for line in told] == [
        ("warning", behind),
        ("debug", behind),
        ("warning", ahead),
    ]


async def test_a_clock_that_was_set_right_again_forgets_as_before(
    store: SqliteStore, clock: StillClock, path: Path
) -> None:
    daemon = await House(store, clock).lives_through_a_task()
    clock.moment += LONG
    await daemon.housekeeper.prune()
    clock.moment -= LONG
    clock.seconds += LONG.total_seconds()  # so much time has really passed

    await daemon.housekeeper.prune()

    assert remembered(path) == (0, 0)


async def test_nothing_is_forgotten_before_any_cloud_has_said_the_time(
    store: SqliteStore, clock: StillClock, path: Path
) -> None:
    await House(store, clock).lives_through_a_task()
    clock.moment += LONG
    restarted = House(store, clock)
    restarted.source.then(UNREACHABLE)
    await restarted.watch.tick()

    assert await restarted.housekeeper.prune() == FIRST_PRUNE_SECONDS

    assert remembered(path) == ALL


async def test_what_is_old_by_clocks_that_agree_is_forgotten(
    store: SqliteStore, clock: StillClock, path: Path
) -> None:
    await House(store, clock).lives_through_a_task()
    clock.moment += LONG
    restarted = House(store, clock)
    restarted.source.cloud_date = T0 + LONG
    restarted.source.then([])
    await restarted.poller.poll()

    assert await restarted.housekeeper.prune() == PRUNE_SECONDS

    assert remembered(path) == (0, 0)


async def test_housekeeping_goes_on_after_the_wall_clock_was_set_back(
    tmp_path: Path, path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for period in ("FRESHNESS_SECONDS", "PRUNE_SECONDS", "FIRST_PRUNE_SECONDS"):
        monkeypatch.setattr(housekeeping, period, 0.1)
    clock = JumpingClock()
    apscheduler_under(clock, monkeypatch)
    async with (
        TasksEndpoint() as cloud,
        opened_app(tmp_path, cloud, {}, clock=clock) as app,
        running(app),
    ):
        await until(lambda: len(named(lines, "pruned")) >= 2, "the first housekeeping")
        clock.offset = -timedelta(minutes=30)
        pruned, kept = len(named(lines, "pruned")), kept_freshness(path)
        await until(lambda: len(named(lines, "pruned")) >= pruned + 3, "further pruning")
        await until(lambda: kept_freshness(path) != kept, "further freshness")


# Deliveries, and who is configured


async def test_pending_deliveries_of_a_receiver_that_is_configured_no_more_are_named_at_the_start(
    tmp_path: Path, path: Path, lines: Lines
) -> None:
    await record_for(path, {"old": 3, "hook": 2})
    async with (
        TasksEndpoint() as cloud,
        WebhookSink() as sink,
        opened_app(tmp_path, cloud, {"hook": sink.url}) as app,
        running(app),
    ):
        await until(lambda: bool(named(lines, "watching")), "the start")

    (line,) = named(lines, "receiver_missing")
    assert (line["level"], line["receiver"], line["pending"]) == ("warning", "old", 3)
    assert "configure a receiver of this name within seven days" in line["remedy"]


async def test_a_receiver_that_is_configured_again_gets_what_waited_for_it(
    tmp_path: Path, path: Path, lines: Lines
) -> None:
    await record_for(path, {"old": 3})
    async with TasksEndpoint() as cloud, WebhookSink() as sink:
        async with opened_app(tmp_path, cloud, {"other": sink.url}) as app, running(app):
            await until(lambda: len(sink.posts) == 1, "the baseline, told to the other one")
        assert [post.event["type"] for post in sink.posts] == ["taskwatch.project.baseline"]
        sink.posts.clear()
        async with opened_app(tmp_path, cloud, {"old": sink.url}) as app, running(app):
            await until(lambda: len(sink.accepted) == 3, "what waited")

    assert len(named(lines, "receiver_missing")) == 1
    assert {post.id for post in sink.accepted} == {"tw_old_0", "tw_old_1", "tw_old_2"}


async def test_what_waits_for_a_removed_receiver_is_put_away_after_seven_days_and_that_is_told(
    store: SqliteStore, clock: StillClock, path: Path
) -> None:
    house = House(store, clock)
    state = await store.enrol(PROD, "elsewhere")
    await store.commit(
        a_record(
            state, events=[routed(an_event("tw_1"), "old"), routed(an_event("tw_2", subject="b"), "hook")]
        )
    )
    house.source.then([])
    await house.poller.poll()
    await house.housekeeper.prune()

    for passed, expected in ((QUEUE_KEPT - timedelta(hours=1), "pending"), (timedelta(hours=2), "dropped")):
        clock.seconds += passed.total_seconds()
        house.source.cloud_date = clock.now()
        house.source.then([])
        await house.poller.poll()
        await house.housekeeper.prune()
        with StoreReader(path) as reader:
            states = {
                row.receiver: (row.state, row.why)
                for row in reader.deliveries()
                if row.event_id in ("tw_1", "tw_2")
            }
        assert states == {
            "old": (expected, "receiver_removed" if expected == "dropped" else None),
            "hook": ("pending", None),
        }

    (dropped,) = [line for line in house.lines if line["event"] == "deliveries_dropped"]
    assert (dropped["receiver"], dropped["deliveries"]) == ("old", 1)


async def test_a_queue_is_not_put_away_because_the_clock_was_wrong_when_the_daemon_began(
    store: SqliteStore, clock: StillClock, path: Path
) -> None:
    clock.moment -= timedelta(days=30)
    house = House(store, clock)
    state = await store.enrol(PROD, "elsewhere")
    await store.commit(a_record(state, events=[routed(an_event("tw_1"), "old")]))
    await house.housekeeper.name_removed()
    house.source.then([])
    await house.poller.poll()
    await house.housekeeper.prune()  # the clouds know better: nothing is noted

    clock.moment += timedelta(days=30)
    house.source.then([])
    await house.poller.poll()
    await house.housekeeper.prune()

    with StoreReader(path) as reader:
        assert {row.state for row in reader.deliveries() if row.receiver == "old"} == {"pending"}


# A store that cannot be opened yet


async def test_a_full_disk_at_the_start_is_waited_for_and_said_once(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composition, "STAND_BY_SECONDS", 0.02)
    async with TasksEndpoint() as cloud:
        config = configured(tmp_path, cloud, {})
        with faulty_disk() as disk:
            refused = fill(disk)
            daemon = asyncio.create_task(watch(config))
            try:
                await until(lambda: refused["write"] >= 3 or daemon.done(), "some tries")
                assert not daemon.done(), "it gave up"
                disk.heal()
                await until(lambda: bool(named(lines, "watching")) or daemon.done(), "the start")
            finally:
                daemon.cancel()
                await asyncio.gather(daemon, return_exceptions=True)

    assert len(named(lines, "watching")) == 1
    (line,) = named(lines, "standing_by")
    assert "full" in line["reason"]


async def test_a_stop_while_it_waits_for_the_disk_ends_it_at_once(tmp_path: Path, lines: Lines) -> None:
    async with TasksEndpoint() as cloud:
        config = configured(tmp_path, cloud, {})
        stop = asyncio.Event()
        with faulty_disk() as disk:
            fill(disk)
            told: list[str] = []
            standing = asyncio.create_task(
                composition._stand_by(config, stop, for_holder=False, told=told.append)
            )
            await until(lambda: bool(named(lines, "standing_by")), "the first try")
            assert told == [line["reason"] for line in named(lines, "standing_by")]
            stop.set()
            async with asyncio.timeout(10):
                assert await standing is None


def fill(disk: FaultyDisk) -> Counter[str]:
    """Let each write fail, as on a full disk; return the count of those that did."""
    refused: Counter[str] = Counter()

    def fault(step: Step, _: int) -> None:
        if step is Step.WRITE:
            refused["write"] += 1
            raise full()

    disk.fault = fault
    return refused


# The scene


def configured(directory: Path, cloud: TasksEndpoint, hooks: dict[str, str]) -> Config:
    """Load a configuration with a webhook of each name at each URL, or with a log if there are none."""
    receivers = [f'  - {{name: {name}, type: webhook, url: "{url}"}}' for name, url in hooks.items()]
    file = directory / "taskwatch.yaml"
    text = "\n".join(receivers or ["  - {name: journal, type: log}"])
    file.write_text(CONFIGURATION.format(cloud=cloud.url, receivers=text))
    return load(file, kinds())


@asynccontextmanager
async def opened_app(
    directory: Path, cloud: TasksEndpoint, hooks: dict[str, str], *, clock: JumpingClock | None = None
) -> AsyncIterator[Daemon]:
    config = configured(directory, cloud, hooks)
    async with opened_store(config) as store, build(config, store=store, clock=clock) as app:
        yield app


@asynccontextmanager
async def running(app: Daemon) -> AsyncIterator[None]:
    stop = asyncio.Event()
    run = asyncio.create_task(app.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(run, 20)


def kept_freshness(path: Path) -> object:
    """Return what the store holds of the last readings, as it stands there."""
    connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute("SELECT observed FROM freshness").get
    finally:
        connection.close()


async def record_for(path: Path, pending: dict[str, int]) -> None:
    """Record events that wait for these receivers, so many each."""
    store = open_store(path, clock=StillClock())
    state = await store.enrol(PROD, "elsewhere")
    events = [
        routed(an_event(f"tw_{receiver}_{number}", subject=f"{receiver} {number}"), receiver)
        for receiver, count in pending.items()
        for number in range(count)
    ]
    await store.commit(a_record(state, events=events))
    await store.close()
