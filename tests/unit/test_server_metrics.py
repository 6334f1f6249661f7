"""`/metrics` of a daemon as `run` builds it: what is documented is served and nothing else, and it shows no secret."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import apsw
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from taskwatch.app import build, opened_store
from taskwatch.cli.main import COMMANDS
from taskwatch.clock import SystemClock
from taskwatch.config.load import load
from taskwatch.engine.poller import Poller
from taskwatch.engine.tally import Histogram, PollResult, Tally
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError, ConfigError
from taskwatch.model.delivery import Dead, DeliveryId, DeliveryState, Reason
from taskwatch.model.event import EventType
from taskwatch.model.task import COMPLETED
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime import scheduler
from taskwatch.runtime.daemon import Daemon
from taskwatch.runtime.scheduler import Scheduler
from taskwatch.server import metrics
from taskwatch.server.families import families
from taskwatch.server.family import Family
from taskwatch.server.server import Server
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import T0, a_project, a_task, at, everything_to, quiet_log, some_rules
from tests.fakes.commands import ROOT, until
from tests.fakes.iam_server import IamServer, login, refusal
from tests.fakes.memory_store import Call, MemoryStore
from tests.fakes.records import PROD, StillClock, a_record, an_event, routed
from tests.fakes.scripted_source import ScriptedSource
from tests.fakes.tasks_endpoint import TasksEndpoint, row, silence, status
from tests.fakes.virtual_time import VirtualClock, in_virtual_time, virtual_clock
from tests.fakes.webhook_sink import WebhookSink, answer

TABLE_ROW: Final = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \|(?P<labels>[^|]*)\|", re.MULTILINE)
TYPE: Final = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
NAME: Final = re.compile(r"\b(?:taskwatch|process)_[a-z_]+\b(?!\s*\()")
PARTS_OF_HISTOGRAMS: Final = re.compile(r"_(bucket|sum|count)$")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Page:
    """One answer of /metrics."""

    text: str

    @property
    def types(self) -> dict[str, str]:
        return dict(TYPE.findall(self.text))

    @property
    def series(self) -> Series:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.series[f"taskwatch_{name}", frozenset(labels.items())]

    def labelled(self, name: str, label: str) -> set[str]:
        return {dict(labels)[label] for found, labels in self.series if found == f"taskwatch_{name}"}


@dataclass
class Served:
    """A daemon, and the server that shows it."""

    daemon: Daemon
    server: Server
    session: aiohttp.ClientSession

    async def page(self) -> Page:
        async with self.session.get(f"{self.server.url}/metrics") as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return Page(await response.text())

    async def page_where(self, claim: Callable[[Page], bool]) -> Page:
        """Return the first answer of which this holds."""
        async with asyncio.timeout(20):
            while not claim(page := await self.page()):
                await asyncio.sleep(0.02)
        return page


@dataclass
class Place:
    """A directory with a configuration."""

    directory: Path
    cloud: TasksEndpoint
    sink: WebhookSink

    @property
    def store(self) -> Path:
        return self.directory / "taskwatch.db"

    def write(self, **sections: Any) -> None:
        """Write a configuration; these sections replace those of a small one, with None they are left out."""
        project = {"name": "prod", "endpoint": self.cloud.url, "project_id": "1"}
        retry = {"initial": "20ms", "max": "50ms"}
        document = {
            "store": {"path": "taskwatch.db"},
            "server": {"listen": "127.0.0.1:0"},
            "credentials": {"c": {"type": "none", "rate": "1000/s"}},
            "defaults": {"interval": "100ms"},
            "projects": [project],
            "receivers": [{"name": "hook", "type": "webhook", "url": self.sink.url, "retry": retry}],
        } | sections
        written = {name: value for name, value in document.items() if value is not None}
        (self.directory / "taskwatch.yaml").write_text(json.dumps(written), "utf-8")

    @asynccontextmanager
    async def served(self, *, runs: bool = True) -> AsyncIterator[Served]:
        """Serve a daemon until the block ends; one that does not run polls nothing and tells nobody."""
        config = load(self.directory / "taskwatch.yaml", kinds())
        clock, log, stop = SystemClock(), quiet_log(), asyncio.Event()
        server = Server(config.server, clock=clock, log=log)
        async with (
            aiohttp.ClientSession() as session,
            opened_store(config) as store,
            build(config, store=store, server=server) as daemon,
        ):
            serving = asyncio.create_task(server.run())
            if runs:
                working = asyncio.create_task(daemon.run(stop))
            else:
                server.show(daemon)
                working = asyncio.create_task(stop.wait())  # type: ignore[arg-type]  # it is only awaited
            try:
                await until(lambda: None not in (server.url, server._observed), "the server")
                yield Served(daemon, server, session)
            finally:
                stop.set()
                await asyncio.wait_for(working, 20)
                await server.hide()
                serving.cancel()
                await asyncio.wait({serving})


@pytest.fixture
def place(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink) -> Place:
    place = Place(tmp_path, cloud, sink)
    place.write()
    return place


def shown(daemon: Daemon, store: Path) -> list[Family]:
    with StoreReader(store) as reader:
        counts = reader.counts(now=datetime.now(UTC))
    return families(daemon, counts, now=datetime.now(UTC))


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return types and labels by name, as the table has them."""
    rows = list(TABLE_ROW.finditer((ROOT / "docs" / "metrics.md").read_text("utf-8")))
    found = {row["name"]: (row["kind"], tuple(re.findall(r"`(\w+)`", row["labels"]))) for row in rows}
    assert len(found) == len(rows), "a metric stands twice in the table"
    return found


class TestTheTable:
    async def test_has_what_is_served_with_its_type_and_nothing_else(self, place: Place) -> None:
        async with place.served(runs=False) as served:
            types = (await served.page()).types
        assert {name: kind for name, (kind, _) in documented().items()} == types

    async def test_has_the_labels(self, place: Place) -> None:
        async with place.served(runs=False) as served:
            labels = {family.name: family.labels for family in shown(served.daemon, place.store)}
        table = {name: labels for name, (_, labels) in documented().items()}
        assert {name: found for name, found in table.items() if name.startswith("taskwatch_")} == labels

    def test_has_every_result_reason_and_outcome(self) -> None:
        text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
        ends = (DeliveryState.DELIVERED, DeliveryState.DEAD)
        assert [word for word in (*PollResult, *CloudCause, *Reason, *ends) if f"`{word}`" not in text] == []


class TestWhatIsServed:
    async def test_is_what_happened(self, place: Place) -> None:
        async with place.served() as served:
            await served.page_where(
                lambda page: page.value("events_total", type="taskwatch.project.baseline") == 1
            )
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
            place.cloud.rows += [
                row("a", status="Running", created_at=now),
                row("b", status="Failed", created_at=now, ended_at=now),
            ]
            page = await served.page_where(
                lambda page: page.value("deliveries_total", receiver="hook", outcome="delivered") == 3
            )
        assert page.value("watching") == 1
        assert page.value("project_up", project="prod") == 1
        assert page.value("project_running_tasks", project="prod") == 1
        assert page.value("project_configured_interval_seconds", project="prod") == 0.1
        assert page.value("project_interval_seconds", project="prod") >= 0.1
        assert page.value("polls_total", project="prod", result="ok") > 1
        assert page.value("poll_duration_seconds_count") == page.value(
            "polls_total", project="prod", result="ok"
        )
        assert page.value("events_total", type="taskwatch.task.started") == 1
        assert page.value("events_total", type="taskwatch.task.failed") == 1
        assert page.value("detection_lag_seconds_count") == 2
        assert page.value("open_alerts", type="taskwatch.task.failed", severity="critical") == 1
        assert page.value("acknowledged_alerts", type="taskwatch.task.failed", severity="critical") == 0
        assert page.value("receiver_up", receiver="hook") == 1
        assert page.value("queued_deliveries", receiver="hook") == 0
        assert page.value("store_commits_total") > 0
        assert page.value("store_size_bytes", file="database") > 0
        assert page.value("store_writable") == page.value("store_read_success") == 1
        assert page.value("config_last_reload_successful") == 1
        assert page.labelled("project_age_seconds", "project") == {"prod"}
        assert page.labelled("heartbeat_age_seconds", "project") == set()

    async def test_says_of_a_project_that_cannot_be_read_why_and_that_it_is_down(self, place: Place) -> None:
        place.cloud.always = status(503)
        async with place.served() as served:
            page = await served.page_where(
                lambda page: (
                    page.series.get(
                        ("taskwatch_polls_total", frozenset({("project", "prod"), ("result", "cloud")})), 0
                    )
                    > 1
                )
            )
            assert page.value("project_up", project="prod") == 0
            assert page.value("polls_total", project="prod", result="ok") == 0
            later = await served.page_where(
                lambda later: (
                    later.value("project_age_seconds", project="prod")
                    > page.value("project_age_seconds", project="prod")
                )
            )
            place.cloud.always = None
            await served.page_where(
                lambda after: (
                    after.value("project_up", project="prod") == 1
                    and after.value("project_age_seconds", project="prod")
                    < later.value("project_age_seconds", project="prod")
                )
            )

    async def test_has_no_word_on_whether_a_project_is_up_before_its_first_poll_has_ended(
        self, place: Place
    ) -> None:
        place.cloud.always = silence()
        async with place.served() as served:
            page = await served.page_where(lambda _: len(place.cloud.requests) > 0)
        assert page.labelled("project_up", "project") == set()
        assert page.labelled("project_age_seconds", "project") == {"prod"}

    async def test_says_what_a_receiver_refuses_and_how_old_its_queue_is(
        self, place: Place, sink: WebhookSink
    ) -> None:
        sink.choose = lambda: answer(503)
        async with place.served() as served:
            page = await served.page_where(
                lambda page: (
                    page.value("delivery_failures_total", receiver="hook", reason="server_error") > 1
                    and page.value("queue_age_seconds", receiver="hook") > 0
                )
            )
        assert page.value("receiver_up", receiver="hook") == 0
        assert page.value("queued_deliveries", receiver="hook") == 1

    async def test_says_what_is_dead(self, place: Place, sink: WebhookSink) -> None:
        sink.choose = lambda: answer(503)
        retry = {"initial": "20ms", "max": "50ms", "horizon": "100ms"}
        place.write(receivers=[{"name": "hook", "type": "webhook", "url": sink.url, "retry": retry}])
        async with place.served() as served:
            page = await served.page_where(
                lambda page: (
                    page.value("deliveries_total", receiver="hook", outcome="dead") == 1
                    and page.value("dead_deliveries", receiver="hook") == 1
                )
            )
        assert page.value("queued_deliveries", receiver="hook") == 0

    async def test_says_what_waits_for_a_receiver_that_is_configured_no_more(
        self, place: Place, sink: WebhookSink
    ) -> None:
        sink.choose = lambda: answer(503)
        async with place.served() as served:
            await served.page_where(lambda page: page.value("queued_deliveries", receiver="hook") == 1)
            place.write(receivers=[{"name": "log", "type": "log"}])
            await served.daemon.reload()
            page = await served.page_where(lambda page: page.value("unserved_deliveries") == 1)
        assert page.labelled("queued_deliveries", "receiver") == {"log"}

    async def test_says_where_anybody_may_answer(self, place: Place, sink: WebhookSink) -> None:
        trusting = {"tls": {"verify": False}}
        of_cloud = {"endpoint": place.cloud.url, "project_id": "2"}
        place.write(
            projects=[
                {"name": "prod", "endpoint": place.cloud.url, "project_id": "1"},
                {"name": "lab", **of_cloud, **trusting},
            ],
            receivers=[
                {"name": "hook", "type": "webhook", "url": sink.url},
                {"name": "near", "type": "webhook", "url": sink.url, **trusting},
            ],
        )
        async with place.served(runs=False) as served:
            page = await served.page()
        found = {
            (dict(labels)["kind"], dict(labels)["name"])
            for name, labels in page.series
            if name == "taskwatch_tls_verification_off"
        }
        assert found == {("project", "lab"), ("receiver", "near")}

    async def test_says_that_a_reload_was_refused_until_one_is_not(self, place: Place) -> None:
        async with place.served() as served:
            before = await served.page()
            place.write(projects=[])
            with pytest.raises(ConfigError):
                await served.daemon.reload()
            refused = await served.page()
            place.write()
            await served.daemon.reload()
            after = await served.page()
        when = "config_last_reload_success_timestamp_seconds"
        assert [page.value("config_last_reload_successful") for page in (before, refused, after)] == [1, 0, 1]
        assert before.value(when) == refused.value(when) < after.value(when)

    async def test_says_since_when_no_heartbeat_was_taken(self, place: Place) -> None:
        async with TasksEndpoint() as nobody:  # it has no such page, and says so
            place.write(heartbeat={"url": f"{nobody.url}/ping", "every": "1s"})
            async with place.served() as served:
                page = await served.page_where(lambda page: page.value("heartbeat_age_seconds") > 0)
        assert page.value("heartbeat_interval_seconds") == 1

    async def test_is_no_more_than_that_it_waits_while_there_is_no_store(self, place: Place) -> None:
        async with place.served(runs=False) as served:
            await served.server.hide()
            page = await served.page()
        assert page.value("watching") == 0
        assert {name for name in page.types if name.startswith("taskwatch")} == {
            "taskwatch_build_info",
            "taskwatch_watching",
        }

    async def test_is_served_without_what_the_store_does_not_say_in_time(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(metrics, "STORE_SECONDS", 0.05)
        go_on = threading.Event()
        async with place.served() as served:
            whole = await served.page_where(lambda page: page.value("store_read_success") == 1)
            assert served.server._site is not None
            blocked = asyncio.create_task(served.server._site.records.read(lambda _: go_on.wait(20)))
            page = await served.page_where(lambda page: page.value("store_read_success") == 0)
            again = await served.page()
            go_on.set()
            await blocked
            await served.page_where(
                lambda page: page.types == whole.types and page.value("store_read_success") == 1
            )
        missing = whole.types.keys() - page.types.keys()
        assert again.value("store_read_success") == 0
        assert page.labelled("project_age_seconds", "project") == {"prod"}
        assert missing == {
            f"taskwatch_{name}"
            for name in (
                "queued_deliveries", "held_deliveries", "dead_deliveries", "unserved_deliveries", "queue_age_seconds",
                "open_alerts", "acknowledged_alerts", "active_silences", "store_size_bytes",
            )
        }  # fmt: skip


class TestLogins:
    @staticmethod
    def by_password(place: Place, iam: IamServer, *projects: str) -> None:
        who = {"username": "u", "user_domain_name": "OTC00000", "password": "p"}
        place.write(
            credentials={"otc": {"type": "password", "auth_url": iam.auth_url, "rate": "1000/s", **who}},
            projects=[
                {"name": f"of-{id_}", "endpoint": place.cloud.url, "project_id": id_} for id_ in projects
            ],
        )

    async def test_the_first_token_in_use_that_expires_counts_and_none_that_is_not(
        self, place: Place
    ) -> None:
        place.cloud.token = "a-token-of-iam"
        now = datetime.now(UTC)
        async with IamServer() as iam:
            iam.answer = login(issued_at=now.isoformat(), expires_at=(now + timedelta(hours=1)).isoformat())
            self.by_password(place, iam, "1")
            async with place.served() as served:
                short = await served.page_where(
                    lambda page: bool(page.labelled("credential_expiry_seconds", "credential"))
                )
                iam.answer = login(
                    issued_at=now.isoformat(), expires_at=(now + timedelta(hours=9)).isoformat()
                )
                self.by_password(place, iam, "1", "2")
                await served.daemon.reload()
                both = await served.page_where(
                    lambda page: page.labelled("project_up", "project") == {"of-1", "of-2"}
                )
                self.by_password(place, iam, "2")
                await served.daemon.reload()
                other = await served.page_where(
                    lambda page: page.labelled("project_up", "project") == {"of-2"}
                )
        seconds = [page.value("credential_expiry_seconds", credential="otc") for page in (short, both, other)]
        assert 3600 >= seconds[0] >= seconds[1] > 0
        assert 9 * 3600 >= seconds[2] > 3600
        assert other.value("credential_refused", credential="otc") == 0

    async def test_a_refused_login_is_said_until_it_is_accepted(self, place: Place, tmp_path: Path) -> None:
        place.cloud.token = "a-token-of-iam"
        async with IamServer() as iam:
            iam.answer = refusal(401, {"error": {"code": 401, "message": "no"}})
            self.by_password(place, iam, "1")
            async with place.served() as served:
                page = await served.page_where(
                    lambda page: (
                        page.value("credential_refused", credential="otc") == 1
                        and page.value("events_total", type="taskwatch.project.degraded") == 1
                    )
                )
                assert page.labelled("credential_expiry_seconds", "credential") == set()
                iam.answer = login()
                text = (tmp_path / "taskwatch.yaml").read_text("utf-8").replace('"p"', '"another"')
                (tmp_path / "taskwatch.yaml").write_text(text, "utf-8")
                await served.daemon.reload()
                await served.page_where(lambda page: page.value("credential_refused", credential="otc") == 0)

    async def test_a_ready_made_token_that_is_refused_is_said_too(self, place: Place) -> None:
        place.cloud.token = "another"
        place.write(credentials={"made": {"type": "token", "token": "t", "rate": "1000/s"}})
        async with place.served() as served:
            await served.page_where(lambda page: page.value("credential_refused", credential="made") == 1)


class TestTheBounds:
    async def test_a_hundred_thousand_tasks_are_not_one_series_more(self, place: Place) -> None:
        async with place.served(runs=False) as served:
            few = (await served.page()).series
        await asyncio.to_thread(_fill, place.store, 100_000)
        async with place.served(runs=False) as served:
            many = await served.page()
        assert many.series.keys() == few.keys()
        assert many.value("queued_deliveries", receiver="hook") == 50_000
        assert many.value("dead_deliveries", receiver="hook") == 50_000

    async def test_names_may_be_whatever_a_configuration_may_hold(self, place: Place) -> None:
        names = {'"} 1', "back\\slash\\n", "{project=", "Zoë 数据库", "# HELP x", "a'b", "%s"}
        place.write(
            projects=[
                {"name": name, "endpoint": place.cloud.url, "project_id": str(number)}
                for number, name in enumerate(sorted(names))
            ],
            credentials={name: {"type": "none"} for name in names},
            defaults={"credential": "%s"},
            receivers=[{"name": name, "type": "log"} for name in names],
        )
        async with place.served(runs=False) as served:
            page = await served.page()
        assert page.labelled("project_age_seconds", "project") == names
        assert page.labelled("receiver_up", "receiver") == names
        assert {name for name in page.types if name.startswith("taskwatch")} == {
            name for name in documented() if name.startswith("taskwatch")
        }

    async def test_no_secret_and_no_url_is_in_it(self, place: Place, sink: WebhookSink) -> None:
        secrets = {"canary-password", "canary-user", "canary-query", "canary-key", "canary-ping"}
        host = sink.url.removeprefix("http://")
        place.write(
            credentials={
                "otc": {
                    "type": "password", "auth_url": "http://127.0.0.1:9/v3", "username": "canary-user",
                    "user_domain_name": "OTC00000", "password": "canary-password",
                }
            },
            receivers=[
                {
                    "name": "hook", "type": "webhook", "secret": "whsec_" + "Y2FuYXJ5LWtleS1jYW5hcnkta2V5Y2FuYXJ5LWtleS1jYW5hcnkta2V5",
                    "url": f"http://canary-user:canary-password@{host}?key=canary-query",
                    "headers": {"X-Key": "canary-key"},
                }
            ],
            heartbeat={"url": "http://127.0.0.1:9/canary-ping", "every": "1s"},
        )  # fmt: skip
        async with place.served() as served:
            page = await served.page_where(
                lambda page: any(dict(labels).get("result") == "network" for _, labels in page.series)
            )
        assert [
            secret for secret in (*secrets, "Y2FuYXJ5", "http:", "127.0.0.1") if secret in page.text
        ] == []


def test_a_daemon_that_nobody_asks_for_metrics_never_imports_their_library() -> None:
    code = (
        "import sys, taskwatch.app, taskwatch.server.application, taskwatch.server.listener;"
        "print([name for name in sys.modules if name.startswith('prometheus')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.strip() == "[]"


class TestTheTally:
    def test_a_value_counts_for_the_first_bound_that_it_does_not_exceed(self) -> None:
        histogram = Histogram((1.0, 10.0))
        for value in (0.0, 1.0, 1.5, 10.0, 11.0):
            histogram.add(value)
        assert (histogram.counts, histogram.sum) == ([2, 2, 1], 23.5)

    def test_no_two_results_of_polls_have_one_name(self) -> None:
        names = [result.value for result in (*PollResult, *CloudCause)]
        assert len(set(names)) == len(names)

    @in_virtual_time
    async def test_each_poll_counts_by_what_came_of_it(self) -> None:
        bench = _Bench()
        await bench.watch.poll()
        bench.source.complete = False
        await bench.watch.poll()
        bench.source.complete = True
        bench.source.then(CloudError(CloudCause.THROTTLED, "slow down"))
        await bench.watch.poll()
        bench.source.then([a_task("a")])
        bench.store.fail(Call.COMMIT, 1)
        await bench.watch.poll()
        assert dict(bench.tally.polls) == {
            ("prod", PollResult.OK): 1,
            ("prod", PollResult.INCOMPLETE): 1,
            ("prod", CloudCause.THROTTLED): 1,
            ("prod", PollResult.NOT_RECORDED): 1,
        }
        assert bench.watch.result is PollResult.NOT_RECORDED
        assert sum(bench.tally.poll_seconds.counts) == 4

    @in_virtual_time
    async def test_a_list_that_is_not_believed_is_no_success(self) -> None:
        bench = _Bench()
        bench.source.then([a_task(f"job-{number}") for number in range(40)])
        await bench.watch.poll()
        bench.source.then([])
        for _ in range(80):
            await asyncio.sleep(15)
            await bench.watch.poll()
        assert bench.watch.result is PollResult.SHRUNK
        assert bench.tally.polls["prod", PollResult.SHRUNK] > 0

    @in_virtual_time
    async def test_the_lag_of_what_is_detected_is_told_by_the_clouds_clock(self) -> None:
        bench = _Bench()
        await bench.watch.poll()
        await asyncio.sleep(10)
        ahead = timedelta(hours=1)  # the cloud's clock
        bench.source.cloud_date = bench.clock.now() + ahead
        ended = bench.clock.now() + ahead - timedelta(seconds=7)
        bench.source.then([a_task("a", COMPLETED, created_at=ended, ended_at=ended)])
        await bench.watch.poll()
        assert sum(bench.tally.detection_seconds.counts) == 1
        assert bench.tally.detection_seconds.sum == pytest.approx(7)

    @in_virtual_time
    async def test_what_is_read_late_has_no_lag_and_what_is_ahead_has_none_of_its_own(self) -> None:
        bench = _Bench()
        await bench.watch.poll()
        await asyncio.sleep(10)
        future = bench.clock.now() + timedelta(minutes=5)
        bench.source.then([a_task("a", COMPLETED, created_at=future, ended_at=future)])
        await bench.watch.poll()
        assert (sum(bench.tally.detection_seconds.counts), bench.tally.detection_seconds.sum) == (1, 0.0)
        await asyncio.sleep(3600)  # nobody looked
        then = bench.clock.now() - timedelta(minutes=30)
        bench.source.then([a_task("b", COMPLETED, created_at=then, ended_at=then)])
        await bench.watch.poll()
        assert sum(bench.tally.detection_seconds.counts) == 1
        assert bench.tally.events == {
            EventType.PROJECT_BASELINE: 1, EventType.TASK_COMPLETED: 2,
        }  # fmt: skip

    @in_virtual_time
    async def test_the_age_of_a_project_goes_on_from_the_record_and_by_no_wall_clock(self) -> None:
        bench = _Bench()
        await asyncio.sleep(5)
        assert bench.poller.age_seconds == pytest.approx(5)  # it was never read
        await bench.watch.poll()
        await asyncio.sleep(20)
        bench.clock.jump(86_400)
        assert bench.poller.age_seconds == pytest.approx(20)
        bench.clock.jump(-86_400)
        bench.restart()
        bench.source.then(CloudError(CloudCause.NETWORK, "no way"))
        await bench.watch.poll()
        bench.clock.jump(86_400)
        assert bench.poller.age_seconds == pytest.approx(20)
        bench.source.then([])
        await bench.watch.poll()
        assert bench.poller.age_seconds == pytest.approx(0)


class TestWhatTheStoreSays:
    async def test_of_queues_is_by_receiver_and_by_the_first_that_waits(self, tmp_path: Path) -> None:
        store = open_store(tmp_path / "t.db", clock=StillClock(at(30)))
        state = await store.enrol(PROD, "prod")
        events = [
            routed(an_event("tw_a", subject="a", type_=EventType.TASK_FAILED, time=at(1)), "hook", "mail"),
            routed(an_event("tw_b", subject="b", type_=EventType.TASK_FAILED, time=at(2)), "hook"),
            routed(an_event("tw_c", subject="c", time=at(3)), "hook"),
        ]
        await store.commit(a_record(state, events=events, baseline_at=T0))
        first = (await store.pending("hook", after=DeliveryId(0), limit=1))[0].id
        dead = Dead(reason=Reason.REJECTED, detail="400", why="poison", poisoned=9, tried_seconds=3.0)
        await store.record(first, dead, at(5))
        with StoreReader(tmp_path / "t.db") as reader:
            counts = reader.counts(now=at(30))
        await store.close()
        assert counts.queues == {("hook", "pending"): 2, ("mail", "pending"): 1, ("hook", "dead"): 1}
        assert counts.waiting_since == {"hook": at(2), "mail": at(1)}
        assert counts.alerts == {("taskwatch.task.failed", "info"): 2}
        assert counts.acknowledged == {("taskwatch.task.failed", "info"): 0}
        assert (counts.silences, set(counts.sizes)) == (0, {"database", "wal"})

    async def test_of_people_is_by_the_first_message_and_not_by_what_waits_for_its_group(
        self, tmp_path: Path
    ) -> None:
        store = open_store(tmp_path / "t.db", clock=StillClock(at(30)))
        state = await store.enrol(PROD, "prod")
        await store.commit(
            a_record(state, events=[routed(an_event("tw_a", time=at(1)), "mail")], baseline_at=T0)
        )
        await store.close()
        writing = apsw.Connection(str(tmp_path / "t.db"))
        writing.execute("UPDATE deliveries SET group_key = 'g'")
        with StoreReader(tmp_path / "t.db") as reader:
            waiting = reader.counts(now=at(30)).waiting_since
            stored = int((at(9) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
            writing.execute(
                "INSERT INTO messages (event_id, receiver, at, body) VALUES ('tw_m', 'mail', ?, x'00')",
                (stored,),
            )
            told = reader.counts(now=at(30)).waiting_since
        writing.close()
        assert (waiting, told) == ({}, {"mail": at(9)})


async def test_the_lag_of_the_loop_is_the_worst_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaping(SystemClock):
        ahead = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.ahead

    monkeypatch.setattr(scheduler, "GUARD_SECONDS", 0.02)
    monkeypatch.setattr(scheduler, "LAG_SECONDS", 0.2)
    clock = Leaping()
    edge = Scheduler(clock)
    assert edge.lag_seconds == 0
    run = asyncio.create_task(edge.run())
    await until(lambda: edge.looked_at > 0 and len(edge._lags) > 0, "a look")
    clock.ahead = 500.0  # as if the loop had been blocked for so long
    await until(lambda: edge.lag_seconds > 100, "a lag")
    await until(lambda: edge.lag_seconds < 100, "its end")
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


class TestWhatIsShipped:
    def test_rules_and_dashboard_name_only_what_is_served(self) -> None:
        assert {name for expression in (*_rules(), *_dashboard()) for name in _named(expression)} <= set(
            documented()
        )

    def test_the_dashboard_shows_each_metric_of_taskwatch(self) -> None:
        named = {name for expression in _dashboard() for name in _named(expression)}
        assert {name for name in documented() if name.startswith("taskwatch_")} - named == set()

    def test_the_dashboard_is_of_no_instance(self) -> None:
        board = json.loads((ROOT / "config" / "grafana-dashboard.json").read_text("utf-8"))
        panels = board["panels"]
        assert board["schemaVersion"] >= 36
        assert "id" not in board
        assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"${datasource}"}
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert "datasource" in {variable["type"] for variable in board["templating"]["list"]}

    def test_every_rule_says_what_to_do_with_commands_that_there_are(self) -> None:
        text = (ROOT / "config" / "prometheus-rules.yml").read_text("utf-8")
        rules = [rule for part in yaml.safe_load(text)["groups"] for rule in part["rules"]]
        commands = [
            line.split()[1]
            for rule in rules
            for line in re.findall(r"`(taskwatch [^`]+)`", rule["annotations"]["runbook"])
        ]
        assert {name for name in commands if name not in COMMANDS} == set()
        assert all(rule["annotations"].keys() == {"summary", "description", "runbook"} for rule in rules)
        assert all(rule["labels"]["about"] == "taskwatch" for rule in rules)


class _Bench:
    """A poller that can be restarted, in virtual time, and what it counts."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.source = ScriptedSource.of([])
        self.source.cloud_date = None
        self.clock: VirtualClock = virtual_clock()
        self.restart()

    def restart(self) -> None:
        self.tally = Tally()
        self.poller = Poller(
            project=a_project(),
            rules=some_rules(),
            source=self.source,
            ledger=self.store,
            routing=everything_to("hook"),
            clock=self.clock,
            told=lambda _: None,
            tally=self.tally,
        )
        self.watch = Watch(
            poller=self.poller, credential="c", clock=self.clock, log=quiet_log(), tally=self.tally
        )


def _fill(store: Path, tasks: int) -> None:
    """Put tasks of as many names and statuses into the store, each with an event and a delivery."""
    connection = apsw.Connection(str(store))
    numbers = range(tasks)
    with connection:
        connection.execute(
            "INSERT INTO projects (service, host, project_id, name) VALUES ('gaussdb', 'h', 'p', 'prod')"
        )
        key = connection.last_insert_rowid()
        connection.executemany(
            "INSERT INTO tasks (project, job_id, name, status, open, revision, sequence, pending_count, changed_at)"
            " VALUES (?, ?, ?, ?, ?, 1, 1, 0, 1)",
            ((key, f"job-{n}", f"Task{n}", f"Status{n}", n % 2) for n in numbers),
        )
        connection.executemany(
            "INSERT INTO events (seq, id, project, subject, job_id, type, severity, summary, sequence, time, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 's', 1, 1, x'00')",
            (
                (n + 1, f"tw_{n}", key, f"job-{n}", f"job-{n}", f"type.{n % 999}", f"severity-{n % 99}")
                for n in numbers
            ),
        )
        connection.executemany(
            "INSERT INTO deliveries (event, receiver, path, state) VALUES (?, 'hook', 'route', ?)",
            ((n + 1, "pending" if n % 2 else "dead") for n in numbers),
        )
        connection.executemany(
            "INSERT INTO alerts (event, project, job_id) VALUES (?, ?, ?)",
            ((n + 1, key, f"job-{n}") for n in numbers),
        )
    connection.close()


def _rules() -> Iterator[str]:
    text = (ROOT / "config" / "prometheus-rules.yml").read_text("utf-8")
    for part in yaml.safe_load(text)["groups"]:
        for rule in part["rules"]:
            yield rule["expr"]


def _dashboard() -> Iterator[str]:
    board = json.loads((ROOT / "config" / "grafana-dashboard.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def _named(expression: str) -> set[str]:
    """Return the metrics of ours, those of histograms without the endings of their parts."""
    found = set(NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
    return {PARTS_OF_HISTOGRAMS.sub("", name) for name in found}
