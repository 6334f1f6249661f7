"""The command line: one group, whose commands are imported only when they are called."""

import importlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from taskwatch import __version__
from taskwatch.cli.guide import GuidingGroup
from taskwatch.errors import ConfigError, TaskwatchError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# name → (module, one line). `--help` and completion answer from this table without importing anything else.
COMMANDS: Final = {
    "demo": ("taskwatch.cli.demo", "Show the whole system on this machine, with a simulated cloud."),
    "run": ("taskwatch.cli.run", "Watch: poll, record, deliver, until stopped."),
    "init": ("taskwatch.cli.init", "Write a configuration to start with, from the login at hand."),
    "check": ("taskwatch.cli.check", "Validate the configuration; every error at once."),
    "poll": ("taskwatch.cli.poll", "Poll each project once, now; record and deliver what changed."),
    "projects": ("taskwatch.cli.query", "List the projects: how fresh, polled when, what is in the way."),
    "tasks": ("taskwatch.cli.query", "List the tasks that are known."),
    "events": ("taskwatch.cli.query", "List the events that were recorded."),
    "deliveries": ("taskwatch.cli.deliveries", "List who was told what; replay or drop what was not."),
    "alerts": ("taskwatch.cli.alerts", "List what needs attention now, since when, and who has it."),
    "ack": ("taskwatch.cli.alerts", "Say of alerts that you have them."),
    "resolve": ("taskwatch.cli.alerts", "End alerts, and tell those who were told of them."),
    "silence": ("taskwatch.cli.silence", "Tell nobody of some events for a time: add, list, expire."),
    "explain": ("taskwatch.cli.explain", "Say why an event exists, and what became of it."),
    "wait": ("taskwatch.cli.wait", "Wait until tasks have ended; say by the exit code how."),
    "route": ("taskwatch.cli.route", "Show which receivers an event would reach, and why."),
    "receiver": ("taskwatch.cli.receiver", "Try a receiver with an event that says it is a test."),
    "reload": ("taskwatch.cli.reload", "Let the running daemon read its configuration again."),
    "state": ("taskwatch.cli.state", "Back the store up, check it, begin a new one after a loss."),
    "simulate": ("taskwatch.cli.simulate", "Serve a simulated cloud, to try a configuration against."),
    "schema": ("taskwatch.cli.schema", "Print the JSON Schema of the configuration or of an event."),
    "completion": ("taskwatch.cli.completion", "Print what completes these commands in your shell."),
}
# Of the contract, and promised for later.
PLANNED: Final = frozenset({"replicas"})
# Of less daily use: the overview names them in one line, for a screen has no more.
FURTHER: Final = ("reload", "state", "simulate", "schema", "completion")
# What they end with says how something went.
ANSWERS: Final = frozenset(
    {"ack", "resolve", "silence", "run", "check", "poll", "wait", "receiver", "reload", "state"}
)
CUT_SHORT: Final = 141  # as a shell says it of a program that SIGPIPE ended
CLOSING: Final = f"""  And: {", ".join(FURTHER)}.

-h explains a command, --debug shows tracebacks, --version says which this is.
Exit: 0 done, 1 failed, 2 usage, 3 not all polled, 75 store held, 78 unusable.
"""


@contextmanager
def _while_it_is_read(ctx: click.Context) -> Iterator[None]:
    """End well when the reader of a list has had enough (`| head -1`). Click would end with 1.

    The exit code of a command that does or waits for something is an answer: cut short, it is none.
    """
    try:
        yield
    except BrokenPipeError:
        is_answer = ctx.invoked_subcommand in ANSWERS
        raise click.exceptions.Exit(CUT_SHORT if is_answer else 0) from None


class _Lazy(GuidingGroup):
    """A group that knows its commands by name and imports one when it is called."""

    planned = PLANNED

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (click's)
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command if isinstance(command, click.Command) else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _while_it_is_read(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _while_it_is_read(ctx):
            return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        commands = [
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)  # the group's would import each

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one screen of 24 lines by 80 columns."""
        self.format_usage(ctx, formatter)
        formatter.write(f"{self.help}\n\n")
        formatter.indent()
        formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items() if name not in FURTHER])
        formatter.dedent()
        formatter.write(CLOSING)


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="taskwatch", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def group(debug: bool) -> None:
    """Watch the tasks of cloud databases; tell people when something happened."""


def main() -> NoReturn:
    """Run a command. Errors are one line each on standard error; the exit code says the rest."""
    _occupy_standard_streams()
    debug, arguments = _taken(sys.argv[1:])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of few letters is no error
    try:
        code = group.main(arguments, standalone_mode=False)
    except click.ClickException as error:
        with suppress(BrokenPipeError):
            error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        if debug:
            raise
        with suppress(BrokenPipeError):
            for line in _lines(error):
                click.echo(_priority() + line, err=True)
        code = error.exit_code if isinstance(error, TaskwatchError) else 1
    _let_go()
    sys.exit(code if isinstance(code, int) else 0)


def _occupy_standard_streams() -> None:
    """Open the null device where a descriptor of 0, 1 or 2 is closed; what is printed goes there.

    The next file opened would get its number: the store, into which a program or a library then wrote its errors.
    Standard error stays None for Python: what a receiver of type log is to be told is not told by writing it to nobody.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - to the end
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - the same


def _let_go() -> None:
    """Write what is left; to nobody where nobody reads it any more, lest Python complain of that at its exit."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # what was printed was flushed, and its failure has been told
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _priority() -> str:
    """Return what makes a line an error for the journal, where standard error leads there: sd-daemon(3)."""
    from taskwatch.telemetry.journal import leads_to_journal

    return "<3>" if leads_to_journal(sys.stderr) else ""


def _taken(arguments: list[str]) -> tuple[bool, list[str]]:
    """Take --debug out, wherever it stands: before a command, after it, after what belongs to it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    return len(options) < end, [*options, *arguments[end:]]


def _lines(error: Exception) -> list[str]:
    from taskwatch.telemetry import printable

    match error:
        case ConfigError():
            return error.problems
        case TaskwatchError():
            return [f"taskwatch: {printable(str(error))}"]
        case OSError():
            return [f"taskwatch: {error.strerror or error}"]
        case UnicodeEncodeError():  # the shell handed over bytes of another encoding, which the store does not take
            return [f"taskwatch: {error.object!r} is not UTF-8 text"]
        case _:
            return [
                f"taskwatch: {type(error).__name__}: a bug in taskwatch; `taskwatch --debug …` shows where"
            ]
