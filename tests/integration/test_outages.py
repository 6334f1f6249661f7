"""Projects that cannot be read and receivers that take nothing: what is told, upon a real store, in virtual hours."""

import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema  # type: ignore[import-untyped]  # its stubs are no dependency of ours
import pytest

from taskwatch.config.configuration import Config
from taskwatch.core.matchers import parse_matcher
from taskwatch.core.route import Route, Routing
from taskwatch.engine.lane import Lane, LaneRules
from taskwatch.engine.poller import Poller
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.task import Task
from taskwatch.runtime.health import Health
from taskwatch.store.reader import StoreReader
from taskwatch.store.rows import EventRow
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_project, a_task, everything_to, quiet_log, some_rules
from tests.fakes.faulty_disk import faulty_disk, full
from tests.fakes.records import StillClock
from tests.fakes.scripted_notifier import ScriptedNotifier, fails_while
from tests.fakes.scripted_source import ScriptedSource

SCHEMA = json.loads((Path(__file__).parents[2] / "config" / "event.schema.json").read_text("utf-8"))
INTERVAL = 15.0
RULES = LaneRules(timeout=5.0, initial=5.0, maximum=60.0, horizon=72 * 3600.0)
HOST = "gaussdb.eu-de.otc.t-systems.com"


def error(cause: CloudCause = CloudCause.NETWORK, *, is_told: bool = False) -> CloudError:
    return CloudError(cause, f"{HOST} does not answer", is_told=is_told)


class Run:
    """One run of the daemon, as far as it concerns outages: it polls, delivers and looks, each interval."""

    def __init__(self, scene: "Scene", store: SqliteStore) -> None:
        self.scene = scene
        self.store = store
        self.watches = [self._watch(name, store) for name in scene.sources]
        self.lanes = [self._lane(name, store) for name in scene.receivers]
        self.health = Health(
            store=store,
            clock=scene.clock,
            log=quiet_log(),
            watches=lambda: self.watches,
            lanes=lambda: self.lanes,
            config=scene.config,
            told=lambda: None,
        )

    def _watch(self, name: str, store: SqliteStore) -> Watch:
        poller = Poller(
            project=a_project(name, project_id=f"id-{name}", labels={"team": "db", "of": name}),
            rules=some_rules(active=INTERVAL, idle=INTERVAL),
            source=self.scene.sources[name],
            ledger=store,
            routing=self.scene.routing,
            clock=self.scene.clock,
            told=lambda _: None,
        )
        return Watch(poller=poller, credential="otc", clock=self.scene.clock, log=quiet_log())

    def _lane(self, name: str, store: SqliteStore) -> Lane:
        return Lane(
            receiver=name,
            notifier=self.scene.receivers[name],
            outbox=store,
            rules=RULES,
            clock=self.scene.clock,
            rng=random.Random(1),
            log=quiet_log(),
        )

    async def lives(self, seconds: float) -> None:
        for _ in range(round(seconds / INTERVAL)):
            for watch in self.watches:
                await watch.poll()
            for lane in self.lanes:
                lane.wake()
                await lane.drained(patience=30.0)
            await self.health.look()
            self.scene.clock.seconds += INTERVAL


@dataclass
class Scene:
    """A few projects and receivers that outlive the daemon, as their store does."""

    path: Path
    clock: StillClock = field(default_factory=StillClock)
    sources: dict[str, ScriptedSource] = field(default_factory=dict)
    receivers: dict[str, ScriptedNotifier] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    routing: Routing = field(default_factory=lambda: everything_to("hook"))

    def config(self) -> Config:
        options = [
            SimpleNamespace(name=name, type=self.types.get(name, "webhook")) for name in self.receivers
        ]
        return cast("Config", SimpleNamespace(receivers=options, routing=self.routing))

    def serve(self, answer: Sequence[Task] | CloudError, *names: str) -> None:
        for name in names or self.sources:
            self.sources[name].then(answer)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Run]:
        store = open_store(self.path, clock=self.clock)
        try:
            yield Run(self, store)
        finally:
            await store.close()

    def events(self) -> list[EventRow]:
        """Return what is on record and about no task, without baselines, oldest first."""
        with StoreReader(self.path) as reader:
            rows = reversed(reader.events(limit=-1))
            found = [row for row in rows if row.job_id is None and not row.type.endswith("baseline")]
        for row in found:
            jsonschema.validate(json.loads(row.body), SCHEMA)
        return found

    def told(self) -> list[str]:
        return [f"{row.type.removeprefix('taskwatch.')} {row.severity}" for row in self.events()]

    def data(self, number: int = -1) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.events()[number].body)["data"]
        return data

    def hops(self) -> list[list[str]]:
        with StoreReader(self.path) as reader:
            rows = [(row.event_id, row.receiver) for row in reader.deliveries(limit=-1)]
        return [sorted(name for id_, name in rows if id_ == event.id) for event in self.events()]


Make = Callable[..., Scene]


@pytest.fixture
def scene(tmp_path: Path) -> Make:
    def make(*projects: str, receivers: Sequence[str] = ("hook",)) -> Scene:
        sources = {name: ScriptedSource.of([a_task()]) for name in projects}
        return Scene(
            tmp_path / "taskwatch.db",
            sources=sources,
            receivers={name: ScriptedNotifier() for name in receivers},
        )

    return make


async def test_a_project_that_cannot_be_read_for_five_minutes_is_told_once_and_so_is_its_end(
    scene: Make,
) -> None:
    at = scene("prod")
    async with at.run() as run:
        await run.lives(60)
        at.serve(error())
        await run.lives(300)
        assert at.told() == []
        await run.lives(30)
        assert at.told() == ["project.degraded warning"]
        await run.lives(1200)
        at.serve([a_task()])
        await run.lives(120)
    degraded, recovered = at.events()
    assert at.told() == ["project.degraded warning", "project.recovered info"]
    assert (degraded.project, degraded.subject, degraded.sequence) == ("prod", "id-prod", 2)
    assert degraded.summary == f"prod cannot be read: {HOST} does not answer"
    assert (recovered.subject, recovered.sequence) == ("id-prod", 3)
    assert recovered.summary == "prod can be read again; 1545 seconds were not seen."
    assert at.data()["resolves"] == [degraded.id]
    assert at.data(0)["cause"] == "network"
    assert at.data(0)["project"]["name"] == "prod"
    assert at.hops() == [["hook"], ["hook"]]


async def test_one_cause_for_many_projects_is_one_event_that_names_them(scene: Make) -> None:
    at = scene(*"abcdefgh")
    async with at.run() as run:
        await run.lives(60)
        at.serve(error(), *"abcdefg")
        await run.lives(900)
        at.serve([a_task()])
        await run.lives(60)
    degraded, recovered = at.events()
    assert (degraded.project, degraded.subject) == (None, HOST)
    assert degraded.summary == f"a, b, c, d, e and 2 more cannot be read: {HOST} does not answer"
    assert [project["name"] for project in at.data(0)["projects"]] == list("abcdefg")
    assert at.data(0)["host"] == HOST
    assert (recovered.type, recovered.subject, recovered.sequence) == (
        "taskwatch.project.recovered",
        HOST,
        2,
    )


async def test_what_projects_have_in_common_routes_their_event(scene: Make) -> None:
    at = scene("a", "b", receivers=("hook", "db", "one"))
    rules = [("db", 'label_team = "db"'), ("one", 'label_of = "a"')]
    at.routing = Routing(
        root=Route(
            receivers=("hook",),
            routes=tuple(Route(receivers=(name,), matchers=(parse_matcher(text),)) for name, text in rules),
        )
    )
    async with at.run() as run:
        at.serve(error())
        await run.lives(600)
    assert at.hops() == [["db"]]


async def test_a_refused_login_is_told_at_once_and_critical(scene: Make) -> None:
    at = scene("a", "b")
    async with at.run() as run:
        await run.lives(30)
        at.serve(error(CloudCause.LOGIN, is_told=True))
        await run.lives(15)
        assert at.told() == ["project.degraded critical"]
        await run.lives(7200)
    (event,) = at.events()
    assert event.subject == "otc"
    assert at.data()["login"] == "otc"


async def test_an_outage_of_an_hour_is_told_a_second_time_as_critical(scene: Make) -> None:
    at = scene("prod")
    async with at.run() as run:
        at.serve(error(CloudCause.CLOUD))
        await run.lives(4 * 3600)
        assert at.told() == ["project.degraded warning", "project.degraded critical"]
        at.serve([])
        await run.lives(30)
    assert at.data()["resolves"] == [event.id for event in at.events()[:2]]


async def test_a_project_that_was_never_read_is_told_before_its_baseline(scene: Make) -> None:
    at = scene("prod")
    async with at.run() as run:
        at.serve(error(CloudCause.PERMISSION))
        await run.lives(600)
        at.serve([a_task()])
        await run.lives(60)
    with StoreReader(at.path) as reader:
        sequences = {row.type: row.sequence for row in reader.events(limit=-1)}
    assert sequences == {
        "taskwatch.project.degraded": 1,
        "taskwatch.project.baseline": 2,
        "taskwatch.project.recovered": 3,
    }


async def test_a_restart_tells_nothing_again_and_knows_what_was_told(scene: Make) -> None:
    at = scene("a", "b")
    at.serve(error())
    for _ in range(3):
        async with at.run() as run:
            await run.lives(600)
    assert at.told() == ["project.degraded warning"]
    at.serve([a_task()])
    async with at.run() as run:
        await run.lives(60)
    assert at.told() == ["project.degraded warning", "project.recovered info"]


async def test_trouble_that_comes_and_goes_is_not_told(scene: Make) -> None:
    at = scene("prod")
    async with at.run() as run:
        for _ in range(40):
            at.serve(error())
            await run.lives(240)
            at.serve([a_task()])
            await run.lives(15)
    assert at.told() == []


async def test_a_list_that_shrinks_is_trouble_of_its_project(scene: Make) -> None:
    at = scene("prod")
    at.serve([a_task(f"job-{number}") for number in range(40)])
    async with at.run() as run:
        await run.lives(30)
        at.serve([a_task("job-0")])
        await run.lives(1500)
        assert at.told() == ["project.degraded warning"]
        assert at.data()["cause"] == "shrink"
        await run.lives(3600)
    assert at.told()[-1] == "project.recovered info"


async def test_a_bad_row_that_stays_is_no_outage(scene: Make) -> None:
    at = scene("prod")
    at.sources["prod"].clean = False
    async with at.run() as run:
        await run.lives(7200)
    assert at.told() == []


async def test_after_more_downtime_than_the_list_reaches_back_that_is_stated(scene: Make) -> None:
    at = scene("prod")
    async with at.run() as run:
        await run.lives(60)
        at.serve([a_task("job-2")])
        await run.lives(60)
    for days, number in ((28, 0), (40, 1), (0, 1)):
        at.clock.seconds += timedelta(days=days).total_seconds()
        at.sources["prod"].cloud_date = at.clock.now()
        async with at.run() as run:
            at.serve([a_task(f"job-{days}")])
            await run.lives(60)
        assert len(at.events()) == number
    (event,) = at.events()
    assert event.type == "taskwatch.project.recovered"
    assert at.data()["gap_seconds"] == pytest.approx(timedelta(days=40).total_seconds(), abs=60)


async def test_a_receiver_that_fails_for_a_quarter_of_an_hour_is_told_to_the_others_only(scene: Make) -> None:
    at = scene("prod", receivers=("hook", "chat"))
    at.routing = everything_to("hook", "chat")
    is_down = True
    at.receivers["hook"].conduct = fails_while(lambda: is_down)
    async with at.run() as run:
        await run.lives(900)
        assert at.told() == []
        await run.lives(60)
        assert at.told() == ["receiver.down warning"]
        await run.lives(7200)
        is_down = False
        await run.lives(300)
    down, recovered = at.events()
    assert (down.project, down.subject, down.sequence, recovered.sequence) == (None, "hook", 1, 2)
    assert down.summary == "The receiver hook takes no events: cannot reach host: connection refused"
    assert recovered.summary == "The receiver hook takes events again."
    assert at.hops() == [["chat"], ["chat"]]


async def test_a_receiver_that_is_alone_is_told_to_those_that_log(scene: Make) -> None:
    at = scene("prod", receivers=("hook", "journal"))
    at.types["journal"] = "log"
    at.receivers["hook"].conduct = fails_while(lambda: True)
    async with at.run() as run:
        await run.lives(1200)
    assert at.hops() == [["journal"]]


async def test_a_receiver_that_is_all_there_is_is_on_record_all_the_same(scene: Make) -> None:
    at = scene("prod")
    at.receivers["hook"].conduct = fails_while(lambda: True)
    async with at.run() as run:
        await run.lives(1200)
    assert at.told() == ["receiver.down warning"]
    assert at.hops() == [[]]


async def test_while_the_disk_is_full_nothing_is_told_and_then_it_is_told_once(scene: Make) -> None:
    at = scene("prod")
    with faulty_disk() as disk:
        async with at.run() as run:
            await run.lives(30)
            at.serve(error())
            await run.lives(240)
            disk.fault = _full
            await run.lives(300)
            disk.heal()
            await run.lives(300)
    assert at.told() == ["project.degraded warning"]


def _full(*_: object) -> None:
    raise full()


async def test_an_outage_of_what_is_configured_no_more_ends_in_silence(scene: Make) -> None:
    at = scene("a", "b")
    async with at.run() as run:
        at.serve(error(CloudCause.NOT_FOUND), "a")
        await run.lives(600)
        run.watches = run.watches[1:]
        await run.lives(600)
    assert at.told() == ["project.degraded warning"]
    async with at.run() as run:
        await run.lives(30)
        assert await run.store.outages() == []
