"""docs/install.md as a stranger reads it: each of its commands, in order, on a host that knows nothing of taskwatch.

The host is a systemd in namespaces. It differs from the reader's only in what SUBSTITUTED says, and in that
what fetches packages has this machine's network, where the rest has loopback only.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.booted_systemd import Box, CannotBootError, booted
from tests.fakes.pages import ROOT, Block, Command, blocks, commands

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

PAGE: Final = (ROOT / "docs" / "install.md").read_text("utf-8")
CHECKOUT: Final = "/srv/taskwatch"
CLOUD, HOOKS = "127.0.0.1:9798", "127.0.0.1:9700"
SUBSTITUTED: Final = {
    "https://gaussdb.eu-de.otc.t-systems.com": f"http://{CLOUD}",
    "gaussdb.eu-de.otc.t-systems.com": CLOUD,
    "0611f1bd8b00d5d32f17c017f15b599f": "91e4a3f488e78a059f97c027995915e9",  # the simulated cloud's
    "https://hooks.example/taskwatch": f"http://{HOOKS}/hook",
    "https://iam.eu-de.otc.t-systems.com": f"http://{CLOUD}",
    "OTC00000000001000000000": "OTC00000000001000000001",  # the simulated cloud's
}
NEEDED: Final = ("make", "curl", "openssl")
NOT_RUN: Final = {"git pull": "the checkout of the test is a copy without an origin"}
LOOKING: Final = (
    "taskwatch projects",
    "taskwatch events",
    "taskwatch deliveries",
    "journalctl",
    "systemctl status",
)
LOOKING_SECONDS: Final = 30.0  # a reader who does not see it yet looks again
COMMAND_SECONDS: Final = 200.0  # for an installation, where no package is cached
FETCHING: Final = ("make install", "$HOME/taskwatch/bin/pip download")
PIP_WARNING: Final = re.compile("^WARNING: .*\n", re.MULTILINE)  # of this machine's package indexes
PASSWORD: Final = "simulated-password"  # that of the simulated cloud
HOME: Final = "/srv/reader"  # nobody's
COMMANDS: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOBODY: Final = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
LEFT: Final = (
    "/opt/taskwatch /etc/taskwatch /var/lib/taskwatch /var/lib/private/taskwatch /usr/local/bin/taskwatch"
    " /usr/local/share/man/man1/taskwatch.1 /etc/systemd/system/taskwatch* /etc/systemd/system/*/taskwatch*"
)

# The receiver of the webhooks.
RECEIVER: Final = """\
import http.server
import json
import pathlib
from standardwebhooks import Webhook

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        secret = pathlib.Path("/etc/taskwatch/hook-secret").read_text().strip()
        Webhook(secret).verify(body, {name.lower(): value for name, value in self.headers.items()})
        with open("/srv/hooks.jsonl", "a") as hooks:
            print(body, file=hooks)
        self.send_response(204)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", 9700), Receiver).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Walked:
    """What the reader has in the end."""

    said: str
    hooks: list[dict[str, Any]]  # whose signature verified


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Yield a host with a checkout, a password, a cloud and a receiver, and without taskwatch."""
    try:
        if missing := [tool for tool in NEEDED if shutil.which(tool) is None]:
            raise CannotBootError(f"not on PATH: {', '.join(missing)}")  # noqa: TRY301 - one way to end
        with booted(tmp_path_factory.mktemp("host")) as box:
            root = Path(f"/proc/{box.pid}/root")
            shutil.copytree(ROOT, root / CHECKOUT[1:], ignore=shutil.ignore_patterns(".*", "__pycache__"))
            box.write(f"{CHECKOUT}/password", PASSWORD)
            box.run("mv", "/opt/taskwatch", "/srv/simulator")
            box.run("install", "-d", "-o", "65534", HOME)
            box.write("/srv/receiver.py", RECEIVER)
            python = "/srv/simulator/bin/python"
            simulate = f"-m taskwatch simulate --listen {CLOUD} --projects 1 --tasks-per-day 0"
            box.run("systemd-run", "--unit=cloud", python, *simulate.split())
            box.run("systemd-run", "--unit=receiver", python, "/srv/receiver.py")
            yield box
    except CannotBootError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


@pytest.fixture(scope="module")
def walked(host: Box) -> Walked:
    """Walk through the page; the first command that does not do what it says ends it."""
    said = ""
    for step in blocks(PAGE):
        if step.language != "console":
            _write(host, step)
            continue
        for command in commands(_substituted(step.text)):
            if command.text not in NOT_RUN:
                said += f"\n{command.text}\n{_follow(host, command)}"
    return Walked(said, _lines(host, "/srv/hooks.jsonl"))


def _install(host: Box, variables: str) -> tuple[int, str]:
    """Install with the packages that the walk has fetched."""
    offline = "PIP_NO_COMPILE=1 PIP_NO_INDEX=1 PIP_FIND_LINKS=/var/tmp/packages"
    return _run(host, Command(text=f"{offline} make install {variables}", by_root=True))


def _write(host: Box, step: Block) -> None:
    path, _, text = step.text.removeprefix("# ").partition("\n")
    host.write(path, _substituted(text))


def _substituted(text: str) -> str:
    for written, here in SUBSTITUTED.items():
        text = text.replace(written, here)
    return text


def _follow(host: Box, command: Command) -> str:
    """Run the command; return what it printed, once that is what the page says."""
    until = time.monotonic() + (LOOKING_SECONDS if command.text.startswith(LOOKING) else 0)
    while True:
        code, output = _run(host, command)
        if code == 0 and command.prints(output):
            return output
        assert time.monotonic() < until, (
            f"{command.text}: exit {code}\n{output}\nthe page says:\n{command.printed}\nthe journal says:\n"
            + host.run("journalctl", "--unit=taskwatch", "--lines=30", check=False)
        )
        time.sleep(0.2)


def _run(host: Box, command: Command) -> tuple[int, str]:
    """Run it in the checkout, with a strict umask, by a shell that finds commands where every host has them."""
    entered = ["--all"]
    if command.text.startswith(FETCHING):
        entered = ["--mount", "--pid", "--ipc", "--uts", "--cgroup"]
    ended = subprocess.run(
        ["nsenter", "--target", str(host.pid), *entered, "--",
         *(() if command.by_root else NOBODY),
         "sh", "-c", f"umask 027; cd {CHECKOUT} && {command.text}"],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        # Not as a part of the make that runs the tests: it would say which directory it enters.
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        | {"HOME": "/root" if command.by_root else HOME, "PATH": COMMANDS},
    )  # fmt: skip
    return ended.returncode, PIP_WARNING.sub("", ended.stdout)


def _lines(host: Box, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.run("cat", path).splitlines()]


def test_the_receiver_was_told_and_could_verify_it(walked: Walked) -> None:
    told = [
        (hook["type"].removeprefix("taskwatch."), hook["data"].get("project", {}).get("name"))
        for hook in walked.hooks
    ]
    assert told == [
        ("project.baseline", "prod"),
        ("receiver.test", None),
        ("project.baseline", "rehearsal"),
        ("task.started", "rehearsal"),
        ("task.failed", "rehearsal"),
    ]


def test_no_secret_was_printed(walked: Walked) -> None:
    assert PASSWORD not in walked.said
    assert "whsec_" not in walked.said.replace("whsec_$(openssl rand -base64 32)", "")


def test_nothing_is_left_behind(walked: Walked, host: Box) -> None:
    assert host.run("sh", "-c", f"ls -d {LEFT} 2>/dev/null", check=False) == ""
    assert host.run("getent", "group", "taskwatch-secrets", check=False) == ""


def test_a_package_names_the_places_where_it_will_be(walked: Walked, host: Box) -> None:
    code, said = _install(host, "DESTDIR=/srv/package")
    assert code == 0, said
    assert host.run("grep", "-rIl", "/srv/package", "/srv/package", check=False) == ""
    host.run("cp", "-a", "/srv/package/.", "/")
    assert host.run("/usr/local/bin/taskwatch", "--version").startswith("taskwatch ")
    unit = host.run("cat", "/etc/systemd/system/taskwatch.service")
    assert unit == (ROOT / "systemd" / "taskwatch.service").read_text("utf-8")


def test_an_environment_whose_python_went_away_is_mended(walked: Walked, host: Box) -> None:
    """As an upgrade of the host does it."""
    host.run("mkdir", "-p", "/srv/old/bin")
    host.run("touch", "/srv/old/pyvenv.cfg")
    for name in ("python", "python3"):
        host.run("ln", "-s", "/usr/bin/python3.0", f"/srv/old/bin/{name}")
    code, said = _install(host, "PREFIX=/srv/old UNIT_DIR= LINK_DIR=")
    assert code == 0, said
    assert host.run("/srv/old/bin/taskwatch", "--version").startswith("taskwatch ")


def test_a_directory_of_others_is_not_taken(host: Box) -> None:
    code, said = _install(host, "PREFIX=/usr/local")
    assert (code, "nothing but taskwatch in it" in said) == (2, True)
    assert host.run("sh", "-c", "ls -d /usr/local/pyvenv.cfg 2>/dev/null", check=False) == ""


def test_the_service_gets_a_python_that_it_can_see(tmp_path: Path) -> None:
    """One in the home of whoever installs comes first on PATH, and is hidden from the service."""
    for name in ("python3.14", "python3"):
        (tmp_path / name).symlink_to("/bin/true")
    told = subprocess.run(
        ["make", "--dry-run", "install"],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    [made] = re.findall(r"(\S+) -m venv /opt/taskwatch", told)
    assert made.startswith(("/usr/bin/", "/usr/local/bin/"))
