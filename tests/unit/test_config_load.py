from pathlib import Path

import pytest

from taskwatch.config import advice
from taskwatch.config.load import find
from taskwatch.config.serving import Listen, TcpListen, UnixListen
from taskwatch.core.cadence import Cadence
from taskwatch.core.detect import BaselinePolicy
from taskwatch.core.route import route
from taskwatch.errors import ConfigError
from taskwatch.model.event import Severity
from taskwatch.model.project import Identity
from taskwatch.secret import Kept, Secret
from tests.fakes.config_files import CREDENTIALS, PROJECTS, SMALLEST, loaded, refused

FIRST = "projects[0]"
P = "projects: [{name: prod, endpoint: https://gauss.example, project_id: abc, "  # } and ] are the test's

# What is written → what is told of it, whole and without the file's name.
MISTAKES = {
    "{}": [
        "1:1: credentials: missing; write credentials: {otc: {type: token, token: {file: PATH}}}",
        "1:1: projects: missing; write projects: [{name: prod, endpoint: https://HOST, project_id: ID}]",
    ],
    CREDENTIALS + "projects: []": ["2:1: projects: empty; write one at least"],
    CREDENTIALS + "projects:": ["2:1: projects: empty; write one at least"],
    "credentials: []\n" + PROJECTS: ["1:1: credentials: not a mapping; write KEY: VALUE below it"],
    "credentials: {}\n" + PROJECTS: ["1:1: credentials: empty; write one at least"],
    CREDENTIALS + "projects: {name: x}": [
        "2:1: projects: not a list; write [ONE, TWO], or one item a line after a dash"
    ],
    CREDENTIALS + "projects: [prod]": ["2:12: projects[0]: not a mapping; write KEY: VALUE below it"],
    CREDENTIALS + "projects: [{}]": [
        "2:12: projects[0].endpoint: missing; write endpoint: https://HOST here or under defaults",
        "2:12: projects[0].project_id: missing; write project_id: 0611f1bd8b00d5d32f17c017f15b599f, or project: eu-de_prod",
        "2:12: projects[0].name: missing; write name: prod",
    ],
    SMALLEST + "projekts: []": ["3:1: projekts: unknown key; did you mean projects?"],
    SMALLEST + "log: {lvl: info}": ["3:7: log.lvl: unknown key; did you mean level?"],
    SMALLEST + "log: {colour: red}": ["3:7: log.colour: unknown key; known here: format, level"],
    SMALLEST + "log: {format: xml}": [
        "3:7: log.format: unknown word; known here: auto, console, json, journal"
    ],
    SMALLEST + "log: {level: warn}": ["3:7: log.level: unknown word; did you mean warning?"],
    SMALLEST + "log: {level: [info]}": [
        "3:7: log.level: not text; write one text"
    ],
    SMALLEST + "log: info": ["3:1: log: not a mapping; write KEY: VALUE below it"],
    SMALLEST + "store: {retention: 90}": [
        "3:9: store.retention: not a duration; write a number and ms, s, m, h or d, as 30s"
    ],
    SMALLEST + "store: {retention: 1m}": ["3:9: store.retention: out of bounds; write 1h to 3650d"],
    SMALLEST + "store: {path: }": ["3:9: store.path: not a path; write one"],
    SMALLEST + "defaults: {overdue: 2h}": [
        "3:12: defaults.overdue: not in this version; write off, or leave it out"
    ],
    SMALLEST + "server: {listen: 9720}": [
        "3:10: server.listen: nowhere to listen; write HOST:PORT as 127.0.0.1:9720, [::]:9720, unix:/PATH, or off"
    ],
    SMALLEST + "server: {listen: 127.0.0.1:65536}": [
        "3:10: server.listen: nowhere to listen; write HOST:PORT as 127.0.0.1:9720, [::]:9720, unix:/PATH, or off"
    ],
    SMALLEST + "server: {listen: 'unix:'}": [
        "3:10: server.listen: a socket without a path; write HOST:PORT as 127.0.0.1:9720, [::]:9720, unix:/PATH, or off"
    ],
    SMALLEST + f"server: {{listen: 'unix:/{'s' * 100}'}}": [
        "3:10: server.listen: the path of a socket has 100 bytes at most; write a shorter one"
    ],
    SMALLEST + "server: {listen: '[::]:9720'}": [
        ("3:1: server: listen: [::]:9720 can be reached from other hosts; write a token, as token: {file: server.token},"
        " or listen on 127.0.0.1 or a unix socket")
    ],
    SMALLEST + "server: {hosts: [https://tw.example]}": [
        "3:18: server.hosts[0]: not the name of a host; write it without scheme and port, as taskwatch.example"
    ],
    SMALLEST + "server: {external_url: 'https://u:p@tw.example'}": [
        "3:10: server.external_url: more than a place; write https://HOST or https://HOST/PATH"
    ],
    SMALLEST + "heartbeat: {every: 1s}": ["3:1: heartbeat.url: missing; write url: https://hc.example/ping/ID"],
    SMALLEST + "heartbeat: {url: 'https://hc.example', every: 2d}": [
        "3:40: heartbeat.every: out of bounds; write 1s to 1d"
    ],
    "credentials: {otc: {type: tokn}}\n" + PROJECTS: [
        "1:21: credentials.otc.type: unknown type; did you mean token?"
    ],
    "credentials: {otc: {}}\n" + PROJECTS: [
        "1:15: credentials.otc.type: missing; write type: password or token or aksk or agency or cloud or none"
    ],
    "credentials: {otc: {type: none, rate: 0/s}}\n" + PROJECTS: [
        "1:33: credentials.otc.rate: not a rate; write requests in a time, as 20/s or 30/m"
    ],
    "credentials: {otc: {type: token}}\n" + PROJECTS: [
        "1:15: credentials.otc.token: missing; write token: {file: PATH}"
    ],
    "credentials: {otc: {type: token, token: {fil: x}}}\n" + PROJECTS: [
        ("1:34: credentials.otc.token: kept in no way that is known; "
        "write the text, {file: PATH}, {env: NAME} or {credential: NAME}")
    ],
    "credentials: {otc: {type: token, token: }}\n" + PROJECTS: [
        ("1:34: credentials.otc.token: nothing to read; "
        "write the text, {file: PATH}, {env: NAME} or {credential: NAME}")
    ],
    "credentials: {otc: {type: token, token: {credential: ../x}}}\n" + PROJECTS: [
        "1:34: credentials.otc.token: not a name of that kind; write the name under which it is found"
    ],
    CREDENTIALS + P + "interval: fast}]": [
        "2:75: projects[0].interval: not a duration; write a number and ms, s, m, h or d, as 30s"
    ],
    CREDENTIALS + P + "interval: off}]": [
        "2:75: projects[0].interval: not a duration; write a number and ms, s, m, h or d, as 30s"
    ],
    CREDENTIALS + P + "interval: 99ms}]": ["2:75: projects[0].interval: out of bounds; write 100ms to 1d"],
    CREDENTIALS + P + "interval: {active: 2m, idle: 1m}}]": [
        "2:75: projects[0].interval: idle is shorter than active; write an idle of at least active"
    ],
    CREDENTIALS + P + "interval: {busy: 2s}}]": [
        "2:86: projects[0].interval.busy: unknown key; known here: active, idle"
    ],
    CREDENTIALS + P + "offset: page}]": [
        "2:75: projects[0].offset: unknown word; did you mean page1?"
    ],
    CREDENTIALS + P + "full_poll: off}]": [
        "2:75: projects[0].full_poll: off would never notice what is gone; write a duration, as 15m"
    ],
    CREDENTIALS + P + "full_poll: 25h}]": ["2:75: projects[0].full_poll: out of bounds; write 1s to 1d"],
    CREDENTIALS + P + "proxy: 'proxy:3128'}]": [
        "2:75: projects[0].proxy: not a URL; write https://HOST or http://HOST"
    ],
    CREDENTIALS + P + "service: rds}]": [
        "2:75: projects[0].service: rds is not in this version; leave it out"
    ],
    CREDENTIALS + P + "overdue: {'*': auto}}]": [
        "2:75: projects[0].overdue: not in this version; write off, or leave it out"
    ],
    CREDENTIALS + P + "tls: {verify: maybe}}]": [
        "2:81: projects[0].tls.verify: neither true nor false; write one of them"
    ],
    CREDENTIALS + P + "tls: {key: x.pem}}]": [
        "2:75: projects[0].tls: a key without cert; write cert: FILE beside it"
    ],
    CREDENTIALS + P + "baseline: loud}]": [
        "2:75: projects[0].baseline: unknown word; known here: quiet, failed, all"
    ],
    CREDENTIALS + P + "severity: {'Backup*': fatal}}]": [
        "2:86: projects[0].severity.Backup*: unknown word; known here: info, warning, critical"
    ],
    CREDENTIALS + P + "labels: {job_id: x}}]": [
        "2:84: projects[0].labels.job_id: alerts have a label of this name themselves; write another"
    ],
    CREDENTIALS + P + "labels: {a-b: x}}]": [
        "2:84: projects[0].labels.a-b: not a label; write letters, digits and _, with no digit in front"
    ],
    CREDENTIALS + P + "labels: {a: [x]}}]": ["2:84: projects[0].labels.a: not text; write one text"],
    CREDENTIALS + P + "tasks: {include: []}}]": [
        "2:83: projects[0].tasks.include: empty; write one at least"
    ],
    CREDENTIALS + P + "credential: otk}]": [
        "2:75: projects[0].credential: unknown credential; did you mean otc?"
    ],
    "credentials: {a: {type: none}, b: {type: none}}\n" + PROJECTS: [
        "2:12: projects[0].credential: missing; write credential: a or b, here or under defaults"
    ],
    "credentials: {" + ", ".join(f"c{n}: {{type: none}}" for n in range(6)) + "}\n" + PROJECTS: [
        "2:12: projects[0].credential: missing; write credential: c0 or c1 or c2 or c3 or c4 or another, here or under defaults"
    ],
    SMALLEST + "defaults: {name: x}": [
        ("3:12: defaults.name: unknown key; known here: endpoint, service, credential, interval, full_poll, "
        "timeout, baseline, severity, offset, labels, tasks, overdue, stalled, proxy, tls")
    ],
    CREDENTIALS + "projects:\n- {name: a, endpoint: https://h, project_id: '../x'}": [
        "3:34: projects[0].project_id: not an id; write its letters, digits, - and _, at most 64"
    ],
    CREDENTIALS + 'projects:\n- {name: "a\\nb", endpoint: https://h, project_id: x}': [
        "3:4: projects[0].name: not a name; write 1 to 100 printable characters on one line"
    ],
    CREDENTIALS + "projects:\n- {name: a, endpoint: https://h, project_id: x}\n"
    "- {name: a, endpoint: https://h, project_id: y}": [
        "4:4: projects[1].name: projects[0] in line 3 has this name; write another"
    ],
    CREDENTIALS + "projects:\n- {name: a, endpoint: https://h, project_id: x}\n"
    "- {name: b, endpoint: 'https://H:443/', project_id: x}": [
        "4:3: projects[1]: the same endpoint and project_id as projects[0] in line 3; keep one of the two"
    ],
    SMALLEST + "receivers: [{name: a, type: mail}]": [
        "3:23: receivers[0].type: unknown type; known here: log, hook"
    ],
    SMALLEST + "receivers: [{name: a, type: telex}]": [
        "3:23: receivers[0].type: unknown type; known here: log, hook"
    ],
    SMALLEST + "receivers: [{name: a}]": ["3:13: receivers[0].type: missing; write type: log or hook"],
    SMALLEST + "receivers: [{type: hook, urll: x}]": [
        "3:13: receivers[0].name: missing; write name: pipeline",
        "3:13: receivers[0].url: missing; write url: ...",
        "3:26: receivers[0].urll: unknown key; did you mean url?",
    ],
    SMALLEST + "receivers: [{name: a, type: hook, url: 'ftp://h'}]": [
        "3:35: receivers[0].url: not a URL; write https://HOST or http://HOST"
    ],
    SMALLEST + "receivers: [{name: a, type: log}, {name: a, type: log}]": [
        "3:36: receivers[1].name: receivers[0] in line 3 has this name; write another"
    ],
    SMALLEST + "receivers: [{name: a, type: log, retry: {initial: 2m, max: 1m}}]": [
        "3:34: receivers[0].retry: initial is longer than max; write a max of at least initial"
    ],
    SMALLEST + "receivers: [{name: a, type: log, send_resolved: perhaps}]": [
        "3:34: receivers[0].send_resolved: neither true nor false; write one of them"
    ],
    SMALLEST + "receivers: [{name: a, type: log, template: x}]": [
        "3:34: receivers[0].template: only email, apprise and webhook send what a template makes; leave it out"
    ],
    SMALLEST + "route: {receivers: []}": ["3:9: route.receivers: empty; write one at least"],
    SMALLEST + "route: {receivers: log}": [
        "3:9: route.receivers: not a list; write [ONE, TWO], or one item a line after a dash"
    ],
    SMALLEST + "route: {matchers: []}": [
        ("3:9: route.matchers: unknown key; "
        "known here: receivers, group_by, group_wait, group_interval, repeat_interval, routes")
    ],
    SMALLEST + "route: {group_by: [projct], repeat_interval: 5s}": [
        "3:20: route.group_by[0]: nothing that an event has; did you mean project?, label_NAME, or ... for all",
        "3:29: route.repeat_interval: out of bounds; write 1m to 31d",
    ],
    SMALLEST + "mute: [{name: a, weekly: Sat, timezone: Berlin}, {name: a, weekly: Sat 1:00 - Sat 02:00}]": [
        '3:18: mute[0].weekly: not a part of a week; write it as "Sat 00:00 - Mon 06:00"',
        "3:31: mute[0].timezone: not a time zone; write one of IANA's names, as Europe/Berlin",
        "3:51: mute[1].name: mute[0] in line 3 has this name; write another",
        '3:60: mute[1].weekly: not a part of a week; write it as "Sat 00:00 - Mon 06:00"',
    ],
    SMALLEST + "receivers: [{name: mail, type: log}]\nroute: {routes: [{receivers: [mial]}]}": [
        "4:31: route.routes[0].receivers[0]: unknown receiver; did you mean mail?"
    ],
    SMALLEST + "receivers: [{name: a, type: log}, {name: a, type: log}]\nroute: {receivers: [zzz]}": [
        "3:36: receivers[1].name: receivers[0] in line 3 has this name; write another",
        "4:21: route.receivers[0]: unknown receiver; known here: a",
    ],
    SMALLEST + "receivers: [" + ", ".join(f"{{name: r{n}, type: log}}" for n in range(25)) + "]\nroute: {receivers: [zzz]}": [
        ("4:21: route.receivers[0]: unknown receiver; known here: "
        + ", ".join(f"r{n}" for n in range(20)) + " and 5 more")
    ],
    SMALLEST + "route: {routes: [{matchers: [critical]}]}": [
        ("3:30: route.routes[0].matchers[0]: 'critical' is not a matcher; "
        'write for example severity = "critical" or task =~ "Backup.*"')
    ],
    SMALLEST + "route: {routes: [{continue: maybe}]}": [
        "3:19: route.routes[0].continue: neither true nor false; write one of them"
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text.splitlines()[-1][:60])
def test_a_mistake_is_told_with_its_place_and_what_to_write(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text) == [f"taskwatch.yaml:{line}" for line in MISTAKES[text]]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        "route: {receivers: [nobody]}\n"
        "log: {level: loud}\n"
        "projects:\n"
        "- {name: a, endpoint: ftp://h, project_id: x}\n"
        "- {name: a, endpoint: https://h, project_id: x, interval: never, credential: none}\n"
        "log: {}\n"
        "credentials: {otc: {type: saml}}\n",
    )
    assert [line.split(": ")[:2] for line in told] == [
        ["taskwatch.yaml:1:21", "route.receivers[0]"],
        ["taskwatch.yaml:2:7", "log.level"],
        ["taskwatch.yaml:4:13", "projects[0].endpoint"],
        ["taskwatch.yaml:5:4", "projects[1].name"],
        ["taskwatch.yaml:5:49", "projects[1].interval"],
        ["taskwatch.yaml:5:66", "projects[1].credential"],
        ["taskwatch.yaml:6:1", "log"],
        ["taskwatch.yaml:7:21", "credentials.otc.type"],
    ]


@pytest.mark.parametrize("off", ["off", "null", "~", "", "{}", "[]"])
@pytest.mark.parametrize("key", ["overdue", "stalled"])
def test_a_key_that_is_not_in_this_version_may_be_off(tmp_path: Path, key: str, off: str) -> None:
    assert loaded(tmp_path, f"{SMALLEST}defaults:\n  {key}: {off}").projects


def test_a_server_listens_on_this_host_alone_where_nothing_is_said(tmp_path: Path) -> None:
    assert loaded(tmp_path, SMALLEST).server.listen == TcpListen(host="127.0.0.1", port=9720)


@pytest.mark.parametrize("off", ["server: off", "server: {listen: off}", "server: {listen: null}"])
def test_a_server_that_is_off_listens_nowhere(tmp_path: Path, off: str) -> None:
    assert loaded(tmp_path, SMALLEST + off).server.listen is None


@pytest.mark.parametrize(
    ("written", "listen"),
    [
        ("'[::1]:80'", TcpListen(host="::1", port=80)),
        ("localhost:0", TcpListen(host="localhost", port=0)),
        ("unix:/run/taskwatch/server.sock", UnixListen(path=Path("/run/taskwatch/server.sock"))),
    ],
)
def test_what_only_this_host_can_reach_needs_no_token(tmp_path: Path, written: str, listen: Listen) -> None:
    assert loaded(tmp_path, f"{SMALLEST}server: {{listen: {written}}}").server.listen == listen


def test_a_socket_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    server = loaded(tmp_path, SMALLEST + "server: {listen: 'unix:tw.sock'}").server
    assert server.listen == UnixListen(path=tmp_path / "tw.sock")


def test_a_heartbeat_beats_once_a_minute_where_nothing_is_said(tmp_path: Path) -> None:
    heartbeat = loaded(tmp_path, SMALLEST + "heartbeat: {url: 'https://hc.example/x'}").heartbeat
    assert heartbeat is not None
    assert heartbeat.every == 60
    assert loaded(tmp_path, SMALLEST + "heartbeat: off").heartbeat is None


@pytest.mark.parametrize("off", ["off", "null", "~", ""])
@pytest.mark.parametrize("key", ["store", "log", "include", "defaults", "receivers", "route", "heartbeat"])
def test_a_section_that_is_off_holds_its_defaults(tmp_path: Path, key: str, off: str) -> None:
    config, bare = loaded(tmp_path, f"{SMALLEST}{key}: {off}"), loaded(tmp_path, SMALLEST)
    assert config == bare


def test_credentials_and_projects_alone_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = loaded(tmp_path, SMALLEST)
    [watched] = config.projects
    assert watched.project.identity == Identity(service="gaussdb", host="gauss.example", project_id="abc")
    assert (watched.credential, str(watched.endpoint)) == ("otc", "https://gauss.example")
    assert (watched.interval, watched.timeout) == (Cadence(active=15, idle=60), 20)
    assert watched.baseline is BaselinePolicy.QUIET
    assert (watched.severity, watched.include, watched.exclude) == ((), ("*",), ())
    assert [(receiver.name, receiver.type) for receiver in config.receivers] == [("log", "log")]
    assert config.route.receivers == ("log",)
    assert config.store.path == tmp_path / ".local/state/taskwatch/taskwatch.db"
    assert config.store.retention == 90 * 86400
    assert (config.log.format, config.log.level) == ("auto", "info")
    assert config.credentials["otc"].rate == 20
    retry = config.receivers[0].retry
    assert (retry.initial, retry.max, retry.horizon) == (5, 3600, 72 * 3600)
    assert config.warnings == ()


def test_the_store_lies_in_the_state_directory_that_systemd_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/taskwatch:/var/lib/other")
    assert loaded(tmp_path, SMALLEST).store.path == Path("/var/lib/taskwatch/taskwatch.db")


def test_relative_paths_start_at_the_file_they_stand_in(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        PROJECTS + "store: {path: sub/x.db}\ncredentials: {otc: {type: token, token: {file: token}}}",
    )
    assert config.store.path == tmp_path / "sub/x.db"
    assert [placed.secret for placed in config.secrets] == [Secret(Kept.FILE, str(tmp_path / "token"))]


def test_a_project_says_what_differs_from_the_defaults_and_only_labels_are_merged(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "credentials: {a: {type: none}, b: {type: none}}\n"
        "defaults: {credential: a, endpoint: 'https://h', interval: 5s, timeout: 7s, baseline: all,\n"
        "  labels: {team: db, env: dev}, severity: {'Backup*': warning}, tasks: {exclude: [X]}}\n"
        "projects:\n"
        "- {name: plain, project_id: p}\n"
        "- {name: own, project_id: q, credential: b, interval: {active: 1s}, endpoint: 'http://i:8080',\n"
        "   baseline: quiet, labels: {env: prod}, severity: {'*': info}, tasks: {include: [Y]}}\n",
    )
    plain, own = config.projects
    assert (plain.credential, plain.interval, plain.timeout) == ("a", Cadence(active=5, idle=5), 7)
    assert plain.project.labels == {"team": "db", "env": "dev"}
    assert (plain.baseline, plain.exclude) == (BaselinePolicy.ALL, ("X",))
    assert plain.severity == (("Backup*", Severity.WARNING),)
    assert (own.credential, own.interval, own.timeout) == ("b", Cadence(active=1, idle=60), 7)
    assert own.project.identity.host == "i:8080"
    assert own.project.labels == {"team": "db", "env": "prod"}
    assert own.baseline is BaselinePolicy.QUIET  # though it is also the default of defaults
    assert own.severity == (("*", Severity.INFO),)
    assert (own.include, own.exclude) == (("Y",), ())


def test_severities_keep_the_order_in_which_they_are_asked(tmp_path: Path) -> None:
    config = loaded(tmp_path, CREDENTIALS + P + "severity: {'Z*': info, 'A*': warning, '*': critical}}]")
    assert [glob for glob, _ in config.projects[0].severity] == ["Z*", "A*", "*"]


TWO = "receivers: [{name: a, type: log}, {name: b, type: log}]\n"


def _told(directory: Path, text: str, **attributes: str) -> list[str]:
    config = loaded(directory, SMALLEST + text)
    return [hop.receiver for hop in route(config.route, attributes)]


def test_without_a_route_every_receiver_is_told(tmp_path: Path) -> None:
    assert _told(tmp_path, TWO) == ["a", "b"]


def test_a_route_without_receivers_has_those_of_its_parent(tmp_path: Path) -> None:
    text = TWO + "route: {receivers: [b], routes: [{matchers: [task = x], routes: [{matchers: [to = y]}]}]}"
    assert _told(tmp_path, text, task="x", to="y") == ["b"]


def test_routes_nest_and_continue(tmp_path: Path) -> None:
    text = (
        TWO + "route:\n  receivers: [b]\n  routes:\n"
        "  - {matchers: ['task =~ \"B.*\"'], receivers: [a], continue: on}\n"
        "  - {matchers: [severity = critical, label_env = prod], receivers: [b]}\n"
    )
    assert _told(tmp_path, text, task="Backup", severity="critical", label_env="prod") == ["a", "b"]
    assert _told(tmp_path, text, task="Backup", severity="critical") == ["a"]
    assert _told(tmp_path, text, task="Restore") == ["b"]


def test_the_only_receiver_of_a_file_without_receivers_can_be_routed_to(tmp_path: Path) -> None:
    assert _told(tmp_path, "route: {receivers: [log]}") == ["log"]


def test_find_takes_the_explicit_file_then_the_variable_then_the_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASKWATCH_CONFIG", "/named/by/the/variable.yaml")
    assert find(Path("explicit.yaml")) == Path("explicit.yaml")
    assert find(None) == Path("/named/by/the/variable.yaml")
    monkeypatch.delenv("TASKWATCH_CONFIG")
    (tmp_path / "taskwatch.yaml").touch()
    assert find(None) == Path("taskwatch.yaml")


def test_find_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASKWATCH_CONFIG", raising=False)
    if Path("/etc/taskwatch/taskwatch.yaml").exists():
        pytest.skip("this machine has a configuration of its own")
    with pytest.raises(ConfigError) as raised:
        find(None)
    assert raised.value.problems == [
        (
            "no configuration at taskwatch.yaml, /etc/taskwatch/taskwatch.yaml; "
            "write one, or name it with --config or $TASKWATCH_CONFIG"
        )
    ]


def test_a_service_without_a_store_path_is_warned_that_commands_will_not_find_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advice, "SERVICE_CONFIGURATION", tmp_path)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    warned = [line for line in loaded(tmp_path, SMALLEST).warnings if "where the service has it" in line]
    assert len(warned) == 1
    assert "write store: {path: /var/lib/taskwatch/taskwatch.db}" in warned[0]
    assert not any(
        "where the service has it" in line
        for line in loaded(tmp_path, SMALLEST + "store: {path: t.db}").warnings
    )
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/taskwatch")
    assert not any("where the service has it" in line for line in loaded(tmp_path, SMALLEST).warnings)
