"""docs/operations.md as an operator follows it: its commands, run for real against a cloud and a receiver.

The host is a directory: what the page calls /etc, /var/lib and /var/backups lies in it, and `systemctl` starts
and stops the daemon. What a real systemd adds (ownership, restarts) is in tests/real/test_systemd.py; stores of
all earlier versions are in test_upgrade.py.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import apsw
import pytest
from aiohttp import ClientSession
from standardwebhooks import Webhook, WebhookVerificationError

from taskwatch.store.reader import StoreReader
from taskwatch.store.schema import load_migrations
from tests.fakes.commands import SECONDS, Ended, taskwatch, until
from tests.fakes.oracle import violations
from tests.fakes.pages import ROOT, Block, Command, blocks, commands
from tests.fakes.tasks_endpoint import TasksEndpoint
from tests.fakes.watched import Watched, lines, pid_of
from tests.fakes.webhook_sink import Post, WebhookSink, accept, answer

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

PAGE: Final = (ROOT / "docs" / "operations.md").read_text("utf-8")
GOLDEN: Final = ROOT / "tests" / "golden"
WALKED: Final = {  # each block of commands of the page, by its section and number, is run by a test below
    ("Back up", 0),
    ("Restore after a loss", 0),
    ("Restore after a loss", 1),
    ("Move to another host", 0),
    ("Move to another host", 1),
    ("Rotate secrets", 0),
    ("The secret of a webhook", 0),
    ("The secret of a webhook", 1),
    ("The secret of a webhook", 2),
    ("Upgrade with a backlog", 0),
    ("An alert does not end", 0),
    ("Deliveries pending", 0),
    ("Deliveries dead", 0),
    ("The disk is full", 0),
    ("Too many messages", 0),
}
NOT_WALKED: Final = {("The daemon restarts every few minutes", 0): "it asks systemd"}
NOT_RUN: Final = {"git pull": "it is the tree under test", "make install": "tests/real/test_install_guide.py"}
LOOKING: Final = ("projects", "events", "deliveries", "alerts")  # who does not see it yet looks again
PLACES: Final = re.compile(r"(?<![\w/.}])/(?=(?:etc|var/lib|var/backups)\b)")
TOKEN: Final = "the-first-token"
SECRETS: Final = ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oE")
CONFIGURATION: Final = """\
store: {{path: ../../var/lib/taskwatch/taskwatch.db}}
log: {{format: json}}
server: {server}
credentials: {{c: {{type: token, token: {{file: password}}, rate: 1000/s}}}}
projects:
  - {{name: prod, endpoint: "{cloud}", project_id: "0611f1bd8b00d5d32f17c017f15b599f", interval: 100ms}}
receivers:
  - name: {receiver}
    type: webhook
    url: "{sink}"
    retry: {{initial: 50ms, max: 200ms, horizon: {horizon}}}
    secret: {{file: hook-secret}}
"""


# The page


def section(title: str) -> str:
    """Return what stands below a heading, up to the next one."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no section {title}"
    return found[1]


def blocks_of(title: str, language: str) -> list[Block]:
    return [block for block in blocks(section(title)) if block.language == language]


def steps(title: str, number: int = 0) -> list[Command]:
    assert (title, number) in WALKED
    return commands(blocks_of(title, "console")[number].text)


def unit_lines(key: str) -> list[str]:
    """Return the values of a key in the units of the page, as systemd passes them on."""
    text = "".join(block.text for block in blocks_of("Back up", "ini"))
    return [
        value.replace("%%", "%").replace("$$", "$")
        for value in re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    ]


def test_each_block_of_commands_is_walked_through_or_says_why_not() -> None:
    titles = re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)
    written = {(title, number) for title in titles for number, _ in enumerate(blocks_of(title, "console"))}
    assert written == WALKED | NOT_WALKED.keys()


# The host


@dataclass
class Host:
    """A host as the page has it, below `root`. What runs on it is ended with the block that it was made in."""

    root: Path
    place: Watched
    receiver: str = "pipeline"
    horizon: str = "72h"
    server: str = "off"

    def __post_init__(self) -> None:
        self.daemon = self.place.daemon()

    @property
    def config(self) -> Path:
        return self.root / "etc/taskwatch/taskwatch.yaml"

    @property
    def store(self) -> Path:
        return self.root / "var/lib/taskwatch/taskwatch.db"

    @property
    def backups(self) -> Path:
        return self.root / "var/backups/taskwatch"

    def install(self) -> None:
        """Do what docs/install.md does."""
        for directory in (self.config.parent, self.store.parent, self.root / "var/backups"):
            directory.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            CONFIGURATION.format(
                cloud=self.place.cloud.url,
                sink=self.place.sink.url,
                receiver=self.receiver,
                horizon=self.horizon,
                server=self.server,
            )
        )
        for name, secret in (("password", TOKEN), ("hook-secret", SECRETS[0])):
            (self.config.parent / name).write_text(secret)
            (self.config.parent / name).chmod(0o640)

    def write_secret(self, block: Block) -> None:
        """Write what the page says of the receiver's secret."""
        line = self._here(block.text).strip()
        text, count = re.subn(r"secret: .*", lambda _: line, self.config.read_text())
        assert count == 1
        self.config.write_text(text)

    async def follow(self, step: Sequence[Command]) -> None:
        for command in step:
            if command.text.startswith("systemctl "):
                await self.systemctl(command.text)
            elif command.text not in NOT_RUN:
                await self.run(command)

    async def run(self, command: Command) -> Ended:
        """Run it until it prints what the page says."""
        looks = any(command.text.startswith(f"taskwatch {name}") for name in LOOKING)
        limit = time.monotonic() + (SECONDS if looks else 0.0)
        while True:
            ended = await self.shell(command.text)
            if ended.code == 0 and (not command.printed or command.prints(ended.out)):
                return ended
            assert time.monotonic() < limit, (
                f"{command.text}\n{ended}\nthe page says:\n{command.printed}\n{self.said()}"
            )
            await asyncio.sleep(0.1)

    async def shell(self, text: str) -> Ended:
        process = await asyncio.create_subprocess_shell(
            f"umask 022; {self._here(text)}",
            cwd=self.root,
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "TASKWATCH_CONFIG": str(self.config),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
        assert process.returncode is not None
        return Ended(process.returncode, self._there(out), self._there(err))

    async def systemctl(self, text: str) -> None:
        verb = text.split()[1]
        if verb in ("stop", "disable", "restart"):
            await self.stop()
        if verb in ("start", "enable", "restart"):
            await self.start()

    async def start(self) -> None:
        before = self.said().count('"watching"')
        await self.daemon.start()
        await until(lambda: self.said().count('"watching"') > before, "the start", said=self.said)

    async def stop(self) -> None:
        if self.daemon.process is not None:
            number = 0 if self.daemon.process.returncode is None else self.daemon.process.returncode
            assert await self.daemon.kill(signal.SIGTERM) == number

    async def refusal(self) -> str:
        """Start the daemon; return the line with which it ends with 78."""
        ended = await taskwatch("run", "-c", str(self.config), cwd=self.root)
        assert ended.code == 78, ended
        return ended.err.splitlines()[-1]

    def said(self) -> str:
        return self.daemon.said()

    def _here(self, text: str) -> str:
        """The page's places are below `root`, its group and its place of the command are on no host of a test."""
        text = text.replace("-g taskwatch-secrets ", "").replace("/usr/local/bin/taskwatch", "taskwatch")
        return PLACES.sub(f"{self.root}/", text)

    def _there(self, said: bytes) -> str:
        return said.decode().replace(str(self.root), "").replace("/etc/taskwatch/../..", "")


@pytest.fixture
async def cloud() -> AsyncIterator[TasksEndpoint]:
    async with TasksEndpoint(token=TOKEN) as cloud:
        yield cloud


@asynccontextmanager
async def installed(
    root: Path,
    cloud: TasksEndpoint,
    sink: WebhookSink,
    *,
    receiver: str = "pipeline",
    horizon: str = "72h",
    server: str = "off",
) -> AsyncIterator[Host]:
    place = Watched(root / "etc/taskwatch", cloud, sink)
    host = Host(root, place, receiver=receiver, horizon=horizon, server=server)
    host.install()
    try:
        yield host
    finally:
        if host.daemon.process is not None:
            await host.daemon.kill()


@pytest.fixture
async def host(tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink) -> AsyncIterator[Host]:
    async with installed(tmp_path, cloud, sink) as host:
        yield host


async def watching(host: Host, *going: str) -> None:
    """Start, with these tasks running at the baseline."""
    host.place.begin(*going)
    host.place.silent = dict.fromkeys(going, "Running")
    await host.start()
    await host.place.baseline(host.daemon)


def told_of(posts: Sequence[Post], job_id: str) -> list[Post]:
    """Return the steps of a task as they were told; that an alert of it is over is none."""
    return [post for post in posts if post.event["subject"] == job_id and "transition" in post.event["data"]]


def step_of(post: Post) -> tuple[str | None, str]:
    transition = post.event["data"]["transition"]
    return transition["from"], transition["to"]


# Back up, restore


async def test_after_a_loss_the_backup_comes_back_and_tells_what_it_missed_under_the_same_ids(
    host: Host,
) -> None:
    place, sink = host.place, host.place.sink
    await watching(host, "known", "waiting", "meanwhile", "still")
    sink.choose = lambda: answer(503)
    place.end("waiting")
    await until(lambda: '"delivery_failed"' in host.said(), "a queue", said=host.said)
    before = list(sink.accepted)
    await host.follow(steps("Back up"))

    # What the backup does not know: told, and then forgotten.
    sink.choose = lambda: accept
    place.end("known")
    place.begin("new", "brief")
    await until(lambda: len(told_of(sink.accepted, "brief")) == 1, "its start", said=host.said)
    place.end("brief")
    await place.told(host.daemon)
    forgotten = sink.accepted[len(before) :]
    await host.daemon.kill()
    host.store.unlink()
    place.end("meanwhile")
    said = await host.refusal()
    after = len(sink.accepted)

    await host.follow(steps("Restore after a loss"))

    def again() -> Sequence[Post]:
        return sink.accepted[after:]

    def wrong() -> list[str]:
        return violations(
            {"the restored": [(post.id, post.body) for post in (*before, *again())]},
            last={one["job_id"]: one["status"] for one in place.cloud.rows},
            served=place.cloud.served,
            silent=place.silent,
        )

    await until(lambda: not wrong(), "all told", said=lambda: f"{host.said()}{wrong()}")
    assert "is gone, and taskwatch.db.id beside it says that it was there" in said
    same = {
        job_id: [
            [(post.id, step_of(post)) for post in told_of(posts, job_id)] for posts in (forgotten, again())
        ]
        for job_id in ("known", "waiting", "new")
    }
    assert all(first == second and len(first) == 1 for first, second in same.values()), same
    (first,), (second,) = told_of(forgotten, "waiting"), told_of(again(), "waiting")
    assert first.body == second.body, "what waits has its bytes already"
    assert [step_of(post) for post in told_of(forgotten, "brief")] == [
        (None, "Running"),
        ("Running", "Failed"),
    ]
    (whole,) = told_of(again(), "brief")
    assert step_of(whole) == (None, "Failed")
    assert whole.id not in {post.id for post in forgotten}
    assert told_of(forgotten, "meanwhile") == []
    (missed,) = told_of(again(), "meanwhile")
    assert missed.event["data"]["transition"]["late"]
    assert told_of(again(), "still") == [], "nothing happened to it"


async def test_a_backup_is_for_its_owner_alone_and_holds_no_secret(host: Host) -> None:
    await watching(host, "known")
    await host.follow(steps("Back up"))

    (backup,) = host.backups.glob("*.db")
    assert backup.stat().st_mode & 0o777 == 0o600
    assert host.backups.stat().st_mode & 0o777 == 0o700
    assert not any(secret.encode() in backup.read_bytes() for secret in (TOKEN, *SECRETS))
    (configuration,) = host.backups.glob("*.tgz")
    listed = (await host.shell(f"tar -tzf {configuration}")).out.split()
    assert {f"taskwatch/{name}" for name in ("taskwatch.yaml", "password", "hook-secret")} <= set(listed)


async def test_the_timer_and_cron_make_one_backup_a_day_and_delete_only_what_is_old(host: Host) -> None:
    host.backups.mkdir()
    await watching(host, "known")
    (backup,), (clean,) = unit_lines("ExecStart"), unit_lines("ExecStartPost")
    (cron,) = re.findall(r"^[\d* ]+root (.*)$", section("Back up"), re.MULTILINE)

    first = await host.shell(shlex.join(["sh", "-c", shlex.split(backup)[2]]))
    (made,) = host.backups.iterdir()
    content = made.read_bytes()
    second = await host.shell(shlex.join(["sh", "-c", shlex.split(backup)[2]]))
    assert (first.code, second.code) == (0, 1)
    assert "is there already; name another file" in second.err
    assert made.read_bytes() == content

    old = host.backups / "2026-01-01.db"
    for file, days in ((old, 16), (host.backups / "2026-01-02.db", 13)):
        file.touch()
        os.utime(file, (time.time() - days * 86_400,) * 2)
    assert (await host.shell(shlex.join(shlex.split(clean)))).code == 0
    assert old.exists() is False
    assert {file.name for file in host.backups.iterdir()} == {made.name, "2026-01-02.db"}

    made.unlink()
    by_cron = await host.shell(cron.replace("\\%", "%"))
    assert (by_cron.code, made.exists()) == (0, True), by_cron


async def test_without_a_backup_a_new_store_begins_with_a_baseline_and_keeps_what_is_left(host: Host) -> None:
    place, sink = host.place, host.place.sink
    await watching(host, "lost", "after")
    await host.daemon.kill()
    host.store.unlink()
    place.end("lost")
    await host.refusal()

    await host.follow(steps("Restore after a loss", 1))
    await until(lambda: len(sink.accepted) == 2, "a new baseline", said=host.said)
    place.end("after")
    await until(lambda: told_of(sink.accepted, "after") != [], "what comes after it", said=host.said)

    assert told_of(sink.accepted, "lost") == []
    assert [file.suffix for file in host.store.parent.glob("taskwatch.db.lost-*") if file.suffix == ".id"]


# Move


async def test_on_another_host_nothing_is_lost_and_nothing_is_told_twice(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    async with (
        installed(tmp_path / "old", cloud, sink) as old,
        installed(tmp_path / "new", cloud, sink) as new,
    ):
        await watching(old, "queued", "meanwhile", "both")
        shutil.rmtree(new.config.parent)
        shutil.rmtree(new.store.parent)
        old.backups.mkdir()
        sink.choose = lambda: answer(503)
        old.place.end("queued")
        await until(lambda: '"delivery_failed"' in old.said(), "a queue", said=old.said)

        await old.follow(steps("Move to another host"))
        old.place.end("meanwhile")
        sink.choose = lambda: accept
        shutil.copytree(old.backups, new.backups)
        await new.follow(steps("Move to another host", 1))
        new.place.silent = old.place.silent
        await new.place.told(new.daemon)
        assert new.place.told_twice() == []
        (missed,) = told_of(sink.accepted, "meanwhile")
        assert missed.event["data"]["transition"]["late"]

        # And what the page warns of: both tell, under one id.
        await old.start()
        await until(lambda: len(told_of(sink.accepted, "meanwhile")) == 2, "the other one", said=old.said)
        new.place.end("both")
        await until(lambda: len(told_of(sink.accepted, "both")) == 2, "both", said=old.said)
        assert len({post.id for post in told_of(sink.accepted, "both")}) == 1
        assert len({post.id for post in told_of(sink.accepted, "meanwhile")}) == 1
        assert new.place.violations() == [
            wrong for wrong in new.place.violations() if "two bodies" in wrong
        ], "each store has its own observation of a change, and nothing else differs"


async def test_a_stopped_store_may_be_copied_with_its_marker_and_the_marker_alone_starts_nothing(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    async with (
        installed(tmp_path / "old", cloud, sink) as old,
        installed(tmp_path / "new", cloud, sink) as new,
    ):
        await watching(old, "going")
        await old.stop()
        marker = new.store.with_name("taskwatch.db.id")
        shutil.copy(old.store.with_name("taskwatch.db.id"), marker)
        assert "is gone" in await new.refusal()
        for file in old.store.parent.glob("taskwatch.db-wal"):
            shutil.copy(file, new.store.parent)
        shutil.copy(old.store, new.store)
        old.place.end("going")
        await new.start()
        new.place.silent = old.place.silent
        await new.place.told(new.daemon)


# Secrets


@asynccontextmanager
async def load(host: Host) -> AsyncIterator[None]:
    """Let tasks begin and end, four at a time, each step as soon as the one before was told."""

    async def told(job_id: str, steps: int) -> None:
        await until(
            lambda: len(told_of(host.place.sink.accepted, job_id)) >= steps, "the next step", said=host.said
        )

    async def chain(name: str) -> None:
        for number in count():
            job_id = f"{name}-{number}"
            host.place.begin(job_id)
            await told(job_id, 1)
            host.place.end(job_id)
            await told(job_id, 2)

    chains = [asyncio.create_task(chain(name)) for name in "abcd"]
    try:
        yield
    finally:
        for one in chains:
            one.cancel()
        for ended in await asyncio.gather(*chains, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


def verifies(post: Post, secret: str) -> bool:
    try:
        Webhook(secret).verify(post.body, dict(post.headers))
    except WebhookVerificationError:
        return False
    return True


def signatures(post: Post) -> int:
    return len(post.headers["webhook-signature"].split())


async def test_while_the_secret_of_a_webhook_changes_each_delivery_verifies_with_that_of_the_receiver(
    host: Host,
) -> None:
    title, sink = "The secret of a webhook", host.place.sink
    turns = count()
    sink.choose = lambda: answer(503) if next(turns) % 3 == 2 else accept  # some are tried again
    secret_file = host.config.parent / "hook-secret"
    both, alone = blocks_of(title, "yaml")

    async def some() -> int:
        """Wait until what was sent before has arrived, and more."""
        limit = len(sink.posts) + 12
        await until(lambda: len(sink.posts) >= limit, "deliveries", said=host.said)
        return len(sink.posts)

    await watching(host)
    async with load(host):
        await some()
        await host.follow(steps(title))
        host.write_secret(both)
        await host.follow(steps(title, 1))
        new = secret_file.read_text().strip()
        given = await some()  # the receiver has the new one from here on
        await some()
        host.write_secret(alone)
        await host.follow(steps(title, 2))
        await some()
        done = await some()
        await some()

    assert new != SECRETS[0]
    by_old, by_new = sink.posts[:given], sink.posts[given:]
    assert [post.id for post in by_old if not verifies(post, SECRETS[0])] == []
    assert [post.id for post in by_new if not verifies(post, new)] == []
    assert {signatures(post) for post in by_old} == {1, 2}
    assert {signatures(post) for post in sink.posts[done:]} == {1}
    assert [post.id for post in sink.posts[done:] if verifies(post, SECRETS[0])] == []
    assert sorted(file.name for file in host.config.parent.iterdir()) == [
        "hook-secret", "log", "password", "taskwatch.yaml",
    ]  # fmt: skip
    await host.place.told(host.daemon)


async def test_a_token_that_is_written_into_its_file_counts_without_a_restart(host: Host) -> None:
    place = host.place
    await watching(host, "going")
    pid = pid_of(host.daemon)
    place.cloud.token = "the-second-token"
    place.end("going")
    await until(lambda: '"project_unreadable"' in host.said(), "the refusal", said=host.said)
    shown = await host.run(Command(text="taskwatch projects", by_root=True, printed=LOGIN))
    online = await host.shell("taskwatch check --online")
    assert ("check the token in /etc/taskwatch/password" in shown.out, online.code) == (True, 3)

    (host.root / "password").write_text(place.cloud.token)
    await host.follow(steps("Rotate secrets"))
    await place.told(host.daemon)

    assert (await host.shell("taskwatch check --online")).code == 0
    assert pid_of(host.daemon) == pid
    assert host.said().count('"watching"') == 1


LOGIN: Final = """\
PROJECT  STATE       READ     …  TROUBLE
prod     in trouble  … s ago  …  login for … s
prod: 127.0.0.1:… answered 401 APIGW.0301 "…": check the token in …, and that endpoint is of its region
"""


async def test_a_token_of_the_server_that_is_written_into_its_file_counts_at_once(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    server = "{listen: 127.0.0.1:0, token: {file: server.token}}"
    async with installed(tmp_path, cloud, sink, server=server) as host, ClientSession() as session:
        file = host.config.parent / "server.token"
        file.touch(0o600)
        file.write_text("first")
        await watching(host)
        (url,) = [line["url"] for line in lines(host.daemon) if line["event"] == "server_listening"]

        async def is_let_in(token: str) -> bool:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"{url}/api/v1/openapi.json", headers=headers) as answered:
                return answered.status != 401

        assert [await is_let_in(token) for token in ("first", "second")] == [True, False]
        file.write_text("second")
        assert [await is_let_in(token) for token in ("first", "second")] == [False, True]


# Upgrade


@pytest.fixture(params=["0.4.0", "0.5.0"])
async def old_host(
    request: pytest.FixtureRequest, tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink
) -> AsyncIterator[Host]:
    """Yield a host on which an earlier version ran, and left a backlog for the receiver `hook`."""
    async with installed(tmp_path, cloud, sink, receiver="hook") as host:
        host.backups.mkdir()
        for name in ("taskwatch.db", "taskwatch.db.id"):
            shutil.copyfile(GOLDEN / request.param / name, host.store.with_name(name))
            host.store.with_name(name).chmod(0o600)
        yield host


def version_of(store: Path) -> int:
    with closing(apsw.Connection(str(store), apsw.SQLITE_OPEN_READONLY)) as connection:
        version: int = connection.pragma("user_version")
    return version


def pending_for(host: Host) -> list[tuple[str, bytes]]:
    """Return ids and bodies of what waits, the oldest first."""
    with closing(apsw.Connection(str(host.store), apsw.SQLITE_OPEN_READONLY)) as connection:
        return [
            (id_, bytes(body))
            for id_, body in connection.execute(
                "SELECT e.id, e.body FROM deliveries d JOIN events e ON e.seq = d.event"
                " WHERE d.receiver = ? AND d.state = 'pending' ORDER BY d.id",
                (host.receiver,),
            )
        ]


def task_of(told: tuple[str, bytes]) -> str:
    subject: str = json.loads(told[1])["subject"]
    return subject


async def test_a_backlog_of_an_earlier_version_goes_out_after_the_upgrade_as_it_was(old_host: Host) -> None:
    host, newest = old_host, load_migrations()[-1].number
    was, waiting = version_of(host.store), pending_for(host)
    assert len(waiting) > 1
    foretold = await host.shell("taskwatch state check")

    await host.follow(steps("Upgrade with a backlog"))
    known = {id_ for id_, _ in waiting}

    def taken() -> list[tuple[str, bytes]]:
        return [(post.id, post.body) for post in host.place.sink.accepted if post.id in known]

    await until(lambda: len(taken()) >= len(waiting), "the backlog", said=host.said)

    assert (f"version {was}, the next start makes it {newest}" in foretold.out) is (was < newest)
    assert sorted(taken(), key=task_of) == sorted(waiting, key=task_of), "in the order of each task"
    copies = {int(file.suffix.rpartition("-")[2]): version_of(file) for file in copies_of(host)}
    assert copies == ({newest: was} if was < newest else {})
    (backup,) = host.backups.iterdir()
    assert version_of(backup) == was
    with StoreReader(host.store) as reader:
        dead = [row.event_id for row in reader.deliveries(receiver="hook", state="dead")]
    assert dead
    assert not {post.id for post in host.place.sink.posts} & set(dead), "dead before, dead after"


def copies_of(host: Host) -> Iterator[Path]:
    return host.store.parent.glob("taskwatch.db.before-*")


async def test_an_older_program_refuses_a_newer_store_and_the_copy_leads_back(
    old_host: Host,
) -> None:
    host = old_host
    sink = host.place.sink
    await host.start()
    await until(
        lambda: any(post.event["type"].endswith("baseline") for post in sink.accepted),
        "a poll",
        said=host.said,
    )
    await host.stop()
    newer = load_migrations()[-1].number + 1
    shutil.copyfile(host.store, kept := host.store.with_name(f"taskwatch.db.before-{newer}"))
    with closing(apsw.Connection(str(host.store))) as connection:
        connection.pragma("user_version", newer)
    content = host.store.read_bytes()

    said = await host.refusal()
    assert f"has version {newer}, this taskwatch knows up to {newer - 1}; run the newer taskwatch" in said
    assert re.search(r"has version \d+, this taskwatch knows up to \d+; run the newer taskwatch", PAGE)
    assert host.store.read_bytes() == content
    for command in ("deliveries", "state check", f"state backup {host.backups}/x.db"):
        assert (await host.shell(f"taskwatch {command}")).code == 78

    shutil.copyfile(kept, host.backups / "back.db")
    await host.follow(
        [step for step in steps("Restore after a loss") if not step.text.startswith("taskwatch projects")]
    )
    host.place.begin("new")
    await until(lambda: told_of(sink.accepted, "new") != [], "what is new", said=host.said)


# Troubleshooting


async def test_what_waits_is_shown_and_goes_out_when_the_receiver_is_tried(host: Host) -> None:
    sink = host.place.sink
    await watching(host)
    sink.choose = lambda: answer(410)
    host.place.begin("going")
    await until(lambda: '"receiver_paused"' in host.said(), "the pause", said=host.said)
    await host.follow(steps("Deliveries pending"))
    (row,) = [json.loads(line) for line in (await host.shell(f"{PENDING} --json")).out.splitlines()]
    assert row["reason"] == "gone"
    await host.follow(steps("Too many messages"))
    await host.follow(steps("The disk is full"))

    sink.choose = lambda: accept
    tried = await host.shell("taskwatch receiver test pipeline")
    assert (tried.code, "accepted it" in tried.out) == (0, True), tried
    await host.place.told(host.daemon)


PENDING: Final = "taskwatch deliveries --state pending"


async def test_what_is_dead_is_shown_and_sent_again(
    tmp_path: Path, cloud: TasksEndpoint, sink: WebhookSink
) -> None:
    async with installed(tmp_path, cloud, sink, horizon="10ms") as host:
        await watching(host)
        sink.choose = lambda: answer(503)
        host.place.begin("going")
        await until(lambda: '"delivery_dead"' in host.said(), "its death", said=host.said)
        sink.choose = lambda: accept
        await host.follow(steps("Deliveries dead"))
        await until(lambda: told_of(sink.accepted, "going") != [], "the replay", said=host.said)
        assert [post.headers.get("webhook-replay") for post in told_of(sink.accepted, "going")] == ["1"]


async def test_an_alert_that_does_not_end_is_resolved_by_hand(host: Host) -> None:
    job_id = "6a123743-60d7-44e1-a4f0-21f17d6615ad"
    host.place.begin(job_id)
    host.place.cloud.rows[0] |= {"name": "RestoreGaussDBV5InInstance"}
    host.place.cloud.rows[0]["instance_info"] |= {"instance_name": "orders"}
    host.place.silent = {job_id: "Running"}
    await host.start()
    await host.place.baseline(host.daemon)
    host.place.end(job_id)
    await host.place.told(host.daemon)
    listed, resolved = steps("An alert does not end")
    await host.run(listed)

    ended = await host.shell(resolved.text)

    assert (ended.code, resolved.prints(ended.out + ended.err)) == (0, True), ended
    await until(lambda: host.place.sink.accepted[-1].event["type"] == "taskwatch.task.resolved", "its end")


async def test_exit_78_says_what_the_page_says_it_does(host: Host) -> None:
    await watching(host, "going")
    await host.stop()
    marker, content = host.store.with_name("taskwatch.db.id"), host.store.read_bytes()
    sayings = {}
    identity = marker.read_text()
    marker.write_text("another\n")
    sayings["another store"] = await host.refusal()
    marker.write_text(identity)
    host.store.write_bytes(content[:4096] + bytes(len(content) - 4096))
    sayings["damaged"] = await host.refusal()
    checked = await host.shell("taskwatch state check")
    refused = await host.shell(f"taskwatch state backup {host.root}/x.db")
    host.store.unlink()
    sayings["gone"] = await host.refusal()
    host.config.write_text(host.config.read_text().replace("projects:", "project:"))
    sayings["configuration"] = await host.refusal()

    assert (checked.code, refused.code, (host.root / "x.db").exists()) == (78, 78, False)
    page = section("Exit 78")
    for words, kind in {
        "is another store than taskwatch.db.id beside it speaks of": "another store",
        "is damaged (": "damaged",
        "is gone, and taskwatch.db.id beside it says that it was there": "gone",
    }.items():
        assert words in sayings[kind]
        assert words in page
    assert re.search(r"taskwatch\.yaml:\d+:\d+: ", sayings["configuration"])
