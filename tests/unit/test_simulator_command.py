"""The real command, as a process."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
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
        told = [line for line in (process.stdout.readline() for _ in range(8)) if line[0].isdigit()]

    assert len(told) >= 5
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
