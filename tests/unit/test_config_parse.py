import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from taskwatch.config.document import Place
from taskwatch.config.load import load
from taskwatch.config.parse import MAX_BYTES, read
from taskwatch.errors import ConfigError
from tests.fakes.config_files import CREDENTIALS, KINDS, PROJECTS, SMALLEST, loaded, refused

NOBODY = 65534


def _read(directory: Path, text: str) -> object:
    file = directory / "x.yaml"
    file.write_text(text, "utf-8")
    return read(file).root


def test_every_scalar_is_text_whatever_yaml_would_make_of_it(tmp_path: Path) -> None:
    text = "{a: on, b: 0123, c: 1e3, d: 2026-11-23, e: 12:30:00, f: .inf, g: ~, h: null, i: }"
    expected = {
        "a": "on", "b": "0123", "c": "1e3", "d": "2026-11-23", "e": "12:30:00", "f": ".inf",
        "g": "~", "h": "null", "i": "",
    }  # fmt: skip
    assert _read(tmp_path, text) == expected


def test_names_ids_and_labels_stay_as_they_are_written(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "credentials: {no: {type: none}}\n"
        "projects: [{name: on, endpoint: 'http://h', project_id: 0123, labels: {env: 1e3, off: 0x10}}]",
    )
    project = config.projects[0].project
    assert (project.name, project.identity.project_id) == ("on", "0123")
    assert project.labels == {"env": "1e3", "off": "0x10"}
    assert config.projects[0].credential == "no"


def test_keys_and_items_keep_their_places(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a:\n  - x\n  - {b: 1,\n     c: 2}\n", "utf-8")
    document = read(file)
    assert document.places["a",] == Place(1, 1)
    assert document.places["a", 0] == Place(2, 5)
    assert document.places["a", 1, "c"] == Place(4, 6)
    assert document.place(("a", 1, "not", "there")) == Place(3, 5)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert _read(tmp_path, "\ufeffa: 1") == {"a": "1"}


def test_an_alias_stands_for_what_it_names(tmp_path: Path) -> None:
    assert _read(tmp_path, "a: &x {k: [1]}\nb: *x\n") == {"a": {"k": ["1"]}, "b": {"k": ["1"]}}


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "null", "~"])
def test_an_empty_file_is_an_empty_mapping(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path, text) == {}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)

MAPPINGS = "a0: &a0 {x: x, y: y}\n" + "".join(
    f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 40)
)

# What somebody hostile would write, and the one line that is told of it.
UNREADABLE = {
    "[1, 2]": ["taskwatch.yaml:1:1: not a mapping; write keys, as in projects:"],
    "text": ["taskwatch.yaml:1:1: not a mapping; write keys, as in projects:"],
    "a: [1\nb: 2": [
        "taskwatch.yaml:2:2: not YAML: did not find expected ',' or ']' while parsing a flow sequence"
    ],
    "a: b: c": ["taskwatch.yaml:1:5: not YAML: mapping values are not allowed in this context"],
    "a: 1\n\tb: 2": [
        "taskwatch.yaml:2:1: not YAML: found a tab character that violates indentation while scanning a plain scalar"
    ],
    "ä: x\nb: \x07": ["taskwatch.yaml:2:4: not YAML: control characters are not allowed"],
    "a: 1\n--- \nb: 2": ["taskwatch.yaml:2:1: a second document; write one in each file"],
    "store: *nothing": [
        (
            "taskwatch.yaml:1:8: store: an alias of nothing that stands before it; "
            "put text that begins with * in quotes"
        )
    ],
    "store: &x [*x]": [
        (
            "taskwatch.yaml:1:12: store[0]: an alias of nothing that stands before it; "
            "put text that begins with * in quotes"
        )
    ],
    "store: {{a: 1}: 2}": [
        "taskwatch.yaml:1:9: store: a key that is no text; put text that begins with { or [ in quotes"
    ],
    "a: " + "[" * 60 + "]" * 60: ["taskwatch.yaml:1:54: nested deeper than 50 levels"],
    "a:\n" + "- " * 60 + "x": ["taskwatch.yaml:2:101: nested deeper than 50 levels"],
    "{a: " * 60: ["taskwatch.yaml:1:205: nested deeper than 50 levels"],
    "a: &x [b]\n" + "".join(f"a{n}: &x [*x]\n" for n in range(60)): [
        "taskwatch.yaml:50:1: a48: with its aliases more than 100000 values or 50 levels; write it out",
    ],
    BOMB: [
        "taskwatch.yaml:5:1: a4: with its aliases more than 100000 values or 50 levels; write it out",
    ],
    MAPPINGS: [
        "taskwatch.yaml:15:1: a14: with its aliases more than 100000 values or 50 levels; write it out",
    ],
    "a: [" + "x," * 100_000 + "]": [
        "taskwatch.yaml:1:1: a: with its aliases more than 100000 values or 50 levels; write it out",
    ],
}


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: text[:20])
def test_what_cannot_be_understood_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text) == UNREADABLE[text]


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object:os.system",
        "!!python/object/apply:os.system",
        "!!python/name:os.system",
        "!<tag:yaml.org,2002:python/module:os>",
        "!!binary",
        "!mine",
        "!!str",
        "!",
    ],
)
def test_a_tag_is_refused_and_nothing_is_constructed(tmp_path: Path, tag: str) -> None:
    marker = tmp_path / "constructed"
    assert refused(tmp_path, SMALLEST + f"store: {{path: {tag} 'touch {marker}'}}") == [
        "taskwatch.yaml:3:15: store.path: a tag is not allowed; put text that begins with ! in quotes"
    ]
    assert not marker.exists()


def test_a_key_written_twice_is_told_with_both_places_and_hides_nothing_else(tmp_path: Path) -> None:
    text = SMALLEST + "log:\n  level: info\n  level: debug\nlogg: {}\n"
    assert refused(tmp_path, text) == [
        "taskwatch.yaml:5:3: log.level: written before, in line 4; keep one of the two",
        "taskwatch.yaml:6:1: logg: unknown key; did you mean log?",
    ]


def test_merge_keys_are_keys_that_there_are_not(tmp_path: Path) -> None:
    text = CREDENTIALS + "log: &x {level: info}\nstore:\n  <<: *x\n" + PROJECTS
    assert [line.split("; ")[0] for line in refused(tmp_path, text)] == [
        "taskwatch.yaml:4:3: store.<<: unknown key"
    ]


def test_a_file_over_one_mebibyte_is_refused_and_one_of_that_size_is_not(tmp_path: Path) -> None:
    filled = SMALLEST + "#" * (MAX_BYTES - len(SMALLEST))
    assert loaded(tmp_path, filled).projects
    assert refused(tmp_path, filled + "#") == [
        "taskwatch.yaml:1:1: larger than 1 MiB; write what all projects share once, under defaults"
    ]


def test_a_file_that_is_not_utf8_is_refused_where_it_ceases_to_be(tmp_path: Path) -> None:
    assert refused(tmp_path, b"log:\n  level: \xff") == [
        "taskwatch.yaml:2:10: not UTF-8 text; save the file as UTF-8"
    ]


def test_a_file_that_is_not_there_and_one_that_is_a_directory_are_told(tmp_path: Path) -> None:
    assert _told(tmp_path / "none.yaml") == [
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory; write it, or name another"
    ]
    assert _told(tmp_path) == [
        f"{tmp_path}: cannot be read: Is a directory; name a file in it, as taskwatch.yaml"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_another_user_is_told_with_the_id_of_the_one_who_asks() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        file = Path(directory) / "taskwatch.yaml"
        file.write_text(SMALLEST)
        file.chmod(0o600)
        os.seteuid(NOBODY)
        try:
            told = _told(file)
        finally:
            os.seteuid(0)
    assert told == [f"{file}: cannot be read: Permission denied; let user id {NOBODY} read it"]


def test_a_mistake_is_told_on_one_line_whatever_the_key_holds(tmp_path: Path) -> None:
    [line, *_] = refused(tmp_path, SMALLEST + '"a\\nb\\e[31m": 1')
    assert line.startswith("taskwatch.yaml:3:1: a\\nb\\x1b[31m: unknown key")


def _told(file: Path) -> list[str]:
    try:
        load(file, KINDS)
    except ConfigError as error:
        return error.problems
    return []


# Pieces of the language and of our own keys, so that much of what is made up gets far.
PIECES = st.sampled_from(
    [
        "store", "log", "credentials", "defaults", "projects", "receivers", "route", "type", "token", "none",
        "name", "endpoint", "project_id", "interval", "receivers", "routes", "matchers", "https://h", "5s",
        ":", ": ", "\n", "\n  ", "\n    ", "- ", "{", "}", "[", "]", ", ", "&a ", "*a", "!!x ", "'", '"', "|",
        "~", "off", "file", "\x00", "\ud7ff", "<<", "? ",
    ]
)  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join)))
@example(SMALLEST)
def test_any_text_is_loaded_or_refused_and_nothing_else(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(text.encode("utf-8", "replace"))
    for line in _told(file):
        assert line.startswith(f"{file}:")
        assert line.isprintable()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary())
def test_any_bytes_are_loaded_or_refused_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError):
        load(file, KINDS)


def test_deep_nesting_does_not_reach_the_limits_of_the_interpreter(tmp_path: Path) -> None:
    deep = sys.getrecursionlimit() * 100
    assert refused(tmp_path, "a: " + "[" * deep)[0].endswith("nested deeper than 50 levels")
