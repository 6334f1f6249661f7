"""How each project stands, from the configuration, the store and the daemon's last word."""

from datetime import timedelta
from pathlib import Path

from taskwatch.cli.query import _errors
from taskwatch.config.configuration import Config
from taskwatch.model.project import Condition, Identity, Trouble
from taskwatch.report.standing import Daemon, Standing, standings
from taskwatch.store.rows import ProjectRow
from tests.fakes.builders import T0
from tests.fakes.config_files import loaded

TEXT = """\
credentials: {c: {type: none}}
defaults: {interval: {active: 15s, idle: 60s}}
projects:
  - {name: prod, endpoint: "https://gaussdb.example", project_id: p1}
  - {name: new, endpoint: "https://gaussdb.example", project_id: p2}
"""


def a_row(
    *, project_id: str = "p1", name: str = "prod", open_tasks: int = 0, condition: Condition | None = None
) -> ProjectRow:
    return ProjectRow(
        identity=Identity(service="gaussdb", host="gaussdb.example", project_id=project_id),
        name=name,
        baseline_at=T0,
        observed_at=T0,
        tasks=5,
        open_tasks=open_tasks,
        condition=condition,
    )


def stood(
    config: Config, *rows: ProjectRow, daemon: Daemon = Daemon.ANSWERS, later: float = 0.0
) -> list[Standing]:
    return standings(config, rows, now=T0 + timedelta(seconds=later), daemon=daemon)


def test_the_next_poll_is_told_from_a_word_that_is_half_a_minute_old(tmp_path: Path) -> None:
    condition = Condition(interval=15.0, next_poll_at=T0 + timedelta(seconds=10))
    config = loaded(tmp_path, TEXT)

    for later, expected in ((0, 10), (9, 10), (10, 10), (11, 25), (24, 25), (26, 40)):
        (prod, _) = stood(config, a_row(condition=condition), later=later)
        assert prod.next_poll_at == T0 + timedelta(seconds=expected), later


def test_a_project_with_a_running_task_has_the_shorter_interval(tmp_path: Path) -> None:
    config = loaded(tmp_path, TEXT)

    assert [stood(config, a_row(open_tasks=n))[0].interval_seconds for n in (0, 1)] == [60.0, 15.0]


def test_the_interval_that_is_kept_is_shown_beside_the_configured_one(tmp_path: Path) -> None:
    config = loaded(tmp_path, TEXT)
    row = a_row(condition=Condition(interval=90.0, next_poll_at=T0))

    (prod, _), (unwatched, _) = stood(config, row), stood(config, row, daemon=Daemon.NONE)
    assert (prod.interval_seconds, prod.configured_interval_seconds) == (90.0, 60.0)
    assert (unwatched.interval_seconds, unwatched.configured_interval_seconds) == (60.0, 60.0)


def test_the_states_tell_what_is_in_the_way(tmp_path: Path) -> None:
    config = loaded(tmp_path, TEXT)
    trouble = Condition(interval=15.0, next_poll_at=T0, trouble=Trouble(cause="login", error="401", since=T0))

    prod, new = stood(config, a_row(condition=trouble))
    assert (prod.state, prod.cause, prod.error, prod.since) == ("in trouble", "login", "401", T0)
    assert (new.state, new.read_at, new.next_poll_at) == ("no baseline yet", None, None)


def test_without_a_daemon_its_last_trouble_stands_and_no_next_poll(tmp_path: Path) -> None:
    condition = Condition(
        interval=15.0, next_poll_at=T0, trouble=Trouble(cause="login", error="401", since=T0)
    )

    prod, _ = stood(loaded(tmp_path, TEXT), a_row(condition=condition), daemon=Daemon.NONE)
    assert (prod.state, prod.next_poll_at, prod.cause) == ("not watched", None, "login")


def test_a_daemon_that_does_not_answer_says_nothing_about_the_next_poll(tmp_path: Path) -> None:
    condition = Condition(interval=15.0, next_poll_at=T0)

    prod, _ = stood(loaded(tmp_path, TEXT), a_row(condition=condition), daemon=Daemon.SILENT)
    assert (prod.state, prod.next_poll_at) == ("no answer", None)


def test_what_is_configured_no_more_comes_last_and_says_so(tmp_path: Path) -> None:
    rows = stood(loaded(tmp_path, TEXT), a_row(project_id="gone", name="old"), a_row())

    assert [(row.name, row.state) for row in rows] == [
        ("prod", "watched"),
        ("new", "no baseline yet"),
        ("old", "not configured"),
    ]
    assert rows[-1].next_poll_at is None


def test_what_is_in_the_way_of_many_is_one_line_whenever_each_has_heard_of_it(tmp_path: Path) -> None:
    text = "credentials: {c: {type: none}}\nprojects:\n" + "".join(
        f'  - {{name: p{n}, endpoint: "https://gaussdb.example", project_id: i{n}}}\n' for n in range(8)
    )
    refused = "credential c: iam.example answered 401 (IAM says the same for each)"
    rows = [
        a_row(
            project_id=f"i{n}",
            condition=Condition(
                interval=15.0,
                next_poll_at=T0,
                trouble=Trouble(cause="login", error=f"{refused} (next try in {60 - n} s)", since=T0),
            ),
        )
        for n in range(7)
    ]
    other = Trouble(cause="network", error="cannot connect (Connection refused)", since=T0)
    rows.append(a_row(project_id="i7", condition=Condition(interval=15.0, next_poll_at=T0, trouble=other)))

    assert list(_errors(stood(loaded(tmp_path, text), *rows))) == [
        f"p0, p1, p2, p3, p4 and 2 more: {refused} (next try in 60 s)",
        "p7: cannot connect (Connection refused)",
    ]
