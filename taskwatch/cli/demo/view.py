"""One frame of the live view: exactly as wide and as high as the terminal.

All text is Text, never markup, and passes `printable`: names and reasons come from the cloud.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from taskwatch.cli.demo.scene import RECEIVER, Queue, Scene, Told
from taskwatch.report.words import age
from taskwatch.store.rows import ProjectRow, TaskRow
from taskwatch.telemetry import printable

MIN_WIDTH: Final = 72
MIN_HEIGHT: Final = 20
WIDE: Final = 104  # from here on the project of a task has a column
RUNNING_SHARE: Final = 0.4  # of the rows that tasks and events share
FILLED: Final = "━"
REST: Final = "─"
SPARKS: Final = "▁▂▃▄▅▆▇█"
KINDS: Final = ("started", "completed", "failed", "canceled", "changed")
STYLES: Final = {
    "failed": "bold red", "completed": "green", "started": "cyan",
    "canceled": "yellow", "changed": "yellow", "baseline": "dim",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a frame shows beside the scene."""

    elapsed: float  # seconds
    seconds: float  # that the demo takes; 0: no end
    speed: float
    now: datetime
    cloud_now: datetime
    received: int
    copies: int
    url: str
    page: str | None  # where the status page is
    configuration: str


def frame(scene: Scene | None, moment: Moment | None, act: str, *, width: int, height: int) -> RenderableType:
    """Return the frame. At the very beginning there is neither a store to be read nor anything else."""
    head = _line(
        ("taskwatch demo  ", "bold"),
        (printable(act), "yellow")
        if act
        else ("the daemon as `run` runs it; only the cloud is simulated", "dim"),
    )
    foot = [] if moment is None else _foot(moment)
    rest = height - 1 - len(foot)
    if scene is None or moment is None:
        return Group(head, *_filled([], rest), *foot)
    return Group(head, *_body(scene, moment, width=width, height=rest), *foot)


def _foot(moment: Moment) -> list[RenderableType]:
    total = f" of {_clock(moment.seconds)}" if moment.seconds else ""
    return [
        _line(("configuration  ", "dim"), printable(moment.configuration)),
        *([] if moment.page is None else [_line(("status page    ", "dim"), f"{moment.page}/")]),
        _pair(
            Text.assemble(
                _clock(moment.elapsed) + total, (f"  the cloud lives {moment.speed:g} times as fast", "dim")
            ),
            Text("Ctrl-C ends it", style="bold"),
        ),
    ]


def _body(scene: Scene, moment: Moment, *, width: int, height: int) -> list[RenderableType]:
    rules, receiver = 4, 2
    shared = height - rules - receiver - len(scene.projects)
    for_running = max(1, round(shared * RUNNING_SHARE))
    counts = Text("  ").join(
        Text(f"{scene.told[kind]} {kind}", STYLES[kind]) for kind in KINDS if scene.told[kind]
    )
    return [
        _rule("projects"),
        *(_project(row, scene, moment.now) for row in scene.projects),
        _rule("running tasks", Text(str(len(scene.running)))),
        *_filled(_running(scene.running, moment, for_running, width=width), for_running),
        _rule("events", counts),
        *_filled(_events(scene.events, shared - for_running, width=width), shared - for_running),
        _rule("deliveries"),
        *_receiver(scene.queue, moment, width=width),
    ]


def _project(row: ProjectRow, scene: Scene, now: datetime) -> RenderableType:
    failed = scene.told_of[row.name, "failed"]
    read = "not yet read" if row.observed_at is None else f"read {age(row.observed_at, now)} ago"
    grid = _grid(18, 18, 16, 12, None)
    grid.add_row(
        Text(printable(row.name), style="bold"),
        Text(read, style="dim"),
        Text(f"{row.tasks} tasks"),
        Text(f"{row.open_tasks} running", style="cyan" if row.open_tasks else "dim"),
        Text(f"{failed} failed", style="bold red" if failed else "dim"),
    )
    return grid


def _running(rows: Sequence[TaskRow], moment: Moment, many: int, *, width: int) -> list[RenderableType]:
    # The bars that move stand on top, and keep their place as long as they can.
    ordered = sorted(
        rows,
        key=lambda row: (row.task.progress is None, row.task.created_at or datetime.max.replace(tzinfo=UTC)),
    )
    shown = ordered if len(ordered) <= many else ordered[: many - 1]
    lines: list[RenderableType] = [_task(row, moment, width=width) for row in shown]
    if len(shown) < len(ordered):
        lines.append(_line((f"and {len(ordered) - len(shown)} more", "dim")))
    return lines


def _task(row: TaskRow, moment: Moment, *, width: int) -> RenderableType:
    task = row.task
    bar = 24 if width >= WIDE else 12
    cells = [
        Text(printable(task.name)),
        Text(printable(task.instance.name or "-"), style="dim"),
        *([Text(printable(row.project), style="dim")] if width >= WIDE else []),
        _bar(task.progress, bar),
        Text("" if task.progress is None else f"{task.progress} %", justify="right"),
        Text(age(task.created_at, moment.cloud_now) if task.created_at else "-", justify="right"),
    ]
    projects = (18,) if width >= WIDE else ()
    grid = _grid(None, 18, *projects, bar, 5, 7)
    grid.add_row(*cells)
    return grid


def _bar(progress: int | None, width: int) -> Text:
    if progress is None:
        return Text("·" * width, style="dim")
    filled = width * progress // 100
    return Text.assemble((FILLED * filled, "cyan"), (REST * (width - filled), "bright_black"))


def _events(events: Sequence[Told], many: int, *, width: int) -> list[RenderableType]:
    """Return the latest, in order. Failures keep a third of the place: a burst shall not push them out."""
    rows = [_event(event, width=width) for event in events]
    chosen: set[int] = set()
    room, for_failures = many, max(2, many // 3)
    for place, row in enumerate(rows):
        if events[place].fail_reason and len(row) <= for_failures:
            chosen.add(place)
            for_failures -= len(row)
            room -= len(row)
    for place, row in enumerate(rows):
        if place not in chosen and len(row) <= room:
            chosen.add(place)
            room -= len(row)
    return [line for place in sorted(chosen) for line in rows[place]]


def _event(event: Told, *, width: int) -> list[RenderableType]:
    style = STYLES.get(event.kind, "")
    projects = (18,) if width >= WIDE else ()
    grid = _grid(8, 9, *projects, None)
    grid.add_row(
        Text(event.time.astimezone().strftime("%H:%M:%S"), style="dim"),
        Text(event.kind.upper() if event.fail_reason else event.kind, style=style),
        *([Text(printable(event.project), style="dim")] if projects else []),
        Text(printable(event.what), style="red" if event.kind == "failed" else ""),
    )
    if not event.fail_reason:
        return [grid]
    return [grid, _line((" " * 9 + "└ " + printable(event.fail_reason), "red"))]


def _receiver(queue: Queue, moment: Moment, *, width: int) -> list[RenderableType]:
    is_down = queue.trouble is not None
    state = Text.assemble(
        ("● ", "red" if is_down else "green"),
        (f"{RECEIVER}  ", "bold"),
        (f"DOWN  {printable(queue.trouble)}", "red") if queue.trouble else ("healthy", "green"),
        ("" if is_down else f"  {moment.url}", "dim"),
    )
    counts = Text.assemble(
        ("  queue ", "dim"), (f"{queue.length:<4}", "bold yellow" if queue.length else ""),
        _sparks(queue.history, width - 52),
        ("  delivered ", "dim"), str(moment.received - moment.copies),
        ("  retried ", "dim"), str(queue.retried),
        ("  twice ", "dim"), str(moment.copies),
    )  # fmt: skip
    return [_cut(state), _cut(counts)]


def _sparks(lengths: Sequence[int], width: int) -> Text:
    shown = lengths[-max(width, 8) :]
    most = max(*shown, len(SPARKS), 1)
    marks = "".join(
        SPARKS[min(len(SPARKS) - 1, length * (len(SPARKS) - 1) // most)] if length else " "
        for length in shown
    )
    return Text(marks.rjust(max(width, 8)), style="yellow")


def _rule(title: str, note: Text | None = None) -> RenderableType:
    text = Text.assemble((title, "bold"), *(("  ", note) if note else ()))
    return Rule(text, align="left", style="bright_black")


def _grid(*widths: int | None) -> Table:
    """Return a row of cells; None takes what is left. What does not fit is cut."""
    grid = Table.grid(padding=(0, 1), expand=True)
    for width in widths:
        grid.add_column(width=width, ratio=1 if width is None else None, no_wrap=True, overflow="ellipsis")
    return grid


def _pair(left: Text, right: Text) -> RenderableType:
    grid = _grid(None, len(right))
    grid.add_row(left, right)
    return grid


def _line(*parts: str | tuple[str, str]) -> Text:
    return _cut(Text.assemble(*parts))


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _filled(lines: list[RenderableType], many: int) -> list[RenderableType]:
    return [*lines[:many], *(Text("") for _ in range(many - len(lines)))]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
