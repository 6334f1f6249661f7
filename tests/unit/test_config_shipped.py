import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are no dependency of ours
import pytest
import yaml
from click.testing import CliRunner

from taskwatch.cli.check import check
from taskwatch.cli.schema import schema
from taskwatch.config.load import load
from taskwatch.config.parse import read
from taskwatch.config.schema import Document, with_receivers
from taskwatch.core.events import baseline_event, loss_event
from taskwatch.errors import ConfigError
from taskwatch.model.event import Loss
from taskwatch.model.project import Identity, Project
from taskwatch.notifiers.alertmanager import AlertmanagerOptions
from taskwatch.notifiers.registry import kinds
from tests.fakes.builders import a_project, a_task

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config"
MINIMAL, EVERY_KEY = SHIPPED / "minimal.yaml", SHIPPED / "taskwatch.yaml"


class Yaml12(yaml.SafeLoader):
    """YAML as editors read it: only true and false are switches."""


Yaml12.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def _document(text: str) -> Any:
    return yaml.load(text, Loader=Yaml12)  # noqa: S506 - a safe loader


def _config_schema() -> Any:
    return json.loads((SHIPPED / "taskwatch.schema.json").read_text("utf-8"))


@pytest.mark.parametrize("file", [MINIMAL, EVERY_KEY], ids=lambda file: file.name)
def test_what_is_shipped_loads_without_a_warning(file: Path) -> None:
    config = load(file, kinds())
    assert config.projects
    assert config.warnings == ()


def test_the_minimal_configuration_has_ten_lines_at_most() -> None:
    assert len(MINIMAL.read_text("utf-8").splitlines()) <= 10


def test_the_shipped_values_are_the_defaults() -> None:
    root = read(EVERY_KEY).root
    everywhere = with_receivers(Document, kinds()).model_validate(root, context=SHIPPED)
    bare = with_receivers(Document, kinds()).model_validate(read(MINIMAL).root, context=SHIPPED)
    assert everywhere.store.retention == bare.store.retention
    assert everywhere.log == bare.log
    assert everywhere.credentials["otc"].rate == bare.credentials["otc"].rate
    assert everywhere.defaults.model_copy(update={"credential": None}) == bare.defaults
    [_, webhook, alertmanager, *_], [bare_webhook] = everywhere.receivers, bare.receivers
    assert (webhook.timeout, webhook.retry) == (bare_webhook.timeout, bare_webhook.retry)
    bare_alertmanager = {"name": "am", "type": "alertmanager", "urls": ["http://am"]}
    assert isinstance(alertmanager, AlertmanagerOptions)
    assert alertmanager.fire_for == AlertmanagerOptions.model_validate(bare_alertmanager).fire_for


def test_every_key_there_is_stands_in_the_shipped_configuration() -> None:
    words = set(re.findall(r"[a-z_]+", EVERY_KEY.read_text("utf-8")))
    for name, definition in _config_schema()["$defs"].items():
        assert set(definition.get("properties", {})) <= words, name
    assert set(Document.keys()) <= words


@pytest.mark.parametrize(
    "line",
    [line for line in EVERY_KEY.read_text("utf-8").splitlines() if line.lstrip().startswith("# ") and ": " in line
     and line.rstrip().endswith("# not in this version")],
)  # fmt: skip
def test_what_is_marked_as_not_in_this_version_is_refused(line: str, tmp_path: Path) -> None:
    text = EVERY_KEY.read_text("utf-8")
    assert text.count(line) == 1
    file = tmp_path / "taskwatch.yaml"
    file.write_text(text.replace(line, line.replace("# ", "", 1)), "utf-8")
    with pytest.raises(ConfigError) as raised:
        load(file, kinds())
    [problem] = raised.value.problems
    assert "not in this version; write off, or leave it out" in problem


def test_the_shipped_schemas_are_those_that_the_command_prints() -> None:
    for name in ("config", "event"):
        file = SHIPPED / f"{'taskwatch' if name == 'config' else name}.schema.json"
        printed = CliRunner().invoke(schema, [name])
        assert printed.exit_code == 0
        assert file.read_text("utf-8") == printed.output, (
            f"taskwatch schema {name} > {file.relative_to(ROOT)}"
        )


@pytest.mark.parametrize("file", [MINIMAL, EVERY_KEY], ids=lambda file: file.name)
def test_editors_find_nothing_wrong_with_what_is_shipped(file: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(_config_schema())
    jsonschema.validate(_document(file.read_text("utf-8")), _config_schema())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("retention: 90d", "retention: 90"),
        ("level: info", "level: loud"),
        ("overdue: off", "overdue: 2h"),
        ("type: log", "type: email"),
        ("  - name: prod", "  - nam: prod"),
    ],
)
def test_editors_find_what_the_daemon_refuses(right: str, wrong: str) -> None:
    text = EVERY_KEY.read_text("utf-8")
    assert text.count(right) == 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_document(text.replace(right, wrong)), _config_schema())


def test_no_section_takes_a_key_that_there_is_not() -> None:
    document = _config_schema()
    sections = {"": document, **document["$defs"]}
    taking = [
        name
        for name, section in sections.items()
        if "properties" in section and section["additionalProperties"]
    ]
    assert taking == []


def test_editors_take_an_included_file_too() -> None:
    jsonschema.validate(_document("projects: [{name: prod, project_id: a}]"), _config_schema())


def _event_schema() -> Any:
    document = json.loads((SHIPPED / "event.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(document)
    return document


def _failed() -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "tw_3v5k",
        "source": "/taskwatch/gaussdb/0611f1bd8b00d5d32f17c017f15b599f",
        "type": "taskwatch.task.failed",
        "subject": "03bc055a-135c-4245-8bd8-b0bc6d3350b3",
        "time": "2026-11-23T10:00:00.123Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:taskwatch:event:1",
        "data": {
            "severity": "critical",
            "summary": "CreateGaussDBV5Instance of gauss-6568-zzh failed: An exception occurs.",
            "sequence": 2,
            "project": {
                "name": "prod",
                "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
                "service": "gaussdb",
                "labels": {"team": "db", "env": "prod"},
            },
            "task": {
                "job_id": "03bc055a-135c-4245-8bd8-b0bc6d3350b3",
                "name": "CreateGaussDBV5Instance",
                "status": "Failed",
                "progress": None,
                "fail_reason": "An exception occurs.",
                "created_at": "2022-08-05T00:15:07Z",
                "ended_at": "2022-08-08T19:06:52Z",
                "duration_seconds": 327105,
                "instance": {"id": "ce2d", "name": "gauss-6568-zzh", "status": "creating"},
            },
            "transition": {
                "from": "Running",
                "to": "Failed",
                "revision": 2,
                "observed_at": "2026-11-23T10:00:00.123Z",
                "previous_observed_at": None,
                "gap_seconds": 15.2,
                "late": False,
            },
        },
    }


def test_the_schema_of_events_takes_a_failed_task() -> None:
    jsonschema.validate(_failed(), _event_schema())


def test_the_schema_of_events_takes_a_baseline_as_it_is_made() -> None:
    identity = Identity(service="gaussdb", host="h", project_id="abc")
    event = baseline_event(
        project=Project(identity=identity, name="prod"),
        sequence=1,
        counts={"Failed": 2},
        observed_at=datetime(2026, 11, 23, tzinfo=UTC),
    )
    jsonschema.validate(json.loads(event.body), _event_schema())


def _lost() -> dict[str, Any]:
    loss = Loss(task=a_task(), revision=1, number=1, has_left_window=False)
    event = loss_event(loss, project=a_project(), sequence=2, observed_at=datetime(2026, 11, 23, tzinfo=UTC))
    body: dict[str, Any] = json.loads(event.body)
    return body


def test_the_schema_of_events_takes_a_loss_as_it_is_made() -> None:
    jsonschema.validate(_lost(), _event_schema())


@pytest.mark.parametrize("data", [{"transition": _failed()["data"]["transition"]}, {"task": None}])
def test_the_schema_of_events_refuses_a_loss_with_a_transition_or_without_a_task(
    data: dict[str, Any],
) -> None:
    event = _lost()
    event["data"] |= data
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(event, _event_schema())


@pytest.mark.parametrize("missing", ["severity", "project", "task", "transition"])
def test_the_schema_of_events_misses_what_a_task_event_must_have(missing: str) -> None:
    event = _failed()
    del event["data"][missing]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(event, _event_schema())


def test_the_schema_of_events_refuses_a_baseline_that_speaks_of_a_task() -> None:
    event = _failed() | {"type": "taskwatch.project.baseline"}
    event["data"]["counts"] = {"Failed": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(event, _event_schema())


def _write(directory: Path, text: str) -> Path:
    file = directory / "taskwatch.yaml"
    file.write_text(text, "utf-8")
    return file


def test_check_says_what_will_happen(tmp_path: Path) -> None:
    file = _write(
        tmp_path,
        "credentials: {otc: {type: none}}\n"
        "store: {path: x.db}\n"
        "projects:\n"
        "- {name: prod, endpoint: 'https://gauss.example', project_id: a}\n"
        "- {name: dev, endpoint: 'http://127.0.0.1:9799', project_id: b, interval: 500ms}\n",
    )
    result = CliRunner().invoke(check, ["-c", str(file)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{file}: ok, 2 projects, 1 receiver",
        "PROJECT  HOST            POLLED EVERY",
        "prod     gauss.example   15s while a task is running, else 1m",
        "dev      127.0.0.1:9799  500ms",
        "told: log (log)",
        f"kept in: {tmp_path}/x.db",
        "shown at: 127.0.0.1:9720",
    ]


def test_check_counts_the_files_that_are_included(tmp_path: Path) -> None:
    file = _write(tmp_path, "credentials: {otc: {type: none}}\ninclude: '[ab].yaml'\n")
    (tmp_path / "a.yaml").write_text("projects: [{name: prod, endpoint: 'https://h', project_id: a}]")
    assert CliRunner().invoke(check, ["-c", str(file)]).stdout.splitlines()[0] == (
        f"{file} and 1 included file: ok, 1 project, 1 receiver"
    )
    (tmp_path / "b.yaml").touch()
    assert "and 2 included files: ok" in CliRunner().invoke(check, ["-c", str(file)]).stdout


def test_check_warns_and_notes_on_standard_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    file = _write(
        tmp_path,
        "credentials: {a: {type: token, token: hunter2}, b: {type: token, token: {credential: t}}}\n"
        "projects: [{name: prod, endpoint: 'https://gauss.example', project_id: a, credential: a}]\n",
    )
    result = CliRunner().invoke(check, ["-c", str(file)])
    assert result.exit_code == 0
    [warning, note] = result.stderr.splitlines()
    assert warning.endswith("write {file: PATH} and keep it there (warning)")
    assert note.endswith("systemd hands it to the daemon alone (LoadCredential=) (note)")
    assert "hunter2" not in result.output


def test_check_ends_with_78_and_one_line_for_each_error_on_standard_error(tmp_path: Path) -> None:
    file = _write(tmp_path, "log: {level: x}\nprojects: []\n")
    done = subprocess.run(
        [sys.executable, "-m", "taskwatch", "check", "-c", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (78, "")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "credentials", "log.level", "projects",
    ]  # fmt: skip


def test_check_reports_secrets_that_cannot_be_read_as_errors(tmp_path: Path) -> None:
    file = _write(
        tmp_path,
        "credentials: {otc: {type: token, token: {file: none}}}\n"
        "projects: [{name: prod, endpoint: 'https://gauss.example', project_id: a}]\n",
    )
    result = CliRunner().invoke(check, ["-c", str(file)])
    assert isinstance(result.exception, ConfigError)
    [problem] = result.exception.problems
    assert problem.startswith(f"{file}:1:34: credentials.otc.token: cannot read {tmp_path}/none: ")
