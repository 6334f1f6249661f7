"""What a reload changes, said in lines."""

from dataclasses import fields
from pathlib import Path

import pytest

from taskwatch.config.configuration import Config
from taskwatch.config.difference import differences, renamed_receivers
from tests.fakes.config_files import CREDENTIALS, PROJECTS, SMALLEST, loaded

CANARY = "canary-9e41"


def _said(directory: Path, before: str, after: str) -> list[str]:
    return list(differences(loaded(directory, before), loaded(directory, after)))


def _project(keys: str, *more: str) -> str:
    base = "name: prod, endpoint: https://h, project_id: a"
    return CREDENTIALS + f"projects:\n- {{{base}, {keys}}}\n" + "".join(f"- {{{one}}}\n" for one in more)


DEV = "name: dev, endpoint: https://h, project_id: b"
HOOK = "receivers: [{name: pipeline, type: hook, url: 'https://h/x', %s}]"

_BY_NAME = (
    "credentials: {otc: {type: cloud, cloud: c}}\n"
    "projects:\n- {name: prod, endpoint: https://h, project: eu-de_prod}\n"
)

# Before, after → what is said.
CHANGES = [
    (SMALLEST, SMALLEST, []),
    (SMALLEST, SMALLEST + "log: {level: info}", []),  # the default, written out
    (_project(""), _project("", DEV), ["project dev added"]),
    (_project("", DEV), _project(""), ["project dev removed"]),
    (SMALLEST, SMALLEST.replace("prod", "production"), ["project prod renamed to production"]),
    (
        _project("interval: 5s"),
        _project("interval: 6s, labels: {a: b}"),
        ["project prod: interval, labels changed"],
    ),
    (_project(""), _project("tasks: {exclude: [X]}"), ["project prod: tasks.exclude changed"]),
    (
        SMALLEST,
        SMALLEST.replace("prod", "new") + "defaults: {timeout: 9s}",
        ["project prod renamed to new", "project new: timeout changed"],
    ),
    (SMALLEST, SMALLEST.replace("https", "http"), ["project prod: endpoint changed"]),
    (
        SMALLEST,
        SMALLEST.replace("abc", "xyz"),
        ["project prod: endpoint or project_id changed, so it is another one, known from its first poll on"],
    ),
    (
        SMALLEST + HOOK % "timeout: 5s",
        SMALLEST + (HOOK % "").replace("/x", "/y"),
        ["receiver pipeline: timeout, url changed"],
    ),
    (
        SMALLEST + "receivers: [{name: log, type: log}, {name: mail, type: log}]",
        SMALLEST + "receivers: [{name: log, type: log}]\nroute: {receivers: [log]}",
        ["receiver mail removed"],
    ),
    (
        SMALLEST + "route: {receivers: [log]}\nreceivers: [{name: log, type: log}]",
        SMALLEST + "route: {receivers: [log]}\n" + (HOOK % "").replace("[", "[{name: log, type: log}, "),
        ["receiver pipeline added"],
    ),
    (
        SMALLEST + HOOK % "",
        SMALLEST + (HOOK % "").replace("pipeline", "renamed"),
        ["receiver pipeline renamed to renamed"],  # and the route with it
    ),
    (
        SMALLEST + HOOK % "" + "\nroute: {routes: [{receivers: [pipeline]}]}",
        SMALLEST + (HOOK % "").replace("pipeline", "new") + "\nroute: {routes: [{receivers: [new]}]}",
        ["receiver pipeline renamed to new"],
    ),
    (SMALLEST, SMALLEST.replace("none", "none, rate: 5/s"), ["credential otc: rate changed"]),
    (
        SMALLEST,
        SMALLEST.replace("{otc:", "{iam:"),
        ["project prod: credential changed", "credential otc removed", "credential iam added"],
    ),
    (
        SMALLEST,
        SMALLEST
        + "defaults: {proxy: 'http://u:canary@p', tls: {verify: false}, offset: page1, full_poll: 1h}",
        ["project prod: full_poll, offset, proxy, tls changed"],
    ),
    (_BY_NAME, _BY_NAME + "- {name: dev, endpoint: https://h, project: eu-de_dev}", ["project dev added"]),
    (
        _BY_NAME,
        _BY_NAME.replace("eu-de_prod", "eu-de_new, interval: 5s"),
        ["project prod: interval, project changed"],
    ),
    (SMALLEST, SMALLEST + "route: {routes: [{matchers: [task = x]}]}", ["route changed"]),
    (SMALLEST, SMALLEST + "log: {level: debug}", ["log.level changed: info -> debug"]),
    (
        SMALLEST,
        SMALLEST + "log: {format: json}",
        ["log.format changed: auto -> json, from the next start on"],
    ),
    (SMALLEST, SMALLEST + "store: {retention: 30d}", ["store.retention changed: 90d -> 30d"]),
    (SMALLEST, SMALLEST + "server: off", ["server: listen changed"]),
    (
        SMALLEST + "server: {token: {file: a}, hosts: [h]}",
        SMALLEST + "server: {token: {file: b}}",
        ["server: hosts, token changed"],
    ),
    (SMALLEST, SMALLEST + "heartbeat: {url: 'https://h/x'}", ["heartbeat changed"]),
    (SMALLEST, SMALLEST + "store: {path: x.db}", ["store.path changed: takes effect at the next start"]),
]


@pytest.mark.parametrize(("before", "after", "said"), CHANGES)
def test_a_reload_says_what_it_changes(tmp_path: Path, before: str, after: str, said: list[str]) -> None:
    assert _said(tmp_path, before, after) == said


def test_a_file_read_again_differs_in_nothing_however_many_patterns_it_has(tmp_path: Path) -> None:
    routes = ", ".join(f"{{matchers: ['task =~ \"B{n}.*\"']}}" for n in range(300))
    text = SMALLEST + HOOK % "secret: {file: s}" + f"\nroute: {{routes: [{routes}]}}"
    assert _said(tmp_path, text, text) == []


def test_projects_that_swap_their_names_are_both_renamed(tmp_path: Path) -> None:
    swapped = _project("", DEV).replace("prod", "x").replace("dev", "prod").replace("x", "dev")
    assert _said(tmp_path, _project("", DEV), swapped) == [
        "project prod renamed to dev",
        "project dev renamed to prod",
    ]


def test_receivers_that_are_alike_are_paired_in_their_order(tmp_path: Path) -> None:
    before = loaded(tmp_path, SMALLEST + "receivers: [{name: a, type: log}, {name: b, type: log}]")
    after = loaded(
        tmp_path,
        SMALLEST
        + "receivers: [{name: z, type: log, timeout: 1s}, {name: y, type: log}, {name: x, type: log}]",
    )
    assert renamed_receivers(before, after) == {"a": "y", "b": "x"}
    assert [line for line in differences(before, after) if "receiver" in line] == [
        "receiver a renamed to y",
        "receiver b renamed to x",
        "receiver z added",
    ]


def test_a_receiver_that_keeps_its_name_is_not_taken_for_one_that_went(tmp_path: Path) -> None:
    before = loaded(tmp_path, SMALLEST + "receivers: [{name: a, type: log}]")
    after = loaded(tmp_path, SMALLEST + "receivers: [{name: b, type: log}, {name: a, type: log}]")
    assert renamed_receivers(before, after) == {}


def test_secrets_are_compared_and_not_shown(tmp_path: Path) -> None:
    text = (
        f"credentials: {{otc: {{type: token, token: {CANARY}1}}}}\n{PROJECTS}"
        f"receivers: [{{name: a, type: hook, url: 'https://h/{CANARY}2', secret: {CANARY}3}}]"
    )
    assert _said(tmp_path, text, text) == []
    for number, line in [
        (1, "credential otc: token changed"),
        (2, "receiver a: url changed"),
        (3, "receiver a: secret changed"),
    ]:
        assert _said(tmp_path, text, text.replace(f"{CANARY}{number}", f"{CANARY}9")) == [line]


def test_a_secret_that_is_kept_elsewhere_from_now_on_has_changed(tmp_path: Path) -> None:
    text = "credentials: {otc: {type: token, token: {file: a}}}\n" + PROJECTS
    assert _said(tmp_path, text, text.replace("file: a", "env: A")) == ["credential otc: token changed"]


def test_no_part_of_a_configuration_is_left_out_of_the_comparison() -> None:
    compared = {
        "store",
        "log",
        "server",
        "heartbeat",
        "credentials",
        "projects",
        "named",
        "receivers",
        "route",
        "mutes",
    }
    follows = {
        "path",
        "files",
        "secrets",
        "trusts",
        "warnings",
        "routing",
    }  # from where and how the others are written
    assert {field.name for field in fields(Config)} - follows == compared
