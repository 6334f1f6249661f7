import shutil
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    found = inspect_secrets(config.path, config.secrets)
    return Inspection(
        problems=tuple(line.replace(f"{directory}/", "") for line in found.problems),
        notes=tuple(line.replace(f"{directory}/", "") for line in found.notes),
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
            "taskwatch.yaml:1:33: credentials.otc.rate: 1 requests a second are fewer than the 1.5 that the "
            "active intervals of 30 projects at gauss.example ask for; raise the rate or the intervals"
        )
    ]
    assert loaded(tmp_path, text.replace("20s", "30s")).warnings == ()


def test_a_secret_that_can_be_read_is_no_problem(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hunter2\n")
    token.chmod(0o600)
    assert _inspected(tmp_path, TOKEN % "{file: token}") == Inspection(problems=(), notes=())


def test_a_secret_that_is_missing_is_a_problem_with_its_place_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("T", raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    text = "taskwatch.yaml:1:34: credentials.otc.token: "
    assert _inspected(tmp_path, TOKEN % "{file: t}").problems == (
        (
            f"{text}cannot read t: No such file or directory; "
            "write it there, readable for the daemon's user alone"
        ),
    )
    assert _inspected(tmp_path, TOKEN % "{env: T}").problems == (
        f"{text}environment variable T is not set; set it where the daemon is started",
    )
    assert _inspected(tmp_path, TOKEN % "{credential: t}").problems == (
        f"{text}cannot read t: No such file or directory; name it in LoadCredential= of the unit",
    )


def test_a_credential_that_only_systemd_hands_out_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert _inspected(tmp_path, TOKEN % "{credential: t}") == Inspection(
        problems=(),
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
    assert _inspected(shared, TOKEN % "{file: token}").problems == (
        (
            "taskwatch.yaml:1:34: credentials.otc.token: everybody on this machine can read token; "
            "chmod 600 it, for the daemon's user alone"
        ),
    )


def test_a_secret_behind_a_closed_directory_cannot_be_read_by_everybody(shared: Path) -> None:
    closed = shared / "closed"
    closed.mkdir(0o700)
    (closed / "token").write_text("hunter2")
    (closed / "token").chmod(0o644)
    assert _inspected(shared, TOKEN % "{file: closed/token}").problems == ()


def test_a_link_is_judged_by_what_it_leads_to(shared: Path) -> None:
    (shared / "target").write_text("hunter2")
    (shared / "target").chmod(0o600)
    (shared / "token").symlink_to("target")
    assert _inspected(shared, TOKEN % "{file: token}").problems == ()


def test_a_secret_at_a_wrong_key_is_not_shown_but_the_key_is(tmp_path: Path) -> None:
    assert refused(tmp_path, SMALLEST + f"log: {{pasword: {CANARY}}}") == [
        "taskwatch.yaml:3:7: log.pasword: unknown key; known here: format, level"
    ]
