"""The command line: one group, whose commands are imported only when they are called."""

import importlib
import io
import sys
from typing import Final, NoReturn

import click

from taskwatch import __version__
from taskwatch.errors import ConfigError, TaskwatchError

# name → (module, one line). `--help` answers from this table without importing anything else.
COMMANDS: Final = {
    "demo": ("taskwatch.cli.demo", "Show the whole system on this machine, with a simulated cloud."),
    "run": ("taskwatch.cli.run", "Watch: poll, record, deliver, until stopped."),
    "check": ("taskwatch.cli.check", "Validate the configuration; every error at once."),
    "poll": ("taskwatch.cli.poll", "Poll each project once, now; record and deliver what changed."),
    "tasks": ("taskwatch.cli.query", "List the tasks that are known."),
    "events": ("taskwatch.cli.query", "List the events that were recorded."),
    "deliveries": ("taskwatch.cli.query", "List who was told what, when, after how many tries."),
    "simulate": ("taskwatch.cli.simulate", "Serve a simulated cloud, to try a configuration against."),
    "schema": ("taskwatch.cli.schema", "Print the JSON Schema of the configuration or of an event."),
}
EXIT_CODES: Final = """\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a project could not be polled,
75 another daemon holds the store, 78 configuration or store unusable."""


class _Lazy(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (click's)
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (click's)
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="taskwatch", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def group(debug: bool) -> None:
    """Watch the task lists of cloud databases, and tell people when something happened.

    Start with `taskwatch demo`; then write ./taskwatch.yaml and try `taskwatch check`.
    """


def main() -> NoReturn:
    """Run a command. Errors are one line each on standard error; the exit code says the rest."""
    debug = "--debug" in sys.argv[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of few letters is no error
    try:
        code = group.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        if debug:
            raise
        for line in _lines(error):
            click.echo(line, err=True)
        code = error.exit_code if isinstance(error, TaskwatchError) else 1
    sys.exit(code if isinstance(code, int) else 0)


def _lines(error: Exception) -> list[str]:
    match error:
        case ConfigError():
            return error.problems
        case TaskwatchError():
            return [f"taskwatch: {error}"]
        case OSError():
            return [f"taskwatch: {error.strerror or error}"]
        case _:
            return [
                f"taskwatch: {type(error).__name__}: a bug in taskwatch; `taskwatch --debug …` shows where"
            ]
