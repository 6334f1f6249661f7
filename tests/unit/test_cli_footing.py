"""A configuration with mistakes keeps nobody from the store: at night somebody has to acknowledge."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from taskwatch.cli.reload import _refusal
from taskwatch.cli.wait import UNKNOWN_PATIENCE, _patience
from taskwatch.config.salvage import store_of
from taskwatch.store.lock import acquire
from tests.fakes.builders import T0
from tests.fakes.in_process import Run, runner
from tests.unit.test_cli_alerts import CONFIGURATION, ONE, record

LATER_KEY: Final = f"{CONFIGURATION}receivres: []\nroute: {{receivers: [nobody]}}\n"
NO_YAML: Final = f"{CONFIGURATION}route: {{receivers: [hook\n  ]: [\n"
SAYS_SO: Final = "(taskwatch check lists them); going on with its store "
COMMANDS: Final = (
    "alerts", f"ack {ONE}", "silence list", "silence add project=prod --for 1h", "silence add project=prod --for 1h --dry-run", "silence list --all", "tasks",
    "events", "deliveries", "deliveries --state pending --json", "deliveries replay --all",
    "deliveries drop --all --state pending", "projects", "state check", "state backup copy.db",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    asyncio.run(record(tmp_path / "taskwatch.db"))
    return runner(monkeypatch, capsys, tmp_path)


@pytest.mark.parametrize("text", [LATER_KEY, NO_YAML], ids=["later key", "no YAML"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_needs_the_store_alone_goes_on_and_says_so_once(
    command: str, text: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "taskwatch.yaml").write_text(text)
    ended = run(*command.split())

    assert ended.code == 0, ended
    assert ended.err.splitlines()[0].endswith(f"{SAYS_SO}{tmp_path / 'taskwatch.db'}")
    assert ended.err.count("taskwatch check") == 1


def test_the_mistakes_are_counted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(LATER_KEY)

    assert run("alerts").err.startswith("taskwatch.yaml has 2 mistakes (")


def test_an_event_is_explained_without_the_routes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    event_id = run("events", "--json").out.split('"id": "')[1].split('"')[0]
    (tmp_path / "taskwatch.yaml").write_text(NO_YAML)
    page, json_ = run("explain", event_id), run("explain", event_id, "--json")

    assert (page.code, json_.code) == (0, 0)
    assert "The configuration cannot be read as it is, so no routes" in page.out
    assert "hook: pending" in page.out
    assert '"routes": null' in json_.out


@pytest.mark.parametrize("command", ["check", "run", "route test", "receiver test hook", "resolve 0d1b7", "poll", "reload", f"wait {ONE}x"])  # fmt: skip
def test_what_needs_the_configuration_is_refused_with_every_mistake(
    command: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "taskwatch.yaml").write_text(LATER_KEY)
    ended = run(*command.split())

    assert ended.code == 78
    assert "receivres: unknown key" in ended.err
    assert "unknown receiver" in ended.err


@pytest.mark.parametrize(
    "text",
    [
        LATER_KEY.replace("taskwatch.db", "other.db"),
        LATER_KEY.replace("store: {path: taskwatch.db}", "store: {pth: taskwatch.db}"),
        LATER_KEY.replace("store: {path: taskwatch.db}", "store: [taskwatch.db]"),
        NO_YAML.replace("store: {path: taskwatch.db}", "store: {path: taskwatch.db"),
    ],
    ids=["no such store", "misspelt", "a list", "no YAML itself"],
)
def test_where_the_store_is_not_known_every_mistake_is_told_as_ever(
    text: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))  # by default there is one
    (tmp_path / "taskwatch.yaml").write_text(text)
    ended = run("alerts")

    assert (ended.code, ended.out) == (78, "")
    assert SAYS_SO not in ended.err


def test_without_a_word_of_the_store_it_is_where_it_is_by_default(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (tmp_path / "taskwatch.yaml").write_text(NO_YAML.partition("\n")[2])

    assert run("alerts").code == 0


def test_a_file_that_is_missing_is_an_error(run: Run) -> None:
    assert run("alerts", "--config", "nowhere.yaml").code == 78


def test_what_else_the_store_says_wrongly_takes_nothing_from_its_path(tmp_path: Path) -> None:
    file = tmp_path / "taskwatch.yaml"
    file.write_text("store:\n  path: here.db\n\n  # kept\n  retention: forever\nroute: [\n")
    store = store_of(file)

    assert store is not None
    assert store.path == tmp_path / "here.db"


def test_beside_a_daemon_a_task_that_nobody_knows_is_waited_for_a_while() -> None:
    assert _patience(None) == UNKNOWN_PATIENCE


def test_beside_a_daemon_it_is_asked_whatever_the_file_says_here(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskwatch.cli.request.NOTICE_SECONDS", 0.1)
    monkeypatch.setattr("taskwatch.cli.poll.UNKNOWN_TIMEOUT", 0.0)
    (tmp_path / "taskwatch.yaml").write_text(LATER_KEY)
    lock = acquire(tmp_path / "taskwatch.db", since=T0)
    ended = [run(*command.split()) for command in (f"resolve {ONE}", "poll", "reload")]
    lock.release()

    assert [one.code for one in ended] == [1, 1, 1]
    assert all("the daemon has not answered" in one.err for one in ended)


def test_a_dry_run_beside_mistakes_shows_what_the_store_alone_knows(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(LATER_KEY)
    command = ("silence", "add", "project=prod", "--for", "1h", "--dry-run")
    page, json_ = run(*command), run(*command, "--json")

    assert (page.code, json_.code) == (0, 0)
    assert "Open alerts that match: " in page.out
    assert "Running tasks whose failure it takes: not known while the configuration has mistakes." in page.out
    assert '"running_job_ids": null' in json_.out


def test_of_many_mistakes_a_reload_shows_the_first_ones() -> None:
    refused = _refusal([f"taskwatch.yaml:{line}:1: key{line}: unknown key" for line in range(1, 31)])

    assert len(refused) == 12
    assert refused[-2] == "… and 20 more: taskwatch check lists them"
