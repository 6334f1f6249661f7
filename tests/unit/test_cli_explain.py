"""`explain`: from two readings to what became of it, on one page."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from taskwatch.cli.query import SHORT_ID
from taskwatch.cli.told import REMEDIES
from taskwatch.core.events import baseline_event, task_event
from taskwatch.core.route import Hop
from taskwatch.engine.ports import Routed
from taskwatch.model.delivery import Dead, Delivered, DeliveryId, Outcome, Reason, Retry
from taskwatch.model.event import Event
from taskwatch.model.task import COMPLETED, FAILED, RUNNING, Instance, Task
from taskwatch.store.sqlite import open_store
from tests.fakes.builders import T0, a_known, a_project, a_reading, a_task, a_transition, at
from tests.fakes.in_process import Run, runner
from tests.fakes.messages import HOSTILE
from tests.fakes.records import StillClock, a_record

CONFIGURATION: Final = """\
store: {path: taskwatch.db}
credentials: {c: {type: token, token: {env: NOBODY_HAS_SET_THIS}}}
projects: [{name: prod, endpoint: https://gauss.example, project_id: abc}]
receivers: [{name: journal, type: log}, {name: hook, type: log}]
route:
  receivers: [journal]
  routes:
    - {matchers: ['severity = "critical"'], receivers: [hook], continue: true}
"""
FAILURE: Final = a_task(
    "job-1", FAILED, fail_reason="no space left", instance=Instance(id="in-1", name="db-1", status="normal")
)


def failed(task: Task = FAILURE) -> Event:
    return task_event(
        a_transition(task, from_status=RUNNING, revision=2),
        project=a_project(),
        sequence=2,
        reading=a_reading(at(60.25), previous_observed_at=at(60), gap_seconds=15.2, late=True),
        failure_severities=(),
    )


def begun() -> Event:
    return baseline_event(project=a_project(), sequence=1, counts={RUNNING: 2, COMPLETED: 40}, observed_at=T0)


async def record(path: Path, events: Sequence[Routed], *, task: Task = FAILURE, revision: int = 2) -> None:
    store = open_store(path, clock=StillClock())
    project = a_project()
    state = await store.enrol(project.identity, project.name)
    await store.commit(a_record(state, tasks=[a_known(task, revision=revision, sequence=2)], events=events))
    trouble = Retry(
        reason=Reason.SERVER_ERROR, detail="hook.example answered 503", poisoned=0, tried_seconds=1.0
    )
    end = Dead(
        reason=Reason.REJECTED,
        detail="hook.example answered 422",
        why="poison",
        poisoned=10,
        tried_seconds=1.0,
    )
    outcomes: list[tuple[int, Outcome, float]] = [
        (1, Delivered(), 61),
        (2, trouble, 62),
        (2, end, 63),
        (3, trouble, 62),
    ]
    for number, outcome, minute in outcomes:
        await store.record(DeliveryId(number), outcome, at(minute))
    await store.close()


def hops(*pairs: tuple[str, str]) -> tuple[Hop, ...]:
    return tuple(Hop(receiver=receiver, path=path) for receiver, path in pairs)


EVENTS: Final = (
    Routed(
        event=failed(),
        job_id="job-1",
        hops=hops(("journal", "route"), ("hook", "route.routes[0]"), ("gone", "route.routes[7]")),
    ),
    Routed(event=begun(), job_id=None, hops=()),
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    asyncio.run(record(tmp_path / "taskwatch.db", EVENTS))
    return runner(monkeypatch, capsys, tmp_path)


def flowing(text: str) -> str:
    """Return the text as if its lines had not been broken."""
    return " ".join(text.split())


def test_both_readings_are_told_and_how_far_they_are_apart(run: Run) -> None:
    out = flowing(run("explain", failed().id).out)

    assert out.startswith(f"task.failed, critical, recorded 2026-11-23 11:00:15Z {failed().id}")
    assert "went from Running to Failed (revision 2)" in out
    assert "Running at 2026-11-23 11:00:00.000Z, Failed at 2026-11-23 11:00:15.000Z; 15.2 s apart" in out
    assert " late the reading before was made by an earlier run" in out
    assert "number 2 about job-1" in out


def test_the_task_is_told_with_its_instance_reason_and_life(run: Run) -> None:
    out = flowing(run("explain", failed().id).out)

    assert "task CreateGaussDBV5Instance job-1" in out
    assert "instance db-1, in-1, normal" in out
    assert "reason no space left" in out
    assert "created 2026-11-23 10:01:00Z, ended 2026-11-23 11:00:00Z, took 0:59:00" in out


def test_each_delivery_says_by_which_route_what_happened_and_what_to_do(run: Run) -> None:
    out = flowing(run("explain", failed().id).out)
    journal, _, rest = out.partition("hook: dead after 2 attempts")
    hook, _, gone = rest.partition("gone: pending after 1 attempt")

    assert "journal: delivered after 1 attempt by route, which takes everything" in journal
    assert 'by route.routes[0]: severity = "critical"' in hook
    assert "first 2026-11-23 11:02:00Z, last 2026-11-23 11:03:00Z" in hook
    assert f"hook.example answered 422; {REMEDIES['rejected']}" in hook
    assert "why it failed again and again while other events passed" in hook
    assert "taskwatch deliveries replay" in hook
    assert "route.routes[7], which is not in the configuration any more" in gone
    assert "no receiver has this name now" in gone


def test_an_event_without_a_transition_says_its_occasion(run: Run) -> None:
    out = flowing(run("explain", begun().id).out)

    assert "the first complete reading of the project: 40 Completed, 2 Running" in out
    assert "No delivery is on record" in out


def test_what_happened_to_the_task_since_is_told(tmp_path: Path, run: Run) -> None:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION.replace("taskwatch.db", "later.db"))
    later = replace(FAILURE, status=RUNNING)
    asyncio.run(record(tmp_path / "later.db", EVENTS, task=later, revision=3))

    assert "since then it is Running now (revision 3)" in flowing(run("explain", failed().id).out)


def test_a_prefix_is_enough_as_tables_show_it(run: Run) -> None:
    whole = run("explain", failed().id)

    assert run("explain", failed().id[:15]) == whole
    assert run("explain", f" {failed().id[:20]}… ") == whole
    assert run("explain", f"<{failed().id}.b4a7c1d2e3f4@example.com>") == whole  # a Message-ID


def test_a_prefix_of_several_names_some_of_them(run: Run) -> None:
    ended = run("explain", "tw_")

    assert (ended.code, ended.out) == (1, "")
    assert failed().id[:SHORT_ID] in ended.err
    assert begun().id[:SHORT_ID] in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("prefix", ["tw_0", "nothing"])
def test_an_id_that_nobody_knows_is_said_so(prefix: str, run: Run) -> None:
    ended = run("explain", prefix)

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"taskwatch: no event is known whose id begins with {prefix}; it may be older than the store keeps\n"
    )


@pytest.mark.parametrize("text", ["", "tw_%", "tw_*", "' OR 1=1 --", "tw_\x1b[31m"])
def test_what_cannot_be_an_id_is_wrong_usage(text: str, run: Run) -> None:
    ended = run("explain", text)

    assert (ended.code, ended.out) == (2, "")
    assert "\x1b" not in ended.err


def test_as_json_it_is_one_object_with_the_event_as_it_was_told(run: Run) -> None:
    (line,) = run("explain", failed().id, "--json").out.splitlines()
    told: dict[str, Any] = json.loads(line)
    journal, hook, gone = told["deliveries"]

    assert told["event"] == json.loads(failed().body)
    assert told["task_now"]["status"] == FAILED
    assert (journal["state"], journal["matchers"], journal["remedy"]) == ("delivered", [], None)
    assert (hook["state"], hook["matchers"], hook["why"]) == ("dead", ['severity = "critical"'], "poison")
    assert hook["remedy"] == REMEDIES["rejected"]
    assert hook["last_attempt_at"] == "2026-11-23T11:03:00Z"
    assert gone["matchers"] is None


def test_every_reason_of_a_failed_attempt_has_a_remedy() -> None:
    assert REMEDIES.keys() == set(Reason)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_fits_the_page_and_harms_no_terminal(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taskwatch.yaml").write_text(CONFIGURATION)
    task = a_task(
        f"job{text}"[:200], FAILED, name=text, fail_reason=text * 3, instance=Instance(id=text, name=text)
    )
    event = failed(task)
    asyncio.run(
        record(
            tmp_path / "taskwatch.db",
            [Routed(event=event, job_id=task.job_id, hops=EVENTS[0].hops)],
            task=task,
        )
    )
    run = runner(monkeypatch, capsys, tmp_path)

    page, line = run("explain", event.id).out, run("explain", event.id, "--json").out
    assert all(text.isprintable() and len(text) <= 80 for text in page.split("\n"))
    assert all(text.isascii() and text.isprintable() for text in line.split("\n"))
