"""The commands as an operator starts them: processes, with what they print and how they end."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 30.0  # for one command, on a machine that has other things to do


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. None of them, ever, with a traceback."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.out + self.err, self


async def taskwatch(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end."""
    process = await _start("-m", "taskwatch", *arguments, cwd=cwd, env=env or {})
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    finally:
        await _end(process)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def listening(*arguments: str, cwd: Path) -> AsyncIterator[str]:
    """Keep a Python program running whose first line ends with the URL it serves; yield the URL."""
    process = await _start(*arguments, cwd=cwd, env={"PYTHONPATH": str(ROOT)})
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            first = (await process.stdout.readline()).decode()
        assert "http://" in first, f"{arguments}: {first!r}"
        yield first.split()[-1]
    finally:
        await _end(process)


async def until(
    claim: Callable[[], bool], what: str, *, said: Callable[[], str] = lambda: "", seconds: float = SECONDS
) -> None:
    """Wait until the claim holds; fail with `what`, and what was said meanwhile, when it does not in good time."""
    limit = asyncio.get_running_loop().time() + seconds
    while not claim():
        assert asyncio.get_running_loop().time() < limit, (
            f"waited {seconds:g} s in vain: {what}\n{said()[-2000:]}"
        )
        await asyncio.sleep(0.02)


async def _start(*arguments: str, cwd: Path, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments,
        cwd=cwd,
        env=os.environ | dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()
