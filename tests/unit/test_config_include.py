"""Further files: what they may hold, what they inherit, and where their mistakes are told."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskwatch.config import include
from taskwatch.config.inspection import inspect_secrets
from taskwatch.config.load import load
from taskwatch.core.cadence import Cadence
from taskwatch.errors import ConfigError
from taskwatch.secret import Kept, Secret
from tests.fakes.config_files import CREDENTIALS, KINDS, PROJECTS, SMALLEST, loaded, refused

NOBODY = 65534
ALL = "include: conf.d/*.yaml\n"
DEV = "projects: [{name: dev, endpoint: https://dev.example, project_id: b}]\n"
OPS = "projects: [{name: ops, endpoint: https://ops.example, project_id: c}]\n"


def _names(directory: Path, text: str, included: dict[str, str]) -> list[str]:
    return [watched.project.name for watched in loaded(directory, text, included).projects]


def test_what_is_included_is_part_of_the_configuration(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "defaults: {credential: otc}\n"
        + SMALLEST
        + ALL
        + "route: {receivers: [mail]}\nreceivers: [{name: journal, type: log}]",
        {
            "conf.d/a.yaml": "receivers: [{name: mail, type: log}]",
            "conf.d/b.yaml": DEV + "credentials: {iam: {type: none, rate: 1/s}}\ndefaults: {credential: iam}",
            "conf.d/c.yaml": "",
        },
    )
    assert [(watched.project.name, watched.credential) for watched in config.projects] == [
        ("prod", "otc"),
        ("dev", "iam"),
    ]
    assert [receiver.name for receiver in config.receivers] == ["journal", "mail"]
    assert {name: credential.rate for name, credential in config.credentials.items()} == {"otc": 20, "iam": 1}
    assert config.route.receivers == ("mail",)
    assert config.path == tmp_path / "taskwatch.yaml"
    assert config.files == (
        config.path,
        *(tmp_path / "conf.d" / name for name in ("a.yaml", "b.yaml", "c.yaml")),
    )


def test_credentials_and_projects_may_stand_in_included_files_alone(tmp_path: Path) -> None:
    assert _names(tmp_path, ALL, {"conf.d/a.yaml": CREDENTIALS, "conf.d/b.yaml": DEV}) == ["dev"]


def test_a_configuration_without_projects_anywhere_is_refused_in_its_main_file(tmp_path: Path) -> None:
    assert refused(tmp_path, CREDENTIALS + ALL, {"conf.d/a.yaml": "projects: []"}) == [
        (
            "taskwatch.yaml:1:1: projects: missing; "
            "write projects: [{name: prod, endpoint: https://HOST, project_id: ID}]"
        )
    ]


def test_files_are_read_sorted_by_name_and_once(tmp_path: Path) -> None:
    included = {"conf.d/10.yaml": OPS, "conf.d/09.yaml": DEV}
    assert _names(tmp_path, SMALLEST + ALL, included) == ["prod", "dev", "ops"]
    both = "include: [conf.d/10.yaml, 'conf.d/*.yaml', conf.d/../conf.d/09.yaml]\n"
    assert _names(tmp_path, SMALLEST + both, included) == ["prod", "ops", "dev"]


def test_a_glob_that_finds_the_main_file_too_does_not_include_it(tmp_path: Path) -> None:
    assert _names(tmp_path, SMALLEST + "include: '*.yaml'", {"dev.yaml": DEV}) == ["prod", "dev"]


def test_a_glob_that_finds_nothing_is_fine_and_so_are_hidden_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "conf.d/dir.yaml").mkdir(parents=True)
    assert _names(tmp_path, SMALLEST + ALL, {"conf.d/.swap.yaml": "{", "conf.d/old.yaml~": "{"}) == ["prod"]


def test_patterns_start_at_the_file_they_stand_in_whatever_its_directory_is_called(tmp_path: Path) -> None:
    directory = tmp_path / "[x]*"
    directory.mkdir()
    assert _names(directory, SMALLEST + ALL, {"conf.d/a.yaml": DEV}) == ["prod", "dev"]


def test_a_pattern_may_be_absolute(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.yaml").write_text(DEV)
    assert _names(tmp_path, SMALLEST + f"include: {elsewhere}/*.yaml", {}) == ["prod", "dev"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("none.yaml", "3:1: include: no such file; write it, or a pattern as conf.d/*.yaml, which may find none"),
        ("['*.x', none.yaml]", "3:18: include[1]: no such file; write it, or a pattern as conf.d/*.yaml, which may find none"),
        ('"a\\0/b*"', "3:1: include: not a path; write a file, or a pattern as conf.d/*.yaml"),
        ("~no-such-user/*", "3:1: include: not a path; write a file, or a pattern as conf.d/*.yaml"),
        ("conf.d", "3:1: include: no such file; write it, or a pattern as conf.d/*.yaml, which may find none"),
        ("{a: b}", "3:1: include: not a list; write [ONE, TWO], or one item a line after a dash"),
        ("[[a]]", "3:11: include[0]: not text; write one text"),
    ],
)  # fmt: skip
def test_an_include_that_cannot_be_followed_is_told_where_it_stands(
    tmp_path: Path, written: str, told: str
) -> None:
    (tmp_path / "conf.d").mkdir()
    assert refused(tmp_path, SMALLEST + f"include: {written}") == [f"taskwatch.yaml:{told}"]


def test_a_link_that_leads_nowhere_is_told_and_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/lost.yaml").symlink_to("nowhere")
    assert refused(tmp_path, SMALLEST + ALL) == [
        "conf.d/lost.yaml: cannot be read: No such file or directory; write it, or name another"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("pattern", ["conf.d/*.yaml", "conf.d/a.yaml", "conf.?/a.yaml"])
def test_a_directory_that_cannot_be_looked_into_is_told_and_not_taken_for_an_empty_one(pattern: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        main = SMALLEST + f"include: {pattern}"
        assert _names(directory, main, {"conf.d/a.yaml": DEV}) == ["prod", "dev"]
        (directory / "conf.d").chmod(0o700)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(ConfigError) as raised:
                load(directory / "taskwatch.yaml", KINDS)
        finally:
            os.seteuid(0)
    [problem] = raised.value.problems
    assert problem.startswith(f"{directory}/taskwatch.yaml:3:1: include: {directory}/conf.d")
    assert problem.endswith(f"cannot be read: Permission denied; let user id {NOBODY} read it")


@pytest.mark.parametrize("pattern", ["conf.d/*", "conf.d/pipe.yaml"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "conf.d").mkdir()
    os.mkfifo(tmp_path / "conf.d/pipe.yaml")
    if "*" in pattern:
        assert _names(tmp_path, SMALLEST + f"include: {pattern}", {}) == ["prod"]
    else:
        assert "no such file" in refused(tmp_path, SMALLEST + f"include: {pattern}")[0]


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(include, "MAX_FILES", 3)
    files = {"conf.d/a.yaml": "", "conf.d/b.yaml": ""}
    assert _names(tmp_path, SMALLEST + ALL, files) == ["prod"]
    assert refused(tmp_path, SMALLEST + ALL, files | {"conf.d/c.yaml": ""}) == [
        "taskwatch.yaml:3:1: include: more than 3 files; write several projects in each"
    ]


@pytest.mark.parametrize("key", ["include", "store", "log", "route", "server", "mute"])
def test_an_included_file_holds_nothing_else(tmp_path: Path, key: str) -> None:
    assert refused(tmp_path, SMALLEST + ALL, {"conf.d/a.yaml": f"{key}: off"}) == [
        (
            f"conf.d/a.yaml:1:1: {key}: not in an included file, which holds "
            "credentials, defaults, projects, receivers; write it in the main file"
        )
    ]


def test_defaults_of_a_file_hold_for_its_projects_upon_those_of_the_main_file(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        SMALLEST
        + ALL
        + "defaults: {timeout: 7s, interval: 5s, labels: {a: main, b: main, c: main}, severity: {X: info}}",
        {
            "conf.d/a.yaml": "defaults: {interval: 9s, labels: {b: file, c: file}, endpoint: 'https://a', severity: {Y: info}}\n"
            "projects: [{name: dev, project_id: b, labels: {c: own}}]",
            "conf.d/b.yaml": OPS,
        },
    )
    prod, dev, ops = config.projects
    assert dev.project.labels == {"a": "main", "b": "file", "c": "own"}
    assert (dev.timeout, dev.interval, [glob for glob, _ in dev.severity]) == (
        7,
        Cadence(active=9, idle=9),
        ["Y"],
    )
    for other in (prod, ops):
        assert (other.timeout, other.interval) == (7, Cadence(active=5, idle=5))
        assert other.project.labels == {"a": "main", "b": "main", "c": "main"}


def test_paths_in_an_included_file_start_at_its_directory(tmp_path: Path) -> None:
    (tmp_path / "endpoint").write_text("https://main.example")
    config = loaded(
        tmp_path,
        ALL + "defaults: {endpoint: {file: endpoint}}",
        {
            "conf.d/a.yaml": "credentials: {otc: {type: token, token: {file: token}}}\n"
            "projects: [{name: dev, project_id: b}]"
        },
    )
    [placed] = config.secrets
    assert placed.secret == Secret(Kept.FILE, str(tmp_path / "conf.d/token"))
    assert config.projects[0].project.identity.host == "main.example"  # the path is of the file that has it
    [line] = inspect_secrets(config.secrets).unreadable
    assert line.startswith(
        f"{tmp_path}/conf.d/a.yaml:1:34: credentials.otc.token: cannot read {tmp_path}/conf.d/token"
    )


def test_names_and_projects_that_two_files_have_are_told_with_both_places(tmp_path: Path) -> None:
    main = SMALLEST + ALL + "receivers: [{name: mail, type: log}]"
    included = {
        "conf.d/a.yaml": CREDENTIALS + DEV + "receivers: [{name: mail, type: log}]",
        "conf.d/b.yaml": "projects:\n- {name: dev, endpoint: https://gauss.example, project_id: abc}",
    }
    assert refused(tmp_path, main, included) == [
        "conf.d/a.yaml:1:15: credentials.otc: credentials.otc in taskwatch.yaml:1 has this name; write another",
        "conf.d/a.yaml:3:14: receivers[0].name: receivers[0] in taskwatch.yaml:4 has this name; write another",
        (
            "conf.d/b.yaml:2:3: projects[0]: the same endpoint and project_id as projects[0] in taskwatch.yaml:2; "
            "keep one of the two"
        ),
        "conf.d/b.yaml:2:4: projects[0].name: projects[0] in conf.d/a.yaml:2 has this name; write another",
    ]


def test_projects_of_two_files_that_inherit_an_endpoint_kept_elsewhere_are_compared_by_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "endpoint").write_text("https://gauss.example")
    main = SMALLEST + ALL + "defaults: {endpoint: {file: endpoint}}"
    assert refused(tmp_path, main, {"conf.d/a.yaml": "projects: [{name: dev, project_id: abc}]"}) == [
        (
            "conf.d/a.yaml:1:12: projects[0]: the same endpoint and project_id as "
            "projects[0] in taskwatch.yaml:2; keep one of the two"
        )
    ]


def test_what_no_file_has_is_unknown_and_what_another_has_is_not(tmp_path: Path) -> None:
    main = "defaults: {credential: iam}\n" + SMALLEST + ALL + "route: {receivers: [mail, mial]}"
    included = {
        "conf.d/a.yaml": "credentials: {iam: {type: none}}\nreceivers: [{name: mail, type: log}]",
        "conf.d/b.yaml": DEV.replace("id: b", "id: b, credential: otk"),
    }
    assert refused(tmp_path, main, included) == [
        "taskwatch.yaml:5:27: route.receivers[1]: unknown receiver; did you mean mail?",
        "conf.d/b.yaml:1:70: projects[0].credential: unknown credential; did you mean otc?",
    ]


def test_mistakes_of_all_files_are_told_at_once_file_by_file(tmp_path: Path) -> None:
    included = {
        "conf.d/a.yaml": "projects: [\n",
        "conf.d/b.yaml": "log: {}\nprojects: [{name: dev, interval: x, project_id: y, endpoint: 'https://h'}]\nlog: {}",
        "conf.d/c.yaml": "a: &a [x]\n" + "b: !!python/name:os.system x",
        "a.yaml": "projects: 1",
    }
    main = SMALLEST + "include: ['conf.d/*', none.yaml, a.yaml]\nlog: {level: loud}"
    assert [line.split(": ")[:2] for line in refused(tmp_path, main, included)] == [
        ["taskwatch.yaml:3:23", "include[1]"],
        ["taskwatch.yaml:4:7", "log.level"],
        ["conf.d/a.yaml:2:1", "not YAML"],
        ["conf.d/b.yaml:1:1", "log"],
        ["conf.d/b.yaml:2:24", "projects[0].interval"],
        ["conf.d/b.yaml:3:1", "log"],
        ["conf.d/c.yaml:1:1", "a"],
        ["conf.d/c.yaml:2:1", "b"],
        ["conf.d/c.yaml:2:4", "b"],
        ["a.yaml:1:1", "projects"],
    ]


def test_a_file_that_cannot_be_understood_makes_no_name_unknown(tmp_path: Path) -> None:
    main = PROJECTS + ALL + "route: {receivers: [mail]}\ndefaults: {credential: iam}"
    [line] = refused(tmp_path, main, {"conf.d/a.yaml": "credentials: {iam: {type: none}}\nx: ]"})
    assert line.startswith("conf.d/a.yaml:2:4: not YAML")


def test_the_bounds_hold_for_each_file(tmp_path: Path) -> None:
    large = "#" * (1024 * 1024)
    assert _names(tmp_path, SMALLEST + ALL, {"conf.d/a.yaml": large, "conf.d/b.yaml": large}) == ["prod"]
    assert refused(tmp_path, SMALLEST + ALL, {"conf.d/b.yaml": large + "#"}) == [
        "conf.d/b.yaml:1:1: larger than 1 MiB; write what all projects share once, under defaults"
    ]


def test_advice_is_given_at_the_file_it_is_about(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "credentials: {a: {type: none}}\nprojects: [{name: prod, endpoint: http://h, project_id: x, credential: a}]\n"
        + ALL,
        {
            "conf.d/a.yaml": "credentials: {b: {type: token, token: x, rate: 1/h}}\n"
            "defaults: {credential: b, endpoint: 'http://i'}\n"
            "projects: [{name: dev, project_id: y}, {name: ops, project_id: z}]"
        },
    )
    assert [line.removeprefix(f"{tmp_path}/").split(": ")[:2] for line in config.warnings] == [
        ["conf.d/a.yaml:1:32", "credentials.b.token"],
        ["conf.d/a.yaml:1:42", "credentials.b.rate"],
        ["conf.d/a.yaml:2:27", "defaults.endpoint"],
    ]


def test_five_thousand_projects_over_ten_files_are_loaded(tmp_path: Path) -> None:
    for file in range(10):
        projects = "".join(
            f"- {{name: p{file}-{n}, project_id: p{file}-{n}, labels: {{n: '{n}'}}}}\n" for n in range(500)
        )
        (tmp_path / f"{file}.yaml").write_text(f"projects:\n{projects}")
    config = loaded(tmp_path, CREDENTIALS + "include: '[0-9].yaml'\ndefaults: {endpoint: 'https://h'}")
    assert len(config.projects) == 5000


def _told(file: Path) -> list[str]:
    try:
        load(file, KINDS)
    except ConfigError as error:
        return error.problems
    return []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pattern=st.text("*?[]~.!-a\0\n /", max_size=6).filter(lambda text: not text.startswith("/")))
def test_any_pattern_is_followed_or_refused_and_nothing_else(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "a").mkdir(exist_ok=True)
    file = tmp_path / "taskwatch.yaml"
    file.write_text(SMALLEST + f"include: {json.dumps(pattern)}")
    assert all(line.startswith(f"{file}:3:1: include: ") for line in _told(file))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.binary(), st.text("{}[]:-, \nab&*!'\"", max_size=40).map(str.encode)))
def test_any_included_file_is_loaded_or_refused_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    file, included = tmp_path / "taskwatch.yaml", tmp_path / "any.yaml"
    file.write_text(SMALLEST + "include: any.yaml")
    included.write_bytes(content)
    assert all(line.startswith(f"{included}:") and line.isprintable() for line in _told(file))
