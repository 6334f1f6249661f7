"""The real command, as a process."""

import itertools
import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import yaml

ROOT = Path(__file__).parents[2]
FIRST_LINE = re.compile(r"simulated cloud listening on (http://127\.0\.0\.1:(\d+))\n")


@contextmanager
def simulate(*options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "taskwatch", "simulate", "--listen", "127.0.0.1:0", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = FIRST_LINE.fullmatch(process.stdout.readline())
    assert found
    return found.group(1)


def configuration(process: subprocess.Popen[str]) -> dict[str, object]:
    """Read the example as a user would paste it: from its comment on, up to the next one."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("# taskwatch.yaml"):
            break
    pasted = []
    for line in process.stdout:
        if line.startswith("#"):
            break
        pasted.append(line)
    return dict(yaml.safe_load("".join(pasted)))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_what_it_prints_and_ends_on_a_signal(ending: signal.Signals) -> None:
    with simulate("--token", 'a "quoted" token') as process:
        url = first_line(process)
        config = configuration(process)
        match config:
            case {
                "credentials": {"simulated": {"type": "token", "token": token}},
                "projects": [{"endpoint": endpoint, "project_id": project_id, "name": _}, *_],
                "receivers": [{"name": "log", "type": "log"}],
            }:
                pass
            case _:
                pytest.fail(f"not the documented shape: {config}")
        assert endpoint == url
        request = urllib.request.Request(f"{endpoint}/v3/{project_id}/tasks", headers={"X-Auth-Token": token})  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            assert len(json.load(answer)["tasks"]) == 100

        process.send_signal(ending)
        _, errors = process.communicate(timeout=20)

    assert (process.returncode, errors) == (0, "")


def test_without_a_token_the_printed_configuration_has_none() -> None:
    with simulate("--token", "") as process:
        first_line(process)
        assert configuration(process)["credentials"] == {"simulated": {"type": "none"}}


@pytest.mark.parametrize(("projects", "more"), [(20, None), (23, "and 3 more")])
def test_up_to_twenty_projects_can_be_pasted_and_of_more_it_says_how_many(
    projects: int, more: str | None
) -> None:
    with simulate("--projects", str(projects)) as process:
        first_line(process)
        assert process.stdout is not None
        printed = "".join(itertools.takewhile(lambda line: "curl" not in line, process.stdout))

    assert printed.count("project_id:") == 20
    assert ("more" in printed) == (more is not None)
    assert more is None or more in printed


def test_verbose_prints_one_line_per_transition() -> None:
    shape = re.compile(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [\w-]+ \w+ of [\w-]+: (new|Running) -> (Running|Completed|Failed: .+)\n"
    )
    with simulate("--speed", "10000", "--verbose") as process:
        first_line(process)
        configuration(process)
        assert process.stdout is not None
        told = list(itertools.islice((line for line in process.stdout if line[0].isdigit()), 5))

    assert all(shape.fullmatch(line) for line in told)


def test_a_port_in_use_is_one_clear_line_and_exit_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            [sys.executable, "-m", "taskwatch", "simulate", "--listen", address],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == f"taskwatch: cannot listen on {address}: Address already in use\n"


@pytest.mark.parametrize("listen", ["9799", "127.0.0.1:", "127.0.0.1:99999", ":80", "localhost:http"])
def test_an_address_that_is_none_is_wrong_usage(listen: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "taskwatch", "simulate", "--listen", listen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 2
    assert "HOST:PORT" in ended.stderr


def logins(process: subprocess.Popen[str]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Read the other credentials and the environment as a user would paste them."""
    assert process.stdout is not None
    credentials: list[dict[str, str]] = []
    environment: dict[str, str] = {}
    for line in process.stdout:
        if line.startswith("#   ") and ": {type:" in line:
            credentials += yaml.safe_load(line.removeprefix("#")).values()
        elif line.startswith("export "):
            name, _, value = shlex.split(line)[1].partition("=")
            environment[name] = value
        elif "curl" in line:
            break
    return credentials, environment


def log_in(auth_url: str, username: str, password: str, domain: str, project: str | None = None) -> str:
    claimed = {"name": username, "password": password, "domain": {"name": domain}}
    auth: dict[str, object] = {"identity": {"methods": ["password"], "password": {"user": claimed}}}
    if project is not None:
        auth["scope"] = {"project": {"name": project}}
    body = json.dumps({"auth": auth}).encode()
    request = urllib.request.Request(f"{auth_url}/auth/tokens", data=body, method="POST")  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
        return str(answer.headers["X-Subject-Token"])


def test_a_credential_of_each_kind_is_printed_and_the_passwords_open_the_door() -> None:
    with simulate() as process:
        first_line(process)
        credentials, _ = logins(process)
        tokens = [
            log_in(each["auth_url"], each["username"], each["password"], each["user_domain_name"])
            for each in credentials
            if each["type"] == "password"
        ]

    assert [each["type"] for each in credentials] == ["password", "aksk", "password", "agency"]
    assert all(tokens)


def test_the_printed_environment_reads_the_first_project() -> None:
    with simulate() as process:
        url = first_line(process)
        _, environment = logins(process)
        names = ("OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_USER_DOMAIN_NAME", "OS_PROJECT_NAME")
        token = log_in(*(environment[name] for name in names))
        with urllib.request.urlopen(f"{url}/_simulator/projects", timeout=10) as answer:  # noqa: S310 - loopback
            project_id = json.load(answer)["projects"][0]["project_id"]
        request = urllib.request.Request(f"{url}/v3/{project_id}/tasks", headers={"X-Auth-Token": token})  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            assert json.load(answer)["tasks"]


@pytest.mark.parametrize(("speed", "is_noted"), [("1", False), ("60", True)])
def test_a_speed_that_leaves_signatures_behind_is_noted(speed: str, *, is_noted: bool) -> None:
    with simulate("--speed", speed) as process:
        first_line(process)
        assert process.stdout is not None
        printed = "".join(itertools.takewhile(lambda line: "curl" not in line, process.stdout))

    assert ("dates of signatures" in printed) == is_noted


def test_it_serves_https_with_a_certificate_of_the_users(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with simulate("--tls-cert", str(certificate), "--tls-key", str(key)) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{url}/_simulator/projects", timeout=10, context=context) as answer:  # noqa: S310 - loopback
            assert answer.status == 200

    assert url.startswith("https://")


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), ("nothing", "no certificate and its key")]
)
def test_a_certificate_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, content: str | None, says: str
) -> None:
    certificate = tmp_path / "cert.pem"
    if content is not None:
        certificate.write_text(content)
    ended = subprocess.run(
        [sys.executable, "-m", "taskwatch", "simulate", "--tls-cert", certificate, "--tls-key", certificate],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert says in ended.stderr
