"""What has gone wrong with others, each as a story: what happens, and what every receiver has heard in the end.

Hours are virtual; daemon, store, cloud, receivers and what goes between them are not, but for the disk under the store.
"""

import asyncio
import base64
import json
import re
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook
from structlog.typing import EventDict

from taskwatch import telemetry
from taskwatch.core.grouping import Grouping
from taskwatch.engine.groups import BURST
from taskwatch.errors import ConfigError
from taskwatch.model.task import Instance
from taskwatch.notifiers.alertmanager import FIRING
from taskwatch.store.beside import connect
from tests.fakes import scene as in_real_time
from tests.fakes.alertmanager import FakeAlertmanager
from tests.fakes.builders import captured_log
from tests.fakes.commands import until as really
from tests.fakes.iam_server import Answering, IamServer, login
from tests.fakes.inline_writer import Disk
from tests.fakes.leaping_time import in_leaping_time, leaping_clock, living
from tests.fakes.mailroom import Mailroom, a_mailroom
from tests.fakes.plugin_package import install
from tests.fakes.scene import Scene
from tests.fakes.smtp_server import END, Behaviour, FakeMailServer, Line, Mail, drop
from tests.fakes.tasks_endpoint import Exchange, Fault, Row, TasksEndpoint, row, status
from tests.fakes.webhook_sink import Post, WebhookSink, accept, answer, hang, hang_up

MINUTE: Final = 60.0
HOUR: Final = 3600.0
INTERVAL: Final = 15.0
RETRY: Final = {"initial": "5s", "max": "1m"}
CANARY: Final = "hunter2-canary"

Receiver = dict[str, Any]


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    """What the daemon logs, and what its receivers of type log are told."""
    log, lines = captured_log()
    monkeypatch.setattr(telemetry, "logger", lambda: log)
    monkeypatch.setattr("taskwatch.notifiers.log.teller", log.bind)
    return lines


@asynccontextmanager
async def a_scene(directory: Path, *, interval: str = "15s") -> AsyncIterator[Scene]:
    async with TasksEndpoint() as cloud, WebhookSink() as sink:
        yield Scene(directory, cloud, sink, interval=interval)


def hook(scene: Scene, name: str, **keys: Any) -> Receiver:
    """Return a webhook that is heard at the path of its name."""
    return {"name": name, "type": "webhook", "url": f"{scene.sink.url}/{name}", "retry": RETRY, **keys}


def write(scene: Scene, *receivers: Receiver, more: str = "") -> None:
    scene.others = [*receivers]
    scene.write()
    scene.file.write_text(scene.file.read_text() + more)


def a_task(job_id: str, *, instance: str | None = None, minute: int = 0) -> Row:
    """Return a task that runs, on an instance of its own unless one is named."""
    about = {
        "instance_id": instance or f"of-{job_id}",
        "instance_name": "orders",
        "instance_status": "active",
    }
    created = f"2026-11-23T03:{minute:02}:00+0000"
    return row(
        job_id,
        name="RestoreGaussDBV5InInstance",
        status="Running",
        created_at=created,
        ended_at=None,
        instance_info=about,
    )


def ends(task: Row, status: str = "Failed", *, reason: str | None = "out of disk") -> None:
    task |= {"status": status, "ended_at": "2026-11-23T04:10:00+0000", "fail_reason": reason}


def runs(task: Row) -> None:
    task |= {"status": "Running", "ended_at": None, "fail_reason": None}


async def until(claim: Callable[[], object], what: str, *, within: float = 2 * HOUR) -> None:
    """Wait for it in the time of the loop, whichever that is."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + within
    while not claim():
        assert loop.time() < limit, f"in vain: {what}"
        await asyncio.sleep(5.0)


def taken(scene: Scene, name: str) -> list[dict[str, Any]]:
    """Return what the receiver took of tasks, in its order."""
    return of_tasks(post.event for post in posts(scene, name) if post.accepted)


def of_tasks(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if "task" in event["data"]]


def failures(scene: Scene, name: str) -> list[dict[str, Any]]:
    return [event for event in taken(scene, name) if event["type"].endswith("task.failed")]


def posts(scene: Scene, name: str) -> list[Post]:
    """Return what the receiver was sent, whether or not it took it."""
    return [post for post in scene.sink.posts if post.path.endswith(f"/{name}")]


def are_in_order(events: Sequence[dict[str, Any]]) -> bool:
    """Tell whether each task was told from its first event on, step by step, and nothing twice."""
    chains: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        chains[event["subject"]].append(event["data"]["sequence"])
    return all(chain == [*range(1, len(chain) + 1)] for chain in chains.values())


def states(disk: Disk, receiver: str) -> Counter[str]:
    return Counter(
        state for (state,) in disk.rows("SELECT state FROM deliveries WHERE receiver = ?", receiver)
    )


def attempts(disk: Disk, receiver: str) -> Counter[tuple[str, str]]:
    """Count the failed attempts by what stands on record of them."""
    statement = "SELECT a.reason, a.detail FROM attempts a JOIN deliveries d ON d.id = a.delivery WHERE d.receiver = ?"
    return Counter((reason, detail) for reason, detail in disk.rows(statement, receiver))


# A receiver or its name is gone at the moment that matters


@dataclass
class NameService:
    """Says where hook.example is: nobody knows, at an address where nobody listens, or here."""

    leads_to: str | None = None

    def __call__(self, host: str, *arguments: Any, **options: Any) -> Any:
        if host == "hook.example":
            if self.leads_to is None:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            host = self.leads_to
        return _getaddrinfo(host, *arguments, **options)


_getaddrinfo = socket.getaddrinfo


@in_leaping_time
async def test_a_failure_is_told_once_although_nobody_listens_then_knows_the_name_then_works_for_half_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[EventDict]
) -> None:
    names, disk = NameService("127.0.0.1"), Disk()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    async with a_scene(tmp_path) as scene:
        url = f"{scene.sink.url.replace('127.0.0.1', 'hook.example')}/hook"
        write(scene, hook(scene, "hook", url=url, retry={"initial": "5s", "max": "5m"}))
        task, other = a_task("job-1"), a_task("job-2")
        async with living(scene, disk):
            scene.cloud.rows.append(task)
            await until(lambda: taken(scene, "hook"), "the start")
        names.leads_to = "127.0.0.2"
        async with living(scene, disk):
            await asyncio.sleep(INTERVAL)
            ends(task)
            failed_at = leaping_clock().now()
            await asyncio.sleep(5 * MINUTE)
        names.leads_to = None
        async with living(scene, disk, is_killed=True):
            await asyncio.sleep(5 * MINUTE)
            scene.cloud.rows.append(other)
            await asyncio.sleep(MINUTE)
        names.leads_to, scene.sink.choose = "127.0.0.1", lambda: answer(503)
        async with living(scene, disk):
            await asyncio.sleep(30 * MINUTE)
            runs(task)  # and goes on while nobody hears of it
            await asyncio.sleep(5 * MINUTE)
            scene.sink.choose = lambda: accept
            await until(
                lambda: states(disk, "hook").keys() == {"delivered"}, "all that waited", within=6 * MINUTE
            )
            await asyncio.sleep(HOUR)

    types = [
        event["type"].rpartition(".")[2] for event in taken(scene, "hook") if event["subject"] == "job-1"
    ]
    assert types == ["started", "failed", "changed", "resolved"]
    assert are_in_order(taken(scene, "hook"))
    (failure,) = failures(scene, "hook")
    observed = datetime.fromisoformat(failure["data"]["transition"]["observed_at"])
    assert timedelta(0) <= observed - failed_at <= timedelta(seconds=INTERVAL + 1)
    assert {reason for reason, _ in attempts(disk, "hook")} == {"network", "server_error"}
    details = " ".join(detail for _, detail in attempts(disk, "hook"))
    assert "connection refused" in details.lower()
    assert "its name cannot be resolved" in details
    assert "answered 503" in details
    assert states(disk, "hook") == {"delivered": 6}
    assert "receiver_works_again" in [line["event"] for line in lines]


@in_leaping_time
async def test_an_acknowledgement_that_is_lost_makes_a_copy_under_the_same_id_with_the_same_bytes(
    tmp_path: Path,
) -> None:
    disk = Disk()
    async with a_scene(tmp_path) as scene:
        write(scene, hook(scene, "hook"))
        async with living(scene, disk):
            await until(lambda: scene.sink.accepted, "the baseline")
            scene.sink.choose = lambda: hang_up if len(scene.sink.posts) < 4 else accept
            scene.cloud.rows.append(a_task("job-1"))
            await until(lambda: states(disk, "hook") == {"delivered": 2}, "the start")

    copies = [post for post in scene.sink.posts if post.event["subject"] == "job-1"]
    assert len(copies) == 4
    assert len({(post.id, post.body) for post in copies}) == 1


# One receiver breaks; the others neither lose nor repeat


@in_leaping_time
async def test_fifty_transitions_reach_the_good_receiver_at_once_and_the_bad_ones_afterwards_in_order(
    tmp_path: Path,
) -> None:
    disk, down = Disk(), {"bad": answer(500), "silent": hang}
    arrived: dict[tuple[str, str], datetime] = {}

    def choose(request: web.Request) -> Answering:
        name = request.path.rpartition("/")[2]
        arrived.setdefault((name, request.headers["webhook-id"]), leaping_clock().now())
        return down.get(name, accept)

    async with a_scene(tmp_path) as scene:
        write(scene, *(hook(scene, name) for name in ("good", "bad", "silent")))
        scene.sink.choose_for = choose
        async with living(scene, disk):
            for number in range(25):
                scene.cloud.rows.append(a_task(f"job-{number}"))
                await asyncio.sleep(INTERVAL)
            for task in scene.cloud.rows:
                ends(task)
                await asyncio.sleep(INTERVAL)
            assert len(taken(scene, "good")) == 50
            await asyncio.sleep(HOUR - 50 * INTERVAL)
            tried = len(posts(scene, "silent"))
            assert states(disk, "bad").keys() == states(disk, "silent").keys() == {"pending"}
            down.clear()
            await until(
                lambda: all(len(taken(scene, name)) >= 50 for name in ("bad", "silent")), "the others"
            )

    for event in taken(scene, "good"):
        seen = datetime.fromisoformat(event["data"]["transition"]["observed_at"])
        assert arrived["good", event["id"]] - seen < timedelta(seconds=2)
    assert are_in_order(taken(scene, "good"))
    assert are_in_order(taken(scene, "bad"))
    assert {reason for reason, _ in attempts(disk, "bad")} == {"server_error"}
    assert {reason for reason, _ in attempts(disk, "silent")} == {"timeout"}
    # One attempt at a time, and not without end: what waits is in the store.
    assert 10 < tried < HOUR / 10.0


RAISES: Final = f"""
    from pathlib import Path
    from taskwatch.notifier_api import Notifier, Options, Text

    class RaisesOptions(Options):
        target: Text

    class Raises(Notifier):
        options = RaisesOptions

        def __init__(self, options):
            self.target = Path(options.target)

        async def notify(self, message):
            if not self.target.exists():
                raise ZeroDivisionError("{CANARY}")
            with self.target.open("ab") as file:
                file.write(message.body + b"\\n")
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of plug-ins; their modules are forgotten at the end."""
    directory = tmp_path / "packages"
    directory.mkdir()
    monkeypatch.syspath_prepend(directory)
    yield directory
    for name in [name for name in sys.modules if name.startswith("tw_story")]:
        del sys.modules[name]


async def test_what_a_plug_in_raises_and_a_template_that_fails_harm_nobody_and_are_told_without_their_words(
    tmp_path: Path, packages: Path, lines: list[EventDict]
) -> None:
    install(packages, "tw-story-raises", RAISES, raises="Raises")
    target, quick = tmp_path / "target", {"initial": "20ms", "max": "50ms"}
    old, new = ("whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))
    async with a_scene(tmp_path, interval="100ms") as scene:
        write(
            scene,
            hook(scene, "good"),
            {"name": "foreign", "type": "raises", "target": str(target), "retry": quick},
            hook(scene, "failing", template="{{ event.data.task.nobody.knows }} " + CANARY),
            hook(
                scene,
                "worded",
                template='{"said": {{ event.data.summary | tojson }}, "more": "\u2014 ü"}',
                content_type="application/json",
                secret=[new, old],
            ),
        )
        async with in_real_time.watching(scene):
            scene.cloud.rows += [a_task(f"job-{number}") for number in range(5)]
            await really(lambda: len(taken(scene, "good")) == 5, "the good one")
            await really(lambda: len(taken(scene, "failing")) == 5, "the events themselves")
            await really(lambda: len(posts(scene, "worded")) == 6, "the words")
            on_record = "SELECT reason, detail FROM attempts"
            with connect(scene.store) as reader:
                assert set(reader.execute(on_record)) == {
                    ("broken", "the notifier raised ZeroDivisionError"),
                }
            target.touch()  # somebody mends it
            await really(lambda: len(target.read_text().splitlines()) == 6, "all that waited")

    assert are_in_order(taken(scene, "good"))
    assert are_in_order(of_tasks(map(json.loads, target.read_text().splitlines())))
    for post in posts(scene, "worded"):
        assert post.headers["Content-Type"] == "application/json"
        for secret in (old, new):  # both are good while receivers rotate
            Webhook(secret).verify(post.body, dict(post.headers))
    assert '{"said": "RestoreGaussDBV5InInstance of orders started.", "more": "\u2014 ü"}'.encode() in {
        post.body for post in posts(scene, "worded")
    }
    for post in scene.sink.posts:
        if post.path.endswith(("/good", "/failing")):
            assert from_http_event(HTTPMessage(dict(post.headers), post.body)).get_id() == post.id
    told = [line for line in lines if line["event"] == "template_failed" and line["log_level"] == "warning"]
    assert [(line["receiver"], line["instead"]) for line in told] == [("failing", "the event itself")]
    assert CANARY not in f"{lines}"
    assert CANARY.encode() not in scene.store.read_bytes()


# Tokens end, and hosts throttle


def _seconds(text: str) -> Callable[[], str]:
    return lambda: text


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        (_seconds("120"), 120.0, 121.0),
        (lambda: format_datetime(leaping_clock().now() + timedelta(seconds=90), usegmt=True), 89.0, 91.0),
        (lambda: format_datetime(leaping_clock().now() - timedelta(hours=1), usegmt=True), 1.0, 2.0),
        (_seconds("0"), 1.0, 2.0),
        (_seconds("86400"), HOUR, HOUR + 1),
        (None, 0.5, 5.1),
        (_seconds("-5"), 0.5, 5.1),
        (_seconds("soon"), 0.5, 5.1),
        (_seconds(""), 0.5, 5.1),
    ],
    ids=[
        "seconds",
        "a date",
        "a date that is over",
        "none at all",
        "a day",
        "nothing",
        "negative",
        "a word",
        "empty",
    ],
)
@in_leaping_time
async def test_a_webhook_that_says_429_hears_nothing_of_any_task_before_it_asked_to(
    tmp_path: Path, said: Callable[[], str] | None, least: float, most: float
) -> None:
    disk, times = Disk(), list[float]()

    async def throttle(request: web.Request) -> web.StreamResponse:
        times.append(asyncio.get_running_loop().time())
        if len(times) > 1:
            return await accept(request)
        return await answer(429, headers={} if said is None else {"Retry-After": said()})(request)

    async with a_scene(tmp_path) as scene:
        write(scene, hook(scene, "hook"))
        async with living(scene, disk):
            await until(lambda: scene.sink.accepted, "the baseline")
            scene.sink.choose = lambda: throttle
            scene.cloud.rows.append(a_task("job-1"))
            await until(lambda: times, "the refusal")
            scene.cloud.rows += [a_task(f"job-{number}") for number in range(2, 9)]
            await until(lambda: states(disk, "hook") == {"delivered": 9}, "all of them")

    assert least <= times[1] - times[0] <= most
    assert len(times) == 9


PAGE: Final = 100
LOGIN: Final = "{c: {type: none, rate: 1000/s}}"


def logs_in(scene: Scene, iam: IamServer) -> None:
    """Let all projects share one password."""
    password = scene.directory / "password"
    password.write_text("secret-enough")
    password.chmod(0o600)
    text = scene.file.read_text()
    assert LOGIN in text
    login = (
        f'{{c: {{type: password, auth_url: "{iam.auth_url}", username: watcher, user_domain_name: OTC1,'
        " password: {file: password}, rate: 1000/s}}"
    )
    scene.file.write_text(text.replace(LOGIN, login))


@dataclass
class Gate:
    """Serves lists to whoever shows the token, and lets second pages wait until everybody has the first."""

    scene: Scene
    token: str = "a-token"
    waiting: int = 0
    is_armed: bool = False
    all_are_there: asyncio.Event = field(default_factory=asyncio.Event)
    logins: int = 0
    under_way: int = 0
    most_under_way: int = 0

    async def serve(self, exchange: Exchange) -> web.StreamResponse:
        if self.is_armed and exchange.request.query.get("offset", "0") != "0":
            self.waiting += 1
            if self.waiting == len(self.scene.projects):
                self.token, self.is_armed = "another-token", False
                self.all_are_there.set()
            await self.all_are_there.wait()
        if exchange.request.headers.get("X-Auth-Token") != self.token:
            return await status(401, {"error_code": "APIGW.0301", "error_msg": "token expired"})(exchange)
        return serve(exchange)

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        self.logins += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0.2)
        self.under_way -= 1
        return await login(token=self.token)(request)


def serve(exchange: Exchange) -> web.StreamResponse:
    return web.Response(body=exchange.body, content_type="application/json")


def only_at(path: str, fault: Fault) -> Fault:
    async def answer(exchange: Exchange) -> web.StreamResponse:
        return await fault(exchange) if exchange.request.path.startswith(path) else serve(exchange)

    return answer


@in_leaping_time
async def test_tokens_of_twenty_projects_that_die_between_two_pages_cost_a_login_each_one_at_a_time_and_no_poll(
    tmp_path: Path, lines: list[EventDict]
) -> None:
    disk = Disk()
    async with a_scene(tmp_path) as scene, IamServer() as iam:
        scene.projects = {f"p{number}": f"id{number}" for number in range(20)}
        scene.cloud.rows = [row(f"job-{number:03}") for number in range(PAGE + 50)]
        gate = Gate(scene)
        scene.cloud.always, iam.answer = gate.serve, gate.log_in
        write(scene, hook(scene, "hook"))
        logs_in(scene, iam)
        async with living(scene, disk):
            await until(lambda: states(disk, "hook") == {"delivered": 20}, "twenty baselines")
            assert gate.logins == 20
            gate.is_armed = True
            await until(gate.all_are_there.is_set, "the death of the tokens", within=HOUR)
            scene.cloud.rows.insert(0, a_task("job-x"))
            await until(lambda: states(disk, "hook") == {"delivered": 40}, "an event of each", within=HOUR)

    assert gate.waiting == 20
    assert (gate.logins, gate.most_under_way) == (40, 1)
    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []


@in_leaping_time
async def test_a_403_for_one_project_alone_is_told_of_it_and_the_others_are_read_as_ever(
    tmp_path: Path,
) -> None:
    disk, lost = Disk(), status(403, {"error_code": "APIGW.0305", "error_msg": "no permission"})
    async with a_scene(tmp_path) as scene:
        scene.projects = {f"p{number}": f"id{number}" for number in range(20)}
        write(scene, hook(scene, "hook"))
        async with living(scene, disk) as daemon:
            await until(lambda: states(disk, "hook") == {"delivered": 20}, "twenty baselines")
            scene.cloud.always = only_at("/v3/id7/", lost)
            asked = len(scene.cloud.requests)
            await asyncio.sleep(10 * MINUTE)
            by_project = Counter(request.path for request in scene.cloud.requests[asked:])
            scene.cloud.rows.append(a_task("job-1"))
            await until(lambda: len(taken(scene, "hook")) == 19, "an event of each other", within=MINUTE)
            troubled = [watch.poller.project.name for watch in daemon.watches if watch.condition.trouble]
            scene.cloud.always = None
            await until(lambda: len(taken(scene, "hook")) == 20, "and of this one", within=10 * MINUTE)

    assert troubled == ["p7"]
    others = [count for path, count in by_project.items() if "/id7/" not in path]
    assert len(others) == 19
    assert min(others) >= 10 * MINUTE / INTERVAL - 1
    outages = [event for post in scene.sink.accepted if ".project." in (event := post.event)["type"]]
    told = [(event["type"], event["data"]["project"]["name"]) for event in outages[20:]]
    assert told == [("taskwatch.project.degraded", "p7"), ("taskwatch.project.recovered", "p7")]


# Storms, flaps, and what is reloaded meanwhile


@dataclass
class Burst:
    """Lets all tasks fail between two lists."""

    cloud: TasksEndpoint
    is_due: bool = False

    def __call__(self, _: int) -> None:
        if self.is_due and self.cloud.requests[-1].query.get("offset", "0") == "0":
            self.is_due = False
            for task in self.cloud.rows:
                ends(task)


async def test_500_failures_in_one_poll_are_few_mails_that_name_or_count_each_and_single_events_elsewhere(
    tmp_path: Path, lines: list[EventDict]
) -> None:
    jobs = [f"job-{number:03}" for number in range(500)]
    events = tmp_path / "events.jsonl"
    async with a_scene(tmp_path, interval="300ms") as scene, FakeMailServer() as mail:
        write(
            scene,
            hook(scene, "hook"),
            {"name": "lines", "type": "file", "path": str(events)},
            {"name": "journal", "type": "log"},
            an_email(mail),
            more="route: {group_wait: 100ms, group_interval: 1s}\n",
        )
        scene.cloud.rows = [a_task(job) for job in jobs]
        scene.cloud.before = burst = Burst(scene.cloud)
        async with in_real_time.watching(scene):
            burst.is_due = True
            await really(lambda: len(failures(scene, "hook")) == 500, "the webhook")
            await really(lambda: events.read_text().count("\n") == 501, "the file")
            await really(lambda: len(logged(lines)) == 500, "the log")
            await really(lambda: named(mail, jobs) + counted(mail) == 500, "the mail")

    in_file = of_tasks(map(json.loads, events.read_text().splitlines()))
    assert sorted(event["subject"] for event in failures(scene, "hook")) == jobs
    assert sorted(event["subject"] for event in in_file) == jobs
    assert sorted(logged(lines)) == jobs
    with connect(scene.store) as reader:
        stored = reader.execute("SELECT job_id FROM events WHERE job_id IS NOT NULL ORDER BY job_id")
        assert [job for (job,) in stored] == jobs
    assert named(mail, jobs) >= 50
    assert len(of_failures(mail)) <= BURST
    for one in of_failures(mail):
        assert re.search(r"taskwatch events --project prod --since \S+", one.text), "the way to the rest"
    assert mail.problems == []


async def all_failed_at_once(failures: int, *, by: str) -> Mailroom:
    """Return where so many tasks failed in one poll, and nobody was told yet."""
    room = await a_mailroom(grouping=Grouping(by=(by,), wait=0.0, interval=1.0))
    for number in range(failures):
        room.task(f"job-{number:05}", "Failed", instance=Instance(id=f"in-{number}", name=f"db-{number}"))
    room.clock.seconds += 5
    await room.poll()
    return room


@pytest.mark.parametrize(("by", "letters"), [("project", 1), ("job_id", BURST)])
async def test_ten_thousand_failures_in_one_poll_are_few_letters_and_each_is_stored(
    by: str, letters: int
) -> None:
    room = await all_failed_at_once(10_000, by=by)
    await room.deliver()
    assert len(room.letters) == letters
    assert max(len(letter.text) for letter in room.letters) < 50_000
    more = sum(
        int(number) for letter in room.letters for number in re.findall(r"and (\d+) more", letter.text)
    )
    texts = "".join(letter.text for letter in room.letters)
    assert sum(f"job-{number:05}" in texts for number in range(10_000)) + more == 10_000
    assert Counter(room.states()) == {"delivered": 10_000}


async def test_to_tell_twice_as_many_failures_is_twice_the_work_of_the_store() -> None:
    work: list[int] = []
    for failures in (1_000, 2_000):
        room = await all_failed_at_once(failures, by="project")
        steps: list[None] = []

        def count(steps: list[None] = steps) -> bool:
            steps.append(None)
            return False  # go on

        room.disk.connection.set_progress_handler(count, 100)
        await room.deliver()
        work.append(len(steps))
    assert work[0] > 100
    assert work[1] < 3 * work[0]


def logged(lines: list[EventDict]) -> list[str]:
    return [line["subject"] for line in lines if line["event"] == "taskwatch.task.failed"]


def of_failures(server: FakeMailServer) -> list[Mail]:
    return [mail for mail in server.mails if "failed" in str(mail.message["Subject"])]


def named(server: FakeMailServer, jobs: Sequence[str]) -> int:
    texts = [mail.text for mail in of_failures(server)]
    return sum(any(job in text for text in texts) for job in jobs)


def counted(server: FakeMailServer) -> int:
    return sum(int(more) for mail in of_failures(server) for more in re.findall(r"and (\d+) more", mail.text))


def an_email(server: FakeMailServer) -> Receiver:
    addresses = {"from": "taskwatch@example.com", "to": "dba@example.com"}
    return {"name": "mail", "type": "email", "smtp": server.url, "retry": RETRY, **addresses}


@pytest.mark.parametrize("polls", [1, 5], ids=["at each poll", "when it was believed"])
@in_leaping_time
async def test_a_task_that_flaps_twenty_times_is_a_chain_without_a_hole_whose_last_state_is_told(
    tmp_path: Path, polls: int
) -> None:
    disk, moves = Disk(), 0
    async with a_scene(tmp_path) as scene, FakeMailServer() as mail:
        task = a_task("job-1")

        def flap(number: int) -> None:
            nonlocal moves
            if moves < 20 and scene.cloud.rows and number % polls == 0:
                moves += 1
                ends(task) if task["status"] == "Running" else runs(task)

        write(scene, hook(scene, "hook"), an_email(mail))
        async with living(scene, disk):
            await until(lambda: taken(scene, "hook") == [] and scene.sink.accepted, "the baseline")
            scene.cloud.rows.append(task)
            await until(lambda: taken(scene, "hook"), "the start")
            scene.cloud.before = flap
            await until(lambda: moves == 20, "the flaps")
            await asyncio.sleep(5 * INTERVAL)
            ends(task)  # and stays so
            await asyncio.sleep(15 * MINUTE)
            lasted = leaping_clock().elapsed

    chain = taken(scene, "hook")
    steps = [event["data"]["transition"] for event in chain if "transition" in event["data"]]
    assert are_in_order(chain)
    assert steps[0]["from"] is None
    assert [after["from"] for _, after in pairwise(steps)] == [before["to"] for before, _ in pairwise(steps)]
    assert [step["revision"] for step in steps] == [*range(1, len(steps) + 1)]
    assert steps[-1]["to"] == "Failed"
    assert len(steps) == (22 if polls > 1 else 4), "what was not read three times is no step back"
    assert states(disk, "mail").keys() == {"delivered"}
    assert "failed" in mail.mails[-1].text
    assert len(mail.mails) <= lasted / (5 * MINUTE) + 2


@in_leaping_time
async def test_an_alert_fires_for_three_hours_without_a_gap_through_restarts_and_reloads_and_ends_once(
    tmp_path: Path,
) -> None:
    disk = Disk()
    async with a_scene(tmp_path) as scene, FakeAlertmanager() as manager:

        def configure(name: str, **keys: Any) -> None:
            alertmanager = {"name": name, "type": "alertmanager", "urls": [manager.url], **keys}
            write(scene, hook(scene, "hook"), alertmanager)

        configure("am")
        task, again = (a_task(f"job-{minute}", instance="in-1", minute=minute) for minute in (1, 2))
        scene.cloud.rows.append(task)
        async with living(scene, disk) as daemon:
            await asyncio.sleep(20)
            ends(task)
            await until(lambda: manager.alerts, "the alert", within=MINUTE)
            began = leaping_clock().elapsed
            for number in range(4):
                await asyncio.sleep(7 * MINUTE)
                configure("am", labels={"reload": str(number)}, timeout=f"{5 + number}s")
                await daemon.reload()
            await asyncio.sleep(32 * MINUTE)
        async with living(scene, disk, is_killed=True) as daemon:
            await asyncio.sleep(10 * MINUTE)
            scene.file.write_text("receivers: [")
            with pytest.raises(ConfigError):
                await daemon.reload()
            await asyncio.sleep(10 * MINUTE)
            configure("pager-of-prometheus", labels={"reload": "3"}, timeout="8s")
            assert "receiver am renamed to pager-of-prometheus" in await daemon.reload()
            await asyncio.sleep(40 * MINUTE)
        async with living(scene, disk) as daemon:
            for number in range(4):
                await asyncio.sleep(10 * MINUTE)
                configure("pager-of-prometheus", fire_for=f"{number + 10}h")
                await daemon.reload()
            await asyncio.sleep(20 * MINUTE)
            assert leaping_clock().elapsed - began >= 3 * HOUR
            scene.cloud.rows.append(again)
            await asyncio.sleep(INTERVAL + 1)
            ends(again, "Completed", reason=None)
            await asyncio.sleep(30 * MINUTE)
            heard = [event["type"].rpartition(".")[2] for event in taken(scene, "hook")]

    assert len(manager.names()) == 1, "an alert under other labels is another alert"
    assert len({alert["startsAt"] for alert in manager.alerts}) == 1
    ends_at = [datetime.fromisoformat(alert["endsAt"]) for alert in manager.alerts]
    over = next(after for before, after in pairwise(ends_at) if after < before)
    firing = ends_at[: ends_at.index(over)]
    assert set(ends_at[len(firing) :]) == {over}, "it fired again, or ended twice"
    posted = [instant - FIRING for instant in firing]
    assert posted[-1] - posted[0] >= timedelta(hours=3)
    assert max(after - before for before, after in pairwise([*posted, over])) <= timedelta(seconds=70)
    assert heard == ["failed", "started", "completed", "resolved"]


# Mail servers


@in_leaping_time
async def test_a_mail_is_told_once_by_a_server_that_greylists_and_twice_under_one_id_by_one_that_breaks_off(
    tmp_path: Path,
) -> None:
    disk = Disk()
    async with a_scene(tmp_path) as scene, FakeMailServer() as mail:
        write(scene, an_email(mail), more="route: {group_wait: 0s, group_interval: 1s}\n")
        async with living(scene, disk):
            await until(lambda: len(mail.mails) == 1, "the baseline")
            mail.greylist("dba@example.com")
            scene.cloud.rows.append(a_task("job-1"))
            await until(lambda: len(mail.mails) == 2, "the second try")
            taken_and_lost: list[str] = []

            def behave(command: str) -> Behaviour | None:
                return None if command != END or taken_and_lost else lose

            async def lose(line: Line) -> str | None:
                taken_and_lost.append(line.command)
                return await drop(line)

            mail.behave = behave
            scene.cloud.rows.append(a_task("job-2"))
            await until(lambda: len(mail.mails) == 3, "the copy")
            await asyncio.sleep(HOUR)

    assert len(mail.mails) == 3
    assert len(taken_and_lost) == 1
    assert states(disk, "mail") == {"delivered": 3}
    assert mail.problems == []
