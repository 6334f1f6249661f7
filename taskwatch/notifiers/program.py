"""The receiver `exec`: a program is given each event as JSON on its standard input, and has it when it exits with 0.

No shell is asked, nothing of the event stands in the arguments, and the environment is empty but for what is named
here. A program that takes longer than its time is killed, with all that it started.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from io import FileIO
from typing import Annotated, BinaryIO, Final, Literal

from pydantic import BeforeValidator, Field

from taskwatch.clock import Clock
from taskwatch.config.fields import Text, at_least_one
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import AlertBook, DeliveryError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.telemetry import Logger, printable

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SAID_BYTES: Final = 16 * 1024  # of what it says on standard error; the rest is read and let go
SAID_SECONDS: Final = 1.0  # for that, once it has ended: something it started may keep it open
SHOWN: Final = 200  # characters


class ExecOptions(ReceiverOptions):
    """Runs a program for each event."""

    type: Literal["exec"]
    command: Annotated[tuple[Text, ...], BeforeValidator(at_least_one)] = Field(
        examples=["[/usr/local/bin/on-event]"],
        description="the program and its arguments; no shell reads them",
    )


def open_notifier(
    options: ExecOptions,
    *,
    clock: Clock,  # noqa: ARG001  (all kinds are opened alike)
    log: Logger,  # noqa: ARG001
    alerts: AlertBook,  # noqa: ARG001
) -> "ExecNotifier":
    """Open the notifier; nothing runs between events."""
    return ExecNotifier(options.command)


class ExecNotifier:
    """Runs the program once for each event."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command

    async def notify(self, message: Message) -> None:
        program = self._command[0]
        async with _listening() as (hears, saying):
            try:
                with _memory(message.body + b"\n") as body:
                    process = await asyncio.create_subprocess_exec(
                        *self._command,
                        stdin=body,
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=hears,
                        cwd="/",
                        env=_environment(message),
                        start_new_session=True,
                    )
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                raise DeliveryError(
                    Reason.LOCAL, f"{program} cannot be started: {why.lower()}", Scope.RECEIVER
                ) from error
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    await _end(process)
            hears.close()
            said = await _last_line(saying) if code != 0 else ""
        if code != 0:
            raise DeliveryError(Reason.REJECTED, f"{program} {_ended(code)}{said}")

    async def repeat(self) -> None:
        """Repeat nothing: the program had its event."""

    async def connect(self) -> None:
        """Find out whether the program can be run, and do not run it."""
        if shutil.which(self._command[0], path=PATH) is None:
            raise DeliveryError(
                Reason.LOCAL, f"{self._command[0]} is no program that can be run here", Scope.RECEIVER
            )

    async def close(self) -> None:
        """Nothing is held open."""


def _environment(message: Message) -> dict[str, str]:
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "TASKWATCH_EVENT_ID": message.event_id,
        "TASKWATCH_REPLAY": "1" if message.replay else "",
    }


def _memory(body: bytes) -> BinaryIO:
    """Return a file in memory that holds the body: a program that does not read it holds up nobody."""
    file = os.fdopen(os.memfd_create("taskwatch-event"), "w+b")
    file.write(body)
    file.flush()
    file.seek(0)
    return file


@asynccontextmanager
async def _listening() -> "AsyncIterator[tuple[FileIO, asyncio.Task[bytes]]]":
    """Yield what a program may write to, and what reads that, keeping the last of it.

    It is no pipe of asyncio's own: with one, the end of a program is noticed when all have closed it, and what the
    program left running may never do that.
    """
    ends = os.pipe()
    read_end, write_end = os.fdopen(ends[0], "rb", 0), os.fdopen(ends[1], "wb", 0)
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), read_end
    )
    saying = asyncio.create_task(_said(stream))
    try:
        yield write_end, saying
    finally:
        write_end.close()
        transport.close()
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)


async def _said(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(SAID_BYTES):
        kept = (kept + chunk)[-SAID_BYTES:]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _ended(code: int) -> str:
    return f"ended with {code}" if code >= 0 else f"was ended by signal {-code}"


async def _last_line(saying: "asyncio.Task[bytes]") -> str:
    try:
        async with asyncio.timeout(SAID_SECONDS):
            said = await asyncio.shield(saying)
    except TimeoutError:
        return ""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return f": {printable(lines[-1], SHOWN)}" if lines else ""
