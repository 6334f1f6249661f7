"""Metrics, rules and dashboard against the real Prometheus.

The shipped rules are judged over minutes and hours by `promtool test rules`, as they are. That they are about what a
daemon serves is seen on a Prometheus that reads a real one: there by a copy of them that waits for nothing and has
thresholds of a second, where they have minutes.
"""

import asyncio
import json
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from aiohttp import web

from tests.fakes.commands import ROOT, until
from tests.fakes.daemon import Daemon
from tests.fakes.iam_server import IamServer, login, refusal
from tests.fakes.real_prometheus import PROGRAM, PROMTOOL, RealPrometheus, free_port, promtool
from tests.fakes.tasks_endpoint import TasksEndpoint, row, status
from tests.fakes.webhook_sink import Behaviour, WebhookSink, answer

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        PROGRAM is None or PROMTOOL is None, reason="needs Prometheus: apt install prometheus"
    ),
]

RULES: Final = ROOT / "config" / "prometheus-rules.yml"
DASHBOARD: Final = ROOT / "config" / "grafana-dashboard.json"
SHORTER: Final = {
    "clamp_min(3 * taskwatch_project_interval_seconds, 300)": "clamp_min(3 * taskwatch_project_interval_seconds, 1)",
    "taskwatch_queue_age_seconds > 900": "taskwatch_queue_age_seconds > 1",
    "taskwatch_credential_expiry_seconds < 600": "taskwatch_credential_expiry_seconds < 0.2",
}
LIFE: Final = timedelta(seconds=4)  # of a token: it is renewed a second before its end
PROJECT: Final = '{project="prod"}'
RECEIVER: Final = '{receiver="hook"}'
LOGIN: Final = '{credential="otc"}'


@dataclass(frozen=True, kw_only=True)
class Story:
    """A sample each half minute, from the beginning; and when an alert is silent, and when it fires."""

    alert: str
    series: Mapping[str, str]
    silent: tuple[str, ...] = ()
    fires: tuple[str, ...] = ()


STORIES: Final = (
    Story(
        alert="ProjectStale",
        series={f"project_age_seconds{PROJECT}": "0+30x40", f"project_interval_seconds{PROJECT}": "60x40"},
        silent=("5m",),
        fires=("7m",),
    ),
    Story(
        alert="ProjectStale",  # of long intervals
        series={f"project_age_seconds{PROJECT}": "0+30x80", f"project_interval_seconds{PROJECT}": "600x80"},
        silent=("30m",),
        fires=("33m",),
    ),
    Story(
        alert="ProjectStale",  # until it is read again
        series={
            f"project_age_seconds{PROJECT}": "0+30x20 0x20",
            f"project_interval_seconds{PROJECT}": "60x40",
        },
        fires=("9m",),
        silent=("11m",),
    ),
    Story(alert="ProjectDown", series={f"project_up{PROJECT}": "1x4 0x30"}, silent=("5m",), fires=("8m",)),
    Story(
        alert="DeliveryDead",
        series={'deliveries_total{receiver="hook", outcome="dead"}': "0x10 1x60"},
        silent=("4m", "25m"),
        fires=("6m",),
    ),
    Story(
        alert="DeliveryDead",  # what is delivered is none
        series={'deliveries_total{receiver="hook", outcome="delivered"}': "0+1x20"},
        silent=("5m",),
    ),
    Story(
        alert="QueueAges", series={f"queue_age_seconds{RECEIVER}": "0+30x60"}, silent=("19m",), fires=("21m",)
    ),
    Story(alert="ReceiverFails", series={f"receiver_up{RECEIVER}": "0x60"}, silent=("14m",), fires=("16m",)),
    Story(
        alert="LoginExpires",
        series={f"credential_expiry_seconds{LOGIN}": "1200-30x60"},
        silent=("14m",),
        fires=("16m",),
    ),
    Story(
        alert="LoginExpires",  # renewed a quarter before its end, of half an hour
        series={f"credential_expiry_seconds{LOGIN}": "1800-30x45 1800-30x45"},
        silent=("22m", "23m", "30m"),
    ),
    Story(
        alert="LoginRefused", series={f"credential_refused{LOGIN}": "0x2 1x10"}, silent=("1m",), fires=("3m",)
    ),
    Story(alert="StoreNotWritable", series={"store_writable": "1x2 0x10"}, silent=("1m",), fires=("3m",)),
    Story(alert="StoreNotRead", series={"store_read_success": "0x40"}, silent=("9m",), fires=("11m",)),
    Story(alert="LoopLag", series={"event_loop_lag_seconds": "3x40"}, silent=("4m",), fires=("6m",)),
    Story(
        alert="ReloadRefused",
        series={"config_last_reload_successful": "1x2 0x10"},
        silent=("1m",),
        fires=("3m",),
    ),
    Story(
        alert="HeartbeatMissing",
        series={"heartbeat_age_seconds": "0+30x40", "heartbeat_interval_seconds": "60x40"},
        silent=("3m",),
        fires=("6m",),
    ),
    Story(alert="NotWatching", series={"watching": "0x40"}, silent=("4m",), fires=("6m",)),
    Story(alert="Absent", series={}, silent=("4m",), fires=("6m",)),
)


def rules() -> list[dict[str, Any]]:
    return [rule for part in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in part["rules"]]


def shortened() -> str:
    """Return the shipped rules, waiting for nothing."""
    text = RULES.read_text("utf-8")
    for long, short in SHORTER.items():
        assert text.count(long) == 1
        text = text.replace(long, short)
    return re.sub(r"for: \d+m", "for: 0s", text)


def expressions() -> list[str]:
    """Return what the rules and the dashboard ask, as Grafana would fill it in."""
    board = json.loads(DASHBOARD.read_text("utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    filled = [re.sub(r"\$(?!__)\w+", ".*", text.replace("$__rate_interval", "1m")) for text in asked]
    return [*(rule["expr"] for rule in rules()), *filled]


def written(story: Story) -> dict[str, Any]:
    """Return a story as promtool reads it."""
    others = {'up{job="taskwatch"}': "1x100"} if story.alert != "Absent" else {}
    series = {f"taskwatch_{name}": values for name, values in story.series.items()} | others
    count = f'count(ALERTS{{alertname="Taskwatch{story.alert}", alertstate="firing"}}) or vector(0)'
    moments = [*((moment, 0) for moment in story.silent), *((moment, 1) for moment in story.fires)]
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": count, "eval_time": moment, "exp_samples": [{"labels": "{}", "value": value}]}
            for moment, value in moments
        ],
    }


def test_rules_and_configuration_are_what_promtool_accepts() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(ROOT / "config" / "prometheus.yml"))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.alert)
def test_an_alert_fires_when_it_should_and_not_before(story: Story, tmp_path: Path) -> None:
    document = {"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": [written(story)]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "test.yml"))


def test_there_is_a_story_of_each_alert() -> None:
    assert {f"Taskwatch{story.alert}" for story in STORIES if story.fires} == {
        rule["alert"] for rule in rules()
    }


@dataclass
class Night:
    """A daemon with three projects and three receivers, all of which can go wrong, each in its own way."""

    directory: Path
    healthy: TasksEndpoint
    unreadable: TasksEndpoint
    locked: TasksEndpoint
    iam: IamServer
    sink: WebhookSink
    port: int
    is_wrong: bool = False

    @property
    def file(self) -> Path:
        return self.directory / "taskwatch.yaml"

    def write(self) -> None:
        retry = {"initial": "50ms", "max": "100ms"}
        hooks = {"well": {}, "slow": {}, "deaf": {"horizon": "200ms"}}
        (self.directory / "server.token").write_text("token-of-the-server")
        (self.directory / "server.token").chmod(0o600)
        document = {
            "store": {"path": "taskwatch.db"},
            "log": {"format": "json"},
            "server": {"listen": f"127.0.0.1:{self.port}", "token": {"file": "server.token"}},
            "credentials": {
                "none": {"type": "none", "rate": "1000/s"},
                "otc": {
                    "type": "password", "auth_url": self.iam.auth_url, "username": "u",
                    "user_domain_name": "OTC00000", "password": "p", "rate": "1000/s",
                },
            },
            "defaults": {"interval": "100ms", "credential": "none"},
            "projects": [
                {"name": "healthy", "endpoint": self.healthy.url, "project_id": "1"},
                {"name": "unreadable", "endpoint": self.unreadable.url, "project_id": "2"},
                {"name": "locked", "endpoint": self.locked.url, "project_id": "3", "credential": "otc"},
            ],
            "receivers": [
                {"name": name, "type": "webhook", "url": f"{self.sink.url}/{name}", "retry": {**retry, **own}}
                for name, own in hooks.items()
            ],
        }  # fmt: skip
        self.file.write_text(json.dumps(document))

    def of(self, request: web.Request) -> Behaviour | None:
        return answer(503) if self.is_wrong and not request.path.endswith("/well") else None

    def go_wrong(self) -> None:
        self.is_wrong = True
        self.unreadable.always = status(503)
        now = datetime.now(UTC)
        self.iam.answer = refusal(401, {"error": {"code": 401, "message": "no"}})
        self.locked.token = "another"
        self.healthy.rows.append(
            row("a", status="Running", created_at=now.strftime("%Y-%m-%dT%H:%M:%S+0000"))
        )

    def be_right_again(self) -> None:
        self.is_wrong = False
        self.unreadable.always = None

    async def page(self) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/metrics", headers={"Authorization": "Bearer token-of-the-server"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return await asyncio.to_thread(lambda: opener.open(request, timeout=10).read().decode())


async def short_lived(request: web.Request) -> web.StreamResponse:
    now = datetime.now(UTC)
    return await login(issued_at=now.isoformat(), expires_at=(now + LIFE).isoformat())(request)


async def test_the_rules_fire_for_what_goes_wrong_in_a_real_daemon_and_end_with_it(tmp_path: Path) -> None:
    async with (
        TasksEndpoint() as healthy,
        TasksEndpoint() as unreadable,
        TasksEndpoint(token="a-token-of-iam") as locked,
        IamServer() as iam,
        WebhookSink() as sink,
    ):
        iam.answer = short_lived
        night = Night(tmp_path, healthy, unreadable, locked, iam, sink, free_port())
        night.write()
        sink.choose_for = night.of
        async with (
            Daemon(night.file, tmp_path / "log") as daemon,
            RealPrometheus(
                tmp_path / "prometheus",
                target=f"127.0.0.1:{night.port}",
                rules=shortened(),
                token=tmp_path / "server.token",
            ) as prometheus,
        ):
            read = "taskwatch_events_total{type='taskwatch.project.baseline'} == 3"
            await _holds(prometheus, read, daemon)
            await _holds(prometheus, "taskwatch_deliveries_total{outcome='dead'} == 0", daemon)
            await until(lambda: len(iam.asked) > 2, "two renewed tokens", said=daemon.said)
            assert await _firing(prometheus) == set()
            night.go_wrong()
            wrong = {
                ("TaskwatchProjectStale", "unreadable"),
                ("TaskwatchProjectDown", "unreadable"),
                ("TaskwatchDeliveryDead", "deaf"),
                ("TaskwatchQueueAges", "slow"),
                ("TaskwatchReceiverFails", "slow"),
                ("TaskwatchLoginExpires", "otc"),
                ("TaskwatchLoginRefused", "otc"),
            }
            await _fire(prometheus, wrong, daemon)
            fired = await prometheus.alerts()
            night.be_right_again()
            await _end(
                prometheus, {("TaskwatchProjectStale", "unreadable"), ("TaskwatchQueueAges", "slow")}, daemon
            )
            page = await night.page()
            for expression in expressions():
                await prometheus.query(expression)
            found = {one["metric"]["__name__"] for one in await prometheus.query('{job="taskwatch"}')}

    healthy_ones = {("healthy",), ("well",)}
    assert not [one for one in fired if tuple(_about(one)) in healthy_ones], fired
    assert not [text for one in fired for text in one["annotations"].values() if "error" in text.lower()[:10]]
    assert promtool("check", "metrics", given=page) == ""
    missing = _names(page) - found
    assert missing == set()


def _about(alert: dict[str, Any]) -> list[str]:
    labels = alert["labels"]
    return [labels[name] for name in ("project", "receiver", "credential") if name in labels]


def _names(page: str) -> set[str]:
    return set(re.findall(r"^((?:taskwatch|process)_\w+)", page, re.MULTILINE))


async def _firing(prometheus: RealPrometheus) -> set[tuple[str, str]]:
    return {(one["labels"]["alertname"], "".join(_about(one))) for one in await prometheus.alerts()}


async def _fire(prometheus: RealPrometheus, expected: set[tuple[str, str]], daemon: Daemon) -> None:
    """Wait until all of these fire."""
    firing: set[tuple[str, str]] = set()
    for _ in range(200):
        firing |= await _firing(prometheus)
        if expected <= firing:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{expected - firing} do not fire\n{daemon.said()[-2000:]}")


async def _end(prometheus: RealPrometheus, expected: set[tuple[str, str]], daemon: Daemon) -> None:
    """Wait until none of these fires."""
    for _ in range(200):
        if expected.isdisjoint(await _firing(prometheus)):
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{expected & await _firing(prometheus)} still fire\n{daemon.said()[-2000:]}")


async def _holds(prometheus: RealPrometheus, expression: str, daemon: Daemon) -> None:
    for _ in range(200):
        if await prometheus.query(expression):
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{expression} does not hold\n{daemon.said()[-2000:]}")
