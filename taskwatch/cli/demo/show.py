"""How the demo is shown: as a live view on a terminal, as lines elsewhere."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import click
from rich.console import Console
from rich.live import Live

from taskwatch.cli.demo.scene import Onlooker, Scene
from taskwatch.cli.demo.view import MIN_HEIGHT, MIN_WIDTH, Moment, frame
from taskwatch.cli.output import coloured
from taskwatch.errors import StoreFailedError
from taskwatch.telemetry import printable

FRAME_SECONDS: Final = 0.2


class Show(Protocol):
    """Shows what happens."""

    def introduce(self, text: str) -> None:
        """Take what is said before it begins."""

    def act(self, text: str) -> None:
        """Take what was done to the cloud or to the receiver."""

    def told(self, event: Mapping[str, Any]) -> None:
        """Take an event that the receiver got."""

    async def run(self, store: Path, moment: Callable[[], Moment]) -> None:
        """Show until cancelled."""

    def close(self) -> None:
        """Leave the terminal as it was. May be called twice."""


@contextmanager
def opened_show() -> Iterator[Show]:
    """Show what fits here, at once, and close it in the end."""
    console = Console()
    show: Show = Frames(console) if has_room(console) else Lines()
    try:
        yield show
    finally:
        show.close()


def has_room(console: Console) -> bool:
    """Tell whether a live view fits: a terminal that can move its cursor, large enough, and colours are wanted."""
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and not os.environ.get("NO_COLOR")
        and console.width >= MIN_WIDTH
        and console.height >= MIN_HEIGHT
    )


class Lines:
    """One line for each event, as it arrives. Ends the demo when nobody reads on, as with `| head`."""

    def introduce(self, text: str) -> None:
        self._say(text)

    def act(self, text: str) -> None:
        self._say(f"{_clock(datetime.now().astimezone())}  {printable(text)}")

    def told(self, event: Mapping[str, Any]) -> None:
        kind, data = event["type"].rpartition(".")[2], event["data"]
        word = coloured((kind.upper() if kind == "failed" else kind).ljust(9), data["severity"])
        project, summary = printable(data["project"]["name"]), printable(data["summary"])
        self._say(f"{_clock(datetime.fromisoformat(event['time']))}  {word}  {project.ljust(17)}  {summary}")

    def _say(self, line: str) -> None:
        try:
            click.echo(line)
        except BrokenPipeError:
            # What follows has nowhere to go, and Python would try once more to flush it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            signal.raise_signal(signal.SIGTERM)

    async def run(self, store: Path, moment: Callable[[], Moment]) -> None:  # noqa: ARG002  (lines come by themselves)
        await asyncio.Event().wait()

    def close(self) -> None:
        """Nothing is held open."""


class Frames:
    """A view of the store that is drawn anew some times a second. It leaves nothing on the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._act = "starting …"
        self._live.start()
        self._draw(None, None)

    def introduce(self, text: str) -> None:  # noqa: ARG002  (each frame says it)
        self._act = ""

    def act(self, text: str) -> None:
        self._act = text

    def told(self, event: Mapping[str, Any]) -> None:
        """Nothing: what is shown is read from the store."""

    async def run(self, store: Path, moment: Callable[[], Moment]) -> None:
        scene: Scene | None = None
        with Onlooker(store) as onlooker:
            while True:
                with suppress(StoreFailedError):  # busy for once: the last scene stands
                    scene = await asyncio.to_thread(onlooker.look)
                self._draw(scene, moment())
                await asyncio.sleep(FRAME_SECONDS)

    def close(self) -> None:
        self._live.stop()

    def _draw(self, scene: Scene | None, moment: Moment | None) -> None:
        size = self._console.size
        shown = frame(scene, moment, self._act, width=size.width, height=size.height)
        self._live.update(shown, refresh=True)


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")
