"""`route test`: who would hear of an event, and why."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskwatch.cli.tree import walk
from taskwatch.core.matchers import parse_matcher
from taskwatch.core.route import Route, route
from tests.fakes.in_process import Run, runner
from tests.fakes.messages import HOSTILE

CONFIGURATION: Final = """\
store: {path: taskwatch.db}
credentials: {c: {type: token, token: {env: NOBODY_HAS_SET_THIS}}}
defaults: {severity: {"Backup*": warning}}
projects:
  - {name: prod, endpoint: https://gauss.example, project_id: abc, labels: {team: db}}
  - {name: test, endpoint: https://gauss.example, project_id: def, severity: {"*": info}}
receivers:
  - {name: journal, type: log}
  - {name: pager, type: log}
  - {name: dba, type: log}
route:
  receivers: [journal]
  routes:
    - {matchers: ['severity = "critical"'], receivers: [pager], continue: true}
    - matchers: ['type =~ "task.*"', 'label_team = "db"']
      receivers: [dba]
      routes:
        - {matchers: ['to = "Canceled"'], receivers: [journal]}
    - {matchers: ['project = "prod"'], receivers: [journal, pager]}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    return runner(monkeypatch, capsys, tmp_path)


def told_of(run: Run, *attributes: str) -> dict[str, Any]:
    ended = run("route", "test", *attributes, "--json")
    assert (ended.code, ended.err) == (0, "")
    return dict(json.loads(ended.out))


def reached(run: Run, *attributes: str) -> list[tuple[str, str]]:
    return [(hop["receiver"], hop["route"]) for hop in told_of(run, *attributes)["receivers"]]


def test_each_receiver_is_named_with_the_route_that_named_it_first(run: Run) -> None:
    assert reached(run, "type=task.failed", "project=prod") == [
        ("pager", "route.routes[0]"),
        ("dba", "route.routes[1]"),
    ]
    assert reached(run, "project=prod") == [("journal", "route.routes[2]"), ("pager", "route.routes[2]")]
    assert reached(run) == [("journal", "route")]
    assert reached(run, "type=task.canceled", "project=prod", "to=Canceled") == [
        ("journal", "route.routes[1].routes[0]")
    ]


def test_a_configured_project_brings_its_id_labels_and_severities(run: Run) -> None:
    asked = told_of(run, "type=task.failed", "project=prod", "task=BackupX")["attributes"]

    assert asked == {
        "type": "taskwatch.task.failed",
        "project": "prod",
        "task": "BackupX",
        "project_id": "abc",
        "label_team": "db",
        "severity": "warning",
    }
    assert told_of(run, "type=task.failed", "project=test")["attributes"]["severity"] == "info"


def test_what_is_given_stands_against_what_the_project_would_bring(run: Run) -> None:
    asked = told_of(run, "type=task.failed", "project=prod", "severity=info", "label_team=", "project_id=x")

    assert asked["attributes"] == {
        "type": "taskwatch.task.failed", "project": "prod", "severity": "info", "label_team": "", "project_id": "x",
    }  # fmt: skip


def test_the_severity_of_any_type_is_that_of_real_events(run: Run) -> None:
    kinds = ("task.failed", "task.canceled", "task.started", "taskwatch.task.completed", "project.baseline")

    assert [told_of(run, f"type={kind}")["attributes"]["severity"] for kind in kinds] == [
        "critical", "warning", "info", "info", "info",
    ]  # fmt: skip


def test_each_route_says_why_it_took_the_event_or_not(run: Run) -> None:
    out = run("route", "test", "type=task.completed", "project=prod", "to=Completed").out

    assert "severity=info  (implied)" in out
    assert 'route.routes[0]: no: severity = "critical", and it is "info"' in out
    assert "route.routes[1]: goes to dba" in out
    assert 'route.routes[1].routes[0]: no: to = "Canceled", and it is "Completed"' in out
    assert "route.routes[2]: not asked, route.routes[1] has taken it" in out
    assert out.splitlines()[-1].split() == ["dba", "log", "route.routes[1]"]


WRONG: Final = {
    "typ=x": "did you mean type?",
    "Severity=x": "did you mean severity?",
    "label_=x": "'label_' is no attribute",
    "task": "is not ATTRIBUTE=VALUE",
    "=x": "'' is no attribute",
    "type=task.fialed": "did you mean task.failed?",
    "severity=critcal": "did you mean critical?",
}


@pytest.mark.parametrize(("argument", "said"), WRONG.items())
def test_what_no_event_has_is_refused_with_what_was_probably_meant(
    argument: str, said: str, run: Run
) -> None:
    ended = run("route", "test", argument)

    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_an_attribute_given_twice_is_refused(run: Run) -> None:
    assert run("route", "test", "task=a", "task=b").code == 2


def test_a_project_that_is_not_configured_is_said_aside(run: Run) -> None:
    ended = run("route", "test", "project=prdo", "--json")

    assert ended.code == 0
    assert ended.err == "no project 'prdo' is configured; did you mean prod?\n"


ALWAYS: Final = """\
mute:
  - {name: moving, matchers: ['severity != "critical"'], weekly: ["Mon 00:00 - Fri 00:00", "Fri 00:00 - Mon 00:00"]}
"""


def test_a_window_that_would_hold_it_back_now_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION + ALWAYS)

    assert run("route", "test", "type=task.completed").out.endswith("Now mute moving would hold it back.\n")
    assert told_of(run, "type=task.completed")["held_by"] == "mute moving"


@pytest.mark.parametrize("kind", ["task.failed", "task.resolved", "project.recovered"])
def test_no_window_holds_back_what_it_does_not_match_nor_an_end(kind: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION + ALWAYS)

    assert "hold it back" not in run("route", "test", f"type={kind}").out
    assert told_of(run, f"type={kind}")["held_by"] is None


def test_neither_a_store_nor_a_secret_is_needed(run: Run, tmp_path: Path) -> None:
    assert run("route", "test", "type=task.failed").code == 0
    assert [file.name for file in tmp_path.iterdir()] == ["taskwatch.yaml"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_values_are_shown_harmless(text: str, run: Run) -> None:
    ended = run("route", "test", f"fail_reason={text}", f"project={text}")

    assert all(line.isprintable() for line in (ended.out + ended.err).split("\n"))


MATCHERS: Final = st.lists(
    st.sampled_from(['task = "a"', 'task != "a"', 'to =~ "b|c"', 'to !~ "b"']).map(parse_matcher), max_size=2
)
ROUTES: Final = st.recursive(
    st.builds(Route, receivers=st.just(("x",)), matchers=MATCHERS.map(tuple), continues=st.booleans()),
    lambda children: st.builds(
        Route,
        receivers=st.sampled_from([("x",), ("y", "z")]),
        matchers=MATCHERS.map(tuple),
        continues=st.booleans(),
        routes=st.lists(children, max_size=3).map(tuple),
    ),
    max_leaves=8,
)


@given(
    root=st.builds(Route, receivers=st.just(("x", "y")), routes=st.lists(ROUTES, max_size=4).map(tuple)),
    task=st.sampled_from("ab"),
    to=st.sampled_from("bcd"),
)
def test_the_tree_that_is_shown_is_the_way_that_events_take(root: Route, task: str, to: str) -> None:
    attributes = {"task": task, "to": to}
    shown: dict[str, str] = {}
    for step in walk(root, attributes):
        for receiver in step.row()["receivers"]:  # type: ignore[attr-defined]  # a list, as the row has it
            shown.setdefault(receiver, step.path)

    assert shown == {hop.receiver: hop.path for hop in route(root, attributes)}
