"""Templates are filled in by one worker process, which is killed when it takes too long, and replaced.

Invariants:
- One rendering at a time. Its time begins when it is its turn and the worker is ready.
- A worker whose answer nobody took is never asked again: it would give it to the next.
- The process table tells nothing of the configuration: templates and values go through a pipe.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Final

import msgspec

from taskwatch.engine.ports import TemplateFailedError
from taskwatch.telemetry import printable
from taskwatch.templates.bounds import LENGTH_BYTES, MEMORY_MIB, OUT_OF_MEMORY, SECONDS, TEXT_KIB

START_SECONDS: Final = 10.0
ASKED_BYTES: Final = 16 * 1024 * 1024  # of one request
ANSWER_BYTES: Final = 8 * TEXT_KIB * 1024  # JSON may write one byte as six
SHOWN: Final = 300  # characters of an error
_STOPPING: Final = "taskwatch is stopping"


class _Order(msgspec.Struct):
    source: str
    is_html: bool


class _Answer(msgspec.Struct):
    text: str = ""
    error: str | None = None


class Workshop:
    """Renders templates in a process of their own. It starts with the first of them, and is kept."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._is_closed = False

    async def render(self, source: str, facts: bytes, *, is_html: bool = False) -> str:
        """Return the text of a template over these facts, a JSON object; for HTML they are escaped."""
        order = msgspec.json.encode(_Order(source=source, is_html=is_html))
        if len(order) + len(facts) > ASKED_BYTES:
            raise TemplateFailedError(f"is given more than {ASKED_BYTES // 1024**2} MiB")
        async with self._turn:
            answer = await self._asked(await self._worker(), _frame(order) + _frame(facts))
        if answer.error is not None:
            raise TemplateFailedError(_shown(answer.error))
        return answer.text

    async def close(self) -> None:
        """End the worker; a rendering that is under way fails."""
        self._is_closed = True
        if self._process is not None:
            _kill(self._process)
        async with self._turn:
            await self._end()

    async def _worker(self) -> Process:
        """Return the worker, or another where it is gone."""
        if self._is_closed:
            raise TemplateFailedError(_STOPPING)
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self._end()
        is_ready = False
        try:
            async with asyncio.timeout(START_SECONDS):
                self._process = process = await _started()
                await _answer(process)
            is_ready = True
        except TimeoutError as error:
            raise TemplateFailedError(f"the worker did not start within {START_SECONDS:g} s") from error
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise TemplateFailedError(_shown(f"the worker cannot be started: {why}")) from error
        finally:
            if not is_ready:
                await self._end()
        return process

    async def _asked(self, process: Process, request: bytes) -> _Answer:
        answer = None
        try:
            async with asyncio.timeout(self._seconds):
                answer = await _answer(process, request)
        except TimeoutError as error:
            raise TemplateFailedError(f"took over {self._seconds:g} s") from error
        except TemplateFailedError:
            if self._is_closed:
                raise TemplateFailedError(_STOPPING) from None
            raise
        finally:
            if answer is None:
                await self._end()
        return answer

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        assert process.stdin is not None  # noqa: S101 - it was started with pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.close()
        while await process.stdout.read(ANSWER_BYTES):
            pass  # what it said before it was killed
        await process.wait()


async def _started() -> Process:
    # It finds its modules where this process found its own, whatever way they were installed.
    places = os.pathsep.join(place for place in sys.path if os.path.isabs(place))  # noqa: PTH117 - text it is
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-s", "-m", "taskwatch.templates.worker"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        cwd="/",
        env={"PYTHONPATH": places},
        start_new_session=True,
    )


async def _answer(process: Process, request: bytes = b"") -> _Answer:
    """Ask, and return what is answered. Raises TemplateFailedError where nothing is."""
    assert process.stdin is not None  # noqa: S101 - it was started with pipes
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(request)
        await process.stdin.drain()
        length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES))
        if length > ANSWER_BYTES:
            raise TemplateFailedError("the worker said more than it may")
        return msgspec.json.decode(await process.stdout.readexactly(length), type=_Answer)
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        raise TemplateFailedError(_ended(await process.wait())) from error
    except msgspec.DecodeError as error:
        raise TemplateFailedError("the worker said nothing that can be understood") from error


def _frame(content: bytes) -> bytes:
    return len(content).to_bytes(LENGTH_BYTES) + content


def _kill(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _ended(code: int) -> str:
    if code == OUT_OF_MEMORY:
        return f"needs more than {MEMORY_MIB} MiB"
    return f"the worker ended with {code}" if code >= 0 else f"the worker was ended by signal {-code}"


def _shown(text: str) -> str:
    return printable(text[:SHOWN])[:SHOWN]
