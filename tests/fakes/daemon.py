"""The real daemon as a process, for tests that kill it."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass
class Daemon:
    """`python -m taskwatch run -c CONFIG`; its log is kept in a file. Always ended, by its own id."""

    config: Path
    log: Path
    package: Path | None = None  # another copy of the package to run
    arguments: tuple[str, ...] = ("run",)
    under: tuple[str, ...] = ()  # the command that becomes it
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def start(self) -> Self:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.under, sys.executable, "-m", "taskwatch", *self.arguments, "-c", str(self.config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.package or Path(__file__).parents[2],
                env=os.environ | ({"PYTHONPATH": str(self.package)} if self.package else {}),
            )  # fmt: skip
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the signal, wait for the end, return the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""
