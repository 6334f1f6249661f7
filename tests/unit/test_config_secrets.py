import shutil
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from taskwatch.cli.check import check
from taskwatch.cli.run import run
from taskwatch.config.inspection import Inspection, inspect_secrets
from taskwatch.config.load import load
from taskwatch.errors import ConfigError
from tests.fakes.config_files import KINDS, PROJECTS, SMALLEST, loaded, refused

CANARY = "canary-7c1f"

TOKEN = "credentials: {otc: {type: token, token: %s}}\n" + PROJECTS


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may enter; pytest's own are closed."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def _inspected(directory: Path, text: str) -> Inspection:
    config = loaded(directory, text)
    found = inspect_secrets(config.secrets)
    return Inspection(
        **{
            field.name: tuple(line.replace(f"{directory}/", "") for line in getattr(found, field.name))
            for field in fields(found)
        }
    )


# A canary in every place that takes a secret or might be given one by mistake, and errors all over.
CANARIES = {
    "credentials: {otc: {type: token, token: CANARY, rate: CANARY}}",
    "credentials: {otc: {type: token, token: {CANARY}}}",
    "credentials: {otc: {type: token, token: {file: [CANARY]}}}",
    "credentials: {otc: {type: token, token: {env: $CANARY}}}",
    "credentials: {otc: {type: token, token: {credential: /CANARY}}}",
    "credentials: {otc: {type: token, token: [CANARY]}}",
    "credentials: {otc: {type: token, token: *CANARY}}",
    "credentials: {otc: {type: token, token: !CANARY x}}",
    "credentials: {otc: {type: token, token: 'CANARY}}",
    'credentials: {otc: {type: token, token: "CANARY\\q"}}',
    "credentials: {otc: {type: token, token: %CANARY}}",
    "credentials: {otc: {type: token, token: @CANARY}}",
    "credentials: {otc: {type: token, token: {{ CANARY }}}}",
    "credentials: {otc: {type: CANARY, token: CANARY}}",
    "credentials: {otc: {type: password, password: CANARY, username: CANARY}}",
    "credentials: {otc: CANARY}",
    "projects: [{name: a, project_id: CANARY!, endpoint: 'https://u:CANARY@h/?q=CANARY'}]",
    "projects: [{name: a, project_id: x, endpoint: 'https://h:CANARY'}]",
    "projects: [{name: a, project_id: x, endpoint: {env: CANARY_UNSET-}}]",
    "receivers: [{name: a, type: hook, url: 'ftp://CANARY', secret: [CANARY]}]",
    "receivers: [{name: a, type: hook, url: 'https://u:CANARY@h:CANARY/CANARY', retry: CANARY}]",
    "receivers: [{name: a, type: hook, url: 'CANARY', secret: CANARY, rate: CANARY, timeout: CANARY}]",
    "heartbeat: {url: 'https://h/CANARY'}\nserver: {token: CANARY}\nstore: {url: CANARY, password: CANARY}",
    "log: {format: CANARY, level: CANARY}\nstore: {retention: CANARY}\nroute: CANARY",
}


@pytest.mark.parametrize("text", sorted(CANARIES))
def test_no_error_shows_a_secret_not_even_with_a_traceback(tmp_path: Path, text: str) -> None:
    file = tmp_path / "taskwatch.yaml"
    file.write_text(text.replace("CANARY", CANARY), "utf-8")
    with pytest.raises(ConfigError) as raised:
        load(file, KINDS)
    shown = "\n".join(traceback.format_exception(raised.value))
    assert CANARY not in shown


@pytest.mark.parametrize("text", sorted(CANARIES))
def test_no_error_of_an_included_file_shows_a_secret_either(tmp_path: Path, text: str) -> None:
    told = refused(tmp_path, SMALLEST + "include: a.yaml", {"a.yaml": text.replace("CANARY", CANARY)})
    assert all(line.startswith("a.yaml:") for line in told)
    assert CANARY not in "\n".join(told)


def test_what_is_loaded_shows_no_secret(tmp_path: Path) -> None:
    text = (
        TOKEN % CANARY + f"receivers: [{{name: a, type: hook, url: 'https://h/{CANARY}', secret: {CANARY}}}]"
    )
    config = loaded(tmp_path, text)
    assert CANARY not in f"{config} {config!r} {config.receivers[0]!r} {config.warnings}"


def test_loading_reads_no_secret(tmp_path: Path) -> None:
    config = loaded(tmp_path, TOKEN % "{file: not-there}")
    assert [placed.path for placed in config.secrets] == [("credentials", "otc", "token")]


def test_a_secret_in_the_file_itself_is_warned_of_and_a_url_is_not(tmp_path: Path) -> None:
    config = loaded(tmp_path, TOKEN % "hunter2" + "receivers: [{name: a, type: hook, url: 'https://h/x'}]")
    assert [line.replace(f"{tmp_path}/", "") for line in config.warnings] == [
        (
            "taskwatch.yaml:1:34: credentials.otc.token: the secret itself stands in this file; "
            "write {file: PATH} and keep it there"
        )
    ]


def test_a_token_over_plain_http_is_warned_of(tmp_path: Path) -> None:
    text = (TOKEN % "{env: T}").replace("https:", "http:")
    assert [line.replace(f"{tmp_path}/", "") for line in loaded(tmp_path, text).warnings] == [
        "taskwatch.yaml:2:25: projects[0].endpoint: the token crosses the network in clear; write https://"
    ]


def test_a_rate_that_cannot_carry_the_intervals_is_warned_of_with_the_numbers(tmp_path: Path) -> None:
    projects = "".join(f"- {{name: p{n}, project_id: p{n}}}\n" for n in range(30))
    text = (
        "credentials: {otc: {type: none, rate: 1/s}}\n"
        f"defaults: {{endpoint: 'https://gauss.example', interval: 20s}}\nprojects:\n{projects}"
    )
    assert [line.replace(f"{tmp_path}/", "") for line in loaded(tmp_path, text).warnings] == [
        (
            "taskwatch.yaml:1:33: credentials.otc.rate: 1 requests a second cannot carry the 1.5 that the "
            "active intervals of 30 projects at gauss.example ask for: with all of them active, every interval "
            "is stretched 1.67 times, 20 s to 33.3 s; raise the rate or the intervals"
        )
    ]
    assert loaded(tmp_path, text.replace("20s", "34s")).warnings == ()


TWO = "receivers: [{name: a, type: log}, {name: b, type: log}]\n"


def _advice(directory: Path, text: str) -> list[str]:
    return [line.replace(f"{directory}/", "") for line in loaded(directory, SMALLEST + TWO + text).warnings]


def test_a_receiver_that_no_route_names_is_warned_of(tmp_path: Path) -> None:
    assert _advice(tmp_path, "route: {receivers: [a]}") == [
        (
            "taskwatch.yaml:3:35: receivers[1]: no route names this receiver, so it is told nothing; "
            "name it in a route"
        )
    ]
    assert _advice(tmp_path, "") == []  # the root route has them all
    assert (
        _advice(tmp_path, "route: {receivers: [a], routes: [{matchers: [task = x], receivers: [b]}]}") == []
    )


def test_a_route_behind_one_that_takes_everything_is_warned_of(tmp_path: Path) -> None:
    text = "route: {routes: [{matchers: [task = x]}, {receivers: [a]}, {receivers: [b]}]}"
    assert _advice(tmp_path, text) == [
        (
            "taskwatch.yaml:4:60: route.routes[2]: never asked: route.routes[1] takes every event; "
            "give that one matchers, or continue: true"
        )
    ]
    assert _advice(tmp_path, text.replace("[a]", "[a], continue: true")) == []
    nested = "route: {routes: [{matchers: [task = x], routes: [{receivers: [a]}, {receivers: [b]}]}]}"
    assert [line.split(": ")[1] for line in _advice(tmp_path, nested)] == ["route.routes[0].routes[1]"]


def test_a_token_in_clear_under_defaults_is_warned_of_once(tmp_path: Path) -> None:
    text = (
        "credentials: {otc: {type: token, token: {env: T}}}\ndefaults: {endpoint: 'http://h'}\n"
        "projects: [{name: a, project_id: a}, {name: b, project_id: b}]"
    )
    assert [line.replace(f"{tmp_path}/", "") for line in loaded(tmp_path, text).warnings] == [
        "taskwatch.yaml:2:12: defaults.endpoint: the token crosses the network in clear; write https://"
    ]


def test_a_secret_that_can_be_read_is_no_problem(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hunter2\n")
    token.chmod(0o600)
    assert _inspected(tmp_path, TOKEN % "{file: token}") == Inspection()


def test_a_secret_that_is_missing_is_a_problem_with_its_place_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("T", raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    text = "taskwatch.yaml:1:34: credentials.otc.token: "
    assert _inspected(tmp_path, TOKEN % "{file: t}").unreadable == (
        (
            f"{text}cannot read t: No such file or directory; "
            "write it there, readable for the daemon's user alone"
        ),
    )
    assert _inspected(tmp_path, TOKEN % "{env: T}").unreadable == (
        f"{text}environment variable T is not set; set it where the daemon is started",
    )
    assert _inspected(tmp_path, TOKEN % "{credential: t}").unreadable == (
        f"{text}cannot read t: No such file or directory; name it in LoadCredential= of the unit",
    )


def test_a_credential_that_only_systemd_hands_out_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert _inspected(tmp_path, TOKEN % "{credential: t}") == Inspection(
        notes=(
            (
                "taskwatch.yaml:1:34: credentials.otc.token: not readable here; "
                "systemd hands it to the daemon alone (LoadCredential=)"
            ),
        ),
    )


def test_a_secret_that_everybody_can_read_is_refused(shared: Path) -> None:
    (shared / "token").write_text("hunter2")
    (shared / "token").chmod(0o644)
    assert _inspected(shared, TOKEN % "{file: token}").exposed == (
        (
            "taskwatch.yaml:1:34: credentials.otc.token: everybody on this machine can read token; "
            "chmod 600 it, or 640 with a group that the daemon has"
        ),
    )


@pytest.mark.parametrize(("length", "problems"), [(15, 1), (16, 0)])
def test_a_token_of_the_server_that_can_be_guessed_is_refused_by_check(
    tmp_path: Path, length: int, problems: int
) -> None:
    (tmp_path / "server.token").write_text("é" * length + "\n")
    said = _inspected(tmp_path, f"server: {{token: {{file: server.token}}}}\n{SMALLEST}").unreadable
    expected = "taskwatch.yaml:1:10: server.token: fewer than 16 characters can be guessed; write what openssl rand -hex 32 prints"
    assert said == (expected,) * problems


def test_a_secret_that_everybody_can_read_is_refused_by_the_daemon_too(shared: Path) -> None:
    (shared / "token").write_text("hunter2")
    (shared / "token").chmod(0o644)
    (shared / "taskwatch.yaml").write_text("store: {path: x.db}\n" + TOKEN % "{file: token}")
    for command in (check, run):
        ended = CliRunner().invoke(command, ["-c", str(shared / "taskwatch.yaml")])
        assert isinstance(ended.exception, ConfigError)
        assert ended.exception.exit_code == 78
        [problem] = ended.exception.problems
        assert "everybody on this machine can read" in problem
    assert not (shared / "x.db").exists()


def test_a_secret_that_is_missing_is_not_one_that_everybody_can_read(tmp_path: Path) -> None:
    assert _inspected(tmp_path, TOKEN % "{file: none}").exposed == ()


def test_a_url_and_a_header_that_everybody_can_read_are_refused_like_any_secret(shared: Path) -> None:
    (shared / "hook").write_text("https://hooks.example/x")
    (shared / "hook").chmod(0o644)
    text = SMALLEST + "receivers: [{name: a, type: hook, url: {file: hook}, secret: {file: hook}}]"
    assert [line.split(": ")[1] for line in _inspected(shared, text).exposed] == [
        "receivers[0].url",
        "receivers[0].secret",
    ]


def test_a_secret_behind_a_closed_directory_cannot_be_read_by_everybody(shared: Path) -> None:
    closed = shared / "closed"
    closed.mkdir(0o700)
    (closed / "token").write_text("hunter2")
    (closed / "token").chmod(0o644)
    assert _inspected(shared, TOKEN % "{file: closed/token}").exposed == ()


def test_a_link_is_judged_by_what_it_leads_to(shared: Path) -> None:
    (shared / "target").write_text("hunter2")
    (shared / "target").chmod(0o600)
    (shared / "token").symlink_to("target")
    assert _inspected(shared, TOKEN % "{file: token}").exposed == ()


def test_a_secret_at_a_wrong_key_is_not_shown_but_the_key_is(tmp_path: Path) -> None:
    assert refused(tmp_path, SMALLEST + f"log: {{pasword: {CANARY}}}") == [
        "taskwatch.yaml:3:7: log.pasword: unknown key; known here: format, level"
    ]


def test_a_secret_that_no_request_can_carry_is_refused_without_being_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary-bad\ncanary-token\n")
    (tmp_path / "token").chmod(0o600)
    text = SMALLEST.replace("{type: none}", "{type: token, token: {file: token}}")
    inspection = inspect_secrets(loaded(tmp_path, text).secrets)

    (line,) = inspection.unreadable
    assert "credentials.otc.token: holds a line end or another control character" in line
    assert "canary" not in line
