"""The live view of the demo: one frame, rendered to the text that a terminal would get."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from taskwatch.cli.demo.scene import Queue, Scene, Told
from taskwatch.cli.demo.show import has_room
from taskwatch.cli.demo.view import Moment, frame
from taskwatch.model.project import Identity
from taskwatch.model.task import Instance, Task
from taskwatch.store.rows import ProjectRow, TaskRow

NOW = datetime(2026, 11, 23, 13, 30, tzinfo=UTC)
QUIET = Queue(length=0, history=(0, 0), trouble=None, retried=0)
MOMENT = Moment(
    elapsed=12.3, seconds=40.0, speed=300.0, now=NOW, cloud_now=NOW, received=41, copies=1,
    url="http://127.0.0.1:4711/", page="http://127.0.0.1:4712", configuration="/var/demo/taskwatch.yaml",
)  # fmt: skip
HOSTILE = "gauss\x1b[31m\x07 [bold red]not markup[/] \u202egnp.exe\r\n\x00 :boom: " + "w" * 500
SIZES = [(72, 20), (80, 24), (120, 40), (250, 70)]


def a_project(name: str = "shop-prod") -> ProjectRow:
    return ProjectRow(
        identity=Identity(service="gaussdb", host="127.0.0.1", project_id="0" * 32), name=name, baseline_at=NOW,
        observed_at=NOW - timedelta(seconds=3), tasks=2400, open_tasks=7, condition=None,
    )  # fmt: skip


def a_running(
    number: int = 1, *, name: str = "RestoreGaussDBV5InInstance", progress: int | None = 50
) -> TaskRow:
    task = Task(
        job_id=str(number), name=name, status="Running", progress=progress,
        created_at=NOW - timedelta(minutes=number), instance=Instance(id="i", name=f"gauss-{number}", status="x"),
    )  # fmt: skip
    return TaskRow(project="shop-prod", task=task, revision=1, changed_at=NOW)


def a_told(kind: str, *, what: str = "CreateGaussDBV5Instance of gauss-a", reason: str | None = None) -> Told:
    return Told(time=NOW, kind=kind, severity="info", project="shop-prod", what=what, fail_reason=reason)


def a_scene(
    *,
    projects: Sequence[ProjectRow] = (a_project(), a_project("billing-prod")),
    running: Sequence[TaskRow] = (),
    events: Sequence[Told] = (),
    queue: Queue = QUIET,
) -> Scene:
    told = Counter(event.kind for event in events)
    return Scene(
        projects=tuple(projects), running=tuple(running), events=tuple(events), told=told,
        told_of=Counter({("shop-prod", kind): count for kind, count in told.items()}), queue=queue,
    )  # fmt: skip


def drawn(
    scene: Scene | None, *, width: int = 80, height: int = 24, act: str = "", colour: bool = False
) -> list[str]:
    """Return the lines that are printed; with their colours, if these are asked for."""
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=colour, color_system="standard" if colour else None,
    )  # fmt: skip
    with console.capture() as capture:
        console.print(frame(scene, MOMENT, act, width=width, height=height), end="")
    return capture.get().removesuffix("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("many", [0, 1, 300])
def test_a_frame_fills_the_terminal_and_is_never_larger(width: int, height: int, many: int) -> None:
    scene = a_scene(
        projects=[a_project(name) for name in ("a", "b", "c")],
        running=[a_running(number) for number in range(many)],
        events=[a_told("failed", reason="No room.") for _ in range(many)],
        queue=Queue(length=many, history=tuple(range(many)), trouble="503" if many else None, retried=many),
    )
    lines = drawn(scene, width=width, height=height)

    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 5), (40, 12), (300, 6)])
def test_a_terminal_that_was_made_too_small_meanwhile_is_no_error(width: int, height: int) -> None:
    scene = a_scene(running=[a_running()], events=[a_told("failed", reason="No room.")])

    assert max(map(cell_len, drawn(scene, width=width, height=height))) <= width


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_before_anything_was_read_there_is_a_frame_too(width: int, height: int) -> None:
    assert len(drawn(None, width=width, height=height, act="starting …")) == height


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_text_of_the_cloud_is_shown_and_obeyed_by_nothing(width: int, height: int) -> None:
    scene = a_scene(
        projects=[a_project(HOSTILE)],
        running=[replace(a_running(name=HOSTILE), project=HOSTILE)],
        events=[a_told("failed", what=HOSTILE, reason=HOSTILE), a_told("baseline", what=HOSTILE)],
        queue=Queue(length=1, history=(1,), trouble=HOSTILE, retried=0),
    )
    lines = drawn(scene, width=width, height=height, act=HOSTILE)

    assert len(lines) == height
    text = "\n".join(lines)
    assert not {"\x1b", "\x07", "\x00", "\r", "\u202e", "💥"} & set(text)
    assert "\\x1b[31m" in text
    if width >= 120:
        assert "[bold red]not markup[/]" in text


def test_what_is_running_shows_its_instance_its_progress_and_how_long_it_has_run() -> None:
    (line,) = [line for line in drawn(a_scene(running=[a_running(26)])) if "gauss-26" in line]

    assert line.startswith("RestoreGaussDBV5InInstance")
    assert "━━━━━━──────  50 %  26 min" in line


def test_what_shows_progress_stands_above_what_does_not_and_the_rest_is_counted() -> None:
    rows = [a_running(30, progress=None), *(a_running(number) for number in range(10, 20))]
    lines = drawn(a_scene(running=rows))
    shown = [line for line in lines if " gauss-" in line]

    assert "gauss-19" in shown[0]  # the oldest keeps its place
    assert f"and {11 - len(shown)} more" in "\n".join(lines)


def test_a_failure_is_red_and_its_reason_stands_below() -> None:
    scene = a_scene(events=[a_told("failed", reason="The disk is on fire.")])
    plain = drawn(scene)
    place = next(number for number, line in enumerate(plain) if "FAILED" in line)

    assert plain[place + 1].strip() == "└ The disk is on fire."
    assert "\x1b[31m" in drawn(scene, colour=True)[place + 1]


def test_a_burst_does_not_push_the_failures_out_of_sight() -> None:
    burst = [a_told("started", what=f"Backup of {number}") for number in range(50)]
    lines = drawn(a_scene(events=[*burst, a_told("failed", reason="The disk is on fire.")]))

    assert any("The disk is on fire." in line for line in lines)
    assert any("Backup of 0" in line for line in lines)  # and the latest is there


def test_many_failures_do_not_push_the_latest_out_of_sight() -> None:
    failures = [a_told("failed", reason="The disk is on fire.") for _ in range(50)]
    lines = drawn(
        a_scene(
            events=[a_told("started", what="Backup of a"), a_told("started", what="Backup of b"), *failures]
        )
    )

    assert all(any(f"Backup of {name}" in line for line in lines) for name in "ab")
    assert any("The disk is on fire." in line for line in lines)


def test_a_receiver_in_trouble_says_why_and_how_much_waits() -> None:
    queue = Queue(length=17, history=(0, 3, 9, 17), trouble="127.0.0.1 answered 503", retried=2)
    text = "\n".join(drawn(a_scene(queue=queue)))

    assert "DOWN  127.0.0.1 answered 503" in text
    assert "queue 17" in text
    assert "▂▄█  delivered 40  retried 2  twice 1" in text
    assert "healthy" in "\n".join(drawn(a_scene()))


@pytest.mark.parametrize(
    ("environment", "width", "height", "expected"),
    [
        ({"TERM": "xterm-256color"}, 80, 24, True),
        ({"TERM": "xterm-256color"}, 71, 24, False),
        ({"TERM": "xterm-256color"}, 80, 19, False),
        ({"TERM": "dumb"}, 80, 24, False),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, 80, 24, False),
    ],
)
def test_there_is_a_live_view_only_where_it_fits(
    environment: dict[str, str], width: int, height: int, *, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)

    assert has_room(terminal) is expected
    assert not has_room(Console(file=io.StringIO(), width=width, height=height))  # it is piped
