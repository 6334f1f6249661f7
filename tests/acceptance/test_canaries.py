"""No secret is shown anywhere, by whatever goes wrong: canaries in all of them, and everything that comes out is searched."""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest
import yaml
from aiohttp import web

import taskwatch
from tests.fakes import commands
from tests.fakes.commands import until
from tests.fakes.daemon import Daemon
from tests.fakes.in_process import runner
from tests.fakes.logs import Journald, logs_restored
from tests.fakes.peers import listening, telling
from tests.fakes.repeating_cloud import RepeatingCloud
from tests.fakes.tasks_endpoint import Exchange, Fault, TasksEndpoint, raw, row, status
from tests.fakes.webhook_sink import Behaviour, WebhookSink, accept, answer

pytestmark = pytest.mark.real

CORE: Final = "c4n4ry"  # part of every secret, so that a half of one is found too
KEY: Final = "whsec_" + base64.b64encode(CORE.encode() * 4).decode()
OTHER_KEY: Final = "whsec_" + base64.b64encode(CORE.encode() * 5).decode()


def secret(name: str) -> str:
    """Return a secret of the shape that tokens have: what is written in base64 is escaped in many places."""
    return f"{CORE}/{name}+{CORE}/0123=="


def leaks(content: bytes) -> list[bytes]:
    """Return every place where a part of a secret stands, in any spelling."""
    found = re.finditer(b"|".join(map(re.escape, _spellings())), content, re.IGNORECASE)
    return [content[max(0, one.start() - 80) : one.end() + 20] for one in found]


def _spellings() -> list[bytes]:
    core = CORE.encode()
    # Base64 writes three bytes as four characters: the same text looks different at each offset.
    in_base64 = [base64.b64encode(bytes(shift) + core)[-(-shift * 8 // 6) : 8 + shift] for shift in range(3)]
    percent = "".join(f"%{byte:02x}" for byte in core).encode()
    return [core, *in_base64, percent, core.hex().encode(), CORE.encode("utf-16-le")]


# A receiver and a cloud that repeat what they were sent


def _headers(request: web.Request) -> dict[str, str]:
    """Return the headers, first those of which only a beginning is shown."""
    first = ("X-Key", "Authorization")
    return {name: request.headers[name] for name in first if name in request.headers} | dict(request.headers)


def _plain(request: web.Request) -> str:
    lines = "\n".join(f"{name}: {value}" for name, value in _headers(request).items())
    return f"{request.url} {request.raw_path}\n{lines}"


REPETITIONS: Final[Mapping[str, Callable[[web.Request], str]]] = {
    "plain": _plain,
    "repr": lambda request: f"{request!r} {_headers(request)!r}",
    "json": lambda request: json.dumps(_headers(request)).replace("/", "\\/"),  # as PHP writes it
    "percent": lambda request: quote(repr(_headers(request)), safe=""),
}


def _behaviour(request: web.Request) -> Behaviour | None:
    """Do what the end of the path says: accept, or a status and how all that was sent is repeated."""
    code, _, how = request.path.rsplit("/", 1)[-1].partition("-")
    if code == "cut":
        return _cut
    if how not in REPETITIONS:
        return accept
    text = REPETITIONS[how](request)
    location = {"Location": str(request.url)} if code.startswith("3") else {}
    return answer(int(code), text, {"X-Said": quote(text)[:1000], **location})


async def _cut(request: web.Request) -> web.StreamResponse:
    """Hang up in the midst of a secret."""
    value = request.headers.get("X-Key", "").encode()
    assert request.transport is not None
    head = b"HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\nX-Key was "
    request.transport.write(head + value[: len(value) // 2])
    request.transport.close()
    return web.Response()


def _repeated(code: int, how: Callable[[str], str | object]) -> Fault:
    async def fault(exchange: Exchange) -> web.StreamResponse:
        token = exchange.request.headers["X-Auth-Token"]
        return await status(code, how(token), {"X-Request-Id": token, "Location": f"http://h/{token}"})(
            exchange
        )

    return fault


async def _no_http(exchange: Exchange) -> web.StreamResponse:
    token = exchange.request.headers["X-Auth-Token"]
    return await raw(f"HTTP/1.1 200 {token}\r\n{token}\r\n\r\n{token}".encode())(exchange)


FAULTS: Final[Mapping[str, Fault]] = {
    "401": _repeated(
        401, lambda token: {"error_code": token, "error_msg": f"bad {token}", "request_id": token}
    ),
    "403": _repeated(403, lambda token: {"error_msg": f"Invalid token {token!r}"}),
    "500": _repeated(500, lambda token: f"upstream got X-Auth-Token: {token}"),
    "500 percent": _repeated(500, lambda token: f"upstream got {quote(token, safe='')}"),
    "502 JSON in text": _repeated(502, lambda token: {"error_msg": json.dumps(token).replace("/", "\\/")}),
    "503 without an end": _repeated(503, lambda token: token * 4000),
    "200": _repeated(200, lambda token: {"error_msg": token, "tasks": token}),
    "302": _repeated(302, lambda token: token),
    "no HTTP": _no_http,
}


# The scene


@dataclass
class Scene:
    """A daemon whose configuration holds a canary wherever it can hold a secret."""

    directory: Path
    cloud: TasksEndpoint
    sink: WebhookSink
    format: str = "json"
    generation: int = 1  # of the secrets
    outputs: dict[str, bytes] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.directory / "taskwatch.yaml"

    def document(self) -> dict[str, Any]:
        name = f"{{}}-{self.generation}".format
        (self.directory / "token").write_text(secret(name("file")))
        (self.directory / "token").chmod(0o600)
        (self.directory / "url").write_text(self._url("500-plain"))
        (self.directory / "url").chmod(0o600)
        endpoints = {"text": self.cloud.url, "file": self.cloud.url, "env": self.cloud.url} | {
            "credential": self.cloud.url,
            "refused": "http://127.0.0.1:1",
            "tls": self.cloud.url.replace("http:", "https:"),
        }
        tokens = {"file": {"file": "token"}, "env": {"env": "TOKEN"}, "credential": {"credential": "token"}}
        once = {"initial": "50ms", "max": "100ms", "horizon": "150ms"}
        return {
            "store": {"path": "taskwatch.db"},
            "log": {"format": self.format, "level": "debug"},
            "server": {"listen": "127.0.0.1:0", "token": secret(name("server"))},
            "heartbeat": {"url": self._url("500-plain"), "every": "1s"},
            "credentials": {
                one: {"type": "token", "rate": "1000/s", "token": tokens.get(one, secret(name(one)))}
                for one in endpoints
            },
            "defaults": {"interval": "100ms"},
            "projects": [
                {"name": one, "endpoint": url, "project_id": one, "credential": one}
                for one, url in endpoints.items()
            ],
            "receivers": [
                {"name": "log", "type": "log"},
                *({"type": "webhook", "retry": once, **one} for one in self._webhooks(name)),
                *({"retry": once, **one} for one in self._others(name)),
            ],
            "route": {"group_wait": "0s"},
        }

    def _others(self, name: Callable[[str], str]) -> list[dict[str, Any]]:
        host = self.sink.url.split("/")[2]
        mail = {"type": "email", "from": "tw@example.com", "to": ["dba@example.com"], "timeout": "300ms"}
        login = {"username": secret(name("mail-user")), "password": secret(name("mail-password"))}
        chat = f"json://{quote(secret(name('chat')), safe='')}@{host}/{quote(secret(name('chat-path')), safe='')}"
        return [
            {
                "name": "mail",
                "smtp": f"smtp://{host}",
                **mail,
                **login,
            },  # no mail server, but it says something
            {"name": "mail-nobody", "smtp": "smtps://127.0.0.1:1", **mail, **login},
            {"name": "chat", "type": "apprise", "urls": [f"{chat}/401-plain", {"env": "TOKEN"}]},
            {
                "name": "pd",
                "type": "pagerduty",
                "routing_key": secret(name("pd")),
                "url": self._url("403-plain"),
            },
            {
                "name": "am",
                "type": "alertmanager",
                "urls": [self._url("500-repr")],
                "bearer": secret(name("am")),
            },
        ]

    def _webhooks(self, name: Callable[[str], str]) -> list[dict[str, Any]]:
        bearer = {"bearer": secret(name("bearer"))}
        basic = {"basic": {"username": secret(name("user")), "password": secret(name("password"))}}
        headers = {"headers": {"X-Key": secret(name("header")), "X-Token": {"env": "TOKEN"}}}
        return [
            {"name": "accepts", "url": self._url("accept"), "secret": [KEY, OTHER_KEY], **headers, **basic},
            {"name": "refuses", "url": self._url("401-plain"), "secret": KEY, **headers, **bearer},
            {"name": "shows", "url": self._url("403-repr"), **headers, **basic},
            {"name": "answers-json", "url": self._url("500-json"), **headers, **bearer},
            {"name": "quotes", "url": self._url("500-percent"), **headers, **bearer},
            {"name": "redirects", "url": self._url("302-plain")},
            {"name": "hangs-up", "url": self._url("cut-"), **headers},
            {"name": "kept", "url": {"file": "url"}, "secret": {"env": "KEY"}},
            {"name": "nobody", "url": self._url("x").replace(self.sink.url.split("/")[2], "127.0.0.1:1")},
            {"name": "no-tls", "url": self._url("x").replace("http:", "https:"), **headers, **bearer},
        ]

    def _url(self, behaviour: str) -> str:
        login = f"//{quote(secret('login'), safe='')}:{quote(secret('pass'), safe='')}@"
        query = f"?token={quote(secret('query'))}&{CORE}-key=1"
        return f"{self.sink.url.replace('//', login)}/{CORE}-path/%634n4ry-escaped/{behaviour}{query}"

    def write(self) -> None:
        self.file.write_text(json.dumps(self.document(), indent=1))

    def collect(self, daemon: Daemon) -> None:
        """Add the log, the store, and what the receivers were sent, where it does not belong."""
        self.outputs["log"] = daemon.log.read_bytes()
        for file in self.directory.glob("*"):
            if not file.is_dir() and file.name not in ("taskwatch.yaml", "token", "url", "cred"):
                self.outputs[f"file {file.name}"] = file.read_bytes()
        own = {"Authorization", "X-Key", "X-Token"}
        for number, post in enumerate(self.sink.posts):
            rest = {name: value for name, value in post.headers.items() if name not in own}
            body = re.sub(rb'^{"routing_key":"[^"]*"', b"{", post.body)  # where PagerDuty wants it
            self.outputs[f"post {number}"] = repr(rest).encode() + body

    def leaks(self) -> dict[str, list[bytes]]:
        return {name: found[:3] for name, content in self.outputs.items() if (found := leaks(content))}


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "token").write_text(secret("credential"))
    (credentials / "token").chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("TOKEN", secret("env"))
    monkeypatch.setenv("KEY", KEY)
    work = tmp_path / "work"
    work.mkdir()
    async with TasksEndpoint() as cloud, WebhookSink(choose_for=_behaviour) as sink:
        cloud.rows += [row("old"), row("going", status="Running")]
        scene = Scene(work, cloud, sink)
        scene.write()
        yield scene


REFUSALS: Final = 9  # receivers that take nothing


@asynccontextmanager
async def a_daemon_in_trouble(
    scene: Scene, said: Callable[[], str] | None = None, **how: Any
) -> AsyncIterator[Daemon]:
    """Run the daemon until its receivers and its cloud have refused, each in its own words."""
    daemon = Daemon(scene.file, scene.directory / "log", **how)
    said = said or daemon.said
    async with daemon:
        await until(lambda: said().count("delivery_dead") >= REFUSALS, "the end of deliveries", said=said)
        for fault in FAULTS.values():
            scene.cloud.always = fault
            await polled(scene.cloud)
        await until(lambda: said().count("project_unreadable") >= 6, "trouble everywhere", said=said)
        yield daemon


async def polled(cloud: TasksEndpoint) -> None:
    asked = len(cloud.requests)
    await until(lambda: len(cloud.requests) > asked, "a poll")


Ask = Callable[..., Awaitable[str]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scene: Scene) -> Ask:
    return asking(monkeypatch, capsys, scene.directory, scene.outputs)


def asking(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    directory: Path,
    outputs: dict[str, bytes],
) -> Ask:
    """Return what runs a command in this process, and adds to the outputs what it says."""
    command = runner(monkeypatch, capsys, directory)

    async def ask(*arguments: str) -> str:
        try:
            ended = await asyncio.to_thread(command, *arguments)
            said = ended.out + ended.err
        except Exception as error:  # noqa: BLE001  (--debug raises it, and Python shows it)
            said = "".join(traceback.format_exception(error)) + "".join(capsys.readouterr())
        outputs[f"{' '.join(arguments)} #{len(outputs)}"] = said.encode()
        return said

    return ask


async def ask_everything(ask: Ask, scene: Scene, *globally: str, backup: str) -> None:
    """Give every command there is, in all its forms."""
    listed = await ask("deliveries", "--state", "dead", "--json", "--limit", "1")
    event = json.loads(listed.splitlines()[0])["event_id"]
    receivers = [one["name"] for one in scene.document()["receivers"]]
    tried = receivers[:: 1 if "alone" in backup else 3]  # a running daemon takes its time for each
    for arguments in (
        ("check",), ("projects",), ("projects", "--json"), ("tasks",), ("tasks", "--json"),
        ("events",), ("events", "--json"), ("deliveries",), ("deliveries", "--json"),
        ("explain", event), ("explain", event, "--json"),
        ("route", "test", "type=task.failed", "project=text"), ("route", "test", "--json"),
        *(("receiver", "test", name) for name in tried), ("receiver", "test", "accepts", "--dry-run"),
        ("poll",), ("poll", "--json", "--project", "file"), ("reload",),
        ("wait", "going", "--timeout", "200ms"), ("wait", "going", "--timeout", "200ms", "--json"),
        ("state", "check"), ("state", "check", "--json"), ("state", "backup", backup), ("state", "init"),
        ("deliveries", "replay", "--receiver", "refuses"), ("deliveries", "drop", "--receiver", "shows"),
        ("schema", "config"), ("schema", "event"), ("completion", "bash"),
    ):  # fmt: skip
        await ask(*globally, *arguments)
    for fault in FAULTS.values():
        scene.cloud.always = fault
        await ask(*globally, "poll", "--dry-run")
    scene.cloud.always = FAULTS["500"]


async def ask_the_server(scene: Scene, daemon: Daemon) -> None:
    """Ask for all that is served, with the token and without it, and with requests that are refused."""
    (url,) = re.findall(r'"server_listening".*"url": "([^"]+)"', daemon.said())
    token = {"Authorization": f"Bearer {secret(f'server-{scene.generation}')}"}
    wrong = {
        "Authorization": f"Bearer {secret('guessed')}",
        "Host": f"{CORE}.example",
        "Origin": f"http://{CORE}",
    }
    async with aiohttp.ClientSession(url) as session:
        documents = await session.get("/api/v1/openapi.json", headers=token)
        places = [
            place for place in (await documents.json())["paths"] if "{" not in place and "stream" not in place
        ]
        assert {"/metrics", "/api/v1/events"} <= {*places}
        for number, place in enumerate([*places, "/", "/tasks/going", "/tasks/nowhere", "/static/x"]):
            for method, headers in (
                ("GET", token),
                ("POST", token),
                ("GET", {}),
                ("POST", token | wrong),
                ("GET", wrong),
            ):
                async with session.request(method, place, headers=headers) as answer:
                    said = f"{answer.status} {dict(answer.headers)}".encode() + await answer.read()
                scene.outputs[f"{method} {place} {number} {len(scene.outputs)}"] = said
    assert any(said.startswith(b"200") for name, said in scene.outputs.items() if name.startswith("GET / "))


async def test_nothing_that_comes_out_holds_a_secret(scene: Scene, ask: Ask) -> None:
    with logs_restored():
        async with a_daemon_in_trouble(scene) as daemon:
            scene.outputs["arguments"] = arguments_of(daemon)
            await ask_the_server(scene, daemon)
            await ask_everything(ask, scene, "--debug", backup="beside.db")
            scene.generation = 2
            scene.write()
            assert "token changed" in await ask("reload")
            second = await commands.taskwatch("run", cwd=scene.directory)
            scene.outputs["second daemon"] = (second.out + second.err).encode()
            await daemon.kill(signal.SIGTERM)
        await ask_everything(ask, scene, backup="alone.db")
        await ask_everything(ask, scene, "--debug", backup="alone-too.db")
    scene.collect(daemon)

    assert scene.leaks() == {}
    assert len(scene.outputs) > 200, "too little came out for this test to mean anything"
    everything = b"".join(scene.outputs.values())
    for word in (
        b"[secret]",
        b"X-Auth-Token",
        b"Authorization",
        b"configuration_reloaded",
        b"operator_acted",
        b"heartbeat_failed",
        b"taskwatch_receiver_up",
    ):
        assert word in everything, f"nobody repeated what this test is about: {word!r}"


async def test_no_log_for_people_holds_a_secret(scene: Scene) -> None:
    scene.format = "console"
    scene.write()
    async with a_daemon_in_trouble(scene) as daemon:
        await reload_by_signal(scene, daemon, daemon.said)
    scene.collect(daemon)

    assert scene.leaks() == {}


DRIVER: Final = """
import asyncio, sys
from pathlib import Path
from taskwatch import telemetry
from taskwatch.app import watch
from taskwatch.notifiers.registry import kinds
from taskwatch.config.load import load
telemetry.configure(format_="journal", level="debug", journal_socket=Path(sys.argv[1]))
asyncio.run(watch(load(Path(sys.argv[-1]), kinds())))
"""


async def test_nothing_that_the_journal_gets_holds_a_secret(scene: Scene, tmp_path: Path) -> None:
    found: list[str] = []

    async def read() -> None:
        while True:
            found.extend(repr(entry) for entry in journal.entries())
            await asyncio.sleep(0.001)

    with Journald(tmp_path / "journal") as journal:
        reader = asyncio.create_task(read())
        under = (sys.executable, "-c", DRIVER, str(journal.path))
        async with a_daemon_in_trouble(scene, lambda: "\n".join(found), under=under) as daemon:
            await reload_by_signal(scene, daemon, lambda: "\n".join(found))
        reader.cancel()
    scene.collect(daemon)
    scene.outputs["journal"] = "\n".join(found).encode()

    assert scene.leaks() == {}


def arguments_of(daemon: Daemon) -> bytes:
    """Return what everybody on the machine can see of the process."""
    assert daemon.process is not None
    return Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()


async def reload_by_signal(scene: Scene, daemon: Daemon, said: Callable[[], str]) -> None:
    """Reload with other secrets, then with mistakes that hold some."""
    assert daemon.process is not None
    scene.generation = 2
    scene.write()
    daemon.process.send_signal(signal.SIGHUP)
    await until(lambda: "configuration_reloaded" in said(), "the reload", said=said)
    for number, mistake in enumerate(MISTAKES, start=1):
        scene.file.write_text(mistake)
        daemon.process.send_signal(signal.SIGHUP)
        await refused(said, count=number)


async def refused(said: Callable[[], str], *, count: int) -> None:
    await until(lambda: said().count("reload_refused") >= count, "the refusal", said=said)


# Mistakes that hold secrets

MISTAKES: Final = (
    f"credentials: {{c: {{type: token, token: '{secret('x')}}}}}",
    f"credentials: {{c: {{type: token, token: [{secret('x')}]}}}}\nprojects: {secret('y')}",
    f"credentials: {{c: {{type: token, tokem: {secret('x')}}}}}",
    f"credentials: {{c: {secret('x')}}}\nreceivers: [{{name: r, type: webhook, url: '{secret('u')}'}}]",
    f"receivers: [{{name: r, type: webhook, url: 'https://u:{CORE}@h/{CORE}', secret: whsec_{CORE}}}]",
    f"receivers: [{{name: r, type: webhook, url: 'https://h/', headers: {{X: [{CORE}]}}, bearer: {{{CORE}: 1}}}}]",
    f"receivers: [{{name: r, type: webhook, url: 'https://h/', basic: {{username: {CORE}, pasword: {CORE}}}}}]",
    f"include: {secret('x')}\nlog: {{format: {CORE}}}\nstore: {{password: {CORE}}}",
)


async def test_no_mistake_in_a_configuration_shows_a_secret_in_any_command(scene: Scene, ask: Ask) -> None:
    for mistake in MISTAKES:
        scene.file.write_text(mistake)
        for name in ("check", "poll", "tasks", "projects", "reload", "route test", "state check", "wait x"):
            said = await ask(*name.split())
            assert "taskwatch.yaml:" in said
            await ask("--debug", *name.split())

    assert scene.leaks() == {}


# Logins: an IAM, a cloud and a proxy that repeat what they were sent


def password(name: str) -> str:
    """Return a secret with what passwords have: each way to repeat it escapes something else of it."""
    return f"{CORE} \"{name}\\'ä&<{CORE}>/+=%{CORE}"


@dataclass
class Logins:
    """A configuration in which everything that logs in meets each way to repeat it."""

    directory: Path
    cloud: RepeatingCloud
    telling: str  # the host of a proxy that repeats its login
    generation: int = 1
    outputs: dict[str, bytes] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.directory / "taskwatch.yaml"

    def write(self) -> None:
        clouds = {way: self._entry(self._iam(way)) for way in OPENSTACK_WAYS}
        (self.directory / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}))
        for name, content in UNUSABLE.items():
            (self.directory / name).write_bytes(content)
            (self.directory / name).chmod(0o600)
        self.file.write_text(json.dumps(self.document(), indent=1))

    def document(self) -> dict[str, Any]:
        credentials, projects = {}, []
        for name, credential, how in self._all():
            credentials[name] = {"rate": "1000/s", **credential}
            identity = {} if "project" in how else {"project_id": name}
            projects.append({"name": name, "endpoint": self.cloud.url, "credential": name, **identity, **how})
        credentials["good"] = self._by_password("good", self._iam("good"))
        return {
            "store": {"path": "taskwatch.db"},
            "log": {"format": "json", "level": "debug"},
            "credentials": credentials,
            "defaults": {"interval": "200ms", "timeout": "5s"},
            "projects": projects,
            "receivers": [{"name": "log", "type": "log"}],
        }

    def _all(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Yield names, credentials and how their project is read."""
        for way in STATUSES:
            yield f"password-{way}", self._by_password(way, self._iam(way)), {}
            yield f"named-{way}", self._by_token(way, self._iam(way)), {"project": "eu-de_x"}
            yield f"token-{way}", self._by_password(way, self._iam("good")), {"project_id": f"{way}-t"}
            yield f"keys-{way}", self._by_keys(way), {"project_id": f"{way}-k"}
            agency = {"type": "agency", "via": "good", "domain_name": "D", "agency_name": "a"}
            yield f"agency-{way}", {**agency, "auth_url": self._iam(way)}, {}
            through = {"proxy": self._proxy(way), "endpoint": "http://behind.example", "project_id": way}
            yield f"proxy-{way}", {"type": "none"}, through
        for way in OPENSTACK_WAYS:
            yield f"cloud-{way}", {"type": "cloud", "cloud": way}, {}
        yield "no-proxy", {"type": "none"}, {"proxy": {"file": "no-url"}}
        yield "no-tunnel", {"type": "none"}, {"proxy": self._proxy("x"), "endpoint": "https://behind.example"}
        for name, host in (("nobody", "127.0.0.1:1"), ("telling", self.telling)):
            yield (
                name,
                {"type": "none"},
                {"proxy": self._proxy("x", host), "endpoint": "https://behind.example"},
            )
        relayed = {"proxy": self._proxy("x", self.telling), "endpoint": "http://behind.example"}
        yield "relayed", {"type": "none"}, relayed
        secure = {"endpoint": self.cloud.url.replace("http:", "https:")}
        yield "no-key", {"type": "none"}, {**secure, "tls": {"cert": "no-pem", "key": "no-pem"}}
        yield "no-ca", {"type": "none"}, {**secure, "tls": {"ca": "no-pem"}}
        for kept in ({"env": "NO_TEXT"}, {"file": "no-text"}):
            (kind,) = kept
            yield f"{kind}-password", {**self._by_password("x", self._iam("401-plain")), "password": kept}, {}
            yield f"{kind}-sk", {**self._by_keys("x"), "secret_key": kept}, {}
            yield f"{kind}-ak", {**self._by_keys("x"), "access_key": kept}, {}
        yield "lines", {**self._by_keys("x"), "security_token": {"file": "two-lines"}}, {}

    def _name(self, name: str) -> str:
        return f"{name}-{self.generation}"

    def _iam(self, way: str) -> str:
        return f"{self.cloud.url}/v3" if way == "good" else f"{self.cloud.url}/{way}/v3"

    def _by_password(self, name: str, auth_url: str) -> dict[str, Any]:
        who = {"username": "u", "user_domain_name": "OTC1", "password": password(self._name(name))}
        return {"type": "password", "auth_url": auth_url, **who}

    def _by_token(self, name: str, auth_url: str) -> dict[str, Any]:
        return {"type": "token", "token": secret(self._name(name)), "auth_url": auth_url}

    def _by_keys(self, name: str) -> dict[str, Any]:
        keys = {"access_key": secret(self._name("AK")), "secret_key": password(self._name(name))}
        return {"type": "aksk", **keys, "security_token": secret(self._name("ST"))}

    def _proxy(self, way: str, host: str = "") -> str:
        login = f"{quote(secret('user'), safe='')}:{quote(password(self._name(way)), safe='')}"
        return f"http://{login}@{host or self.cloud.host}"

    def _entry(self, auth_url: str) -> dict[str, Any]:
        who = {"username": "u", "user_domain_name": "OTC1", "password": password(self._name("entry"))}
        return {"auth": {"auth_url": auth_url, **who, "project_name": "eu-de_x"}, "auth_type": "v3password"}

    def leaks(self) -> dict[str, list[bytes]]:
        found = {name: found[:3] for name, content in self.outputs.items() if (found := leaks(content))}
        signatures = [one.encode() for one in self.cloud.signatures]
        for name, content in self.outputs.items():
            if signed := [one for one in signatures if one in content]:
                found[name] = signed[:3]
        return found


STATUSES: Final = (
    "401-plain", "401-json", "403-nested", "404-go", "407-plain", "400-php", "500-percent", "502-form",
    "429-plain", "429-json", "401-python", "200-json", "201-plain", "302-headers", "401-headers", "500-cut", "500-rubbish",
)  # fmt: skip
OPENSTACK_WAYS: Final = ("401-json", "403-nested", "429-json", "500-plain", "302-headers", "500-rubbish")
UNUSABLE: Final[Mapping[str, bytes]] = {
    "no-url": f"{CORE}:{CORE}@proxy".encode(),
    "no-text": f"{CORE}\xff{CORE}".encode("latin-1"),
    "no-pem": f"-----BEGIN PRIVATE KEY-----\n{CORE * 8}\n-----END PRIVATE KEY-----\n".encode(),
    "two-lines": f"{CORE}\n{CORE}".encode(),
}


@pytest.fixture
async def logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Logins]:
    work = tmp_path / "work"
    work.mkdir()
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_TEXT", os.fsdecode(UNUSABLE["no-text"]))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(work / "clouds.yaml"))
    async with RepeatingCloud(token=secret("iam-token")) as cloud, listening(telling(502)) as proxy:
        logins = Logins(work, cloud, proxy.host)
        logins.write()
        yield logins


@asynccontextmanager
async def a_daemon_that_logs_in(logins: Logins, package: Path | None = None) -> AsyncIterator[Daemon]:
    """Run the daemon until each login has met what repeats it."""
    daemon = Daemon(logins.file, logins.directory / "log", package=package)
    words = {f"/{way}" for way in STATUSES}
    projects = [one["name"] for one in logins.document()["projects"] if "project_id" in one]
    async with daemon:
        await until(lambda: logins.cloud.asked >= words, "each repetition", said=daemon.said)
        await until(
            lambda: {*projects} <= _unreadable(daemon),
            "trouble everywhere",
            said=lambda: str(sorted({*projects} - _unreadable(daemon))),
        )
        yield daemon
    logins.outputs["log"] = daemon.log.read_bytes()
    for file in logins.directory.glob("taskwatch.db*"):
        logins.outputs[f"file {file.name}"] = file.read_bytes()


def _unreadable(daemon: Daemon) -> set[str]:
    lines = (json.loads(line) for line in daemon.said().splitlines(keepends=True) if line.endswith("\n"))
    return {line["project"] for line in lines if line["event"] == "project_unreadable"}


@pytest.mark.timeout(180)  # a hundred logins, again for each command
@pytest.mark.filterwarnings("ignore:Support for InfluxDB")  # openstacksdk warns of itself
async def test_nothing_that_comes_out_of_logins_holds_a_secret(
    logins: Logins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = asking(monkeypatch, capsys, logins.directory, logins.outputs)
    with logs_restored():
        async with a_daemon_that_logs_in(logins) as daemon:
            logins.outputs["arguments"] = arguments_of(daemon)
            for command in (("check", "--online"), ("projects",), ("projects", "--json"), ("poll",)):
                await ask("--debug", *command)
            logins.generation = 2
            logins.write()
            assert "password changed" in await ask("reload")
            await daemon.kill(signal.SIGTERM)
        for command in (("check",), ("check", "--online"), ("poll",), ("poll", "--dry-run"), ("projects",)):
            await ask(*command)
            await ask("--debug", *command)

    assert logins.leaks() == {}
    everything = b"".join(logins.outputs.values())
    for word in (b"[secret]", b"X-Auth-Token", b"Proxy-Authorization", b"Signature", b"X-Security-Token",
                 b"login_refused", b"is not UTF-8 text", b"configuration_reloaded"):  # fmt: skip
        assert word in everything, f"nobody repeated what this test is about: {word!r}"


ENVIRONMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "password": {"OS_USERNAME": "u", "OS_USER_DOMAIN_NAME": "OTC1", "OS_PASSWORD": password("env")},
    "keys": {
        "OS_ACCESS_KEY": secret("AK"), "OS_SECRET_KEY": password("SK"), "OS_SECURITY_TOKEN": secret("ST"),
    },
    "token": {"OS_TOKEN": secret("token")},
    "half": {"OS_PASSWORD": password("half")},
    "no text": {"OS_USERNAME": "u", "OS_USER_DOMAIN_NAME": "OTC1", "OS_PASSWORD": f"{CORE}\udcff{CORE}"},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Support for InfluxDB")
@pytest.mark.parametrize("variables", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
async def test_init_shows_and_writes_no_secret(
    logins: Logins,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: Mapping[str, str],
) -> None:
    ask = asking(monkeypatch, capsys, logins.directory, logins.outputs)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    urls = [logins.cloud.url, *(f"{logins.cloud.url}/{way}/v3" for way in STATUSES)]
    urls += [logins.cloud.url.replace("//", f"//{CORE}:{CORE}@"), f"{CORE}://{CORE}"]
    with logs_restored():
        for number, url in enumerate(urls):
            monkeypatch.setenv("OS_AUTH_URL", url)
            await ask("init", "--config", f"plain-{number}.yaml")
            await ask("--debug", "init", "--config", f"debug-{number}.yaml")
        shown = await commands.taskwatch("init", "--config", "real.yaml", cwd=logins.directory)
    logins.outputs["a process"] = (shown.out + shown.err).encode()
    for file in (*logins.directory.glob("plain-*"), *logins.directory.glob("debug-*")):
        logins.outputs[f"file {file.name}"] = file.read_bytes()

    assert logins.leaks() == {}


CLOUDS: Final = (
    "clouds: {mine: {auth: {password: *" + CORE + "}}}",
    f"clouds:\n  mine:\n    auth: {{password: '{CORE}\n",
    f"clouds: {{mine: {{auth: {secret('x')}}}}}",
    f"clouds: {{mine: {secret('x')}}}",
    f"clouds: {secret('x')}",
    f"clouds: {{mine: {{auth: {{password: [{CORE}, {CORE}]}}}}}}",
    f"clouds: {{mine: {{auth_type: no-such-type, auth: {{password: {CORE}}}}}}}",
    f"clouds: {{mine: {{auth: {{auth_url: 'http://u:{CORE}@h:x/', username: u, password: {CORE}-long}}}}}}",
    f"clouds: {{mine: {{profile: '{CORE}', auth: {{token: {CORE}-long}}}}}}",
    f"clouds: {{mine: {{auth_type: token, auth: {{auth_url: 'http://127.0.0.1:1', token: \"{CORE}\\n{CORE}\"}}}}}}",
    f"clouds: {{mine: {{ak: {CORE}ä, sk: {secret('SK')}, auth: {{auth_url: 'http://127.0.0.1:1/v3'}}}}}}",
    f"{CORE}: \t{{{CORE}",
)


@pytest.mark.filterwarnings("ignore:Support for InfluxDB")
async def test_no_mistake_in_clouds_yaml_shows_a_secret(
    logins: Logins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = asking(monkeypatch, capsys, logins.directory, logins.outputs)
    one = {"name": "p", "project_id": "p", "endpoint": logins.cloud.url}
    logins.file.write_text(
        json.dumps({"credentials": {"c": {"type": "cloud", "cloud": "mine"}}, "projects": [one]})
    )
    with logs_restored():
        for mistake in CLOUDS:
            (logins.directory / "clouds.yaml").write_text(mistake)
            for command in (
                ("check", "--online"),
                ("poll", "--dry-run"),
                ("init", "--cloud", "mine", "-c", "x.yaml"),
            ):
                said = await ask(*command)
                assert "clouds.yaml" in said or "credential" in said
                await ask("--debug", *command)
            assert not (logins.directory / "x.yaml").exists()

    assert logins.leaks() == {}


# The demo, and the test itself


async def test_the_demo_shows_none_of_its_secrets(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path), "NO_COLOR": "1"}
    shown = await commands.taskwatch("demo", "--seconds", "3", cwd=tmp_path, env=env)
    configuration, outputs = written_by_the_demo(tmp_path)
    outputs["shown"] = (shown.out + shown.err).encode()

    secrets = re.search(r'token: (\w{16,}),.*secret: "whsec_([^"]{16,})"', configuration, re.DOTALL)
    assert secrets
    assert shown.code == 0
    for one in secrets.groups():
        assert [name for name, content in outputs.items() if one.encode() in content] == []


def written_by_the_demo(directory: Path) -> tuple[str, dict[str, bytes]]:
    """Return its configuration, and the other files."""
    (file,) = directory.rglob("taskwatch.yaml")
    return file.read_text(), {one.name: one.read_bytes() for one in file.parent.iterdir() if one != file}


PLANTED: Final[Mapping[str, tuple[str, str, str]]] = {
    "a refusal as it came": ("secret.py", "text.replace(secret, _HIDDEN)", "text"),
    "half of a secret": ("secret.py", "return text[:start] + _HIDDEN", "return text"),
    "an escaped secret": ("secret.py", "return {secret, html", "return {secret} or {html"),
    "the whole URL": ("notifiers/http.py", "unconnected(host, ", "unconnected(way.url, "),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
async def test_a_planted_leak_is_found(scene: Scene, tmp_path: Path, planted: tuple[str, str, str]) -> None:
    async with a_daemon_in_trouble(scene, package=planted_in_a_copy(tmp_path, *planted)) as daemon:
        await daemon.kill(signal.SIGTERM)
    scene.collect(daemon)

    assert scene.leaks().keys() >= {"log", "file taskwatch.db"}


PLANTED_IN_LOGINS: Final[Mapping[str, tuple[str, str, str]]] = {
    "the body of a login": ("cloud/iam.py", "Authentication(secrets=(password,))", "Authentication()"),
    "a signature": ("cloud/auth/aksk.py", "secrets=(*keys.secrets, signature)", "secrets=keys.secrets"),
    "the login of a proxy": (
        "urls.py",
        "for text in (user, password, *in_base64, *misread)",
        "for text in ()",
    ),
    "the URL of a proxy": (
        "urls.py",
        'f"the proxy {self.url.host_port_subcomponent}"',
        'f"the proxy {self.url}"',
    ),
}


@pytest.mark.parametrize("planted", PLANTED_IN_LOGINS.values(), ids=PLANTED_IN_LOGINS.keys())
async def test_a_leak_planted_in_logins_is_found(
    logins: Logins, tmp_path: Path, planted: tuple[str, str, str]
) -> None:
    async with a_daemon_that_logs_in(logins, planted_in_a_copy(tmp_path, *planted)) as daemon:
        await daemon.kill(signal.SIGTERM)

    assert logins.leaks().keys() >= {"log"}


def planted_in_a_copy(directory: Path, module: str, right: str, wrong: str) -> Path:
    """Return a copy of the package with this bug."""
    shutil.copytree(Path(taskwatch.__file__).parent, directory / "copy" / "taskwatch")
    file = directory / "copy" / "taskwatch" / module
    source = file.read_text()
    assert source.count(right) == 1, "the planted bug no longer fits the code"
    file.write_text(source.replace(right, wrong))
    return directory / "copy"
