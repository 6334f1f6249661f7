"""Templates: foreign code in a process that is ended when it asks for too much."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taskwatch.engine.ports import TemplateFailedError
from taskwatch.templates.workshop import ASKED_BYTES, Workshop

FACTS = {"task": {"name": "Création <b>", "job_id": "job-1"}, "events": [1, 2]}
# Each of them would go on for hours, or hang a processor in one step of C.
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
async def workshop() -> AsyncIterator[Workshop]:
    """One with all the time that a busy machine may need."""
    workshop = Workshop(seconds=30.0)
    yield workshop
    await workshop.close()


@pytest.fixture
async def quick() -> AsyncIterator[Workshop]:
    workshop = Workshop()
    yield workshop
    await workshop.close()


async def filled(workshop: Workshop, source: str, *, is_html: bool = False, **facts: object) -> str:
    return await workshop.render(source, json.dumps(facts or FACTS).encode(), is_html=is_html)


async def failed(workshop: Workshop, source: str) -> str:
    """Return what is told of a template that makes no text, once the next one has made one."""
    with pytest.raises(TemplateFailedError) as raised:
        await filled(workshop, source)
    assert await filled(workshop, "{{ task.job_id }}") == "job-1"
    return str(raised.value)


def _worker(workshop: Workshop) -> int:
    assert workshop._process is not None
    return workshop._process.pid


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_a_template_is_filled_in_with_the_facts(workshop: Workshop) -> None:
    assert await filled(workshop, "{{ task.name }}: {{ events|sum }}\n") == "Création <b>: 3"


async def test_for_html_values_are_escaped_and_the_template_is_not(workshop: Workshop) -> None:
    source = "<p>{{ task.name }}</p>"
    assert await filled(workshop, source, is_html=True) == "<p>Création &lt;b&gt;</p>"
    assert await filled(workshop, source) == "<p>Création <b></p>"


async def test_a_line_of_tags_leaves_no_line_behind(workshop: Workshop) -> None:
    source = "a\n  {% for event in events %}\n- {{ event }}\n  {% endfor %}\nb"
    assert await filled(workshop, source) == "a\n- 1\n- 2\nb"


@pytest.mark.parametrize(
    "name", ["{{7*7}}", "{% include '/etc/passwd' %}", '"}, {"source": "{{ 1 }}"', "{0.x}"]
)
async def test_what_stands_in_the_facts_is_never_a_template(workshop: Workshop, name: str) -> None:
    assert await filled(workshop, "{{ name }}", name=name) == name
    assert await filled(workshop, "{{ '%s'|format(name) ~ ns }}", name=name, ns=[name]) == f"{name}{[name]}"


async def test_filters_that_load_something_late_have_it(workshop: Workshop) -> None:
    source = "{{ 'a b'|wordwrap(1) }} {{ '<b>x&lt;</b>'|striptags }} {{ [1]|pprint }} {{ {'a': 1}|tojson }}"
    assert await filled(workshop, source) == 'a\nb x< [1] {"a": 1}'
    assert await filled(workshop, "{{ 'https://a.bc'|urlize }} {{ [7]|random }} {{ {'a': 1}|xmlattr }}") == (
        '<a href="https://a.bc" rel="noopener">https://a.bc</a> 7  a="1"'
    )


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("a\nb\n{{ tusk.name }}", "line 3: 'tusk' is undefined"),
        ("{{ task.nme }}", "line 1: 'dict object' has no attribute 'nme'"),
        ("\n{% macro m() %}\n{{ 1 / 0 }}\n{% endmacro %}{{ m() }}", "line 3: division by zero"),
        ("{{ 1", "line 1: unexpected end of template, expected 'end of print statement'; write Jinja2"),
        ("a\n{% if task %}", "line 2: Unexpected end of template"),
        ("a\n{{ task|tusk }}", "line 2: there is no filter tusk; write one of Jinja2's"),
        ("{{ task is tusk }}", "line 1: there is no test tusk; write one of Jinja2's"),
        ("{% block a %}{% endblock %}\n{% block a %}{% endblock %}", "line 2: block 'a' defined twice"),
        ("{% for a in [1] %}" * 30 + "{% endfor %}" * 30, "cannot be compiled: too many statically nested"),
    ],
)
async def test_what_is_wrong_is_told_with_its_line(workshop: Workshop, source: str, told: str) -> None:
    assert (await failed(workshop, source)).startswith(told)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("{% include 'x' %}", "include"),
        ("{% include 'x' ignore missing %}", "include"),
        ("{% extends '/etc/passwd' %}", "extends"),
        ("{% import 'x' as x %}", "import"),
        ("{% from 'x' import x %}", "import"),
    ],
)
async def test_no_other_template_can_be_loaded(workshop: Workshop, source: str, word: str) -> None:
    told = f"line 1: {word} finds no other template here; write its text in this one"
    assert await failed(workshop, source) == told


WAYS_OUT = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr('__cla' ~ 'ss__') }}",
    "{{ [task]|map(attribute='__class__')|first }}",
    "{{ [task]|map('attr', '__class__')|first }}",
    "{{ [task]|sort(attribute='__class__.__name__') }}",
    "{{ [task]|sum('__class__') }}",
    "{{ '{0.__class__}'.format(task) }}",
    "{{ '{a.__class__.__init__.__globals__}'.format_map({'a': task}) }}",
    "{{ ('{0.__class__}'|attr('format'))(task) }}",
    "{{ ('{0.__class__}'|safe).format(task) }}",
    "{{ ['{0.__class__}'.format]|map('call', task)|list }}",
    "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace()._Namespace__attrs }}",
    "{{ range.__globals__ }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys.__self__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__code__ }}",
    "{% for a in [1] %}{{ loop._undefined }}{% endfor %}",
    "{{ (events|map('string')).gi_frame }}",
    "{{ (events|map('string')).gi_code.co_consts }}",
    "{{ task.clear() }}",
    "{{ events.append(3) }}",
    "{{ open('/etc/passwd').read() }}",
    "{{ __import__('os') }}",
    "{{ undefined.__init__ }}",
]
CLOSED = ("is unsafe", "is undefined", "has no attribute", "o filter", "no element")


async def test_the_known_ways_out_of_the_sandbox_are_closed(workshop: Workshop) -> None:
    told = {source: await failed(workshop, source) for source in WAYS_OUT}
    assert {source: said for source, said in told.items() if not any(word in said for word in CLOSED)} == {}


async def test_what_can_be_printed_of_the_sandbox_tells_nothing(workshop: Workshop) -> None:
    source = (
        "{{ self }} {{ dict }} {{ [task]|map(attribute='__class__')|list }} {{ [task]|groupby('__class__') }}"
    )
    printed = await filled(workshop, source)
    assert "taskwatch" not in printed
    assert "site-packages" not in printed


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ 'x' * 10**10 }}", "needs more than 256 MiB"),
        ("{{ '%10000000000d' % 1 }}", "needs more than 256 MiB"),
        ("{{ '{:>10000000000}'.format(1) }}", "needs more than 256 MiB"),
        ("{{ 'x'|center(10**10) }}", "needs more than 256 MiB"),
        (
            "{% set n = namespace(x='x') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "256 MiB",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "line 1: nested too deeply, or without end"),
        ("{{ " + "(" * 9999 + ")" * 9999 + " }}", "nested too deeply; write it flatter"),
        ("{{ range(10**9) }}", "line 1: Range too big"),
        ("{% for a in range(99999) %}{{ a }}{% endfor %}", "makes more than 64 KiB"),
        ("{{ 'é' * 40000 }}", "makes more than 64 KiB"),
    ],
)
async def test_what_takes_too_much_fails_and_the_next_one_works(
    workshop: Workshop, source: str, told: str
) -> None:
    assert told in await failed(workshop, source)


@pytest.mark.parametrize(
    "source",
    [
        ENDLESS,
        "{{ 10**(10**10) }}",
        "{% autoescape 10**(10**10) %}{% endautoescape %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(99) }}",
    ],
)
async def test_what_takes_too_long_is_ended_and_the_next_one_works(quick: Workshop, source: str) -> None:
    assert await failed(quick, source) == "took over 1 s"


async def test_what_makes_just_as_much_as_it_may_is_whole(workshop: Workshop) -> None:
    assert await filled(workshop, "{{ 'x' * 65536 }}") == "x" * 65536
    assert await filled(workshop, "{{ '\\x01' * 65536 }}") == "\x01" * 65536  # JSON writes six times as much


async def test_halves_of_characters_do_no_harm(workshop: Workshop) -> None:
    assert await workshop.render("{{ a }}{{ '\\udc00' }}", b'{"a": "\\ud800"}') == "??"


async def test_an_error_is_one_printable_line_that_is_not_long(workshop: Workshop) -> None:
    told = await failed(workshop, "{{ {}['\\x1b[31m\\n\\u202e' ~ 'x' * 9999] }}")
    assert told.isprintable()
    assert len(told) <= 300
    assert "\\x1b[31m" in told


async def test_facts_that_are_no_object_are_an_error(workshop: Workshop) -> None:
    for facts in (b"", b"{", b"[1]", b"1", b'"\xff"'):
        with pytest.raises(TemplateFailedError, match="the facts are no JSON object"):
            await workshop.render("a", facts)
    assert await filled(workshop, "{{ task.job_id }}") == "job-1"


async def test_more_than_16_mib_of_facts_are_refused(workshop: Workshop) -> None:
    with pytest.raises(TemplateFailedError, match="is given more than 16 MiB"):
        await workshop.render("a", b" " * ASKED_BYTES)


async def test_the_time_that_one_waits_for_its_turn_is_not_its_own(quick: Workshop) -> None:
    first = asyncio.create_task(filled(quick, ENDLESS))
    others = [asyncio.create_task(filled(quick, "{{ n }}", n=number)) for number in range(20)]
    assert await asyncio.gather(*others) == [str(number) for number in range(20)]
    with pytest.raises(TemplateFailedError, match="took over 1 s"):
        await first


async def test_the_time_that_the_worker_needs_to_start_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python"
    slow.write_text(f'#!/bin/sh\n/bin/sleep 1\nexec {sys.executable} "$@"\n')
    slow.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(slow))
    workshop = Workshop(seconds=0.8)
    assert await filled(workshop, "{{ task.job_id }}") == "job-1"
    await workshop.close()


async def test_the_worker_starts_with_the_first_template_and_is_kept(workshop: Workshop) -> None:
    assert workshop._process is None
    await filled(workshop, "a")
    pid = _worker(workshop)
    await filled(workshop, "b")
    await failed(workshop, "{{ tusk }}")
    assert _worker(workshop) == pid


async def test_who_is_cancelled_leaves_no_answer_to_the_next(workshop: Workshop) -> None:
    await filled(workshop, "a")
    before = _worker(workshop)
    rendering = asyncio.create_task(filled(workshop, "mine"))
    await asyncio.sleep(0)  # it has asked
    rendering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rendering
    assert not _is_running(before)
    assert await filled(workshop, "theirs") == "theirs"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_worker_that_is_killed_is_replaced(workshop: Workshop, number: int) -> None:
    rendering = asyncio.create_task(filled(workshop, "a"))
    await rendering
    rendering = asyncio.create_task(filled(workshop, ENDLESS))
    await asyncio.sleep(0)
    os.kill(_worker(workshop), number)
    with pytest.raises(TemplateFailedError, match=f"the worker was ended by signal {number:d}"):
        await rendering
    assert await filled(workshop, "b") == "b"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_to_all_of_the_service_leaves_the_worker_to_the_daemon(
    workshop: Workshop, number: int
) -> None:
    await filled(workshop, "a")
    pid = _worker(workshop)
    os.kill(pid, number)
    assert await filled(workshop, "b") == "b"
    assert _worker(workshop) == pid


async def test_the_worker_has_nothing_to_lose(workshop: Workshop) -> None:
    await filled(workshop, "{{ secret }}", secret="hunter2-canary")
    place = Path(f"/proc/{_worker(workshop)}")
    assert b"canary" not in (place / "cmdline").read_bytes()
    assert [line.partition(b"=")[0] for line in (place / "environ").read_bytes().split(b"\0") if line] == [
        b"PYTHONPATH"
    ]
    assert (place / "cwd").readlink() == Path("/")
    assert {entry.name for entry in (place / "fd").iterdir()} == {"0", "1", "2"}
    limits = {
        line[:26].strip(): line[26:].split()[:2] for line in (place / "limits").read_text().splitlines()
    }
    assert limits["Max address space"] == [str(256 * 1024 * 1024)] * 2
    assert limits["Max open files"] == ["3", "3"]
    assert limits["Max file size"] == limits["Max processes"] == limits["Max core file size"] == ["0", "0"]
    assert int(limits["Max cpu time"][0]) < 60
    assert os.getsid(_worker(workshop)) == _worker(workshop)


async def test_what_is_not_loaded_cannot_be(workshop: Workshop) -> None:
    assert await failed(workshop, "{{ 'a'.encode('rot13') }}") == "line 1: unknown encoding: rot13"


async def test_closing_ends_the_worker_and_may_be_done_again() -> None:
    workshop = Workshop()
    await workshop.close()
    workshop = Workshop()
    await filled(workshop, "a")
    pid = _worker(workshop)
    await workshop.close()
    await workshop.close()
    assert not _is_running(pid)
    with pytest.raises(TemplateFailedError, match="taskwatch is stopping"):
        await filled(workshop, "a")


async def test_closing_waits_for_no_rendering() -> None:
    workshop = Workshop(seconds=3600)
    await filled(workshop, "a")
    renderings = [asyncio.create_task(filled(workshop, ENDLESS)) for _ in range(3)]
    await asyncio.sleep(0)
    await workshop.close()
    for outcome in await asyncio.gather(*renderings, return_exceptions=True):
        assert isinstance(outcome, TemplateFailedError)
        assert str(outcome) == "taskwatch is stopping"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (None, "the worker cannot be started: no such file or directory"),
        ("exit 1", "the worker ended with 1"),
        ("kill -9 $$", "the worker was ended by signal 9"),
        ("echo help; exec cat", "the worker said more than it may"),
        ("printf '\\0\\0\\0\\1x'; exec cat", "the worker said nothing that can be understood"),
    ],
)
async def test_a_worker_that_does_not_start_is_a_template_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, told: str
) -> None:
    python = tmp_path / "python"
    if program is not None:
        python.write_text(f"#!/bin/sh\n{program}\n")
        python.chmod(0o700)
    workshop = Workshop()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(python))
        with pytest.raises(TemplateFailedError, match=told):
            await filled(workshop, "a")
    assert await filled(workshop, "a") == "a"
    await workshop.close()


async def test_a_daemon_that_is_killed_leaves_no_worker_behind() -> None:
    program = """
        import asyncio, time
        from taskwatch.templates.workshop import Workshop
        async def main():
            workshop = Workshop()
            await workshop.render("a", b"{}")
            print(workshop._process.pid, flush=True)
            time.sleep(60)
        asyncio.run(main())
    """
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        pid = int(await asyncio.to_thread(daemon.stdout.readline))
        assert _is_running(pid)
        daemon.kill()
    while _is_running(pid):
        await asyncio.sleep(0.01)


def test_jinja2_is_not_loaded_where_no_template_is_configured() -> None:
    program = (
        "import sys, taskwatch.config.template, taskwatch.templates.workshop; print('jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
