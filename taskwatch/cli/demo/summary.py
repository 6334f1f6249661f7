"""What the demo says before it begins, where it shows lines, and at its end."""

import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Final

import click

from taskwatch.cli.demo.account import Account, Heard
from taskwatch.cli.demo.directory import KEPT_SECONDS
from taskwatch.cli.demo.scene import RECEIVER, Left
from taskwatch.cli.output import READABLE, coloured
from taskwatch.report.words import counted
from taskwatch.simulator.receiver import WebhookReceiver
from taskwatch.telemetry import printable

SHOWN_FAILURES: Final = 12
INDENT: Final = 11


def introduction(path: Path, *, projects: int, speed: float, url: str, page: str | None) -> str:
    return (
        f"A simulated cloud ({counted(projects, 'project')}, {speed:g} times as fast as real time), taskwatch, and a webhook\n"
        f"receiver at {url} that verifies each signature, and breaks for a while.\n"
        f"taskwatch runs with {path}; Ctrl-C ends it.\n"
        + ("" if page is None else f"Its status page is {page}/ in your browser.\n")
    )


def conclude(
    *,
    seconds: float,
    heard: Heard,
    receiver: WebhookReceiver,
    left: Left,
    result: Account | None,
) -> None:
    """Say what was seen. `result` is None where it cannot be known: the receiver has stopped to remember."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in heard.kinds.most_common())
    click.echo()
    _say("Watched", f"{counted(left.tasks, 'task')} for {counted(round(seconds), 'second')}.")
    _say("Told", f"{counted(heard.kinds.total(), 'event')}{': ' if kinds else ''}{kinds}.")
    for project, what in heard.failures[:SHOWN_FAILURES]:
        _say("", f"{printable(project)}: {printable(what)}", status="Failed")
    if (more := len(heard.failures) - SHOWN_FAILURES) > 0:
        _say("", f"and {counted(more, 'failure')} more")
    _say(
        "Delivered",
        f"{receiver.received - receiver.copies} to the receiver {RECEIVER}: {left.retried} needed more than one try, "
        f"{receiver.copies} came twice, {heard.disordered} out of order, {receiver.unsigned} with a wrong signature."
        + (f" {left.pending} more in the store: the next start would deliver them." if left.pending else ""),
    )
    if result is not None:
        _say("Cloud", _truth(result))


def _truth(result: Account) -> str:
    unseen = f" {counted(result.unseen, 'start')} had ended before the next poll." if result.unseen else ""
    return (
        f"it made {counted(result.changes, 'change')} that polls could read; "
        f"lost: {result.lost}, told falsely: {result.false}.{unseen}"
    )


def say_next(path: Path) -> None:
    """Say what can be done with what is kept."""
    me, config = _me(), shlex.quote(str(path))
    click.echo(
        f"\nLook at what is kept (for {KEPT_SECONDS / 3600:.0f} hours; a later demo removes it):\n"
        f"  {me} events -c {config}\n"
        f"  {me} tasks -c {config}\n"
        f"  {me} deliveries -c {config}\n"
        "A real cloud: with a login in the environment (OS_*) or in clouds.yaml this writes a taskwatch.yaml\n"
        f"  {me} init"
    )


def _say(word: str, text: str, *, status: str = "") -> None:
    """Print a paragraph beside its word, as wide as the terminal; whole lines when piped."""
    width = shutil.get_terminal_size().columns - INDENT if sys.stdout.isatty() else sys.maxsize
    for number, line in enumerate(textwrap.wrap(text, max(width, READABLE))):
        click.echo(f"{'' if number else word:<{INDENT}}{coloured(line, status)}")


def _me() -> str:
    """Return how this command was called, so that it can be called again."""
    if shutil.which("taskwatch"):
        return "taskwatch"
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m taskwatch"
    return shlex.quote(sys.argv[0])
