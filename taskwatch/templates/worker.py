"""The worker: a process that fills in templates, one after the other, until its standard input closes.

It is given two frames of JSON, the order {source, is_html} and the values, and answers with one, {text} or {error}.
It has little to lose: it can open no file and start no process, its environment says where its modules are and
nothing else, and memory and time are bounded.
"""

import gc
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any, BinaryIO, Final

from jinja2 import Template, TemplateSyntaxError, UndefinedError

from taskwatch.sandbox import environment, read
from taskwatch.templates.bounds import LENGTH_BYTES, MEMORY_MIB, OUT_OF_MEMORY, TEXT_KIB

COMPILED: Final = 32  # templates that are kept
SAID: Final = 1000  # characters of an error
# A rendering is ended from outside; this ends one whose daemon was killed meanwhile.
CPU_SECONDS: Final = 10
LIMITS: Final = {
    resource.RLIMIT_AS: MEMORY_MIB * 1024 * 1024,
    resource.RLIMIT_NOFILE: 3,  # the ones that are open
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
}
# A stop of the service is told to all its processes; the daemon may still have something to render.
IGNORED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Of whatever Python and Jinja2 load when it is first needed, an error among it.
EVERYTHING: Final = "{{ 'a'|wordwrap ~ '<b>'|striptags ~ [1]|pprint ~ [1]|tojson ~ 'a'|urlize }}{{ nothing }}"


class _TooLongError(Exception):
    """The text has more than it may have."""

    def __str__(self) -> str:
        return f"makes more than {TEXT_KIB} KiB"


def main() -> None:
    """Serve until the other side closes."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with suppress(UndefinedError):
        _rendered(EVERYTHING, b"{}", is_html=False)
    sys.meta_path.clear()  # there is nothing more to import
    for kind, most in LIMITS.items():
        _limit(kind, most, most)
    try:
        _serve(sys.stdin.buffer, sys.stdout.buffer)
    except (MemoryError, SystemError):  # the latter is what Python makes of the former when it stumbles
        os._exit(OUT_OF_MEMORY)


def _serve(asked: BinaryIO, answers: BinaryIO) -> None:
    _tell(answers, {"text": ""})  # ready
    while (order := _frame(asked)) is not None and (values := _frame(asked)) is not None:
        _allow_time()
        _tell(answers, _answer(json.loads(order), values))


def _frame(stream: BinaryIO) -> bytes | None:
    length = stream.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    size = int.from_bytes(length)
    content = stream.read(size)
    return content if len(content) == size else None


def _tell(stream: BinaryIO, answer: dict[str, str]) -> None:
    content = json.dumps(answer).encode()
    stream.write(len(content).to_bytes(LENGTH_BYTES) + content)
    stream.flush()


def _answer(order: dict[str, Any], values: bytes) -> dict[str, str]:
    try:
        return {"text": _rendered(order["source"], values, is_html=order["is_html"])}
    except (MemoryError, SystemError):
        raise
    except Exception as error:  # noqa: BLE001  (foreign code may fail in any way)
        said = _spelt(error)
    gc.collect()  # an error's frames hold what the template made
    return {"error": said[:SAID]}


def _rendered(source: str, values: bytes, *, is_html: bool) -> str:
    given = _values(values)
    pieces: list[str] = []
    length = 0
    for piece in _compiled(source, is_html=is_html).generate(given):
        length += len(piece)
        if length > TEXT_KIB * 1024:
            raise _TooLongError
        pieces.append(piece)
    content = "".join(pieces).encode("utf-8", "replace")  # halves of surrogate pairs are no text
    if len(content) > TEXT_KIB * 1024:
        raise _TooLongError
    return content.decode()


def _values(content: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        values = json.loads(content)
        if isinstance(values, dict):
            return values
    raise TypeError("the facts are no JSON object")


@lru_cache(COMPILED)
def _compiled(source: str, *, is_html: bool) -> Template:
    using = environment(is_html=is_html)
    return using.from_string(read(source, using))


def _spelt(error: Exception) -> str:
    line = _line(error)
    match error:
        case TemplateSyntaxError():
            line, said = error.lineno, error.message or ""
        case SyntaxError():  # of the program that Jinja2 makes of it, whose lines are others
            line, said = None, f"cannot be compiled: {error.msg}"
        case RecursionError():
            said = "nested too deeply, or without end"
        case _:
            said = str(error) or type(error).__name__
    return said if line is None else f"line {line}: {said}"


def _line(error: Exception) -> int | None:
    """Return the innermost line of the template that was at work. Jinja2 has put its lines into the trace."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _allow_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS, hard)


def _limit(kind: int, soft: int, hard: int) -> None:
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    # Not setrlimit(): the system call of that name is none that the service may use.
    resource.prlimit(0, kind, (soft, hard))


if __name__ == "__main__":
    main()
