"""The unit under a real systemd: started, reloaded, hung, killed, misconfigured, stopped."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.booted_systemd import Box, CannotBootError, booted
from tests.fakes.commands import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

UNIT = (Path(__file__).parents[2] / "systemd" / "taskwatch.service").read_text("utf-8")
PYTHON = "/opt/taskwatch/bin/python"
TASKWATCH = "/opt/taskwatch/bin/taskwatch"
CONFIGURATION_PATH = "/etc/taskwatch/taskwatch.yaml"
DROP_INS = "/etc/systemd/system/taskwatch.service.d"
HOOKS = "/srv/hooks.jsonl"
SOCKET = "/run/taskwatch/server.sock"
TOKEN = "simulated-token"
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

CLOUD = """\
[Service]
Type=exec
ExecStart=/opt/taskwatch/bin/taskwatch simulate --listen 127.0.0.1:9799 --projects 1 --tasks-per-day 0
"""
SINK_UNIT = f"""\
[Service]
Type=exec
ExecStart={PYTHON} /srv/sink.py
"""
SINK = f"""\
import http.server
import json
import time
from standardwebhooks import Webhook

class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        Webhook({SECRET!r}).verify(body, {{name.lower(): value for name, value in self.headers.items()}})
        with open({HOOKS!r}, "a") as hooks:
            print(json.dumps({{"path": self.path, "event": json.loads(body)}}), file=hooks)
        if self.path == "/hang":
            time.sleep(600)
        self.send_response(204)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", 9700), Sink).serve_forever()
"""
ASK = """\
import sys, urllib.request
url, body = sys.argv[1:]
print(urllib.request.urlopen(url, body.encode() or None, 10).read().decode())
"""
CONFIGURATION = """\
log: {{level: debug}}
credentials: {{simulated: {{type: token, token: {{file: /etc/taskwatch/token}}}}}}
projects:
  - {{name: prod, endpoint: "http://127.0.0.1:9799", project_id: "{project_id}", interval: 500ms}}
receivers:
  - {{name: hook, type: webhook, url: "http://127.0.0.1:9700/hook", secret: {{credential: hook-secret}}}}
"""
SECOND_RECEIVER = """\
  - {name: second, type: webhook, url: "http://127.0.0.1:9700/second", secret: {credential: hook-secret}}
"""
HANGING_RECEIVER = """\
  - {name: hanging, type: webhook, url: "http://127.0.0.1:9700/hang", secret: {credential: hook-secret}, timeout: 5m}
"""
TEMPLATED_RECEIVER = """\
  - name: templated
    type: webhook
    url: "http://127.0.0.1:9700/templated"
    secret: {credential: hook-secret}
    template: '{"type": "{{ event.type }}", "subject": {{ (event.subject ~ "!" * 3) | tojson }}}'
"""
STORE = """\
store: {path: /var/lib/taskwatch/taskwatch.db}
"""
DROP_IN = """\
[Service]
SupplementaryGroups=taskwatch-secrets
LoadCredential=hook-secret:/etc/taskwatch/hook-secret
RestartSec=200ms
"""
BLOCKED_LOOP = """\
import asyncio, time
from taskwatch.__main__ import main

run = asyncio.run

def block():
    time.sleep(600)

async def blocked(daemon):
    asyncio.get_running_loop().call_later(2, block)
    await daemon

asyncio.run = lambda daemon: run(blocked(daemon))
main()
"""


@dataclass
class Service:
    """The daemon as a unit of the box, with a simulated cloud to watch and a webhook to tell."""

    box: Box
    project_id: str
    began: int  # microseconds of the wall clock: what the journal held before belongs to other tests

    def configure(self, more: str = "") -> None:
        self.box.write(CONFIGURATION_PATH, CONFIGURATION.format(project_id=self.project_id) + more)

    def drop_in(self, text: str) -> None:
        """Change the unit as an operator would."""
        self.box.write(f"{DROP_INS}/test.conf", text)
        self.box.systemctl("daemon-reload")

    def shown(self, name: str) -> str:
        return self.box.shown("taskwatch", name)

    async def start(self) -> None:
        """Start, and wait for the baseline: what ended before it would not be told."""
        self.box.systemctl("start", "taskwatch", check=False)
        assert self.shown("ActiveState") == "active", self.said()
        await until(
            lambda: ("project.baseline", self.project_id) in self.told(), "the baseline", said=self.said
        )

    def signal(self, name: str) -> None:
        self.box.systemctl("kill", "--kill-whom=main", f"--signal={name}", "taskwatch")

    def journal(self) -> list[dict[str, Any]]:
        entries = self.box.journal("taskwatch")
        return [entry for entry in entries if int(entry["__REALTIME_TIMESTAMP"]) >= self.began]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.journal() if entry.get("TASKWATCH_EVENT") == event]

    def said(self) -> str:
        return "\n".join(str(entry["MESSAGE"]) for entry in self.journal())

    def asks(self, *arguments: str, under: tuple[str, ...] = ()) -> str:
        """Ask with curl; return the status, 000 where there is no answer."""
        curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30", *arguments)
        return self.box.run(*under, *curl, check=False)

    def ends_a_task(self, outcome: str = "Failed") -> str:
        """Let a task begin in the cloud that ends soon; return its id."""
        asked = json.dumps({"outcome": outcome, "seconds": 1})
        answer = self.box.run(PYTHON, "-c", ASK, "http://127.0.0.1:9799/_simulator/tasks", asked)
        return str(json.loads(answer)["task"]["job_id"])

    def told(self, path: str = "/hook") -> list[tuple[str, str]]:
        """Return type and subject of the events that arrived with a signature that verifies, in order."""
        hooks = [json.loads(line) for line in self.box.run("cat", HOOKS).splitlines()]
        return [(hook["event"]["type"].removeprefix("taskwatch."), hook["event"]["subject"])
                for hook in hooks if hook["path"] == path]  # fmt: skip

    async def tells(self, job_id: str, path: str = "/hook") -> None:
        """Wait until the failure of this task is told."""
        await until(
            lambda: ("task.failed", job_id) in self.told(path), f"{job_id} told at {path}", said=self.said
        )


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with ExitStack() as stack:
        try:
            box = stack.enter_context(booted(tmp_path_factory.mktemp("systemd")))
        except CannotBootError as error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
        box.write("/etc/systemd/system/taskwatch.service", UNIT)
        box.write("/etc/systemd/system/cloud.service", CLOUD)
        box.write("/etc/systemd/system/sink.service", SINK_UNIT)
        box.write("/srv/sink.py", SINK)
        box.write("/srv/blocked_loop.py", BLOCKED_LOOP)
        box.write("/etc/taskwatch/hook-secret", SECRET, mode="0600")
        box.run("groupadd", "--system", "taskwatch-secrets")
        box.write("/etc/taskwatch/token", TOKEN, mode="0640")
        box.run("chgrp", "taskwatch-secrets", "/etc/taskwatch/token")
        box.systemctl("daemon-reload")
        box.systemctl("start", "cloud", "sink")
        yield box


@pytest.fixture
async def service(box: Box) -> AsyncIterator[Service]:
    """Yield the unit, not started, with an empty store and the configuration above; stop it in the end."""
    service = Service(box, project_id=await _project_id(box), began=time.time_ns() // 1000)
    box.run("rm", "-rf", "/var/lib/private/taskwatch")
    box.write(HOOKS, "")
    service.configure()
    service.drop_in(DROP_IN)
    yield service
    box.systemctl("stop", "taskwatch")
    box.systemctl("reset-failed", check=False)


async def _project_id(box: Box) -> str:
    """Wait until the cloud answers; return the id of its one project."""
    asked = (PYTHON, "-c", ASK, "http://127.0.0.1:9799/_simulator/projects", "")
    await until(lambda: box.run(*asked, check=False) != "", "the simulated cloud")
    return str(json.loads(box.run(*asked))["projects"][0]["project_id"])


async def test_the_start_is_done_when_the_daemon_watches(service: Service) -> None:
    service.box.systemctl("start", "taskwatch")
    assert service.shown("ActiveState") == "active"
    assert service.logged("watching")
    assert service.shown("StatusText")
    assert service.shown("StatusText").isprintable()


async def test_the_service_says_on_loopback_that_it_is_ready(service: Service) -> None:
    await service.start()
    assert service.box.run("curl", "-sS", "http://127.0.0.1:9720/-/ready") == "ready\n"
    assert (
        service.asks("-X", "POST", "http://127.0.0.1:9720/-/reload") == "403"
    )  # changes want a token or a socket


async def test_over_its_socket_root_may_change_things_and_others_may_not(service: Service) -> None:
    """The unit's users are a namespace of their own: that the daemon knows root all the same is the question."""
    service.configure(f"server: {{listen: 'unix:{SOCKET}'}}\n")
    service.drop_in(DROP_IN + "RuntimeDirectory=taskwatch\nRuntimeDirectoryMode=0755\n")
    await service.start()
    reload = ("-X", "POST", "--unix-socket", SOCKET, "http://taskwatch/-/reload")
    assert service.asks(*reload) == "200"
    assert service.logged("operator_acted")[0]["TASKWATCH_BY"].startswith("root (uid 0)")

    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert service.asks(*reload, under=nobody) == "000"  # it may not open the socket
    service.box.run("chmod", "0666", SOCKET)
    assert service.asks(*reload, under=nobody) == "403"
    service.box.systemctl("stop", "taskwatch")
    assert service.box.run("ls", "/run/taskwatch", check=False) == ""


async def test_a_full_disk_at_the_start_is_waited_for(service: Service) -> None:
    directory = "/var/lib/private/taskwatch"
    service.box.run("mkdir", "-p", directory)
    service.box.run("mount", "-t", "tmpfs", "-o", "size=64k", "full", directory)
    try:
        service.box.run("dd", "if=/dev/zero", f"of={directory}/ballast", check=False)
        service.box.systemctl("start", "--no-block", "taskwatch")
        await until(lambda: bool(service.logged("standing_by")), "that it waits", said=service.said)
        assert service.shown("ActiveState") == "activating"
        assert service.asks("http://127.0.0.1:9720/-/healthy") == "200"
        assert service.asks("http://127.0.0.1:9720/-/ready") == "503"

        service.box.run("mount", "-o", "remount,size=64m", directory)
        await until(lambda: service.shown("ActiveState") == "active", "the start", said=service.said)
        assert len(service.logged("standing_by")) == 1
        assert service.shown("NRestarts") == "0"
        assert service.asks("http://127.0.0.1:9720/-/ready") == "200"
    finally:
        service.box.systemctl("stop", "taskwatch")
        service.box.run("umount", "--lazy", directory)


async def test_both_ways_for_secrets_to_reach_the_service_work(service: Service) -> None:
    """The cloud asks for the token in a file of the group, the sink for a signature with the credential."""
    await service.start()
    await service.tells(service.ends_a_task())
    assert SECRET not in service.said()
    assert TOKEN not in service.said()


async def test_templates_are_filled_in_under_the_hardened_unit(service: Service) -> None:
    """Their worker limits itself and ends with the service, whatever the unit forbids."""
    service.configure(TEMPLATED_RECEIVER)
    await service.start()
    await service.tells(f"{service.ends_a_task()}!!!", "/templated")
    assert service.logged("template_failed") == []
    service.box.systemctl("stop", "taskwatch")
    assert "templates.worker" not in service.box.run("ps", "-e", "-o", "args")


async def test_the_store_is_private(service: Service) -> None:
    await service.start()
    store = "/var/lib/taskwatch"
    assert service.box.run("readlink", store).strip() == "private/taskwatch"
    assert service.box.run("stat", "--dereference", "--format=%a", store).strip() == "700"
    modes = service.box.run("find", f"{store}/", "-type", "f", "-printf", "%m %f\n").splitlines()
    assert "600 taskwatch.db" in modes
    assert all(mode.startswith("600 ") for mode in modes)


async def test_the_process_has_no_power_over_the_host(service: Service) -> None:
    await service.start()
    process = service.box.run("cat", f"/proc/{service.shown('MainPID')}/status")
    held = dict(line.split(":\t", 1) for line in process.splitlines())
    assert int(held["CapEff"], 16) == int(held["CapBnd"], 16) == 0
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    assert "0" not in held["Uid"].split()
    assert service.shown("LimitCORE") == "0"


async def test_a_stop_is_clean(service: Service) -> None:
    await service.start()
    service.box.systemctl("stop", "taskwatch")
    assert (service.shown("Result"), service.shown("ExecMainStatus")) == ("success", "0")
    assert service.logged("stopped")


async def test_a_receiver_that_hangs_does_not_hold_up_the_stop(service: Service) -> None:
    service.configure(HANGING_RECEIVER)
    await service.start()
    job_id = service.ends_a_task()
    await until(
        lambda: job_id in [subject for _, subject in service.told("/hang")], "a send", said=service.said
    )
    service.box.systemctl("stop", "taskwatch")
    assert (service.shown("Result"), service.shown("ExecMainStatus")) == ("success", "0")
    assert service.logged("stopped")


async def test_what_root_does_to_the_store_does_not_lock_the_service_out(service: Service) -> None:
    service.configure(STORE)
    await service.start()
    before = service.ends_a_task()
    await service.tells(before)
    assert "task.failed" in service.box.run(TASKWATCH, "events")
    service.box.run(TASKWATCH, "reload")
    assert service.logged("configuration_reloaded")

    service.box.systemctl("stop", "taskwatch")
    assert "task.failed" in service.box.run(TASKWATCH, "events")
    service.box.systemctl("start", "taskwatch")
    after = service.ends_a_task()
    await service.tells(after)
    assert service.told().count(("task.failed", before)) == 1


async def test_killed_it_is_restarted_and_knows_what_it_knew(service: Service) -> None:
    await service.start()
    before = service.ends_a_task()
    await service.tells(before)
    service.signal("SIGKILL")
    await until(lambda: service.shown("NRestarts") == "1", "a restart", said=service.said)

    after = service.ends_a_task()
    await service.tells(after)
    told = service.told()
    assert [kind for kind, _ in told].count("project.baseline") == 1
    assert told.count(("task.failed", before)) == 1


async def test_a_wrong_configuration_is_not_tried_again(service: Service) -> None:
    service.configure("surprise: 1\n")
    service.box.systemctl("start", "taskwatch", check=False)
    assert (service.shown("ActiveState"), service.shown("ExecMainStatus")) == ("failed", "78")
    assert service.shown("NRestarts") == "0"
    assert "surprise" in service.said()


async def test_a_process_that_stands_still_is_restarted_by_the_watchdog(service: Service) -> None:
    service.drop_in(DROP_IN + "WatchdogSec=3s\n")
    await service.start()
    service.signal("SIGSTOP")
    await until(lambda: service.shown("NRestarts") == "1", "a restart", said=service.said)
    assert "Watchdog timeout" in service.said()
    await service.tells(service.ends_a_task())


async def test_a_blocked_loop_is_restarted_by_the_watchdog(service: Service) -> None:
    command = f"ExecStart=\nExecStart={PYTHON} /srv/blocked_loop.py run -c {CONFIGURATION_PATH}\n"
    service.drop_in(DROP_IN + "WatchdogSec=3s\n" + command)
    service.box.systemctl("start", "taskwatch")
    await until(lambda: service.shown("NRestarts") != "0", "a restart", said=service.said)
    assert "Watchdog timeout" in service.said()
    assert "in block\n" in service.said(), "where it hung"


async def test_a_daemon_that_makes_progress_is_left_alone_by_the_watchdog(service: Service) -> None:
    service.drop_in(DROP_IN + "WatchdogSec=3s\n")
    await service.start()
    await until(lambda: len(service.logged("polled")) >= 14, "seven seconds of polls", said=service.said)
    assert service.shown("NRestarts") == "0"


async def test_after_a_standstill_one_poll_follows_not_all_that_were_missed(service: Service) -> None:
    """Ten polls are missed; those that follow keep their distance."""
    await service.start()
    await until(lambda: len(service.logged("polled")) >= 2, "polls", said=service.said)
    service.signal("SIGSTOP")
    before = len(service.logged("polled"))
    await asyncio.sleep(5)
    service.signal("SIGCONT")
    await until(lambda: len(service.logged("polled")) >= before + 4, "polls", said=service.said)
    moments = [int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6 for entry in service.logged("polled")[before:]]
    assert moments[3] - moments[0] > 0.5, "four polls in less than an interval"
    assert service.shown("NRestarts") == "0"


async def test_a_reload_takes_over_what_changed(service: Service) -> None:
    await service.start()
    process = service.shown("MainPID")
    service.configure(SECOND_RECEIVER)
    service.box.systemctl("reload", "taskwatch")
    await until(lambda: bool(service.logged("configuration_reloaded")), "the reload", said=service.said)

    job_id = service.ends_a_task()
    await service.tells(job_id)
    await service.tells(job_id, "/second")
    assert service.told().count(("task.failed", job_id)) == 1
    assert (service.shown("ActiveState"), service.shown("MainPID")) == ("active", process)


async def test_a_reload_of_a_wrong_configuration_leaves_the_old_one_in_force(service: Service) -> None:
    await service.start()
    process = service.shown("MainPID")
    service.configure("surprise: 1\n")
    service.box.systemctl("reload", "taskwatch")
    await until(lambda: "surprise" in service.said(), "the refusal", said=service.said)

    await service.tells(service.ends_a_task())
    await until(lambda: service.shown("ActiveState") == "active", "the end of the reload", said=service.said)
    assert service.shown("MainPID") == process
    assert not service.logged("configuration_reloaded")


async def test_a_restart_of_the_journal_is_survived(service: Service) -> None:
    await service.start()
    service.box.systemctl("restart", "systemd-journald")
    before = len(service.logged("polled"))
    await until(lambda: len(service.logged("polled")) > before, "polls in the new journal")
    assert service.shown("NRestarts") == "0"


async def test_the_journal_has_what_happened_as_fields(service: Service) -> None:
    await service.start()
    await until(lambda: bool(service.logged("polled")), "a poll", said=service.said)
    [watching] = service.logged("watching")
    assert watching["PRIORITY"] == "6"
    assert watching["SYSLOG_IDENTIFIER"] == "taskwatch"
    [polled, *_] = service.logged("polled")
    assert (polled["PRIORITY"], polled["TASKWATCH_PROJECT"]) == ("7", "prod")
